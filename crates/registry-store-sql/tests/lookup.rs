//! The SQL of lookups in both dialects.

use registry_store_sql::lookup::{Join, Locked, Lookup, Rows};
use registry_store_sql::statement::Dialect;
use registry_store_sql::value::{Value, ValueType};

const LOOKUP: Lookup = Lookup {
    keys: &[("digest", ValueType::Bytes), ("appliance", ValueType::Text)],
    joins: &[
        Join {
            table: "install_codes",
            alias: "codes",
            on: "codes.digest = k.digest",
            rows: Rows::One,
        },
        Join {
            table: "tenants",
            alias: "tenants",
            on: "tenants.id = codes.tenant_id",
            rows: Rows::Optional,
        },
    ],
};

const NEWEST: Lookup = Lookup {
    keys: &[("contact", ValueType::Text)],
    joins: &[Join {
        table: "tenants",
        alias: "tenants",
        on: "tenants.contact_email_folded = k.contact",
        rows: Rows::First(2, "tenants.id DESC"),
    }],
};

fn keys(count: usize) -> Vec<Vec<Value>> {
    vec![vec![[1_u8; 32].into(), "a".into()]; count]
}

fn loaded(lookup: &Lookup, dialect: Dialect, keys: &[Vec<Value>]) -> String {
    lookup.load::<Locked>(dialect, keys, "k.n, tenants.id").text()
}

#[test]
fn postgres_joins_each_key_laterally() {
    let expected = "SELECT k.n, tenants.id \
        FROM unnest(?, ?) WITH ORDINALITY AS k (digest, appliance, n) \
        CROSS JOIN LATERAL (SELECT * FROM install_codes AS codes \
        WHERE codes.digest = k.digest LIMIT 1) AS codes \
        LEFT JOIN LATERAL (SELECT * FROM tenants AS tenants \
        WHERE tenants.id = codes.tenant_id LIMIT 1) AS tenants ON true";
    for count in [2, 3] {
        assert_eq!(loaded(&LOOKUP, Dialect::Postgres, &keys(count)), expected, "{count} keys");
    }
}

#[test]
fn sqlite_joins_one_key() {
    let expected = "SELECT k.n, tenants.id FROM (SELECT CAST(1 AS bigint) AS n, ? AS digest, ? AS appliance) AS k \
        JOIN install_codes AS codes ON codes.digest = k.digest \
        LEFT JOIN tenants AS tenants ON tenants.id = codes.tenant_id";
    assert_eq!(loaded(&LOOKUP, Dialect::Sqlite, &keys(1)), expected);
}

#[test]
fn first_rows_are_ordered_and_limited() {
    let key: Vec<Value> = vec!["a@example.com".into()];
    for (dialect, count, expected) in [
        (
            Dialect::Postgres,
            2,
            "SELECT k.n, tenants.id FROM unnest(?) WITH ORDINALITY AS k (contact, n) \
             CROSS JOIN LATERAL (SELECT * FROM tenants AS tenants \
             WHERE tenants.contact_email_folded = k.contact \
             ORDER BY tenants.id DESC LIMIT 2) AS tenants",
        ),
        (
            Dialect::Sqlite,
            1,
            "SELECT k.n, tenants.id FROM (SELECT CAST(1 AS bigint) AS n, ? AS contact) AS k \
             JOIN tenants AS tenants ON tenants.contact_email_folded = k.contact \
             ORDER BY tenants.id DESC LIMIT 2",
        ),
    ] {
        let keys = vec![key.clone(); count];
        assert_eq!(loaded(&NEWEST, dialect, &keys), expected, "{dialect:?}");
    }
}

#[test]
fn lock_passes_over_locked_rows_of_a_batch() {
    for (skip_locked, end) in [(true, " SKIP LOCKED"), (false, "")] {
        let expected = format!(
            "SELECT k.n, locked.id FROM unnest(?, ?) WITH ORDINALITY \
             AS k (digest, appliance, n) \
             CROSS JOIN LATERAL (SELECT * FROM install_codes AS codes \
             WHERE codes.digest = k.digest LIMIT 1) AS codes \
             CROSS JOIN LATERAL (SELECT id AS id FROM tenants AS tenants \
             WHERE tenants.id = codes.tenant_id LIMIT 1 FOR NO KEY UPDATE{end}) AS locked"
        );
        let lock = LOOKUP.lock("tenants", "id", skip_locked, &keys(2));
        assert_eq!(lock.text(), expected);
    }
}
