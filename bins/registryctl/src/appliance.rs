//! `registryctl appliance list|revoke`

use clap::Subcommand;
use registry_core::Registry;
use registry_core::id::TenantId;
use registry_core::text::ApplianceId;
use serde_json::json;

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Lists a tenant's appliances: when each last checked in, and when its license ends.
    List {
        /// The tenant's id.
        tenant_id: TenantId,
    },
    /// Revokes an appliance: its credentials are refused from now on. Its license holds to its end.
    Revoke {
        /// The tenant's id.
        tenant_id: TenantId,
        /// What the appliance calls itself.
        appliance_id: String,
        #[command(flatten)]
        confirm: Confirmation,
    },
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    match task {
        Task::List { tenant_id } => list(registry, tenant_id, output).await,
        Task::Revoke { tenant_id, appliance_id, confirm } => {
            let id = ApplianceId::parse(&appliance_id)?;
            confirm.ask(&format!("Revoke {id} of {tenant_id}?"))?;
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
    let headings =
        ["appliance_id", "registered_at", "last_checkin_at", "license_ends_at", "revoked"];
    let row = |it: &registry_core::appliance::Appliance| {
        let ends = it.license.as_ref().map(|license| time(license.expires_at));
        let last = it.last_check_in_at.map(time);
        vec![
            json!(it.id),
            time(it.registered_at),
            json!(last),
            json!(ends),
            json!(it.revoked_at.is_some()),
        ]
    };
    output.table(&headings, &appliances.iter().map(row).collect::<Vec<_>>(), &[])
}
