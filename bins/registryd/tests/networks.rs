//! Several registryd behind a load balancer, in a network that fails as those of customers do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]
#![expect(clippy::print_stdout, reason = "the figures of a load are its result")]
#![expect(clippy::disallowed_methods, reason = "a load is measured with the real clock")]

mod common;
mod fleet;

use std::collections::BTreeSet;
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::wait_for;
use fleet::{free_address, start_at_own_address};
use reqwest::blocking::{RequestBuilder, Response};
use serde_json::json;
use throwaway_postgres::{Cluster, Durability};
use throwaway_servers::{SmtpOptions, SmtpServer};

/// Sizes of the test: in CI a few seconds, in `cargo xtask soak` those of production.
struct Scale {
    requests_per_second: u32,
    /// Pause before the first restart, in which the balancer keeps its connections.
    idle: Duration,
    /// Interval of the balancer's checks.
    check: Duration,
    drain_delay: &'static str,
}

impl Scale {
    fn new() -> Self {
        if std::env::var_os("SOAK").is_some() {
            let (idle, check) = (Duration::from_secs(62), Duration::from_secs(2));
            Self { requests_per_second: 150, idle, check, drain_delay: "7s" }
        } else {
            let (idle, check) = (Duration::from_secs(1), Duration::from_millis(300));
            Self { requests_per_second: 60, idle, check, drain_delay: "1500ms" }
        }
    }
}

const CLIENTS: u32 = 12;

/// A database whose first host is silent, a firewall that forgets all flows to it, a balancer that
/// keeps its connections and tries nothing again, and a rolling restart: no request fails.
#[test]
fn rolling_restart_loses_nothing_behind_haproxy_in_a_netns() {
    if !in_own_network("rolling_restart_loses_nothing_behind_haproxy_in_a_netns") {
        return;
    }
    let scale = Scale::new();
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (silent, port) = (silent_port(), cluster.port());
    let url = format!("postgres://postgres@127.0.0.1:{silent},127.0.0.1:{port}/registry");
    let (data, addresses) = (tempfile::tempdir().unwrap(), [(); 3].map(|()| free_address()));
    let balancer = Balancer::start(data.path(), &addresses, scale.check);
    let start = |address: &str| {
        start_at_own_address(
            data.path(),
            &[
                ("REGISTRY_DATABASE_URL", &url),
                ("REGISTRY_DATABASE_POOL_SIZE", "4"),
                ("REGISTRY_LISTEN", address),
                ("REGISTRY_PUBLIC_URL", &balancer.url),
                ("REGISTRY_HTTP_DRAIN_DELAY", scale.drain_delay),
                ("REGISTRY_HTTP_TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#),
                ("REGISTRY_LOG_LEVEL", "warn"),
            ],
        )
    };
    let mut servers = addresses.each_ref().map(|address| start(address));
    let (_, code) = servers[0].register("Acme", "pro");
    let credential = common::text(&servers[0].redeem(&code).1["appliance_credential"]);
    let token = servers[0].token.clone();
    balancer.wait_until_all_are_up();

    let load = Load::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (load, url, token, credential) = (&load, &balancer.url, &token, &credential);
            let pace = Duration::from_secs(1) * CLIENTS / scale.requests_per_second;
            scope.spawn(move || load.run(url, token, credential, (client, pace)));
        }
        std::thread::sleep(Duration::from_secs(1));
        for (server, address) in servers.iter_mut().zip(&addresses) {
            // A firewall forgets flows that are idle, not those in use.
            let paused = load.pause();
            std::thread::sleep(scale.idle);
            let forgotten = forget_flows(port);
            assert!(forgotten > 0, "there were no idle connections");
            drop(paused);
            std::thread::sleep(Duration::from_secs(1));
            server.terminate();
            assert!(server.ended());
            *server = start(address);
            std::thread::sleep(scale.check * 4);
        }
        load.stop.store(true, Ordering::Relaxed);
    });
    let logs = servers.each_ref().map(|server| server.log.lock().unwrap().clone());
    load.verify(scale.requests_per_second, &logs.concat());
}

/// Runs the named test again in a network namespace of its own, and returns false. Returns true in
/// the namespace, whose only interface is `lo`.
fn in_own_network(test: &str) -> bool {
    if std::env::var_os("OWN_NETWORK").is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let mut inside = Command::new("unshare");
    inside.args(["--net", "--mount", "--"]).arg(program).args(["--exact", test, "--nocapture"]);
    assert!(inside.env("OWN_NETWORK", "1").status().unwrap().success());
    false
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Drops from now on all packets of the present connections to this port, and returns their number.
fn forget_flows(port: u16) -> usize {
    let (filter, port) = (format!("dport = :{port}"), port.to_string());
    let flows = run("ss", &["--no-header", "--tcp", "--numeric", "state", "established", &filter]);
    let mut count = 0;
    for flow in flows.lines() {
        let local = flow.split_whitespace().nth(2).unwrap().rsplit_once(':').unwrap().1;
        for (from, to) in [(local, &*port), (&*port, local)] {
            let ends = ["--sport", from, "--dport", to];
            let rule =
                ["-w", "-A", "INPUT", "-p", "tcp"].iter().chain(&ends).chain(&["-j", "DROP"]);
            run("iptables", &rule.copied().collect::<Vec<_>>());
        }
        count += 1;
    }
    count
}

/// Returns a port at which a connection attempt gets no response.
fn silent_port() -> String {
    let port = free_address().rsplit_once(':').unwrap().1.to_owned();
    run("iptables", &["-w", "-A", "INPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"]);
    port
}

/// `HAProxy`, which tries no request again.
struct Balancer {
    url: String,
    status: String,
    child: Child,
}

impl Balancer {
    fn start(folder: &Path, servers: &[String], check: Duration) -> Self {
        let (address, status, check) = (free_address(), free_address(), check.as_millis());
        let servers = servers.iter().enumerate().map(|(number, address)| {
            format!("    server r{number} {address} check inter {check}ms fall 1 rise 1\n")
        });
        let servers: String = servers.collect();
        let configuration = format!(
            "defaults\n    mode http\n    timeout connect 2s\n    timeout client 90s\n    \
             timeout server 90s\n    option httpchk GET /readyz\n    retries 0\n\
             frontend status\n    bind {status}\n    stats enable\n    stats uri /\n\
             frontend all\n    bind {address}\n    default_backend all\n\
             backend all\n    balance roundrobin\n{servers}"
        );
        let path = folder.join("haproxy.cfg");
        std::fs::write(&path, configuration).unwrap();
        let program = std::env::var_os("HAPROXY").map_or("haproxy".into(), PathBuf::from);
        let child = Command::new(program)
            .arg("-db")
            .arg("-f")
            .arg(path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { url: format!("http://{address}"), status: format!("http://{status}/;csv"), child }
    }

    fn wait_until_all_are_up(&self) {
        let client = common::client(Duration::from_secs(5));
        wait_for("all servers to be up", || {
            let status = client.get(&self.status).send().and_then(Response::text);
            let status = status.map_err(|error| error.to_string())?;
            let is_down = |line: &str| line.starts_with("all,r") && line.contains(",DOWN,");
            if status.lines().any(is_down) { Err(status) } else { Ok(()) }
        });
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The requests of clients: for each its start, its duration, and what went wrong.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    paused: Mutex<()>,
    seen: Mutex<Vec<(Instant, Duration, Option<String>)>>,
}

impl Load {
    fn run(&self, url: &str, token: &str, credential: &str, (client, pace): (u32, Duration)) {
        let http = common::client(Duration::from_secs(20));
        for number in 0_u32.. {
            std::thread::sleep(pace);
            drop(self.paused.lock().unwrap());
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let company = format!("Company {client}-{number}");
            let request: RequestBuilder = match number % 3 {
                0 => http.post(format!("{url}/register-tenant")).bearer_auth(token).json(&json!({
                    "company_name": company, "contact_email": format!("c{client}-{number}@x.example"),
                    "edition": "essentials", "send_email": false,
                })),
                1 => http
                    .post(format!("{url}/check-in"))
                    .json(&json!({ "appliance_credential": credential })),
                _ => http.get(format!("{url}/.well-known/jwks.json")),
            };
            let began = Instant::now();
            let problem = match request.send() {
                Ok(response) if response.status() == 200 => None,
                Ok(response) => Some(response.status().to_string()),
                Err(error) => Some(format!("{error:?}")),
            };
            self.seen.lock().unwrap().push((began, began.elapsed(), problem));
        }
    }

    /// Lets no request begin while the result lives.
    fn pause(&self) -> MutexGuard<'_, ()> {
        let paused = self.paused.lock().unwrap();
        std::thread::sleep(Duration::from_secs(1));
        paused
    }

    fn verify(&self, requests_per_second: u32, log: &str) {
        let seen = self.seen.lock().unwrap();
        let first = seen.iter().map(|(began, ..)| *began).min().unwrap();
        let failed: Vec<_> = seen
            .iter()
            .filter_map(|(began, took, problem)| Some((*began - first, took, problem.as_ref()?)))
            .collect();
        let slowest = seen.iter().max_by_key(|(_, took, _)| *took).unwrap();
        println!(
            "{} requests at {requests_per_second} a second, {} failed; the worst second is {}, in \
             which a request took {:.2} s",
            seen.len(),
            failed.len(),
            (slowest.0 - first).as_secs(),
            slowest.1.as_secs_f64(),
        );
        assert!(seen.len() > 300, "only {} requests", seen.len());
        assert!(failed.is_empty(), "{failed:?}\n{log}");
    }
}

/// A mail server has a first address that is silent, as with a machine that has IPv6 and no way to
/// it. Mails take some seconds longer.
#[test]
fn silent_address_of_the_mail_server_delays_no_mail_in_a_netns() {
    if !in_own_network("silent_address_of_the_mail_server_delays_no_mail_in_a_netns") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // Addresses are sorted (RFC 6724): that of IPv6 is the first one.
    let hosts = write("hosts", "::1 localhost\n127.0.0.1 localhost\n");
    run("mount", &["--bind", &hosts, "/etc/hosts"]);
    let mail_server = SmtpServer::start(SmtpOptions::default()).unwrap();
    let port = mail_server.port().to_string();
    run("ip6tables", &["-w", "-A", "INPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"]);
    let first = format!("localhost:{port}").to_socket_addrs().unwrap().next().unwrap();
    assert!(first.is_ipv6(), "the silent address comes first");
    let registry = tempfile::tempdir().unwrap();
    let server = common::start(
        registry.path(),
        &[
            ("REGISTRY_MAIL_SMTP_HOST", "localhost"),
            ("REGISTRY_MAIL_SMTP_PORT", &port),
            ("REGISTRY_MAIL_SMTP_CA_FILE", &write("ca.pem", &mail_server.ca_pem)),
        ],
    );
    server.register("Acme", "pro");
    wait_for("the mail", || match mail_server.received().len() {
        1 => Ok(()),
        _ => Err(server.log.lock().unwrap().clone()),
    });
}

/// A clock that steps by days in either direction delays no mail, no readiness and no code, and
/// keeps no source limited for longer than its window.
#[test]
fn stepping_clock_delays_nothing_under_faketime() {
    let data = tempfile::tempdir().unwrap();
    let offset = data.path().join("offset");
    let set = |value: &str| {
        // Replaced at once: libfaketime reads it at any moment.
        std::fs::write(data.path().join("next"), value).unwrap();
        std::fs::rename(data.path().join("next"), &offset).unwrap();
    };
    set("+0d");
    let library = std::env::var("LIBFAKETIME").unwrap();
    let server = common::start(
        data.path(),
        &[
            ("LD_PRELOAD", &library),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("REGISTRY_RATE_LIMIT_CODE_GUESSES_LIMIT", "3"),
        ],
    );
    let mut dates = Vec::new();
    for (round, step) in ["+0d", "+400d", "-400d", "+0d"].into_iter().enumerate() {
        set(step);
        let ready = server.get("/readyz").send().unwrap();
        assert_eq!(ready.status(), 200, "{step}");
        dates.push(ready.headers()["date"].to_str().unwrap().to_owned());
        let (_, code) = server.register(&format!("Company{round}"), "pro");
        server.mails(round + 1);
        let (status, redeemed) = server.redeem(&code);
        assert_eq!(status, 200, "{step}: {redeemed}");
        let credential = &redeemed["appliance_credential"];
        let check_in =
            server.post("/check-in").json(&json!({ "appliance_credential": credential }));
        assert_eq!(check_in.send().unwrap().status(), 200, "{step}");
        let guess = json!({ "claim_code": "0000-0000-0000", "appliance_id": "a" });
        let refused = (0..5).map(|_| server.post("/register").json(&guess).send().unwrap());
        let waits: Vec<u64> = refused
            .filter_map(|it| it.headers().get("retry-after")?.to_str().unwrap().parse().ok())
            .collect();
        assert!(waits.iter().all(|seconds| *seconds <= 600), "{step}: {waits:?}");
    }
    let years: BTreeSet<&str> = dates.iter().map(|date| &date[12..16]).collect();
    assert_eq!(years.len(), 3, "the header follows the clock: {dates:?}");
}
