//! Faults during an installation. After each one, the same test installs with the same code, and
//! finds one redeemed code, one appliance, and the registry's tenant. The faults are the table in
//! `docs/appliance.md`.

use std::path::Path;
use std::process::Output;

use registry_core::id::TenantId;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::machine::{Machine, assert_success, stderr};
use crate::test_registry::TestRegistry;

/// Declares faults. Each one is a row of the table in `docs/appliance.md` and a test that causes
/// it.
macro_rules! faults {
    ($($name:ident {
        fault: $fault:literal,
        message: $message:literal,
        next: $next:expr,
        test: $test:expr,
    })*) => {
        pub(super) const FAULTS: &[$crate::faults::Fault] = &[
            $($crate::faults::Fault { cause: $fault, message: $message, next: $next }),*
        ];

        $(
            #[test]
            fn $name() {
                let test: fn(&$crate::faults::Fault) = $test;
                test(&$crate::faults::Fault { cause: $fault, message: $message, next: $next });
            }
        )*
    };
}

mod killed;
mod local;
mod network;
mod refused;

/// A row of the table.
struct Fault {
    cause: &'static str,
    /// First line of the message to the installer. `\<url\>` is the URL of the service, and `…` a
    /// part that differs from run to run.
    message: &'static str,
    /// Consequence of the fault, and what to do.
    next: &'static str,
}

const RETRIED: &str = "The program retries, with the same idempotency key.";
const CORRECTED: &str = "The installation waits for another code. The program does not retry.";
const UNCHANGED: &str = "Nothing has changed. Run the command again to install.";
const RESUMED: &str = "Run `appliance-setup run` to resume the installation.";

/// A tenant whose code was mailed, and its machine.
struct FaultCase {
    registry: TestRegistry,
    tenant: TenantId,
    machine: Machine,
    runtime: Runtime,
}

impl FaultCase {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let registry = runtime.block_on(TestRegistry::start());
        let tenant = runtime.block_on(registry.register("pro"));
        let machine = Machine::new();
        machine.write("code", &runtime.block_on(registry.mailed_code()));
        Self { registry, tenant, machine, runtime }
    }

    fn out(&self) -> String {
        self.machine.file("out")
    }

    /// Starts the installation, with one attempt to reach the service.
    fn start(&self, url: &str, more: &[&str]) -> Output {
        self.machine.run(url, &[&["--tries", "1", "--output", &self.out()], more].concat())
    }

    /// Resumes the installation without a fault, and checks the result.
    fn assert_resumes(&self) {
        let args = ["run", "--tries", "1", "--registry-url", &self.registry.url];
        assert_success(&self.machine.setup(&args));
        self.assert_installed_once();
    }

    /// Installs with the code and without a fault, and checks the result.
    fn assert_installs(&self) {
        assert_success(&self.start(&self.registry.url, &[]));
        self.assert_installed_once();
    }

    fn assert_installed_once(&self) {
        assert_eq!(self.machine.status()["tenant_id"], self.tenant.to_string());
        self.assert_registered_once();
        let options = std::fs::read(self.machine.path("state").join("product.json")).unwrap();
        let options: Value = serde_json::from_slice(&options).unwrap();
        // Without a folder, kubectl got the Secrets.
        if options["output"].is_string() {
            let tenant = self.machine.secret_value("appliance-initial-tenant", "INITIAL_TENANT_ID");
            assert_eq!(tenant, Some(self.tenant.to_string()));
        }
    }

    fn assert_registered_once(&self) {
        let show = self.registry.registry.tenant_show(self.tenant);
        let appliances = self.runtime.block_on(show).unwrap().record.appliances.len();
        assert_eq!((self.redeemed_codes(), appliances), (1, 1), "one code, one appliance");
    }

    /// Returns the number of the tenant's codes that the registry has redeemed.
    fn redeemed_codes(&self) -> usize {
        let show = self.registry.registry.tenant_show(self.tenant);
        let codes = self.runtime.block_on(show).unwrap().record.codes;
        codes.iter().filter(|code| code.consumed.is_some()).count()
    }

    /// Checks that no Secret was written, and that the appliance cannot be installed without a
    /// code.
    fn assert_waits_for_tenant(&self) {
        assert_eq!(std::fs::read_dir(self.machine.path("out")).unwrap().count(), 0, "no Secret");
        let (config, out) = (self.machine.file("config.toml"), self.out());
        let args = ["run", "--without-code", "ee", "--config", &config, "--output", &out];
        let without_code = self.machine.setup(&args);
        let expected = "waits for its tenant";
        assert!(stderr(&without_code).contains(expected), "{}", stderr(&without_code));
    }

    /// Checks the message to the installer. `url` is the URL of the service that was called.
    fn assert_message(&self, fault: &Fault, output: &Output, url: &str) {
        let text = stderr(output);
        let text = text.trim().trim_start_matches("appliance-setup: ");
        let text = text.split_once("detail    ").map_or(text, |(_, detail)| detail);
        let folder = self.machine.folder.path().to_str().unwrap();
        let text = text.replace(url, "\\<url\\>").replace(folder, "…");
        assert_eq!(without_time(text.lines().next().unwrap()), fault.message);
    }
}

/// Replaces a time, for example in ` on 2026-11-25 at 19:43 UTC`.
fn without_time(text: &str) -> String {
    let time = text.split_once(" on 20").and_then(|(before, rest)| {
        let (_, after) = rest.split_once(" UTC")?;
        Some(format!("{before} on … UTC{after}"))
    });
    time.unwrap_or_else(|| text.to_owned())
}

/// With `UPDATE_DOCS=1` this test writes the table.
#[test]
fn documented_faults_are_complete() {
    let groups = [network::FAULTS, refused::FAULTS, local::FAULTS, killed::FAULTS];
    let rows: Vec<_> = groups
        .into_iter()
        .flatten()
        .map(|Fault { cause, message, next }| format!("| {cause} | {message} | {next} |"))
        .collect();
    let table = rows.join("\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/appliance.md");
    let docs = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- faults: written by the tests -->\n", "<!-- faults: end -->");
    let (before, rest) = docs.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let head = "| Fault | Message | What happens next |\n| --- | --- | --- |";
    let expected = format!("{before}{begin}{head}\n{table}\n{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(&path, &expected).unwrap();
    }
    assert!(docs == expected, "docs/appliance.md differs: UPDATE_DOCS=1 writes the table\n{table}");
}
