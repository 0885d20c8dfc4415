//! Download links: whole files and parts of them, links that expire, and signed manifests.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Server, read_response, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use external::{download_path, operate, operator, publish, publish_as};
use registry_core::registry::tenant_admin::TenantEdit;
use reqwest::blocking::Response;
use serde_json::{Value, json};

on_both_databases!(
    image_downloads_whole_and_in_parts,
    altered_or_expired_link_is_forbidden,
    link_is_checked_in_order,
    mailed_link_leads_to_current_image,
    yanked_image_cannot_be_downloaded,
    closed_tenant_cannot_download,
    manifest_verifies_under_published_key,
);

/// Registers a tenant, and returns the path of its download link, or `""`.
fn link(server: &Server) -> String {
    let body = json!({
        "company_name": "Acme", "contact_email": "a@example.com", "edition": "essentials",
    });
    let link = text(&server.post_as_service("/register-tenant", &body).1["download_url"]);
    link.strip_prefix(&server.url).unwrap_or_default().to_owned()
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// Status and code of a refusal.
fn refusal(server: &Server, path: &str) -> (u16, String) {
    let (status, body) = read_response(server.get(path).send().unwrap());
    (status, text(&body["code"]))
}

/// R-files-1, R-files-2, R-files-3, R-files-5.
fn image_downloads_whole_and_in_parts(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let content: Vec<u8> =
        (0..1_000_003_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    publish(data.path(), environment, &content);
    assert_eq!(read_response(server.get("/readyz").send().unwrap()).1["status"], "ready");
    let link = link(&server);
    // No authorization but the link.
    let whole = server.get(&link).send().unwrap();
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
    let beyond = part("bytes=1000003-");
    assert_eq!(header(&beyond, "content-range"), "bytes */1000003");
    let (status, body) = read_response(beyond);
    assert_eq!((status, &body["code"]), (416, &json!("range_not_satisfiable")));

    assert!(etag.starts_with('"'), "a strong validator: {etag}");
    let conditional = |name: &str, etag: &str| {
        let request = server.get(&link).header("range", "bytes=0-4").header(name, etag);
        request.send().unwrap().status().as_u16()
    };
    let statuses = |name: &str| [conditional(name, &etag), conditional(name, "\"other\"")];
    assert_eq!(statuses("if-match"), [206, 412]);
    assert_eq!(statuses("if-none-match"), [304, 206]);
    assert_eq!(statuses("if-range"), [206, 200]);
    let head = server.request("HEAD", &link).send().unwrap();
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length"), header(&head, "etag")),
        (200, "1000003".into(), etag.clone())
    );
    assert_eq!(head.bytes().unwrap().len(), 0);

    // The same content, and so the same SHA-256, as another version.
    publish_as("2.0", data.path(), environment, &content);
    let other = server.request("HEAD", &self::link(&server)).send().unwrap();
    assert_ne!(header(&other, "etag"), etag, "the validator does not depend on the SHA-256");
}

fn altered_or_expired_link_is_forbidden(environment: Environment) {
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
        if altered.starts_with("/files/../") {
            // The client resolves the dots, so another path is requested.
            let response = server.get(&altered).send().unwrap();
            assert!(response.status().is_client_error(), "{altered}");
            continue;
        }
        assert_eq!(refusal(&server, &altered), (403, "invalid_link".to_owned()), "{altered}");
    }
    let error = wait_for_expiry(&server, &link);
    assert!(error.contains(" on 20"), "the time of the expiry: {error}");
}

/// Waits until a link has expired, and returns the text of the refusal.
fn wait_for_expiry(server: &Server, link: &str) -> String {
    wait_for("the link to expire", || {
        let response = server.get(link).send().unwrap();
        if response.status() == 200 {
            return Err("200".to_owned());
        }
        let (status, body) = read_response(response);
        if (status, &body["code"]) == (403, &json!("expired_link")) {
            Ok(text(&body["error"]))
        } else {
            Err(body.to_string())
        }
    })
}

/// Finds the file of the published image in the data folder.
fn image_file(folder: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let found = if path.is_dir() {
            image_file(&path)
        } else {
            Some(path).filter(|path| path.ends_with("image.iso"))
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// R-files-4: the signature, then the expiry, then the file, then the withdrawal.
fn link_is_checked_in_order(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"content");
    let lasting = link(&server);
    drop(server);
    // A link is good in every process on the same folder.
    let server = start(data.path(), &with(environment, &[("REGISTRY_DOWNLOADS_LIFETIME", "1s")]));
    let short = link(&server);
    operate(data.path(), environment, async |registry| {
        registry.release_yank("1.0", None, operator()).await.unwrap();
    });
    assert_eq!(refusal(&server, &lasting), (410, "image_withdrawn".to_owned()));
    std::fs::remove_file(image_file(&data.path().join("files")).unwrap()).unwrap();
    assert_eq!(refusal(&server, &lasting), (404, "link_gone".to_owned()));
    wait_for("the link to expire", || match refusal(&server, &short) {
        (403, code) if code == "expired_link" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let altered = short.replace("signature=", "signature=0");
    assert_eq!(refusal(&server, &altered), (403, "invalid_link".to_owned()));
}

/// Waits for `count` mails, and returns the paths of their download links.
fn mailed(server: &Server, count: usize) -> Vec<String> {
    server.mails(count).iter().map(|mail| download_path(mail)).collect()
}

/// Returns the path that a download link leads to.
fn redirected(server: &Server, path: &str) -> String {
    let redirect = server.get(path).send().unwrap();
    assert_eq!(redirect.status(), 302);
    assert_eq!(redirect.headers()["referrer-policy"], "no-referrer");
    header(&redirect, "location").strip_prefix(&server.url).unwrap().to_owned()
}

/// R-download-1, R-download-2, R-download-3, R-download-5.
fn mailed_link_leads_to_current_image(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"first");
    let (tenant, _) = server.register("Acme", "pro");
    let first = mailed(&server, 1).remove(0);
    let follow =
        |path: &str| server.get(&redirected(&server, path)).send().unwrap().bytes().unwrap();
    assert_eq!(follow(&first), "first");
    let head = server.request("HEAD", &first).send().unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "5".to_owned()));
    publish_as("2.0", data.path(), environment, b"second");
    assert_eq!(follow(&first), "second", "the image that is current now");
    let (_, reissued) = server.reissue(&tenant);
    let second = mailed(&server, 2).into_iter().find(|path| *path != first).unwrap();
    assert_eq!(follow(&second), "second");
    let (status, body) = read_response(server.get(&first).send().unwrap());
    assert_eq!((status, &body["code"]), (403, &json!("expired_link")));
    assert!(text(&body["next_step"]).contains("re-issue"), "{body}");
    let page = server.get(&first).header("accept", "text/html,*/*").send().unwrap();
    assert_eq!(
        (page.status().as_u16(), header(&page, "content-type")),
        (403, "text/html; charset=utf-8".to_owned())
    );
    let page = page.text().unwrap();
    assert!(
        page.contains("<h1>This download is not available</h1>") && page.contains("What to do:"),
        "{page}"
    );
    server.redeem(&text(&reissued["install_code"]));
    assert_eq!(follow(&second), "second", "a download may have to be repeated");
    for forged in
        ["/download/x", &format!("{second}A"), &second[..second.len() - 1], "/download/%ff"]
    {
        assert_eq!(refusal(&server, forged), (403, "invalid_link".to_owned()), "{forged}");
    }
    let log = server.stop();
    let tokens = [&first, &second].map(|path| path.rsplit('/').next().unwrap());
    assert!(tokens.iter().all(|token| !log.contains(token)), "a link is a secret");
}

/// R-register-tenant-2: without an image there is no link.
fn yanked_image_cannot_be_downloaded(environment: Environment) {
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
    assert_eq!(refusal(&server, &direct), (410, "image_withdrawn".to_owned()));
    let first = server.get(&redirected(&server, &in_mail)).send().unwrap();
    assert_eq!(first.bytes().unwrap(), "first");
    yank("1.0");
    assert_eq!(refusal(&server, &in_mail), (404, "no_release".to_owned()));
    assert_eq!(link(&server), "", "no new link leads to a withdrawn image");
    let ready = wait_for("readiness without a release", || {
        let ready = server.get_as_service("/readyz").1;
        if ready["status"] == "degraded" { Ok(ready) } else { Err(ready.to_string()) }
    });
    let parts = ready["parts"].as_array().unwrap();
    let release = parts.iter().find(|part| part["name"] == "release").unwrap();
    assert_eq!(release["state"], "down");
}

/// R-download-4.
fn manifest_verifies_under_published_key(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"content");
    server.register("Acme", "pro");
    let link = mailed(&server, 1).remove(0);
    let get = |part: &str| {
        server.get(&format!("{link}/{part}")).send().unwrap().bytes().unwrap().to_vec()
    };
    let (manifest, signature) = (get("manifest.json"), get("manifest.sig"));
    let fields: Value = serde_json::from_slice(&manifest).unwrap();
    for (name, expected) in [
        ("version", json!("1.0")),
        ("channel", json!("stable")),
        ("file_name", json!("image.iso")),
        ("size", json!(7)),
        ("sha256", json!("ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73")),
    ] {
        assert_eq!(fields[name], expected, "{name}");
    }
    assert!(text(&fields["key"]).ends_with("/image.iso") && fields["published_at"].is_string());
    let unknown = format!("{link}/manifest.txt");
    assert_eq!(refusal(&server, &unknown), (404, "not_found".to_owned()));

    let published = manifest_key(data.path(), environment);
    let key = ed25519_dalek::VerifyingKey::from_public_key_pem(&published).unwrap();
    let signed = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    assert!(key.verify_strict(&manifest, &signed).is_ok());
    let other = String::from_utf8(manifest.clone()).unwrap().replace("1.0", "1.1");
    assert!(key.verify_strict(other.as_bytes(), &signed).is_err());
    if !openssl_is_installed() {
        return;
    }
    assert!(openssl_verifies(&published, &manifest, &signature));
    assert!(!openssl_verifies(&published, other.as_bytes(), &signature));
}

fn manifest_key(data: &Path, environment: Environment) -> String {
    let file = data.join("release.pub");
    operate(data, environment, async |registry| {
        std::fs::write(&file, registry.manifest_key_pem()).unwrap();
    });
    std::fs::read_to_string(file).unwrap()
}

/// Returns false, and prints what to install, if openssl is not installed.
///
/// # Panics
/// In CI, if openssl is not installed.
#[expect(clippy::print_stderr, reason = "a test that is left out says why")]
fn openssl_is_installed() -> bool {
    if Command::new("openssl").arg("version").output().is_ok() {
        return true;
    }
    let hint = "openssl is not installed (apt-get install openssl)";
    assert!(std::env::var_os("CI").is_none(), "{hint}");
    eprintln!("{hint}: the documented command was not tested");
    false
}

/// Verifies a manifest with the command that the documentation shows.
fn openssl_verifies(key: &str, manifest: &[u8], signature: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let files =
        [("release.pub", key.as_bytes()), ("manifest.json", manifest), ("manifest.sig", signature)];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let args =
        "pkeyutl -verify -pubin -inkey release.pub -rawin -in manifest.json -sigfile manifest.sig";
    let output =
        Command::new("openssl").args(args.split(' ')).current_dir(folder.path()).output().unwrap();
    output.status.success()
}

/// R-files-6: a link of a tenant that was suspended since works no more, until the tenant is resumed.
fn closed_tenant_cannot_download(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"content");
    let direct = link(&server);
    let in_mail = mailed(&server, 1).remove(0);
    let tenants = server.get_as_service("/tenants").1;
    let id = registry_core::id::TenantId(text(&tenants["items"][0]["tenant_id"]).parse().unwrap());
    let edit = |edit: TenantEdit| {
        operate(data.path(), environment, async |registry| {
            registry.tenant_edit(id, edit, operator()).await.unwrap();
        });
    };
    assert_eq!(server.get(&direct).send().unwrap().status(), 200);
    edit(TenantEdit::Suspend);
    assert_eq!(refusal(&server, &direct), (403, "tenant_suspended".to_owned()));
    assert_eq!(refusal(&server, &in_mail), (403, "tenant_suspended".to_owned()));
    edit(TenantEdit::Resume);
    assert_eq!(server.get(&direct).send().unwrap().status(), 200);
    let altered = direct.replace("&code=", "&code=0");
    assert_ne!(altered, direct);
    assert_eq!(refusal(&server, &altered), (403, "invalid_link".to_owned()));
}
