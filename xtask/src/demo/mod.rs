//! `cargo xtask demo`: a customer's whole story, driven only from outside (HTTP, the mailbox
//! folder, registryctl).
//!
//! It prints each step and fails loudly at the first thing that is not as promised.

mod mailbox;
mod outside;
mod server;
mod token;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::outside::Outside;
use self::server::{Service, Setting};
use crate::run;

pub(crate) use self::outside::Chosen;

/// Runs the story with this image, or with one made up for it, on the servers that are chosen.
pub(crate) fn run(iso: Option<&Path>, chosen: Chosen) -> Result<()> {
    run::run(&mut run::command(
        "cargo",
        &["build", "--quiet", "--package", "registryd", "--package", "registryctl"],
    ))?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let data = folder.path().join("data");
    let outside = Outside::start(chosen, folder.path(), &data)?;
    let image = match iso {
        Some(iso) => iso.to_owned(),
        None => made_up(folder.path())?,
    };
    println!("The story of two customers, told to {}\n", data.display());
    let (mailbox, environment) = (outside.mailbox.clone(), outside.environment.clone());
    let setting = Setting { data, mailbox, environment };
    let service = Service::start(&setting, &[])?;
    told(format!("registryd listens on {}", service.url));
    for (chosen, server) in [
        (chosen.postgres, "PostgreSQL"),
        (chosen.s3, "an object store"),
        (chosen.smtp, "a mail server"),
    ] {
        if chosen {
            told(format!("it uses {server}"));
        }
    }
    publish(&setting, &image)?;
    customer(&service, &setting, &image, "Essential Ltd", "essentials", "ada@essential.example")?;
    let pro = customer(&service, &setting, &image, "Pro GmbH", "pro", "bob@pro.example")?;
    refusals(&service, &pro)?;
    let pro = reinstall(&service, &setting, &pro)?;
    drop(service);

    let service = Service::start(&setting, &[("REGISTRY_CODES_LIFETIME", "1s")])?;
    expiry(&service)?;
    drop(service);
    let service = Service::start(&setting, &[])?;
    remembered(&service, &setting, &pro)?;
    println!("\nEverything was as promised.");
    Ok(())
}

fn told(step: impl std::fmt::Display) {
    println!("  ✓ {step}");
}

/// A customer whose code was redeemed.
struct Customer {
    tenant: String,
    email: String,
    code: String,
}

fn made_up(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("appliance.iso");
    let mut file = File::create(&path)?;
    for number in 0..200_000_u32 {
        file.write_all(&Sha256::digest(number.to_be_bytes()))?;
    }
    Ok(path)
}

fn sha256(path: &Path) -> Result<(u64, String)> {
    let mut file =
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
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

fn publish(setting: &Setting, image: &Path) -> Result<()> {
    let (size, digest) = sha256(image)?;
    let file = image.to_str().context("the image's path is not UTF-8")?;
    let release = setting.ctl(&["release", "publish", file, "--version", "1.0.0"])?;
    expect(&release["size"], &json!(size))?;
    expect(&release["sha256"], &json!(digest))?;
    told(format!(
        "registryctl published {} as 1.0.0: {size} bytes, SHA-256 {digest}",
        image.display()
    ));
    Ok(())
}

/// Registers a customer, reads code and link out of the mail, downloads, redeems.
fn customer(
    service: &Service,
    setting: &Setting,
    image: &Path,
    company: &str,
    edition: &str,
    email: &str,
) -> Result<Customer> {
    let body = json!({ "company_name": company, "contact_email": email, "edition": edition });
    let answer = service.service("/register-tenant", &body)?.expect(200)?;
    let tenant = text(&answer["tenant_id"])?;
    told(format!("{company} is registered for {edition}: tenant {tenant}"));
    let mail = mailbox::wait_for(&setting.mailbox, email, 1)?;
    ensure!(
        mail.code == text(&answer["install_code"])?,
        "the mail brings another code than the answer"
    );
    told(format!(
        "its mail came: code {}, link to {}",
        mail.code,
        mail.link.split('?').next().unwrap_or_default()
    ));
    let (size, digest) = sha256(image)?;
    let halves =
        [service.range(&mail.link, 0, size / 2)?, service.range(&mail.link, size / 2, size)?]
            .concat();
    ensure!(hex(&Sha256::digest(&halves)) == digest, "the download is not the image");
    told(format!(
        "two halves of the image downloaded through the link; together their SHA-256 is {digest}"
    ));
    let redeemed = service.redeem(&mail.code)?.expect(200)?;
    expect(&redeemed["tenant_id"], &json!(tenant))?;
    expect(&redeemed["edition"], &json!(edition))?;
    let fields =
        ["first_jwt", "appliance_credential", "check_in_url"].map(|name| redeemed.get(name));
    if edition == "essentials" {
        ensure!(
            fields.iter().all(Option::is_none),
            "an essentials appliance got license fields: {redeemed}"
        );
        told("its appliance redeemed the code: bound to the tenant, no license fields");
    } else {
        ensure!(
            fields.iter().all(Option::is_some),
            "a paid appliance lacks a license field: {redeemed}"
        );
        let claims = token::verify(
            &text(&redeemed["first_jwt"])?,
            &service.look("/.well-known/jwks.json")?,
        )?;
        expect(&claims["aud"], &json!(tenant))?;
        expect(&claims["tier"], &json!(edition))?;
        told(format!(
            "its appliance redeemed the code: license verified with the published key, aud {tenant}"
        ));
    }
    Ok(Customer { tenant, email: email.to_owned(), code: mail.code })
}

fn refusals(service: &Service, customer: &Customer) -> Result<()> {
    let refused = service.redeem(&customer.code)?.refused(
        409,
        "consumed_claim_code",
        "has already been used",
    )?;
    told(format!("redeemed again: {refused}"));
    let mut mistyped = customer.code.clone().into_bytes();
    mistyped[0] = if mistyped[0] == b'A' { b'B' } else { b'A' };
    let mistyped = String::from_utf8(mistyped)?;
    let refused =
        service.redeem(&mistyped)?.refused(404, "invalid_claim_code", "Invalid install code.")?;
    told(format!("mistyped: {refused}"));
    Ok(())
}

fn reinstall(service: &Service, setting: &Setting, customer: &Customer) -> Result<Customer> {
    let first = setting.ctl(&["code", "reissue", &customer.email.to_uppercase()])?;
    expect(&first["tenant_id"], &json!(customer.tenant))?;
    let answer = service
        .service("/install-codes/reissue", &json!({ "tenant_id": customer.tenant }))?
        .expect(200)?;
    expect(&answer["tenant_id"], &json!(customer.tenant))?;
    told("re-issued twice, by registryctl and by HTTP");
    let replaced = text(&first["install_code"])?;
    let refused = service.redeem(&replaced)?.refused(
        409,
        "consumed_claim_code",
        "was replaced by a newer one",
    )?;
    told(format!("the first of the two: {refused}"));
    let mail =
        mailbox::wait_for_code(&setting.mailbox, &customer.email, &text(&answer["install_code"])?)?;
    let redeemed = service.redeem(&mail.code)?.expect(200)?;
    expect(&redeemed["tenant_id"], &json!(customer.tenant))?;
    told(format!("the newest, out of its mail, brings the same tenant back: {}", customer.tenant));
    Ok(Customer { tenant: customer.tenant.clone(), email: customer.email.clone(), code: mail.code })
}

fn expiry(service: &Service) -> Result<()> {
    let body = json!({ "company_name": "Late Inc", "contact_email": "eve@late.example", "edition": "pro" });
    let answer = service.service("/register-tenant", &body)?.expect(200)?;
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let refused = service.redeem(&text(&answer["install_code"])?)?.refused(
        410,
        "expired_claim_code",
        "has expired",
    )?;
    told(format!("after a restart with a lifetime of one second: {refused}"));
    Ok(())
}

fn remembered(service: &Service, setting: &Setting, customer: &Customer) -> Result<()> {
    let list = setting.ctl(&["tenant", "list"])?;
    ensure!(
        list["items"].as_array().is_some_and(|items| items.len() == 3),
        "not three tenants: {list}"
    );
    let shown = service.look(&format!("/tenants/{}", customer.tenant))?;
    expect(&shown["tenant"]["status"], &json!("installed"))?;
    service.redeem(&customer.code)?.refused(409, "consumed_claim_code", "has already been used")?;
    told("after two more restarts everything is as it was");
    Ok(())
}

fn expect(value: &Value, expected: &Value) -> Result<()> {
    if value != expected {
        bail!("{value} instead of {expected}");
    }
    Ok(())
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("{value} is not a text"))
}
