//! A fleet out of nothing: tenants with what hangs on them, made by the database itself.

use anyhow::{Context as _, Result};
use throwaway_postgres::Cluster;

/// What an id made by the bench looks like; the registry's own begin with the time.
const ID: &str = "('01a00000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";

const APPLIANCE: &str = "'appliance-' || lpad(to_hex(n), 16, '0')";

/// Installed tenants of a paid edition, each with a consumed code and an appliance.
pub(super) fn fleet(cluster: &Cluster, database: &str, tenants: u64) -> Result<()> {
    let tenants_sql = insert_tenants("installed", "now() - make_interval(secs => n)");
    let codes = insert_codes("now() - interval '1 day'", "'appliance-1'");
    run(cluster, database, 0, tenants, &[&tenants_sql, &codes, &insert_appliances("31 days")])
}

/// Appliances that have checked in before, and whose licenses live for so long. Their credentials
/// are their numbers.
pub(super) fn running(
    cluster: &Cluster,
    database: &str,
    first: u64,
    count: u64,
    license: &str,
) -> Result<()> {
    let tenants_sql = insert_tenants("active", "now()");
    let codes = insert_codes("now()", "'appliance-1'");
    let credentials = format!(
        "INSERT INTO credentials (digest, tenant_id, appliance_id, issued_at, first_used_at) SELECT \
         sha256(convert_to(lpad(to_hex(n), 64, '0'), 'UTF8')), {ID}, {APPLIANCE}, now(), now() FROM numbers"
    );
    run(
        cluster,
        database,
        first,
        count,
        &[&tenants_sql, &codes, &insert_appliances(license), &credentials],
    )
}

/// Registered tenants of a paid edition, each with a live code: what the limit of redeeming
/// consumes. Their codes have the numbers from `first` on as digests.
pub(super) fn live_codes(cluster: &Cluster, database: &str, first: u64, count: u64) -> Result<()> {
    let tenants_sql = insert_tenants("registered", "now()");
    run(cluster, database, first, count, &[&tenants_sql, &insert_codes("NULL", "NULL")])
}

fn insert_tenants(status: &str, registered_at: &str) -> String {
    format!(
        "INSERT INTO tenants (id, company_name, contact_email, contact_email_folded, search_text, edition, product, \
         deployment, status, registered_at, updated_at) SELECT {ID}, 'Company ' || n, 'c' || n || '@mail' || n % 97 || \
         '.example', 'c' || n || '@mail' || n % 97 || '.example', 'company ' || n || ' c' || n || '@mail' || n % 97 || \
         '.example', 'pro', 'psa', 'appliance', '{status}', {registered_at}, now() FROM numbers"
    )
}

fn insert_appliances(license: &str) -> String {
    format!(
        "INSERT INTO appliances (tenant_id, id, registered_at, last_check_in_at, license_sub, license_customer, \
         license_tier, license_seats, license_expires_at) SELECT {ID}, {APPLIANCE}, now(), now(), 'lic_' || n, \
         'Company ' || n, 'pro', 25, now() + interval '{license}' FROM numbers"
    )
}

fn insert_codes(consumed_at: &str, consumed_by: &str) -> String {
    format!(
        "INSERT INTO entitlements (id, tenant_id, customer, edition, seats, license_sub, created_at) SELECT {ID}, {ID}, \
         'Company ' || n, 'pro', 25, 'lic_' || n, now() FROM numbers; \
         INSERT INTO install_codes (id, kind, tenant_id, entitlement_id, digest_key_id, digest, last_four, issued_at, \
         expires_at, consumed_at, consumed_by) SELECT {ID}, 'install', {ID}, {ID}, 'bench', \
         decode(lpad(to_hex(n), 64, '0'), 'hex'), 'ABCD', now(), now() + interval '7 days', ({consumed_at})::timestamptz, \
         ({consumed_by})::text FROM numbers"
    )
}

/// Runs statements over the numbers from `first` on.
fn run(
    cluster: &Cluster,
    database: &str,
    first: u64,
    count: u64,
    statements: &[&str],
) -> Result<()> {
    let numbers = format!(
        "CREATE TEMP TABLE numbers AS SELECT generate_series({first}::bigint, {first} + {count} - 1) AS n"
    );
    let sql = format!(
        "SET synchronous_commit = off; {numbers}; ANALYZE numbers; {}",
        statements.join("; ")
    );
    cluster
        .sql(database, &sql)
        .with_context(|| format!("{count} tenants cannot be made in {database}"))?;
    Ok(())
}

/// Brings statistics and the visibility map up to date, so that no background work of the server's
/// runs in between.
pub(super) fn settle(cluster: &Cluster, database: &str) -> Result<()> {
    cluster.sql(database, "VACUUM (ANALYZE)")?;
    cluster.sql(database, "CHECKPOINT")?;
    Ok(())
}
