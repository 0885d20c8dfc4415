//! The outbox with real mail servers: outages, kills and shutdowns during delivery, and several
//! processes at the same time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Server, read_response, start, text};
use databases::{Environment, on_both_databases, with};
use external::holding_smtp::HoldingSmtp;
use external::{ExternalServers, as_refs, message_id, wait_until, wait_until_mails_are_settled};
use serde_json::{Value, json};

on_both_databases!(
    outage_of_mail_and_images_blocks_nothing,
    killed_worker_repeats_only_mail_in_flight,
    sigterm_finishes_only_mail_in_flight,
    refused_mail_is_given_up,
);

/// Registers company number `number` with this contact.
fn register(server: &Server, number: usize, email: &str) -> Value {
    let company = format!("Company {number:03}");
    let body = json!({ "company_name": company, "contact_email": email, "edition": "pro" });
    let (status, body) = server.post_as_service("/register-tenant", &body);
    assert_eq!(status, 200, "{body}");
    body
}

/// R-health-2, R-health-3: requests succeed, readiness says what is down, and the mails are sent
/// when the server is back. R-register-tenant-9: the mail is sent after the transaction.
fn outage_of_mail_and_images_blocks_nothing(environment: Environment) {
    let mut external = ExternalServers::start();
    let data = tempfile::tempdir().unwrap();
    let servers = external.environment(&["smtp", "s3"]);
    let environment = with(environment, &as_refs(&servers));
    let server = start(data.path(), &environment);
    external::publish(data.path(), &environment, b"the image");
    assert_eq!(server.get_as_service("/readyz").1["status"], "ready");
    external.smtp.stop();
    external.s3.stop();
    let mut expected = Vec::new();
    for number in 0..20 {
        let email = format!("contact-{number}@example.com");
        let issued = register(&server, number, &email);
        let link = text(&issued["download_url"]);
        assert!(link.contains("X-Amz-Signature="), "a link needs no store: {link}");
        let (status, redeemed) = server.redeem(&text(&issued["install_code"]));
        assert_eq!(status, 200, "{redeemed}");
        let (status, checked_in) = server.check_in(&text(&redeemed["appliance_credential"]));
        assert_eq!((status, &checked_in["status"]), (200, &json!("ok")));
        expected.push(email);
    }
    wait_until("degraded readiness", || server.get_as_service("/readyz").1["status"] == "degraded");
    let (status, ready) = server.get_as_service("/readyz");
    assert_eq!(status, 200);
    let is_down = |name: &str| {
        let parts = ready["parts"].as_array().unwrap();
        parts.iter().any(|part| part["name"] == name && part["state"] == "down")
    };
    assert!(is_down("mail") && is_down("blob_store") && !is_down("database"), "{ready}");
    assert_eq!(external.smtp.received(), []);
    external.smtp.resume().unwrap();
    external.s3.resume().unwrap();
    wait_until_mails_are_settled(data.path(), &environment);
    let mut arrived: Vec<String> =
        external.smtp.received().into_iter().flat_map(|mail| mail.to).collect();
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected, "each once");
}

/// Counts the deliveries of each mail, by its `Message-ID`.
fn deliveries<'a>(mails: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, usize> {
    let mut deliveries = BTreeMap::new();
    for mail in mails {
        *deliveries.entry(message_id(mail)).or_default() += 1;
    }
    deliveries
}

fn killed_worker_repeats_only_mail_in_flight(environment: Environment) {
    let smtp = HoldingSmtp::start(2);
    let data = tempfile::tempdir().unwrap();
    let servers = smtp.environment();
    let environment = with(environment, &as_refs(&servers));
    // The lease of the mail in flight depends on the time limit, and must end during the test.
    let environment = with(&environment, &[("REGISTRY_MAIL_SMTP_TIMEOUT", "5s")]);
    let server = start(data.path(), &environment);
    for number in 0..4 {
        register(&server, number, &format!("contact-{number}@example.com"));
    }
    wait_until("the second mail", || smtp.mails().len() == 2);
    server.kill();
    smtp.release();
    let server = start(data.path(), &environment);
    wait_until_mails_are_settled(data.path(), &environment);
    let mails = smtp.mails();
    let deliveries = deliveries(&mails);
    assert_eq!(deliveries.len(), 4, "no mail is lost: {deliveries:?}");
    let in_flight = message_id(&mails[1]);
    for (id, count) in &deliveries {
        assert_eq!(*count, if *id == in_flight { 2 } else { 1 }, "{id}: {deliveries:?}");
    }
    drop(server);
}

fn sigterm_finishes_only_mail_in_flight(environment: Environment) {
    let smtp = HoldingSmtp::start(1);
    let data = tempfile::tempdir().unwrap();
    let servers = smtp.environment();
    let environment = with(environment, &as_refs(&servers));
    let mut server = start(data.path(), &environment);
    for number in 0..3 {
        register(&server, number, &format!("contact-{number}@example.com"));
    }
    wait_until("the first mail", || smtp.mails().len() == 1);
    server.terminate();
    server.wait_until_closed();
    smtp.release();
    assert!(server.ended());
    assert_eq!(smtp.mails().len(), 1);
    let server = start(data.path(), &environment);
    wait_until_mails_are_settled(data.path(), &environment);
    server.stop();
    let mails = smtp.mails();
    assert!(mails.len() == 3 && deliveries(&mails).len() == 3, "each once: {mails:?}");
}

/// A permanent refusal makes a mail a dead letter, a transient one delays it, and neither delays
/// other mails.
fn refused_mail_is_given_up(environment: Environment) {
    let external = ExternalServers::start();
    let data = tempfile::tempdir().unwrap();
    let servers = external.environment(&["smtp"]);
    let server = start(data.path(), &with(environment, &as_refs(&servers)));
    let quoting = text(&register(&server, 0, "quoting@example.com")["install_code"]);
    register(&server, 1, "unknown@example.com");
    register(&server, 2, "busy-1@example.com");
    register(&server, 3, "odd@example.com");
    register(&server, 4, "ada@example.com");
    wait_until("two mails", || external.smtp.count() == 2);
    assert_eq!(external.smtp.received()[1].to, ["ada@example.com"], "no mail delays the others");
    wait_until("three dead letters in the log", || {
        server.log.lock().unwrap().matches("mail given up").count() == 3
    });
    let log = server.log.lock().unwrap().clone();
    for part in [
        "no such user",
        "(550): the response is not stored",
        "try again later",
        "it may have arrived",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains(&quoting), "the server quoted the mail, and the log must not");
}

#[test]
fn missing_smtp_password_gives_up_no_mail() {
    let external = ExternalServers::start();
    let data = tempfile::tempdir().unwrap();
    let servers = external.environment(&["smtp"]);
    let mut anonymous = as_refs(&servers);
    anonymous.retain(|(name, _)| {
        !matches!(*name, "REGISTRY_MAIL_SMTP_USERNAME" | "REGISTRY_MAIL_SMTP_PASSWORD")
    });
    let server = start(data.path(), &anonymous);
    register(&server, 0, "ada@example.com");
    wait_until("two attempts in the log", || {
        server.log.lock().unwrap().matches("no mail can be sent").count() >= 2
    });
    assert!(server.log.lock().unwrap().contains("authentication required"));
    drop(server);
    let server = start(data.path(), &as_refs(&servers));
    wait_until("the mail", || external.smtp.count() == 1);
    drop(server);
}

/// R-health-2: mail is not a required part.
#[test]
fn silent_mail_server_only_degrades_readiness() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let environment =
        [("REGISTRY_MAIL_SMTP_HOST", "localhost"), ("REGISTRY_MAIL_SMTP_PORT", &port)];
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &environment);
    for _ in 0..2 {
        let (status, ready) = server.get_as_service("/readyz");
        assert_eq!((status, &ready["status"]), (200, &json!("degraded")));
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate is printed, and decides nothing")]
#[test]
fn many_mails_are_sent_once_on_postgres() {
    let count = if std::env::var_os("SOAK").is_some() { 10_000 } else { 1_000 };
    let external = ExternalServers::start();
    let servers = external.environment(&["smtp"]);
    let database = fleet::database();
    // Three processes with four workers each: leases that did not exclude each other would show.
    let environment = with(
        &as_refs(&servers),
        &[("REGISTRY_DATABASE_URL", &database), ("REGISTRY_MAIL_PARALLEL", "4")],
    );
    let data = tempfile::tempdir().unwrap();
    let without_worker =
        start(data.path(), &with(&environment, &[("REGISTRY_MAIL_WORKER", "false")]));
    std::thread::scope(|scope| {
        for part in 0..8 {
            let server = &without_worker;
            scope.spawn(move || {
                for number in (part..count).step_by(8) {
                    register(server, number, &format!("contact-{number}@example.com"));
                }
            });
        }
    });
    let begun = std::time::Instant::now();
    let processes: Vec<_> = (0..3).map(|_| start(data.path(), &environment)).collect();
    wait_until("all mails", || external.smtp.count() >= count);
    let took = begun.elapsed().as_secs_f64();
    let unsettled = "SELECT count(*) FROM mails WHERE state <> 'sent' OR sealed IS NOT NULL";
    wait_until("all mails to be settled", || {
        throwaway_postgres::sql(&database, unsettled).unwrap() == "0"
    });
    // A process finishes the mails in flight before it ends.
    for process in processes {
        process.stop();
    }
    let received = external.smtp.received();
    let mut recipients: Vec<_> = received.iter().flat_map(|mail| mail.to.clone()).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!((received.len(), recipients.len()), (count, count), "each once");
    let rate = f64::from(u32::try_from(count).unwrap()) / took;
    eprintln!(
        "three processes, four workers each, sent {count} mails in {took:.1} s: {rate:.0} a second"
    );
    drop(without_worker);
}

#[test]
fn mail_uses_starttls_and_password() {
    let external = ExternalServers::start();
    let data = tempfile::tempdir().unwrap();
    let servers = external.environment(&["smtp", "s3"]);
    let environment = as_refs(&servers);
    let server = start(data.path(), &environment);
    external::publish(data.path(), &environment, b"the image");
    register(&server, 0, "ada@example.com");
    wait_until("the mail", || external.smtp.count() > 0);
    let mail = external.smtp.received().remove(0);
    assert!(mail.tls && mail.authenticated);
    let path = external::download_path(&mail.raw);
    let redirect = server.get(&path).send().unwrap();
    assert_eq!(redirect.status(), 302);
    assert_eq!(redirect.headers()["cache-control"], "no-store");
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    let image = common::client(Duration::from_secs(20)).get(location).send().unwrap();
    assert_eq!(image.bytes().unwrap(), "the image");
    assert_eq!(
        read_response(server.get("/download/nonsense").send().unwrap()).1["code"],
        "invalid_link"
    );
}
