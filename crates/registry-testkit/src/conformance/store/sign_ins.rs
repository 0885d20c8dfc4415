//! Sign-in links, and the sessions that they open.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::mail::{MailState, QueuedMail, QueuedMessage};
use registry_core::refusal::Refusal;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::{Principal, Role, SignIn, SignInKind};
use registry_core::store::{
    Decision, Outcome, RetentionKind, SignInWrite, Store, StoreError, TenantQuery, Write,
};
use registry_core::text::EmailAddress;

use crate::World;

fn customer(name: &str) -> Principal {
    Principal { role: Role::Customer, name: name.to_owned() }
}

fn link(world: &World, number: u8, principal: Principal) -> SignIn {
    let now = world.now();
    SignIn::new(
        SignInDigest([number; 32]),
        SignInKind::Link,
        principal,
        now,
        now + TimeDelta::minutes(15),
    )
}

fn session(world: &World, number: u8, principal: Principal) -> SignIn {
    let now = world.now();
    SignIn::new(
        SignInDigest([number; 32]),
        SignInKind::Session,
        principal,
        now,
        now + TimeDelta::hours(12),
    )
}

/// Commits the writes if a link or session with this digest exists, or does not, as `expects_row`
/// says. Refuses otherwise.
async fn change(
    store: &dyn Store,
    digest: SignInDigest,
    expects_row: bool,
    (outcome, writes): (SignIn, Vec<Write>),
) -> Result<Outcome<SignIn>, StoreError> {
    let decide = move |found: &Option<SignIn>| {
        let (writes, outcome) = if found.is_some() == expects_row {
            (writes.clone(), Ok(outcome.clone()))
        } else {
            (vec![], Err(Refusal::SignInLinkInvalid))
        };
        Decision::commit(writes, outcome)
    };
    store.sign_in_change(digest, Arc::new(decide)).await
}

fn insert(sign_in: &SignIn) -> Write {
    SignInWrite::Insert(Box::new(sign_in.clone())).into()
}

async fn put(store: &dyn Store, sign_in: SignIn) {
    let writes = vec![insert(&sign_in)];
    let put = change(store, sign_in.digest, false, (sign_in.clone(), writes)).await.unwrap();
    assert!(matches!(put, Outcome::Done(_)), "{put:?}");
    assert_eq!(store.sign_in_show(sign_in.digest).await.unwrap(), Some(sign_in));
}

/// Digests are unique. If many sign-ins race for a link, exactly one of them uses it. A use of a
/// session is recorded.
pub async fn racing_sign_ins_use_a_link_once(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let principal = customer("a@example.com");
    let first = link(&world, 1, principal.clone());
    put(&*store, first.clone()).await;
    let second = SignIn { digest: SignInDigest([2; 32]), ..first.clone() };
    let writes = vec![insert(&first), insert(&second)];
    let duplicate = change(&*store, second.digest, false, (second.clone(), writes)).await;
    assert!(duplicate.is_err(), "the first one's digest is taken");
    assert_eq!(
        store.sign_in_show(second.digest).await.unwrap(),
        None,
        "no write of the failed change is committed"
    );

    let racers = (10..26_u8).map(|number| {
        let (store, session) = (store.clone(), session(&world, number, principal.clone()));
        let links =
            SignInWrite::DeleteAll { principal: principal.clone(), kind: Some(SignInKind::Link) };
        let writes = vec![links.into(), insert(&session)];
        tokio::spawn(async move {
            change(&*store, SignInDigest([1; 32]), true, (session, writes)).await.unwrap()
        })
    });
    let mut opened = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Outcome::Done(session) => opened.push(session),
            refused => assert!(
                matches!(refused, Outcome::Refused(Refusal::SignInLinkInvalid)),
                "{refused:?}"
            ),
        }
    }
    assert_eq!(opened.len(), 1, "{opened:?}");
    let opened = opened.remove(0);
    assert_eq!(store.sign_in_show(opened.digest).await.unwrap(), Some(opened.clone()));
    assert_eq!(store.sign_in_show(first.digest).await.unwrap(), None);

    let used = SignIn { used_at: world.now() + TimeDelta::minutes(5), ..opened.clone() };
    let write = vec![SignInWrite::Use { session: opened.digest, at: used.used_at }.into()];
    change(&*store, opened.digest, true, (opened, write)).await.unwrap();
    assert_eq!(store.sign_in_show(used.digest).await.unwrap(), Some(used));
}

/// A sign-out ends one session, or all links and sessions of a principal. Principals with another
/// role or name are not affected.
pub async fn sign_out_ends_only_own_sessions(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let principal = customer("a@example.com");
    let same_name = Principal { role: Role::Operator, name: "a@example.com".to_owned() };
    for (number, principal) in [
        (11, &principal),
        (12, &principal),
        (13, &same_name),
        (14, &customer("b@example.com")),
        (15, &principal),
    ] {
        put(&*store, session(&world, number, principal.clone())).await;
    }
    put(&*store, link(&world, 4, principal.clone())).await;
    put(&*store, link(&world, 5, same_name)).await;
    let left = async || {
        let mut left = Vec::new();
        for number in [11, 12, 13, 14, 15, 4, 5] {
            left.extend(
                store.sign_in_show(SignInDigest([number; 32])).await.unwrap().map(|_| number),
            );
        }
        left
    };
    let end = async |write: SignInWrite| {
        let ended = session(&world, 11, principal.clone());
        change(&*store, SignInDigest([99; 32]), false, (ended, vec![write.into()])).await.unwrap();
    };
    end(SignInWrite::Delete(SignInDigest([11; 32]))).await;
    assert_eq!(left().await, [12, 13, 14, 15, 4, 5]);
    end(SignInWrite::DeleteAll { principal: principal.clone(), kind: Some(SignInKind::Link) })
        .await;
    assert_eq!(left().await, [12, 13, 14, 15, 5]);
    end(SignInWrite::DeleteAll { principal: principal.clone(), kind: None }).await;
    assert_eq!(left().await, [13, 14, 5]);
    let later = world.now() + TimeDelta::days(1);
    assert_eq!(store.count_expired(RetentionKind::SignIns, later).await.unwrap(), 3);
    assert_eq!(store.delete_expired(RetentionKind::SignIns, later, 10).await.unwrap(), 3);
}

/// A link and its mail are stored in one transaction. A re-issue discards the mail of the replaced
/// code, but not the mail of a link. A contact's tenants are found by an address in any case.
pub async fn link_and_mail_are_stored_together(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let mut mail = world.mails(issued.tenant_id).await.remove(0);
    mail.id = world.registry.new_id().into();
    mail.message = QueuedMessage::PortalLink { expires_at: world.now() };
    let store_both = async |number: u8| {
        let link = link(&world, number, customer("acme@example.com"));
        let writes = vec![insert(&link), Write::EnqueueMail(Box::new(mail.clone()))];
        change(&*store, link.digest, false, (link, writes)).await
    };
    store_both(1).await.unwrap();
    let queued = world.mails(issued.tenant_id).await;
    let stored: Vec<&QueuedMail> = queued.iter().filter(|it| it.id == mail.id).collect();
    assert_eq!(
        (stored.len(), stored[0].state, &stored[0].message),
        (1, MailState::Queued, &mail.message)
    );
    world.reissue(issued.tenant_id).await.unwrap();
    let states = async || {
        world
            .mails(issued.tenant_id)
            .await
            .into_iter()
            .map(|it| (it.message.kind(), it.state))
            .collect::<Vec<_>>()
    };
    let discarded = states().await.into_iter().filter(|(_, state)| *state == MailState::Discarded);
    assert_eq!(discarded.collect::<Vec<_>>(), [("install_code", MailState::Discarded)]);
    // The mail's id is taken, so neither the mail nor the link is stored.
    assert!(store_both(2).await.is_err());
    assert_eq!(store.sign_in_show(SignInDigest([2; 32])).await.unwrap(), None);

    world.register("Bolt", "essentials").await;
    let contact = EmailAddress::parse("ACME@Example.com").unwrap();
    let query = TenantQuery { contact: Some(contact), limit: 10, ..TenantQuery::default() };
    let found: Vec<_> =
        store.tenant_list(query).await.unwrap().iter().map(|it| it.tenant.id).collect();
    assert_eq!(found, [issued.tenant_id]);
}
