//! `registryctl audit list`

use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::audit::{Action, AuditEntry};
use registry_core::id::TenantId;
use serde_json::json;

use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the audit entries, newest first.
    List(ListArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Lists only entries about this tenant (UUID). Default: all.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Lists only entries with this action, such as `check_in_refused` or `appliance_duplicated`.
    /// Default: all.
    #[arg(long, value_parser = parse_action)]
    action: Option<Action>,
    /// Maximum number of entries, 1 to 1000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

fn parse_action(name: &str) -> Result<Action, String> {
    let names = || Action::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
    Action::from_name(name).ok_or_else(|| format!("expected one of: {}", names()))
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    let Command::List(ListArgs { tenant, action, limit }) = command;
    let (entries, _) = registry.audit_page(tenant, action, limit, None).await?;
    let headings = ["at", "action", "detail", "tenant_id", "actor", "source", "count"];
    let row = |entry: &AuditEntry| {
        vec![
            time(entry.at),
            json!(entry.action.as_str()),
            json!(entry.detail.to_string()),
            json!(entry.tenant_id),
            json!(entry.actor.name),
            json!(entry.actor.source),
            json!(entry.count),
        ]
    };
    output.table(&headings, &entries.iter().map(row).collect::<Vec<_>>(), &[])
}
