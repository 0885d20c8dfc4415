//! `registryctl sweep`

use clap::Args;
use registry_core::Registry;
use registry_core::store::RetentionKind;
use registry_wiring::sweep_kind;
use serde_json::json;

use crate::output::Output;

#[derive(Args)]
pub(crate) struct SweepArgs {
    /// Counts the rows without deleting them. Default: the rows are deleted.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(
    registry: &Registry,
    args: &SweepArgs,
    output: Output,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for kind in RetentionKind::ALL {
        let count = if args.dry_run {
            registry.expired_count(*kind).await?
        } else {
            sweep_kind(registry, *kind).await?
        };
        rows.push(vec![json!(kind.as_str()), json!(count)]);
    }
    if !args.dry_run {
        let mails = registry.delete_delivered_mails().await.map_err(anyhow::Error::msg)?;
        rows.push(vec![json!("mailbox"), json!(mails)]);
    }
    output.table(&["kind", "rows"], &rows, &[("dry_run", json!(args.dry_run))])
}
