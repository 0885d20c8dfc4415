//! `appliance-setup check-in`, once, and `appliance-setup agent`, whenever the registry asks for
//! it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use appliance_install::{CheckIns, Clock as _, LicenseState, LicenseStatus, Product, SystemClock};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{OutputArgs, TrustArgs, product};
use crate::random;
use crate::status::moment;

/// The longest sleep: what is due is looked at again then, also where the clock was set or the
/// machine was suspended.
const NAP: Duration = Duration::from_mins(5);

/// How long the agent waits where the product could not be given a license, or there is none yet.
const PAUSE: Duration = Duration::from_mins(1);

#[derive(Args)]
pub(crate) struct CheckIn {
    #[command(flatten)]
    trust_args: TrustArgs,
    #[command(flatten)]
    output_args: OutputArgs,
}

impl CheckIn {
    /// Where a renewed license goes.
    fn product(&self, state: &Path) -> Result<Box<dyn Product>> {
        product(&self.output_args, None, &self.trust_args.trust(state), state)
    }
}

/// Once, now.
pub(crate) async fn once(asked: &CheckIn, state: &Path) -> Result<ExitCode> {
    let product = asked.product(state)?;
    let license_state = CheckIns::open(state)?.context("this appliance has no license to renew")?;
    let license_state = check_in(license_state, asked, &*product, state).await?;
    Ok(match license_state.standing {
        Some(LicenseStatus::Entitled) | None => ExitCode::SUCCESS,
        Some(LicenseStatus::Revoked | LicenseStatus::CredentialRevoked) => ExitCode::from(3),
        Some(LicenseStatus::ServiceError(_)) => ExitCode::from(5),
    })
}

/// Until it is told to end.
pub(crate) async fn agent(asked: &CheckIn, state: &Path) -> Result<ExitCode> {
    let mut ended = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut told = false;
    let mut interrupted = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    loop {
        let done = tokio::select! {
            done = next(asked, state) => done,
            _ = ended.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupted.recv() => return Ok(ExitCode::from(130)),
        };
        let pause = match done {
            Ok(Some(pause)) => pause,
            Ok(None) => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!(
                        "appliance-setup: there is no license to renew yet; one is waited for"
                    );
                }
                PAUSE
            }
            Err(error) => {
                eprintln!("appliance-setup: {error:#}");
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = ended.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupted.recv() => return Ok(ExitCode::from(130)),
        }
    }
}

/// Does what is due, and says how long to sleep; `None` where there is no license.
async fn next(asked: &CheckIn, state: &Path) -> Result<Option<Duration>> {
    // Opened anew each time: the appliance may have been installed again.
    let Some(mut check_ins) = CheckIns::open(state)? else { return Ok(None) };
    let product = asked.product(state)?;
    // Where the product cannot be reached, the license is renewed all the same.
    let handed = check_ins.hand(&*product).await;
    let mut schedule = check_ins.license_state().schedule;
    if schedule.due_in(SystemClock.now()) == 0 {
        schedule = check_in(check_ins, asked, &*product, state).await?.schedule;
    }
    handed?;
    Ok(Some(Duration::from_secs(schedule.due_in(SystemClock.now()).max(1)).min(NAP)))
}

async fn check_in(
    mut check_ins: CheckIns,
    asked: &CheckIn,
    product: &dyn Product,
    state: &Path,
) -> Result<LicenseState> {
    let service = check_ins.license_state().service().to_owned();
    let client = asked.trust_args.client(&service, state)?;
    let jitter = u16::from_be_bytes(random()?);
    check_ins.check_in(&client, product, SystemClock.now(), jitter).await?;
    let license_state = check_ins.license_state().clone();
    let message = license_state
        .standing
        .as_ref()
        .map(|standing| standing.message(&service))
        .unwrap_or_default();
    let (until, next) =
        (moment(license_state.licensed.expires_at), moment(license_state.schedule.due_at));
    eprintln!("appliance-setup: {message} It holds until {until}; the next check-in is at {next}.");
    if let Some(skew) = client.clock_skew() {
        eprintln!("appliance-setup: {}", crate::status::skew(skew));
    }
    Ok(license_state)
}
