//! Download links: `Range`, `ETag`, HEAD; altered and ended links.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;

use std::path::Path;

use both::{Environment, on_both_databases, with};
use common::{Server, answer, start, text};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use outside::{download_path, operate, operator, publish, publish_as};
use serde_json::json;

on_both_databases!(
    an_image_downloads_whole_and_in_parts,
    an_altered_or_ended_link_is_forbidden_in_our_form,
    the_link_in_a_mail_leads_to_the_current_image_and_ends_with_its_code,
    a_yanked_image_cannot_be_downloaded_by_links_that_are_out,
    a_manifest_verifies_under_the_published_key,
);

fn link(server: &Server) -> String {
    let body = json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "essentials" });
    let link = text(&server.service("/register-tenant", &body).1["download_url"]);
    link.strip_prefix(&server.url).unwrap().to_owned()
}

fn an_image_downloads_whole_and_in_parts(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let content: Vec<u8> =
        (0..1_000_003_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    publish(data.path(), environment, &content);
    assert_eq!(answer(server.get("/readyz").send().unwrap()).1["status"], "ready");
    let link = link(&server);
    let whole = server.get(&link).send().unwrap();
    let header = |response: &reqwest::blocking::Response, name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    let etag = header(&whole, "etag");
    assert_eq!(header(&whole, "content-length"), "1000003");
    assert_eq!(header(&whole, "content-disposition"), "attachment; filename=\"image.iso\"");
    assert_eq!(header(&whole, "accept-ranges"), "bytes");
    assert_eq!(whole.bytes().unwrap(), content);

    let part = |range: &str| server.get(&link).header("range", range).send().unwrap();
    let first = part("bytes=0-499999");
    assert_eq!(
        (first.status().as_u16(), header(&first, "content-range")),
        (206, "bytes 0-499999/1000003".to_owned())
    );
    let both = [first.bytes().unwrap(), part("bytes=500000-").bytes().unwrap()].concat();
    assert_eq!(both, content);
    assert_eq!(part("bytes=-3").bytes().unwrap(), content[1_000_000..]);
    let outside = part("bytes=1000003-");
    assert_eq!(header(&outside, "content-range"), "bytes */1000003");
    let (status, body) = answer(outside);
    assert_eq!((status, &body["code"]), (416, &json!("range_not_satisfiable")));

    let same = server.get(&link).header("if-none-match", &etag).send().unwrap();
    assert_eq!((same.status().as_u16(), same.bytes().unwrap().len()), (304, 0));
    let head = server.request("HEAD", &link).send().unwrap();
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length"), header(&head, "etag")),
        (200, "1000003".into(), etag)
    );
}

fn an_altered_or_ended_link_is_forbidden_in_our_form(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_DOWNLOADS_LIFETIME", "1s")]));
    publish(data.path(), environment, b"content");
    let link = link(&server);
    let (path, query) = link.split_once('?').unwrap();
    for altered in [
        link.replace("image.iso", "other.iso"),
        link.replace("expires=1", "expires=2"),
        link.replace("signature=", "signature=0"),
        link.replace("key_id=", "key_id=0"),
        path.to_owned(),
        format!("/files/../keys/license.pem?{query}"),
        format!("/files/..%2fkeys%2flicense.pem?{query}"),
        format!("/files/%2fetc%2fpasswd?{query}"),
    ] {
        let response = server.get(&altered).send().unwrap();
        if altered.starts_with("/files/../") {
            // The client resolves the dots itself.
            assert!(response.status().is_client_error(), "{altered}");
            continue;
        }
        let (status, body) = answer(response);
        assert_eq!((status, &body["code"]), (403, &json!("invalid_link")), "{altered}");
    }
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let (status, body) = answer(server.get(&link).send().unwrap());
    assert_eq!((status, &body["code"]), (403, &json!("expired_link")));
    assert!(text(&body["error"]).contains("ended on 20"), "{body}");
}

/// The links in the mails so far, newest last.
fn mailed(server: &Server, count: usize) -> Vec<String> {
    server.mails(count).iter().map(|mail| download_path(mail)).collect()
}

fn the_link_in_a_mail_leads_to_the_current_image_and_ends_with_its_code(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"first");
    let (tenant, _) = server.register("Acme", "pro");
    let first = mailed(&server, 1).remove(0);
    let follow = |path: &str| {
        let led = server.get(path).send().unwrap();
        assert_eq!(led.status(), 302);
        assert_eq!(led.headers()["referrer-policy"], "no-referrer");
        let location = led.headers()["location"]
            .to_str()
            .unwrap()
            .strip_prefix(&server.url)
            .unwrap()
            .to_owned();
        server.get(&location).send().unwrap().bytes().unwrap()
    };
    assert_eq!(follow(&first), "first");
    let head = server.request("HEAD", &first).send().unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"5".parse().unwrap())
    );
    publish_as("2.0", data.path(), environment, b"second");
    assert_eq!(follow(&first), "second", "what is current now");
    let (_, reissued) = server.reissue(&tenant);
    let second = mailed(&server, 2).into_iter().find(|path| *path != first).unwrap();
    assert_eq!(follow(&second), "second");
    let (status, body) = answer(server.get(&first).send().unwrap());
    assert_eq!((status, &body["code"]), (403, &json!("expired_link")));
    assert!(text(&body["next_step"]).contains("re-issue"), "{body}");
    let page = server.get(&first).header("accept", "text/html,*/*").send().unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (403, &"text/html; charset=utf-8".parse().unwrap())
    );
    let page = page.text().unwrap();
    assert!(
        page.contains("<h1>This download is not available</h1>") && page.contains("What to do:"),
        "{page}"
    );
    server.redeem(&text(&reissued["install_code"]));
    assert_eq!(follow(&second), "second", "a download may have to begin again");
    for forged in
        ["/download/x", &format!("{second}A"), &second[..second.len() - 1], "/download/%ff"]
    {
        let (status, body) = answer(server.get(forged).send().unwrap());
        assert_eq!((status, &body["code"]), (403, &json!("invalid_link")), "{forged}");
    }
    let log = server.log.lock().unwrap().clone();
    let tokens = [&first, &second].map(|path| path.rsplit('/').next().unwrap());
    assert!(tokens.iter().all(|token| !log.contains(token)), "a link is somebody's");
}

fn a_yanked_image_cannot_be_downloaded_by_links_that_are_out(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"first");
    publish_as("2.0", data.path(), environment, b"second");
    let direct = link(&server);
    let in_mail = mailed(&server, 1).remove(0);
    assert_eq!(server.get(&direct).send().unwrap().bytes().unwrap(), "second");
    let yank = |version: &'static str| {
        operate(data.path(), environment, async |registry| {
            registry.release_yank(version, None, operator()).await.unwrap();
        });
    };
    yank("2.0");
    let (status, body) = answer(server.get(&direct).send().unwrap());
    assert_eq!((status, &body["code"]), (410, &json!("image_withdrawn")));
    let led = server.get(&in_mail).send().unwrap();
    let location =
        led.headers()["location"].to_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
    assert_eq!(server.get(&location).send().unwrap().bytes().unwrap(), "first");
    yank("1.0");
    let (status, body) = answer(server.get(&in_mail).send().unwrap());
    assert_eq!((status, &body["code"]), (404, &json!("no_release")));
    let body = json!({ "company_name": "Bolt", "contact_email": "b@example.com", "edition": "essentials" });
    assert_eq!(
        server.service("/register-tenant", &body).1["download_url"],
        "",
        "and never linked to again"
    );
    let ready = server.look("/readyz").1;
    let release =
        ready["parts"].as_array().unwrap().iter().find(|it| it["name"] == "release").unwrap();
    assert_eq!((&ready["status"], &release["state"]), (&json!("degraded"), &json!("down")));
}

fn a_manifest_verifies_under_the_published_key(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"content");
    server.register("Acme", "pro");
    let link = mailed(&server, 1).remove(0);
    let get = |part: &str| {
        server.get(&format!("{link}/{part}")).send().unwrap().bytes().unwrap().to_vec()
    };
    let (manifest, signature) = (get("manifest.json"), get("manifest.sig"));
    let said: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!((&said["version"], &said["size"]), (&json!("1.0"), &json!(7)));
    assert_eq!(said["sha256"], "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73");
    let (status, body) = answer(server.get(&format!("{link}/manifest.txt")).send().unwrap());
    assert_eq!((status, &body["code"]), (404, &json!("not_found")));
    let published = manifest_key(data.path(), environment);
    let key = ed25519_dalek::VerifyingKey::from_public_key_pem(&published).unwrap();
    let signed = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    assert!(key.verify_strict(&manifest, &signed).is_ok());
    let other = String::from_utf8(manifest.clone()).unwrap().replace("1.0", "1.1");
    assert!(key.verify_strict(other.as_bytes(), &signed).is_err());
    assert!(openssl_verifies(&published, &manifest, &signature).unwrap_or(true));
    assert!(!openssl_verifies(&published, other.as_bytes(), &signature).unwrap_or(false));
}

fn manifest_key(data: &Path, environment: Environment) -> String {
    let file = data.join("release.pub");
    operate(data, environment, async |registry| {
        std::fs::write(&file, registry.manifest_key_pem()).unwrap()
    });
    std::fs::read_to_string(file).unwrap()
}

/// What the documented one-liner says; `None` where openssl is not installed, which it is in CI.
fn openssl_verifies(key: &str, manifest: &[u8], signature: &[u8]) -> Option<bool> {
    let folder = tempfile::tempdir().unwrap();
    let files =
        [("release.pub", key.as_bytes()), ("manifest.json", manifest), ("manifest.sig", signature)];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let args =
        "pkeyutl -verify -pubin -inkey release.pub -rawin -in manifest.json -sigfile manifest.sig";
    let said = std::process::Command::new("openssl")
        .args(args.split(' '))
        .current_dir(folder.path())
        .output();
    assert!(
        said.is_ok() || std::env::var_os("CI").is_none(),
        "openssl is not installed, and not left out in CI"
    );
    said.ok().map(|said| said.status.success())
}
