//! `appliance-setup bootstrap`: the Job in the product's cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use appliance_bootstrap::{
    BootstrapError, Bootstrapped, Draws, Environment, Tier, bootstrap, effective_tier,
};
use appliance_install::{Clock as _, SystemClock};
use appliance_license::{TrustedKeys, Verifier};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::{random, say};

#[derive(Args)]
pub(crate) struct Bootstrap {
    /// The product's database: `postgres://…`, or `sqlite:FILE`. It may hold a password: better not
    /// as an argument.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database: String,
    /// The keys that licenses are believed by (`registryctl keys export`); without them the tier is
    /// that of no license.
    #[arg(long, env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Who issues the licenses.
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

pub(crate) fn perform(asked: &Bootstrap) -> Result<ExitCode> {
    let environment = Environment::read(|name| std::env::var_os(name))?;
    let seconds = SystemClock.now().try_into().context("this machine's clock is far off")?;
    let now = chrono::DateTime::from_timestamp(seconds, 0)
        .context("this machine's clock is far off")?
        .naive_utc();
    let (tenant_id, user_id) = (version_4(random()?), version_4(random()?));
    let draws = Draws { now, tenant_id, user_id, salt: random()? };
    let done = match bootstrap(&asked.database, &environment, &draws) {
        Err(BootstrapError::Refused(refusal)) => {
            eprintln!("appliance-setup: {refusal}");
            return Ok(ExitCode::from(3));
        }
        done => done?,
    };
    let verifier = verifier(asked, done.tenant_id.as_deref())?;
    let tier = done.license.as_ref().map(|row| effective_tier(row, verifier.as_ref(), now));
    say(&if asked.json { json(&done, tier.as_ref()) } else { text(&done, tier.as_ref()) })
}

fn version_4(bytes: [u8; 16]) -> Uuid {
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn verifier(asked: &Bootstrap, tenant_id: Option<&str>) -> Result<Option<Verifier>> {
    let (Some(path), Some(tenant_id)) = (&asked.keys, tenant_id) else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let keys = TrustedKeys::from_jwks(&text)
        .with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(Some(Verifier::new(keys, &asked.issuer, tenant_id)))
}

fn json(done: &Bootstrapped, tier: Option<&Tier>) -> String {
    json!({
        "tenant_id": done.tenant_id,
        "tenant_is_new": done.tenant_is_new,
        "license_is_new": done.license_is_new,
        "trial_started_at": done.license.as_ref().and_then(|row| row.trial_started_at).map(|at| at.and_utc()),
        "tier": tier.map(|tier| &tier.name),
        "because": tier.map(|tier| tier.because.to_string()),
    })
    .to_string()
}

fn text(done: &Bootstrapped, tier: Option<&Tier>) -> String {
    let new = |is_new| if is_new { "new" } else { "was here already" };
    let tenant = match &done.tenant_id {
        Some(id) => format!("{id} ({})", new(done.tenant_is_new)),
        None => "none; the Secrets bring none".to_owned(),
    };
    let tier = tier.map_or("essentials (the Secrets bring no license)".to_owned(), |tier| {
        format!("{} ({})", tier.name, tier.because)
    });
    format!("tenant  {tenant}\ntier    {tier}")
}
