//! Releases: publishing, withdrawing, going back.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::blob::BlobKey;
use registry_core::id::ReleaseId;
use registry_core::release::Release;
use registry_core::store::{Store, Write};
use registry_core::text::Version;
use registry_core::{Error, Refusal};

use crate::World;
use crate::world::actor;

/// The version that customers download.
async fn current(world: &World) -> Option<String> {
    let channel = world.registry.settings().channel.clone();
    world
        .ports
        .store
        .release_current(channel)
        .await
        .unwrap()
        .map(|release| release.version.to_string())
}

async fn yank(world: &World, version: &str) -> Result<(), Error> {
    world.registry.release_yank(version, None, actor()).await.map(drop)
}

async fn roll_back(world: &World, version: Option<&str>) -> Result<(), Error> {
    world.registry.release_rollback(version, None, actor()).await.map(drop)
}

/// Publishing.
pub async fn publishing_makes_a_release_current_and_never_replaces_a_version(
    store: Arc<dyn Store>,
) {
    let world = World::over(store);
    assert_eq!(current(&world).await, None);
    let one = world.publish("1.0", b"one").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("1.0"));
    world.clock.advance(TimeDelta::seconds(1));
    let two = world.publish("2.0", b"two").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("2.0"));
    let refused = world.publish("1.0", b"other").await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::ReleaseExists { .. })), "{refused:?}");
    assert_eq!(current(&world).await.as_deref(), Some("2.0"));
    assert_eq!(world.publish("1.0", b"one").await.unwrap(), one);
    assert_eq!(current(&world).await.as_deref(), Some("1.0"));
    assert_eq!(world.blobs.content(&one.key).as_deref(), Some(&b"one"[..]));
    world.clock.advance(TimeDelta::seconds(1));
    world.ports.blobs.delete(&one.key).await.unwrap();
    let mended = world.publish("1.0", b"one").await.unwrap();
    assert_eq!(
        (mended.id, current(&world).await.as_deref()),
        (one.id, Some("1.0")),
        "a lost file is brought back"
    );
    assert_eq!(world.blobs.content(&mended.key).as_deref(), Some(&b"one"[..]));
    let listed = world.registry.release_list(Some("stable")).await.unwrap();
    let shown: Vec<_> =
        listed.iter().map(|it| (it.release.version.as_str(), it.is_current)).collect();
    assert_eq!(shown, [("1.0", true), ("2.0", false)], "newest first, and the mended one is new");
    assert_eq!(listed[1].release, two);
    assert_eq!(world.registry.release_list(Some("beta")).await.unwrap(), []);
    assert_eq!(world.ports.store.release_of_file(two.key.clone()).await.unwrap(), Some(two));
}

/// From before manifests were signed.
pub async fn publishing_again_signs_a_release_that_has_no_manifest(store: Arc<dyn Store>) {
    let world = World::over(store);
    let signed = world.publish("1.0", b"one").await.unwrap();
    let old = Release { manifest: None, id: ReleaseId(world.registry.draw_id()), ..signed.clone() };
    let (version, key) =
        (Version::parse("0.9").unwrap(), BlobKey::parse("stable/old/image.iso").unwrap());
    let old = Release { version, key: key.clone(), ..old };
    world.write(vec![Write::PutRelease(Box::new(old.clone()))]).await.unwrap();
    let mut upload = world.ports.blobs.upload(&key, None).await.unwrap();
    upload.write(b"one").await.unwrap();
    upload.finish().await.unwrap();
    let again = world.publish("0.9", b"one").await.unwrap();
    assert_eq!((again.id, again.manifest.is_some()), (old.id, true));
    assert_eq!(world.registry.release_show("0.9", None).await.unwrap().release, again);
}

/// Withdrawing.
pub async fn a_yanked_release_is_never_current_again(store: Arc<dyn Store>) {
    let world = World::over(store);
    for version in ["1.0", "2.0", "3.0"] {
        world.publish(version, version.as_bytes()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
    }
    yank(&world, "2.0").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("3.0"), "another one was withdrawn");
    yank(&world, "3.0").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("1.0"), "the newest that is left");
    let since = world.registry.release_show("3.0", None).await.unwrap().release.yanked_at;
    world.clock.advance(TimeDelta::seconds(1));
    yank(&world, "3.0").await.unwrap();
    assert_eq!(
        world.registry.release_show("3.0", None).await.unwrap().release.yanked_at,
        since,
        "repeated"
    );
    for attempt in [
        world.publish("3.0", b"3.0").await.map(drop),
        world.publish("2.0", b"mended").await.map(drop),
        roll_back(&world, Some("3.0")).await,
    ] {
        assert!(
            matches!(attempt, Err(Error::Refused(Refusal::ReleaseYanked { .. }))),
            "{attempt:?}"
        );
    }
    yank(&world, "1.0").await.unwrap();
    assert_eq!(current(&world).await, None, "none is left");
    assert!(matches!(yank(&world, "9.9").await, Err(Error::Refused(Refusal::ReleaseNotFound))));
    world.publish("4.0", b"4.0").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("4.0"));
}

/// Going back.
pub async fn rolling_back_goes_to_the_newest_older_release_or_the_named_one(store: Arc<dyn Store>) {
    let world = World::over(store);
    let nothing = roll_back(&world, None).await;
    assert!(
        matches!(nothing, Err(Error::Refused(Refusal::NoEarlierRelease { .. }))),
        "{nothing:?}"
    );
    for version in ["1.0", "2.0", "3.0", "4.0"] {
        world.publish(version, version.as_bytes()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
    }
    yank(&world, "3.0").await.unwrap();
    roll_back(&world, None).await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("2.0"), "over the yanked one");
    roll_back(&world, None).await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("1.0"));
    let end = roll_back(&world, None).await;
    assert!(matches!(end, Err(Error::Refused(Refusal::NoEarlierRelease { .. }))), "{end:?}");
    roll_back(&world, Some("4.0")).await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("4.0"));
    let missing = roll_back(&world, Some("9.9")).await;
    assert!(matches!(missing, Err(Error::Refused(Refusal::ReleaseNotFound))), "{missing:?}");
}

/// Two operators at once.
pub async fn a_rollback_racing_a_yank_never_offers_what_was_withdrawn(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store));
    for round in 0..10 {
        let (old, new) = (format!("{round}.0"), format!("{round}.1"));
        for version in [&old, &new] {
            world.publish(version, version.as_bytes()).await.unwrap();
            world.clock.advance(TimeDelta::seconds(1));
        }
        let tasks = (0..2).map(|number| {
            let (world, old) = (world.clone(), old.clone());
            tokio::spawn(async move {
                match number {
                    0 => yank(&world, &old).await,
                    _ => roll_back(&world, Some(&old)).await,
                }
            })
        });
        for ended in join_all(tasks).await {
            let ended = ended.unwrap();
            let refused = matches!(ended, Err(Error::Refused(Refusal::ReleaseYanked { .. })));
            assert!(ended.is_ok() || refused, "{ended:?}");
        }
        assert_ne!(current(&world).await, Some(old), "it was yanked");
    }
}
