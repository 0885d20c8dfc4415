//! The outbox, from the queue to the mailer.

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
async fn a_registration_is_mailed_with_its_code_and_link() {
    let world = World::in_memory();
    publish(&world).await;
    let issued = world.register("Acme", "pro").await;
    world.deliver().await;
    let [mail] = &world.mailer.sent()[..] else { panic!("one mail") };
    assert_eq!((mail.to.as_str(), &mail.code), ("acme@example.com", &*issued.code.grouped()));
    let token =
        mail.link.as_deref().unwrap().strip_prefix("https://registry.example/download/").unwrap();
    let source = Source::of([192, 0, 2, 1].into());
    let fresh = world.registry.download_start(token, source).await.unwrap();
    assert!(fresh.expose().starts_with("memory:stable/"), "{}", fresh.expose());
    assert_ne!(fresh.expose(), issued.download.unwrap().expose(), "a short one");
    assert!(world.deliver().await.is_empty());
    let queued = world.mails(issued.tenant_id).await.remove(0);
    assert_eq!((queued.state, queued.sealed), (MailState::Sent, None));
}

#[tokio::test]
async fn no_mail_is_sent_where_none_is_wanted() {
    let world = World::in_memory();
    let mut new = World::new_tenant("Acme", "pro");
    new.send_email = false;
    let issued = world.registry.tenant_register(new, actor()).await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.mails(issued.tenant_id).await, []);
}

#[tokio::test]
async fn a_mail_that_fails_waits_and_is_sent_later_and_a_hopeless_one_is_given_up() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    world.mailer.fail(Some(MailError::Transient("busy".to_owned())));
    let soonest = world.now() + TimeDelta::seconds(30);
    let DeliveryOutcome::Retry { due_at, error } = world.deliver().await.remove(0).settlement
    else {
        panic!("a retry")
    };
    assert!(soonest <= due_at && due_at <= soonest + TimeDelta::milliseconds(7_500), "{due_at}");
    assert_eq!(error, "busy");
    assert!(world.deliver().await.is_empty());
    world.mailer.fail(None);
    world.clock.advance(TimeDelta::seconds(38));
    assert_eq!(world.deliver().await[0].settlement, DeliveryOutcome::Sent);

    world.mailer.fail(Some(MailError::Permanent("no such user".to_owned())));
    world.reissue(issued.tenant_id).await.unwrap();
    world.deliver().await;
    let states: Vec<_> = world.mails(issued.tenant_id).await;
    assert_eq!(
        states.iter().map(|mail| mail.state).collect::<Vec<_>>(),
        [MailState::Sent, MailState::Dead]
    );
}

#[tokio::test]
async fn while_no_mail_can_be_sent_all_wait_and_then_go_out_in_the_order_of_their_age() {
    let world = World::in_memory();
    world.mailer.fail(Some(MailError::Unavailable("connection refused".to_owned())));
    for number in 0..5 {
        world.register(&format!("Company {number}"), "pro").await;
        let held = world.deliver().await;
        assert!(
            matches!(held[..], [Delivery { settlement: DeliveryOutcome::Deferred { .. }, .. }]),
            "{held:?}"
        );
        world.clock.advance(TimeDelta::hours(20));
    }
    world.mailer.fail(None);
    world.deliver().await;
    let sent: Vec<_> = world.mailer.sent().into_iter().map(|mail| mail.to).collect();
    let in_order: Vec<_> = (0..5).map(|number| format!("company-{number}@example.com")).collect();
    assert_eq!(sent, in_order, "none was given up, however long it took");
}

#[tokio::test]
async fn a_mail_that_breaks_the_connection_holds_up_no_other() {
    let world = World::in_memory();
    let poison = world.register("Poison", "pro").await;
    world.mailer.be_choosy();
    world.mailer.fail(Some(MailError::Unclear("connection reset".to_owned())));
    let tried = world.deliver().await;
    assert!(
        matches!(tried[..], [Delivery { settlement: DeliveryOutcome::Retry { .. }, .. }]),
        "{tried:?}"
    );
    world.mailer.fail(None);
    world.register("Acme", "pro").await;
    world.deliver().await;
    assert_eq!(world.mailer.sent().len(), 1);
    assert_eq!(world.mails(poison.tenant_id).await[0].attempts, 1);
}

#[tokio::test]
async fn a_link_follows_its_code_and_the_current_release_and_leaves_one_audit_line_a_minute() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    publish(&world).await;
    world.deliver().await;
    let link = world.mailer.sent()[0].link.clone().unwrap();
    let token = link.rsplit('/').next().unwrap().to_owned();
    let source = Source::of([192, 0, 2, 1].into());
    let follow = async || world.registry.download_start(&token, source).await;
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
    let ended = follow().await.unwrap_err();
    assert!(ended.to_string().contains("ended on"), "{ended}");
    let audit = audit(&*world.ports.store, Some(issued.tenant_id)).await;
    let lines = audit.iter().filter(|it| it.action.is_counted());
    let lines: Vec<_> =
        lines.map(|it| (it.action.as_str(), it.detail.as_str(), it.count)).collect();
    let expected = [
        ("download_started", "1.0", 3),
        ("download_started", "2.0", 1),
        ("download_refused", "nothing_to_download", 1),
        ("download_refused", "download_link_ended", 1),
    ];
    assert_eq!(lines, expected);
    let forged = world.registry.download_start("AAAA", source).await;
    assert!(matches!(forged, Err(Error::Refused(Refusal::DownloadLinkInvalid))), "{forged:?}");
}

#[tokio::test]
async fn a_registration_succeeds_without_a_release_and_with_the_blob_store_down() {
    let world = World::in_memory();
    assert!(world.register("Acme", "pro").await.download.is_none());
    publish(&world).await;
    world.blobs.fail(true);
    assert!(
        world.register("Bolt", "pro").await.download.is_some(),
        "links are made without asking the store"
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
async fn a_code_that_ended_before_its_mail_could_go_out_is_not_mailed() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    world.clock.advance(TimeDelta::days(7));
    let tried = world.deliver().await.remove(0).settlement;
    assert!(matches!(tried, DeliveryOutcome::Dead { error } if error.contains("ended")));
    assert!(world.mailer.sent().is_empty());
    assert_eq!(world.mails(issued.tenant_id).await[0].state, MailState::Dead);
}

#[tokio::test]
async fn an_image_that_did_not_arrive_whole_is_not_published() {
    let world = World::in_memory();
    world.blobs.lose_last_bytes();
    let failed = world.publish("1.0", b"content").await.unwrap_err();
    assert!(failed.to_string().contains("6 of 7 bytes"), "{failed}");
    let channel = world.registry.settings().channel.clone();
    assert_eq!(world.ports.store.release_current(channel).await.unwrap(), None);
}
