//! The sets of changes, and the SQL of each shape.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::{Action, Actor, AuditDetail, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::id::AuditId;
use registry_core::secret::CredentialDigest;
use registry_core::store::Write;
use registry_core::text::{ApplianceId, Channel};
use registry_store_sql::change::{Change, ChangeSet, group, postgres};
use registry_store_sql::statement::Statement;
use registry_store_sql::value::Value;
use uuid::Uuid;

fn id<T: From<Uuid>>(number: u128) -> T {
    Uuid::from_u128(number).into()
}

fn at() -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000, 0).unwrap()
}

fn appliance() -> ApplianceId {
    ApplianceId::from_stored("appliance-1".to_owned())
}

fn supersede(tenant: u128) -> Write {
    Write::SupersedeCodes { tenant: id(tenant), at: at() }
}

fn clear(tenant: u128) -> Write {
    Write::ClearLicenses { tenant: id(tenant) }
}

fn put_appliance() -> Write {
    Write::PutAppliance(Box::new(Appliance::new(id(1), appliance(), at())))
}

fn credential(number: u8) -> Write {
    let owner = (id(1), appliance());
    Write::InsertCredential(Credential::unused(CredentialDigest([number; 32]), owner, 1, at()))
}

fn audit(number: u128) -> Write {
    Write::audit(AuditEntry {
        id: id(number),
        at: at(),
        actor: Actor { name: "test".to_owned(), source: "here".to_owned() },
        action: Action::CodeIssued,
        tenant_id: None,
        code_id: None,
        mail_id: None,
        detail: AuditDetail::default(),
        count: 1,
    })
}

/// Returns the sets of requests with these writes.
fn sets(requests: &[&[Write]]) -> Vec<ChangeSet> {
    let changes = |writes: &&[Write]| -> Vec<Change> {
        writes.iter().flat_map(|write| Change::of(write).unwrap()).collect()
    };
    group(requests.iter().map(changes).collect())
}

/// Describes sets by what they do, and by the number of their rows.
fn described(sets: &[ChangeSet]) -> Vec<String> {
    let describe = |set: &ChangeSet| {
        let alone = ChangeSet { shape: set.shape, rows: set.rows.clone() };
        let text = postgres(vec![alone], false)[0].text();
        let words = text.trim_start_matches("WITH w1 AS (").split_whitespace();
        let words: Vec<_> = words.filter(|word| !["INTO", "FROM"].contains(word)).take(2).collect();
        let kind = if text.contains("ON CONFLICT") {
            "upsert".to_owned()
        } else {
            words[0].to_lowercase()
        };
        format!("{kind} {}: {}", words[1], set.rows.len())
    };
    sets.iter().map(describe).collect()
}

#[test]
fn requests_of_a_kind_share_sets() {
    let sets = sets(&[
        &[supersede(1), credential(1)],
        &[supersede(2), credential(2)],
        &[supersede(3), credential(3)],
    ]);
    assert_eq!(described(&sets), ["update install_codes: 3", "insert credentials: 3"]);
}

#[test]
fn order_of_writes_does_not_split_sets() {
    let sets = sets(&[&[clear(1), supersede(1)], &[supersede(2), clear(2)]]);
    assert_eq!(described(&sets), ["update install_codes: 2", "update appliances: 2"]);
}

#[test]
fn row_exists_before_others_refer_to_it() {
    for writes in [[put_appliance(), credential(1)], [credential(1), put_appliance()]] {
        let sets = sets(&[&writes]);
        assert_eq!(described(&sets), ["upsert appliances: 1", "insert credentials: 1"]);
    }
}

#[test]
fn audit_entries_come_last_in_order() {
    let sets = sets(&[&[audit(1), supersede(1), audit(2)], &[audit(3), supersede(2)]]);
    assert_eq!(described(&sets), ["update install_codes: 2", "insert audit: 3"]);
    let ids: Vec<_> = sets[1].rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(ids, [1, 2, 3].map(|number| Value::from(id::<AuditId>(number))));
}

#[test]
fn repeated_update_has_its_own_set() {
    let sets = sets(&[&[supersede(1), supersede(1)], &[supersede(2)]]);
    assert_eq!(described(&sets), ["update install_codes: 2", "update install_codes: 1"]);
    assert_eq!(postgres(sets, false).len(), 2, "a statement changes a row once");
}

#[test]
fn new_rows_of_a_request_share_a_set() {
    let sets = sets(&[&[credential(1), credential(2)], &[credential(3)]]);
    assert_eq!(described(&sets), ["insert credentials: 3"]);
}

#[test]
fn text_does_not_depend_on_number_of_requests() {
    let texts = |requests: &[&[Write]]| -> Vec<String> {
        postgres(sets(requests), false).iter().map(Statement::text).collect()
    };
    let one = texts(&[&[supersede(1), audit(1)]]);
    let two = texts(&[&[supersede(1), audit(1)], &[supersede(2), audit(2)]]);
    assert_eq!(one, two);
}

/// Returns the texts in both dialects. Those of PostgreSQL are parts of a statement.
fn texts(write: &Write) -> (Vec<String>, Vec<String>) {
    let changes = Change::of(write).unwrap();
    let sqlite = changes.iter().map(|change| change.clone().sqlite().text()).collect();
    let part = |text: String| -> String {
        let part = text.strip_prefix("WITH w1 AS (");
        part.and_then(|part| part.strip_suffix(") SELECT 1")).unwrap_or(&text).to_owned()
    };
    let statements = postgres(group(vec![changes]), false);
    (statements.iter().map(|statement| part(statement.text())).collect(), sqlite)
}

#[test]
fn each_dialect_has_its_text() {
    let tenant = id(1);
    for (write, postgres, sqlite) in [
        (
            supersede(1),
            "UPDATE install_codes SET superseded_at = v.v0 FROM unnest(?, ?) AS v (v0, v1) \
             WHERE tenant_id = v.v1 AND kind = 'install' \
             AND consumed_at IS NULL AND superseded_at IS NULL",
            "UPDATE install_codes SET superseded_at = ? \
             WHERE tenant_id = ? AND kind = 'install' \
             AND consumed_at IS NULL AND superseded_at IS NULL",
        ),
        (
            Write::RecordCheckIn { tenant, appliance: appliance(), at: at() },
            "UPDATE appliances SET last_check_in_at = CASE WHEN last_check_in_at > v.v0 \
             THEN last_check_in_at ELSE v.v0 END FROM unnest(?, ?, ?) AS v (v0, v1, v2) \
             WHERE tenant_id = v.v1 AND id = v.v2",
            "UPDATE appliances SET last_check_in_at = CASE WHEN last_check_in_at > ? \
             THEN last_check_in_at ELSE ? END \
             WHERE tenant_id = ? AND id = ?",
        ),
        (
            Write::DeleteCredentials { tenant, appliance: appliance() },
            "DELETE FROM credentials USING unnest(?, ?) AS v (v0, v1) \
             WHERE tenant_id = v.v0 AND appliance_id = v.v1",
            "DELETE FROM credentials \
             WHERE tenant_id = ? AND appliance_id = ?",
        ),
        (
            Write::SetCurrent {
                channel: Channel::from_stored("stable".to_owned()),
                release: Some(id(1)),
            },
            "INSERT INTO channels (name, release_id) SELECT * FROM unnest(?, ?) \
             ON CONFLICT (name) DO UPDATE SET release_id = excluded.release_id",
            "INSERT INTO channels (name, release_id) VALUES (?, ?) \
             ON CONFLICT (name) DO UPDATE SET release_id = excluded.release_id",
        ),
    ] {
        assert_eq!(texts(&write), (vec![postgres.to_owned()], vec![sqlite.to_owned()]));
    }
}
