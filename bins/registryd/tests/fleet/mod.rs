//! Load on registryd, the invariants that the database must satisfy afterwards, and locks that a
//! test holds in the database.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use serde_json::{Value, json};
use throwaway_postgres::{sql, unique_name};

use crate::common::{self, Server, text, wait_for};

/// Number of concurrent clients.
const CLIENTS: usize = 6;

/// Creates an empty database in the cluster of this test run; registryd creates its tables.
pub(crate) fn database() -> String {
    let cluster = throwaway_postgres::test_cluster();
    let name = unique_name("registry");
    sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}")).unwrap();
    format!("{cluster}/{name}")
}

/// Returns an address on which nothing listens.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Starts registryd at the address in `REGISTRY_LISTEN`.
pub(crate) fn start_at_own_address(data: &Path, environment: &[(&str, &str)]) -> Server {
    common::start_with(common::command_without_address(data, environment), data)
}

/// Returns numbers of requests, from 20 to 89, that look random and are the same in every run.
pub(crate) fn request_counts(seed: u64, count: usize) -> Vec<usize> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            // Knuth's multiplier (TAOCP 3.3.4).
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            20 + usize::try_from((state >> 33) % 70).unwrap()
        })
        .collect()
}

/// Kills registryd again and again under load. Then its database must have every confirmed change.
/// `database` is a URL of PostgreSQL, or the path of an SQLite file.
pub(crate) fn survive_kills(data: &Path, database: &str, environment: &[(&str, &str)]) {
    let listen = free_address();
    let own = [("REGISTRY_LISTEN", listen.as_str()), ("REGISTRY_LOG_LEVEL", "warn")];
    let environment = [environment, &own].concat();
    let mut server = start_at_own_address(data, &environment);
    let load = Load::start(&listen, &server.token);
    for requests in request_counts(20_261_125, 6) {
        load.wait_for_successes(requests);
        server.kill();
        server = start_at_own_address(data, &environment);
    }
    load.stop().verify(database, 40);
    check(database);
}

/// Runs a query in a database, and returns its lines.
pub(crate) fn query(database: &str, query: &str) -> String {
    #[derive(QueryableByName)]
    struct Lines {
        #[diesel(sql_type = Nullable<Text>)]
        lines: Option<String>,
    }
    if database.starts_with("postgres") {
        return sql(database, query).unwrap();
    }
    let mut connection = SqliteConnection::establish(database).unwrap();
    let lines = format!(
        "WITH found (line) AS ({query}) SELECT group_concat(line, char(10)) AS lines FROM found"
    );
    let lines: Lines = diesel::sql_query(lines).get_result(&mut connection).unwrap();
    lines.lines.unwrap_or_default()
}

/// Waits until registryd reaches its database.
pub(crate) fn wait_until_served(server: &Server) {
    wait_for("a 200 of /tenants", || {
        let status = server.get("/tenants").bearer_auth(&server.token).send().unwrap().status();
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    });
}

/// Panics if the database breaks an invariant.
pub(crate) fn check(database: &str) {
    for (rule, count) in [
        (
            "every consumed code has its audit entry",
            "SELECT count(*) FROM install_codes c WHERE consumed_at IS NOT NULL AND 1 <> \
             (SELECT count(*) FROM audit a WHERE a.code_id = c.id AND a.action = 'code_redeemed')",
        ),
        (
            "every consumed paid code has its appliance with a credential",
            "SELECT count(*) FROM install_codes c WHERE consumed_at IS NOT NULL \
             AND entitlement_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM appliances a \
             JOIN credentials r ON (r.tenant_id, r.appliance_id) = (a.tenant_id, a.id) \
             WHERE (a.tenant_id, a.id) = (c.tenant_id, c.consumed_by))",
        ),
        (
            "every registered tenant has a code and a mail",
            "SELECT count(*) FROM tenants t WHERE \
             NOT EXISTS (SELECT 1 FROM install_codes c WHERE c.tenant_id = t.id) \
             OR NOT EXISTS (SELECT 1 FROM mails m WHERE m.tenant_id = t.id)",
        ),
        (
            "a tenant is installed exactly if one of its codes was redeemed",
            "SELECT count(*) FROM tenants t WHERE (t.status = 'registered') = \
             EXISTS (SELECT 1 FROM install_codes c \
             WHERE c.tenant_id = t.id AND c.consumed_at IS NOT NULL)",
        ),
    ] {
        assert_eq!(query(database, count), "0", "broken: {rule}");
    }
}

/// The changes that were answered with a 200.
#[derive(Default)]
pub(crate) struct Confirmed {
    /// Tenants and their codes.
    registered: Vec<(String, String)>,
    /// Number of successful redemptions of each code.
    winners: BTreeMap<String, usize>,
}

impl Confirmed {
    /// Panics if the database lacks a confirmed change, if a code was redeemed twice, or if there
    /// are fewer than `least` registrations or half as many redemptions.
    pub(crate) fn verify(&self, database: &str, least: usize) {
        let (registered, redeemed) = (self.registered.len(), self.winners.len());
        assert!(registered >= least, "only {registered} registrations were confirmed");
        assert!(redeemed >= least / 2, "only {redeemed} redemptions were confirmed");
        assert!(self.winners.values().all(|&winners| winners == 1), "a code has two winners");
        let tenants = query(database, "SELECT id FROM tenants");
        let tenants: BTreeSet<&str> = tenants.lines().collect();
        for (tenant, _) in &self.registered {
            let is_there = tenants.contains(tenant.as_str());
            assert!(is_there, "a confirmed registration is lost: {tenant}");
        }
        let consumed = "SELECT count(*) FROM install_codes WHERE consumed_at IS NOT NULL";
        let consumed: usize = query(database, consumed).parse().unwrap();
        assert!(consumed >= redeemed, "a confirmed redemption is lost");
    }
}

/// Counts of responses, for the test to wait for.
#[derive(Default)]
struct Progress {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
}

/// Clients that register, and redeem each code twice at the same time, until they are stopped. They
/// never repeat a request that failed.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    clients: Vec<JoinHandle<Confirmed>>,
}

impl Load {
    pub(crate) fn start(address: &str, token: &str) -> Self {
        let (stop, progress) = (Arc::new(AtomicBool::new(false)), Arc::<Progress>::default());
        let client = |number| {
            let (stop, progress) = (stop.clone(), progress.clone());
            let (url, token) = (format!("http://{address}"), token.to_owned());
            std::thread::spawn(move || call(number, &url, &token, &stop, &progress))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, progress, clients }
    }

    /// Waits until `more` further requests have succeeded.
    pub(crate) fn wait_for_successes(&self, more: usize) {
        wait_for_more("requests to succeed", &self.progress.succeeded, more);
    }

    /// Waits until `more` further requests have failed.
    pub(crate) fn wait_for_failures(&self, more: usize) {
        wait_for_more("requests to fail", &self.progress.failed, more);
    }

    /// Stops the clients.
    pub(crate) fn stop(self) -> Confirmed {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Confirmed::default();
        for client in self.clients {
            let one = client.join().unwrap();
            all.registered.extend(one.registered);
            all.winners.extend(one.winners);
        }
        all
    }
}

fn wait_for_more(what: &str, counter: &AtomicUsize, more: usize) {
    let before = counter.load(Ordering::Relaxed);
    wait_for(what, || {
        let count = counter.load(Ordering::Relaxed) - before;
        if count >= more { Ok(()) } else { Err(format!("{count} of {more}")) }
    });
}

/// One client.
fn call(
    number: usize,
    url: &str,
    token: &str,
    stop: &AtomicBool,
    progress: &Progress,
) -> Confirmed {
    let client = common::client(Duration::from_secs(20));
    let mut confirmed = Confirmed::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let company = format!("Company {number} {round}");
        let body =
            json!({ "company_name": company, "contact_email": "c@example.com", "edition": "pro" });
        let register = client.post(format!("{url}/register-tenant")).bearer_auth(token).json(&body);
        let Some(body) = send(register, progress) else {
            // Keeps the clients from flooding a server that is down.
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let code = text(&body["install_code"]);
        confirmed.registered.push((text(&body["tenant_id"]), code.clone()));
        let redeem = |appliance: &str| {
            let body = json!({ "claim_code": code, "appliance_id": appliance });
            send(client.post(format!("{url}/register")).json(&body), progress).is_some()
        };
        let winners = std::thread::scope(|scope| {
            let twins = [scope.spawn(|| redeem("a")), scope.spawn(|| redeem("b"))];
            twins.into_iter().map(|twin| usize::from(twin.join().unwrap())).sum()
        });
        if winners > 0 {
            confirmed.winners.insert(code, winners);
        }
    }
    confirmed
}

/// Returns the body of a 200, and `None` for a refusal, a 503 or a broken connection. Panics at any
/// other response.
fn send(call: reqwest::blocking::RequestBuilder, progress: &Progress) -> Option<Value> {
    let Ok(response) = call.send() else {
        progress.failed.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let status = response.status().as_u16();
    assert!(matches!(status, 200 | 409 | 503), "{status}: {}", response.text().unwrap_or_default());
    let body = if status == 200 { response.json().ok() } else { None };
    if body.is_some() {
        progress.succeeded.fetch_add(1, Ordering::Relaxed);
    } else if status != 409 {
        progress.failed.fetch_add(1, Ordering::Relaxed);
    }
    body
}

/// A lock on the table `tenants`, held by a session of its own until it is dropped.
pub(crate) struct TenantsLock {
    url: String,
    session: Option<JoinHandle<()>>,
}

/// The statements of the session that holds the lock.
const LOCK_TENANTS: &str = "BEGIN; LOCK TABLE tenants; SELECT pg_sleep(600)";

impl TenantsLock {
    /// Locks the table, and waits until the lock is held.
    pub(crate) fn hold(url: &str) -> Self {
        let own = url.to_owned();
        // The session ends with an error, since `drop` terminates it.
        let session = std::thread::spawn(move || drop(sql(&own, LOCK_TENANTS)));
        let lock = Self { url: url.to_owned(), session: Some(session) };
        let held = "granted AND mode = 'AccessExclusiveLock'";
        wait_for("the lock on tenants", || match locks_on_tenants(url, held) {
            1 => Ok(()),
            count => Err(format!("{count} locks")),
        });
        lock
    }

    /// Waits until another session waits for the lock.
    pub(crate) fn wait_for_waiter(&self) {
        wait_for("a session that waits for the lock", || {
            match locks_on_tenants(&self.url, "NOT granted") {
                0 => Err("no session waits".to_owned()),
                _ => Ok(()),
            }
        });
    }
}

impl Drop for TenantsLock {
    fn drop(&mut self) {
        let terminate = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE '{LOCK_TENANTS}%'"
        );
        drop(sql(&self.url, &terminate));
        if let Some(session) = self.session.take() {
            drop(session.join());
        }
    }
}

/// Counts the locks on the table `tenants` that satisfy a condition.
fn locks_on_tenants(url: &str, condition: &str) -> u32 {
    let count = format!(
        "SELECT count(*) FROM pg_locks WHERE {condition} AND relation = 'tenants'::regclass \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    sql(url, &count).unwrap().parse().unwrap()
}
