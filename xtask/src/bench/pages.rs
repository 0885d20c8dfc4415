//! How long the pages take on the embedded store, beside the shortest answer that registryd has;
//! and whether the time of an answer tells known addresses from unknown ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::driver::quantile;
use super::service::Service;
use crate::run;

/// How many tenants there are.
const TENANTS: usize = 10_000;
/// How often each page is asked for.
const RUNS: usize = 400;
/// How many known and how many unknown addresses ask for a link.
const ASKS: usize = 1_000;
/// What half of the answers of a page may take at most.
const LIMIT: Duration = Duration::from_millis(5);

/// A browser's part of HTTP.
struct Browser {
    service: Service,
    client: Client,
}

impl Browser {
    /// With registryd on its own store.
    fn start(data: &Path, mails: &str) -> Result<Self> {
        let much = "1000000";
        let environment = [
            ("REGISTRY_DOOR_ASKS", much),
            ("REGISTRY_GUESSES_LIMIT", much),
            ("REGISTRY_MAIL_WORKER", mails),
        ];
        let service = Service::start(data, &environment)?;
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

    /// Sends a form that signs in; the cookie.
    fn sign_in(&self, path: &str, form: &[(&str, &str)]) -> Result<String> {
        let answer = self.post(path, form).send()?;
        let cookie = answer.headers().get("set-cookie").context("no session")?.to_str()?;
        Ok(cookie.split(';').next().unwrap_or_default().to_owned())
    }
}

/// Prints the tables.
pub(super) fn run() -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let data = folder.path().join("data");
    let browser = Browser::start(&data, "true")?;
    register(&browser)?;
    pages(&browser, &data)?;
    drop(browser);
    addresses(&Browser::start(&data, "false")?)
}

fn contact(number: usize) -> String {
    format!("contact{number}@example.com")
}

/// Registers paid tenants, mails each its code, and redeems it: each has an appliance with a
/// license.
fn register(browser: &Browser) -> Result<()> {
    for number in 0..TENANTS {
        let body = json!({ "company_name": format!("Company {number}"), "contact_email": contact(number), "edition": "pro" });
        let asked = browser
            .client
            .post(browser.url("/register-tenant"))
            .bearer_auth(browser.service.token());
        let issued: Value = asked.json(&body).send()?.error_for_status()?.json()?;
        let body = json!({ "claim_code": issued["install_code"], "appliance_id": format!("appliance-{number}") });
        browser.client.post(browser.url("/register")).json(&body).send()?.error_for_status()?;
    }
    Ok(())
}

/// Measures every page.
fn pages(browser: &Browser, data: &Path) -> Result<()> {
    mailed(data, TENANTS)?;
    let token = operator_token(data)?;
    let console = browser.sign_in("/console/sign-in", &[("token", &token)])?;
    browser.post("/portal/sign-in", &[("email", &contact(7))]).send()?.error_for_status()?;
    let portal = browser.sign_in(&mailed_link(data)?, &[])?;
    let shown = browser.get("/console?query=contact7%40", &console).send()?.text()?;
    let (_, rest) = shown
        .split_once("tenants&#x2f;")
        .with_context(|| format!("no tenant is shown: {shown}"))?;
    let tenant = rest.split('"').next().unwrap_or_default().to_owned();

    println!(
        "pages, {TENANTS} tenants with an appliance and a mail each in the embedded store, {RUNS} requests each, one connection, release build"
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
        ("/console/silent", &console),
        ("/console/audit", &console),
        ("/console/releases", &console),
    ] {
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..RUNS {
            let (time, status, body) = timed(browser.get(path, cookie))?;
            ensure!(status == 200, "{path}: {status}");
            times.push(time);
            size = body;
        }
        times.sort();
        let (half, most) = (quantile(&times, 0.5), quantile(&times, 0.99));
        floor = if floor.is_zero() { half } else { floor };
        let ratio = half.as_secs_f64() / floor.as_secs_f64();
        let name = path.replace(&tenant, "{id}");
        println!(
            "{name:28}{:>10}{:>10}{ratio:>10.1}{size:>10}",
            shown_time(half),
            shown_time(most)
        );
        ensure!(half <= LIMIT, "{path}: the median is over {}", shown_time(LIMIT));
    }
    Ok(())
}

/// Known and unknown addresses ask in turn, each kind as often behind its own as behind the other:
/// what one leaves to be done must not be taken for the next one's. After each, a request that
/// writes: it must not feel what the ask left.
fn addresses(browser: &Browser) -> Result<()> {
    let [mut asks, mut nexts] = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for number in 0..2 * ASKS {
        let kind = usize::from(number % 4 >= 2);
        let email =
            if kind == 0 { contact(100 + number) } else { format!("nobody{number}@example.com") };
        let (time, status, _) = timed(browser.post("/portal/sign-in", &[("email", &email)]))?;
        ensure!(status == 200, "{email}: {status}");
        asks[kind].push(time);
        let unknown = json!({ "claim_code": "K7QP-M2RX-9TDV", "appliance_id": "bench" });
        let (time, status, _) =
            timed(browser.client.post(browser.url("/register")).json(&unknown))?;
        ensure!(status == 404, "an unknown code: {status}");
        nexts[kind].push(time);
    }
    println!(
        "a link that signs in is asked for, {ASKS} known and {ASKS} unknown addresses; and the next request, which writes"
    );
    println!("{:28}{:>10}{:>10}{:>10}", "", "p10", "p50", "p90");
    alike(["known", "unknown"], asks)?;
    alike(["after a known one", "after an unknown one"], nexts)
}

/// Prints both, and fails where they can be told apart.
fn alike(names: [&str; 2], mut times: [Vec<Duration>; 2]) -> Result<()> {
    for (name, times) in names.iter().zip(&mut times) {
        times.sort();
        let [low, half, high] = [0.1, 0.5, 0.9].map(|share| shown_time(quantile(times, share)));
        println!("{name:28}{low:>10}{half:>10}{high:>10}");
    }
    let [known, unknown] = times;
    let difference = quantile(&known, 0.5).abs_diff(quantile(&unknown, 0.5));
    let noise = quantile(&unknown, 0.9).saturating_sub(quantile(&unknown, 0.1));
    let (shown, spread) = (shown_time(difference), shown_time(noise));
    println!("difference of the medians {shown}, spread of one kind (p10 to p90) {spread}");
    ensure!(difference < noise, "the time tells known addresses from unknown ones");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn timed(request: RequestBuilder) -> Result<(Duration, u16, usize)> {
    let begun = Instant::now();
    let answer = request.send()?;
    let (status, body) = (answer.status().as_u16(), answer.bytes()?);
    Ok((begun.elapsed(), status, body.len()))
}

fn operator_token(data: &Path) -> Result<String> {
    let mut command = Command::new(run::target().join("release").join("registryctl"));
    command
        .arg("--data")
        .arg(data)
        .args(["--json", "token", "create", "bench", "--role", "operator"]);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout)?;
    // registryd looks for new tokens every two seconds.
    std::thread::sleep(Duration::from_secs(4));
    Ok(said["token"].as_str().context("no token")?.to_owned())
}

/// The newest mail, once so many have come.
fn mailed(data: &Path, count: usize) -> Result<PathBuf> {
    for _ in 0..600 {
        let files = std::fs::read_dir(data.join("mailbox"))?
            .map(|file| Ok(file?.path()))
            .collect::<Result<Vec<_>>>()?;
        let mails = files
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
        let mails: Vec<_> = mails.collect();
        if mails.len() >= count {
            return mails.into_iter().max().context("no mail is wanted");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    anyhow::bail!("{count} mails did not come within ten minutes")
}

/// The path of the link in the newest mail.
fn mailed_link(data: &Path) -> Result<String> {
    let text = std::fs::read_to_string(mailed(data, TENANTS + 1)?)?.replace("=\r\n", "");
    let (_, rest) = text.split_once("/portal/sign-in/").context("no link in the mail")?;
    Ok(format!("/portal/sign-in/{}", rest.get(..64).context("the link is cut")?))
}

fn shown_time(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
