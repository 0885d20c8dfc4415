//! Takes the installation from step to step, beside the page: what is entered comes in as commands,
//! where it is goes out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use appliance_install::{
    Client, Clock as _, Install, Next, Product, ProvisioningMethod, SecretText, SetupForm, Step,
    SystemClock, license_state,
};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::form::Values;
use crate::random;

/// What the operator wants.
pub(crate) enum Command {
    /// Takes what was entered.
    Submit(Box<SetupForm>, oneshot::Sender<Result<(), String>>),
    /// Tries another code, all else as it was entered.
    ChangeCode(SecretText, oneshot::Sender<Result<(), String>>),
    /// Does not wait any longer.
    Retry,
}

/// Where the installation is, as the page shows it.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) phase: Phase,
    /// By how many seconds the service's clock is ahead, where that is too much.
    pub(crate) skew: Option<i64>,
}

#[derive(Clone)]
pub(crate) enum Phase {
    Form(Box<Reopened>),
    Progress(Progress),
    Done(Done),
}

/// The form, and what is known for it.
#[derive(Clone, Default)]
pub(crate) struct Reopened {
    pub(crate) refused: Option<String>,
    pub(crate) values: Values,
    pub(crate) password: Option<SecretText>,
    pub(crate) code_was_entered: bool,
}

#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) at: At,
    pub(crate) service_error: Option<String>,
    /// In Unix seconds.
    pub(crate) retry_at: Option<u64>,
    pub(crate) has_code: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Redeem,
    Write,
    Bootstrap,
}

#[derive(Clone)]
pub(crate) struct Done {
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) edition: Option<String>,
    /// In Unix seconds.
    pub(crate) license_until: Option<u64>,
}

/// What takes the steps.
pub(crate) struct Driver {
    pub(crate) install: Install,
    pub(crate) state: PathBuf,
    pub(crate) client: Arc<Client>,
    pub(crate) product: Box<dyn Product>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) shown: watch::Sender<Shown>,
}

/// What is in the way, and until when it is waited for.
#[derive(Default)]
struct Wait {
    service_error: Option<String>,
    pause: Duration,
    failures: u32,
}

impl Driver {
    /// Runs for as long as the page is there.
    pub(crate) async fn run(mut self) {
        let mut wait = Wait::default();
        loop {
            self.show(&wait);
            let waits_for_operator =
                matches!(self.install.step(), Step::Collect { .. } | Step::Done { .. });
            let command = if waits_for_operator {
                self.commands.recv().await
            } else if wait.pause.is_zero() {
                match self.advance().await {
                    Advanced::Taken(taken) => {
                        wait = wait.after(taken, self.client.service());
                        continue;
                    }
                    Advanced::Interrupted(command) => command,
                }
            } else {
                tokio::select! {
                    command = self.commands.recv() => command,
                    () = tokio::time::sleep(wait.pause) => Some(Command::Retry),
                }
            };
            let Some(command) = command else { return };
            if self.obey(command) {
                wait = Wait::default();
            } else {
                wait.pause = Duration::ZERO;
            }
        }
    }

    /// Takes the next step. While a code is redeemed, another one may take its place: broken off, a
    /// redemption is repeated under the same key. The other steps are never broken off.
    async fn advance(&mut self) -> Advanced {
        let redeems = matches!(self.install.step(), Step::Redeem { .. } | Step::Verify { .. });
        let Self { install, client, product, commands, .. } = self;
        let taking = advance(install, client, &**product);
        tokio::pin!(taking);
        loop {
            tokio::select! {
                taken = &mut taking => return Advanced::Taken(taken),
                command = commands.recv() => match command {
                    // It is being tried.
                    Some(Command::Retry) => {}
                    Some(Command::Submit(_, answer) | Command::ChangeCode(_, answer)) if !redeems => {
                        // Whoever asked may have gone.
                        answer.send(Err("The installation is under way already.".to_owned())).ok();
                    }
                    command => return Advanced::Interrupted(command),
                },
            }
        }
    }

    /// Whether it changed what is installed.
    fn obey(&mut self, command: Command) -> bool {
        let (setup_form, answer) = match command {
            Command::Retry => return false,
            Command::Submit(setup_form, answer) => (Some(*setup_form), answer),
            Command::ChangeCode(code, answer) => {
                let before = self.install.setup_form().cloned();
                (
                    before.map(|before| SetupForm {
                        way: ProvisioningMethod::Code { code },
                        ..before
                    }),
                    answer,
                )
            }
        };
        let submitted = match (setup_form, random()) {
            (Some(setup_form), Ok(key)) => self
                .install
                .submit(setup_form, Uuid::from_bytes(key).to_string())
                .map_err(|error| error.to_string()),
            (None, _) => Err("The installation is past it.".to_owned()),
            (Some(_), Err(error)) => Err(error.to_string()),
        };
        let changed = submitted.is_ok();
        if changed {
            // Before the answer: whoever asked looks at once where it is now.
            self.show(&Wait::default());
        }
        // Whoever asked may have gone.
        answer.send(submitted).ok();
        changed
    }

    fn show(&self, wait: &Wait) {
        let progress = |at, has_code| {
            let retry_at =
                (!wait.pause.is_zero()).then(|| SystemClock.now() + wait.pause.as_secs());
            Phase::Progress(Progress {
                at,
                service_error: wait.service_error.clone(),
                retry_at,
                has_code,
            })
        };
        let phase = match self.install.step() {
            Step::Collect { refused, .. } => Phase::Form(Box::new(Reopened {
                refused: refused.as_ref().map(|refused| refused.text.clone()),
                values: self.install.setup_form().map(Values::of).unwrap_or_default(),
                password: self
                    .install
                    .setup_form()
                    .map(|setup_form| setup_form.admin.password.clone()),
                code_was_entered: self.install.code_was_entered(),
            })),
            Step::Redeem { .. } | Step::Verify { .. } => progress(At::Redeem, true),
            Step::Write { identity, .. } => progress(At::Write, identity.is_some()),
            Step::Bootstrap { tenant_id } => progress(At::Bootstrap, tenant_id.is_some()),
            Step::Done { tenant_id } => Phase::Done(self.done(*tenant_id)),
        };
        self.shown.send_replace(Shown { phase, skew: self.client.clock_skew() });
    }

    fn done(&self, tenant_id: Option<Uuid>) -> Done {
        // What cannot be read is not shown; `status` says why.
        let license_state = license_state(&self.state).ok().flatten();
        let license_until =
            license_state.as_ref().map(|license_state| license_state.licensed.expires_at);
        Done {
            tenant_id,
            edition: license_state.map(|license_state| license_state.edition),
            license_until,
        }
    }
}

/// What came of a step.
enum Advanced {
    Taken(Result<(), Stuck>),
    /// Something else is wanted; nothing any more where that is none.
    Interrupted(Option<Command>),
}

/// Why a step was not taken.
enum Stuck {
    /// The registry.
    Registry(appliance_install::ServiceError, Duration),
    /// This machine.
    Here(String),
}

async fn advance(
    install: &mut Install,
    client: &Client,
    product: &dyn Product,
) -> Result<(), Stuck> {
    let here = |error: &dyn std::fmt::Display| Stuck::Here(error.to_string());
    let jitter = random::<1>().map_err(|error| here(&error))?[0];
    match install.advance(client, product, jitter).await.map_err(|error| here(&error))? {
        Next::TryAgain { service_error, after } => Err(Stuck::Registry(service_error, after)),
        Next::GoOn | Next::Finished | Next::WaitForOperator => Ok(()),
    }
}

/// The longest pause where something on this machine is in the way.
const LONGEST: Duration = Duration::from_mins(1);

impl Wait {
    fn after(self, advanced: Result<(), Stuck>, service: &str) -> Self {
        match advanced {
            Ok(()) => Self::default(),
            Err(Stuck::Registry(service_error, pause)) => Self {
                service_error: Some(service_error.message(service)),
                pause,
                failures: self.failures + 1,
            },
            Err(Stuck::Here(text)) => {
                let pause =
                    Duration::from_secs(2).saturating_mul(1 << self.failures.min(5)).min(LONGEST);
                Self { service_error: Some(text), pause, failures: self.failures + 1 }
            }
        }
    }
}
