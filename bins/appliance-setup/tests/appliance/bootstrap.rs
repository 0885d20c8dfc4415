//! From the code in the mail to the product's own database: the local tenant is the registry's.

use std::process::Output;
use std::sync::Arc;

use crate::machine::{Machine, printed};
use crate::served::{Served, serve};
use serde_json::Value;

/// Runs the bootstrap with the values of the Secrets as its environment.
fn bootstrap(machine: &Machine, database: &str) -> Output {
    let keys = machine.path("state").join("keys.json");
    let mut args = vec!["bootstrap", "--json", "--database", database];
    if keys.exists() {
        args.extend(["--keys", keys.to_str().unwrap()]);
    }
    let mut command = machine.command(&args);
    for secret in ["appliance-initial-tenant", "appliance-license-seed"] {
        command.envs(machine.values(secret));
    }
    command.output().unwrap()
}

fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{}", printed(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn installed(served: &Served, machine: &Arc<Machine>) {
    std::fs::write(machine.path("code"), served.mailed_code().await).unwrap();
    let (machine, url) = (machine.clone(), served.url.clone());
    let output = tokio::task::spawn_blocking(move || {
        machine.run(&url, &["--output", machine.path("out").to_str().unwrap(), "--tries", "3"])
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licensed_appliance_is_its_tenant_in_its_own_database_and_refuses_another() {
    let served = serve().await;
    let tenant = served.register("pro").await.to_string();
    let machine = Arc::new(Machine::new());
    installed(&served, &machine).await;
    let database = format!("sqlite:{}", machine.path("product.db").display());
    let first = done(&bootstrap(&machine, &database));
    assert_eq!(
        (first["tenant_id"].as_str(), &first["tenant_is_new"]),
        (Some(tenant.as_str()), &true.into())
    );
    assert_eq!((&first["tier"], &first["trial_started_at"]), (&"pro".into(), &Value::Null));
    assert!(first["because"].as_str().unwrap().starts_with("a license holds until"), "{first}");
    let again = done(&bootstrap(&machine, &database));
    assert_eq!(
        (&again["tenant_id"], &again["tenant_is_new"]),
        (&first["tenant_id"], &false.into())
    );
    // Another customer's appliance, on this one's database.
    served.register("pro").await;
    let other = Arc::new(Machine::new());
    installed(&served, &other).await;
    let refused = bootstrap(&other, &database);
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        printed(&refused).contains(&format!("this database is tenant {tenant}'s")),
        "{}",
        printed(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_essentials_appliance_has_neither_token_nor_trial() {
    let served = serve().await;
    let tenant = served.register("essentials").await.to_string();
    let machine = Arc::new(Machine::new());
    installed(&served, &machine).await;
    let database = format!("sqlite:{}", machine.path("product.db").display());
    let first = done(&bootstrap(&machine, &database));
    assert_eq!(
        (first["tenant_id"].as_str(), &first["tier"]),
        (Some(tenant.as_str()), &"essentials".into())
    );
    assert_eq!(first["trial_started_at"], Value::Null);
}

#[test]
fn without_the_secrets_nothing_is_made_up_and_damage_is_named() {
    let machine = Machine::new();
    let database = format!("sqlite:{}", machine.path("product.db").display());
    let args = ["bootstrap", "--json", "--database", &database];
    assert_eq!(done(&machine.setup(&args))["tenant_id"], Value::Null);
    for (values, expected) in [
        (vec![("EDITION_CHOICE", "ee"), ("INSTALL_EDITION", "pro")], "no tenant is made up"),
        (vec![("EDITION_CHOICE", "pro")], "EDITION_CHOICE must be"),
        (vec![("INITIAL_TENANT_NAME", "Acme")], "INITIAL_ADMIN_PASSWORD is missing"),
    ] {
        let output = machine.command(&args).envs(values).output().unwrap();
        assert!(
            !output.status.success() && printed(&output).contains(expected),
            "{}",
            printed(&output)
        );
    }
}
