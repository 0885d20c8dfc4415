//! Publishing, withdrawing and rolling back releases, also in a bucket and without holding an image
//! in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{command, run_failing, run_ok, run_ok_with_env};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use throwaway_servers::{S3Options, S3Server};

/// Most memory that publishing may take, in MiB, for an image of any size: four parts of 8 MiB that
/// are being uploaded or filled, a second copy of each as it is sent, and the program itself.
const MEMORY: u64 = 128;

/// Writes an image, and returns its path.
fn image(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn release_is_listed_yanked_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for version in ["1.0", "2.0", "3.0"] {
        let image = image(folder.path(), "image.iso", version.as_bytes());
        let published = run_ok(&data, &["release", "publish", &image, "--version", version]);
        assert_eq!((&published["state"], &published["size"]), (&json!("current"), &json!(3)));
    }
    let states = || {
        let listed = run_ok(&data, &["release", "list"]);
        let items = listed["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|release| {
                let text = |name: &str| release[name].as_str().unwrap().to_owned();
                format!("{} {}", text("version"), text("state"))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(states(), ["3.0 current", "2.0 earlier", "1.0 earlier"]);
    let (exit, error) = run_failing(&data, &["release", "yank", "3.0"]);
    assert!(exit == 1 && error.contains("--yes"), "{error}");
    for _ in 0..2 {
        assert_eq!(run_ok(&data, &["release", "yank", "3.0", "--yes"])["state"], "yanked");
    }
    assert_eq!(states(), ["3.0 yanked", "2.0 current", "1.0 earlier"]);
    assert_eq!(run_ok(&data, &["release", "rollback", "--yes"])["version"], "1.0");
    assert_eq!(states(), ["3.0 yanked", "2.0 earlier", "1.0 current"]);
    assert_eq!(run_failing(&data, &["release", "rollback", "--yes"]).0, 4);
    assert_eq!(run_ok(&data, &["release", "rollback", "--to", "2.0", "--yes"])["state"], "current");
    assert_eq!(run_failing(&data, &["release", "rollback", "--to", "9.9", "--yes"]).0, 4);
    assert_eq!(run_failing(&data, &["release", "show", "9.9"]).0, 4);
    let yanked = image(folder.path(), "image.iso", b"3.0");
    let (exit, error) = run_failing(&data, &["release", "publish", &yanked, "--version", "3.0"]);
    assert!(exit == 3 && error.contains("yanked"), "{error}");
    let beta = image(folder.path(), "image.iso", b"beta");
    let published =
        run_ok(&data, &["release", "publish", &beta, "--version", "4.0", "--channel", "beta"]);
    assert_eq!(published["channel"], "beta");
    let stable = run_ok(&data, &["release", "show", "2.0"]);
    assert_eq!(stable["state"], "current", "the channels are independent");
    assert_eq!(
        run_ok(&data, &["release", "list", "--channel", "beta"])["items"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn manifest_is_written_as_signed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let image = image(folder.path(), "image.iso", b"content");
    run_ok(&data, &["release", "publish", &image, "--version", "1.0"]);
    let out = folder.path().join("out");
    let shown = run_ok(&data, &["release", "show", "1.0", "--manifest", out.to_str().unwrap()]);
    assert_eq!(
        std::fs::read_to_string(out.join("manifest.json")).unwrap(),
        shown["manifest"].as_str().unwrap()
    );
    assert_eq!(std::fs::read(out.join("manifest.sig")).unwrap().len(), 64);
    let key = command(&data, &[], &["release", "key"]).output().unwrap();
    assert!(key.stdout.starts_with(b"-----BEGIN PUBLIC KEY-----"));
}

/// A bucket, with the environment variables that configure it.
struct Bucket {
    server: S3Server,
    variables: Vec<(&'static str, String)>,
}

impl Bucket {
    fn start() -> Self {
        let S3Options { bucket, access_key_id, secret_access_key, .. } = S3Options::default();
        let server = S3Server::start(S3Options::default()).unwrap();
        let variables = vec![
            ("REGISTRY_S3_BUCKET", bucket),
            ("REGISTRY_S3_ENDPOINT", server.endpoint()),
            ("REGISTRY_S3_ACCESS_KEY_ID", access_key_id),
            ("REGISTRY_S3_SECRET_ACCESS_KEY", secret_access_key),
        ];
        Self { server, variables }
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// Writes an image of this size that no store can compress, and returns its path and SHA-256.
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

/// Returns the most memory that a process has had so far, in MiB (Linux: `VmHWM` of proc(5)).
fn peak_memory(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// Waits until a process has ended, for about ten minutes at most, and returns the most memory it
/// has had, in MiB. The kernel keeps the maximum, so only the growth of the last 20 ms can be
/// missed.
fn wait_measuring_memory(child: &mut Child) -> u64 {
    let (mut peak, mut polls) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_memory(child).unwrap_or_default());
        polls += 1;
        assert!(polls < 30_000, "the process does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    peak
}

/// Publishes an image into a bucket, downloads it through the link of a registration, whole and in
/// part, and compares.
#[expect(clippy::disallowed_methods, reason = "the duration is printed and decides nothing")]
#[test]
fn large_image_is_streamed_into_bucket() {
    let bytes = if std::env::var_os("SOAK").is_some() { 5 << 30 } else { 256 << 20 };
    let bucket = Bucket::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (path, sha256) = large_image(folder.path(), bytes);
    let start = std::time::Instant::now();
    let mut publish = command(
        &data,
        &bucket.environment(),
        &["release", "publish", path.to_str().unwrap(), "--version", "1.0"],
    );
    let mut publish = publish.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let peak = wait_measuring_memory(&mut publish);
    let duration = start.elapsed();
    let output = publish.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let published: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&published["size"], &published["sha256"]), (&json!(bytes), &json!(sha256)));
    let mib = bytes >> 20;
    eprintln!("published {mib} MiB in {duration:.1?}, with {peak} MiB of memory at most");
    assert!((1..=MEMORY).contains(&peak), "{peak} MiB");

    let args =
        ["tenant", "register", "--company", "Acme", "--email", "a@example.com", "--edition", "pro"];
    let issued = run_ok_with_env(&data, &bucket.environment(), &args);
    let link = issued["download_url"].as_str().unwrap();
    throwaway_servers::install_ring_provider();
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .timeout(Duration::from_mins(10))
        .build()
        .unwrap();
    let mut whole = client.get(link).send().unwrap();
    assert_eq!(whole.status(), 200);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    while let length @ 1.. = whole.read(&mut buffer).unwrap() {
        hash.update(&buffer[..length]);
    }
    assert_eq!(registry_core::entropy::hex(&hash.finalize()), sha256);
    let part = client.get(link).header("range", "bytes=100-199").send().unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().unwrap().len()), (206, 100));
    let (rest, flipped) = (&link[..link.len() - 1], if link.ends_with('0') { "1" } else { "0" });
    assert_eq!(client.get(format!("{rest}{flipped}")).send().unwrap().status(), 403);
}

#[test]
fn interrupted_upload_can_be_repeated() {
    let bucket = Bucket::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let size = 32 << 20;
    let (path, sha256) = large_image(folder.path(), size);
    let resize = |bytes| std::fs::File::options().write(true).open(&path)?.set_len(bytes);
    // As a sparse file of 64 GiB, the image cannot be uploaded before the signal arrives.
    resize(64 << 30).unwrap();
    let args = ["release", "publish", path.to_str().unwrap(), "--version", "1.0"];
    let mut publish = command(&data, &bucket.environment(), &args);
    let mut publish = publish.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut polls = 0;
    while bucket.server.stored().unwrap() < 16 << 20 {
        assert_eq!(publish.try_wait().unwrap(), None, "the upload ended early");
        polls += 1;
        assert!(polls < 6_000, "no parts arrive in the bucket");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &publish.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let output = publish.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{printed}");
    assert!(printed.contains("nothing was published"), "{printed}");
    let remaining = bucket.server.stored().unwrap();
    assert!(remaining < 1_000, "{remaining} bytes remain in the bucket");
    let listed = run_ok_with_env(&data, &bucket.environment(), &["release", "list"]);
    assert_eq!(listed["items"], json!([]));
    resize(size).unwrap();
    for _ in 0..2 {
        assert_eq!(run_ok_with_env(&data, &bucket.environment(), &args)["sha256"], json!(sha256));
    }
    let stored = bucket.server.stored().unwrap();
    assert!(stored < size + (1 << 20), "published twice, stored once: {stored} bytes");
}

#[test]
fn unreachable_bucket_publishes_nothing() {
    let mut bucket = Bucket::start();
    bucket.server.stop();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let image = image(folder.path(), "image.iso", b"content");
    let args = ["release", "publish", &image, "--version", "1.0"];
    let output = command(&data, &bucket.environment(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    bucket.server.resume().unwrap();
    let listed = run_ok_with_env(&data, &bucket.environment(), &["release", "list"]);
    assert_eq!(listed["items"], json!([]));
}
