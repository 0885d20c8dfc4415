//! `registryctl tenant register|list|show|suspend|resume|cancel`

use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::TenantId;
use registry_core::install_code::{CodeState, InstallCode};
use registry_core::registry::directory::{ListTenants, TenantSummary};
use registry_core::registry::register::NewTenant;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::results::Issued;
use registry_core::tenant::TenantOrigin;
use serde_json::{Value, json};

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Registers a tenant, mails its install code and prints it.
    Register(RegisterArgs),
    /// Lists the tenants, newest first.
    List(ListArgs),
    /// Shows one tenant with its entitlement, install codes and appliances.
    Show {
        /// Tenant ID (UUID).
        tenant_id: TenantId,
    },
    /// Suspends a tenant: its appliances stop renewing their licenses and its codes are refused.
    Suspend(TenantEditArgs),
    /// Resumes a suspended or cancelled tenant.
    Resume(TenantEditArgs),
    /// Cancels a tenant whose customer has left: the effect is that of `suspend`.
    Cancel(TenantEditArgs),
}

#[derive(Args)]
pub(crate) struct TenantEditArgs {
    /// Tenant ID (UUID).
    tenant_id: TenantId,
    #[command(flatten)]
    confirm: Confirmation,
}

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// Company name, 1 to 200 characters.
    #[arg(long, alias = "company-name")]
    company: String,
    /// Email address of the contact, to which the code is mailed.
    #[arg(long, alias = "contact-email")]
    email: String,
    /// Name of the contact, 1 to 200 characters. Default: none.
    #[arg(long, alias = "contact-name")]
    contact: Option<String>,
    /// Edition.
    #[arg(long, default_value = "essentials")]
    edition: String,
    /// Product. Default: the first one in `products`.
    #[arg(long)]
    product: Option<String>,
    /// Deployment type: appliance or hosted. Default: appliance.
    #[arg(long)]
    deployment: Option<String>,
    /// Number of seats, 1 to 2147483647. Default: unlimited.
    #[arg(long)]
    seats: Option<i64>,
    /// Subscription ID, 1 to 255 characters: registering it again finds the same tenant.
    /// Default: none.
    #[arg(long)]
    subscription: Option<String>,
    /// Region, 1 to 64 characters. Default: none.
    #[arg(long)]
    region: Option<String>,
    /// Only prints the code. Default: the code is also mailed to the contact.
    #[arg(long)]
    no_email: bool,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Lists only tenants whose company name or email address contains this text. Default: all.
    #[arg(long)]
    query: Option<String>,
    /// Lists only tenants of this edition. Default: all.
    #[arg(long)]
    edition: Option<String>,
    /// Lists only tenants of this product. Default: all.
    #[arg(long)]
    product: Option<String>,
    /// Lists only tenants with this status: registered, installed, active, suspended or
    /// cancelled. Default: all.
    #[arg(long)]
    status: Option<String>,
    /// Lists only tenants of this deployment type: appliance or hosted. Default: both.
    #[arg(long)]
    deployment: Option<String>,
    /// Maximum number of tenants, 1 to 200. Default: 50.
    #[arg(long)]
    limit: Option<String>,
    /// Cursor of the page to list: `next_cursor` of the previous page. Default: the first page.
    #[arg(long)]
    cursor: Option<String>,
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        Command::Register(args) => register(registry, args, output).await,
        Command::List(args) => list(registry, args, output).await,
        Command::Show { tenant_id } => show(registry, tenant_id, output).await,
        Command::Suspend(args) => edit(registry, args, TenantEdit::Suspend, output).await,
        Command::Resume(args) => edit(registry, args, TenantEdit::Resume, output).await,
        Command::Cancel(args) => edit(registry, args, TenantEdit::Cancel, output).await,
    }
}

async fn edit(
    registry: &Registry,
    args: TenantEditArgs,
    edit: TenantEdit,
    output: Output,
) -> anyhow::Result<()> {
    let TenantEditArgs { tenant_id, confirm } = args;
    let company = registry.tenant_show(tenant_id).await?.record.tenant.company_name;
    let effect = "Its appliances stop renewing their licenses and its codes are refused.";
    match edit {
        TenantEdit::Suspend => {
            confirm.ask(&format!("Suspend tenant {company} ({tenant_id})? {effect}"))?;
        }
        TenantEdit::Cancel => {
            confirm.ask(&format!("Cancel tenant {company} ({tenant_id})? {effect}"))?;
        }
        TenantEdit::Resume => {}
    }
    let tenant = registry.tenant_edit(tenant_id, edit, operator()).await?;
    output.fields(&[("tenant_id", json!(tenant.id)), ("status", json!(tenant.status.as_str()))])
}

async fn register(registry: &Registry, args: RegisterArgs, output: Output) -> anyhow::Result<()> {
    let new = NewTenant {
        company_name: args.company,
        contact_email: args.email,
        contact_name: args.contact,
        edition: args.edition,
        product_code: args.product,
        deployment_type: args.deployment,
        billing_customer_id: None,
        subscription_id: args.subscription,
        seats: args.seats,
        region: args.region,
        origin: TenantOrigin::Service,
        send_email: !args.no_email,
        key: None,
    };
    print_issued(&registry.tenant_register(new, operator()).await?, output)
}

/// Prints a newly issued code. The code is shown this once only.
pub(crate) fn print_issued(issued: &Issued, output: Output) -> anyhow::Result<()> {
    let link = issued.download.as_ref().map(|link| link.expose().to_owned()).unwrap_or_default();
    output.fields(&[
        ("tenant_id", json!(issued.tenant_id)),
        ("install_code", json!(*issued.code.grouped())),
        ("expires_at", time(issued.expires_at)),
        ("download_url", json!(link)),
    ])
}

async fn list(registry: &Registry, args: ListArgs, output: Output) -> anyhow::Result<()> {
    let query = ListTenants {
        deployment_type: args.deployment,
        query: args.query,
        edition: args.edition,
        product_code: args.product,
        status: args.status,
        limit: args.limit,
        cursor: args.cursor,
    };
    let page = registry.tenant_list(query).await?;
    let headings = [
        "tenant_id",
        "company_name",
        "contact_email",
        "edition",
        "status",
        "install_code",
        "appliances",
        "registered_at",
    ];
    let rows: Vec<_> = page.items.iter().map(row).collect();
    output.table(&headings, &rows, &[("next_cursor", json!(page.next_cursor))])
}

fn row(item: &TenantSummary) -> Vec<Value> {
    let tenant = &item.record.tenant;
    vec![
        json!(tenant.id),
        json!(tenant.company_name),
        json!(tenant.contact_email),
        json!(tenant.edition),
        json!(tenant.status.as_str()),
        json!(item.code_state.as_str()),
        json!(item.record.appliances.len()),
        time(tenant.registered_at),
    ]
}

async fn show(registry: &Registry, id: TenantId, output: Output) -> anyhow::Result<()> {
    let details = registry.tenant_show(id).await?;
    let (tenant, entitlement) = (&details.record.tenant, details.entitlement.as_ref());
    let seats = match entitlement.map(|entitlement| entitlement.seats) {
        Some(None) if !output.json => json!("unlimited"),
        seats => json!(seats),
    };
    let mut fields = vec![
        ("tenant_id", json!(tenant.id)),
        ("company_name", json!(tenant.company_name)),
        ("contact_name", json!(tenant.contact_name)),
        ("contact_email", json!(tenant.contact_email)),
        ("edition", json!(tenant.edition)),
        ("product", json!(tenant.product)),
        ("deployment", json!(tenant.deployment.as_str())),
        ("status", json!(tenant.status.as_str())),
        ("registered_at", time(tenant.registered_at)),
        ("installed_at", tenant.installed_at.map_or(Value::Null, time)),
        (
            "subscription",
            json!(entitlement.and_then(|entitlement| entitlement.subscription.as_ref())),
        ),
        ("entitlement_active", json!(entitlement.map(Entitlement::is_active))),
        ("seats", seats),
    ];
    let codes: Vec<_> =
        details.record.codes.iter().map(|code| code_value(code, details.now, output)).collect();
    let appliances: Vec<_> = details
        .record
        .appliances
        .iter()
        .map(|appliance| appliance_value(appliance, output))
        .collect();
    fields.push(("install_codes", json!(codes)));
    fields.push(("appliances", json!(appliances)));
    output.fields(&fields)
}

fn code_value(code: &InstallCode, now: Timestamp, output: Output) -> Value {
    let (state, verb, since) = match code.state(now) {
        CodeState::Live => ("live", "live until", code.expires_at),
        CodeState::Consumed(at) => ("consumed", "redeemed", at),
        CodeState::Superseded(at) => ("superseded", "replaced", at),
        CodeState::Expired(at) => ("expired", "expired", at),
    };
    if output.json {
        let expires_at = time(code.expires_at);
        return json!({
            "last_four": code.last_four,
            "state": state,
            "since": time(since),
            "expires_at": expires_at,
        });
    }
    json!(format!("…{} {verb} {}", code.last_four, format_time(since)))
}

fn appliance_value(appliance: &Appliance, output: Output) -> Value {
    let revoked = appliance.revoked_at.is_some();
    if output.json {
        let last_check_in = appliance.last_check_in_at.map(time);
        return json!({
            "appliance_id": appliance.id,
            "last_checkin_at": last_check_in,
            "revoked": revoked,
        });
    }
    let last_check_in = appliance.last_check_in_at.map_or("never".to_owned(), format_time);
    json!(format!(
        "{} last check-in {last_check_in}{}",
        appliance.id,
        if revoked { ", revoked" } else { "" }
    ))
}

/// Returns a time as [`format_time`] writes it.
pub(crate) fn time(timestamp: Timestamp) -> Value {
    json!(format_time(timestamp))
}

/// Writes a time in ISO 8601, in UTC and to the second.
fn format_time(timestamp: Timestamp) -> String {
    timestamp.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
