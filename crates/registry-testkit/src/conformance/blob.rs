//! Conformance of blob stores: a case for each MUST in `registry_core::blob`.

use registry_core::blob::{BlobError, BlobKey, BlobStore};
use registry_core::clock::Timestamp;

/// Creates the conformance tests of a blob store. `$new` is an expression that creates an empty
/// blob store, or something that derefs to one.
#[macro_export]
macro_rules! blob_conformance {
    ($new:expr) => {
        $crate::blob_conformance!(@cases $new;
            file_is_visible_once_finished,
            unfinished_upload_leaves_nothing,
            second_upload_replaces_the_file,
            deleting_twice_succeeds,
            link_needs_no_file,
        );
    };
    (@cases $new:expr; $($case:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let blobs = $new;
            $crate::conformance::blob::$case(&*blobs).await;
        }
    )+};
}

fn key(text: &str) -> BlobKey {
    BlobKey::parse(text).expect("a key")
}

async fn put(blobs: &dyn BlobStore, key: &BlobKey, parts: &[&[u8]]) {
    let mut upload = blobs.upload(key, None).await.unwrap();
    for part in parts {
        upload.write(part).await.unwrap();
    }
    upload.finish().await.unwrap();
}

/// A file is visible once its upload is finished, and not before.
pub async fn file_is_visible_once_finished(blobs: &dyn BlobStore) {
    blobs.probe().await.unwrap();
    let key = key("stable/1.0/image.iso");
    let mut upload = blobs.upload(&key, None).await.unwrap();
    upload.write(&vec![7; 100_000]).await.unwrap();
    assert!(matches!(blobs.size(&key).await, Err(BlobError::NotFound(_))));
    upload.write(b"").await.unwrap();
    upload.write(&[8; 1]).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(blobs.size(&key).await.unwrap(), 100_001);
    blobs.probe().await.unwrap();
}

/// An upload that is dropped or aborted leaves no file.
pub async fn unfinished_upload_leaves_nothing(blobs: &dyn BlobStore) {
    let key = key("a");
    let mut upload = blobs.upload(&key, None).await.unwrap();
    upload.write(b"content").await.unwrap();
    drop(upload);
    assert!(matches!(blobs.size(&key).await, Err(BlobError::NotFound(_))));
    let mut upload = blobs.upload(&key, None).await.unwrap();
    upload.write(b"content").await.unwrap();
    upload.abort().await.unwrap();
    assert!(matches!(blobs.size(&key).await, Err(BlobError::NotFound(_))));
}

/// A second upload replaces the whole file, also with a shorter or an empty one.
pub async fn second_upload_replaces_the_file(blobs: &dyn BlobStore) {
    let key = key("a/b");
    put(blobs, &key, &[b"long content"]).await;
    put(blobs, &key, &[b"short"]).await;
    assert_eq!(blobs.size(&key).await.unwrap(), 5);
    put(blobs, &key, &[]).await;
    assert_eq!(blobs.size(&key).await.unwrap(), 0);
}

/// Deleting a file twice succeeds, and other files stay.
pub async fn deleting_twice_succeeds(blobs: &dyn BlobStore) {
    let (deleted, other) = (key("a/deleted"), key("a/other"));
    put(blobs, &deleted, &[b"x"]).await;
    put(blobs, &other, &[b"x"]).await;
    blobs.delete(&deleted).await.unwrap();
    blobs.delete(&deleted).await.unwrap();
    assert!(matches!(blobs.size(&deleted).await, Err(BlobError::NotFound(_))));
    assert_eq!(blobs.size(&other).await.unwrap(), 1);
}

/// A link is created without checking that the file exists.
pub async fn link_needs_no_file(blobs: &dyn BlobStore) {
    let at = |seconds: i64| Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
    let link = blobs.link(&key("stable/missing.iso"), None, at(0), at(60)).await.unwrap();
    assert!(link.expose().contains("stable/missing.iso"), "the link contains the file's key");
}
