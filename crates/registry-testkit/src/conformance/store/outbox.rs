//! The outbox, and the line of unknown codes.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::guesses::Source;
use registry_core::id::AuditId;
use registry_core::mail::{MailState, Settlement};
use registry_core::store::Store;

use crate::World;

/// Leases exclude each other.
pub async fn a_leased_mail_is_nobody_elses_until_the_lease_ends(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    for number in 0..20 {
        world.register(&format!("Company {number}"), "essentials").await;
    }
    let (now, until) = (world.now(), world.now() + TimeDelta::minutes(5));
    let workers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.mail_lease(now, until, 6).await.unwrap() })
    });
    let leased = join_all(workers).await.into_iter().flat_map(|it| it.unwrap());
    let mut ids: Vec<_> = leased.map(|mail| mail.id).collect();
    assert_eq!(ids.len(), 20);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    let again = async |at| store.mail_lease(at, at + TimeDelta::minutes(5), 100).await.unwrap().len();
    assert_eq!(again(until - TimeDelta::microseconds(1)).await, 0);
    assert_eq!(again(until).await, 20);
}

/// Settling.
pub async fn a_sent_mail_loses_its_secret_and_a_discarded_one_stays_discarded(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let (now, later) = (world.now(), world.now() + TimeDelta::minutes(5));
    let only = async || store.mail_list(issued.tenant_id).await.unwrap().remove(0);
    let id = store.mail_lease(now, later, 10).await.unwrap()[0].id;
    store.mail_settle(id, Settlement::Retry { due_at: later, error: "busy".to_owned() }, now).await.unwrap();
    let mail = only().await;
    assert_eq!((mail.attempts, mail.due_at, mail.last_error.as_deref()), (1, later, Some("busy")));
    assert!(mail.sealed.is_some());
    store.mail_settle(id, Settlement::Sent, later).await.unwrap();
    let mail = only().await;
    assert_eq!((mail.state, mail.attempts, mail.settled_at), (MailState::Sent, 2, Some(later)));
    assert_eq!(mail.sealed, None);

    let bolt = world.register("Bolt", "essentials").await;
    let id = store.mail_lease(now, later, 10).await.unwrap()[0].id;
    world.reissue(bolt.tenant_id).await.unwrap();
    store.mail_settle(id, Settlement::Sent, now).await.unwrap();
    let states: Vec<_> = store.mail_list(bolt.tenant_id).await.unwrap();
    assert_eq!(states.iter().find(|mail| mail.id == id).unwrap().state, MailState::Discarded);

    let dead = world.register("Cog", "essentials").await;
    let id = store.mail_list(dead.tenant_id).await.unwrap()[0].id;
    store.mail_settle(id, Settlement::Dead { error: "no such user".to_owned() }, now).await.unwrap();
    let mail = store.mail_list(dead.tenant_id).await.unwrap().remove(0);
    assert_eq!((mail.state, mail.last_error.as_deref()), (MailState::Dead, Some("no such user")));
    assert!(mail.sealed.is_some(), "an operator can send it again");
    world.reissue(dead.tenant_id).await.unwrap();
    let mails = store.mail_list(dead.tenant_id).await.unwrap();
    let mail = mails.iter().find(|mail| mail.id == id).unwrap();
    assert_eq!((mail.state, &mail.sealed), (MailState::Discarded, &None), "not with a dead code in it");
}

/// Order.
pub async fn due_mails_are_leased_oldest_first(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut tenants = Vec::new();
    for number in 0..5 {
        tenants.push(world.register(&format!("Company {number}"), "essentials").await.tenant_id);
        world.clock.advance(TimeDelta::seconds(1));
    }
    let now = world.now();
    let leased = store.mail_lease(now, now + TimeDelta::minutes(5), 3).await.unwrap();
    assert_eq!(leased.iter().map(|mail| mail.tenant_id).collect::<Vec<_>>(), tenants[..3]);
}

/// Aggregation.
pub async fn unknown_codes_are_one_line_a_source_and_minute(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (eve, mallory) = (Source::of([192, 0, 2, 1].into()), Source::of([192, 0, 2, 2].into()));
    let minute = world.now();
    let next = minute + TimeDelta::minutes(1);
    for (source, minute) in [(eve, minute), (eve, minute), (mallory, minute), (eve, next), (eve, minute)] {
        store.audit_unknown_code(AuditId(world.registry.draw_id()), source, minute).await.unwrap();
    }
    let lines = store.audit_list(None).await.unwrap();
    let mut counts: Vec<_> = lines.iter().map(|it| (it.at, it.actor.source.clone(), it.count)).collect();
    counts.sort();
    let expected = [(minute, eve.to_string(), 3), (minute, mallory.to_string(), 1), (next, eve.to_string(), 1)];
    assert_eq!(counts, expected);
}
