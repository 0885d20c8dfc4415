//! A load on registryd that remembers what it was answered, and what the database must then hold.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use throwaway_postgres::{fresh_name, sql};

use crate::common::{self, Server, text};

/// How many callers there are at once.
const CALLERS: usize = 6;

/// A fresh database in the cluster of this run; registryd makes its tables.
pub(crate) fn database() -> String {
    let cluster = throwaway_postgres::test_cluster();
    let name = fresh_name("registry");
    sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}")).unwrap();
    format!("{cluster}/{name}")
}

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Starts registryd where `REGISTRY_LISTEN` says.
pub(crate) fn start_where_told(data: &Path, environment: &[(&str, &str)]) -> Server {
    common::start_with(common::command_without_address(data, environment), data)
}

/// Waiting times that look random and are the same in every run: of 0.2 to 0.9 seconds.
pub(crate) fn pauses(seed: u64, count: usize) -> Vec<Duration> {
    let next = |state: &mut u64| {
        // Knuth's multiplier (TAOCP 3.3.4).
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some(Duration::from_millis(200 + (*state >> 33) % 700))
    };
    std::iter::from_fn({
        let mut state = seed;
        move || next(&mut state)
    })
    .take(count)
    .collect()
}

/// Waits until the database answers through registryd.
pub(crate) fn until_served(server: &Server) {
    for _ in 0..500 {
        if server.get("/tenants").bearer_auth(&server.token).send().unwrap().status() == 200 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("service does not resume");
}

/// What must hold whatever happened.
pub(crate) fn check(url: &str) {
    for (rule, count) in [
        (
            "every consumed code has its audit line",
            "SELECT count(*) FROM install_codes c WHERE consumed_at IS NOT NULL AND 1 <> \
             (SELECT count(*) FROM audit a WHERE a.code_id = c.id AND a.action = 'code_redeemed')",
        ),
        (
            "every consumed paid code has its appliance with a credential",
            "SELECT count(*) FROM install_codes c WHERE consumed_at IS NOT NULL AND entitlement_id IS NOT NULL AND \
             NOT EXISTS (SELECT 1 FROM appliances a JOIN credentials r ON (r.tenant_id, r.appliance_id) = \
             (a.tenant_id, a.id) WHERE (a.tenant_id, a.id) = (c.tenant_id, c.consumed_by))",
        ),
        (
            "every registered tenant has a code and a mail",
            "SELECT count(*) FROM tenants t WHERE NOT EXISTS (SELECT 1 FROM install_codes c WHERE c.tenant_id = t.id) \
             OR NOT EXISTS (SELECT 1 FROM mails m WHERE m.tenant_id = t.id)",
        ),
        (
            "a tenant is installed exactly when a code of it was redeemed",
            "SELECT count(*) FROM tenants t WHERE (t.status = 'registered') = \
             EXISTS (SELECT 1 FROM install_codes c WHERE c.tenant_id = t.id AND c.consumed_at IS NOT NULL)",
        ),
    ] {
        assert_eq!(sql(url, count).unwrap(), "0", "broken: {rule}");
    }
}

/// What callers were answered with a 200.
#[derive(Default)]
pub(crate) struct Answered {
    /// Tenants and their codes.
    registered: Vec<(String, String)>,
    /// How often each code was redeemed.
    wins: BTreeMap<String, usize>,
}

impl Answered {
    /// Holds the database against what was answered, of which there must be so much at least.
    pub(crate) fn verify(&self, url: &str, least: usize) {
        assert!(
            self.registered.len() >= least,
            "only {} registrations were answered",
            self.registered.len()
        );
        assert!(self.wins.len() >= least / 2, "only {} redemptions were answered", self.wins.len());
        assert!(self.wins.values().all(|&wins| wins == 1), "a code has two winners");
        let tenants = sql(url, "SELECT id FROM tenants").unwrap();
        let tenants: std::collections::BTreeSet<&str> = tenants.lines().collect();
        for (tenant, _) in &self.registered {
            assert!(
                tenants.contains(tenant.as_str()),
                "an answered registration is lost: {tenant}"
            );
        }
        let consumed = "SELECT count(*) FROM install_codes WHERE consumed_at IS NOT NULL";
        let consumed: usize = sql(url, consumed).unwrap().parse().unwrap();
        assert!(consumed >= self.wins.len(), "an answered redemption is lost");
    }
}

/// Callers that register, and redeem each code twice at once, until they are stopped; what fails
/// they try no more.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Answered>>,
}

impl Load {
    pub(crate) fn start(address: &str, token: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |number| {
            let (stop, url, token) = (stop.clone(), format!("http://{address}"), token.to_owned());
            std::thread::spawn(move || call(number, &url, &token, &stop))
        };
        Self { callers: (0..CALLERS).map(caller).collect(), stop }
    }

    pub(crate) fn stop(self) -> Answered {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Answered::default();
        for caller in self.callers {
            let one = caller.join().unwrap();
            all.registered.extend(one.registered);
            all.wins.extend(one.wins);
        }
        all
    }
}

fn call(number: usize, url: &str, token: &str, stop: &AtomicBool) -> Answered {
    let client = common::client(Duration::from_secs(20));
    let mut answered = Answered::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = json!({
            "company_name": format!("Company {number} {round}"), "contact_email": "c@example.com", "edition": "pro",
        });
        let Some(body) =
            ask(client.post(format!("{url}/register-tenant")).bearer_auth(token).json(&body))
        else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let code = text(&body["install_code"]);
        answered.registered.push((text(&body["tenant_id"]), code.clone()));
        let redeem = |appliance: &str| {
            let body = json!({ "claim_code": code, "appliance_id": appliance });
            ask(client.post(format!("{url}/register")).json(&body)).is_some()
        };
        let wins = std::thread::scope(|scope| {
            let twins = [scope.spawn(|| redeem("a")), scope.spawn(|| redeem("b"))];
            twins.into_iter().map(|twin| usize::from(twin.join().unwrap())).sum()
        });
        if wins > 0 {
            answered.wins.insert(code, wins);
        }
    }
    answered
}

/// The body of a 200; a refusal and a broken connection are none. What is neither a refusal nor a
/// 503 is a defect.
fn ask(call: reqwest::blocking::RequestBuilder) -> Option<Value> {
    let response = call.send().ok()?;
    let status = response.status().as_u16();
    assert!(matches!(status, 200 | 409 | 503), "{status}: {}", response.text().unwrap_or_default());
    if status == 200 { response.json().ok() } else { None }
}
