//! The bucket: conformance to the blob store port, and links, with a store that verifies
//! signatures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Deref;
use std::time::Duration;

use chrono::{SubsecRound as _, TimeDelta};
use registry_blob_s3::{S3Blobs, S3Credentials, S3Settings};
use registry_core::blob::{BlobError, BlobKey, BlobStore};
use registry_core::clock::Timestamp;
use reqwest::{Client, StatusCode};
use sha2::{Digest as _, Sha256};
use throwaway_servers::{S3Options, S3Server};

/// A blob store with its S3 server, which runs until this is dropped.
struct Bucket {
    blobs: S3Blobs,
    server: S3Server,
}

impl Deref for Bucket {
    type Target = S3Blobs;

    fn deref(&self) -> &S3Blobs {
        &self.blobs
    }
}

fn settings(server: &S3Server) -> S3Settings {
    let options = S3Options::default();
    S3Settings {
        bucket: options.bucket,
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(server.endpoint()),
        public_endpoint: None,
        path_style: true,
        prefix: None,
        credentials: Some(S3Credentials {
            access_key_id: options.access_key_id,
            secret_access_key: options.secret_access_key.into(),
            session_token: None,
        }),
        ca_pem: None,
    }
}

fn bucket_with(change: impl FnOnce(&mut S3Settings, &S3Server)) -> Bucket {
    let server = S3Server::start(S3Options::default()).unwrap();
    let mut settings = settings(&server);
    change(&mut settings, &server);
    Bucket { blobs: S3Blobs::new(&settings).unwrap(), server }
}

fn bucket() -> Bucket {
    bucket_with(|_, _| {})
}

registry_testkit::blob_conformance!(bucket());

#[expect(
    clippy::disallowed_methods,
    reason = "the store compares the time of a link with its own clock"
)]
fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now()).trunc_subsecs(0)
}

fn key() -> BlobKey {
    BlobKey::parse("stable/1/image.iso").unwrap()
}

/// Returns bytes that depend on their position, with a period that no part size is a multiple of.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

async fn put(blobs: &S3Blobs, content: &[u8]) {
    let mut upload = blobs.upload(&key(), Some(content.len() as u64)).await.unwrap();
    for part in content.chunks(1_000_003) {
        upload.write(part).await.unwrap();
    }
    upload.finish().await.unwrap();
}

/// Returns a link that expires after so many seconds.
async fn link(blobs: &S3Blobs, seconds: i64) -> String {
    let now = now();
    blobs
        .link(&key(), None, now, now + TimeDelta::seconds(seconds))
        .await
        .unwrap()
        .expose()
        .to_owned()
}

fn client() -> Client {
    throwaway_servers::install_ring_provider();
    Client::builder().no_proxy().build().unwrap()
}

async fn get(url: &str) -> reqwest::Response {
    client().get(url).send().await.unwrap()
}

/// Polls the number of bytes in the bucket until it fits, for about 30 seconds at most.
async fn wait_for_stored(server: &S3Server, problem: &str, fits: impl Fn(u64) -> bool) {
    let mut polls = 0;
    while !fits(server.stored().unwrap()) {
        polls += 1;
        assert!(polls < 600, "{problem}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_file_downloads_unchanged() {
    let bucket = bucket();
    let content = content(20_000_000);
    put(&bucket, &content).await;
    assert_eq!(bucket.size(&key()).await.unwrap(), 20_000_000);
    let link = link(&bucket, 60).await;
    let whole = get(&link).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(Sha256::digest(whole.bytes().await.unwrap()), Sha256::digest(&content));
    let part = client().get(&link).header("range", "bytes=8388600-8388699").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 8388600-8388699/20000000");
    assert_eq!(part.bytes().await.unwrap(), content[8_388_600..8_388_700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_or_expired_link_is_forbidden() {
    let bucket = bucket();
    put(&bucket, b"content").await;
    let other = BlobKey::parse("stable/2/image.iso").unwrap();
    let mut upload = bucket.upload(&other, None).await.unwrap();
    upload.write(b"other").await.unwrap();
    upload.finish().await.unwrap();
    let link = link(&bucket, 60).await;
    assert_eq!(get(&link).await.status(), StatusCode::OK);
    let flipped = if link.ends_with('0') { "1" } else { "0" };
    for altered in [
        format!("{}{flipped}", &link[..link.len() - 1]),
        link.replace("stable/1", "stable/2"),
        link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        link.split('?').next().unwrap().to_owned(),
    ] {
        assert_eq!(get(&altered).await.status(), StatusCode::FORBIDDEN, "{altered}");
    }
    let put = client().put(&link).body("other content").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::FORBIDDEN, "the link is for reading only");
    let short_link = self::link(&bucket, 1).await;
    let mut polls = 0;
    while get(&short_link).await.status() != StatusCode::FORBIDDEN {
        polls += 1;
        assert!(polls < 600, "the link of 1 s does not expire");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn link_names_the_public_endpoint() {
    let bucket =
        bucket_with(|settings, server| settings.public_endpoint = Some(server.public_endpoint()));
    put(&bucket, b"content").await;
    let link = link(&bucket, 60).await;
    assert!(
        link.starts_with(&format!(
            "{}/images/stable/1/image.iso?",
            bucket.server.public_endpoint()
        )),
        "{link}"
    );
    assert_eq!(get(&link).await.bytes().await.unwrap(), "content");
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_can_be_in_host_name() {
    let bucket = bucket_with(|settings, _| settings.prefix = Some("vendor/images".to_owned()));
    put(&bucket, b"content").await;
    // No resolver knows `images.localhost`, so the client that follows the link has its address.
    let prefix = Some("vendor/images".to_owned());
    let reader = S3Settings { path_style: false, prefix, ..settings(&bucket.server) };
    let link = link(&S3Blobs::new(&reader).unwrap(), 60).await;
    let (host, path) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    assert!(
        host.starts_with("images.localhost:")
            && path.starts_with("vendor/images/stable/1/image.iso?"),
        "{link}"
    );
    let port = host.rsplit(':').next().unwrap().parse().unwrap();
    let client = Client::builder()
        .no_proxy()
        .resolve("images.localhost", ([127, 0, 0, 1], port).into())
        .build();
    let response = client.unwrap().get(&link).send().await.unwrap();
    assert_eq!(
        (response.status(), response.bytes().await.unwrap()),
        (StatusCode::OK, "content".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_upload_leaves_no_parts() {
    let bucket = bucket();
    for is_dropped in [true, false] {
        let mut upload = bucket.upload(&key(), None).await.unwrap();
        upload.write(&content(20_000_000)).await.unwrap();
        let problem = "no part arrives in the bucket";
        wait_for_stored(&bucket.server, problem, |bytes| bytes > 1_000_000).await;
        if is_dropped {
            drop(upload);
        } else {
            upload.abort().await.unwrap();
        }
        let problem = format!("the parts remain in the bucket (dropped: {is_dropped})");
        wait_for_stored(&bucket.server, &problem, |bytes| bytes < 1_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_store_is_unavailable() {
    let mut bucket = bucket();
    let wrong_secret = bucket_with(|settings, _| {
        if let Some(credentials) = &mut settings.credentials {
            credentials.secret_access_key = "canary-of-the-secret-key".to_owned().into();
        }
    });
    let no_bucket = bucket_with(|settings, _| settings.bucket = "misspelt".to_owned());
    assert!(
        matches!(no_bucket.probe().await, Err(BlobError::Unavailable(_))),
        "the bucket does not exist"
    );
    for result in [wrong_secret.size(&key()).await.map(drop), wrong_secret.probe().await] {
        let Err(BlobError::Unavailable(text)) = result else { panic!("{result:?}") };
        assert!(!text.contains("canary") && !text.contains('\n'), "{text}");
    }
    bucket.server.stop();
    assert!(matches!(bucket.size(&key()).await, Err(BlobError::Unavailable(_))));
    assert!(matches!(bucket.probe().await, Err(BlobError::Unavailable(_))));
    let mut upload = bucket.upload(&key(), None).await.unwrap();
    upload.write(b"content").await.unwrap();
    assert!(matches!(upload.finish().await, Err(BlobError::Unavailable(_))));
    let link = link(&bucket, 60).await;
    assert!(link.contains("X-Amz-Signature="), "links need no connection to the store: {link}");
    bucket.server.resume().unwrap();
    bucket.probe().await.unwrap();
}
