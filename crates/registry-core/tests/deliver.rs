//! Mails of the outbox, from registration to delivery.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::TimeDelta;
use registry_core::mail::{DeliveryOutcome, MailError, MailState};
use registry_core::rate_limit::Source;
use registry_core::registry::deliver::Delivery;
use registry_core::{Error, Refusal};
use registry_testkit::{World, actor, audit};

async fn publish(world: &World) {
    world.publish("1.0", b"content").await.unwrap();
}

#[tokio::test]
async fn registration_is_mailed_with_code_and_link() {
    let world = World::in_memory();
    publish(&world).await;
    let issued = world.register("Acme", "pro").await;
    world.deliver().await;
    let [mail] = &world.mailer.sent()[..] else { panic!("one mail") };
    assert_eq!((mail.to.as_str(), &mail.code), ("acme@example.com", &*issued.code.grouped()));
    let token =
        mail.link.as_deref().unwrap().strip_prefix("https://registry.example/download/").unwrap();
    let source = Source::of([192, 0, 2, 1].into());
    let file = world.registry.mailed_download(token, source).await.unwrap();
    assert!(file.expose().starts_with("memory:stable/"), "{}", file.expose());
    assert_ne!(file.expose(), issued.download.unwrap().expose(), "the lifetimes differ");
    assert!(world.deliver().await.is_empty());
    let queued = world.mails(issued.tenant_id).await.remove(0);
    assert_eq!((queued.state, queued.sealed), (MailState::Sent, None));
}

#[tokio::test]
async fn mail_is_optional() {
    let world = World::in_memory();
    let mut new = World::new_tenant("Acme", "pro");
    new.send_email = false;
    let issued = world.registry.tenant_register(new, actor()).await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.mails(issued.tenant_id).await, []);
}

#[tokio::test]
async fn transient_failure_is_retried() {
    let world = World::in_memory();
    world.register("Acme", "pro").await;
    world.mailer.fail(Some(MailError::Transient("busy".to_owned())));
    let soonest = world.now() + TimeDelta::seconds(30);
    let DeliveryOutcome::Retry { due_at, error } = world.deliver().await.remove(0).outcome else {
        panic!("a retry")
    };
    assert!(soonest <= due_at && due_at <= soonest + TimeDelta::milliseconds(7_500), "{due_at}");
    assert_eq!(error, "busy");
    assert!(world.deliver().await.is_empty());
    world.mailer.fail(None);
    world.clock.advance(TimeDelta::seconds(38));
    assert_eq!(world.deliver().await[0].outcome, DeliveryOutcome::Sent);
}

#[tokio::test]
async fn permanent_failure_is_given_up() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    world.deliver().await;
    world.mailer.fail(Some(MailError::Permanent("no such user".to_owned())));
    world.reissue(issued.tenant_id).await.unwrap();
    world.deliver().await;
    let states: Vec<_> = world.mails(issued.tenant_id).await.iter().map(|it| it.state).collect();
    assert_eq!(states, [MailState::Sent, MailState::Dead]);
}

#[tokio::test]
async fn deferred_mails_all_go_out() {
    let world = World::in_memory();
    world.mailer.fail(Some(MailError::Unavailable("connection refused".to_owned())));
    for number in 0..5 {
        world.register(&format!("Company {number}"), "pro").await;
        let deferred = world.deliver().await;
        assert!(
            matches!(deferred[..], [Delivery { outcome: DeliveryOutcome::Deferred { .. }, .. }]),
            "{deferred:?}"
        );
        world.clock.advance(TimeDelta::hours(20));
    }
    world.mailer.fail(None);
    world.deliver().await;
    let mut sent: Vec<_> = world.mailer.sent().into_iter().map(|mail| mail.to).collect();
    sent.sort();
    let all: Vec<_> = (0..5).map(|number| format!("company-{number}@example.com")).collect();
    assert_eq!(sent, all, "each is sent once, even after four days");
}

#[tokio::test]
async fn one_bad_mail_does_not_block_others() {
    let world = World::in_memory();
    let poison = world.register("Poison", "pro").await;
    world.mailer.keep_probe_healthy();
    world.mailer.fail(Some(MailError::Unclear("connection reset".to_owned())));
    let attempts = world.deliver().await;
    assert!(
        matches!(attempts[..], [Delivery { outcome: DeliveryOutcome::Retry { .. }, .. }]),
        "{attempts:?}"
    );
    world.mailer.fail(None);
    world.register("Acme", "pro").await;
    world.deliver().await;
    assert_eq!(world.mailer.sent().len(), 1);
    assert_eq!(world.mails(poison.tenant_id).await[0].attempts, 1);
}

/// R-download-1, R-download-2, R-download-3.
#[tokio::test]
async fn link_uses_are_audited_by_minute() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    publish(&world).await;
    world.deliver().await;
    let link = world.mailer.sent()[0].link.clone().unwrap();
    let token = link.rsplit('/').next().unwrap().to_owned();
    let source = Source::of([192, 0, 2, 1].into());
    let follow = async || world.registry.mailed_download(&token, source).await;
    for _ in 0..3 {
        follow().await.unwrap();
    }
    world.clock.advance(TimeDelta::minutes(1));
    world.publish("2.0", b"newer").await.unwrap();
    follow().await.unwrap();
    world.clock.advance(TimeDelta::minutes(1));
    world.registry.release_yank("2.0", None, actor()).await.unwrap();
    world.registry.release_yank("1.0", None, actor()).await.unwrap();
    assert!(matches!(follow().await, Err(Error::Refused(Refusal::NothingToDownload))));
    world.redeem(&issued.code, "appliance").await.unwrap();
    world.clock.advance(TimeDelta::days(8));
    let ended = follow().await;
    assert!(matches!(ended, Err(Error::Refused(Refusal::DownloadLinkEnded { .. }))), "{ended:?}");
    let audit = audit(&*world.ports.store, Some(issued.tenant_id)).await;
    let entries = audit.iter().filter(|it| it.action.is_counted());
    let entries: Vec<_> =
        entries.map(|it| (it.action.as_str(), it.detail.to_string(), it.count)).collect();
    let expected = [
        ("download_started", "1.0", 3),
        ("download_started", "2.0", 1),
        ("download_refused", "nothing_to_download", 1),
        ("download_refused", "download_link_ended", 1),
    ];
    let expected = expected.map(|(action, detail, count)| (action, detail.to_owned(), count));
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn forged_download_token_is_refused() {
    let world = World::in_memory();
    let source = Source::of([192, 0, 2, 1].into());
    let forged = world.registry.mailed_download("AAAA", source).await;
    assert!(matches!(forged, Err(Error::Refused(Refusal::DownloadLinkInvalid))), "{forged:?}");
}

/// R-register-tenant-2.
#[tokio::test]
async fn registration_needs_no_release() {
    let world = World::in_memory();
    assert!(world.register("Acme", "pro").await.download.is_none());
}

/// R-register-tenant-2.
#[tokio::test]
async fn registration_needs_no_blob_store() {
    let world = World::in_memory();
    publish(&world).await;
    world.blobs.fail(true);
    assert!(
        world.register("Bolt", "pro").await.download.is_some(),
        "a link is created without a request to the blob store"
    );
    let parts = world.registry.readiness().await;
    let down: Vec<_> = parts
        .iter()
        .filter(|part| part.state != registry_core::registry::readiness::PartState::Ok)
        .collect();
    assert_eq!(
        down.iter().map(|part| (part.name, part.required)).collect::<Vec<_>>(),
        [("blob_store", false), ("release", false)]
    );
}

#[tokio::test]
async fn expired_code_is_not_mailed() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    world.clock.advance(TimeDelta::days(7));
    let outcome = world.deliver().await.remove(0).outcome;
    assert!(matches!(outcome, DeliveryOutcome::Dead { error } if error.contains("expired")));
    assert!(world.mailer.sent().is_empty());
    assert_eq!(world.mails(issued.tenant_id).await[0].state, MailState::Dead);
}

#[tokio::test]
async fn incomplete_image_is_not_published() {
    let world = World::in_memory();
    world.blobs.truncate_uploads();
    let failed = world.publish("1.0", b"content").await.unwrap_err();
    assert!(failed.to_string().contains("6 of 7 bytes"), "{failed}");
    let channel = world.registry.settings().downloads.channel.clone();
    assert_eq!(world.ports.store.release_current(channel).await.unwrap(), None);
}
