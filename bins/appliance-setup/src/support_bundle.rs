//! `appliance-setup support-bundle`: diagnostics for the vendor's support, without secrets.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use appliance_install::{Clock as _, Install, SystemClock, license_state};
use appliance_license::TrustedKeys;
use clap::Args;
use serde_json::{Value, json};
use terminal_text::printable_json;

use crate::options::ServiceArgs;
use crate::print_line;
use crate::status::{Status, clock_skew_message, rfc3339};

#[derive(Args)]
pub(crate) struct SupportBundleArgs {
    /// File to write the diagnostics to (JSON).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(crate) async fn run(
    install: Result<Install>,
    args: &SupportBundleArgs,
    state: &Path,
) -> Result<ExitCode> {
    let (status, appliance_id) = match (&install, license_state(state)) {
        (Ok(install), Ok(license_state)) => {
            (Status::new(install.step(), license_state).json(), Some(install.appliance_id()))
        }
        (Err(error), _) => (json!({ "problem": format!("{error:#}") }), None),
        (Ok(install), Err(error)) => {
            (json!({ "problem": error.to_string() }), Some(install.appliance_id()))
        }
    };
    let bundle = json!({
        "appliance_setup": env!("CARGO_PKG_VERSION"),
        "taken_at": rfc3339(SystemClock.now()),
        "appliance_id": appliance_id,
        // The output of `appliance-setup status`, which contains no secrets.
        "status": status,
        "service": service(&args.service, state).await,
        "trusted_keys": trusted_keys(args.service.trust(state).file()),
        "proxies": proxies(),
        "state_folder": files(state),
        "system": system(),
    });
    let text = serde_json::to_string_pretty(&bundle).context("the bundle cannot be serialized")?;
    let shown = args.out.display();
    std::fs::write(&args.out, format!("{}\n", printable_json(&text)))
        .with_context(|| format!("{shown} cannot be written"))?;
    print_line(&format!(
        "{shown} is written. It contains no code, password, license or credential. Check it before \
         you send it."
    ))
}

/// Reports if the service can be reached, and otherwise the error.
async fn service(args: &ServiceArgs, state: &Path) -> Value {
    let client = match args.client(state) {
        Ok(client) => client,
        Err(error) => return json!({ "problem": format!("{error:#}") }),
    };
    let problem =
        client.probe().await.err().map(|service_error| service_error.message(client.service()));
    json!({
        "address": client.service(),
        "problem": problem,
        "clock": client.clock_skew().map(clock_skew_message),
    })
}

fn trusted_keys(path: &Path) -> Value {
    let kids = std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| {
        let keys = TrustedKeys::from_jwks(&text).map_err(|error| error.to_string())?;
        Ok(keys.kids().map(str::to_owned).collect::<Vec<_>>())
    });
    match kids {
        Ok(kids) => json!({ "file": path, "kids": kids }),
        Err(problem) => json!({ "file": path, "problem": problem }),
    }
}

/// Lists the proxies of the environment, reduced to their hosts: a user name and a password may
/// precede the host.
fn proxies() -> Value {
    let names = [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ];
    let host = |value: String| {
        let host = value.rsplit('@').next().unwrap_or_default();
        let host = host.rsplit("://").next().unwrap_or_default().trim_end_matches('/');
        let is_host = host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok());
        if is_host { host.to_owned() } else { "set".to_owned() }
    };
    let set = names.into_iter().filter_map(|name| {
        std::env::var(name).ok().map(|value| (name.to_owned(), host(value).into()))
    });
    Value::Object(set.collect())
}

/// Lists the files of a folder, without their contents.
fn files(folder: &Path) -> Value {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return json!({ "problem": "the folder cannot be read" });
    };
    let describe = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        let mode = format!("{:o}", metadata.permissions().mode() & 0o7777);
        Some(json!({
            "name": entry.file_name().to_string_lossy(),
            "bytes": metadata.len(),
            "mode": mode,
            "uid": metadata.uid(),
        }))
    };
    entries.filter_map(Result::ok).filter_map(describe).collect()
}

fn system() -> Value {
    let read = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let release = read("/etc/os-release").and_then(|text| {
        text.lines().find_map(|line| {
            line.strip_prefix("PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned())
        })
    });
    json!({
        "release": release,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "resolver": read("/etc/resolv.conf"),
    })
}
