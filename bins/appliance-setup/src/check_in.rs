//! `appliance-setup check-in` checks in once; `appliance-setup agent` checks in whenever a check-in
//! is due, at the time that the registry set.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use appliance_install::{
    CheckIns, Clock as _, LicenseState, LicenseStatus, Product, Schedule, SystemClock,
};
use clap::Args;
use terminal_text::printable;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{OutputArgs, TrustArgs, product};
use crate::status::{clock_skew_message, rfc3339};
use crate::{random, report};

/// Longest sleep of the agent. It then reads the schedule again, because the clock may have been
/// set or the machine suspended.
const MAX_SLEEP: Duration = Duration::from_mins(5);

/// Pause of the agent after an error, and between its checks for a first license.
const PAUSE: Duration = Duration::from_mins(1);

#[derive(Args)]
pub(crate) struct CheckInArgs {
    #[command(flatten)]
    trust_args: TrustArgs,
    #[command(flatten)]
    output_args: OutputArgs,
}

impl CheckInArgs {
    /// Returns the product that receives a renewed license.
    fn product(&self, state: &Path) -> Result<Box<dyn Product>> {
        product(&self.output_args, None, &self.trust_args.trust(state), state)
    }
}

/// Checks in once, now.
pub(crate) async fn once(args: &CheckInArgs, state: &Path) -> Result<ExitCode> {
    let product = args.product(state)?;
    let check_ins = CheckIns::open(state)?.context("this appliance has no license to renew")?;
    let license_state = check_in(check_ins, args, &*product, state).await?;
    print_next_check_in(license_state.schedule);
    Ok(match license_state.status {
        Some(LicenseStatus::Entitled) | None => ExitCode::SUCCESS,
        Some(LicenseStatus::Revoked | LicenseStatus::CredentialRevoked) => ExitCode::from(3),
        Some(LicenseStatus::ServiceError(_)) => ExitCode::from(5),
    })
}

/// Checks in each time a check-in is due, until the process is terminated.
pub(crate) async fn agent(args: &CheckInArgs, state: &Path) -> Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let mut reported_missing_license = false;
    let mut reported_due_at = None;
    loop {
        let result = tokio::select! {
            result = check_in_if_due(args, state) => result,
            _ = terminated.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupted.recv() => return Ok(ExitCode::from(130)),
        };
        let pause = match result {
            Ok(Some(schedule)) => {
                // The agent sleeps many times until a check-in is due, and reports it once.
                if reported_due_at.replace(schedule.due_at) != Some(schedule.due_at) {
                    print_next_check_in(schedule);
                }
                Duration::from_secs(schedule.due_in(SystemClock.now()).max(1)).min(MAX_SLEEP)
            }
            Ok(None) => {
                if !std::mem::replace(&mut reported_missing_license, true) {
                    report("waiting for a license to renew");
                }
                PAUSE
            }
            Err(error) => {
                report(&format!("{error:#}"));
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = terminated.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupted.recv() => return Ok(ExitCode::from(130)),
        }
    }
}

/// Delivers a license that the product lacks, and checks in if that is due. Returns the schedule of
/// the next check-in, or `None` if there is no license.
async fn check_in_if_due(args: &CheckInArgs, state: &Path) -> Result<Option<Schedule>> {
    // The state is read each time, because the appliance may have been reinstalled.
    let Some(mut check_ins) = CheckIns::open(state)? else { return Ok(None) };
    let product = args.product(state)?;
    // An unreachable product does not keep the license from being renewed.
    let delivered = check_ins.deliver(&*product).await;
    let mut schedule = check_ins.license_state().schedule;
    if schedule.due_in(SystemClock.now()) == 0 {
        schedule = check_in(check_ins, args, &*product, state).await?.schedule;
    }
    delivered?;
    Ok(Some(schedule))
}

async fn check_in(
    mut check_ins: CheckIns,
    args: &CheckInArgs,
    product: &dyn Product,
    state: &Path,
) -> Result<LicenseState> {
    let service = check_ins.license_state().service().to_owned();
    let client = args.trust_args.client(&service, state)?;
    if let Err(error) = client.check_confidential() {
        // An error would end the renewals of appliances that were installed with such a URL.
        report(&format!("warning: {error}"));
    }
    check_ins.check_in(&client, product, SystemClock.now(), random()?).await?;
    let license_state = check_ins.license_state().clone();
    let message =
        license_state.status.as_ref().map(|status| status.message(&service)).unwrap_or_default();
    let expires_at = rfc3339(license_state.licensed.expires_at);
    report(&format!("{} The license is valid until {expires_at}.", printable(&message)));
    if let Some(skew) = client.clock_skew() {
        report(&clock_skew_message(skew));
    }
    Ok(license_state)
}

fn print_next_check_in(schedule: Schedule) {
    report(&format!("next check-in at {}", rfc3339(schedule.due_at)));
}
