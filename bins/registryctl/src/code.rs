//! `registryctl code reissue`

use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::id::TenantId;
use registry_core::registry::reissue::Reissue;
use registry_core::store::TenantSelector;
use registry_core::text::EmailAddress;

use crate::operator;
use crate::output::Output;
use crate::tenant::print_issued;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Replaces a tenant's unused install codes with a new one, mails it and prints it.
    Reissue(ReissueArgs),
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
    let Command::Reissue(ReissueArgs { tenant, strict, no_email }) = command;
    let selector = match tenant.parse::<TenantId>() {
        Ok(id) => TenantSelector::Id(id),
        Err(_) => TenantSelector::Contact(EmailAddress::parse(&tenant)?),
    };
    let reissue = Reissue { selector, strict, send_email: !no_email, mail_only: false, key: None };
    print_issued(&registry.code_reissue(reissue, operator()).await?, output)
}
