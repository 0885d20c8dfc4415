//! Releases: publishing, yanking, rolling back.

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

/// Returns the version that customers download.
async fn current(world: &World) -> Option<String> {
    let channel = world.registry.settings().downloads.channel.clone();
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

/// A published release becomes current. Other content under the same version is refused, and the
/// same content is accepted. Publishing again replaces a lost file.
pub async fn published_release_becomes_current(store: Arc<dyn Store>) {
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
    let repaired = world.publish("1.0", b"one").await.unwrap();
    assert_eq!(
        (repaired.id, current(&world).await.as_deref()),
        (one.id, Some("1.0")),
        "a lost file is replaced"
    );
    assert_eq!(world.blobs.content(&repaired.key).as_deref(), Some(&b"one"[..]));
    let listed = world.registry.release_list(Some("stable")).await.unwrap();
    let shown: Vec<_> =
        listed.iter().map(|it| (it.release.version.as_str(), it.is_current)).collect();
    assert_eq!(shown, [("1.0", true), ("2.0", false)], "the repaired release is the newest");
    assert_eq!(listed[1].release, two);
    assert_eq!(world.registry.release_list(Some("beta")).await.unwrap(), []);
    assert_eq!(world.ports.store.release_of_file(two.key.clone()).await.unwrap(), Some(two));
}

/// Publishing a release again adds a manifest if it was published before manifests were signed.
pub async fn republishing_adds_a_missing_manifest(store: Arc<dyn Store>) {
    let world = World::over(store);
    let signed = world.publish("1.0", b"one").await.unwrap();
    let old = Release { manifest: None, id: ReleaseId(world.registry.new_id()), ..signed.clone() };
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

/// A yanked release is not current, and cannot become current again by publishing or rollback. If
/// the current release is yanked, the newest earlier release becomes current, or else the oldest
/// later one.
pub async fn yanked_release_is_never_current(store: Arc<dyn Store>) {
    let world = World::over(store);
    for version in ["1.0", "2.0", "3.0"] {
        world.publish(version, version.as_bytes()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
    }
    yank(&world, "2.0").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("3.0"), "another release was yanked");
    yank(&world, "3.0").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("1.0"), "the newest release that is left");
    let since = world.registry.release_show("3.0", None).await.unwrap().release.yanked_at;
    world.clock.advance(TimeDelta::seconds(1));
    yank(&world, "3.0").await.unwrap();
    assert_eq!(
        world.registry.release_show("3.0", None).await.unwrap().release.yanked_at,
        since,
        "a second yank changes nothing"
    );
    for attempt in [
        world.publish("3.0", b"3.0").await.map(drop),
        world.publish("2.0", b"fixed").await.map(drop),
        roll_back(&world, Some("3.0")).await,
    ] {
        assert!(
            matches!(attempt, Err(Error::Refused(Refusal::ReleaseYanked { .. }))),
            "{attempt:?}"
        );
    }
    yank(&world, "1.0").await.unwrap();
    assert_eq!(current(&world).await, None, "no release is left");
    assert!(matches!(yank(&world, "9.9").await, Err(Error::Refused(Refusal::ReleaseNotFound))));
    world.publish("4.0", b"4.0").await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("4.0"));
}

/// A rollback takes the named release, or else the newest older one that is not yanked.
pub async fn rollback_selects_another_release(store: Arc<dyn Store>) {
    let world = World::over(store);
    let empty = roll_back(&world, None).await;
    assert!(matches!(empty, Err(Error::Refused(Refusal::NoEarlierRelease { .. }))), "{empty:?}");
    for version in ["1.0", "2.0", "3.0", "4.0"] {
        world.publish(version, version.as_bytes()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
    }
    yank(&world, "3.0").await.unwrap();
    roll_back(&world, None).await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("2.0"), "the yanked release is skipped");
    roll_back(&world, None).await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("1.0"));
    let end = roll_back(&world, None).await;
    assert!(matches!(end, Err(Error::Refused(Refusal::NoEarlierRelease { .. }))), "{end:?}");
    roll_back(&world, Some("4.0")).await.unwrap();
    assert_eq!(current(&world).await.as_deref(), Some("4.0"));
    let missing = roll_back(&world, Some("9.9")).await;
    assert!(matches!(missing, Err(Error::Refused(Refusal::ReleaseNotFound))), "{missing:?}");
}

/// If a rollback to a release races a yank of the same release, the release does not stay current.
pub async fn racing_rollback_never_offers_yanked_release(store: Arc<dyn Store>) {
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
        for result in join_all(tasks).await {
            let result = result.unwrap();
            let refused = matches!(result, Err(Error::Refused(Refusal::ReleaseYanked { .. })));
            assert!(result.is_ok() || refused, "{result:?}");
        }
        assert_ne!(current(&world).await, Some(old), "the yanked release is current");
    }
}
