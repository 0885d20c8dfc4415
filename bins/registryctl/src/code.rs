//! `registryctl code reissue` and `supersede-unused`

use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::id::TenantId;
use registry_core::registry::reissue::Reissue;
use registry_core::registry::restored::SupersededCode;
use registry_core::store::TenantSelector;
use registry_core::text::EmailAddress;
use serde_json::{Value, json};

use crate::operator;
use crate::output::Output;
use crate::tenant::print_issued;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Replaces a tenant's unused install codes with a new one, mails it and prints it.
    Reissue(ReissueArgs),
    /// Supersedes all unused codes, and lists them. Run it after `pg_restore`, before registryd: a
    /// code that was redeemed since the backup would be redeemed again. `restore` does the same.
    SupersedeUnused,
}

#[derive(Args)]
pub(crate) struct ReissueArgs {
    /// Tenant ID (UUID), or the contact's email address, which selects the contact's newest
    /// tenant that is not cancelled.
    #[arg(value_name = "TENANT_ID|EMAIL")]
    tenant: String,
    /// Refuses an email address that several tenants share. Default: the newest tenant is used.
    #[arg(long)]
    strict: bool,
    /// Only prints the code. Default: the code is also mailed to the contact.
    #[arg(long)]
    no_email: bool,
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    let ReissueArgs { tenant, strict, no_email } = match command {
        Command::Reissue(args) => args,
        Command::SupersedeUnused => {
            let superseded = registry.codes_supersede_unused(operator()).await?;
            return output.table(&SUPERSEDED, &rows(&superseded), &[]);
        }
    };
    let selector = match tenant.parse::<TenantId>() {
        Ok(id) => TenantSelector::Id(id),
        Err(_) => TenantSelector::Contact(EmailAddress::parse(&tenant)?),
    };
    let reissue = Reissue { selector, strict, send_email: !no_email, mail_only: false, key: None };
    print_issued(&registry.code_reissue(reissue, operator()).await?, output)
}

/// Headings of the list of superseded codes.
pub(crate) const SUPERSEDED: [&str; 4] = ["tenant_id", "company_name", "code_id", "last_four"];

/// Returns the list of superseded codes.
pub(crate) fn rows(superseded: &[SupersededCode]) -> Vec<Vec<Value>> {
    let row = |code: &SupersededCode| {
        vec![
            json!(code.tenant_id.map(|id| id.to_string())),
            json!(code.company_name),
            json!(code.id.to_string()),
            json!(code.last_four),
        ]
    };
    superseded.iter().map(row).collect()
}
