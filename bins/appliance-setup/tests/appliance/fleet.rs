//! The defaults are neutral, and the example of the fleet in the field keeps what that fleet has.

use std::path::Path;

use crate::machine::{Machine, UNREACHABLE_URL};
use crate::page::{INSTALLED_WITHOUT_CODE, Page, form};

/// Returns the variables of `docs/examples/fleet-appliance-setup.conf`.
fn fleet() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/examples/fleet-appliance-setup.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let variables = lines.filter_map(|line| line.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Installs without a code on the page. Returns the form, and the namespace of the Secrets.
fn install(environment: &[(String, String)]) -> (String, String) {
    let machine = Machine::new();
    let out = machine.file("out");
    let page = Page::serve_with(&machine, UNREACHABLE_URL, &["--output", &out], environment);
    let (cookie, csrf) = page.sign_in();
    let shown = page.get("/", &cookie).body;
    page.install(&cookie, &form(&csrf, &[("way", "without"), ("edition", "ce"), ("code", "")]));
    page.wait_for_text(&cookie, INSTALLED_WITHOUT_CODE);
    let secret = machine.path("out").join("appliance-initial-tenant.json");
    let secret: serde_json::Value =
        serde_json::from_slice(&std::fs::read(secret).unwrap()).unwrap();
    (shown, secret["metadata"]["namespace"].as_str().unwrap().to_owned())
}

/// R-secrets-3.
#[test]
fn defaults_name_no_vendor() {
    let (page, namespace) = install(&[]);
    assert!(page.contains(">Free edition<"), "{page}");
    assert!(!page.contains("Community") && !page.contains("Enterprise"), "{page}");
    assert_eq!(namespace, "default");
}

/// R-secrets-3.
#[test]
fn example_environment_serves_fleet() {
    let (page, namespace) = install(&fleet());
    assert!(page.contains(">Enterprise, with a trial of 15 days<"), "{page}");
    assert!(page.contains(">Community<"), "{page}");
    assert_eq!(namespace, "msp");
}
