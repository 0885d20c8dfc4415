//! Throughput on PostgreSQL: registryd over HTTP compared to the limit of the database alone, and
//! the directory of a small and a large fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use throwaway_postgres::{Cluster, Durability};

use self::report::{Change, Row, print_changes, print_directory};
use super::driver::{self, LoadResult, request};
use super::machine::{Cpu, resident};
use super::service::Service;
use super::{pgbench, seed};

mod report;

/// Numbers of connections, each with the number of changes to measure.
const LOADS: [(usize, u64); 3] = [(1, 1_500), (8, 12_000), (32, 16_000)];

/// Number of measurements of each query of the directory.
const DIRECTORY_RUNS: usize = 5;

/// Settings of the server. A checkpoint during a measurement would distort it, so none happens.
const SETTINGS: [&str; 4] = [
    "shared_buffers = 1GB",
    "max_wal_size = 8GB",
    "checkpoint_timeout = 60min",
    "autovacuum_naptime = 10min",
];

/// Measures fleets of these sizes, with this number of rounds each, and prints the tables.
///
/// # Errors
/// If a program does not start, or a response is not the expected one.
pub(super) fn run(sizes: &[u64], rounds: usize) -> Result<()> {
    let cluster =
        Cluster::start(Durability::Durable, &SETTINGS).context("cannot start PostgreSQL")?;
    println!("\nPostgreSQL: {}", cluster.sql("postgres", "SELECT version()")?);
    let mut directories = Vec::new();
    for &tenants in sizes {
        let database = format!("fleet_{tenants}");
        cluster.sql("postgres", &format!("CREATE DATABASE {database}"))?;
        let data = tempfile::tempdir().context("no temporary folder")?;
        let url = cluster.socket_url(&database);
        // In a fleet, a separate process sends the mails.
        let environment =
            [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_MAIL_WORKER", "false")];
        let service = Service::start(data.path(), &environment)?;
        println!("\nCreating {tenants} tenants …");
        seed::fleet(&cluster, &database, tenants)?;
        seed::settle(&cluster, &database)?;
        let mut bench =
            Bench { cluster: &cluster, database, service, next: 1 << 40, rows: BTreeMap::new() };
        bench.warm_up()?;
        for round in 0..rounds {
            for (connections, count) in LOADS {
                bench
                    .measure_changes(connections, count)
                    .with_context(|| format!("round {round}"))?;
            }
        }
        let memory = resident(bench.service.pid())?;
        print_changes(tenants, &bench.rows);
        println!("Resident memory of registryd after {} connections: {memory:.1} MB", LOADS[2].0);
        directories.push((tenants, bench.measure_directory()?));
    }
    print_directory(&directories);
    Ok(())
}

struct Bench<'run> {
    cluster: &'run Cluster,
    database: String,
    service: Service,
    /// Next number that no row has.
    next: u64,
    rows: BTreeMap<(Change, usize), Vec<Row>>,
}

impl Bench<'_> {
    /// Makes each connection of the pool prepare each statement, so no measurement includes that.
    fn warm_up(&mut self) -> Result<()> {
        let requests = self.registrations(400);
        let issued = driver::send(self.service.address(), &requests, 16, true)?;
        driver::send(self.service.address(), &redemptions(&issued)?, 16, false)?;
        for change in [Change::CheckIn, Change::CheckInSigned] {
            self.measure_check_ins(change, 16, 400)?;
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

    fn registrations(&mut self, count: u64) -> Vec<Vec<u8>> {
        let first = self.reserve(count);
        let body = |n: u64| {
            format!(
                "{{\"company_name\":\"Company {n}\",\"contact_email\":\"b{n}@bench.example\",\
                 \"edition\":\"pro\",\"seats\":25}}"
            )
        };
        let token = self.service.token();
        (first..first + count)
            .map(|n| request("POST", "/register-tenant", Some(token), &body(n)))
            .collect()
    }

    /// Measures one round: each change with the database alone, then with registryd.
    fn measure_changes(&mut self, connections: usize, count: u64) -> Result<()> {
        let first = self.reserve(count);
        let limit = self.measure_limit(pgbench::REGISTER, (first, count), connections)?;
        let requests = self.registrations(count);
        let issued =
            self.measure_registryd(Change::Register, limit, &requests, connections, true)?;

        let first = self.reserve(count);
        seed::live_codes(self.cluster, &self.database, first, count)?;
        let limit = self.measure_limit(pgbench::REDEEM, (first, count), connections)?;
        let requests = redemptions(&issued)?;
        self.measure_registryd(Change::Redeem, limit, &requests, connections, false)?;

        self.measure_check_ins(Change::CheckIn, connections, count)?;
        self.measure_check_ins(Change::CheckInSigned, connections, count)
    }

    /// Measures check-ins: of `count` appliances with the database alone, then of `count` others
    /// with registryd.
    fn measure_check_ins(&mut self, change: Change, connections: usize, count: u64) -> Result<()> {
        let (script, license) = match change {
            Change::CheckInSigned => (pgbench::CHECK_IN_SIGNED, "10 days"),
            Change::Register | Change::Redeem | Change::CheckIn => (pgbench::CHECK_IN, "31 days"),
        };
        let first = self.reserve(2 * count);
        seed::running_appliances(self.cluster, &self.database, first, 2 * count, license)?;
        let limit = self.measure_limit(script, (first, count), connections)?;
        let body = |n: u64| format!(r#"{{"appliance_credential":"{n:064x}"}}"#);
        let requests: Vec<_> = (first + count..first + 2 * count)
            .map(|n| request("POST", "/check-in", None, &body(n)))
            .collect();
        let responses = self.measure_registryd(change, limit, &requests, connections, true)?;
        let renewed = responses
            .bodies
            .iter()
            .filter(|body| body.windows(5).any(|part| part == b"\"jwt\""))
            .count();
        let expected = if change == Change::CheckInSigned { requests.len() } else { 0 };
        ensure!(renewed == expected, "{renewed} of {} check-ins renewed a license", requests.len());
        Ok(())
    }

    fn measure_limit(
        &self,
        script: &str,
        numbers: (u64, u64),
        connections: usize,
    ) -> Result<pgbench::Limit> {
        self.cluster.sql(&self.database, "CHECKPOINT")?;
        pgbench::run(self.cluster, &self.database, script, numbers, connections as u64)
    }

    fn measure_registryd(
        &mut self,
        change: Change,
        limit: pgbench::Limit,
        requests: &[Vec<u8>],
        connections: usize,
        keep_bodies: bool,
    ) -> Result<LoadResult> {
        self.cluster.sql(&self.database, "CHECKPOINT")?;
        let (server, pid) = (self.cluster.pid()?, self.service.pid());
        let before = Cpu::now(server, pid)?;
        let load = driver::send(self.service.address(), requests, connections, keep_bodies)?;
        let cpu = Cpu::now(server, pid)?.since(before);
        let row = Row {
            limit,
            rate: load.rate,
            p50: load.quantile(0.5),
            p99: load.quantile(0.99),
            cpu,
            count: requests.len(),
        };
        self.rows.entry((change, connections)).or_default().push(row);
        Ok(load)
    }

    /// Returns the median response time of each query of the directory, over one connection.
    fn measure_directory(&mut self) -> Result<Vec<(&'static str, Duration)>> {
        seed::settle(self.cluster, &self.database)?;
        // A line each: the id, the cursor, and the number in the company's name.
        let sample = "SELECT id || ' ' || \
                      (extract(epoch FROM registered_at) * 1000000)::bigint || '.' || \
                      replace(id::text, '-', '') || ' ' || split_part(company_name, ' ', 2) \
                      FROM tenants WHERE status = 'installed' ORDER BY md5(id::text) LIMIT 400";
        let sample = self.cluster.sql(&self.database, sample)?;
        let column =
            |index: usize| sample.lines().filter_map(move |line| line.split(' ').nth(index));
        let get = |path: String| request("GET", &path, Some(self.service.token()), "");
        let median = |requests: Vec<Vec<u8>>| -> Result<Duration> {
            // The first run loads the data into memory, for both fleets.
            driver::send(self.service.address(), &requests, 1, false)?;
            let runs = (0..DIRECTORY_RUNS)
                .map(|_| driver::send(self.service.address(), &requests, 1, false));
            let mut medians = runs.map(|run| Ok(run?.quantile(0.5))).collect::<Result<Vec<_>>>()?;
            medians.sort();
            Ok(medians[DIRECTORY_RUNS / 2])
        };
        let mut rows = vec![
            (
                "GET /tenants/{id}",
                median(column(0).map(|id| get(format!("/tenants/{id}"))).collect())?,
            ),
            (
                "a page of 50, anywhere in the list",
                median(
                    column(1)
                        .map(|cursor| get(format!("/tenants?limit=50&cursor={cursor}")))
                        .collect(),
                )?,
            ),
            (
                "search by part, few hits",
                median(column(2).map(|n| get(format!("/tenants?query=pany%20{n}"))).collect())?,
            ),
            (
                "search by part, many hits",
                median((0..97).map(|n| get(format!("/tenants?query=%40mail{n}."))).collect())?,
            ),
        ];
        self.cluster.sql(&self.database, "DROP INDEX tenants_by_part")?;
        let beginnings = column(2).map(|n| get(format!("/tenants?query=company%20{n}")));
        rows.push(("search by beginning, without pg_trgm", median(beginnings.collect())?));
        Ok(rows)
    }
}

/// Returns requests that redeem the codes of these responses.
fn redemptions(issued: &LoadResult) -> Result<Vec<Vec<u8>>> {
    let redemption = |body: &Vec<u8>| {
        let response: Value = serde_json::from_slice(body).context("a response is not JSON")?;
        let code = response["install_code"].as_str().context("a response has no code")?;
        let body =
            format!(r#"{{"claim_code":"{code}","appliance_id":"appliance-0123456789abcdef"}}"#);
        Ok(request("POST", "/register", None, &body))
    };
    issued.bodies.iter().map(redemption).collect()
}
