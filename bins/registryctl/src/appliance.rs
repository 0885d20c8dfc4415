//! `registryctl appliance list|revoke`

use clap::Subcommand;
use registry_core::Registry;
use registry_core::appliance::Appliance;
use registry_core::id::TenantId;
use registry_core::text::ApplianceId;
use serde_json::json;

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists a tenant's appliances with their last check-in and the end of their licenses, and
    /// when two machines were last seen with one identity.
    List {
        /// Tenant ID (UUID).
        tenant_id: TenantId,
    },
    /// Revokes an appliance: its credentials are refused, and its license stays valid until it
    /// expires.
    Revoke {
        /// Tenant ID (UUID).
        tenant_id: TenantId,
        /// Appliance ID, as `registryctl appliance list` shows it.
        appliance_id: String,
        #[command(flatten)]
        confirm: Confirmation,
    },
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        Command::List { tenant_id } => list(registry, tenant_id, output).await,
        Command::Revoke { tenant_id, appliance_id, confirm } => {
            let id = ApplianceId::parse(&appliance_id)?;
            confirm.ask(&format!(
                "Revoke appliance {id} of tenant {tenant_id}? \
                 Its credentials are refused until a re-issued code installs it again."
            ))?;
            registry.appliance_revoke(tenant_id, id.clone(), operator()).await?;
            output.fields(&[
                ("tenant_id", json!(tenant_id)),
                ("appliance_id", json!(id)),
                ("revoked", json!(true)),
            ])
        }
    }
}

async fn list(registry: &Registry, tenant_id: TenantId, output: Output) -> anyhow::Result<()> {
    let appliances = registry.tenant_show(tenant_id).await?.record.appliances;
    let headings = [
        "appliance_id",
        "registered_at",
        "last_checkin_at",
        "license_ends_at",
        "revoked",
        "duplicate_seen_at",
    ];
    let row = |appliance: &Appliance| {
        let license_end = appliance.license.as_ref().map(|license| time(license.expires_at));
        let last_check_in = appliance.last_check_in_at.map(time);
        vec![
            json!(appliance.id),
            time(appliance.registered_at),
            json!(last_check_in),
            json!(license_end),
            json!(appliance.revoked_at.is_some()),
            json!(appliance.duplicate_seen_at.map(time)),
        ]
    };
    output.table(&headings, &appliances.iter().map(row).collect::<Vec<_>>(), &[])
}
