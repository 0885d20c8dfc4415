//! The whole way, over real HTTP: a customer is registered, the code is taken out of the mail, the
//! appliance redeems it, also where the network swallows the answer, and comes back as the same
//! tenant after it was wiped.

use std::sync::Arc;

use crate::machine::{Machine, printed};
use crate::served::{operator, serve};
use registry_core::registry::reissue::Reissue;
use registry_core::store::TenantSelector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Something between the appliance and the registry, which swallows the answers of the first
/// connections.
async fn swallowing(url: &str, mut connections: usize) -> String {
    let to = url.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&to).await.unwrap();
            let swallow = connections > 0;
            connections = connections.saturating_sub(1);
            tokio::spawn(relay(near, far, swallow));
        }
    });
    format!("http://{address}")
}

/// Passes on what is sent, in as many pieces as it comes. A swallowed answer has begun when the
/// connection is closed: the registry has done its part.
async fn relay(mut near: TcpStream, mut far: TcpStream, swallow: bool) -> std::io::Result<()> {
    if !swallow {
        return tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop);
    }
    let ((mut from_near, _to_near), (mut from_far, mut to_far)) = (near.split(), far.split());
    tokio::select! {
        sent = tokio::io::copy(&mut from_near, &mut to_far) => sent.map(drop),
        begun = from_far.read_u8() => begun.map(drop),
    }
}

fn value(machine: &Machine, secret: &str, key: &str) -> Option<String> {
    machine.values(secret).remove(key)
}

async fn install(machine: &Arc<Machine>, url: String, code: &str) -> std::process::Output {
    std::fs::write(machine.path("code"), code).unwrap();
    let machine = machine.clone();
    let run = move || {
        machine.run(&url, &["--output", machine.path("out").to_str().unwrap(), "--tries", "5"])
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appliance_comes_up_as_its_tenant_also_where_the_answer_is_swallowed_and_after_it_was_wiped()
 {
    let served = serve().await;
    let tenant = served.register("pro").await;
    let machine = Arc::new(Machine::new());
    let swallowing = swallowing(&served.url, 2).await;
    let output = install(&machine, swallowing, &served.mailed_code().await).await;
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(
        printed(&output).matches("the connection broke off").count(),
        2,
        "{}",
        printed(&output)
    );
    let id = Some(tenant.to_string());
    assert_eq!(value(&machine, "appliance-initial-tenant", "INITIAL_TENANT_ID"), id);
    assert_eq!(
        value(&machine, "appliance-license-seed", "INSTALL_EDITION").as_deref(),
        Some("pro")
    );
    assert_eq!(
        (&machine.status()["step"], machine.status()["tenant_id"].as_str()),
        (&"done".into(), id.as_deref())
    );
    let shown = served.registry.tenant_show(tenant).await.unwrap().record;
    assert_eq!((shown.codes.len(), shown.appliances.len()), (1, 1), "one code, one appliance");
    assert!(shown.codes[0].consumed.is_some());

    assert!(machine.path("state").join("keys.json").is_file(), "the keys are pinned");

    // Wiped, and installed again with a re-issued code.
    let wiped = Arc::new(Machine::new());
    let selector = TenantSelector::Id(tenant);
    let reissue =
        Reissue { selector, strict: false, send_email: true, mail_only: false, key: None };
    served.registry.code_reissue(reissue, operator()).await.unwrap();
    let output = install(&wiped, served.url.clone(), &served.mailed_code().await).await;
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(
        value(&wiped, "appliance-initial-tenant", "INITIAL_TENANT_ID"),
        id,
        "the same tenant"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_essentials_appliance_has_no_license_and_a_used_code_is_refused() {
    let served = serve().await;
    let tenant = served.register("essentials").await;
    let (machine, code) = (Arc::new(Machine::new()), served.mailed_code().await);
    let output = install(&machine, served.url.clone(), &code).await;
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(
        value(&machine, "appliance-initial-tenant", "INITIAL_TENANT_ID"),
        Some(tenant.to_string())
    );
    assert_eq!(
        value(&machine, "appliance-license-seed", "INSTALL_EDITION").as_deref(),
        Some("essentials")
    );
    assert_eq!(value(&machine, "appliance-license-seed", "LICENSE_TOKEN"), None);
    let other = Arc::new(Machine::new());
    let output = install(&other, served.url.clone(), &code).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(
        printed(&output).contains("Install code has already been used"),
        "{}",
        printed(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_that_is_not_believed_blocks_the_install_and_the_code_is_good_for_the_next_try() {
    let served = serve().await;
    served.register("pro").await;
    let (machine, code) = (Arc::new(Machine::new()), served.mailed_code().await);
    std::fs::write(machine.path("code"), &code).unwrap();
    // The image brought the keys of another registry along.
    let other = serve().await;
    let jwks = published_keys(&other.url).await;
    std::fs::write(machine.path("keys.json"), jwks).unwrap();
    let (machine_too, url) = (machine.clone(), served.url.clone());
    let output = tokio::task::spawn_blocking(move || {
        let (keys, out) = (machine_too.path("keys.json"), machine_too.path("out"));
        machine_too.run(
            &url,
            &["--keys", keys.to_str().unwrap(), "--output", out.to_str().unwrap(), "--tries", "1"],
        )
    });
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(
        printed(&output).contains("no key that is trusted here signed it"),
        "{}",
        printed(&output)
    );
    assert_eq!(std::fs::read_dir(machine.path("out")).unwrap().count(), 0, "nothing was handed on");
    let output = install(&machine, served.url.clone(), &code).await;
    assert!(output.status.success(), "{}", printed(&output));
}

/// The published keys, by a request written by hand.
pub(crate) async fn published_keys(url: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let request =
        "GET /.well-known/jwks.json HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
