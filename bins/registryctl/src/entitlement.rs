//! `registryctl entitlement show|set-seats|revoke|restore|unbind`

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
pub(crate) enum Command {
    /// Shows an entitlement.
    Show(EntitlementArg),
    /// Sets the number of seats: appliances get it with the license of their next check-in.
    SetSeats {
        #[command(flatten)]
        entitlement: EntitlementArg,
        /// Number of seats, 1 to 2147483647, or `unlimited`.
        #[arg(value_parser = parse_seats)]
        seats: Seats,
    },
    /// Revokes an entitlement: licenses are no longer renewed, and stay valid until they expire.
    Revoke {
        #[command(flatten)]
        entitlement: EntitlementArg,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Restores a revoked entitlement: appliances get a license at their next check-in.
    Restore(EntitlementArg),
    /// Takes an entitlement from its tenant, which becomes a free one: an activation code had named
    /// the wrong tenant. Revoke the appliance that used the code, too (`appliance revoke`).
    Unbind {
        #[command(flatten)]
        entitlement: EntitlementArg,
        #[command(flatten)]
        confirm: Confirmation,
    },
}

#[derive(Args)]
pub(crate) struct EntitlementArg {
    /// Tenant ID (UUID), or subscription ID.
    #[arg(value_name = "TENANT_ID|SUBSCRIPTION_ID")]
    id: String,
}

/// Number of seats; `None` is unlimited.
#[derive(Clone, Copy)]
pub(crate) struct Seats(Option<u32>);

fn parse_seats(text: &str) -> Result<Seats, String> {
    if text == "unlimited" {
        return Ok(Seats(None));
    }
    let number = text.parse().ok().filter(|seats| (1..=i32::MAX as u32).contains(seats));
    number
        .map(|seats| Seats(Some(seats)))
        .ok_or_else(|| "expected a number from 1 to 2147483647, or `unlimited`".to_owned())
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    let (argument, edit) = match command {
        Command::Show(argument) => return print(&find(registry, &argument).await?, output),
        Command::SetSeats { entitlement, seats } => (entitlement, EntitlementEdit::Seats(seats.0)),
        Command::Restore(argument) => (argument, EntitlementEdit::Restore),
        Command::Revoke { entitlement, confirm } => {
            confirm.ask(&format!(
                "Revoke the entitlement of {}? Its appliances' licenses are no longer renewed.",
                entitlement.id
            ))?;
            (entitlement, EntitlementEdit::Revoke)
        }
        Command::Unbind { entitlement, confirm } => {
            confirm.ask(&format!(
                "Take the entitlement {} from its tenant? The tenant becomes a free one, its \
                 unused codes are replaced, and its appliances' licenses are no longer renewed.",
                entitlement.id
            ))?;
            (entitlement, EntitlementEdit::Unbind)
        }
    };
    let selector = EntitlementSelector::Id(find(registry, &argument).await?.id);
    print(&registry.entitlement_edit(selector, edit, None, operator()).await?, output)
}

/// Finds the entitlement of a subscription, or the one that applies to a tenant.
async fn find(registry: &Registry, argument: &EntitlementArg) -> anyhow::Result<Entitlement> {
    let Ok(tenant) = argument.id.parse::<TenantId>() else {
        let subscription = SubscriptionId::parse(&argument.id)?;
        return Ok(registry
            .entitlement_show(EntitlementSelector::Subscription(subscription))
            .await?);
    };
    let entitlement = registry.tenant_show(tenant).await?.entitlement;
    Ok(entitlement.ok_or(Error::Refused(Refusal::EntitlementNotFound))?)
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
