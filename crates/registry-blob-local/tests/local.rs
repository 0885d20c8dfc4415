//! The local folder: conformance to the blob store port, links, and abandoned uploads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use registry_blob_local::{LinkKey, LocalBlobs};
use registry_core::blob::{BlobError, BlobKey, BlobStore, LinkError, LinkedFiles};
use registry_core::clock::Timestamp;
use registry_core::secret::KeyId;

struct Folder {
    blobs: LocalBlobs,
    root: tempfile::TempDir,
}

fn key(id: &str, byte: u8) -> LinkKey {
    LinkKey { id: KeyId(id.to_owned()), secret: [byte; 32].into() }
}

fn folder() -> Folder {
    let root = tempfile::tempdir().unwrap();
    let blobs =
        LocalBlobs::open(root.path(), "http://here/files", vec![key("new", 1), key("old", 2)])
            .unwrap();
    Folder { blobs, root }
}

impl std::ops::Deref for Folder {
    type Target = LocalBlobs;

    fn deref(&self) -> &LocalBlobs {
        &self.blobs
    }
}

registry_testkit::blob_conformance!(folder());

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// Stores a file, and returns the path and the query of a link to it.
async fn linked(blobs: &LocalBlobs) -> (String, String) {
    let file = BlobKey::parse("stable/1/image.iso").unwrap();
    let mut upload = blobs.upload(&file, None).await.unwrap();
    upload.write(b"content").await.unwrap();
    upload.finish().await.unwrap();
    let link = blobs.link(&file, None, at(0), at(60)).await.unwrap();
    let rest = link.expose().strip_prefix("http://here/files/").unwrap();
    let (path, query) = rest.split_once('?').unwrap();
    (path.to_owned(), query.to_owned())
}

/// R-files-1.
#[tokio::test]
async fn link_works_until_its_expiry() {
    let folder = folder();
    let (path, query) = linked(&folder).await;
    let file = folder.open(&path, &query, at(59)).unwrap();
    assert_eq!(std::fs::read(file.path).unwrap(), b"content");
    assert_eq!(folder.open(&path, &query, at(60)).unwrap_err(), LinkError::Expired(at(60)));
}

/// R-files-4.
#[tokio::test]
async fn altered_link_is_invalid() {
    let folder = folder();
    let (path, query) = linked(&folder).await;
    for index in 0..query.len() {
        for other in ["0", "f", "&", "%", ""] {
            let mut altered = query.clone();
            altered.replace_range(index..=index, other);
            if altered != query {
                assert_eq!(
                    folder.open(&path, &altered, at(0)).unwrap_err(),
                    LinkError::Invalid,
                    "{altered}"
                );
            }
        }
    }
    for path in
        ["stable/1/other.iso", "../stable/1/image.iso", "stable/1/image.iso/", "", "/etc/passwd"]
    {
        assert_eq!(folder.open(path, &query, at(0)).unwrap_err(), LinkError::Invalid, "{path}");
    }
    let plus = query.replace("expires=", "expires=+");
    assert_eq!(folder.open(&path, &plus, at(0)).unwrap_err(), LinkError::Invalid);
    assert_eq!(folder.open(&path, "", at(0)).unwrap_err(), LinkError::Invalid);
}

#[tokio::test]
async fn link_works_under_any_known_key() {
    let folder = folder();
    linked(&folder).await;
    let reopen = |keys| LocalBlobs::open(folder.root.path(), "http://here/files", keys).unwrap();
    let (path, query) = linked(&reopen(vec![key("old", 2)])).await;
    assert!(folder.open(&path, &query, at(0)).is_ok());
    let (path, query) = linked(&reopen(vec![key("other", 2)])).await;
    assert_eq!(folder.open(&path, &query, at(0)).unwrap_err(), LinkError::Invalid);
}

#[tokio::test]
async fn link_to_deleted_file_is_gone() {
    let folder = folder();
    let (path, query) = linked(&folder).await;
    folder.delete(&BlobKey::parse(&path).unwrap()).await.unwrap();
    assert_eq!(folder.open(&path, &query, at(0)).unwrap_err(), LinkError::Gone);
}

#[tokio::test]
async fn missing_folder_is_unavailable() {
    let folder = folder();
    linked(&folder).await;
    std::fs::remove_dir_all(folder.root.path()).unwrap();
    assert!(matches!(folder.probe().await, Err(BlobError::Unavailable(_))));
    assert!(matches!(
        folder.upload(&BlobKey::parse("a").unwrap(), None).await,
        Err(BlobError::Unavailable(_))
    ));
}

#[test]
fn abandoned_upload_is_deleted_after_a_day() {
    let folder = folder();
    let partial = folder.root.path().join(".partial");
    for (name, hours) in [("old", 25), ("new", 23)] {
        let file = std::fs::File::create(partial.join(name)).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - std::time::Duration::from_hours(hours)).unwrap();
    }
    LocalBlobs::open(folder.root.path(), "http://here/files", vec![]).unwrap();
    assert!(partial.join("new").exists() && !partial.join("old").exists());
}
