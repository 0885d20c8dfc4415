//! The limit on SQLite: one connection writes the same rows as registryd, each change in its own
//! durable transaction. No client that commits each change by itself could get more out of SQLite.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use diesel::prelude::*;
use sha2::{Digest as _, Sha256};

use super::statement::Statement;
use crate::bench::measure::{Change, Figures};
use crate::bench::requests::APPLIANCE;

/// Time of the first change, in microseconds since 1970.
const START: i64 = 1_800_000_000_000_000;

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

const INSERT_TENANT: &str = "INSERT INTO tenants (id, company_name, contact_email, \
    contact_email_folded, search_text, edition, product, deployment, status, registered_at, \
    updated_at) VALUES (?, ?, ?, ?, ?, 'pro', 'default', 'appliance', 'registered', ?, ?)";

const INSERT_ENTITLEMENT: &str = "INSERT INTO entitlements (id, tenant_id, customer, edition, \
    seats, license_sub, created_at) VALUES (?, ?, ?, 'pro', 25, ?, ?)";

const INSERT_CODE: &str = "INSERT INTO install_codes (id, kind, tenant_id, entitlement_id, \
    digest_key_id, digest, last_four, issued_at, expires_at) \
    VALUES (?, 'install', ?, ?, 'limit', ?, 'ABCD', ?, ?)";

const INSERT_MAIL: &str = "INSERT INTO mails (id, tenant_id, kind, recipient, message, \
    sealed_key_id, sealed, state, attempts, queued_at, due_at) \
    VALUES (?, ?, 'install_code', ?, ?, 'limit', ?, 'queued', 0, ?, ?)";

const INSERT_AUDIT: &str = "INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, \
    detail, count) VALUES (?, ?, ?, '127.0.0.1', ?, ?, ?, ?, 1)";

const UPDATE_TENANT: &str =
    "UPDATE tenants SET status = 'installed', installed_at = ?, updated_at = ? WHERE id = ?";

const CONSUME_CODE: &str = "UPDATE install_codes SET consumed_at = ?, consumed_by = ? WHERE id = ?";

const INSERT_APPLIANCE: &str = "INSERT INTO appliances (tenant_id, id, registered_at, \
    license_sub, license_customer, license_tier, license_seats, license_expires_at) \
    VALUES (?, ?, ?, ?, ?, 'pro', 25, ?)";

const INSERT_CREDENTIAL: &str = "INSERT INTO credentials (digest, tenant_id, appliance_id, \
    issued_at) VALUES (?, ?, ?, ?)";

const CHECK_IN: &str = "UPDATE appliances SET last_check_in_at = ? WHERE tenant_id = ? AND id = ?";

const CHECK_IN_SIGNED: &str = "UPDATE appliances SET last_check_in_at = ?, license_sub = ?, \
    license_customer = ?, license_tier = 'pro', license_seats = 25, license_expires_at = ? \
    WHERE tenant_id = ? AND id = ?";

/// A connection to the file of the limit.
pub(super) struct Limit {
    connection: SqliteConnection,
    /// Number of changes so far.
    changes: i64,
}

impl Limit {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self { connection, changes: 0 }
    }

    /// Makes a change for each of these tenants, and measures the transactions alone.
    #[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
    pub(super) fn measure(&mut self, change: Change, tenants: Range<u64>) -> Result<Figures> {
        let mut times = Vec::new();
        for tenant in tenants {
            self.changes += 1;
            let statements = statements(change, i64::try_from(tenant)?, self.changes);
            let start = Instant::now();
            self.connection
                .immediate_transaction(|connection| run(connection, &statements))
                .with_context(|| format!("{change} failed on SQLite alone"))?;
            times.push(start.elapsed());
        }
        let elapsed: Duration = times.iter().sum();
        times.sort();
        Ok(Figures::new(rate(times.len(), elapsed), &times))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Runs statements that change one row each.
fn run(connection: &mut SqliteConnection, statements: &[Statement]) -> Result<()> {
    for statement in statements {
        let changed = statement.execute(connection)?;
        ensure!(changed == 1, "{changed} rows were changed instead of one: {}", statement.sql);
    }
    Ok(())
}

/// Returns the statements of a change of this tenant. `number` is the number of the change.
fn statements(change: Change, tenant: i64, number: i64) -> Vec<Statement> {
    let id = uuid("01a10000", tenant);
    match change {
        Change::Register => register(tenant, &id, number),
        Change::Redeem => redeem(tenant, &id, number),
        Change::CheckIn => {
            let values = [(START + number).into(), id.as_str().into(), APPLIANCE.into()];
            vec![Statement::new(CHECK_IN, values)]
        }
        Change::CheckInSigned => check_in_signed(tenant, &id, number),
    }
}

fn register(tenant: i64, id: &str, number: i64) -> Vec<Statement> {
    let now = START + number;
    let (company, contact) = (format!("Company {tenant}"), format!("b{tenant}@bench.example"));
    let search_text = format!("company {tenant} {contact}");
    let audit = |entry: i64, action: &str, detail: &str| {
        audit((number, entry), ("service default", action), id, detail)
    };
    vec![
        Statement::new(
            INSERT_TENANT,
            [
                id.into(),
                company.as_str().into(),
                contact.as_str().into(),
                contact.as_str().into(),
                search_text.into(),
                now.into(),
                now.into(),
            ],
        ),
        Statement::new(
            INSERT_ENTITLEMENT,
            [id.into(), id.into(), company.into(), license_sub(id).into(), now.into()],
        ),
        Statement::new(
            INSERT_CODE,
            [
                id.into(),
                id.into(),
                id.into(),
                digest("code", id).into(),
                now.into(),
                (now + 7 * DAY).into(),
            ],
        ),
        Statement::new(
            INSERT_MAIL,
            [
                id.into(),
                id.into(),
                contact.into(),
                "x".repeat(260).into(),
                vec![0; 52].into(),
                now.into(),
                now.into(),
            ],
        ),
        audit(0, "tenant_registered", ""),
        audit(1, "entitlement_granted", "pro"),
        audit(2, "code_issued", ""),
    ]
}

fn redeem(tenant: i64, id: &str, number: i64) -> Vec<Statement> {
    let now = START + number;
    vec![
        Statement::new(UPDATE_TENANT, [now.into(), now.into(), id.into()]),
        Statement::new(CONSUME_CODE, [now.into(), APPLIANCE.into(), id.into()]),
        Statement::new(
            INSERT_APPLIANCE,
            [
                id.into(),
                APPLIANCE.into(),
                now.into(),
                license_sub(id).into(),
                format!("Company {tenant}").into(),
                (now + 31 * DAY).into(),
            ],
        ),
        Statement::new(
            INSERT_CREDENTIAL,
            [digest("credential", id).into(), id.into(), APPLIANCE.into(), now.into()],
        ),
        audit_of_appliance(id, number, "code_redeemed"),
    ]
}

fn check_in_signed(tenant: i64, id: &str, number: i64) -> Vec<Statement> {
    let now = START + number;
    vec![
        Statement::new(
            CHECK_IN_SIGNED,
            [
                now.into(),
                license_sub(id).into(),
                format!("Company {tenant}").into(),
                (now + 31 * DAY).into(),
                id.into(),
                APPLIANCE.into(),
            ],
        ),
        audit_of_appliance(id, number, "license_renewed"),
    ]
}

fn audit_of_appliance(id: &str, number: i64, action: &str) -> Statement {
    audit((number, 0), ("appliance", action), id, &format!("by {APPLIANCE}"))
}

/// Returns the statement that inserts an audit entry of a change.
fn audit(
    (number, entry): (i64, i64),
    (actor, action): (&str, &str),
    id: &str,
    detail: &str,
) -> Statement {
    Statement::new(
        INSERT_AUDIT,
        [
            audit_id(number, entry).into(),
            (START + number).into(),
            actor.into(),
            action.into(),
            id.into(),
            id.into(),
            detail.into(),
        ],
    )
}

/// Returns the id of an audit entry. A change has at most four.
fn audit_id(number: i64, entry: i64) -> String {
    uuid("01a20000", number * 4 + entry)
}

fn uuid(prefix: &str, number: i64) -> String {
    format!("{prefix}-0000-7000-8000-{number:012x}")
}

fn license_sub(id: &str) -> String {
    format!("lic_{}", id.replace('-', ""))
}

fn digest(kind: &str, id: &str) -> Vec<u8> {
    Sha256::digest(format!("{kind} {id}")).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_has_a_value_for_each_placeholder() {
        for change in [Change::Register, Change::Redeem, Change::CheckIn, Change::CheckInSigned] {
            for statement in statements(change, 7, 9) {
                let placeholders = statement.sql.matches('?').count();
                assert_eq!(statement.values(), placeholders, "{}", statement.sql);
            }
        }
    }

    #[test]
    fn ids_are_uuids() {
        assert_eq!(uuid("01a10000", 255), "01a10000-0000-7000-8000-0000000000ff");
        assert_ne!(audit_id(1, 3), audit_id(2, 0));
    }
}
