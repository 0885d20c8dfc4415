//! The counters of one rate limit.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use chrono::TimeDelta;

use super::{Counted, CountedNetwork, Figures, Limited, RateLimit, Source};
use crate::clock::Timestamp;
use crate::refusal::Refusal;

/// Maximum number of requests that wait for a reservation. All of them are woken by each that ends.
const MOST_WAITING: usize = 4_096;

#[derive(Clone, Copy)]
struct Counter {
    /// Time of the first event of the window.
    since: Timestamp,
    /// Events of the window.
    counted: u32,
    /// Events that are reserved, and may be given back.
    pending: u32,
}

impl Counter {
    fn new(now: Timestamp) -> Self {
        Self { since: now, counted: 0, pending: 0 }
    }

    /// Returns the time until the window ends; `None` if it has. A window that begins more than its
    /// length from now has ended, too: the clock was set back since. One that begins a little later
    /// has not: a concurrent request took its time earlier.
    fn left(&self, window: TimeDelta, now: Timestamp) -> Option<TimeDelta> {
        let left = self.since + window - now;
        (left > TimeDelta::zero() && left <= window * 2).then(|| left.min(window))
    }

    /// Counts an event, in a new window if the last one has ended. Returns true if the window is new.
    fn count(&mut self, window: TimeDelta, now: Timestamp) -> bool {
        let is_new = self.counted == 0 || self.left(window, now).is_none();
        if is_new {
            (self.since, self.counted) = (now, 0);
        }
        self.counted = self.counted.saturating_add(1);
        is_new
    }

    /// Returns the number of events in a window that has not ended.
    fn current(&self, window: TimeDelta, now: Timestamp) -> u32 {
        if self.left(window, now).is_some() { self.counted } else { 0 }
    }

    /// Returns the time until the window ends if its events have reached `limit`.
    fn reached(&self, limit: u32, window: TimeDelta, now: Timestamp) -> Option<TimeDelta> {
        (self.current(window, now) >= limit).then(|| self.left(window, now).unwrap_or(window))
    }
}

struct State<Key> {
    /// Each has an event or a reservation. So a table that is full of sources without guilt cannot
    /// be made to forget the guilty: the total bounds their number.
    counters: HashMap<Key, Counter>,
    /// Windows in the order in which they began, to find those that have ended.
    windows: VecDeque<(Key, Timestamp)>,
    total: Counter,
    /// Requests that wait for a reservation to be settled.
    waiting: Vec<Waker>,
    figures: Figures,
}

/// Counts events by source, or by another key.
pub struct RateLimiter<K: Counted = Source> {
    limited: Limited,
    policy: RateLimit,
    state: Mutex<State<K::Key>>,
}

/// The result of an attempt to reserve an event.
pub enum Attempt<'a, K: Counted> {
    /// The event is reserved.
    Reserved(Reservation<'a, K>),
    /// Reservations that may be given back leave no room now.
    Busy,
    /// The limit is reached.
    Refused(Refusal),
}

impl<K: Counted> RateLimiter<K> {
    /// Creates a rate limiter without any counted events.
    #[must_use]
    pub fn new(limited: Limited, policy: RateLimit) -> Self {
        let state = State {
            counters: HashMap::new(),
            windows: VecDeque::new(),
            total: Counter::new(Timestamp::UNIX_EPOCH),
            waiting: Vec::new(),
            figures: Figures::default(),
        };
        Self { limited, policy, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State<K::Key>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves an event before the work that it leads to. Waits while other reservations, which may
    /// be given back, leave no room. Refuses a source that has reached a limit, until its window
    /// ends.
    pub async fn reserve(&self, who: K, now: Timestamp) -> Result<Reservation<'_, K>, Refusal> {
        poll_fn(|context| {
            let mut state = self.state();
            match self.attempt_locked(&mut state, who, now) {
                Attempt::Reserved(reservation) => Poll::Ready(Ok(reservation)),
                Attempt::Refused(refusal) => Poll::Ready(Err(refusal)),
                Attempt::Busy if state.waiting.len() >= MOST_WAITING => {
                    let retry_after = TimeDelta::seconds(1);
                    Poll::Ready(Err(Refusal::Overloaded { retry_after }))
                }
                Attempt::Busy => {
                    state.waiting.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Reserves an event, without waiting.
    pub fn attempt(&self, who: K, now: Timestamp) -> Attempt<'_, K> {
        self.attempt_locked(&mut self.state(), who, now)
    }

    /// Counts an event that cannot be given back, and refuses it if it exceeds a limit.
    pub fn record(&self, who: K, now: Timestamp) -> Result<(), Refusal> {
        match self.attempt(who, now) {
            Attempt::Reserved(reservation) => {
                reservation.count();
                Ok(())
            }
            Attempt::Refused(refusal) => Err(refusal),
            Attempt::Busy => Err(self.refusal(TimeDelta::seconds(1))),
        }
    }

    /// Refuses a source that has reached its limit. Counts nothing.
    pub fn check(&self, who: K, now: Timestamp) -> Result<(), Refusal> {
        let (state, window) = (self.state(), self.policy.window);
        for (key, limit) in self.keys(who) {
            let Some(counter) = state.counters.get(&key) else { continue };
            if let Some(left) = counter.reached(limit, window, now) {
                return Err(self.refusal(left));
            }
        }
        Ok(())
    }

    fn keys(&self, who: K) -> impl Iterator<Item = (K::Key, u32)> {
        who.keys().into_iter().flatten().map(|(key, factor)| (key, self.limit_of(factor)))
    }

    fn limit_of(&self, factor: u32) -> u32 {
        self.policy.limit.saturating_mul(factor)
    }

    fn refusal(&self, retry_after: TimeDelta) -> Refusal {
        Refusal::RateLimited { limited: self.limited, retry_after }
    }

    fn attempt_locked(&self, state: &mut State<K::Key>, who: K, now: Timestamp) -> Attempt<'_, K> {
        let window = self.policy.window;
        state.forget_ended(window, now);
        let (mut is_busy, mut is_guilty, mut has_pending) = (false, false, false);
        for (position, (key, limit)) in self.keys(who).enumerate() {
            let Some(counter) = state.counters.get(&key) else { continue };
            if let Some(left) = counter.reached(limit, window, now) {
                state.figures.refused += 1;
                return Attempt::Refused(self.refusal(left));
            }
            let events = counter.current(window, now);
            is_guilty |= position == 0 && events > 0;
            has_pending |= position == 0 && counter.pending > 0;
            is_busy |= events.saturating_add(counter.pending) >= limit;
        }
        let all = if is_guilty { self.policy.total } else { self.policy.total_with_reserve() };
        if let Some(retry_after) = state.total.reached(all, window, now) {
            state.figures.overloaded += 1;
            return Attempt::Refused(Refusal::Overloaded { retry_after });
        }
        let counted = state.total.current(window, now);
        // In the reserve, a source has one event at a time: a burst of it is no innocent one.
        let is_reserve_busy = counted >= self.policy.total && has_pending;
        if is_busy || is_reserve_busy || counted.saturating_add(state.total.pending) >= all {
            return Attempt::Busy;
        }
        for (key, _) in self.keys(who) {
            state.counters.entry(key).or_insert_with(|| Counter::new(now)).pending += 1;
        }
        state.total.pending += 1;
        Attempt::Reserved(Reservation { limiter: self, who, now, is_event: false })
    }

    /// Ends a reservation.
    fn settle(&self, who: K, now: Timestamp, is_event: bool) {
        let window = self.policy.window;
        let mut state = self.state();
        for (key, _) in self.keys(who) {
            let Some(counter) = state.counters.get_mut(&key) else { continue };
            counter.pending = counter.pending.saturating_sub(1);
            if is_event && counter.count(window, now) {
                state.windows.push_back((key, now));
            } else if counter.counted == 0 && counter.pending == 0 {
                state.counters.remove(&key);
            }
        }
        state.total.pending = state.total.pending.saturating_sub(1);
        if is_event {
            state.total.count(window, now);
            state.figures.counted += 1;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Returns what was counted since the process started.
    pub fn figures(&self) -> Figures {
        self.state().figures
    }
}

impl RateLimiter<Source> {
    /// Returns the networks with the most events, at most `limit`.
    pub fn counted(&self, now: Timestamp, limit: usize) -> Vec<CountedNetwork> {
        let state = self.state();
        let counters = state.counters.iter().filter_map(|(network, counter)| {
            let ends_in = counter.left(self.policy.window, now)?;
            let (count, limit) = (counter.counted, self.limit_of(network.factor()));
            let network = network.to_string();
            (count > 0).then_some(CountedNetwork { network, count, limit, ends_in })
        });
        let mut counters: Vec<_> = counters.collect();
        counters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.network.cmp(&b.network)));
        counters.truncate(limit);
        counters
    }

    /// Forgets the events of one network, or of all and their total. Returns the number of networks
    /// that had any.
    pub fn clear(&self, network: Option<&str>) -> usize {
        let mut state = self.state();
        let mut cleared = 0;
        for (key, counter) in &mut state.counters {
            if counter.counted > 0 && network.is_none_or(|network| key.to_string() == network) {
                counter.counted = 0;
                cleared += 1;
            }
        }
        if network.is_none() {
            state.total.counted = 0;
        }
        state.counters.retain(|_, counter| counter.counted > 0 || counter.pending > 0);
        cleared
    }
}

impl<Key: Copy + Eq + std::hash::Hash> State<Key> {
    /// Forgets windows that have ended. Each call does a bounded amount of work, and more than one
    /// call adds.
    fn forget_ended(&mut self, window: TimeDelta, now: Timestamp) {
        for _ in 0..8 {
            let Some(&(key, since)) = self.windows.front() else { return };
            match self.counters.get_mut(&key) {
                Some(counter) if counter.since == since && counter.counted > 0 => {
                    if counter.left(window, now).is_some() {
                        return;
                    }
                    counter.counted = 0;
                    if counter.pending == 0 {
                        self.counters.remove(&key);
                    }
                }
                // It was cleared, or its window began again.
                _ => {}
            }
            self.windows.pop_front();
        }
    }
}

/// An event that was reserved. It is given back when this value is dropped, unless it is counted. A
/// caller who goes away before the response has learned nothing.
pub struct Reservation<'a, K: Counted = Source> {
    limiter: &'a RateLimiter<K>,
    who: K,
    now: Timestamp,
    is_event: bool,
}

impl<K: Counted> Reservation<'_, K> {
    /// Counts the event.
    pub fn count(mut self) {
        self.is_event = true;
    }
}

impl<K: Counted> Drop for Reservation<'_, K> {
    fn drop(&mut self) {
        self.limiter.settle(self.who, self.now, self.is_event);
    }
}

#[cfg(test)]
mod tests;
