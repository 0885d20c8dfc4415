//! An installation without a network, with the commands that an installer types.

use registry_core::secret::TypedCode;
use registry_wiring::read_request;

use crate::end_to_end::published_keys;
use crate::machine::{Machine, assert_success, stderr};
use crate::test_registry::{TestRegistry, operator};

#[tokio::test(flavor = "multi_thread")]
async fn appliance_installs_without_a_network() {
    let registry = TestRegistry::start().await;
    let tenant = registry.register("pro").await;
    let code = registry.mailed_code().await;
    let machine = Machine::new();
    let [request_file, answer_file, keys, config, out] =
        ["request.jwt", "answer.jwt", "keys.json", "config.toml", "out"]
            .map(|name| machine.file(name));
    assert_success(&machine.setup(&["request", "--out", &request_file]));

    // At the vendor's.
    machine.write("keys.json", &published_keys(&registry.url).await);
    let request = read_request(&std::fs::read_to_string(&request_file).unwrap()).unwrap();
    assert_eq!(request.appliance_id, "appliance-0123456789abcdef");
    let answer =
        registry.registry.offline_answer(TypedCode::new(code), request, operator()).await.unwrap();
    machine.write("answer.jwt", answer.expose());

    // On the appliance.
    let apply = ["apply", &answer_file, "--config", &config, "--output", &out];
    let apply_with_keys = [&apply[..], &["--keys", &keys]].concat();
    let without_keys = machine.setup(&apply);
    assert!(stderr(&without_keys).contains("keys export"), "{}", stderr(&without_keys));
    assert_success(&machine.setup(&apply_with_keys));
    let tenant_id = machine.secret_value("appliance-initial-tenant", "INITIAL_TENANT_ID");
    assert_eq!(tenant_id, Some(tenant.to_string()));
    let status = machine.status();
    assert_eq!(
        (&status["step"], &status["license"]["standing"]),
        (&"done".into(), &"not_checked_in_yet".into())
    );

    // An answer can be used once, and an installed appliance writes no request.
    let again = machine.setup(&apply_with_keys);
    assert!(!again.status.success());
    assert!(stderr(&again).contains("no request"), "{}", stderr(&again));
    let another = machine.setup(&["request", "--out", &request_file]);
    assert!(stderr(&another).contains("already installed"), "{}", stderr(&another));
    // With a network, the appliance checks in, and needs no options for that.
    assert_success(&tokio::task::block_in_place(|| machine.setup(&["check-in"])));
}
