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

#[derive(Args)]
pub(crate) struct SignArgs {
    /// Subscription ID.
    #[arg(long)]
    subscription: String,
    /// Customer that the license names.
    #[arg(long)]
    customer: String,
    /// License tier.
    #[arg(long, default_value = "pro")]
    tier: String,
    /// Number of seats, 1 to 2147483647. Default: unlimited.
    #[arg(long)]
    seats: Option<i64>,
    /// Kind of appliance, which decides the lifetime: `connected` for one that checks in
    /// (`license.lifetime`), `airgap` for one that never does (`license.airgap_lifetime`).
    #[arg(long, default_value = "airgap")]
    transport: String,
    /// Tenant ID (UUID) that the license is for. Default: the subscription's tenant; a license
    /// without a tenant is accepted by no appliance.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// New file to write the license to, with mode 0600. Default: the license is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct InspectArgs {
    /// License token, file with a license token, or `-` for standard input.
    #[arg(value_name = "TOKEN|FILE")]
    source: String,
    /// Key set (from `registryctl keys export`) to verify the license with. Default: this
    /// registry's keys.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Signs a license for a subscription, and creates or updates the subscription's entitlement.
    Sign(SignArgs),
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    let Command::Sign(SignArgs { subscription, customer, tier, seats, transport, tenant, out }) =
        command;
    let request = SignLicense {
        subscription_id: subscription,
        customer,
        tier,
        seats,
        transport,
        tenant_id: tenant,
        key: None,
    };
    // The file is created first: if the license cannot be stored, nothing is granted.
    let mut file = out.as_deref().map(create).transpose()?;
    let signed = match registry.license_sign(request, operator()).await {
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
    let file_or_token = match (&mut file, &out) {
        (Some(file), Some(path)) => {
            let written = writeln!(file, "{token}").and_then(|()| file.sync_all());
            written.with_context(|| format!("{} cannot be written", path.display()))?;
            path.display().to_string()
        }
        _ => token.to_owned(),
    };
    if token.split('.').nth(1).and_then(decode).is_some_and(|claims| claims["aud"].is_null()) {
        eprintln!(
            "registryctl: the license names no tenant, so no appliance accepts it: \
             sign it again with --tenant"
        );
    }
    output.fields(&[
        (if out.is_some() { "file" } else { "license" }, json!(file_or_token)),
        ("sub", json!(signed.sub)),
        ("expires_at", crate::tenant::time(signed.expires_at)),
    ])
}

fn create(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let created = File::options().write(true).create_new(true).mode(0o600).open(path);
    created.with_context(|| format!("{} cannot be written", path.display()))
}

/// Prints a license's claims and its state. Needs no registry if `args` name a key set.
pub(crate) fn inspect(args: &InspectArgs, jwks: &str, output: Output) -> anyhow::Result<()> {
    let token = read(&args.source)?;
    let [header, claims] = [0, 1].map(|part| token.split('.').nth(part).and_then(decode));
    let (header, claims) = header
        .zip(claims)
        .with_context(|| format!("{} is not a license token", described(&args.source)))?;
    let jwks = match &args.keys {
        None => jwks.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?,
    };
    // The issuer and the tenant are the license's own: an inspection checks whether the license is
    // valid for the tenant that it names.
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

fn is_token(source: &str) -> bool {
    source.matches('.').count() == 2 && source.starts_with("ey")
}

/// Names the source in an error. A token is not repeated there.
fn described(source: &str) -> &str {
    match source {
        "-" => "standard input",
        token if is_token(token) => "the argument",
        file => file,
    }
}

fn read(source: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if source == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else if is_token(source) {
        text = source.to_owned();
    } else {
        text = std::fs::read_to_string(source).with_context(|| {
            format!("{source} is neither a license token nor a file that can be read")
        })?;
    }
    let token = text.trim().to_owned();
    if token.is_empty() {
        bail!("{} is empty: a license token is expected", described(source));
    }
    Ok(token)
}

fn decode(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an inspection uses the current time and changes nothing"
)]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}
