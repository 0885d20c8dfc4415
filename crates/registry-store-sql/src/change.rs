//! Changes as values: what a decision's writes do to the rows of the tables.
//!
//! A change is a [`Shape`], which is the same for each request of a kind, and the values that
//! differ. So the changes of many requests can be written by one statement for each shape.

mod sql;
mod writes;

use std::collections::BTreeMap;

use registry_core::store::{StoreError, Write};

use crate::statement::Statement;
use crate::value::Value;

pub use sql::Shape;

/// A change of one row, or of the rows that a filter selects.
#[derive(Clone, Debug)]
pub struct Change {
    /// The statement that makes the change.
    pub shape: &'static Shape,
    /// The values of the statement.
    pub values: Vec<Value>,
}

impl Change {
    /// Returns the changes that a write makes, in order.
    pub fn of(write: &Write) -> Result<Vec<Self>, StoreError> {
        writes::changes(write).map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    /// Returns the statement for SQLite.
    #[must_use]
    pub fn sqlite(self) -> Statement {
        self.shape.one(Statement::new(""), &self.values)
    }
}

/// Changes of several requests that one statement can make.
#[derive(Debug)]
pub struct ChangeSet {
    /// The statement.
    pub shape: &'static Shape,
    /// The values of each change.
    pub rows: Vec<Vec<Value>>,
}

/// Groups the changes of requests that do not touch the same rows. The sets are in a fixed order, in
/// which a row exists before others refer to it, and a unique value is free before it is taken.
/// Only a request that changes rows twice in the same way has two sets of it.
#[must_use]
pub fn group(requests: Vec<Vec<Change>>) -> Vec<ChangeSet> {
    let mut sets: BTreeMap<(usize, usize), ChangeSet> = BTreeMap::new();
    for changes in requests {
        let mut repeated: BTreeMap<usize, usize> = BTreeMap::new();
        for Change { shape, values } in changes {
            let rank = writes::ORDER.iter().position(|it| std::ptr::eq(*it, shape));
            let rank = rank.unwrap_or(writes::ORDER.len());
            let times = repeated.entry(rank).or_default();
            let set =
                sets.entry((rank, *times)).or_insert_with(|| ChangeSet { shape, rows: Vec::new() });
            set.rows.push(values);
            // Several new rows fit into one statement.
            *times += usize::from(!shape.is_insert());
        }
    }
    sets.into_values().collect()
}

/// Returns the statements for PostgreSQL. Changes of different tables share a statement, since each
/// statement costs the server and this process a round of messages.
///
/// The changes of several requests are arrays, so the text does not depend on their number, and a
/// connection prepares it once. Those of a single request are plain values, which are faster: the
/// server keeps each array in a store of its own.
#[must_use]
pub fn postgres(sets: Vec<ChangeSet>, is_single: bool) -> Vec<Statement> {
    let mut shared: Vec<Vec<ChangeSet>> = Vec::new();
    for set in sets {
        let table = set.shape.table.name;
        match shared.last_mut().filter(|sets| sets.iter().all(|it| it.shape.table.name != table)) {
            Some(sets) => sets.push(set),
            None => shared.push(vec![set]),
        }
    }
    let statement = |sets: Vec<ChangeSet>| {
        let (mut statement, mut number) = (Statement::new("WITH "), 0);
        let mut start = |statement: Statement| {
            let comma = if number == 0 { "" } else { ", " };
            number += 1;
            statement.sql(format!("{comma}w{number} AS ("))
        };
        for ChangeSet { shape, rows } in sets {
            if is_single {
                for row in rows {
                    statement = shape.one(start(statement), &row).sql(")");
                }
            } else {
                statement = shape.many(start(statement), rows).sql(")");
            }
        }
        statement.sql(" SELECT 1")
    };
    shared.into_iter().map(statement).collect()
}
