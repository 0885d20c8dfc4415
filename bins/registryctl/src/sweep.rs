//! `registryctl sweep`: deletes what ended long ago, as registryd does by itself.

use clap::Args;
use registry_core::Registry;
use registry_core::store::RetentionKind;
use registry_wiring::sweep_kind;
use serde_json::json;

use crate::output::Output;

#[derive(Args)]
pub(crate) struct Sweep {
    /// Says what would go, and deletes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn perform(
    registry: &Registry,
    asked: &Sweep,
    output: Output,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for kind in RetentionKind::ALL {
        let count = if asked.dry_run {
            registry.sweep_count(*kind).await?
        } else {
            sweep_kind(registry, *kind).await?
        };
        rows.push(vec![json!(kind.as_str()), json!(count)]);
    }
    output.table(&["kind", "rows"], &rows, &[("dry_run", json!(asked.dry_run))])
}
