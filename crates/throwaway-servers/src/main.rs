//! `throwaway-servers`: a mail server and an object store for the demo. It says where they are as
//! one line of JSON on standard output, and ends when its standard input does.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use throwaway_servers::{Received, S3Options, S3Server, SmtpOptions, SmtpServer};

/// A mail server and an object store of one bucket, on free ports of this machine.
#[derive(Parser)]
struct Cli {
    /// Where the mails go, as .eml files.
    #[arg(long, value_name = "DIR")]
    mailbox: PathBuf,
    /// Where the certificate of the mail server's authority goes, as PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Who may use both.
    #[arg(long)]
    user: String,
    /// With which password, for both.
    #[arg(long, env = "THROWAWAY_PASSWORD", hide_env_values = true)]
    password: String,
}

fn main() -> Result<()> {
    let Cli { mailbox, ca, user, password } = Cli::parse();
    std::fs::create_dir_all(&mailbox).context("the mailbox cannot be made")?;
    let smtp = SmtpServer::start(SmtpOptions {
        user: Some((user.clone(), password.clone())),
        ..SmtpOptions::default()
    })?;
    let s3 = S3Server::start(S3Options {
        access_key_id: user,
        secret_access_key: password,
        ..S3Options::default()
    })?;
    std::fs::write(&ca, &smtp.ca_pem).context("the certificate cannot be written")?;
    let mut output = std::io::stdout().lock();
    let bucket = S3Options::default().bucket;
    writeln!(
        output,
        "{{\"smtp_port\":{},\"s3_endpoint\":\"{}\",\"bucket\":\"{bucket}\"}}",
        smtp.port(),
        s3.endpoint()
    )?;
    output.flush()?;
    drop(output);
    std::thread::spawn(move || {
        // Whoever started us is gone, or wants us to be.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    let mut written = 0;
    loop {
        for mail in smtp.received().into_iter().skip(written) {
            write(&mailbox, written, &mail)?;
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whole or not at all: somebody may be reading.
fn write(mailbox: &Path, number: usize, mail: &Received) -> Result<()> {
    let partial = mailbox.join(".partial");
    std::fs::write(&partial, &mail.raw)?;
    std::fs::rename(&partial, mailbox.join(format!("{number:06}.eml")))
        .context("a mail cannot be written")
}
