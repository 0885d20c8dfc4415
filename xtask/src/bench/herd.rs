//! A herd: many appliances check in at once, as they do after an outage of the registry.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use throwaway_postgres::{Cluster, Durability};

use super::driver::{Connection, Response, quantile};
use super::fleet::{self, SETTINGS};
use super::progress::{Phase, Progress, grouped};
use super::report::format_time;
use super::service::Programs;
use super::{machine, requests, seed};

/// Number of appliances. Half of them are due for a new license.
const APPLIANCES: u64 = 10_000;

/// Number of appliances that are connected at once, fewer if this process may not open so many
/// sockets.
const CONNECTIONS: usize = 800;

/// Number of files and sockets that this process, or registryd, opens besides those connections.
const OTHER_FILES: usize = 100;

/// Maximum number of requests of one appliance.
const ATTEMPTS: usize = 20;

/// Wait of an appliance after an error without `Retry-After`.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum wait of an appliance after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Stack of the thread of a connection, in bytes.
const STACK: usize = 256 * 1024;

/// Returns the phase of this part.
pub(super) fn phase() -> Phase {
    let name = format!("a herd of {} appliances on PostgreSQL", grouped(APPLIANCES));
    Phase { name, expected: Duration::from_secs(20) }
}

/// Lets all appliances check in, and prints how long that takes.
///
/// # Errors
/// If a program does not start, or an appliance never gets a response with status 200.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    progress.report("herd: seeding");
    let connections = CONNECTIONS.min(machine::open_files()?.saturating_sub(OTHER_FILES));
    let cluster =
        Cluster::start(Durability::Durable, &SETTINGS).context("cannot start PostgreSQL")?;
    let data = tempfile::tempdir().context("no temporary folder")?;
    let half = APPLIANCES / 2;
    let seed = || {
        seed::running_appliances(&cluster, "herd", 0, half, seed::NOT_DUE)?;
        seed::running_appliances(&cluster, "herd", half, half, seed::DUE)
    };
    let service = fleet::serve(programs, (&cluster, "herd"), data.path(), seed)?;
    progress.report(&format!("herd: {connections} connections"));
    // An appliance that is due follows one that is not.
    let [not_due, due] = [0..half, half..APPLIANCES].map(seed::check_ins);
    let check_ins: Vec<_> = not_due.into_iter().zip(due).flat_map(<[_; 2]>::from).collect();
    let (outcome, elapsed) = check_in_all(service.address(), &check_ins, connections)?;
    print(&outcome, elapsed, connections);
    ensure!(outcome.failed == 0, "{} appliances did not get a response", outcome.failed);
    if outcome.errors() == 0 {
        ensure!(
            outcome.signed as u64 == half,
            "{} of {half} due appliances got a new license",
            outcome.signed
        );
    }
    Ok(())
}

/// Result of check-ins.
#[derive(Default)]
struct Outcome {
    /// Response times of the successful requests, with the time to connect.
    responses: Vec<Duration>,
    /// Times from the first request of an appliance until its success.
    successes: Vec<Duration>,
    /// Number of responses that contain a new license.
    signed: usize,
    /// Number of responses with status 503.
    overloaded: usize,
    /// Number of responses with status 429.
    limited: usize,
    /// Number of other errors: other statuses, and connections that failed.
    others: usize,
    /// Number of appliances without any success.
    failed: usize,
}

impl Outcome {
    fn errors(&self) -> usize {
        self.overloaded + self.limited + self.others
    }

    fn add(&mut self, other: Self) {
        self.responses.extend(other.responses);
        self.successes.extend(other.successes);
        self.signed += other.signed;
        self.overloaded += other.overloaded;
        self.limited += other.limited;
        self.others += other.others;
        self.failed += other.failed;
    }

    /// Sends a check-in until it succeeds. After an error, the appliance waits as long as
    /// `Retry-After` says.
    #[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
    fn check_in(&mut self, address: &str, check_in: &[u8]) {
        let first = Instant::now();
        for _ in 0..ATTEMPTS {
            let sent = Instant::now();
            let response = Connection::open(address).and_then(|mut it| it.exchange(check_in));
            let elapsed = sent.elapsed();
            match &response {
                Ok(Response { status: 200, body, .. }) => {
                    self.responses.push(elapsed);
                    self.successes.push(first.elapsed());
                    self.signed += usize::from(requests::is_signed(body));
                    return;
                }
                Ok(Response { status: 503, .. }) => self.overloaded += 1,
                Ok(Response { status: 429, .. }) => self.limited += 1,
                Ok(_) | Err(_) => self.others += 1,
            }
            thread::sleep(response.map_or(PAUSE, |response| pause(&response)));
        }
        self.failed += 1;
    }
}

/// Returns the wait after an error.
fn pause(response: &Response) -> Duration {
    let seconds = response.header("retry-after").and_then(|value| value.parse().ok());
    seconds.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE)
}

/// Sends all check-ins, each over its own connection, as many at once as `connections` says.
#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn check_in_all(
    address: &str,
    check_ins: &[Vec<u8>],
    connections: usize,
) -> Result<(Outcome, Duration)> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let mut all = thread::scope(|scope| {
        let work = || {
            let mut outcome = Outcome::default();
            while let Some(check_in) = check_ins.get(next.fetch_add(1, Ordering::Relaxed)) {
                outcome.check_in(address, check_in);
            }
            outcome
        };
        let start = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let threads = (0..connections).map(start).collect::<std::io::Result<Vec<_>>>();
        let mut all = Outcome::default();
        for thread in threads.context("cannot start the thread of a connection")? {
            all.add(thread.join().ok().context("the thread of a connection panicked")?);
        }
        anyhow::Ok(all)
    })?;
    let elapsed = start.elapsed();
    all.responses.sort();
    all.successes.sort();
    Ok((all, elapsed))
}

fn print(outcome: &Outcome, elapsed: Duration, connections: usize) {
    println!(
        "\nA herd on PostgreSQL: {} appliances check in after an outage, half of them due for a new \
         license,\neach over its own connection, {connections} at once. After an error, an \
         appliance waits as long as Retry-After says.",
        grouped(APPLIANCES)
    );
    let seconds = elapsed.as_secs_f64();
    println!("{:48}{seconds:.2} s", "time until the last appliance has its response");
    println!(
        "{:48}{} × 503, {} × 429, {} others",
        "errors before that", outcome.overloaded, outcome.limited, outcome.others
    );
    for (name, times) in [
        ("response time of a successful request", &outcome.responses),
        ("time of an appliance, with errors and waits", &outcome.successes),
    ] {
        let [p50, p99] = [0.5, 0.99].map(|share| format_time(quantile(times, share).as_secs_f64()));
        println!("{name:48}p50 {p50}, p99 {p99}");
    }
    println!("{:48}{}", "new licenses", outcome.signed);
}
