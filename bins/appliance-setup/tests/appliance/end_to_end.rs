//! Installations against a real registry over HTTP, with the mailed code. One network loses
//! responses; one machine is wiped and reinstalled.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::faulty_proxy::{self, ProxyFault};
use crate::machine::{Machine, assert_success, stderr};
use crate::test_registry::TestRegistry;

/// R-idempotency-2, R-messages-2.
#[tokio::test(flavor = "multi_thread")]
async fn reinstalled_appliance_has_the_same_tenant() {
    let registry = TestRegistry::start().await;
    let tenant = registry.register("pro").await;
    let code = registry.mailed_code().await;
    let machine = Machine::new();
    // The network loses two responses, after the registry has redeemed the code. The program
    // retries automatically.
    let url = faulty_proxy::start(ProxyFault::DropResponses(2), &registry.url);
    let output = block_in_place(|| machine.install(&url, &code));
    assert_success(&output);
    assert_eq!(stderr(&output).matches("next attempt in").count(), 2, "{}", stderr(&output));
    let id = Some(tenant.to_string());
    assert_eq!(machine.secret_value("appliance-initial-tenant", "INITIAL_TENANT_ID"), id);
    let edition = machine.secret_value("appliance-license-seed", "INSTALL_EDITION");
    assert_eq!(edition.as_deref(), Some("pro"));
    let status = machine.status();
    assert_eq!((&status["step"], status["tenant_id"].as_str()), (&"done".into(), id.as_deref()));
    let record = registry.registry.tenant_show(tenant).await.unwrap().record;
    assert_eq!((record.codes.len(), record.appliances.len()), (1, 1), "one code, one appliance");
    assert!(record.codes[0].consumed.is_some());
    assert!(machine.path("state").join("keys.json").is_file(), "the keys are pinned");

    let code = registry.reissue_code(tenant).await;
    let wiped = Machine::new();
    assert_success(&block_in_place(|| wiped.install(&registry.url, &code)));
    assert_eq!(wiped.secret_value("appliance-initial-tenant", "INITIAL_TENANT_ID"), id);
}

/// R-register-7.
#[tokio::test(flavor = "multi_thread")]
async fn code_installs_one_appliance() {
    let registry = TestRegistry::start().await;
    let tenant = registry.register("essentials").await;
    let (machine, code) = (Machine::new(), registry.mailed_code().await);
    assert_success(&block_in_place(|| machine.install(&registry.url, &code)));
    let tenant_id = machine.secret_value("appliance-initial-tenant", "INITIAL_TENANT_ID");
    assert_eq!(tenant_id, Some(tenant.to_string()));
    let edition = machine.secret_value("appliance-license-seed", "INSTALL_EDITION");
    assert_eq!(edition.as_deref(), Some("essentials"));
    for absent in ["LICENSE_TOKEN", "APPLIANCE_CREDENTIAL", "CHECK_IN_URL"] {
        assert_eq!(machine.secret_value("appliance-license-seed", absent), None, "{absent}");
    }

    let other = Machine::new();
    let output = block_in_place(|| other.install(&registry.url, &code));
    assert_eq!(output.status.code(), Some(3));
    let expected = "Install code has already been used";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn untrusted_license_is_not_delivered() {
    let registry = TestRegistry::start().await;
    registry.register("pro").await;
    let (machine, code) = (Machine::new(), registry.mailed_code().await);
    machine.write("code", &code);
    // The machine's image contains the keys of another registry.
    let other = TestRegistry::start().await;
    machine.write("keys.json", &published_keys(&other.url).await);
    block_in_place(|| {
        let (keys, out) = (machine.file("keys.json"), machine.file("out"));
        let options = ["--keys", &keys, "--output", &out, "--tries", "1"];
        let output = machine.run(&registry.url, &options);
        assert_eq!(output.status.code(), Some(5));
        let expected = "it is not signed with a trusted key";
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(machine.path("out")).unwrap().count(), 0, "no Secret");
        // The same code installs with the right keys.
        assert_success(&machine.install(&registry.url, &code));
    });
}

/// Fetches the published keys with a raw HTTP request.
pub(crate) async fn published_keys(url: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let request =
        "GET /.well-known/jwks.json HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}
