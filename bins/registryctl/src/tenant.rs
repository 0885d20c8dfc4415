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
use serde_json::{Value, json};

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Registers a tenant and mails its install code.
    Register(Register),
    /// Lists tenants, newest first.
    List(List),
    /// Shows one tenant.
    Show {
        /// The tenant's id.
        tenant_id: TenantId,
    },
    /// Puts a tenant on hold: no code is redeemed or re-issued, and its appliances are told
    /// `revoked`.
    Suspend(Edited),
    /// Takes a suspension or a cancellation back.
    Resume(Edited),
    /// Ends a tenant.
    Cancel(Edited),
}

#[derive(Args)]
pub(crate) struct Edited {
    /// The tenant's id.
    tenant_id: TenantId,
    #[command(flatten)]
    confirm: Confirmation,
}

#[derive(Args)]
pub(crate) struct Register {
    /// The company.
    #[arg(long, alias = "company-name")]
    company: String,
    /// Where the code is mailed.
    #[arg(long, alias = "contact-email")]
    email: String,
    /// The contact's name.
    #[arg(long, alias = "contact-name")]
    contact: Option<String>,
    /// The edition.
    #[arg(long, default_value = "essentials")]
    edition: String,
    /// The product; the first of the catalogue unless given.
    #[arg(long)]
    product: Option<String>,
    /// Where it runs: appliance or hosted.
    #[arg(long)]
    deployment: Option<String>,
    /// How many seats; unlimited unless given.
    #[arg(long)]
    seats: Option<i64>,
    /// The subscription; the same one again is the same tenant.
    #[arg(long)]
    subscription: Option<String>,
    /// The region.
    #[arg(long)]
    region: Option<String>,
    /// Sends no mail: the code is only printed.
    #[arg(long)]
    no_email: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// Part of the company or the e-mail.
    #[arg(long)]
    query: Option<String>,
    /// Only this edition.
    #[arg(long)]
    edition: Option<String>,
    /// Only this product.
    #[arg(long)]
    product: Option<String>,
    /// Only this status.
    #[arg(long)]
    status: Option<String>,
    /// Only these: appliance or hosted.
    #[arg(long)]
    deployment: Option<String>,
    /// How many at most, 1 to 200.
    #[arg(long)]
    limit: Option<String>,
    /// Goes on after the page that ended with this cursor.
    #[arg(long)]
    cursor: Option<String>,
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    match task {
        Task::Register(asked) => register(registry, asked, output).await,
        Task::List(asked) => list(registry, asked, output).await,
        Task::Show { tenant_id } => show(registry, tenant_id, output).await,
        Task::Suspend(asked) => edit(registry, asked, TenantEdit::Suspend, output).await,
        Task::Resume(asked) => edit(registry, asked, TenantEdit::Resume, output).await,
        Task::Cancel(asked) => edit(registry, asked, TenantEdit::Cancel, output).await,
    }
}

async fn edit(
    registry: &Registry,
    asked: Edited,
    edit: TenantEdit,
    output: Output,
) -> anyhow::Result<()> {
    let Edited { tenant_id, confirm } = asked;
    let company = registry.tenant_show(tenant_id).await?.record.tenant.company_name;
    match edit {
        TenantEdit::Suspend => confirm.ask(&format!("Suspend {company} ({tenant_id})?"))?,
        TenantEdit::Cancel => confirm.ask(&format!("Cancel {company} ({tenant_id})?"))?,
        TenantEdit::Resume => {}
    }
    let tenant = registry.tenant_edit(tenant_id, edit, operator()).await?;
    output.fields(&[("tenant_id", json!(tenant.id)), ("status", json!(tenant.status.as_str()))])
}

async fn register(registry: &Registry, asked: Register, output: Output) -> anyhow::Result<()> {
    let new = NewTenant {
        company_name: asked.company,
        contact_email: asked.email,
        contact_name: asked.contact,
        edition: asked.edition,
        product_code: asked.product,
        deployment_type: asked.deployment,
        stripe_customer_id: None,
        stripe_sub_id: asked.subscription,
        seats: asked.seats,
        region: asked.region,
        send_email: !asked.no_email,
        key: None,
    };
    print_issued(&registry.tenant_register(new, operator()).await?, output)
}

/// Prints what minting answers: the only time the code is shown.
pub(crate) fn print_issued(issued: &Issued, output: Output) -> anyhow::Result<()> {
    let link = issued.download.as_ref().map(|link| link.expose().to_owned()).unwrap_or_default();
    output.fields(&[
        ("tenant_id", json!(issued.tenant_id)),
        ("install_code", json!(*issued.code.grouped())),
        ("expires_at", time(issued.expires_at)),
        ("download_url", json!(link)),
    ])
}

async fn list(registry: &Registry, asked: List, output: Output) -> anyhow::Result<()> {
    let asked = ListTenants {
        deployment_type: asked.deployment,
        query: asked.query,
        edition: asked.edition,
        product_code: asked.product,
        status: asked.status,
        limit: asked.limit,
        cursor: asked.cursor,
    };
    let page = registry.tenant_list(asked).await?;
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
    let shown = registry.tenant_show(id).await?;
    let (tenant, entitlement) = (&shown.record.tenant, shown.entitlement.as_ref());
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
        shown.record.codes.iter().map(|code| shown_code(code, shown.now, output)).collect();
    let appliances =
        shown.record.appliances.iter().map(|appliance| shown_appliance(appliance, output));
    let appliances: Vec<_> = appliances.collect();
    fields.push(("install_codes", lines(&codes, output)));
    fields.push(("appliances", lines(&appliances, output)));
    output.fields(&fields)
}

fn shown_code(code: &InstallCode, now: Timestamp, output: Output) -> Value {
    let (state, verb, since) = match code.state(now) {
        CodeState::Live => ("live", "live until", code.expires_at),
        CodeState::Consumed(at) => ("consumed", "redeemed", at),
        CodeState::Superseded(at) => ("superseded", "replaced", at),
        CodeState::Expired(at) => ("expired", "expired", at),
    };
    if output.json {
        let expires_at = time(code.expires_at);
        return json!({ "last_four": code.last_four, "state": state, "since": time(since), "expires_at": expires_at });
    }
    json!(format!("…{} {verb} {}", code.last_four, seconds(since)))
}

fn shown_appliance(appliance: &Appliance, output: Output) -> Value {
    let revoked = appliance.revoked_at.is_some();
    if output.json {
        let last = appliance.last_check_in_at.map(time);
        return json!({ "appliance_id": appliance.id, "last_checkin_at": last, "revoked": revoked });
    }
    let last = appliance.last_check_in_at.map_or("never".to_owned(), seconds);
    json!(format!(
        "{} last check-in {last}{}",
        appliance.id,
        if revoked { ", revoked" } else { "" }
    ))
}

/// Several values of one field: a list in JSON, one under the other in a table.
fn lines(values: &[Value], output: Output) -> Value {
    if output.json {
        return json!(values);
    }
    let lines: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    json!(lines.join(&format!("\n{:20}", "")))
}

pub(crate) fn time(moment: Timestamp) -> Value {
    json!(seconds(moment))
}

/// ISO 8601, to the second.
fn seconds(moment: Timestamp) -> String {
    moment.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
