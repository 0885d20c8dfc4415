//! One transaction for some requests: lock, load, decide, write, commit.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::QueryResult;
use registry_core::store::{Decide, Decision, Outcome, Replay, ReplayRecord, StoreError};
use registry_store_sql::change::{Change, group, postgres};
use registry_store_sql::kind::{self, Kind, Lock, Numbered as _, Root};
use registry_store_sql::statement::{Dialect, Statement};
use registry_store_sql::value::Value;

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

/// What a request was decided on.
struct Loaded<K: Kind> {
    locked: HashSet<Root>,
    recorded: Option<ReplayRecord>,
    facts: Result<K::Facts, StoreError>,
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

/// Begins a transaction, locks the rows that the requests hang on, and decides each request. Passes
/// over locked rows if `skip_locked` is set.
pub(crate) async fn decide<K: Kind>(
    session: &mut PgSession,
    requests: &[&Request<K>],
    locks: &'static [Lock],
    skip_locked: bool,
) -> QueryResult<Vec<Decided<K::Output>>> {
    let loaded = load(session, requests, locks, skip_locked).await?;
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
    locks: &'static [Lock],
    skip_locked: bool,
) -> QueryResult<Vec<Loaded<K>>> {
    // A request can have several keys: `owners` has the request of each.
    let (mut keys, mut owners): (Vec<Vec<Value>>, Vec<usize>) = (Vec::new(), Vec::new());
    for (index, request) in requests.iter().enumerate() {
        for key in request.key.keys() {
            keys.push(key);
            owners.push(index);
        }
    }
    let replays: Vec<(usize, &Replay)> = requests
        .iter()
        .enumerate()
        .filter_map(|(index, request)| Some((index, request.replay.as_ref()?)))
        .collect();
    let load: Option<Statement<K::Found>> =
        (!keys.is_empty()).then(|| kind::load::<K>(Dialect::Postgres, &keys));
    let recorded = (!replays.is_empty()).then(|| {
        let requests: Vec<_> = replays.iter().map(|(_, replay)| *replay).collect();
        kind::replays(Dialect::Postgres, &requests)
    });
    let locking = if keys.is_empty() { &[] } else { locks };
    let lock = |lock: &Lock| K::LOOKUP.lock(lock.alias, lock.id, skip_locked, &keys);
    let locking_statements = locking.iter().map(lock).collect();
    let (locked, recorded, found) = session.begin(locking_statements, (recorded, load)).await?;

    let owner = |number: i64, owners: &[usize]| {
        let position = usize::try_from(number - 1).ok();
        position.and_then(|position| owners.get(position)).copied()
    };
    let mut roots: Vec<HashSet<Root>> = requests.iter().map(|_| HashSet::new()).collect();
    for (lock, rows) in locking.iter().zip(locked) {
        for (number, id) in rows {
            let root = owner(number, &owners).and_then(|index| roots.get_mut(index));
            let id = id.map(|id| id.0);
            root.map(|it| it.insert(Root { alias: lock.alias, id, detail: String::new() }));
        }
    }
    let mut records: Vec<Option<ReplayRecord>> = requests.iter().map(|_| None).collect();
    let replay_owners: Vec<usize> = replays.iter().map(|(index, _)| *index).collect();
    for (number, row) in recorded {
        if let Some(index) = owner(number, &replay_owners) {
            records[index] = kind::recorded(row).ok();
        }
    }
    let mut rows: Vec<Vec<K::Found>> = requests.iter().map(|_| Vec::new()).collect();
    for row in found {
        if let Some(index) = owner(row.number(), &owners) {
            rows[index].push(row);
        }
    }
    let loaded = requests.iter().zip(roots).zip(records.into_iter().zip(rows));
    Ok(loaded
        .map(|((request, locked), (recorded, rows))| Loaded {
            locked,
            recorded,
            facts: request.key.facts(rows),
        })
        .collect())
}

/// Decides a request, unless it was answered before, or hangs on a row that is not locked or that
/// an earlier request of the same transaction has taken.
fn decide_one<K: Kind>(
    request: &Request<K>,
    loaded: Loaded<K>,
    taken: &mut HashSet<Root>,
) -> Result<Decision<K::Output>, Decided<K::Output>> {
    let replayed = request.replay.as_ref().zip(loaded.recorded);
    if let Some(outcome) = replayed.and_then(|(replay, record)| record.outcome(replay)) {
        return Err(Decided::Outcome(outcome, Vec::new()));
    }
    let facts = loaded.facts.map_err(Decided::Failed)?;
    let roots = request.key.roots(&facts);
    for root in &roots {
        let row = Root { detail: String::new(), ..root.clone() };
        if !loaded.locked.contains(&row) || taken.contains(root) {
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
    postgres(group(changes))
}
