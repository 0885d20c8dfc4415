//! `registryctl code reissue` and `supersede-unused`

use std::io::IsTerminal as _;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use registry_core::id::TenantId;
use registry_core::registry::reissue::Reissue;
use registry_core::registry::restored::SupersededCode;
use registry_core::store::TenantSelector;
use registry_core::tenant::{Tenant, TenantStatus};
use registry_core::text::EmailAddress;
use registry_core::{Error, Refusal, Registry};
use serde_json::{Value, json};
use terminal_text::printable;

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
    /// Tenant ID (UUID), or the contact's email address. If the contact has several tenants, the
    /// command lists them and asks on a terminal which one is meant.
    #[arg(value_name = "TENANT_ID|EMAIL")]
    tenant: String,
    /// Of several tenants of the email address, takes the newest that is entitled or was installed,
    /// or else the newest. Default: the command asks, and fails without a terminal.
    #[arg(long, conflicts_with = "strict")]
    preferred: bool,
    /// Refuses an email address that several tenants share, without a question.
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
    let ReissueArgs { tenant, preferred, strict, no_email } = match command {
        Command::Reissue(args) => args,
        Command::SupersedeUnused => {
            let superseded = registry.codes_supersede_unused(operator()).await?;
            return output.table(&SUPERSEDED, &rows(&superseded), &[]);
        }
    };
    let selector = if let Ok(id) = tenant.parse() {
        TenantSelector::Id(id)
    } else {
        let contact = EmailAddress::parse(&tenant)?;
        let id = if preferred || strict { None } else { chosen(registry, &contact).await? };
        id.map_or(TenantSelector::Contact(contact), TenantSelector::Id)
    };
    let reissue = Reissue { selector, strict, send_email: !no_email, mail_only: false, key: None };
    print_issued(&registry.code_reissue(reissue, operator()).await?, output)
}

/// Asks for one of the contact's tenants that are not cancelled, if there are several. Without a
/// terminal, the error lists them.
async fn chosen(registry: &Registry, contact: &EmailAddress) -> anyhow::Result<Option<TenantId>> {
    let (records, more) = registry.tenants_of(contact, None).await?;
    let mut tenants: Vec<_> = records.iter().map(|record| &record.tenant).collect();
    tenants.retain(|tenant| tenant.status != TenantStatus::Cancelled);
    if tenants.len() < 2 {
        return Ok(None);
    }
    let line = |tenant: &&Tenant| {
        let registered = tenant.registered_at.format("%Y-%m-%d");
        let (id, status, edition) = (tenant.id, tenant.status, &tenant.edition);
        let company = printable(tenant.company_name.as_str());
        format!("\n  {id}  {registered}  {status}  {edition}  {company}")
    };
    let mut list: String = tenants.iter().map(line).collect();
    if more.is_some() {
        list.push_str("\n  … and older ones (`registryctl tenant list`)");
    }
    let list = format!("{} is the contact of:{list}\n", printable(contact.as_str()));
    if !std::io::stdin().is_terminal() {
        return Err(anyhow::Error::from(Error::Refused(Refusal::AmbiguousContact)).context(list));
    }
    eprint!("{list}");
    let answer = crate::confirm::answer("Tenant ID: ")?;
    let id = answer.trim().parse().context("nothing was changed: this is no tenant ID")?;
    ensure!(tenants.iter().any(|tenant| tenant.id == id), "nothing was changed: not one of these");
    Ok(Some(id))
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
