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
pub(crate) enum Task {
    /// Mints a fresh code for a tenant, mails it, and kills its unused ones.
    Reissue(Asked),
}

#[derive(Args)]
pub(crate) struct Asked {
    /// A tenant's id, or the e-mail of its contact (the newest of its tenants that is not
    /// cancelled).
    #[arg(value_name = "TENANT_ID|EMAIL")]
    who: String,
    /// Refuses where the contact has several tenants.
    #[arg(long)]
    strict: bool,
    /// Sends no mail: the code is only printed.
    #[arg(long)]
    no_email: bool,
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    let Task::Reissue(Asked { who, strict, no_email }) = task;
    let selector = match who.parse::<TenantId>() {
        Ok(id) => TenantSelector::Id(id),
        Err(_) => TenantSelector::Contact(EmailAddress::parse(&who)?),
    };
    let reissue = Reissue { selector, strict, send_email: !no_email, mail_only: false, key: None };
    print_issued(&registry.code_reissue(reissue, operator()).await?, output)
}
