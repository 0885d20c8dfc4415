//! What is sent to a vendor has no secret in it.

use crate::machine::{CODE, Machine, PASSWORD, printed};
use crate::served::serve;

#[tokio::test(flavor = "multi_thread")]
async fn a_support_bundle_says_what_is_wrong_and_has_no_secret_in_it() {
    let served = serve().await;
    served.register("pro").await;
    let code = served.mailed_code().await;
    let url = served.url.clone();
    let checks = move || {
        let machine = Machine::new();
        let out = machine.path("bundle.json");
        let bundle = |url: &str| {
            let mut command = machine.command(&[
                "support-bundle",
                "--out",
                out.to_str().unwrap(),
                "--registry-url",
                url,
            ]);
            let output =
                command.env("https_proxy", "http://user:hush@proxy.example:3128").output().unwrap();
            assert!(output.status.success(), "{}", printed(&output));
            std::fs::read_to_string(&out).unwrap()
        };
        // The code is waiting, and the service is not there.
        let output = machine.run("http://127.0.0.1:1", &["--tries", "1"]);
        assert_eq!(output.status.code(), Some(5), "{}", printed(&output));
        let text = bundle("http://127.0.0.1:1");
        for expected in [
            "it refused the connection",
            "\"step\": \"redeem\"",
            "appliance-0123456789abcdef",
            "proxy.example:3128",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        // Installed, and licensed.
        std::fs::write(machine.path("code"), &code).unwrap();
        let output = machine.run(&url, &["--output", machine.path("out").to_str().unwrap()]);
        assert!(output.status.success(), "{}", printed(&output));
        let licensed = bundle(&url);
        assert!(
            licensed.contains("\"step\": \"done\"") && licensed.contains("\"kids\""),
            "{licensed}"
        );
        let seed = machine.values("appliance-license-seed");
        let secrets =
            [CODE, PASSWORD, &code, "hush", &seed["LICENSE_TOKEN"], &seed["APPLIANCE_CREDENTIAL"]];
        for text in [text, licensed] {
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        }
    };
    tokio::task::spawn_blocking(checks).await.unwrap();
}
