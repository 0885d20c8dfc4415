//! `registryctl doctor`: checks the configuration and everything that it names, and says for each
//! part what is wrong and what to do. Changes nothing in a registry that exists.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use registry_core::registry::readiness::{Part, PartState};
use registry_core::text::EmailAddress;
use registry_wiring::{Config, DataFolder, Disk};
use serde_json::{Value, json};

use crate::output::Output;

/// Difference of two clocks that is reported, in seconds.
const MAX_SKEW: i64 = 60;

/// Time limit for the public URL.
const URL_TIMEOUT: Duration = Duration::from_secs(5);

/// Free space that the data folder should have, in bytes.
const MIN_SPACE: u64 = 1 << 30;

/// A part, and what is wrong with it.
struct Finding {
    part: &'static str,
    problem: Option<String>,
    remedy: &'static str,
}

impl Finding {
    fn new(part: &'static str, problem: Option<String>, remedy: &'static str) -> Self {
        Self { part, problem, remedy }
    }

    fn of<T>(part: &'static str, result: &anyhow::Result<T>, remedy: &'static str) -> Self {
        Self::new(part, result.as_ref().err().map(|error| format!("{error:#}")), remedy)
    }
}

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Sends a sample mail to this address. Default: connects to the mail server and signs in, but
    /// sends nothing.
    #[arg(long, value_name = "EMAIL")]
    send_to: Option<String>,
}

pub(crate) async fn run(
    config: anyhow::Result<Config>,
    args: &DoctorArgs,
    output: Output,
) -> anyhow::Result<()> {
    let send_to = args.send_to.as_deref().map(EmailAddress::parse).transpose()?;
    let remedy = "Correct the setting; docs/configuration.md lists all of them.";
    let mut findings = vec![Finding::of("configuration", &config, remedy)];
    if let Ok(config) = config {
        findings.extend(examine(&config).await);
        if let Some(to) = send_to {
            let url = DataFolder::public_url(&config);
            let sent = registry_wiring::send_sample(&config, &url, to).await;
            let remedy = "Check `mail.smtp.*` and the sender `mail.from`; the reply says why.";
            findings.push(Finding::of("test_mail", &sent, remedy));
        }
    }
    let row = |finding: &Finding| -> Vec<Value> {
        let is_ok = finding.problem.is_none();
        let state = if is_ok { "ok" } else { "wrong" };
        let remedy = if is_ok { Value::Null } else { json!(finding.remedy) };
        let problem = finding.problem.as_deref();
        let problem = problem.map(|it| if output.json { it.to_owned() } else { one_line(it) });
        vec![json!(finding.part), json!(state), json!(problem), remedy]
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    output.table(&["part", "state", "problem", "remedy"], &rows, &[])?;
    match findings.iter().filter(|finding| finding.problem.is_some()).count() {
        0 => Ok(()),
        wrong => bail!("{wrong} of {} parts are wrong", findings.len()),
    }
}

/// Returns a problem as one line, since a cell of a table has no lines.
fn one_line(problem: &str) -> String {
    problem.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

async fn examine(config: &Config) -> Vec<Finding> {
    let public_url = DataFolder::public_url(config);
    let files = registry_wiring::check(config, &public_url);
    let mut findings = vec![
        Finding::new(
            "files",
            (!files.is_empty()).then(|| files.join("; ")),
            "Create the file, or correct its content or its mode.",
        ),
        disk(config),
        open_files(config),
        database_clock(config).await,
    ];
    if crate::is_new(config) {
        let problem = format!("there is no registry in {}", config.data.display());
        let remedy = "Start registryd once, or name the data folder with --data.";
        findings.push(Finding::new("data_folder", Some(problem), remedy));
        return findings;
    }
    // Without migrations, since a check changes nothing.
    let mut unchanged = config.clone();
    unchanged.database.migrate = false;
    let opened = registry_wiring::build(&unchanged, &public_url).await;
    findings.push(Finding::of(
        "registry",
        &opened,
        "Follow the message. For PostgreSQL, run `registryctl migrate` with the rights of the \
         tables' owner.",
    ));
    if let Ok(app) = opened {
        findings.extend(app.registry.readiness().await.into_iter().map(part));
    }
    findings.push(public(&public_url).await);
    findings
}

fn part(part: Part) -> Finding {
    let problem = match part.state {
        PartState::Ok => None,
        PartState::Down(problem) | PartState::Failed(problem) => Some(problem),
    };
    let remedy = match part.name {
        "database" => "Check `database.*`, the rights of its role, and the disk.",
        "key_ring" => "Run `registryctl keys generate`, then `registryctl keys activate`.",
        "blob_store" => "Check `s3.*`, the rights of its key (put, get, delete), and the network.",
        "mail" => "Check `mail.smtp.*`: host, port, TLS, user and password, and `hello_name`.",
        _ => "Publish an image with `registryctl release publish`, or ignore this without images.",
    };
    Finding::new(part.name, problem, remedy)
}

fn disk(config: &Config) -> Finding {
    let remedy = "Use a local disk, and free space or enlarge it.";
    let problem = match DataFolder::disk(&config.data, config.database.is_postgres()) {
        Err(error) => Some(format!("{error:#}")),
        Ok(Disk { free }) if free < MIN_SPACE => {
            Some(format!("{} has only {} MiB free", config.data.display(), free >> 20))
        }
        Ok(_) => None,
    };
    Finding::new("disk", problem, remedy)
}

fn open_files(config: &Config) -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let connections = config.http.connections * config.files_per_connection();
    let needed = (connections + config.other_files()) as u64;
    let problem = limit.filter(|limit| *limit < needed).map(|limit| {
        format!("a process may open {limit} files; `http.connections` needs {needed}")
    });
    Finding::new("open_files", problem, "Raise LimitNOFILE, or lower `http.connections`.")
}

async fn database_clock(config: &Config) -> Finding {
    let remedy = "Correct the database (see the part `registry`), or set the clocks by NTP.";
    let problem = match registry_wiring::database_clock_skew(config).await {
        Err(error) => Some(format!("{error:#}")),
        Ok(skew) if skew.abs() > MAX_SKEW => {
            Some(format!("the clock of the database is {skew} s ahead of this machine's"))
        }
        Ok(_) => None,
    };
    Finding::new("database_clock", problem, remedy)
}

/// Asks for `/healthz` at the public URL, as a customer would reach it from here.
async fn public(public_url: &str) -> Finding {
    let url = format!("{}/healthz", public_url.trim_end_matches('/'));
    let remedy = "Start registryd; check `public_url`, DNS, the certificate and the proxy.";
    // Fails if the process has a default provider already, which is fine.
    drop(rustls::crypto::ring::default_provider().install_default());
    let asked = async {
        let client = reqwest::Client::builder().timeout(URL_TIMEOUT).build()?;
        anyhow::Ok(client.get(&url).send().await?.status())
    };
    let problem = match asked.await {
        Ok(status) if status.is_success() => None,
        Ok(status) => Some(format!("{url} responds with {status}")),
        Err(error) => Some(format!("{url} cannot be reached: {error:#}")),
    };
    Finding::new("public_url", problem, remedy)
}
