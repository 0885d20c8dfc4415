//! `registryctl entitlement show|set-seats|revoke|restore`

use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::entitlement::Entitlement;
use registry_core::id::TenantId;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::SubscriptionId;
use registry_core::{Error, Refusal};
use serde_json::json;

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Shows an entitlement.
    Show(Which),
    /// Changes the seats; appliances get them at their next check-in.
    SetSeats {
        #[command(flatten)]
        which: Which,
        /// How many, or `unlimited`.
        #[arg(value_parser = seats)]
        seats: Seats,
    },
    /// Revokes it: appliances keep their licenses to their end.
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Restores a revoked one: appliances are licensed again at their next check-in.
    Restore(Which),
}

#[derive(Args)]
pub(crate) struct Which {
    /// A tenant's id, or a subscription.
    #[arg(value_name = "TENANT_ID|SUBSCRIPTION")]
    which: String,
}

/// A number of seats; none is unlimited.
#[derive(Clone, Copy)]
pub(crate) struct Seats(Option<u32>);

fn seats(text: &str) -> Result<Seats, String> {
    if text == "unlimited" {
        return Ok(Seats(None));
    }
    let number = text.parse().ok().filter(|seats| (1..=i32::MAX as u32).contains(seats));
    number
        .map(|seats| Seats(Some(seats)))
        .ok_or_else(|| "a number from 1 to 2147483647, or `unlimited`".to_owned())
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    let (which, edit) = match task {
        Task::Show(which) => return print(&find(registry, &which).await?, output),
        Task::SetSeats { which, seats } => (which, EntitlementEdit::Seats(seats.0)),
        Task::Restore(which) => (which, EntitlementEdit::Restore),
        Task::Revoke { which, confirm } => {
            confirm.ask(&format!("Revoke the entitlement of {}?", which.which))?;
            (which, EntitlementEdit::Revoke)
        }
    };
    let selector = EntitlementSelector::Id(find(registry, &which).await?.id);
    print(&registry.entitlement_edit(selector, edit, None, operator()).await?, output)
}

/// A tenant means the entitlement that speaks for it.
async fn find(registry: &Registry, which: &Which) -> anyhow::Result<Entitlement> {
    let Ok(tenant) = which.which.parse::<TenantId>() else {
        let subscription = SubscriptionId::parse(&which.which)?;
        return Ok(registry
            .entitlement_show(EntitlementSelector::Subscription(subscription))
            .await?);
    };
    let found = registry.tenant_show(tenant).await?.entitlement;
    Ok(found.ok_or(Error::Refused(Refusal::EntitlementNotFound))?)
}

fn print(entitlement: &Entitlement, output: Output) -> anyhow::Result<()> {
    let seats = match entitlement.seats {
        None if !output.json => json!("unlimited"),
        seats => json!(seats),
    };
    output.fields(&[
        ("entitlement_id", json!(entitlement.id)),
        ("tenant_id", json!(entitlement.tenant_id)),
        ("subscription", json!(entitlement.subscription)),
        ("customer", json!(entitlement.customer)),
        ("edition", json!(entitlement.edition)),
        ("seats", seats),
        ("license_sub", json!(entitlement.license_sub)),
        ("active", json!(entitlement.is_active())),
        ("created_at", time(entitlement.created_at)),
        ("revoked_at", json!(entitlement.revoked_at.map(time))),
    ])
}
