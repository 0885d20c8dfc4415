//! The outbox, and audit entries that count several events.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::audit::{Action, Actor, AuditDetail, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::id::{AuditId, CodeId, MailId, TenantId};
use registry_core::mail::{
    DeliveryOutcome, LONGEST_DELAY, MailCounts, MailQuery, MailState, QueuedMail,
};
use registry_core::pagination::Cursor;
use registry_core::registry::outbox::MailEdit;
use registry_core::store::{Decision, Store, Write};
use registry_core::{Error, Refusal};

use crate::World;
use crate::world::{actor, audit};

async fn lease_all(store: &Arc<dyn Store>, now: Timestamp, until: Timestamp) -> Vec<QueuedMail> {
    let mut leased = Vec::new();
    while let Some(mail) = store.mail_lease(now, until).await.unwrap() {
        leased.push(mail);
    }
    leased
}

/// Records the outcome of an attempt under a lease.
async fn settle(
    store: &Arc<dyn Store>,
    id: MailId,
    leased_until: Timestamp,
    outcome: DeliveryOutcome,
    now: Timestamp,
) {
    let decide = Arc::new(move |mail: &Option<QueuedMail>| {
        let mail = mail.clone().expect("a mail");
        let settled = mail.settled(outcome.clone(), leased_until, now);
        let writes = settled.map(|mail| Write::UpdateMail(Box::new(mail)));
        Decision::commit(writes.into_iter().collect(), Ok(mail))
    });
    store.mail_change(id, decide).await.unwrap();
}

async fn only(world: &World, tenant: TenantId) -> QueuedMail {
    world.mails(tenant).await.remove(0)
}

/// A leased mail is not leased again before its lease ends, however many workers compete.
pub async fn mail_is_leased_to_one_worker(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    for number in 0..20 {
        world.register(&format!("Company {number}"), "essentials").await;
    }
    let (now, until) = (world.now(), world.now() + TimeDelta::minutes(5));
    let workers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { lease_all(&store, now, until).await })
    });
    let leased = join_all(workers).await.into_iter().flat_map(|it| it.unwrap());
    let mut ids: Vec<_> = leased.map(|mail| mail.id).collect();
    assert_eq!(ids.len(), 20);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    let again = async |at| lease_all(&store, at, at + TimeDelta::minutes(5)).await.len();
    assert_eq!(again(until - TimeDelta::microseconds(1)).await, 0);
    assert_eq!(again(until).await, 20);
}

/// A failed attempt is recorded with its error, and the mail keeps its secret. A sent mail loses
/// its secret and its last error.
pub async fn sent_mail_loses_its_secret(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let (now, later) = (world.now(), world.now() + TimeDelta::minutes(5));
    let lease = async |at, until| store.mail_lease(at, until).await.unwrap().unwrap().id;
    let id = lease(now, later).await;
    let busy = DeliveryOutcome::Retry { due_at: later, error: "busy".to_owned() };
    settle(&store, id, later, busy, now).await;
    let mail = only(&world, issued.tenant_id).await;
    assert_eq!((mail.attempts, mail.due_at, mail.last_error.as_deref()), (1, later, Some("busy")));
    assert!(mail.sealed.is_some());
    let until = later + TimeDelta::minutes(5);
    assert_eq!(lease(later, until).await, id);
    settle(&store, id, until, DeliveryOutcome::Sent, later).await;
    let mail = only(&world, issued.tenant_id).await;
    assert_eq!((mail.state, mail.attempts, mail.settled_at), (MailState::Sent, 2, Some(later)));
    assert_eq!((mail.sealed, mail.last_error), (None, None));
}

/// A mail that was discarded during its lease stays discarded, unless it was sent.
pub async fn discarded_mail_stays_discarded_unless_sent(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let (now, later) = (world.now(), world.now() + TimeDelta::minutes(5));
    let id = store.mail_lease(now, later).await.unwrap().unwrap().id;
    world.reissue(issued.tenant_id).await.unwrap();
    let state = async || {
        let mails = world.mails(issued.tenant_id).await;
        mails.iter().find(|mail| mail.id == id).unwrap().state
    };
    let busy = DeliveryOutcome::Retry { due_at: now, error: "busy".to_owned() };
    settle(&store, id, later, busy, now).await;
    assert_eq!(state().await, MailState::Discarded);
    settle(&store, id, later, DeliveryOutcome::Sent, now).await;
    assert_eq!(state().await, MailState::Sent, "a sent mail is recorded as sent");
}

/// A mail that was given up keeps its secret, so that an operator can send it again. Once its code
/// is replaced, the mail is discarded and loses its secret.
pub async fn dead_letter_keeps_its_secret(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let dead = world.register("Cog", "essentials").await;
    let (now, later) = (world.now(), world.now() + TimeDelta::minutes(5));
    let id = store.mail_lease(now, later).await.unwrap().unwrap().id;
    settle(&store, id, later, DeliveryOutcome::Dead { error: "no such user".to_owned() }, now)
        .await;
    let mail = only(&world, dead.tenant_id).await;
    assert_eq!((mail.state, mail.last_error.as_deref()), (MailState::Dead, Some("no such user")));
    assert!(mail.sealed.is_some(), "an operator can send it again");
    world.reissue(dead.tenant_id).await.unwrap();
    let mails = world.mails(dead.tenant_id).await;
    let mail = mails.iter().find(|mail| mail.id == id).unwrap();
    assert_eq!(
        (mail.state, &mail.sealed),
        (MailState::Discarded, &None),
        "a mail with a replaced code cannot be sent again"
    );
}

/// A worker whose lease has ended cannot release or give up a mail that another worker has leased
/// since. It can still record that it sent the mail.
pub async fn late_failure_keeps_the_next_lease(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let (start, first) = (world.now(), world.now() + TimeDelta::minutes(5));
    let id = store.mail_lease(start, first).await.unwrap().unwrap().id;
    let second = first + TimeDelta::minutes(5);
    assert_eq!(store.mail_lease(first, second).await.unwrap().map(|mail| mail.id), Some(id));
    let error = || "timed out".to_owned();
    for late in [
        DeliveryOutcome::Retry { due_at: first, error: error() },
        DeliveryOutcome::Deferred { error: error() },
        DeliveryOutcome::Dead { error: error() },
    ] {
        settle(&store, id, first, late, first).await;
        let mail = only(&world, issued.tenant_id).await;
        assert_eq!((mail.state, mail.due_at, mail.attempts), (MailState::Queued, second, 0));
    }
    settle(&store, id, second, DeliveryOutcome::Deferred { error: error() }, first).await;
    let mail = only(&world, issued.tenant_id).await;
    assert_eq!(
        (mail.due_at, mail.attempts, mail.last_error.as_deref()),
        (first, 0, Some("timed out")),
        "deferred without counting an attempt"
    );
    settle(&store, id, start, DeliveryOutcome::Sent, first).await;
    assert_eq!(
        only(&world, issued.tenant_id).await.state,
        MailState::Sent,
        "a sent mail is recorded as sent"
    );
}

/// Due mails are leased oldest first. Lists are newest first, and paged.
pub async fn mails_are_leased_and_listed_in_order(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut tenants = Vec::new();
    for number in 0..5 {
        tenants.push(world.register(&format!("Company {number}"), "essentials").await.tenant_id);
        world.clock.advance(TimeDelta::seconds(1));
    }
    let now = world.now();
    let owners =
        |mails: Vec<QueuedMail>| mails.iter().map(|mail| mail.tenant_id).collect::<Vec<_>>();
    assert_eq!(owners(lease_all(&store, now, now + TimeDelta::minutes(5)).await), tenants);
    let list = async |query| owners(store.mail_list(query).await.unwrap());
    tenants.reverse();
    assert_eq!(list(MailQuery { limit: 10, ..MailQuery::default() }).await, tenants);
    assert_eq!(list(MailQuery { limit: 2, ..MailQuery::default() }).await, tenants[..2]);
    let all = store.mail_list(MailQuery { limit: 10, ..MailQuery::default() }).await.unwrap();
    for (index, mail) in all.iter().enumerate() {
        let after = Some(Cursor { at: mail.queued_at, id: mail.id });
        assert_eq!(
            list(MailQuery { limit: 2, after, ..MailQuery::default() }).await,
            tenants[index + 1..].iter().copied().take(2).collect::<Vec<_>>()
        );
    }
    let dead = MailQuery { state: Some(MailState::Dead), limit: 10, ..MailQuery::default() };
    assert_eq!(list(dead).await, []);
}

/// An operator can queue an unsent mail again, or discard it. Repeating either changes nothing.
/// Discarded mails, and mails with expired codes, cannot be sent again.
pub async fn operator_retries_and_discards_mails(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let (now, later) = (world.now(), world.now() + TimeDelta::minutes(5));
    let id = store.mail_lease(now, later).await.unwrap().unwrap().id;
    settle(&store, id, later, DeliveryOutcome::Dead { error: "no such user".to_owned() }, now)
        .await;
    let edit = async |id, edit| world.registry.mail_edit(id, edit, actor()).await;
    edit(id, MailEdit::Retry).await.unwrap();
    let mail = only(&world, issued.tenant_id).await;
    assert_eq!(
        (mail.state, mail.attempts, mail.due_at, mail.settled_at),
        (MailState::Queued, 0, now, None)
    );
    assert_eq!(mail.last_error, None, "the attempts start again");
    edit(id, MailEdit::Retry).await.unwrap();
    let until = now + TimeDelta::seconds(30);
    assert_eq!(store.mail_lease(now, until).await.unwrap().map(|mail| mail.id), Some(id));
    edit(id, MailEdit::Retry).await.unwrap();
    assert_eq!(store.mail_lease(now, until).await.unwrap(), None, "the mail is being sent");
    world.clock.advance(TimeDelta::seconds(1));
    edit(id, MailEdit::Discard).await.unwrap();
    let mail = only(&world, issued.tenant_id).await;
    assert_eq!(
        (mail.state, mail.sealed, mail.settled_at),
        (MailState::Discarded, None, Some(world.now()))
    );
    edit(id, MailEdit::Discard).await.unwrap();
    let again = edit(id, MailEdit::Retry).await.unwrap_err();
    assert!(
        matches!(again, Error::Refused(Refusal::MailSettled { state: MailState::Discarded })),
        "{again:?}"
    );
    let missing = edit(MailId(world.registry.new_id()), MailEdit::Retry).await.unwrap_err();
    assert!(matches!(missing, Error::Refused(Refusal::MailNotFound)), "{missing:?}");
    let bolt = world.register("Bolt", "essentials").await;
    world.clock.advance(TimeDelta::days(8));
    let late = edit(only(&world, bolt.tenant_id).await.id, MailEdit::Retry).await.unwrap_err();
    assert!(matches!(late, Error::Refused(Refusal::MailOutdated { .. })), "{late:?}");
    let actions = super::actions(&store, issued.tenant_id).await;
    let changes = actions.into_iter().filter(|action| action.starts_with("mail_"));
    assert_eq!(
        changes.collect::<Vec<_>>(),
        ["mail_retried", "mail_discarded"],
        "repeating a change writes no audit entry"
    );
}

/// Events of one action, source, code and minute are counted in one audit entry: anybody can cause
/// such events, so each must not add a row. R-download-3.
pub async fn counted_events_share_an_audit_entry(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let minute = world.now();
    let next = minute + TimeDelta::minutes(1);
    let code = |number: u128| Some(CodeId(uuid::Uuid::from_u128(number)));
    let mut counts = Vec::new();
    for (action, code_id, source, at, expected) in [
        (Action::UnknownCodes, None, "eve", minute, 3),
        (Action::UnknownCodes, None, "mallory", minute, 1),
        (Action::UnknownCodes, None, "eve", next, 2),
        (Action::DownloadStarted, code(1), "eve", minute, 2),
        (Action::DownloadStarted, code(2), "eve", minute, 1),
        (Action::DownloadRefused, code(1), "eve", minute, 2),
        (Action::DownloadStarted, code(1), "eve", next, 1),
    ] {
        for _ in 0..expected {
            let actor = Actor { name: "anyone".to_owned(), source: source.to_owned() };
            let id = AuditId(world.registry.new_id());
            let (tenant_id, mail_id, detail) = (None, None, AuditDetail::value("1.0"));
            let entry =
                AuditEntry { id, at, actor, action, tenant_id, code_id, mail_id, detail, count: 1 };
            store.audit_count(entry).await.unwrap();
        }
        counts.push((action.as_str(), code_id, source.to_owned(), at, expected));
    }
    let entries = audit(&*store, None).await;
    let summary = |it: &AuditEntry| {
        (it.action.as_str(), it.code_id, it.actor.source.clone(), it.at, it.count)
    };
    let mut found: Vec<_> = entries.iter().map(summary).collect();
    found.sort();
    counts.sort();
    assert_eq!(found, counts);
    assert!(
        entries
            .iter()
            .all(|it| it.actor.name == "anyone" && it.detail == AuditDetail::value("1.0"))
    );
}

/// Mails are counted by state, and those that wait for long are delayed.
pub async fn mails_are_counted(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    world.register("Early", "essentials").await;
    world.clock.advance(TimeDelta::hours(1));
    let since = world.now();
    world.register("Late", "essentials").await;
    let counts = store.mail_counts(since).await.unwrap();
    assert_eq!(counts, MailCounts { queued: 2, delayed: 1, dead: 0 });
    let mail = store.mail_lease(since, since + TimeDelta::minutes(5)).await.unwrap().unwrap();
    let dead = DeliveryOutcome::Dead { error: "no such user".to_owned() };
    settle(&store, mail.id, since + TimeDelta::minutes(5), dead, since).await;
    let counts = store.mail_counts(since).await.unwrap();
    assert_eq!((counts.queued, counts.dead), (1, 1));
}

/// A mail that was queued before the clock was set back by days is sent at once, and not days late.
pub async fn mail_is_due_after_clock_was_set_back(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    world.register("Acme", "essentials").await;
    let before = world.now() - TimeDelta::days(2);
    let until = before + TimeDelta::minutes(5);
    assert!(store.mail_lease(before, until).await.unwrap().is_some());
    assert!(store.mail_lease(before, until).await.unwrap().is_none(), "it is leased");
    // A mail that waits for its next attempt is not mistaken for such a one.
    assert!(store.mail_lease(until - LONGEST_DELAY, until).await.unwrap().is_none());
}
