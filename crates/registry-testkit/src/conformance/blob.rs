//! What every blob store must do: a case for each MUST in `registry_core::blob`.

use registry_core::blob::{BlobError, BlobKey, BlobStore};
use registry_core::clock::Timestamp;

/// Stamps the suite on a blob store: `$fresh` is an expression that makes an empty one, or
/// something that derefs to it.
#[macro_export]
macro_rules! blob_conformance {
    ($fresh:expr) => {
        $crate::blob_conformance!(@cases $fresh;
            a_file_is_visible_when_it_is_finished_and_not_before,
            an_upload_that_is_dropped_or_aborted_leaves_nothing,
            finishing_again_replaces_the_file_whole,
            deleting_twice_is_no_error,
            a_link_is_made_without_asking_for_the_file,
        );
    };
    (@cases $fresh:expr; $($case:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let fresh = $fresh;
            $crate::conformance::blob::$case(&*fresh).await;
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

/// Visibility.
pub async fn a_file_is_visible_when_it_is_finished_and_not_before(blobs: &dyn BlobStore) {
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

/// Leftovers.
pub async fn an_upload_that_is_dropped_or_aborted_leaves_nothing(blobs: &dyn BlobStore) {
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

/// Replacement.
pub async fn finishing_again_replaces_the_file_whole(blobs: &dyn BlobStore) {
    let key = key("a/b");
    put(blobs, &key, &[b"long content"]).await;
    put(blobs, &key, &[b"short"]).await;
    assert_eq!(blobs.size(&key).await.unwrap(), 5);
    put(blobs, &key, &[]).await;
    assert_eq!(blobs.size(&key).await.unwrap(), 0);
}

/// Deletion.
pub async fn deleting_twice_is_no_error(blobs: &dyn BlobStore) {
    let (gone, stays) = (key("a/gone"), key("a/stays"));
    put(blobs, &gone, &[b"x"]).await;
    put(blobs, &stays, &[b"x"]).await;
    blobs.delete(&gone).await.unwrap();
    blobs.delete(&gone).await.unwrap();
    assert!(matches!(blobs.size(&gone).await, Err(BlobError::NotFound(_))));
    assert_eq!(blobs.size(&stays).await.unwrap(), 1);
}

/// Links.
pub async fn a_link_is_made_without_asking_for_the_file(blobs: &dyn BlobStore) {
    let at = |seconds: i64| Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
    let link = blobs.link(&key("stable/not-there.iso"), at(0), at(60)).await.unwrap();
    assert!(link.expose().contains("stable/not-there.iso"), "it names the file");
}
