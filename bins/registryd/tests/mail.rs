//! The outbox against a real mail server: down and up again, kills in the middle of sending, many
//! processes at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;

use std::collections::BTreeMap;
use std::time::Duration;

use both::{Environment, on_both_databases, with};
use common::{Server, answer, start, text};
use outside::{Outside, message_id, wait_until};
use serde_json::{Value, json};
use throwaway_servers::SmtpServer;

on_both_databases!(
    everything_succeeds_while_mail_and_images_are_down_and_all_mails_go_out_in_order_when_they_are_back,
    a_worker_that_is_killed_while_it_sends_loses_no_mail_and_repeats_the_one_in_flight_at_most,
    at_sigterm_the_mail_in_flight_is_finished_and_no_other_begun,
    what_the_server_refuses_for_good_is_given_up_and_what_it_is_too_busy_for_arrives_later,
);

fn register(server: &Server, number: usize, email: &str) -> Value {
    let company = format!("Company {number:03}");
    let body = json!({ "company_name": company, "contact_email": email, "edition": "pro" });
    let (status, body) = server.service("/register-tenant", &body);
    assert_eq!(status, 200, "{body}");
    body
}

fn everything_succeeds_while_mail_and_images_are_down_and_all_mails_go_out_in_order_when_they_are_back(
    environment: Environment,
) {
    let mut outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp", "s3"]);
    let told = with(environment, &outside::refs(&told));
    let server = start(data.path(), &told);
    outside::publish(data.path(), &told, b"the image");
    assert_eq!(server.look("/readyz").1["status"], "ready");
    outside.smtp.stop();
    outside.s3.stop();
    let mut expected = Vec::new();
    for number in 0..20 {
        let email = format!("contact-{number}@example.com");
        let issued = register(&server, number, &email);
        assert!(text(&issued["download_url"]).contains("X-Amz-Signature="), "links need no store");
        let (status, redeemed) = server.redeem(&text(&issued["install_code"]));
        assert_eq!(status, 200, "{redeemed}");
        let (status, checked_in) = server.check_in(&text(&redeemed["appliance_credential"]));
        assert_eq!((status, &checked_in["status"]), (200, &json!("ok")));
        expected.push(email);
    }
    wait_until("readiness", || server.look("/readyz").1["status"] == "degraded");
    let (status, ready) = server.look("/readyz");
    assert_eq!(status, 200);
    let down = |name: &str| {
        ready["parts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["name"] == name && it["state"] == "down")
    };
    assert!(down("mail") && down("blob_store") && !down("database"), "{ready}");
    assert_eq!(outside.smtp.received(), []);
    outside.smtp.resume().unwrap();
    outside.s3.resume().unwrap();
    wait_until("the mails", || outside.smtp.count() >= 20);
    std::thread::sleep(Duration::from_secs(1));
    let arrived: Vec<String> =
        outside.smtp.received().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(arrived, expected, "each once, oldest first");
}

/// How often each mail arrived, by its `Message-ID`.
fn arrivals(smtp: &SmtpServer) -> BTreeMap<String, usize> {
    let mut arrivals = BTreeMap::new();
    for mail in smtp.received() {
        *arrivals.entry(message_id(&mail.raw)).or_default() += 1;
    }
    arrivals
}

fn a_worker_that_is_killed_while_it_sends_loses_no_mail_and_repeats_the_one_in_flight_at_most(
    environment: Environment,
) {
    let outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp"]);
    let told = with(environment, &outside::refs(&told));
    let server = start(data.path(), &with(&told, &[("REGISTRY_MAIL_SMTP_TIMEOUT", "3s")]));
    for number in 0..4 {
        register(&server, number, &format!("slow-{number}@example.com"));
    }
    // The second one is on its way then: the server takes two seconds for each.
    wait_until("the first mail", || outside.smtp.count() > 0);
    std::thread::sleep(Duration::from_millis(700));
    server.kill();
    let server = start(data.path(), &with(&told, &[("REGISTRY_MAIL_SMTP_TIMEOUT", "3s")]));
    outside::until_all_are_sent(data.path(), &told);
    let arrivals = arrivals(&outside.smtp);
    let repeated = arrivals.values().filter(|&&times| times > 1).count();
    assert!(
        arrivals.len() == 4 && repeated <= 1 && arrivals.values().all(|&times| times <= 2),
        "{arrivals:?}"
    );
    drop(server);
}

fn at_sigterm_the_mail_in_flight_is_finished_and_no_other_begun(environment: Environment) {
    let outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp"]);
    let told = with(environment, &outside::refs(&told));
    let mut server = start(data.path(), &told);
    for number in 0..3 {
        register(&server, number, &format!("slow-{number}@example.com"));
    }
    wait_until("the first mail on its way", || outside.smtp.begun() == 1);
    server.terminate();
    assert!(server.ended());
    assert_eq!(outside.smtp.received().len(), 1);
    let server = start(data.path(), &told);
    wait_until("the others", || outside.smtp.count() >= 3);
    assert!(arrivals(&outside.smtp).values().all(|&times| times == 1));
    drop(server);
}

fn what_the_server_refuses_for_good_is_given_up_and_what_it_is_too_busy_for_arrives_later(
    environment: Environment,
) {
    let outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp"]);
    let server = start(data.path(), &with(environment, &outside::refs(&told)));
    let quoting = text(&register(&server, 0, "quoting@example.com")["install_code"]);
    register(&server, 1, "unknown@example.com");
    register(&server, 2, "busy-1@example.com");
    register(&server, 3, "odd@example.com");
    register(&server, 4, "ada@example.com");
    wait_until("two mails", || outside.smtp.count() == 2);
    assert_eq!(outside.smtp.received()[1].to, ["ada@example.com"], "nobody holds up the others");
    wait_until("the log", || server.log.lock().unwrap().matches("mail given up").count() == 3);
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("no such user") && log.contains("(550): the answer is not kept"), "{log}");
    assert!(!log.contains(&quoting), "the server quoted the mail, and the log must not");
    assert!(log.contains("try again later") && log.contains("it may have arrived"), "{log}");
}

#[test]
fn a_mail_server_that_wants_credentials_we_were_not_told_gives_up_no_mail() {
    let outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp"]);
    let mut anonymous = outside::refs(&told);
    anonymous.retain(|(name, _)| {
        !matches!(*name, "REGISTRY_MAIL_SMTP_USERNAME" | "REGISTRY_MAIL_SMTP_PASSWORD")
    });
    let server = start(data.path(), &anonymous);
    register(&server, 0, "ada@example.com");
    wait_until("the log", || {
        server.log.lock().unwrap().matches("no mail can be sent").count() >= 2
    });
    assert!(server.log.lock().unwrap().contains("authentication required"));
    drop(server);
    let server = start(data.path(), &outside::refs(&told));
    wait_until("the mail", || outside.smtp.count() == 1);
    drop(server);
}

#[test]
fn a_mail_server_that_says_nothing_makes_the_service_no_less_ready() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let told = [("REGISTRY_MAIL_SMTP_HOST", "localhost"), ("REGISTRY_MAIL_SMTP_PORT", &port)];
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &told);
    for _ in 0..2 {
        let (status, ready) = server.look("/readyz");
        assert_eq!((status, &ready["status"]), (200, &json!("degraded")));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is told how fast it was; nothing is decided by it"
)]
#[test]
fn three_processes_on_one_postgres_send_each_of_many_mails_once() {
    let count = if std::env::var_os("SOAK").is_some() { 10_000 } else { 1_000 };
    let outside = Outside::start();
    let told = outside.environment(&["smtp"]);
    let database = fleet::database();
    // Twelve workers in all: leases that did not exclude each other would show.
    let told = with(
        &outside::refs(&told),
        &[("REGISTRY_DATABASE_URL", &database), ("REGISTRY_MAIL_PARALLEL", "4")],
    );
    let data = tempfile::tempdir().unwrap();
    let quiet = start(data.path(), &with(&told, &[("REGISTRY_MAIL_WORKER", "false")]));
    std::thread::scope(|scope| {
        for part in 0..8 {
            let quiet = &quiet;
            scope.spawn(move || {
                for number in (part..count).step_by(8) {
                    register(quiet, number, &format!("contact-{number}@example.com"));
                }
            });
        }
    });
    let begun = std::time::Instant::now();
    let workers: Vec<_> = (0..3).map(|_| start(data.path(), &told)).collect();
    wait_until("all mails", || outside.smtp.count() >= count);
    let took = begun.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let received = outside.smtp.received();
    let mut recipients: Vec<_> = received.iter().flat_map(|mail| mail.to.clone()).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!((received.len(), recipients.len()), (count, count), "each once");
    let unsettled = "SELECT count(*) FROM mails WHERE state <> 'sent' OR sealed IS NOT NULL";
    assert_eq!(throwaway_postgres::sql(&database, unsettled).unwrap(), "0");
    let rate = f64::from(u32::try_from(count).unwrap()) / took;
    eprintln!(
        "three processes, four workers each, sent {count} mails in {took:.1} s: {rate:.0} a second"
    );
    drop((workers, quiet));
}

#[test]
fn a_mail_arrives_through_starttls_and_auth_and_its_link_leads_to_the_image() {
    let outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp", "s3"]);
    let told = outside::refs(&told);
    let server = start(data.path(), &told);
    outside::publish(data.path(), &told, b"the image");
    register(&server, 0, "ada@example.com");
    wait_until("the mail", || outside.smtp.count() > 0);
    let mail = outside.smtp.received().remove(0);
    assert!(mail.tls && mail.authenticated);
    let path = outside::download_path(&mail.raw);
    let led = server.get(&path).send().unwrap();
    assert_eq!(led.status(), 302);
    assert_eq!(led.headers()["cache-control"], "no-store");
    let location = led.headers()["location"].to_str().unwrap().to_owned();
    let image = common::client(Duration::from_secs(20)).get(location).send().unwrap();
    assert_eq!(image.bytes().unwrap(), "the image");
    assert_eq!(answer(server.get("/download/nonsense").send().unwrap()).1["code"], "invalid_link");
}
