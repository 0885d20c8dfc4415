//! SQL types that both databases have: ids and times. PostgreSQL has a type for each, SQLite stores
//! ids as lower-case text and times as microseconds since 1970.

use std::io::Write as _;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, SqlType, Text, Timestamptz};
use diesel::sqlite::Sqlite;
use registry_core::clock::Timestamp;
use uuid::Uuid;

/// SQL type of an id.
#[derive(Clone, Copy, Debug, Default, SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951), sqlite_type(name = "Text"))]
pub struct Id;

/// SQL type of a time.
#[derive(Clone, Copy, Debug, Default, SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185), sqlite_type(name = "Long"))]
pub struct Time;

/// An id as a row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromSqlRow, AsExpression)]
#[diesel(sql_type = Id)]
pub struct SqlId(pub Uuid);

/// A time as a row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromSqlRow, AsExpression)]
#[diesel(sql_type = Time)]
pub struct SqlTime(pub Timestamp);

impl ToSql<Id, Pg> for SqlId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl ToSql<Id, Sqlite> for SqlId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_hyphenated().to_string());
        Ok(IsNull::No)
    }
}

impl FromSql<Id, Pg> for SqlId {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(value.as_bytes())?))
    }
}

impl FromSql<Id, Sqlite> for SqlId {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self(Uuid::parse_str(&text)?))
    }
}

impl ToSql<Time, Pg> for SqlTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<Timestamptz, Pg>::to_sql(&self.0, &mut out.reborrow())
    }
}

impl ToSql<Time, Sqlite> for SqlTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.timestamp_micros());
        Ok(IsNull::No)
    }
}

impl FromSql<Time, Pg> for SqlTime {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <Timestamp as FromSql<Timestamptz, Pg>>::from_sql(value).map(Self)
    }
}

impl FromSql<Time, Sqlite> for SqlTime {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?;
        Timestamp::from_timestamp_micros(micros).map(Self).ok_or_else(|| "no time".into())
    }
}

macro_rules! ids {
    ($($id:ident),+ $(,)?) => {$(
        impl From<registry_core::id::$id> for SqlId {
            fn from(id: registry_core::id::$id) -> Self {
                Self(id.0)
            }
        }

        impl From<SqlId> for registry_core::id::$id {
            fn from(id: SqlId) -> Self {
                Self(id.0)
            }
        }
    )+};
}

ids!(TenantId, EntitlementId, CodeId, MailId, AuditId, ReleaseId);

impl From<Timestamp> for SqlTime {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl From<SqlTime> for Timestamp {
    fn from(time: SqlTime) -> Self {
        time.0
    }
}
