//! The places for connections: a limit for all, and a share for each source.
//!
//! When all places are taken, the connection that has waited longest for its client is closed:
//! first one of the source that has most of them. A request that is being served keeps its place.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use registry_core::rate_limit::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::phase::{Doing, Phase};
use crate::app::HttpSettings;

/// Interval in which a place is looked for, while all are taken.
const RETRY: Duration = Duration::from_millis(100);

/// Time that a client has for its head before its place can be taken.
const GRACE: Duration = Duration::from_secs(1);

/// Minimum interval between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// All connections.
pub(super) struct Connections {
    free: Arc<Semaphore>,
    share: usize,
    trusted: Vec<IpNet>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Open>,
    warned: Option<Instant>,
}

struct Open {
    source: Source,
    phase: Arc<Phase>,
}

/// The place of a connection, until it is dropped.
pub(super) struct Place {
    number: u64,
    phase: Arc<Phase>,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.state().open.remove(&self.number);
    }
}

impl Connections {
    pub(super) fn new(settings: &HttpSettings) -> Self {
        Self {
            free: Arc::new(Semaphore::new(settings.connections)),
            share: (settings.connections / 2).max(1),
            trusted: settings.trusted_proxies.clone(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, and closes connections that can be closed if all are taken.
    pub(super) async fn free(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.free.clone().try_acquire_owned() {
                return permit;
            }
            self.state().close_one(|_| true);
            let free = tokio::time::timeout(RETRY, self.free.clone().acquire_owned()).await;
            if let Ok(Ok(permit)) = free {
                return permit;
            }
        }
    }

    /// Gives a place to a connection from an address. Returns `None` if its source has its share.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arc<Place>> {
        let source = Source::of(address.to_canonical());
        let mut state = self.state();
        let is_trusted =
            self.trusted.iter().any(|network| network.contains(&address.to_canonical()));
        let taken = state.open.values().filter(|it| it.source == source).count();
        if !is_trusted && taken >= self.share && !state.close_one(|it| it.source == source) {
            state.warn(|| {
                tracing::warn!(
                    %source, taken,
                    "a connection was not accepted: its source has its share of \
                     `http.connections`. If it is a proxy, name it in `http.trusted_proxies`"
                );
            });
            return None;
        }
        let (number, phase) = (state.next, Arc::new(Phase::new()));
        state.next += 1;
        state.open.insert(number, Open { source, phase: phase.clone() });
        drop(state);
        Some(Arc::new(Place { number, phase, connections: self.clone(), _permit: permit }))
    }

    /// Makes room after a connection was not accepted, most often since no file descriptor is left.
    pub(super) fn not_accepted(&self, error: &std::io::Error) {
        let mut state = self.state();
        state.close_one(|_| true);
        state.warn(|| {
            tracing::warn!(
                %error,
                "a connection was not accepted. If file descriptors are missing, raise their limit \
                 (LimitNOFILE) or lower `http.connections`"
            );
        });
    }
}

impl State {
    /// Closes the connection that can best be spared. Returns false if there is none.
    fn close_one(&mut self, is_eligible: impl Fn(&Open) -> bool) -> bool {
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for open in self.open.values() {
            *counts.entry(open.source).or_default() += 1;
        }
        let now = Instant::now();
        let sparable = self.open.values().filter(|it| is_eligible(it)).filter_map(|open| {
            let (doing, since) = open.phase.now();
            let is_sparable = match doing {
                Doing::Idle => true,
                Doing::Head => now.duration_since(since) > GRACE,
                Doing::Request | Doing::Closing => false,
            };
            is_sparable.then_some((Reverse(counts.get(&open.source)), since, open))
        });
        let spared = sparable.min_by_key(|(count, since, _)| (*count, *since));
        spared.is_some_and(|(_, _, open)| open.phase.close())
    }

    fn warn(&mut self, warn: impl FnOnce()) {
        if self.warned.is_none_or(|warned| warned.elapsed() > WARNING_INTERVAL) {
            self.warned = Some(Instant::now());
            warn();
        }
    }
}
