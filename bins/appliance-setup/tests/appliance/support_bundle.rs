//! The support bundle, which an installer sends to the vendor.

use crate::machine::{CODE, Machine, PASSWORD, UNREACHABLE_URL, assert_success, stderr};
use crate::test_registry::TestRegistry;

/// Writes a support bundle behind a proxy with a password, and returns it.
fn bundle(machine: &Machine, url: &str) -> String {
    let file = machine.file("bundle.json");
    let mut command = machine.command(&["support-bundle", "--out", &file, "--registry-url", url]);
    command.env("https_proxy", "http://user:hush@proxy.example:3128");
    assert_success(&command.output().unwrap());
    std::fs::read_to_string(&file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn support_bundle_contains_no_secret() {
    let registry = TestRegistry::start().await;
    registry.register("pro").await;
    let code = registry.mailed_code().await;
    tokio::task::block_in_place(|| {
        let machine = Machine::new();
        // The code is stored, and the service cannot be reached.
        let kubectl = machine.write_kubectl("exit 0");
        let output = machine.run(UNREACHABLE_URL, &["--tries", "1", "--kubectl", &kubectl]);
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
        let waiting = bundle(&machine, UNREACHABLE_URL);
        for expected in [
            "it refused the connection",
            "\"step\": \"redeem\"",
            "appliance-0123456789abcdef",
            "proxy.example:3128",
        ] {
            assert!(waiting.contains(expected), "{expected}: {waiting}");
        }
        assert_success(&machine.install(&registry.url, &code));
        let licensed = bundle(&machine, &registry.url);
        for expected in ["\"step\": \"done\"", "\"kids\""] {
            assert!(licensed.contains(expected), "{expected}: {licensed}");
        }
        let seed = machine.secret("appliance-license-seed");
        let secrets =
            [CODE, PASSWORD, &code, "hush", &seed["LICENSE_TOKEN"], &seed["APPLIANCE_CREDENTIAL"]];
        for text in [waiting, licensed] {
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        }
    });
}
