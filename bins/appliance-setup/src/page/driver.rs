//! Task that takes the installation from step to step while the page is served. It receives the
//! installer's commands, and publishes a view of the installation that the page renders.

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

/// Command of the installer. A channel in it receives the result.
pub(crate) enum Command {
    /// Installs with the submitted form.
    Submit(Box<SetupForm>, oneshot::Sender<Result<(), String>>),
    /// Replaces the code of the submitted form.
    ChangeCode(SecretText, oneshot::Sender<Result<(), String>>),
    /// Retries now.
    Retry,
}

/// State of the installation, as the page shows it.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) screen: Screen,
    /// Seconds by which the service's clock is ahead of this machine's, if that is too much.
    pub(crate) skew: Option<i64>,
}

#[derive(Clone)]
pub(crate) enum Screen {
    Form(Box<FormView>),
    Progress(ProgressView),
    Done(DoneView),
}

/// The form, with the values of an earlier submission.
#[derive(Clone, Default)]
pub(crate) struct FormView {
    pub(crate) refused: Option<String>,
    pub(crate) values: Values,
    pub(crate) password: Option<SecretText>,
    pub(crate) code_was_entered: bool,
}

#[derive(Clone)]
pub(crate) struct ProgressView {
    pub(crate) step: ProgressStep,
    pub(crate) error: Option<String>,
    /// Time of the next attempt, in Unix seconds.
    pub(crate) retry_at: Option<u64>,
    pub(crate) has_code: bool,
}

/// Steps in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProgressStep {
    Redeem,
    Write,
    Bootstrap,
}

#[derive(Clone)]
pub(crate) struct DoneView {
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) edition: Option<String>,
    /// End of the license, in Unix seconds.
    pub(crate) license_until: Option<u64>,
}

pub(crate) struct Driver {
    pub(crate) install: Install,
    pub(crate) state: PathBuf,
    pub(crate) client: Arc<Client>,
    pub(crate) product: Box<dyn Product>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) view: watch::Sender<View>,
}

/// Error of the last attempt, and the pause before the next one.
#[derive(Default)]
struct Backoff {
    error: Option<String>,
    pause: Duration,
    failures: u32,
}

impl Driver {
    /// Runs until the page is no longer served.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            self.publish_view(&backoff);
            let waits_for_installer =
                matches!(self.install.step(), Step::Collect { .. } | Step::Done { .. });
            let command = if waits_for_installer {
                self.commands.recv().await
            } else if backoff.pause.is_zero() {
                match self.advance().await {
                    Advance::Attempted(result) => {
                        backoff = backoff.after(result, self.client.service());
                        continue;
                    }
                    Advance::Interrupted(command) => command,
                }
            } else {
                tokio::select! {
                    command = self.commands.recv() => command,
                    () = tokio::time::sleep(backoff.pause) => Some(Command::Retry),
                }
            };
            let Some(command) = command else { return };
            if self.handle(command).await {
                backoff = Backoff::default();
            } else {
                backoff.pause = Duration::ZERO;
            }
        }
    }

    /// Takes the next step. Another code may interrupt a redemption, because an interrupted
    /// redemption can be repeated under its idempotency key. No command interrupts the other steps.
    async fn advance(&mut self) -> Advance {
        let is_redeeming = matches!(self.install.step(), Step::Redeem { .. } | Step::Verify { .. });
        let Self { install, client, product, commands, .. } = self;
        let attempt = take_step(install, client, &**product);
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                result = &mut attempt => return Advance::Attempted(result),
                command = commands.recv() => match command {
                    // This attempt is the retry.
                    Some(Command::Retry) => {}
                    Some(Command::Submit(_, reply) | Command::ChangeCode(_, reply))
                        if !is_redeeming =>
                    {
                        // The browser may have disconnected.
                        reply.send(Err("The installation is already in progress.".to_owned())).ok();
                    }
                    command => return Advance::Interrupted(command),
                },
            }
        }
    }

    /// Executes a command. Returns true if it changed the installation. A code is accepted only if
    /// this machine can deliver what it brings, since it works once.
    async fn handle(&mut self, command: Command) -> bool {
        let (setup_form, reply) = match command {
            Command::Retry => return false,
            Command::Submit(setup_form, reply) => (Some(*setup_form), reply),
            Command::ChangeCode(code, reply) => {
                let submitted = self.install.setup_form().cloned();
                let changed = submitted.map(|submitted| SetupForm {
                    method: ProvisioningMethod::Code { code },
                    ..submitted
                });
                (changed, reply)
            }
        };
        let result = match setup_form {
            Some(setup_form) => self.submit(setup_form).await,
            None => Err("The installation does not need a code now.".to_owned()),
        };
        let changed = result.is_ok();
        if changed {
            // Published before the reply, because the browser then loads the page at once.
            self.publish_view(&Backoff::default());
        }
        // The browser may have disconnected.
        reply.send(result).ok();
        changed
    }

    async fn submit(&mut self, setup_form: SetupForm) -> Result<(), String> {
        if matches!(setup_form.method, ProvisioningMethod::Code { .. }) {
            let checked = self.product.check().await;
            checked.map_err(|problem| format!("{problem}. The install code was not used."))?;
        }
        let key = random().map_err(|error| error.to_string())?;
        let submitted = self.install.submit(setup_form, Uuid::from_bytes(key).to_string());
        submitted.map_err(|error| error.to_string())
    }

    fn publish_view(&self, backoff: &Backoff) {
        let progress = |step, has_code| {
            let retry_at =
                (!backoff.pause.is_zero()).then(|| SystemClock.now() + backoff.pause.as_secs());
            let error = backoff.error.clone();
            Screen::Progress(ProgressView { step, error, retry_at, has_code })
        };
        let screen = match self.install.step() {
            Step::Collect { refusal, .. } => Screen::Form(Box::new(FormView {
                refused: refusal.as_ref().map(|refusal| refusal.text.clone()),
                values: self.install.setup_form().map(Values::new).unwrap_or_default(),
                password: self
                    .install
                    .setup_form()
                    .map(|setup_form| setup_form.admin.password.clone()),
                code_was_entered: self.install.code_was_entered(),
            })),
            Step::Redeem { .. } | Step::Verify { .. } => progress(ProgressStep::Redeem, true),
            Step::Write { identity, .. } => progress(ProgressStep::Write, identity.is_some()),
            Step::Bootstrap { tenant_id } => progress(ProgressStep::Bootstrap, tenant_id.is_some()),
            Step::Done { tenant_id } => Screen::Done(self.done(*tenant_id)),
        };
        self.view.send_replace(View { screen, skew: self.client.clock_skew() });
    }

    fn done(&self, tenant_id: Option<Uuid>) -> DoneView {
        // If the license state cannot be read, the page omits it; `status` reports the error.
        let license_state = license_state(&self.state).ok().flatten();
        let license_until =
            license_state.as_ref().map(|license_state| license_state.licensed.expires_at);
        let edition = license_state.map(|license_state| license_state.edition);
        DoneView { tenant_id, edition, license_until }
    }
}

/// Result of [`Driver::advance`].
enum Advance {
    Attempted(Result<(), StepError>),
    /// A command that replaces the step; `None` if the page is no longer served.
    Interrupted(Option<Command>),
}

enum StepError {
    /// Error of the registry, and the pause before the next attempt.
    Registry(appliance_install::ServiceError, Duration),
    /// Error on this machine.
    Local(String),
}

async fn take_step(
    install: &mut Install,
    client: &Client,
    product: &dyn Product,
) -> Result<(), StepError> {
    let local = |error: &dyn std::fmt::Display| StepError::Local(error.to_string());
    let jitter = random::<1>().map_err(|error| local(&error))?[0];
    match install.advance(client, product, jitter).await.map_err(|error| local(&error))? {
        Next::Retry { service_error, after } => Err(StepError::Registry(service_error, after)),
        Next::Continue | Next::Finished | Next::WaitForInstaller => Ok(()),
    }
}

/// Shortest and longest pause after an error on this machine.
const LOCAL_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

impl Backoff {
    /// Returns the backoff after an attempt. The pause after an error on this machine is doubled
    /// each time.
    fn after(self, result: Result<(), StepError>, service: &str) -> Self {
        let failures = self.failures + 1;
        match result {
            Ok(()) => Self::default(),
            Err(StepError::Registry(service_error, pause)) => {
                Self { error: Some(service_error.message(service)), pause, failures }
            }
            Err(StepError::Local(text)) => {
                let (shortest, longest) = LOCAL_PAUSES;
                let pause = shortest.saturating_mul(1 << self.failures.min(5)).min(longest);
                Self { error: Some(text), pause, failures }
            }
        }
    }
}
