//! One statement out of many writes: each is a common table expression, and all of them land
//! together or not at all.
//!
//! A statement for each write would cost the database twice the work, and the client a round trip
//! each. The text of the statement depends on the kinds of the writes only, so that a connection
//! prepares each kind of change once.
//!
//! A batch may be *guarded*: its first expressions update the rows that it was decided on, if they
//! still have the version they had then, and everything else is joined to them. Where a guard does
//! not land, nothing does.

use std::borrow::Cow;
use std::marker::PhantomData;

use registry_core::clock::Timestamp;
use uuid::Uuid;

use crate::statement::Statement;

/// A value to be bound.
#[derive(Clone, Debug)]
pub(crate) enum Bind {
    Uuid(Option<Uuid>),
    Text(Option<String>),
    Time(Option<Timestamp>),
    Bytes(Option<Vec<u8>>),
    Int(Option<i32>),
    BigInt(Option<i64>),
}

macro_rules! binds {
    ($($type:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$type> for Bind {
            fn from(value: $type) -> Self {
                Self::$variant(Some(value))
            }
        }

        impl From<Option<$type>> for Bind {
            fn from(value: Option<$type>) -> Self {
                Self::$variant(value)
            }
        }
    )+};
}

binds!(Uuid => Uuid, String => Text, Timestamp => Time, Vec<u8> => Bytes, i32 => Int, i64 => BigInt);

impl From<&str> for Bind {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

/// A row as columns to write.
pub(crate) trait Columns {
    const TABLE: &'static str;
    const NAMES: &'static [&'static str];

    fn columns(self) -> Vec<(&'static str, Bind)>;
}

/// What an insertion does where its row is there already.
#[derive(Clone, Copy)]
pub(crate) enum Conflict {
    /// It fails, and the batch with it.
    Fail,
    /// It replaces the row that has the same values in these columns.
    Replace(&'static str),
    /// The same, and counts the change.
    ReplaceVersioned(&'static str),
}

pub(crate) enum Piece {
    Sql(Cow<'static, str>),
    Bind(Bind),
}

/// A statement in the making.
#[derive(Default)]
pub(crate) struct Batch {
    pieces: Vec<Piece>,
    guards: usize,
    expressions: usize,
    /// The tables that an update of this batch touched, with its name: what comes later waits for
    /// it.
    updated: Vec<(&'static str, usize)>,
    /// The expression that must have written a row.
    required: Option<usize>,
}

impl Batch {
    fn sql(&mut self, text: impl Into<Cow<'static, str>>) -> &mut Self {
        self.pieces.push(Piece::Sql(text.into()));
        self
    }

    fn bind(&mut self, bind: impl Into<Bind>) -> &mut Self {
        self.pieces.push(Piece::Bind(bind.into()));
        self
    }

    fn begin(&mut self, name: &str) {
        let start = if self.pieces.is_empty() { "WITH " } else { "), " };
        self.sql(format!("{start}{name} AS ("));
    }

    fn begin_write(&mut self) -> usize {
        let number = self.expressions;
        self.expressions += 1;
        self.begin(&format!("w{number}"));
        number
    }

    /// Guards everything that is added later: the row of `table` with this id has to have this
    /// version still. Sets `columns` in it on the way.
    pub(crate) fn guard(
        &mut self,
        table: &'static str,
        columns: Vec<(&'static str, Bind)>,
        id: Uuid,
        version: i64,
    ) {
        self.begin(&format!("g{}", self.guards));
        self.guards += 1;
        self.sql(format!("UPDATE {table} SET "));
        for (name, bind) in columns.into_iter().filter(|(name, _)| *name != "id") {
            self.sql(format!("{name} = ")).bind(bind).sql(", ");
        }
        self.sql("version = version + 1 WHERE id = ").bind(id).sql(" AND version = ").bind(version);
        self.sql(" RETURNING 1 AS landed");
    }

    /// ` FROM g0, g1`, where there are guards.
    fn with_guards(&mut self) -> &mut Self {
        for guard in 0..self.guards {
            self.sql(format!("{}g{guard}", if guard == 0 { " FROM " } else { ", " }));
        }
        self
    }

    /// Waits for the updates of the same table: uniqueness is checked row by row.
    fn after_updates(&mut self, table: &str) {
        let earlier: Vec<usize> =
            self.updated.iter().filter(|(it, _)| *it == table).map(|(_, number)| *number).collect();
        for (position, number) in earlier.into_iter().enumerate() {
            let start = if position == 0 { " WHERE" } else { " AND" };
            self.sql(format!("{start} (SELECT count(*) FROM w{number}) >= 0"));
        }
    }

    /// Inserts a row.
    pub(crate) fn insert<R: Columns>(&mut self, row: R, conflict: Conflict) {
        self.begin_write();
        let columns = row.columns();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        self.sql(format!("INSERT INTO {} ({}) SELECT ", R::TABLE, names.join(", ")));
        for (position, (_, bind)) in columns.into_iter().enumerate() {
            self.sql(if position == 0 { "" } else { ", " }).bind(bind);
        }
        self.with_guards().after_updates(R::TABLE);
        let (keys, versioned) = match conflict {
            Conflict::Fail => return,
            Conflict::Replace(keys) => (keys, false),
            Conflict::ReplaceVersioned(keys) => (keys, true),
        };
        self.sql(format!(" ON CONFLICT ({keys}) DO UPDATE SET {}", replaced(&names, keys)));
        if versioned {
            self.sql(format!(", version = {}.version + 1", R::TABLE));
        }
    }

    /// Inserts rows of one table.
    pub(crate) fn insert_all<R: Columns>(&mut self, rows: Vec<R>) {
        let guarded = self.guards > 0;
        for (position, row) in rows.into_iter().enumerate() {
            let columns = row.columns();
            if position == 0 {
                self.begin_write();
                let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                let select = if guarded { "SELECT v.* FROM (" } else { "" };
                self.sql(format!("INSERT INTO {} ({names}) {select}VALUES (", R::TABLE));
            } else {
                self.sql("), (");
            }
            for (position, (_, bind)) in columns.into_iter().enumerate() {
                self.sql(if position == 0 { "" } else { ", " }).bind(bind);
            }
        }
        self.sql(")");
        if guarded {
            self.sql(") AS v");
            for guard in 0..self.guards {
                self.sql(format!(", g{guard}"));
            }
        }
    }

    /// Inserts a row, or replaces one that has ended at `now`. Where one has not, nothing of the
    /// batch may last: [`Landed`] says so.
    pub(crate) fn insert_over_ended<R: Columns>(
        &mut self,
        row: R,
        keys: &'static str,
        now: Timestamp,
    ) {
        self.insert(row, Conflict::Replace(keys));
        self.sql(format!(" WHERE {}.expires_at <= ", R::TABLE)).bind(now).sql(" RETURNING 1");
        self.required = Some(self.expressions - 1);
    }

    /// Updates rows: `SET set WHERE condition`, both written by `fill`.
    pub(crate) fn update(
        &mut self,
        table: &'static str,
        set: Vec<(&'static str, Bind)>,
        condition: impl FnOnce(&mut Condition<'_>),
    ) {
        let number = self.begin_write();
        self.sql(format!("UPDATE {table} SET "));
        for (position, (name, bind)) in set.into_iter().enumerate() {
            self.sql(format!("{}{name} = ", if position == 0 { "" } else { ", " })).bind(bind);
        }
        self.with_guards().sql(format!(" WHERE {table}."));
        condition(&mut Condition(self));
        self.sql(" RETURNING 1");
        self.updated.push((table, number));
    }

    /// Marks a code as consumed. One that is not live breaks a constraint of its row, and the batch
    /// with it.
    pub(crate) fn consume(&mut self, code: Uuid, at: Timestamp, by: &str, tenant: Uuid) {
        let number = self.begin_write();
        self.sql(
            "UPDATE install_codes SET consumed_at = CASE WHEN consumed_at IS NULL AND superseded_at IS NULL THEN ",
        );
        self.bind(at).sql(" END, consumed_by = ").bind(by).sql(", tenant_id = ").bind(tenant);
        self.with_guards().sql(" WHERE install_codes.id = ").bind(code).sql(" RETURNING 1");
        self.updated.push(("install_codes", number));
    }

    /// Deletes rows.
    pub(crate) fn delete(
        &mut self,
        table: &'static str,
        condition: impl FnOnce(&mut Condition<'_>),
    ) {
        self.begin_write();
        self.sql(format!("DELETE FROM {table}"));
        for guard in 0..self.guards {
            self.sql(format!("{}g{guard}", if guard == 0 { " USING " } else { ", " }));
        }
        self.sql(format!(" WHERE {table}."));
        condition(&mut Condition(self));
    }

    /// How many guards it has.
    pub(crate) fn guards(&self) -> usize {
        self.guards
    }

    /// Whether it has nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Ends the statement: what it returns is how many guards landed, and 0 where a required row
    /// was not written.
    pub(crate) fn finish(mut self) -> Statement {
        self.sql(") SELECT ");
        let guards = (0..self.guards).map(|guard| format!("(SELECT count(*) FROM g{guard})"));
        let required = self.required.map(|number| format!("(SELECT count(*) FROM w{number})"));
        let counts: Vec<String> = guards.chain(required).collect();
        self.sql(if counts.is_empty() { "1::bigint".to_owned() } else { counts.join(" * ") });
        Statement(self.pieces, PhantomData)
    }
}

/// The rest of a `WHERE`: it begins with a column of the table.
pub(crate) struct Condition<'batch>(&'batch mut Batch);

impl Condition<'_> {
    pub(crate) fn sql(&mut self, text: &'static str) -> &mut Self {
        self.0.sql(text);
        self
    }

    pub(crate) fn bind(&mut self, bind: impl Into<Bind>) -> &mut Self {
        self.0.bind(bind);
        self
    }
}

fn replaced(names: &[&str], keys: &str) -> String {
    let keys: Vec<&str> = keys.split(", ").collect();
    let others = names.iter().filter(|name| !keys.contains(name));
    others.map(|name| format!("{name} = EXCLUDED.{name}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Line(i32, &'static str);

    impl Columns for Line {
        const TABLE: &'static str = "lines";
        const NAMES: &'static [&'static str] = &["id", "text"];

        fn columns(self) -> Vec<(&'static str, Bind)> {
            vec![("id", self.0.into()), ("text", self.1.into())]
        }
    }

    fn text(batch: Batch) -> String {
        let debugged = diesel::debug_query::<diesel::pg::Pg, _>(&batch.finish()).to_string();
        debugged.split(" -- binds").next().unwrap().to_owned()
    }

    #[test]
    fn without_guards_writes_stand_alone() {
        let mut batch = Batch::default();
        batch.insert(Line(1, "a"), Conflict::Fail);
        batch.insert(Line(1, "a"), Conflict::Replace("id"));
        batch.insert_all(vec![Line(1, "a"), Line(2, "b")]);
        assert_eq!(
            text(batch),
            "WITH w0 AS (INSERT INTO lines (id, text) SELECT $1, $2), \
             w1 AS (INSERT INTO lines (id, text) SELECT $3, $4 ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text), \
             w2 AS (INSERT INTO lines (id, text) VALUES ($5, $6), ($7, $8)) SELECT 1::bigint"
        );
    }

    #[test]
    fn everything_is_joined_to_the_guards_and_insertions_wait_for_updates_of_their_table() {
        let mut batch = Batch::default();
        batch.guard(
            "tenants",
            vec![("id", Uuid::nil().into()), ("status", "x".into())],
            Uuid::nil(),
            7,
        );
        batch.update("lines", vec![("text", "b".into())], |it| {
            it.sql("id = ").bind(1);
        });
        batch.insert(Line(1, "a"), Conflict::Fail);
        batch.insert_all(vec![Line(1, "a")]);
        batch.delete("lines", |it| {
            it.sql("id = ").bind(9);
        });
        assert_eq!(
            text(batch),
            "WITH g0 AS (UPDATE tenants SET status = $1, version = version + 1 WHERE id = $2 AND version = $3 \
             RETURNING 1 AS landed), \
             w0 AS (UPDATE lines SET text = $4 FROM g0 WHERE lines.id = $5 RETURNING 1), \
             w1 AS (INSERT INTO lines (id, text) SELECT $6, $7 FROM g0 WHERE (SELECT count(*) FROM w0) >= 0), \
             w2 AS (INSERT INTO lines (id, text) SELECT v.* FROM (VALUES ($8, $9)) AS v, g0), \
             w3 AS (DELETE FROM lines USING g0 WHERE lines.id = $10) SELECT (SELECT count(*) FROM g0)"
        );
    }
}
