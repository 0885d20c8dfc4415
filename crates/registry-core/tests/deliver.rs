//! The outbox, from the queue to the mailer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::TimeDelta;
use registry_core::mail::{MailError, MailState, Settlement};
use registry_testkit::{World, actor};

async fn publish(world: &World) {
    let mut upload = world.registry.release_begin("1.0", "image.iso", actor()).await.unwrap();
    upload.write(b"content").await.unwrap();
    world.registry.release_publish(upload).await.unwrap();
}

#[tokio::test]
async fn a_registration_is_mailed_with_its_code_and_link() {
    let world = World::in_memory();
    publish(&world).await;
    let issued = world.register("Acme", "pro").await;
    world.registry.mail_deliver().await.unwrap();
    let [mail] = &world.mailer.sent()[..] else { panic!("one mail") };
    assert_eq!((mail.to.as_str(), &mail.code), ("acme@example.com", &*issued.code.grouped()));
    assert_eq!(mail.link.as_deref(), Some(issued.download.unwrap().expose()));
    assert!(world.registry.mail_deliver().await.unwrap().is_empty());
    let queued = world.ports.store.mail_list(issued.tenant_id).await.unwrap().remove(0);
    assert_eq!((queued.state, queued.sealed), (MailState::Sent, None));
}

#[tokio::test]
async fn no_mail_is_sent_where_none_is_wanted() {
    let world = World::in_memory();
    let mut new = World::new_tenant("Acme", "pro");
    new.send_email = false;
    let issued = world.registry.tenant_register(new, actor()).await.unwrap();
    assert!(world.registry.mail_deliver().await.unwrap().is_empty());
    assert_eq!(world.ports.store.mail_list(issued.tenant_id).await.unwrap(), []);
}

#[tokio::test]
async fn a_mail_that_fails_waits_and_is_sent_later_and_a_hopeless_one_is_given_up() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    world.mailer.fail(Some(MailError::Transient("busy".to_owned())));
    let due_at = world.now() + TimeDelta::seconds(30);
    let tried = world.registry.mail_deliver().await.unwrap().remove(0).settlement;
    assert_eq!(tried, Settlement::Retry { due_at, error: "busy".to_owned() });
    assert!(world.registry.mail_deliver().await.unwrap().is_empty());
    world.mailer.fail(None);
    world.clock.advance(TimeDelta::seconds(30));
    assert_eq!(world.registry.mail_deliver().await.unwrap()[0].settlement, Settlement::Sent);

    world.mailer.fail(Some(MailError::Permanent("no such user".to_owned())));
    world.reissue(issued.tenant_id).await.unwrap();
    world.registry.mail_deliver().await.unwrap();
    let states: Vec<_> = world.ports.store.mail_list(issued.tenant_id).await.unwrap();
    assert_eq!(states.iter().map(|mail| mail.state).collect::<Vec<_>>(), [MailState::Sent, MailState::Dead]);
}

#[tokio::test]
async fn a_registration_succeeds_without_a_release_and_with_the_blob_store_down() {
    let world = World::in_memory();
    assert!(world.register("Acme", "pro").await.download.is_none());
    publish(&world).await;
    world.blobs.fail(true);
    assert!(world.register("Bolt", "pro").await.download.is_some(), "links are made without asking the store");
    let parts = world.registry.readiness().await;
    let down: Vec<_> =
        parts.iter().filter(|part| part.state != registry_core::registry::readiness::PartState::Ok).collect();
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
    let tried = world.registry.mail_deliver().await.unwrap().remove(0).settlement;
    assert!(matches!(tried, Settlement::Dead { error } if error.contains("ended")));
    assert!(world.mailer.sent().is_empty());
    assert_eq!(world.ports.store.mail_list(issued.tenant_id).await.unwrap()[0].state, MailState::Dead);
}

#[tokio::test]
async fn an_image_that_did_not_arrive_whole_is_not_published() {
    let world = World::in_memory();
    world.blobs.lose_last_bytes();
    let mut upload = world.registry.release_begin("1.0", "image.iso", actor()).await.unwrap();
    upload.write(b"content").await.unwrap();
    let failed = world.registry.release_publish(upload).await.unwrap_err();
    assert!(failed.to_string().contains("6 of 7 bytes"), "{failed}");
    let channel = world.registry.settings().channel.clone();
    assert_eq!(world.ports.store.release_current(channel).await.unwrap(), None);
}
