//! `cargo xtask demo`: the whole story of two customers, through public interfaces only (HTTP,
//! mails, registryctl).
//!
//! The demo prints each step, and fails at the first result that differs from what the product
//! promises.

mod external_servers;
mod mailbox;
mod server;
mod token;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::external_servers::ExternalServers;
use self::server::{Service, Setup};
use crate::run;

pub(crate) use self::external_servers::ServerOptions;

/// Runs the story with the image `iso` or a generated one.
///
/// # Errors
/// If a program does not start, or a step has an unexpected result.
pub(crate) fn run(iso: Option<&Path>, options: ServerOptions) -> Result<()> {
    run::run(&mut run::command(
        "cargo",
        &["build", "--quiet", "--package", "registryd", "--package", "registryctl"],
    ))?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let data = folder.path().join("data");
    let servers = ExternalServers::start(options, folder.path(), &data)?;
    let image = match iso {
        Some(iso) => iso.to_owned(),
        None => generate_image(folder.path())?,
    };
    println!("The story of two customers. Data folder: {}\n", data.display());
    let (mailbox, environment) = (servers.mailbox.clone(), servers.environment.clone());
    let setup = Setup { data, mailbox, environment };
    let service = Service::start(&setup, &[])?;
    print_step(format!("registryd listens on {}", service.url));
    for (is_used, server) in [
        (options.postgres, "PostgreSQL"),
        (options.s3, "an object store"),
        (options.smtp, "a mail server"),
    ] {
        if is_used {
            print_step(format!("registryd uses {server}"));
        }
    }
    publish(&setup, &image)?;
    install(&service, &setup, &image, "Essential Ltd", "essentials", "ada@essential.example")?;
    let pro = install(&service, &setup, &image, "Pro GmbH", "pro", "bob@pro.example")?;
    check_refusals(&service, &pro)?;
    let pro = reinstall(&service, &setup, &pro)?;
    drop(service);

    let service = Service::start(&setup, &[("REGISTRY_CODES_LIFETIME", "1s")])?;
    check_expiry(&service)?;
    drop(service);
    let service = Service::start(&setup, &[])?;
    check_stored_state(&service, &setup, &pro)?;
    println!("\nAll steps succeeded.");
    Ok(())
}

fn print_step(step: impl std::fmt::Display) {
    println!("  ✓ {step}");
}

/// A customer whose code was redeemed.
struct Customer {
    tenant: String,
    email: String,
    code: String,
}

fn generate_image(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("appliance.iso");
    let mut file = File::create(&path)?;
    for number in 0..200_000_u32 {
        file.write_all(&Sha256::digest(number.to_be_bytes()))?;
    }
    Ok(path)
}

fn sha256(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut hash, mut size, mut part) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        hash.update(&part[..read]);
        size += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

fn publish(setup: &Setup, image: &Path) -> Result<()> {
    let (size, digest) = sha256(image)?;
    let file = image.to_str().context("the image's path is not UTF-8")?;
    let release = setup.registryctl(&["release", "publish", file, "--version", "1.0.0"])?;
    ensure_equal(&release["size"], &json!(size))?;
    ensure_equal(&release["sha256"], &json!(digest))?;
    print_step(format!(
        "registryctl published {} as version 1.0.0: {size} bytes, SHA-256 {digest}",
        image.display()
    ));
    Ok(())
}

/// Registers a customer, reads the code and the link from the mail, downloads the image, and
/// redeems the code.
fn install(
    service: &Service,
    setup: &Setup,
    image: &Path,
    company: &str,
    edition: &str,
    email: &str,
) -> Result<Customer> {
    let body = json!({ "company_name": company, "contact_email": email, "edition": edition });
    let issued = service.post("/register-tenant", &body)?.expect(200)?;
    let tenant = text(&issued["tenant_id"])?;
    print_step(format!("{company} is registered for edition {edition}: tenant {tenant}"));
    let mail = mailbox::wait_for(&setup.mailbox, email, 1)?;
    ensure!(
        mail.code == text(&issued["install_code"])?,
        "the code in the mail differs from the code in the response"
    );
    print_step(format!(
        "{company} received its mail: code {}, link to {}",
        mail.code,
        mail.link.split('?').next().unwrap_or_default()
    ));
    let (size, digest) = sha256(image)?;
    let halves = [
        service.download_range(&mail.link, 0, size / 2)?,
        service.download_range(&mail.link, size / 2, size)?,
    ];
    let is_complete = hex(&Sha256::digest(halves.concat())) == digest;
    ensure!(is_complete, "the downloaded file differs from the image");
    print_step(format!(
        "{company} downloaded the image in two halves through the link: SHA-256 {digest}"
    ));
    let redeemed = service.redeem(&mail.code)?.expect(200)?;
    ensure_equal(&redeemed["tenant_id"], &json!(tenant))?;
    ensure_equal(&redeemed["edition"], &json!(edition))?;
    let fields =
        ["first_jwt", "appliance_credential", "check_in_url"].map(|name| redeemed.get(name));
    if edition == "essentials" {
        ensure!(
            fields.iter().all(Option::is_none),
            "an essentials appliance received license fields: {redeemed}"
        );
        print_step("its appliance redeemed the code: bound to the tenant, without a license");
    } else {
        ensure!(
            fields.iter().all(Option::is_some),
            "an appliance with a paid edition received no license: {redeemed}"
        );
        let claims =
            token::verify(&text(&redeemed["first_jwt"])?, &service.get("/.well-known/jwks.json")?)?;
        ensure_equal(&claims["aud"], &json!(tenant))?;
        ensure_equal(&claims["tier"], &json!(edition))?;
        print_step(format!(
            "its appliance redeemed the code: license for {tenant}, verified with the published key"
        ));
    }
    Ok(Customer { tenant, email: email.to_owned(), code: mail.code })
}

fn check_refusals(service: &Service, customer: &Customer) -> Result<()> {
    let error = service.redeem(&customer.code)?.expect_error(
        409,
        "consumed_claim_code",
        "has already been used",
    )?;
    print_step(format!("a used code is refused: {error}"));
    let mut mistyped = customer.code.clone().into_bytes();
    mistyped[0] = if mistyped[0] == b'A' { b'B' } else { b'A' };
    let mistyped = String::from_utf8(mistyped)?;
    let error = service.redeem(&mistyped)?.expect_error(
        404,
        "invalid_claim_code",
        "Invalid install code.",
    )?;
    print_step(format!("a mistyped code is refused: {error}"));
    Ok(())
}

fn reinstall(service: &Service, setup: &Setup, customer: &Customer) -> Result<Customer> {
    let first = setup.registryctl(&["code", "reissue", &customer.email.to_uppercase()])?;
    ensure_equal(&first["tenant_id"], &json!(customer.tenant))?;
    let second = service
        .post("/install-codes/reissue", &json!({ "tenant_id": customer.tenant }))?
        .expect(200)?;
    ensure_equal(&second["tenant_id"], &json!(customer.tenant))?;
    print_step("two new codes were issued: one by registryctl, then one over HTTP");
    let error = service.redeem(&text(&first["install_code"])?)?.expect_error(
        409,
        "consumed_claim_code",
        "was replaced by a newer one",
    )?;
    print_step(format!("the first of them is refused: {error}"));
    let code = text(&second["install_code"])?;
    let mail = mailbox::wait_for_code(&setup.mailbox, &customer.email, &code)?;
    let redeemed = service.redeem(&mail.code)?.expect(200)?;
    ensure_equal(&redeemed["tenant_id"], &json!(customer.tenant))?;
    print_step(format!("the second, from its mail, reinstalls tenant {}", customer.tenant));
    Ok(Customer { tenant: customer.tenant.clone(), email: customer.email.clone(), code: mail.code })
}

fn check_expiry(service: &Service) -> Result<()> {
    let body = json!({
        "company_name": "Late Inc", "contact_email": "eve@late.example", "edition": "pro"
    });
    let issued = service.post("/register-tenant", &body)?.expect(200)?;
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let error = service.redeem(&text(&issued["install_code"])?)?.expect_error(
        410,
        "expired_claim_code",
        "has expired",
    )?;
    print_step("registryd restarted with a code lifetime of one second");
    print_step(format!("an expired code is refused: {error}"));
    Ok(())
}

fn check_stored_state(service: &Service, setup: &Setup, customer: &Customer) -> Result<()> {
    let list = setup.registryctl(&["tenant", "list"])?;
    ensure!(
        list["items"].as_array().is_some_and(|items| items.len() == 3),
        "expected three tenants: {list}"
    );
    let view = service.get(&format!("/tenants/{}", customer.tenant))?;
    ensure_equal(&view["tenant"]["status"], &json!("installed"))?;
    service.redeem(&customer.code)?.expect_error(
        409,
        "consumed_claim_code",
        "has already been used",
    )?;
    print_step("registryd restarted again; all tenants and codes are as before");
    Ok(())
}

fn ensure_equal(value: &Value, expected: &Value) -> Result<()> {
    if value != expected {
        bail!("{value} instead of {expected}");
    }
    Ok(())
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("{value} is not a string"))
}
