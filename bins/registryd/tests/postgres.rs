//! Several processes on one PostgreSQL, and outages of the database: confirmed changes last, and no
//! code is redeemed twice.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod fleet;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use common::{ApiResponse, Server, read_response, start, text, wait_for};
use fleet::{Load, TenantsLock, check, database};
use serde_json::{Value, json};
use throwaway_postgres::{Cluster, Durability, sql};

/// Starts three processes on one database and one data folder.
fn three_on(url: &str, data: &std::path::Path) -> Vec<Server> {
    (0..3)
        .map(|_| start(data, &[("REGISTRY_DATABASE_URL", url), ("REGISTRY_LOG_LEVEL", "warn")]))
        .collect()
}

/// R-register-21: 16 clients redeem each of 200 codes through three processes.
#[test]
fn one_redeemer_wins_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let servers = three_on(&url, data.path());
    let codes: Vec<String> = (0..200)
        .map(|number| servers[number % 3].register(&format!("C{number}"), "pro").1)
        .collect();
    let winners: usize = std::thread::scope(|scope| {
        let redeem_all = |racer: usize| {
            let (servers, codes) = (&servers, &codes);
            scope.spawn(move || {
                codes.iter().filter(|code| servers[racer % 3].redeem(code).0 == 200).count()
            })
        };
        let racers: Vec<_> = (0..16).map(redeem_all).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(winners, 200);
    check(&url);
    assert_eq!(sql(&url, "SELECT count(*) FROM appliances").unwrap(), "200");
}

/// R-reissue-5, R-codes-7: re-issues race redemptions through three processes.
#[test]
fn reissue_race_leaves_one_code_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let servers = three_on(&url, data.path());
    for round in 0..25 {
        let (tenant, first) = servers[0].register(&format!("C{round}"), "pro");
        let (won, reissued) = std::thread::scope(|scope| {
            let redeeming = [1, 2].map(|server: usize| {
                let (servers, first) = (&servers, &first);
                scope.spawn(move || servers[server].redeem(first).0)
            });
            let reissuing = [0, 1].map(|server: usize| {
                let (servers, tenant) = (&servers, &tenant);
                scope.spawn(move || servers[server].reissue(tenant))
            });
            let statuses = redeeming.map(|it| it.join().unwrap());
            let won = statuses.iter().filter(|&&status| status == 200).count();
            (won, reissuing.map(|it| it.join().unwrap()))
        });
        assert!(won <= 1, "{won} redeemers won");
        assert!(reissued.iter().all(|(status, _)| *status == 200), "{reissued:?}");
        let live = format!(
            "SELECT count(*) FROM install_codes WHERE tenant_id = '{tenant}' \
             AND consumed_at IS NULL AND superseded_at IS NULL"
        );
        assert_eq!(sql(&url, &live).unwrap(), "1");
        let live = reissued
            .iter()
            .filter(|(_, body)| servers[2].redeem(&text(&body["install_code"])).0 == 200)
            .count();
        assert_eq!(live, 1);
    }
    check(&url);
}

/// R-register-20, R-register-tenant-1: registryd is killed again and again under load.
#[test]
fn confirmed_changes_survive_kills_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    fleet::survive_kills(data.path(), &url, &[("REGISTRY_DATABASE_URL", &url)]);
}

/// R-register-20, R-register-tenant-1: PostgreSQL crashes again and again under load.
#[test]
fn confirmed_changes_survive_postgres_crashes() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (url, data) = (cluster.url("registry"), tempfile::tempdir().unwrap());
    let server =
        start(data.path(), &[("REGISTRY_DATABASE_URL", &url), ("REGISTRY_LOG_LEVEL", "off")]);
    let load = Load::start(server.url.strip_prefix("http://").unwrap(), &server.token);
    for requests in fleet::request_counts(77, 5) {
        load.wait_for_successes(requests);
        cluster.stop_immediately().unwrap();
        load.wait_for_failures(6);
        cluster.restart().unwrap();
        fleet::wait_until_served(&server);
    }
    load.wait_for_successes(20);
    load.stop().verify(&url, 40);
    check(&url);
}

#[test]
fn postgres_down_is_503() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (url, data) = (cluster.url("registry"), tempfile::tempdir().unwrap());
    let server = start(data.path(), &[("REGISTRY_DATABASE_URL", &url)]);
    let (_, credential) = server.installed("sub_1");
    let (_, code) = server.register("Acme", "pro");
    assert_eq!(server.get_as_service("/readyz").0, 200);
    cluster.stop_immediately().unwrap();
    refuses_all_but_health(&server, &code, &credential, "unavailable");
    cluster.restart().unwrap();
    fleet::wait_until_served(&server);
    assert_eq!(server.redeem(&code).0, 200);
    assert_eq!(server.check_in(&credential).1["status"], "ok");
}

#[test]
fn busy_postgres_is_503_within_bounds() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment = [
        ("REGISTRY_DATABASE_URL", url.as_str()),
        ("REGISTRY_DATABASE_POOL_SIZE", "1"),
        ("REGISTRY_DATABASE_POOL_WAIT", "300ms"),
        ("REGISTRY_DATABASE_LOCK_TIMEOUT", "5s"),
        ("REGISTRY_MAIL_WORKER", "false"),
    ];
    let server = start(data.path(), &environment);
    let (tenant, credential) = server.installed("sub_1");
    let (_, code) = server.register("Acme", "pro");
    let lock = TenantsLock::hold(&url);
    std::thread::scope(|scope| {
        // Occupies the only connection until its wait for the lock ends.
        let waiting = scope.spawn(|| server.reissue(&tenant));
        lock.wait_for_waiter();
        refuses_all_but_health(&server, &code, &credential, "busy");
        assert_eq!(waiting.join().unwrap().0, 503, "the wait for a lock is bounded");
    });
    drop(lock);
    assert_eq!(server.redeem(&code).0, 200);
}

/// The longest time that a refusal may take.
const BOUND: Duration = Duration::from_secs(3);

/// Panics unless every call that needs the database is refused in time, and health and readiness
/// are reported.
///
/// R-errors-3, R-errors-5, R-errors-6: overload is 503 `overloaded` with `Retry-After` in seconds.
/// R-errors-2: the code of a claim-code refusal is not used for it. R-check-in-4: neither is
/// `revoked`. R-health-1, R-health-2.
fn refuses_all_but_health(server: &Server, code: &str, credential: &str, logged: &str) {
    let register = json!({
        "company_name": "Bolt", "contact_email": "b@example.com", "edition": "essentials",
    });
    let redeem = json!({ "claim_code": code, "appliance_id": "a" });
    let check_in = json!({ "appliance_credential": credential });
    for call in [
        server.post("/register-tenant").bearer_auth(&server.token).json(&register),
        server.post("/register").json(&redeem),
        server.post("/check-in").json(&check_in),
        server.get("/tenants").bearer_auth(&server.token),
    ] {
        let response = call.timeout(BOUND).send().unwrap();
        let wait = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse::<u32>().unwrap());
        assert!(wait.is_some_and(|seconds| seconds >= 1), "Retry-After: {wait:?}");
        let (status, body) = read_response(response);
        assert_eq!((status, &body["code"]), (503, &json!("overloaded")), "{body}");
        assert_eq!(body["retryable"], true, "{body}");
    }
    assert_eq!(read_response(server.get("/healthz").send().unwrap()).0, 200);
    let body = wait_for("readiness to be 503", || {
        let (status, body) = read_response(server.get("/readyz").send().unwrap());
        if status == 503 { Ok(body) } else { Err(body.to_string()) }
    });
    assert_eq!(body["code"], "not_ready", "{body}");
    let parts = body["parts"].as_array().unwrap();
    let down = parts.iter().find(|part| part["state"] == "down").unwrap();
    assert_eq!((&down["name"], &down["required"]), (&json!("database"), &json!(true)), "{body}");
    wait_for("the log to name the cause", || {
        let log = server.log.lock().unwrap();
        if log.contains(logged) { Ok(()) } else { Err(log.to_string()) }
    });
}

fn guess(server: &Server) -> u16 {
    server.redeem("AAAA-BBBB-CCCC").0
}

/// R-guessing-5: guesses are counted before the database is queried.
#[test]
fn guesses_are_refused_with_postgres_down() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (url, data) = (cluster.url("registry"), tempfile::tempdir().unwrap());
    let environment =
        [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_RATE_LIMIT_CODE_GUESSES", "3")];
    let server = start(data.path(), &environment);
    assert_eq!([(); 4].map(|()| guess(&server)), [404, 404, 404, 429]);
    cluster.stop_immediately().unwrap();
    assert_eq!(server.get_as_service("/tenants").0, 503);
    assert_eq!(guess(&server), 429);
}

/// R-guessing-1: a guess counts although the client closes the connection before the response.
#[test]
fn abandoned_guess_is_counted_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment =
        [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_RATE_LIMIT_CODE_GUESSES", "2")];
    let server = start(data.path(), &environment);
    let lock = TenantsLock::hold(&url);
    let body = json!({ "claim_code": "AAAA-BBBB-CCCC", "appliance_id": "a" }).to_string();
    let mut socket = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!("POST /register HTTP/1.1\r\nhost: here\r\ncontent-length: {}", body.len());
    let request = format!("{head}\r\ncontent-type: application/json\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).unwrap();
    lock.wait_for_waiter();
    drop(socket);
    drop(lock);
    let counted = "SELECT count(*) FROM audit WHERE action = 'unknown_codes'";
    wait_for("the abandoned guess to be counted", || match sql(&url, counted).unwrap().as_str() {
        "0" => Err("it is not in the audit".to_owned()),
        _ => Ok(()),
    });
    assert_eq!([guess(&server), guess(&server)], [404, 429]);
}

/// R-guessing-5: each process counts separately.
#[test]
fn processes_count_guesses_separately_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment =
        [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_RATE_LIMIT_CODE_GUESSES", "1")];
    let servers = [(); 2].map(|()| start(data.path(), &environment));
    for server in &servers {
        assert_eq!([guess(server), guess(server)], [404, 429]);
    }
}

/// Makes every change that records a response for its idempotency key wait until the table `gate`
/// is empty.
const GATE: &str = "CREATE TABLE gate (closed boolean); INSERT INTO gate VALUES (true); \
    CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    WHILE EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NULL; END $$; \
    CREATE TRIGGER gate AFTER INSERT ON replays FOR EACH ROW EXECUTE FUNCTION wait_at_gate()";

/// R-idempotency-4: the second of two requests with one key waits for the first, but not for ever.
#[test]
fn twin_request_waits_within_bounds_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment = [
        ("REGISTRY_DATABASE_URL", url.as_str()),
        ("REGISTRY_DATABASE_LOCK_TIMEOUT", "300ms"),
        ("REGISTRY_DATABASE_STATEMENT_TIMEOUT", "1m"),
        ("REGISTRY_HTTP_REQUEST_TIMEOUT", "2m"),
    ];
    let server = start(data.path(), &environment);
    sql(&url, GATE).unwrap();
    let body: Value =
        json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" });
    let register = || -> ApiResponse {
        let call = server.post("/register-tenant").bearer_auth(&server.token);
        read_response(
            call.header("Idempotency-Key", "a-key-of-twin-requests").json(&body).send().unwrap(),
        )
    };
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(register);
        wait_for("the first request to be in its transaction", || {
            let waiting = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event = 'PgSleep'";
            match sql(&url, waiting).unwrap().as_str() {
                "1" => Ok(()),
                count => Err(format!("{count} sessions wait at the gate")),
            }
        });
        let (status, body) = register();
        assert_eq!((status, &body["code"]), (503, &json!("overloaded")), "{body}");
        sql(&url, "DELETE FROM gate").unwrap();
        first.join().unwrap()
    });
    assert_eq!(first.0, 200, "{first:?}");
    assert_eq!(register(), first, "replayed");
    assert_eq!(sql(&url, "SELECT count(*) FROM tenants").unwrap(), "1");
}

#[test]
fn other_master_key_is_refused_on_postgres() {
    let (url, data, other) =
        (database(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(data.path(), &[("REGISTRY_DATABASE_URL", &url)]);
    let output =
        common::command(other.path(), &[("REGISTRY_DATABASE_URL", &url)]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("master_key_file"), "{log}");
    let (_, code) = server.register("Acme", "pro");
    let keys = data.path().join("keys");
    for name in ["master.key", "license.pem"] {
        std::fs::copy(keys.join(name), other.path().join("keys").join(name)).unwrap();
    }
    let second = start(other.path(), &[("REGISTRY_DATABASE_URL", &url)]);
    assert_eq!(second.redeem(&code).0, 200);
}

#[test]
fn pending_migrations_are_named_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment =
        [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_DATABASE_MIGRATE", "false")];
    let refused = common::command(data.path(), &environment).output().unwrap();
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && log.contains("registryctl migrate"), "{log}");
}

#[test]
fn password_of_postgres_is_never_logged() {
    let data = tempfile::tempdir().unwrap();
    let address = fleet::free_address();
    for url in [
        format!("postgres://registry:canary-password@{address}/registry"),
        "postgres://registry:canary-password@".to_owned(),
        "canary-password".to_owned(),
    ] {
        let environment =
            [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_LOG_LEVEL", "trace")];
        let output = common::command(data.path(), &environment).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && log.contains("database.url"), "{log}");
        assert!(!log.contains("canary-password"), "{log}");
    }
}
