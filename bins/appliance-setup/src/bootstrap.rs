//! `appliance-setup bootstrap`: the Job that bootstraps the product, in the product's cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use appliance_bootstrap::{
    BootstrapError, BootstrapOutcome, Environment, GeneratedValues, Tier, bootstrap, effective_tier,
};
use appliance_install::{Clock as _, SystemClock};
use appliance_license::{TrustedKeys, Verifier};
use clap::Args;
use serde_json::{Value, json};
use terminal_text::printable;
use uuid::Uuid;

use crate::{print_json, print_line, random, report};

#[derive(Args)]
pub(crate) struct JobArgs {
    /// URL of the product's database: `postgres://…` or `sqlite:FILE`. Use the environment
    /// variable if the URL contains a password.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database: String,
    /// Public keys for verifying licenses (from `registryctl keys export`). Without them, the tier
    /// is that of an appliance without a license.
    #[arg(long, env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Issuer that licenses must name.
    #[arg(
        long,
        env = "REGISTRY_LICENSE_ISSUER",
        default_value = "appliance-registry",
        value_name = "NAME"
    )]
    issuer: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &JobArgs) -> Result<ExitCode> {
    let environment = Environment::read(|name| std::env::var_os(name))?;
    let seconds = SystemClock.now().try_into().context("this machine's clock is out of range")?;
    let now = chrono::DateTime::from_timestamp(seconds, 0)
        .context("this machine's clock is out of range")?
        .naive_utc();
    let (tenant_id, user_id) = (uuid_v4(random()?), uuid_v4(random()?));
    let generated = GeneratedValues { now, tenant_id, user_id, salt: random()? };
    let outcome = match bootstrap(&args.database, &environment, &generated) {
        Err(BootstrapError::Refused(refusal)) => {
            report(&printable(&refusal.to_string()));
            return Ok(ExitCode::from(3));
        }
        result => result?,
    };
    let verifier = verifier(args, outcome.tenant_id.as_deref())?;
    let tier = outcome.license.as_ref().map(|row| effective_tier(row, verifier.as_ref(), now));
    if args.json {
        print_json(&json(&outcome, tier.as_ref()))
    } else {
        print_line(&text(&outcome, tier.as_ref()))
    }
}

fn uuid_v4(bytes: [u8; 16]) -> Uuid {
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn verifier(args: &JobArgs, tenant_id: Option<&str>) -> Result<Option<Verifier>> {
    let (Some(path), Some(tenant_id)) = (&args.keys, tenant_id) else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let keys = TrustedKeys::from_jwks(&text)
        .with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(Some(Verifier::new(keys, &args.issuer, tenant_id)))
}

fn json(outcome: &BootstrapOutcome, tier: Option<&Tier>) -> Value {
    let trial_started_at = outcome.license.as_ref().and_then(|row| row.trial_started_at);
    json!({
        "tenant_id": outcome.tenant_id,
        "tenant_is_new": outcome.tenant_is_new,
        "license_is_new": outcome.license_is_new,
        "trial_started_at": trial_started_at.map(|at| at.and_utc()),
        "tier": tier.map(|tier| &tier.name),
        "because": tier.map(|tier| tier.reason.to_string()),
    })
}

fn text(outcome: &BootstrapOutcome, tier: Option<&Tier>) -> String {
    let origin = |is_new| if is_new { "new" } else { "existed already" };
    let tenant = match &outcome.tenant_id {
        Some(id) => format!("{id} ({})", origin(outcome.tenant_is_new)),
        None => "none (the Secrets contain no tenant)".to_owned(),
    };
    let tier = tier.map_or("essentials (the Secrets contain no license)".to_owned(), |tier| {
        format!("{} ({})", tier.name, tier.reason)
    });
    format!("tenant  {}\ntier    {}", printable(&tenant), printable(&tier))
}
