//! A machine at its first boot, on which a test runs the program.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

pub(crate) const CODE: &str = "K7QP-M2RX-9TDV";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// URL at which no program listens.
pub(crate) const UNREACHABLE_URL: &str = "http://127.0.0.1:1";

/// Environment variables that would change what the program does.
const VARIABLES: [&str; 23] = [
    "APPLIANCE_FREE_EDITION_LABEL",
    "APPLIANCE_LISTEN",
    "APPLIANCE_NAMESPACE",
    "APPLIANCE_OUTPUT",
    "APPLIANCE_PRODUCT_URL",
    "APPLIANCE_STATE",
    "APPLIANCE_TRIAL_EDITION_LABEL",
    "DATABASE_URL",
    "REGISTRY_CA_FILE",
    "REGISTRY_FREE_EDITION",
    "REGISTRY_INSECURE_HTTP",
    "REGISTRY_KEYS_FILE",
    "REGISTRY_LICENSE_ISSUER",
    "REGISTRY_URL",
    "ALGA_LICENSE_SERVICE_URL",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// A machine in a temporary folder, with a code, a configuration file, and a folder for Secrets.
pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        machine.write("machine-id", "0123456789abcdef0123456789abcdef\n");
        machine.write("code", &format!("{CODE}\n"));
        machine.write("password", PASSWORD);
        let config = format!(
            "company = 'Acme'\nfirst_name = 'Ada'\nlast_name = 'Lovelace'\n\
             email = 'ada@example.com'\npassword_file = '{}'\n",
            machine.file("password")
        );
        machine.write("config.toml", &config);
        std::fs::create_dir(machine.path("out")).unwrap();
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the path of a file as an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Writes an executable shell script, and returns its path as an argument.
    pub(crate) fn write_script(&self, name: &str, script: &str) -> String {
        self.write(name, &format!("#!/bin/sh\n{script}\n"));
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(name), executable).unwrap();
        self.file(name)
    }

    /// Writes a `kubectl` whose cluster takes Secrets, and which then runs this script.
    pub(crate) fn write_kubectl(&self, script: &str) -> String {
        self.write_script("kubectl", &format!("[ \"$1\" = auth ] && exit 0\n{script}"))
    }

    pub(crate) fn setup<Arg: AsRef<OsStr>>(&self, args: &[Arg]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn command<Arg: AsRef<OsStr>>(&self, args: &[Arg]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_appliance-setup"));
        command
            .arg("--state")
            .arg(self.path("state"))
            .arg("--machine-id")
            .arg(self.path("machine-id"));
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.args(args);
        command
    }

    /// Returns the arguments of `run` with the code, the configuration file, and more options.
    pub(crate) fn run_args(&self, url: &str, more: &[&str]) -> Vec<String> {
        let (code, config) = (self.file("code"), self.file("config.toml"));
        let args = ["run", "--code", &code, "--config", &config, "--registry-url", url];
        args.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    }

    /// Runs `run` with the code, the configuration file, and more options.
    pub(crate) fn run(&self, url: &str, more: &[&str]) -> Output {
        self.setup(&self.run_args(url, more))
    }

    /// Installs with this code, in at most five attempts, and writes the Secrets to files.
    pub(crate) fn install(&self, url: &str, code: &str) -> Output {
        self.write("code", code);
        self.run(url, &["--output", &self.file("out"), "--tries", "5"])
    }

    /// Returns the values of a Secret that was written to a file.
    pub(crate) fn secret(&self, name: &str) -> BTreeMap<String, String> {
        let manifest = std::fs::read(self.path("out").join(format!("{name}.json"))).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let decode = |value: &Value| {
            let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        manifest["data"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), decode(value)))
            .collect()
    }

    /// Returns one value of a Secret, if it is present.
    pub(crate) fn secret_value(&self, name: &str, key: &str) -> Option<String> {
        self.secret(name).remove(key)
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_slice(&self.setup(&["status", "--json"]).stdout).unwrap()
    }
}

/// Returns what a program wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that a program succeeded.
#[track_caller]
pub(crate) fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}
