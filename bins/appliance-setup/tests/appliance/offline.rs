//! Without a network, by the commands that an operator types.

use registry_core::secret::TypedCode;
use registry_wiring::read_request;

use crate::machine::{Machine, printed};
use crate::served::{operator, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_carried_away_and_its_answer_installs() {
    let served = serve().await;
    let tenant = served.register("pro").await;
    let code = served.mailed_code().await;
    let machine = Machine::new();
    let [asked, answered, keys, config, out] =
        ["request.jwt", "answer.jwt", "keys.json", "answers.toml", "out"]
            .map(|name| machine.path(name));
    let [asked_arg, answered_arg, keys_arg, config_arg, out_arg] =
        [&asked, &answered, &keys, &config, &out].map(|path| path.to_str().unwrap());
    let output = machine.setup(&["request", "--out", asked_arg]);
    assert!(output.status.success(), "{}", printed(&output));

    // At the vendor's.
    std::fs::write(&keys, crate::registry::published_keys(&served.url).await).unwrap();
    let request = read_request(&std::fs::read_to_string(&asked).unwrap()).unwrap();
    assert_eq!(request.appliance_id, "appliance-0123456789abcdef");
    let answer = served
        .registry
        .offline_answer(TypedCode::new(code.clone()), request, operator())
        .await
        .unwrap();
    std::fs::write(&answered, answer.expose()).unwrap();

    let apply = ["apply", answered_arg, "--config", config_arg, "--output", out_arg];
    let without_keys = machine.setup(&apply);
    assert!(printed(&without_keys).contains("keys export"), "{}", printed(&without_keys));
    let output = machine.setup(&[&apply[..], &["--keys", keys_arg]].concat());
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(machine.values("appliance-initial-tenant")["INITIAL_TENANT_ID"], tenant.to_string());
    let status = machine.status();
    assert_eq!(
        (&status["step"], &status["license"]["standing"]),
        (&"done".into(), &"not_checked_in_yet".into())
    );
    // Once: neither the answer nor another request is taken now.
    let again = machine.setup(&[&apply[..], &["--keys", keys_arg]].concat());
    assert!(
        !again.status.success() && printed(&again).contains("no request"),
        "{}",
        printed(&again)
    );
    let another = machine.setup(&["request", "--out", asked_arg]);
    assert!(printed(&another).contains("installed already"), "{}", printed(&another));
    // Where it gets a network after all, it checks in with what it holds, and the keys that it was
    // given.
    let output = tokio::task::spawn_blocking(move || machine.setup(&["check-in"])).await.unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}
