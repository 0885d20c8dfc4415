//! Strangers: customers register, redeem and check in while somebody guesses codes at full speed,
//! over many connections of one address, or from many addresses.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use serde_json::Value;
use throwaway_postgres::{Cluster, Durability};

use super::driver::{Connection, quantile, request};
use super::fleet::SETTINGS;
use super::machine;
use super::progress::{Phase, Progress};
use super::report::format_time;
use super::service::{Programs, Service};

/// Number of measurements of each attack. The ratio is their median.
const ROUNDS: usize = 5;

/// Duration of a measurement. The five of an attack are a minute of it.
const ROUND: Duration = Duration::from_secs(12);

/// Number of customers at once, and the pause of each between two requests.
const CUSTOMERS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(40);

/// Number of connections of a stranger's thread.
const PER_THREAD: usize = 2;

/// Maximum ratio of the customers' p99 to that without the stranger.
const WORST: f64 = 3.0;

/// A stranger.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    connections: usize,
    /// Number of addresses, if they are many. A proxy that registryd trusts names them.
    addresses: Option<u64>,
}

const ATTACKS: [Attack; 2] = [
    Attack { name: "1,000 connections of one address", connections: 1_000, addresses: None },
    Attack { name: "10,000 addresses", connections: 1_000, addresses: Some(10_000) },
];

/// Returns the phase of this part.
pub(super) fn phase() -> Phase {
    let rounds = u32::try_from(ATTACKS.len() * ROUNDS * 2).unwrap_or(u32::MAX);
    let expected = ROUND * rounds + Duration::from_secs(20);
    Phase { name: "customers beside strangers on PostgreSQL".to_owned(), expected }
}

/// Measures each attack, and prints the ratios.
///
/// # Errors
/// If a customer's request fails, a mail is not delivered, or the ratio is too high.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    println!(
        "\nCustomers beside strangers on PostgreSQL: {CUSTOMERS} customers register, redeem and \
         check in,\nwhile a stranger guesses codes at full speed. Medians of {ROUNDS} rounds."
    );
    for attack in ATTACKS {
        progress.report(&format!("strangers: {}", attack.name));
        let data = tempfile::tempdir().context("no temporary folder")?;
        let cluster = Cluster::start(Durability::Durable, &SETTINGS)?;
        cluster.sql("postgres", "CREATE DATABASE registry")?;
        measure(programs, &cluster, data.path(), attack)?;
    }
    Ok(())
}

fn measure(programs: &Programs, cluster: &Cluster, data: &Path, attack: Attack) -> Result<()> {
    let url = cluster.url("registry");
    let proxies = if attack.addresses.is_some() { "['::1/128']" } else { "[]" };
    let environment = [
        ("REGISTRY_DATABASE_URL", &*url),
        ("REGISTRY_PUBLIC_URL", "http://127.0.0.1:1"),
        ("REGISTRY_HTTP_TRUSTED_PROXIES", proxies),
    ];
    let service = Service::start_at("[::]:0", programs, data, &environment)?;
    let port = service.address().rsplit(':').next().context("no port")?.to_owned();
    let (mut ratios, mut tails, mut mails) = (Vec::new(), Vec::new(), 0);
    let (guesses, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..ROUNDS as u64 {
        let alone = customers(&port, service.token(), round * 2)?;
        let beside = beside_stranger(attack, &port, (&guesses, &unknown), || {
            customers(&port, service.token(), round * 2 + 1)
        })?;
        mails += alone.registered + beside.registered;
        ratios.push(beside.p99.as_secs_f64() / alone.p99.as_secs_f64());
        tails.push((alone.p99, beside.p99));
    }
    ratios.sort_by(f64::total_cmp);
    tails.sort();
    let (ratio, (alone, beside)) = (ratios[ROUNDS / 2], tails[ROUNDS / 2]);
    println!(
        "{:36}p99 {} without, {} beside; ratio {ratio:.2} (aim {WORST}); {} guesses, {} looked up; \
         {:.0} MB",
        attack.name,
        format_time(alone.as_secs_f64()),
        format_time(beside.as_secs_f64()),
        guesses.into_inner(),
        unknown.into_inner(),
        machine::resident(service.pid())?,
    );
    wait_for_mails(data, mails)?;
    ensure!(ratio <= WORST, "the customers' p99 is {ratio:.1} times that without the stranger");
    Ok(())
}

/// Results of the customers.
struct Seen {
    p99: Duration,
    registered: usize,
}

/// Customers register, redeem and check in, each step at its pace, and every request succeeds.
#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn customers(port: &str, token: &str, phase: u64) -> Result<Seen> {
    let address = format!("127.0.0.1:{port}");
    let end = Instant::now() + ROUND;
    let work = |customer: u64| -> Result<(Vec<Duration>, usize)> {
        let mut connection = Connection::open(&address)?;
        let (mut times, mut registered) = (Vec::new(), 0);
        let mut call = |path: &str, body: String| -> Result<Value> {
            thread::sleep(PAUSE);
            let sent = Instant::now();
            let bearer = (path == "/register-tenant").then_some(token);
            let response = connection.exchange(&request("POST", path, bearer, &body))?;
            times.push(sent.elapsed());
            let text = String::from_utf8_lossy(&response.body).into_owned();
            ensure!(response.status == 200, "{path}: {} {text}", response.status);
            serde_json::from_str(&text).context("a response is not JSON")
        };
        for number in 0_u64.. {
            if Instant::now() >= end {
                break;
            }
            let name = format!("c{phase}-{customer}-{number}");
            let body = serde_json::json!({
                "company_name": name, "contact_email": format!("{name}@bench.example"),
                "edition": "pro",
            });
            let code = call("/register-tenant", body.to_string())?["install_code"].clone();
            registered += 1;
            let body = serde_json::json!({ "claim_code": code, "appliance_id": name });
            let credential = call("/register", body.to_string())?["appliance_credential"].clone();
            let body = serde_json::json!({ "appliance_credential": credential });
            call("/check-in", body.to_string())?;
        }
        Ok((times, registered))
    };
    let parts = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..CUSTOMERS).map(|it| scope.spawn(move || work(it))).collect();
        let joined = threads.into_iter().map(|it| it.join().ok().context("a thread panicked")?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    let (times, registered): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut times = times.concat();
    times.sort();
    Ok(Seen { p99: quantile(&times, 0.99), registered: registered.into_iter().sum() })
}

/// Runs `work` while the stranger guesses. The stranger's threads have the lowest priority: in the
/// field they run on machines of their own.
fn beside_stranger<T>(
    attack: Attack,
    port: &str,
    (guesses, unknown): (&AtomicU64, &AtomicU64),
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (address, stop) = (format!("[::1]:{port}"), AtomicBool::new(false));
    thread::scope(|scope| {
        let guess = |mut number: u64| {
            setpriority_process(Some(gettid()), 19).ok();
            let mut connections: [Option<Connection>; PER_THREAD] = [const { None }; PER_THREAD];
            for slot in (0..PER_THREAD).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if connections[slot].is_none() {
                    connections[slot] = Connection::open(&address).ok();
                }
                let Some(connection) = &mut connections[slot] else { continue };
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let source = attack.addresses.map(|addresses| (number >> 20) % addresses);
                match connection.exchange(&a_guess(source, number)) {
                    Ok(response) => {
                        guesses.fetch_add(1, Ordering::Relaxed);
                        unknown.fetch_add(u64::from(response.status == 404), Ordering::Relaxed);
                    }
                    Err(_) => connections[slot] = None,
                }
            }
        };
        for number in 0..(attack.connections / PER_THREAD) as u64 {
            let spawn = thread::Builder::new().stack_size(256 * 1024);
            spawn.spawn_scoped(scope, move || guess(number + 1))?;
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Returns a guess, from one of many addresses if a number is given.
#[expect(clippy::cast_possible_truncation, reason = "only some bits are used")]
fn a_guess(source: Option<u64>, number: u64) -> Vec<u8> {
    const LETTERS: &[u8; 30] = b"ABCDEFGHJKMNPQRSTVWXYZ23456789";
    let letter = |position: u32| char::from(LETTERS[(number >> (position * 5)) as usize % 30]);
    let code: String = (0..12).map(letter).collect();
    let body = format!("{{\"claim_code\":\"{code}\",\"appliance_id\":\"a\"}}");
    let mut guess = request("POST", "/register", None, &body);
    if let Some(source) = source {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + (source as u32) * 256);
        let header = format!("x-forwarded-for: {address}\r\n");
        let host = b"host: bench\r\n";
        let at = guess.windows(host.len()).position(|it| it == host).unwrap_or_default();
        guess.splice(at..at, header.into_bytes());
    }
    guess
}

/// Waits until the customers' mails are in the mailbox.
#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn wait_for_mails(data: &Path, expected: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let delivered = std::fs::read_dir(data.join("mailbox"))?.count();
        if delivered >= expected {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{delivered} of {expected} mails were delivered");
        thread::sleep(Duration::from_millis(100));
    }
}
