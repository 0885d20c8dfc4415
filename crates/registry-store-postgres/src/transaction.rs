//! One transaction for some requests: lock, load, decide, write, commit.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use deadpool::managed::Object;
use diesel::QueryResult;
use diesel::result::Error as DieselError;
use registry_core::store::{Decide, Decision, Outcome, Replay, StoreError};
use registry_store_sql::change::{Change, group, postgres};
use registry_store_sql::kind::{self, Found as _, FoundReplay, Kind, Lock, Root};
use registry_store_sql::statement::{Dialect, Statement};
use registry_store_sql::value::Value;

use crate::pool::{Pool, Sessions};
use crate::session::PgSession;

/// A request to make a change.
pub(crate) struct Request<K: Kind> {
    pub(crate) key: K,
    pub(crate) replay: Option<Replay>,
    pub(crate) decide: Decide<K::Facts, K::Output>,
}

impl<K: Kind> Request<K> {
    /// Returns names for what the request hangs on, as far as they are known before it is loaded.
    pub(crate) fn known_roots(&self) -> Vec<String> {
        let key = |it: &Replay| {
            format!("replay {} {}", it.scope, registry_core::entropy::hex(&it.key_digest))
        };
        let mut roots = self.key.known_roots();
        roots.extend(self.replay.as_ref().map(key));
        roots
    }
}

/// What a request is decided on.
struct Loaded<K: Kind> {
    locked: HashSet<Root>,
    /// True if the statement that loaded the facts locked their rows.
    is_locked_early: bool,
    recorded: Option<FoundReplay>,
    rows: Vec<K::Found>,
}

impl<K: Kind> Default for Loaded<K> {
    fn default() -> Self {
        Self { locked: HashSet::new(), is_locked_early: false, recorded: None, rows: Vec::new() }
    }
}

/// The result of deciding a request.
pub(crate) enum Decided<T> {
    /// The request has this outcome, once these changes are committed.
    Outcome(Outcome<T>, Vec<Change>),
    /// The request cannot be made.
    Failed(StoreError),
    /// Other requests hold a row that the decision hangs on, or hung on it before.
    NotLocked(Root),
}

/// How a transaction locks rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// It passes over rows that other transactions hold.
    Batch,
    /// It waits for them.
    Alone,
}

/// Begins a transaction, locks the rows that the requests hang on, and decides each request. After
/// an error the transaction has ended without a commit. The error is `None` if the server does not
/// respond.
pub(crate) async fn begin<K: Kind>(
    pool: &Pool,
    mut session: Object<Sessions>,
    requests: &[&Request<K>],
    locking: Locking,
) -> Result<(Object<Sessions>, Vec<Decided<K::Output>>), Option<DieselError>> {
    match pool.in_time(decide(&mut session, requests, locking)).await {
        Some(Ok(decided)) => Ok((session, decided)),
        Some(Err(error)) => {
            session.heed(&error);
            pool.roll_back(session).await;
            Err(Some(error))
        }
        None => {
            pool.discard(session);
            Err(None)
        }
    }
}

async fn decide<K: Kind>(
    session: &mut PgSession,
    requests: &[&Request<K>],
    locking: Locking,
) -> QueryResult<Vec<Decided<K::Output>>> {
    let loaded = load(session, requests, locking).await?;
    let (mut taken, mut decisions) = (HashSet::new(), Vec::new());
    let mut decided = Vec::with_capacity(requests.len());
    for (index, (request, loaded)) in requests.iter().zip(loaded).enumerate() {
        decided.push(match decide_one(request, loaded, &mut taken) {
            Ok(decision) => {
                decisions.push((index, decision));
                None
            }
            Err(undecided) => Some(undecided),
        });
    }
    let (owners, mut decisions): (Vec<usize>, Vec<_>) = decisions.into_iter().unzip();
    Decision::verify(&mut decisions);
    for (owner, decision) in owners.into_iter().zip(decisions) {
        decided[owner] = Some(outcome(decision));
    }
    Ok(decided.into_iter().flatten().collect())
}

/// Returns the outcome of a decision, and its changes.
fn outcome<T>(decision: Decision<T>) -> Decided<T> {
    let (writes, outcome) = match decision {
        Decision::Abort(error) => return Decided::Outcome(Outcome::Aborted(error), Vec::new()),
        Decision::Commit { writes, outcome, .. } => (writes, outcome),
    };
    let outcome = outcome.map_or_else(Outcome::Refused, Outcome::Done);
    match writes.iter().map(Change::of).collect::<Result<Vec<_>, _>>() {
        Ok(changes) => Decided::Outcome(outcome, changes.concat()),
        Err(error) => Decided::Failed(error),
    }
}

async fn load<K: Kind>(
    session: &mut PgSession,
    requests: &[&Request<K>],
    locking: Locking,
) -> QueryResult<Vec<Loaded<K>>> {
    // A request can have several keys.
    let keys = requests.iter().enumerate();
    let keys = keys.flat_map(|(index, it)| it.key.keys().into_iter().map(move |key| (index, key)));
    let (owners, keys): (Vec<usize>, Vec<Vec<Value>>) = keys.unzip();
    let replays = requests.iter().enumerate();
    let replays = replays.filter_map(|(index, it)| Some((index, it.replay.as_ref()?)));
    let (replay_owners, replays): (Vec<usize>, Vec<&Replay>) = replays.unzip();

    let writes_early = K::WRITES_EARLY && locking == Locking::Batch;
    let locks = match locking {
        _ if keys.is_empty() || writes_early => &[],
        Locking::Batch => K::BATCH_LOCKS,
        Locking::Alone => K::ALONE_LOCKS,
    };
    let skip = locking == Locking::Batch;
    let lock = |lock: &Lock| K::LOOKUP.lock(lock.alias, lock.id, skip, &keys);
    let statements = locks.iter().map(lock).collect();
    let load = if writes_early { K::early(&keys) } else { kind::load::<K>(POSTGRES, &keys) };
    let load = Some(load).filter(|_| !keys.is_empty());
    let recorded = (!replays.is_empty()).then(|| kind::replays(POSTGRES, &replays));
    let (locked, recorded, found) = session.begin(statements, (recorded, load)).await?;

    let mut loaded: Vec<Loaded<K>> = requests.iter().map(|_| Loaded::default()).collect();
    for (lock, (number, id)) in
        locks.iter().zip(locked).flat_map(|(lock, rows)| rows.into_iter().map(move |it| (lock, it)))
    {
        let root = Root { alias: lock.alias, id, detail: String::new() };
        owner(&mut loaded, &owners, number).map(|it| it.locked.insert(root));
    }
    for row in recorded {
        if let Some(it) = owner(&mut loaded, &replay_owners, row.number()) {
            it.recorded = Some(row);
        }
    }
    let early = if writes_early { found.len() } else { 0 };
    let others = if writes_early && early < keys.len() {
        // The rows of the others are locked elsewhere, or do not exist.
        let found: HashSet<i64> = found.iter().map(kind::Found::number).collect();
        let mut all = session.load(kind::load::<K>(POSTGRES, &keys)).await?;
        all.retain(|row| !found.contains(&row.number()));
        all
    } else {
        Vec::new()
    };
    for (position, row) in found.into_iter().chain(others).enumerate() {
        if let Some(it) = owner(&mut loaded, &owners, row.number()) {
            it.is_locked_early = position < early;
            it.rows.push(row);
        }
    }
    Ok(loaded)
}

const POSTGRES: Dialect = Dialect::Postgres;

/// Returns what was loaded for the request that a key belongs to. Numbers of keys begin with 1.
fn owner<'a, K: Kind>(
    loaded: &'a mut [Loaded<K>],
    owners: &[usize],
    number: i64,
) -> Option<&'a mut Loaded<K>> {
    let position = usize::try_from(number - 1).ok()?;
    loaded.get_mut(*owners.get(position)?)
}

/// Decides a request, unless it was answered before, or hangs on a row that is not locked or that
/// an earlier request of the same transaction has taken.
fn decide_one<K: Kind>(
    request: &Request<K>,
    loaded: Loaded<K>,
    taken: &mut HashSet<Root>,
) -> Result<Decision<K::Output>, Decided<K::Output>> {
    let replayed = request.replay.as_ref().zip(loaded.recorded);
    if let Some(outcome) = replayed.and_then(|(replay, found)| found.outcome(replay)) {
        return Err(Decided::Outcome(outcome, Vec::new()));
    }
    let facts = request.key.facts(loaded.rows);
    let roots = request.key.roots(&facts);
    for root in &roots {
        let row = Root { detail: String::new(), ..root.clone() };
        let is_locked = if loaded.is_locked_early {
            K::BATCH_LOCKS.iter().any(|lock| lock.alias == root.alias)
        } else {
            loaded.locked.contains(&row)
        };
        if !is_locked || taken.contains(root) {
            return Err(Decided::NotLocked(root.clone()));
        }
    }
    taken.extend(roots);
    let panicked = |_| StoreError::Unavailable("a decision panicked".to_owned());
    let decision = catch_unwind(AssertUnwindSafe(|| (request.decide)(&facts)));
    decision.map_err(|panic| Decided::Failed(panicked(panic)))
}

/// Returns the statements that make the changes of several requests.
pub(crate) fn statements(changes: Vec<Vec<Change>>) -> Vec<Statement> {
    let is_single = changes.len() == 1;
    postgres(group(changes), is_single)
}
