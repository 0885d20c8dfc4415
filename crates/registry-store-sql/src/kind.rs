//! The kinds of changes that are decided: which facts each needs, and which rows it locks.

mod appliances;
mod codes;
mod entitlements;
mod records;
mod tenants;

use registry_core::appliance::Appliance;
use registry_core::store::{Outcome, Replay, ReplayRecord};
use uuid::Uuid;

use crate::field::Converted;
use crate::lookup::{Join, Lookup};
use crate::statement::{Dialect, Record, Statement};
use crate::table::Part;
use crate::value::{Value, ValueType};

pub use appliances::CheckIn;
pub use codes::{ReissueByContact, ReissueById};
pub use entitlements::Register;
pub(crate) use records::{FoundRelease, listed};

/// A kind of change.
pub trait Kind: Sized + Send + Sync + 'static {
    /// Input of the decision.
    type Facts: Send + Sync + 'static;
    /// Result of the decision.
    type Output: Send + 'static;
    /// A row that the lookup returns.
    type Found: Found;
    /// The lookup of the facts.
    const LOOKUP: Lookup;
    /// Rows to be locked in a batch.
    const BATCH_LOCKS: &'static [Lock];
    /// Rows to be locked by a request that runs alone, in order.
    const ALONE_LOCKS: &'static [Lock] = Self::BATCH_LOCKS;

    /// Returns the keys of the lookup. Without any, nothing is loaded.
    fn keys(&self) -> Vec<Vec<Value>>;

    /// True if requests of this kind can share a transaction.
    const SHARES: bool = true;
    /// True if [`early`](Self::early) locks and loads the rows of a batch.
    const WRITES_EARLY: bool = false;

    /// Returns the statement for PostgreSQL that locks the rows of a batch, loads the facts, and
    /// makes the write [`RecordCheckIn`](registry_core::store::Write::RecordCheckIn), all at once.
    #[must_use]
    fn early(keys: &[Vec<Value>]) -> Statement<Self::Found> {
        load::<Self>(Dialect::Postgres, keys)
    }

    /// Returns the facts in the found rows.
    fn facts(&self, found: Vec<Self::Found>) -> Self::Facts;

    /// Returns the rows that must be locked for a decision on these facts.
    fn roots(&self, facts: &Self::Facts) -> Vec<Root>;

    /// Returns names for what the change hangs on, as far as they are known before it is loaded.
    /// Two requests with a common name are not decided in one batch.
    fn known_roots(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A row that a lookup returns.
pub trait Found: Record {
    /// Returns the number of its key, from 1 on.
    fn number(&self) -> i64;

    /// Returns its columns as a list for `SELECT`.
    fn columns() -> String;
}

/// The number of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyNumber(i64);

impl Part for KeyNumber {
    type Sql = diesel::sql_types::BigInt;
    type Raw = i64;

    fn read(number: i64) -> Converted<Self> {
        Ok(Self(number))
    }

    fn columns(_: &str) -> String {
        "k.n".to_owned()
    }
}

/// Declares the rows of a lookup: the parts, each under its alias.
macro_rules! found {
    ($name:ident { $($alias:ident: $part:ty),+ $(,)? }) => {
        $crate::table::parts!(
            /// A row that a lookup returns.
            pub $name { key: $crate::kind::KeyNumber, $($alias: $part),+ }
        );

        impl $crate::kind::Found for $name {
            fn number(&self) -> i64 {
                self.key.0
            }

            fn columns() -> String {
                Self::columns()
            }
        }
    };
}
pub(crate) use found;

/// A row that a change locks.
#[derive(Debug)]
pub struct Lock {
    /// Alias of the table in the lookup.
    pub alias: &'static str,
    /// Column, or SQL expression, that is the row's id.
    pub id: &'static str,
}

const TENANT: Lock = Lock { alias: "tenants", id: "id" };

/// A row that a change hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// Alias of the table in the lookup.
    pub alias: &'static str,
    /// Id of the row.
    pub id: Option<Uuid>,
    /// The rest of the row's key, if the id alone is not the key.
    pub detail: String,
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.alias)?;
        self.id.map_or(Ok(()), |id| write!(f, " {id}"))?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " {}", self.detail) }
    }
}

impl Root {
    fn new(alias: &'static str, id: impl Into<Uuid>) -> Self {
        Self { alias, id: Some(id.into()), detail: String::new() }
    }

    fn of_appliance(it: &Appliance) -> Self {
        Self { detail: it.id.to_string(), ..Self::new("appliances", it.tenant_id) }
    }
}

/// The statement that loads the facts of requests with these keys.
#[must_use]
pub fn load<K: Kind>(dialect: Dialect, keys: &[Vec<Value>]) -> Statement<K::Found> {
    K::LOOKUP.load(dialect, keys, &K::Found::columns())
}

found!(FoundReplay { replays: ReplayRecord });

impl FoundReplay {
    /// Returns the outcome of a request that was answered before.
    #[must_use]
    pub fn outcome<T>(&self, request: &Replay) -> Option<Outcome<T>> {
        self.replays.outcome(request)
    }
}

const REPLAYS: Lookup = Lookup {
    keys: &[("scope", ValueType::Text), ("key_digest", ValueType::Bytes)],
    joins: &[Join::one("replays", "replays.scope = k.scope AND replays.key_digest = k.key_digest")],
};

/// The statement that loads the recorded responses of these requests.
#[must_use]
pub fn replays(dialect: Dialect, requests: &[&Replay]) -> Statement<FoundReplay> {
    let key = |it: &&Replay| vec![it.scope.as_str().into(), it.key_digest.into()];
    let keys: Vec<Vec<Value>> = requests.iter().map(key).collect();
    REPLAYS.load(dialect, &keys, &FoundReplay::columns())
}
