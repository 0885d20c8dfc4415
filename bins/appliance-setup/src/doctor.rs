//! `appliance-setup doctor`: checks everything that an installation needs, before a code is spent.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use terminal_text::printable_lines;

use crate::options::{OutputArgs, ServiceArgs, product};
use crate::print_line;
use crate::status::clock_skew_message;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output_args: OutputArgs,
}

/// A part, and what is wrong with it.
type Finding = (&'static str, Result<(), String>);

pub(crate) async fn run(args: &DoctorArgs, state: &Path) -> Result<ExitCode> {
    let mut findings: Vec<Finding> = vec![("state folder", state_folder(state))];
    findings.extend(service(&args.service, state).await);
    findings.push(("product", deliver(args, state).await));
    let mut is_fine = true;
    for (part, found) in findings {
        match found {
            Ok(()) => print_line(&format!("{part:<13} ok"))?,
            Err(problem) => {
                is_fine = false;
                // A line of the problem must not look like a finding.
                let problem = printable_lines(&problem).replace('\n', "\n              ");
                print_line(&format!("{part:<13} wrong: {problem}"))?
            }
        };
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks that files can be written where the state is, or will be.
fn state_folder(state: &Path) -> Result<(), String> {
    let folder = state.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let probe = tempfile::NamedTempFile::new_in(folder);
    probe.map(drop).map_err(|error| {
        format!(
            "{} cannot be written: {error}. Run as a user that may write there, or name another \
             folder with --state.",
            folder.display()
        )
    })
}

/// Checks the URL, the name, the network with its proxy, the certificate and the keys of the
/// service, and the clock.
async fn service(args: &ServiceArgs, state: &Path) -> Vec<Finding> {
    let client = match args.confidential_client(state) {
        Ok(client) => client,
        Err(error) => return vec![("service", Err(format!("{error:#}")))],
    };
    let probed = client.probe().await.map_err(|error| error.message(client.service()));
    let clock = client.clock_skew().map_or(Ok(()), |skew| Err(clock_skew_message(skew)));
    vec![("service", probed), ("clock", clock)]
}

/// Checks that the Secrets can be delivered.
async fn deliver(args: &DoctorArgs, state: &Path) -> Result<(), String> {
    let product = product(&args.output_args, None, &args.service.trust(state), state);
    product.map_err(|error| format!("{error:#}"))?.check().await
}
