//! The mapping that both SQL stores share: tables with their rows, the statements of each query,
//! and the changes of each decision, as values. This crate runs nothing: a [`Database`] does.
//!
//! To add a column, write a migration for each database and add the field to its row in
//! [`tables`]. To add a table, also add a file there, and the changes of its rows in [`change`].

pub mod change;
pub mod field;
pub mod kind;
pub mod lookup;
pub mod script;
pub mod statement;
mod store;
pub mod table;
pub mod tables;
pub mod types;
pub mod value;

pub use store::{Database, SqlStore};
