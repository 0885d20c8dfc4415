//! Throughput on the embedded store: registryd over HTTP compared to a single connection that
//! writes the same rows to an SQLite file, each change in its own durable transaction.

mod limit;
mod statement;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

use self::limit::Limit;
use super::aims::Aims;
use super::driver::{self, LoadResult};
use super::machine::resident;
use super::measure::{self, Change, Rows};
use super::progress::{Phase, Progress};
use super::report::{check_limits, print_changes};
use super::requests;
use super::service::{Programs, Service};

/// Numbers of connections to registryd, each with the number of changes to measure.
const LOADS: [(usize, u64); 3] = [(1, 500), (8, 2_000), (32, 4_000)];

/// Number of changes to warm up.
const WARM_UP: u64 = 200;

/// File of the embedded store in the data folder.
const FILE: &str = "registry.db";

/// SQL that makes a new license due for every appliance: three weeks pass, in microseconds.
const AGE_LICENSES: &str = "PRAGMA busy_timeout = 5000; \
     UPDATE appliances SET license_expires_at = license_expires_at - 1814400000000;";

/// Returns the phase of this part.
pub(super) fn phase(rounds: u64) -> Phase {
    let changes: u64 = LOADS.iter().map(|(_, count)| count).sum::<u64>() * 4;
    // A change with the database alone and one with registryd.
    let round = Duration::from_micros(changes * 1_300);
    Phase {
        name: "throughput on the embedded store".to_owned(),
        expected: Duration::from_secs(5) + Duration::from_secs(round.as_secs() * rounds),
    }
}

/// Measures all changes, with this number of rounds, and prints the table.
///
/// # Errors
/// If a program does not start, a response is not the expected one, or a limit is slower than
/// registryd.
pub(super) fn run(programs: &Programs, progress: &Progress, rounds: u64) -> Result<()> {
    progress.report("SQLite: warming up");
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let [ours, alone] = ["ours", "limit"].map(|name| folder.path().join(name));
    // The file of the limit is created by registryd, so it has the same tables and indexes.
    drop(Service::start(programs, &alone, &[])?);
    let mut bench = Bench {
        service: Service::start(programs, &ours, &[("REGISTRY_MAIL_WORKER", "false")])?,
        file: connect(&ours)?,
        limit: Limit::new(connect(&alone)?),
        next: 0,
        rows: Rows::new(),
    };
    bench.measure_changes(LOADS[2].0, WARM_UP, |_| {})?;
    bench.rows.clear();
    for round in 1..=rounds {
        for (connections, count) in LOADS {
            let place = format!("SQLite, round {round} of {rounds}, {connections} connections");
            bench
                .measure_changes(connections, count, |change| {
                    progress.report(&format!("{place}: {change}"));
                })
                .with_context(|| place.clone())?;
        }
    }
    print_changes("Changes on the embedded store, SQLite", &bench.rows, &Aims::sqlite());
    println!(
        "The limit is one connection without HTTP; × compares with its p99. \
         Resident memory of registryd: {:.1} MB",
        resident(bench.service.pid())?
    );
    check_limits(&bench.rows)
}

/// Opens the file of an embedded store, with the settings of registryd's own connections.
fn connect(data: &Path) -> Result<SqliteConnection> {
    let path = data.join(FILE);
    let url = path.to_str().context("the path of the store is not UTF-8")?;
    // SQLite would create a missing file.
    std::fs::metadata(&path).with_context(|| format!("registryd did not create {url}"))?;
    let mut connection =
        SqliteConnection::establish(url).with_context(|| format!("cannot open {url}"))?;
    connection.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON;",
    )?;
    Ok(connection)
}

struct Bench {
    service: Service,
    /// A connection to the file of `service`.
    file: SqliteConnection,
    limit: Limit,
    /// Next number that no tenant has.
    next: u64,
    rows: Rows,
}

impl Bench {
    /// Measures one round: each change with the database alone, then with registryd. The tenants
    /// that are registered redeem their codes, and then check in.
    fn measure_changes(
        &mut self,
        connections: usize,
        count: u64,
        report: impl Fn(Change),
    ) -> Result<()> {
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        let load = (connections, numbers.clone());
        let requests = requests::registrations(self.service.token(), numbers);
        report(Change::Register);
        let issued = self.measure(Change::Register, &load, &requests)?;
        report(Change::Redeem);
        let requests = requests::redemptions(&issued)?;
        let redeemed = self.measure(Change::Redeem, &load, &requests)?;
        report(Change::CheckIn);
        let check_ins = requests::check_ins(&redeemed)?;
        // The first check-in of an appliance writes more rows than the others.
        driver::send(self.service.address(), &check_ins, connections, false)?;
        let responses = self.measure(Change::CheckIn, &load, &check_ins)?;
        requests::check_signed(&responses, false)?;
        report(Change::CheckInSigned);
        self.file.batch_execute(AGE_LICENSES)?;
        let responses = self.measure(Change::CheckInSigned, &load, &check_ins)?;
        requests::check_signed(&responses, true)
    }

    /// Measures one change: for these tenants with the database alone, then with registryd.
    fn measure(
        &mut self,
        change: Change,
        (connections, numbers): &(usize, Range<u64>),
        requests: &[Vec<u8>],
    ) -> Result<LoadResult> {
        let limit = self.limit.measure(change, numbers.clone())?;
        let kept = (*connections, true);
        let (row, load) = measure::registryd(&self.service, None, limit, requests, kept)?;
        self.rows.entry((change, *connections)).or_default().push(row);
        Ok(load)
    }
}
