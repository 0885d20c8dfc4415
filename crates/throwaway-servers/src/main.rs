//! `throwaway-servers`: a mail server and an object store for the demo. The program prints their
//! addresses as one line of JSON, and ends at the end of its standard input.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use throwaway_servers::{Received, S3Options, S3Server, SmtpOptions, SmtpServer};

/// Starts a mail server, and an object store with one bucket, on free ports of this machine.
#[derive(Parser)]
struct Cli {
    /// Folder to write the received mails to, as .eml files.
    #[arg(long, value_name = "DIR")]
    mailbox: PathBuf,
    /// File to write the certificate of the mail server's authority to (PEM).
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// User name for both servers.
    #[arg(long)]
    user: String,
    /// Password for both servers.
    #[arg(long, env = "THROWAWAY_PASSWORD", hide_env_values = true)]
    password: String,
}

fn main() -> Result<()> {
    let Cli { mailbox, ca, user, password } = Cli::parse();
    std::fs::create_dir_all(&mailbox)
        .with_context(|| format!("{} cannot be created", mailbox.display()))?;
    let smtp = SmtpServer::start(SmtpOptions {
        user: Some((user.clone(), password.clone())),
        ..SmtpOptions::default()
    })?;
    let s3 = S3Server::start(S3Options {
        access_key_id: user,
        secret_access_key: password,
        ..S3Options::default()
    })?;
    std::fs::write(&ca, &smtp.ca_pem)
        .with_context(|| format!("{} cannot be written", ca.display()))?;
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
        // Standard input is closed when the parent process ends.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    let mut written = 0;
    loop {
        for mail in smtp.received().into_iter().skip(written) {
            write_mail(&mailbox, written, &mail)?;
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a mail atomically, because the demo may be reading the folder.
fn write_mail(mailbox: &Path, number: usize, mail: &Received) -> Result<()> {
    let (partial, path) = (mailbox.join(".partial"), mailbox.join(format!("{number:06}.eml")));
    std::fs::write(&partial, &mail.raw)
        .and_then(|()| std::fs::rename(&partial, &path))
        .with_context(|| format!("{} cannot be written", path.display()))
}
