//! Throughput on PostgreSQL: registryd over HTTP compared to the limit of the database alone, and
//! the directory of a small and a large fleet.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use throwaway_postgres::{Cluster, Durability};

use super::aims::Aims;
use super::driver::{self, LoadResult};
use super::machine::resident;
use super::measure::{self, Change, Figures, Rows};
use super::progress::{Phase, Progress, grouped};
use super::report::{check_limits, print_changes, print_memory};
use super::service::{Programs, Service};
use super::{pgbench, requests, seed};

mod directory;

/// Numbers of connections, each with the number of changes to measure.
const LOADS: [(usize, u64); 3] = [(1, 1_500), (8, 12_000), (32, 16_000)];

/// Number of changes to warm up, and number of connections for them. Each connection of the pool
/// has to prepare each statement.
const WARM_UP: (usize, u64) = (16, 400);

/// Number of the first tenant that the bench registers. Those of the fleet begin at 0.
const FIRST: u64 = 1 << 40;

/// Settings of the server. A checkpoint during a measurement would distort it, so none happens.
pub(super) const SETTINGS: [&str; 4] = [
    "shared_buffers = 1GB",
    "max_wal_size = 8GB",
    "checkpoint_timeout = 60min",
    "autovacuum_naptime = 10min",
];

/// Returns the phase of a fleet of this size.
pub(super) fn phase(tenants: u64, rounds: u64) -> Phase {
    let changes: u64 = LOADS.iter().map(|(_, count)| count).sum::<u64>() * 4;
    // A change with the database alone and one with registryd, and the rows that both need.
    let round = Duration::from_micros(changes * 400) + Duration::from_secs(8);
    let directory = Duration::from_secs(8) + Duration::from_micros(tenants * 25);
    let rounds = Duration::from_secs(round.as_secs() * rounds);
    Phase {
        name: format!("throughput on PostgreSQL, {} tenants", grouped(tenants)),
        expected: seed::expected(tenants) + rounds + directory,
    }
}

/// Measures fleets of these sizes, with this number of rounds each, and prints the tables.
///
/// # Errors
/// If a program does not start, a response is not the expected one, or a limit is slower than
/// registryd.
pub(super) fn run(
    programs: &Programs,
    progress: &Progress,
    sizes: &[u64],
    rounds: u64,
) -> Result<()> {
    let cluster =
        Cluster::start(Durability::Durable, &SETTINGS).context("cannot start PostgreSQL")?;
    println!("\nPostgreSQL: {}", cluster.sql("postgres", "SELECT version()")?);
    let (mut directories, mut checks) = (Vec::new(), Vec::new());
    for &tenants in sizes {
        let fleet = format!("{} tenants", grouped(tenants));
        progress.report(&format!("{fleet}: seeding"));
        let database = format!("fleet_{tenants}");
        let data = tempfile::tempdir().context("no temporary folder")?;
        let seed = || seed::fleet(&cluster, &database, tenants);
        let service = serve(programs, (&cluster, &database), data.path(), seed)?;
        let mut bench =
            Bench { cluster: &cluster, database, service, next: FIRST, rows: Rows::new() };
        bench.measure_rounds(rounds, |next| progress.report(&format!("{fleet}, {next}")))?;
        let memory = resident(bench.service.pid())?;
        let title = format!("Changes on PostgreSQL with {fleet}");
        print_changes(&title, &bench.rows, &Aims::postgres(tenants));
        print_memory(LOADS[2].0, memory);
        checks.push(check_limits(&bench.rows).with_context(|| fleet.clone()));
        progress.report(&format!("{fleet}: the directory"));
        let times = directory::measure(&cluster, &bench.database, &bench.service)?;
        directories.push((tenants, times));
    }
    directory::print(&directories);
    checks.into_iter().collect()
}

/// Creates a database, lets registryd migrate it, fills it with `seed`, and starts registryd.
pub(super) fn serve(
    programs: &Programs,
    (cluster, database): (&Cluster, &str),
    data: &Path,
    seed: impl FnOnce() -> Result<()>,
) -> Result<Service> {
    cluster.sql("postgres", &format!("CREATE DATABASE {database}"))?;
    let url = cluster.socket_url(database);
    // In a fleet, a separate process sends the mails.
    let environment = [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_MAIL_WORKER", "false")];
    drop(Service::start(programs, data, &environment)?);
    seed()?;
    seed::settle(cluster, database)?;
    Service::start(programs, data, &environment)
}

struct Bench<'run> {
    cluster: &'run Cluster,
    database: String,
    service: Service,
    /// Next number that no row has.
    next: u64,
    rows: Rows,
}

impl Bench<'_> {
    /// Warms up and measures all rounds. `report` is called with what comes next.
    fn measure_rounds(&mut self, rounds: u64, report: impl Fn(&str)) -> Result<()> {
        report("warming up");
        self.warm_up()?;
        for round in 1..=rounds {
            for (connections, count) in LOADS {
                let load = format!("round {round} of {rounds}, {connections} connections");
                let report = |change| report(&format!("{load}: {change}"));
                self.measure_changes(connections, count, report).with_context(|| load.clone())?;
            }
        }
        Ok(())
    }

    /// Makes each connection of the pool prepare each statement, so no measurement includes that.
    fn warm_up(&mut self) -> Result<()> {
        let (connections, count) = WARM_UP;
        let first = self.reserve(count);
        let requests = requests::registrations(self.service.token(), first..first + count);
        let issued = driver::send(self.service.address(), &requests, connections, true)?;
        let redemptions = requests::redemptions(&issued)?;
        driver::send(self.service.address(), &redemptions, connections, false)?;
        for change in [Change::CheckIn, Change::CheckInSigned] {
            self.measure_check_ins(change, connections, count)?;
        }
        self.rows.clear();
        Ok(())
    }

    /// Reserves `count` numbers and returns the first.
    fn reserve(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next += count + 1;
        first
    }

    /// Measures one round: each change with the database alone, then with registryd.
    fn measure_changes(
        &mut self,
        connections: usize,
        count: u64,
        report: impl Fn(Change),
    ) -> Result<()> {
        report(Change::Register);
        let first = self.reserve(count);
        let limit = self.measure_limit(Change::Register, (first, count), connections)?;
        let first = self.reserve(count);
        let requests = requests::registrations(self.service.token(), first..first + count);
        let issued =
            self.measure_registryd(Change::Register, limit, &requests, (connections, true))?;

        report(Change::Redeem);
        let first = self.reserve(count);
        seed::live_codes(self.cluster, &self.database, first, count)?;
        let limit = self.measure_limit(Change::Redeem, (first, count), connections)?;
        let requests = requests::redemptions(&issued)?;
        self.measure_registryd(Change::Redeem, limit, &requests, (connections, false))?;

        for change in [Change::CheckIn, Change::CheckInSigned] {
            report(change);
            self.measure_check_ins(change, connections, count)?;
        }
        Ok(())
    }

    /// Measures check-ins: of `count` appliances with the database alone, then of `count` others
    /// with registryd.
    fn measure_check_ins(&mut self, change: Change, connections: usize, count: u64) -> Result<()> {
        let is_due = change == Change::CheckInSigned;
        let license = if is_due { seed::DUE } else { seed::NOT_DUE };
        let first = self.reserve(2 * count);
        seed::running_appliances(self.cluster, &self.database, first, 2 * count, license)?;
        let limit = self.measure_limit(change, (first, count), connections)?;
        let requests = seed::check_ins(first + count..first + 2 * count);
        let responses = self.measure_registryd(change, limit, &requests, (connections, true))?;
        requests::check_signed(&responses, is_due)
    }

    fn measure_limit(
        &self,
        change: Change,
        numbers: (u64, u64),
        connections: usize,
    ) -> Result<Figures> {
        self.cluster.sql(&self.database, "CHECKPOINT")?;
        pgbench::run(self.cluster, &self.database, change, numbers, connections as u64)
    }

    fn measure_registryd(
        &mut self,
        change: Change,
        limit: Figures,
        requests: &[Vec<u8>],
        (connections, keep_bodies): (usize, bool),
    ) -> Result<LoadResult> {
        self.cluster.sql(&self.database, "CHECKPOINT")?;
        let server = self.cluster.pid()?;
        let kept = (connections, keep_bodies);
        let (row, load) = measure::registryd(&self.service, Some(server), limit, requests, kept)?;
        self.rows.entry((change, connections)).or_default().push(row);
        Ok(load)
    }
}
