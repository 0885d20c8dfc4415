//! Response times of the web pages on the embedded store, compared to the shortest response of
//! registryd; and a check that response times do not reveal which addresses are known.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::driver::quantile;
use super::progress::{Phase, Progress};
use super::service::{Programs, Service};

/// Number of tenants.
const TENANTS: usize = 10_000;
/// Number of requests for each page.
const RUNS: usize = 400;
/// Number of known addresses, and of unknown ones, that request a sign-in link.
const ADDRESSES: usize = 1_000;
/// Highest median of the response times of a page.
const LIMIT: Duration = Duration::from_millis(5);

/// A registryd, and an HTTP client that sends forms and cookies to it.
struct Browser {
    service: Service,
    client: Client,
}

impl Browser {
    /// Starts registryd on the embedded store, with or without its mail worker.
    fn start(programs: &Programs, data: &Path, mail_worker: &str) -> Result<Self> {
        let unlimited = "1000000";
        let environment = [
            ("REGISTRY_RATE_LIMIT_MAILS", unlimited),
            ("REGISTRY_RATE_LIMIT_CODE_GUESSES", unlimited),
            ("REGISTRY_MAIL_WORKER", mail_worker),
        ];
        let service = Service::start(programs, data, &environment)?;
        let client = Client::builder().no_proxy().redirect(Policy::none()).build()?;
        Ok(Self { service, client })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address())
    }

    fn get(&self, path: &str, cookie: &str) -> RequestBuilder {
        self.client.get(self.url(path)).header("cookie", cookie)
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        self.client.post(self.url(path)).form(form)
    }

    /// Sends a form that signs in, and returns the session's cookie.
    fn sign_in(&self, path: &str, form: &[(&str, &str)]) -> Result<String> {
        let response = self.post(path, form).send()?;
        let cookie = response.headers().get("set-cookie").context("no session")?.to_str()?;
        Ok(cookie.split(';').next().unwrap_or_default().to_owned())
    }
}

/// Returns the phase of this part.
pub(super) fn phase() -> Phase {
    let name = "response times of the pages on the embedded store".to_owned();
    Phase { name, expected: Duration::from_mins(2) }
}

/// Measures the pages and prints the tables.
///
/// # Errors
/// If a median is above the limit, or response times reveal known addresses.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let data = folder.path().join("data");
    let browser = Browser::start(programs, &data, "true")?;
    progress.report("pages: registering tenants");
    register(&browser)?;
    progress.report("pages: waiting until the mails are delivered");
    wait_for_mails(&data, TENANTS)?;
    progress.report("pages: response times");
    measure_pages(programs, &browser, &data)?;
    drop(browser);
    progress.report("pages: known and unknown addresses");
    compare_addresses(&Browser::start(programs, &data, "false")?)
}

fn contact(number: usize) -> String {
    format!("contact{number}@example.com")
}

/// Registers tenants with a paid edition, and redeems their codes, so each has an appliance with a
/// license. registryd mails each tenant its code.
fn register(browser: &Browser) -> Result<()> {
    for number in 0..TENANTS {
        let company = format!("Company {number}");
        let body = json!({
            "company_name": company, "contact_email": contact(number), "edition": "pro"
        });
        let request = browser
            .client
            .post(browser.url("/register-tenant"))
            .bearer_auth(browser.service.token());
        let issued: Value = request.json(&body).send()?.error_for_status()?.json()?;
        let appliance = format!("appliance-{number}");
        let body = json!({ "claim_code": issued["install_code"], "appliance_id": appliance });
        browser.client.post(browser.url("/register")).json(&body).send()?.error_for_status()?;
    }
    Ok(())
}

/// Measures each page.
fn measure_pages(programs: &Programs, browser: &Browser, data: &Path) -> Result<()> {
    let token = operator_token(programs, data)?;
    let console = browser.sign_in("/console/sign-in", &[("token", &token)])?;
    browser.post("/portal/sign-in", &[("email", &contact(7))]).send()?.error_for_status()?;
    let portal = browser.sign_in(&sign_in_link(data)?, &[])?;
    let page = browser.get("/console?query=contact7%40", &console).send()?.text()?;
    let (_, rest) = page
        .split_once("tenants&#x2f;")
        .with_context(|| format!("the page lists no tenant: {page}"))?;
    let tenant = rest.split('"').next().unwrap_or_default().to_owned();

    println!(
        "Pages: {RUNS} requests each over one connection; {TENANTS} tenants in the embedded store, \
         each with an appliance and a mail; release build"
    );
    println!("{:28}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p99", "× floor", "bytes");
    let mut floor = Duration::ZERO;
    for (path, cookie) in [
        ("/healthz", ""),
        ("/signup", ""),
        ("/portal/sign-in", ""),
        ("/portal", portal.as_str()),
        (&format!("/portal/tenants/{tenant}/reissue"), &portal),
        ("/console", &console),
        ("/console?query=company+99", &console),
        ("/console?query=nobody", &console),
        ("/console?status=cancelled", &console),
        (&format!("/console/tenants/{tenant}"), &console),
        ("/console/mails", &console),
        ("/console/mails?state=dead", &console),
        ("/console/not-checking-in", &console),
        ("/console/audit", &console),
        ("/console/releases", &console),
    ] {
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..RUNS {
            let (time, status, length) = measure(browser.get(path, cookie))?;
            ensure!(status == 200, "{path}: {status}");
            times.push(time);
            size = length;
        }
        times.sort();
        let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
        floor = if floor.is_zero() { p50 } else { floor };
        let ratio = p50.as_secs_f64() / floor.as_secs_f64();
        let name = path.replace(&tenant, "{id}");
        println!(
            "{name:28}{:>10}{:>10}{ratio:>10.1}{size:>10}",
            format_time(p50),
            format_time(p99)
        );
        ensure!(p50 <= LIMIT, "{path}: the median is above {}", format_time(LIMIT));
    }
    Ok(())
}

/// Measures requests for a sign-in link, of known and unknown addresses in turn. Each kind follows
/// its own kind as often as the other, so the work that a request leaves behind delays both kinds
/// alike. After each request comes one that writes; its time must not reveal the kind either.
fn compare_addresses(browser: &Browser) -> Result<()> {
    let [mut links, mut writes] = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for number in 0..2 * ADDRESSES {
        let kind = usize::from(number % 4 >= 2);
        let email =
            if kind == 0 { contact(100 + number) } else { format!("nobody{number}@example.com") };
        let (time, status, _) = measure(browser.post("/portal/sign-in", &[("email", &email)]))?;
        ensure!(status == 200, "{email}: {status}");
        links[kind].push(time);
        let unknown = json!({ "claim_code": "K7QP-M2RX-9TDV", "appliance_id": "bench" });
        let (time, status, _) =
            measure(browser.client.post(browser.url("/register")).json(&unknown))?;
        ensure!(status == 404, "an unknown code: {status}");
        writes[kind].push(time);
    }
    println!(
        "Requests for a sign-in link, {ADDRESSES} known and {ADDRESSES} unknown addresses; \
         and the request after each, which writes"
    );
    println!("{:28}{:>10}{:>10}{:>10}", "", "p10", "p50", "p90");
    compare(["known address", "unknown address"], links)?;
    compare(["after a known address", "after an unknown address"], writes)
}

/// Prints the times of two kinds of requests, and fails if the times reveal the kind.
fn compare(names: [&str; 2], mut times: [Vec<Duration>; 2]) -> Result<()> {
    for (name, times) in names.iter().zip(&mut times) {
        times.sort();
        let [p10, p50, p90] = [0.1, 0.5, 0.9].map(|share| format_time(quantile(times, share)));
        println!("{name:28}{p10:>10}{p50:>10}{p90:>10}");
    }
    let [known, unknown] = times;
    let difference = quantile(&known, 0.5).abs_diff(quantile(&unknown, 0.5));
    let spread = quantile(&unknown, 0.9).saturating_sub(quantile(&unknown, 0.1));
    println!(
        "difference of the medians: {}; spread of one kind (p10 to p90): {}",
        format_time(difference),
        format_time(spread)
    );
    ensure!(difference < spread, "response times reveal which addresses are known");
    Ok(())
}

/// Sends a request, and returns its response time, its status and the length of its body.
#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn measure(request: RequestBuilder) -> Result<(Duration, u16, usize)> {
    let start = Instant::now();
    let response = request.send()?;
    let (status, body) = (response.status().as_u16(), response.bytes()?);
    Ok((start.elapsed(), status, body.len()))
}

fn operator_token(programs: &Programs, data: &Path) -> Result<String> {
    let mut command = Command::new(&programs.registryctl);
    command
        .arg("--data")
        .arg(data)
        .args(["--json", "token", "create", "bench", "--role", "operator"]);
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", programs.registryctl.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let created: Value = serde_json::from_slice(&output.stdout)?;
    // registryd reads new tokens every two seconds.
    std::thread::sleep(Duration::from_secs(4));
    Ok(created["token"].as_str().context("no token")?.to_owned())
}

/// Waits until `count` mails are in the mailbox, and returns the newest.
fn wait_for_mails(data: &Path, count: usize) -> Result<PathBuf> {
    for _ in 0..600 {
        let files = std::fs::read_dir(data.join("mailbox"))?
            .map(|file| Ok(file?.path()))
            .collect::<Result<Vec<_>>>()?;
        let mails = files
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
        let mails: Vec<_> = mails.collect();
        if mails.len() >= count {
            return mails.into_iter().max().context("the mailbox is empty");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    anyhow::bail!("fewer than {count} mails arrived within ten minutes")
}

/// Returns the path of the sign-in link in the newest mail.
fn sign_in_link(data: &Path) -> Result<String> {
    let text = std::fs::read_to_string(wait_for_mails(data, TENANTS + 1)?)?.replace("=\r\n", "");
    let (_, rest) = text.split_once("/portal/sign-in/").context("the mail has no link")?;
    Ok(format!("/portal/sign-in/{}", rest.get(..64).context("the link is too short")?))
}

fn format_time(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
