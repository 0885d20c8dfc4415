//! The installation, step by step. Each step is stored on disk before it is taken.

mod step;

use std::path::Path;
use std::time::Duration;

use self::step::State;
pub use self::step::Step;
use crate::attempted_codes::AttemptedCodes;
use crate::license_state::{self, LicenseState};
use crate::offline::{self, VerifiedAnswer};
use crate::product::Product;
use crate::redemption::{Identity, RedeemClient, RedeemOutcome, RedeemRequest, UnverifiedIdentity};
use crate::secrets::manifests;
use crate::service_error::ServiceError;
use crate::setup_form::{ProvisioningMethod, SetupForm};
use crate::store::{Folder, Lock, StoreError};
use crate::trust::KEYS;

/// Name of the file with the options for the product, in the state folder. The program that uses
/// this crate reads and writes it.
pub const PRODUCT: &str = "product.json";

/// Name of the state file in the state folder.
const FILE: &str = "install.json";

/// The caller's next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait until the installer submits the form.
    WaitForInstaller,
    /// Retry the same step after a pause.
    Retry {
        /// Error of the last attempt.
        service_error: ServiceError,
        /// Length of the pause.
        after: Duration,
    },
    /// Take the next step at once.
    Continue,
    /// Stop: the installation is complete.
    Finished,
}

/// Reason why a form is rejected.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The identity is known already.
    #[error("The installation is already in progress.")]
    InProgress,
    /// The form is for an offline installation, and the answer is missing.
    #[error("An appliance without a network needs the answer to its request.")]
    NoAnswer,
    /// The installation is complete.
    #[error(
        "This appliance is already installed. To install it again, run `appliance-setup reset \
         --yes` and use a re-issued code."
    )]
    Installed,
    /// A code was entered before, so an installation without a code is not allowed.
    #[error(
        "An install code was entered on this appliance, so it waits for its tenant. Enter a code, \
         or start over with `appliance-setup reset --yes`."
    )]
    CodeWasEntered,
    /// The form cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reason why a step failed. The next [`Install::advance`] takes the step again.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The state cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Secrets cannot be written, or the product cannot be bootstrapped.
    #[error("{0}")]
    Product(String),
}

/// An installation, with its state in a folder.
pub struct Install {
    folder: Folder,
    state: State,
}

impl Install {
    /// Opens the installation in this folder, or starts a new one with this appliance id.
    pub fn open(folder: &Path, appliance_id: String) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let state = folder.read(FILE)?.unwrap_or_else(|| State::new(appliance_id));
        Ok(Self { folder, state })
    }

    /// Locks the installation against other processes until the lock is dropped. Removes the
    /// temporary files of processes that were killed.
    pub fn lock(folder: &Path) -> Result<Lock, StoreError> {
        let folder = Folder::open(folder)?;
        let lock = folder.try_lock(FILE)?;
        folder.sweep()?;
        Ok(lock)
    }

    /// Returns true if a code was entered, or the installation without one was started.
    #[must_use]
    pub fn is_started(folder: &Path) -> bool {
        [FILE, license_state::FILE].iter().any(|file| folder.join(file).exists())
    }

    /// Returns the id of the appliance.
    #[must_use]
    pub fn appliance_id(&self) -> &str {
        &self.state.appliance_id
    }

    /// Returns the next step.
    #[must_use]
    pub fn step(&self) -> &Step {
        &self.state.step
    }

    /// Deletes the whole state, even if it is damaged: code, identity, pending offline request, and
    /// pinned keys.
    pub fn reset(folder: &Path) -> Result<(), StoreError> {
        let folder = Folder::open(folder)?;
        // Without the lock, a running check-in could write its file again.
        let _lock = folder.lock(license_state::FILE)?;
        folder.sweep()?;
        [license_state::FILE, offline::FILE, KEYS, PRODUCT, FILE]
            .into_iter()
            .try_for_each(|file| folder.remove(file))
    }

    /// Submits the installer's form. A new code may replace one that waits for the service. A code
    /// that was not attempted before gets `new_key` as its idempotency key: 16 to 255 characters,
    /// drawn at random.
    pub fn submit(&mut self, setup_form: SetupForm, new_key: String) -> Result<(), SubmitError> {
        self.check_open()?;
        let mut state = self.state.clone();
        state.step = match &setup_form.method {
            ProvisioningMethod::WithoutCode { .. } if state.code_was_entered => {
                return Err(SubmitError::CodeWasEntered);
            }
            ProvisioningMethod::WithoutCode { .. } => Step::Write { setup_form, identity: None },
            ProvisioningMethod::Offline => return Err(SubmitError::NoAnswer),
            ProvisioningMethod::Code { code } => {
                state.code_was_entered = true;
                let idempotency_key = state.attempted_codes.key_for(code.expose(), new_key);
                Step::Redeem { setup_form, idempotency_key, attempts: 0, service_error: None }
            }
        };
        Ok(self.store(state)?)
    }

    /// Checks that the form can be submitted, and returns the reason if it cannot.
    pub fn check_open(&self) -> Result<(), SubmitError> {
        match self.state.step {
            Step::Collect { .. } | Step::Redeem { .. } | Step::Verify { .. } => Ok(()),
            Step::Write { .. } | Step::Bootstrap { .. } => Err(SubmitError::InProgress),
            Step::Done { .. } => Err(SubmitError::Installed),
        }
    }

    /// Returns the submitted form as long as the installer can correct it.
    #[must_use]
    pub fn setup_form(&self) -> Option<&SetupForm> {
        match &self.state.step {
            Step::Collect { previous_form, .. } => previous_form.as_deref(),
            Step::Redeem { setup_form, .. } | Step::Verify { setup_form, .. } => Some(setup_form),
            Step::Write { .. } | Step::Bootstrap { .. } | Step::Done { .. } => None,
        }
    }

    /// Returns true once a code was entered. An installation without a code is then not allowed.
    #[must_use]
    pub fn code_was_entered(&self) -> bool {
        self.state.code_was_entered
    }

    /// Submits the form with a verified offline answer, and deletes the request: each answer is
    /// accepted once.
    pub fn submit_answer(
        &mut self,
        setup_form: SetupForm,
        answer: VerifiedAnswer,
    ) -> Result<(), SubmitError> {
        self.check_open()?;
        let VerifiedAnswer { identity, appliance_id } = answer;
        let step = Step::Write { setup_form, identity: Some(identity) };
        self.store(State {
            code_was_entered: true,
            step,
            attempted_codes: AttemptedCodes::default(),
            appliance_id,
        })?;
        Ok(self.folder.remove(offline::FILE)?)
    }

    /// Takes the next step. The caller draws `jitter` at random.
    pub async fn advance(
        &mut self,
        registry: &dyn RedeemClient,
        product: &dyn Product,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        match self.state.step.clone() {
            Step::Redeem { setup_form, idempotency_key, attempts, .. } => {
                self.redeem(registry, setup_form, idempotency_key, attempts, jitter).await
            }
            Step::Verify { setup_form, unverified, attempts, .. } => {
                self.verify(registry, setup_form, unverified, attempts, jitter).await
            }
            Step::Collect { .. }
            | Step::Write { .. }
            | Step::Bootstrap { .. }
            | Step::Done { .. } => self.deliver(product).await,
        }
    }

    /// Takes the next step if it needs no registry: writing the Secrets, or the bootstrap.
    pub async fn deliver(&mut self, product: &dyn Product) -> Result<Next, InstallError> {
        match self.state.step.clone() {
            Step::Collect { .. } | Step::Redeem { .. } | Step::Verify { .. } => {
                Ok(Next::WaitForInstaller)
            }
            Step::Done { .. } => Ok(Next::Finished),
            Step::Write { setup_form, identity } => {
                let manifests = manifests(
                    product.namespace(),
                    &setup_form,
                    identity.as_ref(),
                    &self.state.appliance_id,
                );
                product.write(&manifests).await.map_err(InstallError::Product)?;
                self.store_license_state(identity.as_ref()).await?;
                let tenant_id = identity.map(|identity| identity.tenant_id);
                self.move_to(Step::Bootstrap { tenant_id })
            }
            Step::Bootstrap { tenant_id } => {
                product.bootstrap().await.map_err(InstallError::Product)?;
                self.move_to(Step::Done { tenant_id })
            }
        }
    }

    async fn redeem(
        &mut self,
        registry: &dyn RedeemClient,
        setup_form: SetupForm,
        idempotency_key: String,
        attempts: u32,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        let ProvisioningMethod::Code { code } = &setup_form.method else {
            let previous_form = Some(Box::new(setup_form));
            return self.move_to(Step::Collect { refusal: None, previous_form });
        };
        let request = RedeemRequest {
            code: code.clone(),
            appliance_id: self.state.appliance_id.clone(),
            idempotency_key: idempotency_key.clone(),
        };
        match registry.redeem(&request).await {
            // The code is consumed now, so the response is stored before it is used.
            RedeemOutcome::Redeemed(unverified) => self.move_to(Step::Verify {
                setup_form,
                unverified: *unverified,
                attempts: 0,
                service_error: None,
            }),
            RedeemOutcome::Refused(refusal) => {
                self.state.attempted_codes.remove(request.code.expose());
                self.move_to(Step::Collect {
                    refusal: Some(refusal),
                    previous_form: Some(Box::new(setup_form)),
                })?;
                Ok(Next::WaitForInstaller)
            }
            RedeemOutcome::ServiceError(service_error) => {
                let attempts = attempts.saturating_add(1);
                let after = service_error.pause(attempts, jitter);
                self.move_to(Step::Redeem {
                    setup_form,
                    idempotency_key,
                    attempts,
                    service_error: Some(service_error.clone()),
                })?;
                Ok(Next::Retry { service_error, after })
            }
        }
    }

    async fn verify(
        &mut self,
        registry: &dyn RedeemClient,
        setup_form: SetupForm,
        unverified: UnverifiedIdentity,
        attempts: u32,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        match registry.verify(&unverified).await {
            Ok(identity) => self.move_to(Step::Write { setup_form, identity: Some(identity) }),
            Err(service_error) => {
                let attempts = attempts.saturating_add(1);
                let after = service_error.pause(attempts, jitter);
                self.move_to(Step::Verify {
                    setup_form,
                    unverified,
                    attempts,
                    service_error: Some(service_error.clone()),
                })?;
                Ok(Next::Retry { service_error, after })
            }
        }
    }

    /// Stores the license state for check-ins; without a license, removes it. A state with the same
    /// credential stays: its license may have been renewed since.
    async fn store_license_state(&self, identity: Option<&Identity>) -> Result<(), StoreError> {
        let new = identity
            .and_then(|identity| LicenseState::from_identity(identity, &self.state.appliance_id));
        let _lock = self.folder.lock_async(license_state::FILE).await?;
        let Some(new) = new else { return self.folder.remove(license_state::FILE) };
        let stored: Option<LicenseState> = self.folder.read(license_state::FILE)?;
        match stored {
            Some(stored) if stored.licensed.credential == new.licensed.credential => Ok(()),
            Some(_) | None => self.folder.write(license_state::FILE, &new),
        }
    }

    fn move_to(&mut self, step: Step) -> Result<Next, InstallError> {
        // Once the identity is known, the installer enters no further code.
        let is_identified =
            !matches!(step, Step::Collect { .. } | Step::Redeem { .. } | Step::Verify { .. });
        let attempted_codes = if is_identified {
            AttemptedCodes::default()
        } else {
            self.state.attempted_codes.clone()
        };
        self.store(State { step, attempted_codes, ..self.state.clone() })?;
        Ok(Next::Continue)
    }

    /// Stores the state on disk, then in memory. A step that cannot be stored is not taken.
    fn store(&mut self, state: State) -> Result<(), StoreError> {
        self.folder.write(FILE, &state)?;
        self.state = state;
        Ok(())
    }
}
