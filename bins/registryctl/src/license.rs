//! `registryctl license sign|inspect`

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use appliance_license::{LicenseState, TrustedKeys, Verifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::id::TenantId;
use registry_core::registry::subscriptions::SignLicense;
use serde_json::{Value, json};

use crate::operator;
use crate::output::Output;

/// Signs a license for a subscription, and grants its entitlement where there is none.
#[derive(Args)]
pub(crate) struct Sign {
    /// The subscription.
    #[arg(long)]
    subscription: String,
    /// The customer that the license names.
    #[arg(long)]
    customer: String,
    /// The tier.
    #[arg(long, default_value = "pro")]
    tier: String,
    /// How many seats; unlimited unless given.
    #[arg(long)]
    seats: Option<i64>,
    /// `connected`, or `airgap` for an appliance that never checks in.
    #[arg(long, default_value = "airgap")]
    transport: String,
    /// The tenant that it is for. Needed, unless the subscription is bound to one: without it no
    /// appliance takes the license.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Writes the license into this file, mode 0600, instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What a license says, and whether it holds: that is `state`; the exit code says only whether it
/// could be read.
#[derive(Args)]
pub(crate) struct Inspect {
    /// A license, a file with one, or `-` for standard input.
    #[arg(value_name = "TOKEN|FILE")]
    what: String,
    /// A key set (`registryctl keys export`) to verify it with, instead of this registry's.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Signs a license for a subscription.
    Sign(Sign),
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    let Task::Sign(Sign { subscription, customer, tier, seats, transport, tenant, out }) = task;
    let asked = SignLicense {
        stripe_sub_id: subscription,
        customer,
        tier,
        seats,
        transport,
        tenant_id: tenant,
        key: None,
    };
    // The file first: nothing is granted where the license could not be kept.
    let mut file = out.as_deref().map(create).transpose()?;
    let signed = match registry.license_sign(asked, operator()).await {
        Ok(signed) => signed,
        Err(error) => {
            if let Some(path) = &out {
                std::fs::remove_file(path)
                    .with_context(|| format!("{} cannot be removed", path.display()))?;
            }
            return Err(error.into());
        }
    };
    let token = signed.token.expose();
    let shown = match (&mut file, &out) {
        (Some(file), Some(path)) => {
            let written = writeln!(file, "{token}").and_then(|()| file.sync_all());
            written.with_context(|| format!("{} cannot be written", path.display()))?;
            path.display().to_string()
        }
        _ => token.to_owned(),
    };
    if token.split('.').nth(1).and_then(decoded).is_some_and(|claims| claims["aud"].is_null()) {
        eprintln!(
            "registryctl: the license names no tenant, and no appliance takes it: say --tenant"
        );
    }
    output.fields(&[
        (if out.is_some() { "file" } else { "license" }, json!(shown)),
        ("sub", json!(signed.sub)),
        ("expires_at", crate::tenant::time(signed.expires_at)),
    ])
}

fn create(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    made.with_context(|| format!("{} cannot be written", path.display()))
}

/// Needs no registry where a key set is named.
pub(crate) fn inspect(asked: &Inspect, jwks: &str, output: Output) -> anyhow::Result<()> {
    let token = read(&asked.what)?;
    let [header, claims] = [0, 1].map(|part| token.split('.').nth(part).and_then(decoded));
    let (header, claims) = header.zip(claims).context("this is no license token")?;
    let jwks = match &asked.keys {
        None => jwks.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?,
    };
    // Inspecting asks whether it holds for whom it says it is.
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let verifier = Verifier::new(TrustedKeys::from_jwks(&jwks)?, text("iss"), &text("aud"));
    let state = match verifier.state(&token, now()) {
        LicenseState::Licensed(_) => "licensed".to_owned(),
        LicenseState::Expiring { days, .. } => format!("expiring in {days} days"),
        LicenseState::Expired { .. } => "expired".to_owned(),
        LicenseState::WrongTenant { tenant_id } => format!("for tenant {tenant_id}"),
        LicenseState::Invalid(reason) => format!("invalid: {reason}"),
    };
    let mut fields = vec![
        ("state", json!(state)),
        ("alg", header["alg"].clone()),
        ("kid", header["kid"].clone()),
    ];
    fields.extend(
        ["iss", "sub", "aud", "cust", "tier", "seats", "iat", "exp"]
            .map(|name| (name, claims[name].clone())),
    );
    output.fields(&fields)
}

fn read(what: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if what == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else if what.matches('.').count() == 2 && what.starts_with("ey") {
        text = what.to_owned();
    } else {
        text = std::fs::read_to_string(what)
            .with_context(|| format!("{what} is no license, and no file"))?;
    }
    let token = text.trim().to_owned();
    if token.is_empty() {
        bail!("there is nothing to inspect");
    }
    Ok(token)
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[expect(clippy::disallowed_methods, reason = "an inspection is about now, and changes nothing")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}
