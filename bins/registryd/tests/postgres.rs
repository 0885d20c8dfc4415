//! Several processes on one PostgreSQL: what was answered lasts, and no code is redeemed twice,
//! whoever dies.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod fleet;

use std::time::Duration;

use common::{Server, answer, start, text};
use fleet::{Load, check, database};
use serde_json::json;
use throwaway_postgres::{Cluster, Durability, sql};

/// Three processes on one database and one data folder.
fn three_on(url: &str, data: &std::path::Path) -> Vec<Server> {
    (0..3)
        .map(|_| start(data, &[("REGISTRY_DATABASE_URL", url), ("REGISTRY_LOG_LEVEL", "warn")]))
        .collect()
}

#[test]
fn of_16_redeemers_of_each_of_200_codes_one_wins_through_three_processes_on_postgres() {
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

#[test]
fn a_reissue_racing_redemptions_leaves_one_live_code_through_three_processes_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let servers = three_on(&url, data.path());
    for round in 0..25 {
        let (tenant, first) = servers[0].register(&format!("C{round}"), "pro");
        let (won, reissued) = std::thread::scope(|scope| {
            let redeeming = [1, 2].map(|server: usize| {
                scope.spawn({
                    let (servers, first) = (&servers, &first);
                    move || servers[server].redeem(first).0
                })
            });
            let reissuing = [0, 1].map(|server: usize| {
                scope.spawn({
                    let (servers, tenant) = (&servers, &tenant);
                    move || servers[server].reissue(tenant)
                })
            });
            let won = redeeming
                .into_iter()
                .filter(|_| true)
                .map(|it| it.join().unwrap())
                .filter(|&status| status == 200)
                .count();
            (won, reissuing.map(|it| it.join().unwrap()))
        });
        assert!(won <= 1, "{won} redeemers won");
        assert!(reissued.iter().all(|(status, _)| *status == 200), "{reissued:?}");
        let live = format!(
            "SELECT count(*) FROM install_codes WHERE tenant_id = '{tenant}' AND consumed_at IS NULL AND superseded_at IS NULL"
        );
        assert_eq!(sql(&url, &live).unwrap(), "1");
        let alive = reissued
            .iter()
            .filter(|(_, body)| servers[2].redeem(&text(&body["install_code"])).0 == 200)
            .count();
        assert_eq!(alive, 1);
    }
    check(&url);
}

#[test]
fn what_was_answered_survives_kills_of_registryd_under_load_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let listen = fleet::free_address();
    let environment = [
        ("REGISTRY_DATABASE_URL", url.as_str()),
        ("REGISTRY_LISTEN", listen.as_str()),
        ("REGISTRY_LOG_LEVEL", "warn"),
    ];
    let mut server = fleet::start_where_told(data.path(), &environment);
    let load = Load::start(&listen, &server.token);
    for pause in fleet::pauses(20_261_125, 6) {
        std::thread::sleep(pause);
        server.kill();
        server = fleet::start_where_told(data.path(), &environment);
    }
    let answered = load.stop();
    answered.verify(&url, 40);
    check(&url);
}

#[test]
fn what_was_answered_survives_crashes_of_postgres_under_load_and_service_resumes() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (url, data) = (cluster.url("registry"), tempfile::tempdir().unwrap());
    let server =
        start(data.path(), &[("REGISTRY_DATABASE_URL", &url), ("REGISTRY_LOG_LEVEL", "off")]);
    let load = Load::start(server.url.strip_prefix("http://").unwrap(), &server.token);
    for pause in fleet::pauses(77, 5) {
        std::thread::sleep(pause);
        cluster.stop_immediately().unwrap();
        std::thread::sleep(pause / 3);
        cluster.start_again().unwrap();
        fleet::until_served(&server);
    }
    std::thread::sleep(Duration::from_millis(300));
    let answered = load.stop();
    answered.verify(&url, 40);
    check(&url);
}

#[test]
fn with_postgres_down_calls_are_503_within_bounds_and_readiness_says_what_is_down() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (url, data) = (cluster.url("registry"), tempfile::tempdir().unwrap());
    let server = start(data.path(), &[("REGISTRY_DATABASE_URL", &url)]);
    let (_, code) = server.register("Acme", "pro");
    assert_eq!(server.look("/readyz").0, 200);
    cluster.stop_immediately().unwrap();
    std::thread::sleep(Duration::from_millis(1_100)); // readiness may be a second old
    refuses_all_but_health(&server, &code, "unavailable");
    cluster.start_again().unwrap();
    fleet::until_served(&server);
    assert_eq!(server.redeem(&code).0, 200);
}

#[test]
fn with_all_connections_taken_calls_are_503_within_the_bounded_wait_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment = [
        ("REGISTRY_DATABASE_URL", url.as_str()),
        ("REGISTRY_DATABASE_POOL_SIZE", "1"),
        ("REGISTRY_DATABASE_POOL_WAIT", "300ms"),
        ("REGISTRY_DATABASE_LOCK_TIMEOUT", "2s"),
        ("REGISTRY_MAIL_WORKER", "false"),
    ];
    let server = start(data.path(), &environment);
    let (tenant, code) = server.register("Acme", "pro");
    std::thread::scope(|scope| {
        let held = "BEGIN; LOCK TABLE tenants; SELECT pg_sleep(3); COMMIT";
        scope.spawn(|| sql(&url, held).unwrap());
        while sql(&url, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'").unwrap()
            == "0"
        {}
        let waiting = scope.spawn(|| server.reissue(&tenant));
        std::thread::sleep(Duration::from_millis(200));
        refuses_all_but_health(&server, &code, "busy");
        assert_eq!(waiting.join().unwrap().0, 503, "it waited for the lock, but not for ever");
    });
    assert_eq!(server.redeem(&code).0, 200);
}

/// More than the longest wait that the tests set.
const BOUND: Duration = Duration::from_secs(3);

/// Every call that needs the database: 503, a moment to come back at, and soon.
fn refuses_all_but_health(server: &Server, code: &str, logged: &str) {
    let body = json!({ "company_name": "Bolt", "contact_email": "b@example.com", "edition": "essentials" });
    let redeem = json!({ "claim_code": code, "appliance_id": "a" });
    for call in [
        server.post("/register-tenant").bearer_auth(&server.token).json(&body),
        server.post("/register").json(&redeem),
        server.get("/tenants").bearer_auth(&server.token),
    ] {
        // Waiting for longer than that would fail here.
        let response = call.timeout(BOUND).send().unwrap();
        let wait = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse::<u32>().unwrap());
        assert!(wait.is_some_and(|seconds| seconds >= 1), "Retry-After: {wait:?}");
        let (status, body) = answer(response);
        assert_eq!((status, &body["code"]), (503, &json!("overloaded")), "{body}");
    }
    assert_eq!(answer(server.get("/healthz").send().unwrap()).0, 200);
    let (status, body) = answer(server.get("/readyz").send().unwrap());
    assert_eq!((status, &body["code"]), (503, &json!("not_ready")), "{body}");
    let down: Vec<_> =
        body["parts"].as_array().unwrap().iter().filter(|part| part["state"] == "down").collect();
    assert_eq!(down[0]["name"], "database", "{body}");
    assert!(server.log.lock().unwrap().contains(logged), "{}", server.log.lock().unwrap());
}

#[test]
fn a_process_with_another_master_key_does_not_start_on_the_same_postgres() {
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
fn where_migrations_are_not_run_at_start_registryd_says_what_to_run_on_postgres() {
    let (url, data) = (database(), tempfile::tempdir().unwrap());
    let environment =
        [("REGISTRY_DATABASE_URL", url.as_str()), ("REGISTRY_DATABASE_MIGRATE", "false")];
    let refused = common::command(data.path(), &environment).output().unwrap();
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && log.contains("registryctl migrate"), "{log}");
}

#[test]
fn no_password_of_postgres_is_in_the_log_or_in_an_error() {
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
