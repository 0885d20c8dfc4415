//! The program, on a machine of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

pub(crate) const CODE: &str = "K7QP-M2RX-9TDV";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A machine at its first boot.
pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file =
            |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
        file("machine-id", "0123456789abcdef0123456789abcdef\n");
        file("code", &format!("{CODE}\n"));
        file("password", PASSWORD);
        let password = folder.path().join("password");
        file(
            "answers.toml",
            &format!(
                "company = 'Acme'\nfirst_name = 'Ada'\nlast_name = 'Lovelace'\nemail = 'ada@example.com'\npassword_file = '{}'\n",
                password.display()
            ),
        );
        std::fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn setup(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_appliance-setup"));
        command
            .arg("--state")
            .arg(self.path("state"))
            .arg("--machine-id")
            .arg(self.path("machine-id"));
        for name in [
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
        ] {
            command.env_remove(name);
        }
        command.args(args);
        command
    }

    /// `run` with a fresh code.
    pub(crate) fn run(&self, url: &str, more: &[&str]) -> Output {
        let (code, config) = (self.path("code"), self.path("answers.toml"));
        let args = [
            "run",
            "--code",
            code.to_str().unwrap(),
            "--config",
            config.to_str().unwrap(),
            "--registry-url",
            url,
        ];
        self.setup(&[&args[..], more].concat())
    }

    /// The values of a Secret that was left as a file.
    pub(crate) fn values(&self, secret: &str) -> BTreeMap<String, String> {
        let manifest = std::fs::read(self.path("out").join(format!("{secret}.json"))).unwrap();
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

    pub(crate) fn status(&self) -> Value {
        serde_json::from_slice(&self.setup(&["status", "--json"]).stdout).unwrap()
    }
}

pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
