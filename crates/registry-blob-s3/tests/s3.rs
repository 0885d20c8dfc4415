//! The port's promises, and what S3 promises about links, against a store that verifies signatures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Deref;

use chrono::{SubsecRound as _, TimeDelta};
use registry_blob_s3::{S3Blobs, S3Credentials, S3Settings};
use registry_core::blob::{BlobError, BlobKey, BlobStore};
use registry_core::clock::Timestamp;
use reqwest::{Client, StatusCode};
use sha2::{Digest as _, Sha256};
use throwaway_servers::{S3Options, S3Server};

/// A store with its server, which lives as long.
struct Fresh {
    blobs: S3Blobs,
    server: S3Server,
}

impl Deref for Fresh {
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

fn fresh_with(change: impl FnOnce(&mut S3Settings, &S3Server)) -> Fresh {
    let server = S3Server::start(S3Options::default()).unwrap();
    let mut settings = settings(&server);
    change(&mut settings, &server);
    Fresh { blobs: S3Blobs::new(&settings).unwrap(), server }
}

fn fresh() -> Fresh {
    fresh_with(|_, _| {})
}

registry_testkit::blob_conformance!(fresh());

#[expect(
    clippy::disallowed_methods,
    reason = "the store compares a link's time with its own clock"
)]
fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now()).trunc_subsecs(0)
}

fn key() -> BlobKey {
    BlobKey::parse("stable/1/image.iso").unwrap()
}

/// Bytes that differ from place to place.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn put(blobs: &S3Blobs, content: &[u8]) {
    let mut upload = blobs.upload(&key(), Some(content.len() as u64)).await.unwrap();
    for part in content.chunks(1_000_003) {
        upload.write(part).await.unwrap();
    }
    upload.finish().await.unwrap();
}

async fn link(blobs: &S3Blobs, seconds: i64) -> String {
    let now = now();
    blobs.link(&key(), now, now + TimeDelta::seconds(seconds)).await.unwrap().expose().to_owned()
}

fn client() -> Client {
    throwaway_servers::use_ring();
    Client::builder().no_proxy().build().unwrap()
}

async fn get(url: &str) -> reqwest::Response {
    client().get(url).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_many_parts_comes_back_as_it_was_whole_and_in_ranges() {
    let fresh = fresh();
    let content = content(20_000_000);
    put(&fresh, &content).await;
    assert_eq!(fresh.size(&key()).await.unwrap(), 20_000_000);
    let link = link(&fresh, 60).await;
    let whole = get(&link).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(Sha256::digest(whole.bytes().await.unwrap()), Sha256::digest(&content));
    let part = client().get(&link).header("range", "bytes=8388600-8388699").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 8388600-8388699/20000000");
    assert_eq!(part.bytes().await.unwrap(), content[8_388_600..8_388_700]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_altered_or_ended_is_forbidden() {
    let fresh = fresh();
    put(&fresh, b"content").await;
    let other = BlobKey::parse("stable/2/image.iso").unwrap();
    let mut upload = fresh.upload(&other, None).await.unwrap();
    upload.write(b"other").await.unwrap();
    upload.finish().await.unwrap();
    let link = link(&fresh, 60).await;
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
    let put = client().put(&link).body("mine").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::FORBIDDEN, "it is for reading only");
    let short = self::link(&fresh, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(get(&short).await.status(), StatusCode::FORBIDDEN, "it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_for_the_endpoint_that_customers_see() {
    let fresh =
        fresh_with(|settings, server| settings.public_endpoint = Some(server.public_endpoint()));
    put(&fresh, b"content").await;
    let link = link(&fresh, 60).await;
    assert!(
        link.starts_with(&format!("{}/images/stable/1/image.iso?", fresh.server.public_endpoint())),
        "{link}"
    );
    assert_eq!(get(&link).await.bytes().await.unwrap(), "content");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_may_be_in_the_hosts_name_and_keys_under_a_prefix() {
    let fresh = fresh_with(|settings, _| settings.prefix = Some("vendor/images".to_owned()));
    put(&fresh, b"content").await;
    // No resolver knows `images.localhost`, so only the client that follows the link is told where
    // that is.
    let prefix = Some("vendor/images".to_owned());
    let reader = S3Settings { path_style: false, prefix, ..settings(&fresh.server) };
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
async fn an_upload_that_is_given_up_leaves_no_parts_behind() {
    let fresh = fresh();
    for given_up_by_dropping in [true, false] {
        let mut upload = fresh.upload(&key(), None).await.unwrap();
        upload.write(&content(20_000_000)).await.unwrap();
        if given_up_by_dropping {
            drop(upload);
        } else {
            upload.abort().await.unwrap();
        }
        let mut left = u64::MAX;
        for _ in 0..100 {
            left = fresh.server.stored().unwrap();
            if left < 1_000 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(left < 1_000, "{left} bytes are left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_or_does_not_know_us_is_unavailable_and_links_are_made_all_the_same() {
    let mut fresh = fresh();
    let wrong = fresh_with(|settings, _| {
        if let Some(credentials) = &mut settings.credentials {
            credentials.secret_access_key = "canary-of-the-secret-key".to_owned().into();
        }
    });
    let no_bucket = fresh_with(|settings, _| settings.bucket = "misspelt".to_owned());
    assert!(
        matches!(no_bucket.probe().await, Err(BlobError::Unavailable(_))),
        "the bucket is not there"
    );
    for refused in [wrong.size(&key()).await.map(drop), wrong.probe().await] {
        let Err(BlobError::Unavailable(text)) = refused else { panic!("{refused:?}") };
        assert!(!text.contains("canary") && !text.contains('\n'), "{text}");
    }
    fresh.server.stop();
    assert!(matches!(fresh.size(&key()).await, Err(BlobError::Unavailable(_))));
    assert!(matches!(fresh.probe().await, Err(BlobError::Unavailable(_))));
    let mut upload = fresh.upload(&key(), None).await.unwrap();
    upload.write(b"content").await.unwrap();
    assert!(matches!(upload.finish().await, Err(BlobError::Unavailable(_))));
    assert!(link(&fresh, 60).await.contains("X-Amz-Signature="));
    fresh.server.resume().unwrap();
    fresh.probe().await.unwrap();
}
