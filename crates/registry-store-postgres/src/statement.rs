//! A finished statement, as diesel runs it.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{self, BigInt, Binary, Integer, Nullable, Text, Timestamptz};

use crate::batch::{Bind, Piece};

/// A finished statement, whose rows are of this type: a batch's is 1 where it landed, else 0.
pub(crate) struct Statement<ST = BigInt>(pub(crate) Vec<Piece>, pub(crate) PhantomData<fn() -> ST>);

impl<ST> Statement<ST> {
    /// A statement of a text's pieces, with a value bound after each but the last.
    pub(crate) fn of<const N: usize>(texts: [String; N], binds: Vec<Bind>) -> Self {
        let mut pieces = Vec::with_capacity(N + binds.len());
        let mut binds = binds.into_iter();
        for text in texts {
            pieces.push(Piece::Sql(text.into()));
            pieces.extend(binds.next().map(Piece::Bind));
        }
        Self(pieces, PhantomData)
    }
}

impl<ST> QueryFragment<Pg> for Statement<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for piece in &self.0 {
            match piece {
                Piece::Sql(text) => out.push_sql(text),
                Piece::Bind(Bind::Uuid(value)) => {
                    out.push_bind_param::<Nullable<sql_types::Uuid>, _>(value)?;
                }
                Piece::Bind(Bind::Text(value)) => {
                    out.push_bind_param::<Nullable<Text>, _>(value)?;
                }
                Piece::Bind(Bind::Time(value)) => {
                    out.push_bind_param::<Nullable<Timestamptz>, _>(value)?;
                }
                Piece::Bind(Bind::Bytes(value)) => {
                    out.push_bind_param::<Nullable<Binary>, _>(value)?;
                }
                Piece::Bind(Bind::Int(value)) => {
                    out.push_bind_param::<Nullable<Integer>, _>(value)?;
                }
                Piece::Bind(Bind::BigInt(value)) => {
                    out.push_bind_param::<Nullable<BigInt>, _>(value)?;
                }
            }
        }
        Ok(())
    }
}

/// Known by its text: a connection keeps it prepared under that.
impl<ST> QueryId for Statement<ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST> Query for Statement<ST> {
    type SqlType = ST;
}
