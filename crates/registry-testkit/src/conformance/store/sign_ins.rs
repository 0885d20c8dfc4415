//! Links that sign in, and the sessions that they open.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::mail::{MailState, QueuedMail, QueuedMessage};
use registry_core::secret::SignInDigest;
use registry_core::sign_in::{NewSession, Role, SignIn, SignInKind, Visitor};
use registry_core::store::{Ended, Store, TenantQuery};
use registry_core::text::EmailAddress;

use crate::World;

fn customer(name: &str) -> Visitor {
    Visitor { role: Role::Customer, name: name.to_owned() }
}

fn link(world: &World, number: u8, visitor: Visitor) -> SignIn {
    let now = world.now();
    SignIn::new(SignInDigest([number; 32]), SignInKind::Link, visitor, now, now + TimeDelta::minutes(15))
}

fn session(world: &World, number: u8) -> NewSession {
    NewSession { digest: SignInDigest([number; 32]), expires_at: world.now() + TimeDelta::hours(12) }
}

/// A link opens one session, whoever races for it, and a session is none.
pub async fn a_link_opens_one_session(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let now = world.now();
    store.sign_in_put(link(&world, 1, customer("a@example.com")), None).await.unwrap();
    assert!(store.sign_in_put(link(&world, 1, customer("b@example.com")), None).await.is_err(), "its digest is taken");
    let racers = (10..26_u8).map(|number| {
        let (store, session) = (store.clone(), session(&world, number));
        tokio::spawn(async move { store.sign_in_open(SignInDigest([1; 32]), session, now).await.unwrap() })
    });
    let mut opened = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        opened.extend(racer.await.unwrap());
    }
    assert_eq!(opened.len(), 1, "{opened:?}");
    let opened = opened.remove(0);
    assert_eq!((opened.kind, &opened.visitor), (SignInKind::Session, &customer("a@example.com")));
    assert_eq!(store.sign_in_open(opened.digest, session(&world, 30), now).await.unwrap(), None, "it is no link");
    assert_eq!(store.session_use(opened.digest, now, now).await.unwrap(), Some(opened));
    // One that has ended opens nothing.
    store.sign_in_put(link(&world, 2, customer("a@example.com")), None).await.unwrap();
    let late = now + TimeDelta::minutes(15);
    assert_eq!(store.sign_in_open(SignInDigest([2; 32]), session(&world, 31), late).await.unwrap(), None);
    assert_eq!(store.session_use(SignInDigest([2; 32]), now, now).await.unwrap(), None, "it is no session");
}

/// A session lives while it is used, and no longer than to its end.
pub async fn a_session_ends_when_it_is_not_used_and_at_its_end(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    store.sign_in_put(link(&world, 1, customer("a@example.com")), None).await.unwrap();
    let opened = store.sign_in_open(SignInDigest([1; 32]), session(&world, 2), world.now()).await.unwrap().unwrap();
    let uses = async |minutes: i64| {
        world.clock.advance(TimeDelta::minutes(minutes));
        let now = world.now();
        store.session_use(opened.digest, now, now - TimeDelta::minutes(30)).await.unwrap().is_some()
    };
    for _ in 0..22 {
        assert!(uses(30).await, "each use keeps it for half an hour");
    }
    assert!(!uses(31).await, "nobody used it for longer");
    let within = world.now() - TimeDelta::minutes(31);
    assert!(store.session_use(opened.digest, world.now(), within).await.unwrap().is_some());
    assert!(!uses(30).await, "it is twelve hours old");
}

/// Signing out ends a session; everywhere ends all of a visitor's, and nobody else's.
pub async fn signing_out_ends_one_session_or_all_of_a_visitor(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let now = world.now();
    let same_name = Visitor { role: Role::Operator, name: "a@example.com".to_owned() };
    for (number, visitor) in [(1, customer("a@example.com")), (2, customer("a@example.com")), (3, same_name)] {
        store.sign_in_put(link(&world, number, visitor), None).await.unwrap();
        store.sign_in_open(SignInDigest([number; 32]), session(&world, number + 10), now).await.unwrap().unwrap();
    }
    store.sign_in_put(link(&world, 4, customer("a@example.com")), None).await.unwrap();
    let lives = async |number: u8| store.session_use(SignInDigest([number; 32]), now, now).await.unwrap().is_some();
    store.session_end(SignInDigest([11; 32])).await.unwrap();
    assert_eq!((lives(11).await, lives(12).await, lives(13).await), (false, true, true));
    store.sessions_end(customer("a@example.com")).await.unwrap();
    assert_eq!((lives(12).await, lives(13).await), (false, true));
    assert_eq!(store.sign_in_open(SignInDigest([4; 32]), session(&world, 40), now).await.unwrap(), None);
    let later = now + TimeDelta::days(1);
    assert_eq!(store.ended_count(Ended::SignIns, later).await.unwrap(), 1);
    assert_eq!(store.ended_delete(Ended::SignIns, later, 10).await.unwrap(), 1);
}

/// The link and its mail are kept together; and a contact's tenants are found in any case.
pub async fn a_link_and_its_mail_are_kept_together(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let mut mail = world.mails(issued.tenant_id).await.remove(0);
    mail.id = world.registry.draw_id().into();
    mail.message = QueuedMessage::PortalLink { expires_at: world.now() };
    store.sign_in_put(link(&world, 1, customer("acme@example.com")), Some(mail.clone())).await.unwrap();
    let queued = world.mails(issued.tenant_id).await;
    let kept: Vec<&QueuedMail> = queued.iter().filter(|it| it.id == mail.id).collect();
    assert_eq!((kept.len(), kept[0].state, &kept[0].message), (1, MailState::Queued, &mail.message));
    // The mail's id is taken: neither is kept.
    assert!(store.sign_in_put(link(&world, 2, customer("acme@example.com")), Some(mail)).await.is_err());
    let opened = store.sign_in_open(SignInDigest([2; 32]), session(&world, 9), world.now()).await.unwrap();
    assert_eq!(opened, None);

    world.register("Bolt", "essentials").await;
    let contact = EmailAddress::parse("ACME@Example.com").unwrap();
    let query = TenantQuery { contact: Some(contact), limit: 10, ..TenantQuery::default() };
    let found: Vec<_> = store.tenant_list(query).await.unwrap().iter().map(|it| it.tenant.id).collect();
    assert_eq!(found, [issued.tenant_id]);
}
