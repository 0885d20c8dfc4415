//! The bootstrap of the product's own database, with the Secrets of an installation.

use std::process::Output;

use serde_json::Value;

use crate::machine::{Machine, assert_success, stderr};
use crate::test_registry::TestRegistry;

/// Runs the bootstrap with the values of the Secrets as its environment.
fn bootstrap(machine: &Machine, database: &str) -> Output {
    let keys = machine.path("state").join("keys.json");
    let mut args = vec!["bootstrap", "--json", "--database", database];
    if keys.exists() {
        args.extend(["--keys", keys.to_str().unwrap()]);
    }
    let mut command = machine.command(&args);
    for secret in ["appliance-initial-tenant", "appliance-license-seed"] {
        command.envs(machine.secret(secret));
    }
    command.output().unwrap()
}

/// Checks that the bootstrap succeeded, and returns its output.
fn result(output: &Output) -> Value {
    assert_success(output);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn product_database(machine: &Machine) -> String {
    format!("sqlite:{}", machine.file("product.db"))
}

/// Registers a tenant, and returns its id and its installed machine.
async fn installed_machine(registry: &TestRegistry, edition: &str) -> (String, Machine) {
    let tenant = registry.register(edition).await.to_string();
    let machine = Machine::new();
    let code = registry.mailed_code().await;
    assert_success(&tokio::task::block_in_place(|| machine.install(&registry.url, &code)));
    (tenant, machine)
}

/// R-bootstrap-1, R-bootstrap-2.
#[tokio::test(flavor = "multi_thread")]
async fn database_belongs_to_the_registrys_tenant() {
    let registry = TestRegistry::start().await;
    let (tenant, machine) = installed_machine(&registry, "pro").await;
    let database = product_database(&machine);
    let first = result(&bootstrap(&machine, &database));
    assert_eq!(
        (first["tenant_id"].as_str(), &first["tenant_is_new"]),
        (Some(tenant.as_str()), &true.into())
    );
    assert_eq!((&first["tier"], &first["trial_started_at"]), (&"pro".into(), &Value::Null));
    let reason = first["because"].as_str().unwrap();
    assert!(reason.starts_with("the license is valid until"), "{first}");
    let again = result(&bootstrap(&machine, &database));
    assert_eq!(
        (&again["tenant_id"], &again["tenant_is_new"]),
        (&first["tenant_id"], &false.into())
    );
    // The bootstrap of another tenant's appliance is refused.
    let (_, other) = installed_machine(&registry, "pro").await;
    let refused = bootstrap(&other, &database);
    assert_eq!(refused.status.code(), Some(3));
    let expected = format!("This database belongs to tenant {tenant}");
    assert!(stderr(&refused).contains(&expected), "{}", stderr(&refused));
}

/// R-bootstrap-4, R-bootstrap-5.
#[tokio::test(flavor = "multi_thread")]
async fn essentials_has_no_license_and_no_trial() {
    let registry = TestRegistry::start().await;
    let (tenant, machine) = installed_machine(&registry, "essentials").await;
    let first = result(&bootstrap(&machine, &product_database(&machine)));
    assert_eq!(
        (first["tenant_id"].as_str(), &first["tier"]),
        (Some(tenant.as_str()), &"essentials".into())
    );
    assert_eq!(first["trial_started_at"], Value::Null);
}

#[test]
fn incomplete_secrets_create_no_tenant() {
    let machine = Machine::new();
    let database = product_database(&machine);
    let args = ["bootstrap", "--json", "--database", &database];
    assert_eq!(result(&machine.setup(&args))["tenant_id"], Value::Null);
    for (values, expected) in [
        (vec![("EDITION_CHOICE", "ee"), ("INSTALL_EDITION", "pro")], "No tenant was created"),
        (vec![("EDITION_CHOICE", "pro")], "EDITION_CHOICE must be"),
        (vec![("INITIAL_TENANT_NAME", "Acme")], "INITIAL_ADMIN_PASSWORD is missing"),
    ] {
        let output = machine.command(&args).envs(values).output().unwrap();
        assert!(!output.status.success());
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
