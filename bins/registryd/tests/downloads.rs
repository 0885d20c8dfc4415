//! Download links: `Range`, `ETag`, HEAD; altered and ended links.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;

use std::path::Path;

use both::{Environment, on_both_databases, with};
use common::{Server, answer, start, text};
use registry_core::audit::Actor;
use registry_core::registry::releases::NewRelease;
use serde_json::json;

on_both_databases!(an_image_downloads_whole_and_in_parts, an_altered_or_ended_link_is_forbidden_in_our_form,);

/// Publishes through the same use case that the admin command line calls.
fn publish(data: &Path, environment: Environment, content: &[u8]) {
    let told = |name: &str| match name {
        "REGISTRY_DATA" => data.to_str(),
        name => environment.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
    };
    let config = registry_wiring::Config::load(None, |name| told(name).map(str::to_owned)).unwrap();
    let url = registry_wiring::DataFolder::open(data).unwrap().noted_public_url().unwrap();
    let actor = Actor { name: "operator:test".to_owned(), source: "test".to_owned() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = registry_wiring::build(&config, &url).await.unwrap().registry;
        let (version, file_name) = ("1.0".to_owned(), "image.iso".to_owned());
        let new = NewRelease { version, file_name, ..NewRelease::default() };
        let mut upload = registry.release_begin(new, actor).await.unwrap();
        upload.write(content).await.unwrap();
        registry.release_publish(upload).await.unwrap();
    });
}

fn link(server: &Server) -> String {
    let body = json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "essentials" });
    let link = text(&server.service("/register-tenant", &body).1["download_url"]);
    link.strip_prefix(&server.url).unwrap().to_owned()
}

fn an_image_downloads_whole_and_in_parts(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let content: Vec<u8> = (0..1_000_003_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    publish(data.path(), environment, &content);
    assert_eq!(answer(server.get("/readyz").send().unwrap()).1["status"], "ready");
    let link = link(&server);
    let whole = server.get(&link).send().unwrap();
    let header = |response: &reqwest::blocking::Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let etag = header(&whole, "etag");
    assert_eq!(header(&whole, "content-length"), "1000003");
    assert_eq!(header(&whole, "content-disposition"), "attachment; filename=\"image.iso\"");
    assert_eq!(header(&whole, "accept-ranges"), "bytes");
    assert_eq!(whole.bytes().unwrap(), content);

    let part = |range: &str| server.get(&link).header("range", range).send().unwrap();
    let first = part("bytes=0-499999");
    assert_eq!((first.status().as_u16(), header(&first, "content-range")), (206, "bytes 0-499999/1000003".to_owned()));
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
