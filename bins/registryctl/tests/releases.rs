//! Publishing, withdrawing and rolling back; into a bucket too, without the image ever standing in
//! memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{command, done, done_with, refused};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use throwaway_servers::{S3Options, S3Server};

/// How much memory publishing may take at most, in MiB, whatever the image's size: four parts of 8
/// MiB on their way or being filled, once more as what is sent, and the program itself.
const MEMORY: u64 = 128;

fn image(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn releases_are_listed_shown_yanked_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for version in ["1.0", "2.0", "3.0"] {
        let image = image(folder.path(), "image.iso", version.as_bytes());
        let published = done(&data, &["release", "publish", &image, "--version", version]);
        assert_eq!((&published["state"], &published["size"]), (&json!("current"), &json!(3)));
    }
    let states = || {
        let listed = done(&data, &["release", "list"]);
        let items = listed["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|it| {
                format!("{} {}", it["version"].as_str().unwrap(), it["state"].as_str().unwrap())
            })
            .collect::<Vec<_>>()
    };
    let expect = |expected: [&str; 3]| assert_eq!(states(), expected);
    expect(["3.0 current", "2.0 earlier", "1.0 earlier"]);
    let (code, said) = refused(&data, &["release", "yank", "3.0"]);
    assert!(code == 1 && said.contains("--yes"), "{said}");
    for _ in 0..2 {
        assert_eq!(done(&data, &["release", "yank", "3.0", "--yes"])["state"], "yanked");
    }
    expect(["3.0 yanked", "2.0 current", "1.0 earlier"]);
    assert_eq!(done(&data, &["release", "rollback", "--yes"])["version"], "1.0");
    expect(["3.0 yanked", "2.0 earlier", "1.0 current"]);
    assert_eq!(refused(&data, &["release", "rollback", "--yes"]).0, 3);
    assert_eq!(done(&data, &["release", "rollback", "--to", "2.0", "--yes"])["state"], "current");
    assert_eq!(refused(&data, &["release", "rollback", "--to", "9.9", "--yes"]).0, 4);
    assert_eq!(refused(&data, &["release", "show", "9.9"]).0, 4);
    let again = image(folder.path(), "image.iso", b"3.0");
    let (code, said) = refused(&data, &["release", "publish", &again, "--version", "3.0"]);
    assert!(code == 3 && said.contains("yanked"), "{said}");
    let beta = image(folder.path(), "image.iso", b"beta");
    let published =
        done(&data, &["release", "publish", &beta, "--version", "4.0", "--channel", "beta"]);
    assert_eq!(published["channel"], "beta");
    assert_eq!(done(&data, &["release", "show", "2.0"])["state"], "current", "another channel");
    assert_eq!(
        done(&data, &["release", "list", "--channel", "beta"])["items"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_manifest_is_written_as_it_was_signed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let image = image(folder.path(), "image.iso", b"content");
    done(&data, &["release", "publish", &image, "--version", "1.0"]);
    let out = folder.path().join("out");
    let shown = done(&data, &["release", "show", "1.0", "--manifest", out.to_str().unwrap()]);
    assert_eq!(
        std::fs::read_to_string(out.join("manifest.json")).unwrap(),
        shown["manifest"].as_str().unwrap()
    );
    assert_eq!(std::fs::read(out.join("manifest.sig")).unwrap().len(), 64);
    let key = command(&data, &[], &["release", "key"]).output().unwrap();
    assert!(key.stdout.starts_with(b"-----BEGIN PUBLIC KEY-----"));
}

/// A bucket, and what the command line has to be told to use it.
struct Bucket {
    server: S3Server,
    told: Vec<(&'static str, String)>,
}

impl Bucket {
    fn start() -> Self {
        let S3Options { bucket, access_key_id, secret_access_key, .. } = S3Options::default();
        let server = S3Server::start(S3Options::default()).unwrap();
        let told = vec![
            ("REGISTRY_S3_BUCKET", bucket),
            ("REGISTRY_S3_ENDPOINT", server.endpoint()),
            ("REGISTRY_S3_ACCESS_KEY_ID", access_key_id),
            ("REGISTRY_S3_SECRET_ACCESS_KEY", secret_access_key),
        ];
        Self { server, told }
    }

    fn told(&self) -> Vec<(&str, &str)> {
        self.told.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// An image of so many bytes that no store can compress, and its SHA-256.
fn large_image(folder: &Path, bytes: u64) -> (PathBuf, String) {
    let path = folder.join("large.iso");
    let (mut file, mut hash, mut state) =
        (std::fs::File::create(&path).unwrap(), Sha256::new(), 1_u64);
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            // Knuth's multiplier (TAOCP 3.3.4).
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.copy_from_slice(&state.to_le_bytes());
        }
        let length = usize::try_from(left.min(1 << 20)).unwrap();
        file.write_all(&block[..length]).unwrap();
        hash.update(&block[..length]);
        left -= length as u64;
    }
    (path, registry_core::entropy::hex(&hash.finalize()))
}

/// The most memory that a process had so far, in MiB (Linux: `VmHWM` of proc(5)).
fn peak_memory(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// Publishes an image into a bucket, downloads it by the link of a registration, whole and in part,
/// and compares.
#[expect(
    clippy::disallowed_methods,
    reason = "it is told how fast it was; nothing is decided by it"
)]
#[test]
fn a_large_image_is_published_into_a_bucket_and_never_stands_in_memory_whole() {
    let bytes = if std::env::var_os("SOAK").is_some() { 5 << 30 } else { 256 << 20 };
    let bucket = Bucket::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (path, sha256) = large_image(folder.path(), bytes);
    let begun = std::time::Instant::now();
    let mut publish = command(
        &data,
        &bucket.told(),
        &["release", "publish", path.to_str().unwrap(), "--version", "1.0"],
    );
    let mut publish = publish.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    while publish.try_wait().unwrap().is_none() {
        peak = peak.max(peak_memory(&publish).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let output = publish.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let published: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&published["size"], &published["sha256"]), (&json!(bytes), &json!(sha256)));
    let mib = bytes >> 20;
    eprintln!("{mib} MiB were published in {took:.1?}, with {peak} MiB of memory at most");
    assert!((1..=MEMORY).contains(&peak), "{peak} MiB");

    let args =
        ["tenant", "register", "--company", "Acme", "--email", "a@example.com", "--edition", "pro"];
    let link = done_with(&data, &bucket.told(), &args)["download_url"].as_str().unwrap().to_owned();
    throwaway_servers::use_ring();
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .timeout(Duration::from_mins(10))
        .build()
        .unwrap();
    let mut whole = client.get(&link).send().unwrap();
    assert_eq!(whole.status(), 200);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    while let length @ 1.. = whole.read(&mut buffer).unwrap() {
        hash.update(&buffer[..length]);
    }
    assert_eq!(registry_core::entropy::hex(&hash.finalize()), sha256);
    let part = client.get(&link).header("range", "bytes=100-199").send().unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().unwrap().len()), (206, 100));
    let (rest, flipped) = (&link[..link.len() - 1], if link.ends_with('0') { "1" } else { "0" });
    assert_eq!(client.get(format!("{rest}{flipped}")).send().unwrap().status(), 403);
}

#[test]
fn an_upload_that_is_interrupted_leaves_nothing_and_can_be_repeated() {
    let bucket = Bucket::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (path, sha256) = large_image(folder.path(), 128 << 20);
    let args = ["release", "publish", path.to_str().unwrap(), "--version", "1.0"];
    let mut publish = command(&data, &bucket.told(), &args);
    let mut publish = publish.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Some of it is there.
    while bucket.server.stored().unwrap() < 16 << 20 {
        assert_eq!(publish.try_wait().unwrap(), None, "it ended early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &publish.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let output = publish.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("nothing was published"), "{said}");
    assert!(
        bucket.server.stored().unwrap() < 1_000,
        "{} bytes are left",
        bucket.server.stored().unwrap()
    );
    assert_eq!(done_with(&data, &bucket.told(), &["release", "list"])["items"], json!([]));
    for _ in 0..2 {
        assert_eq!(done_with(&data, &bucket.told(), &args)["sha256"], json!(sha256));
    }
    let stored = bucket.server.stored().unwrap();
    assert!(stored < (129 << 20), "published twice, kept once: {stored} bytes");
}

#[test]
fn where_the_bucket_is_not_reached_nothing_is_published_and_the_exit_code_says_so() {
    let mut bucket = Bucket::start();
    bucket.server.stop();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let image = image(folder.path(), "image.iso", b"content");
    let args = ["release", "publish", &image, "--version", "1.0"];
    let output = command(&data, &bucket.told(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    bucket.server.resume().unwrap();
    assert_eq!(done_with(&data, &bucket.told(), &["release", "list"])["items"], json!([]));
}
