//! The installation, step by step. Each step is written down before it is taken.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempted_codes::AttemptedCodes;
use crate::license_state::{self, LicenseState};
use crate::offline::{self, Answered};
use crate::redemption::{
    Identity, RedeemClient, RedeemOutcome, RedeemRequest, Refused, UnverifiedIdentity,
};
use crate::secrets::{Manifests, manifests};
use crate::service_error::ServiceError;
use crate::setup_form::{ProvisioningMethod, SetupForm};
use crate::store::{Folder, Lock, StoreError};
use crate::trust::KEYS;

/// Where the installation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The operator has to enter something, or to correct it.
    Collect {
        /// What was wrong, where something was.
        refused: Option<Refused>,
        /// What was entered then: only what was wrong has to be typed again.
        before: Option<Box<SetupForm>>,
    },
    /// The code is being redeemed.
    Redeem {
        /// What was entered.
        #[serde(alias = "entered")]
        setup_form: SetupForm,
        /// The same for every try of this code.
        idempotency_key: String,
        /// How often it was tried in vain.
        tries: u32,
        /// What was in the way the last time.
        #[serde(alias = "trouble")]
        service_error: Option<ServiceError>,
    },
    /// The registry answered, and its license is being verified.
    Verify {
        /// What was entered.
        #[serde(alias = "entered")]
        setup_form: SetupForm,
        /// What it answered.
        claimed: UnverifiedIdentity,
        /// How often it was tried in vain.
        tries: u32,
        /// What was in the way the last time.
        #[serde(alias = "trouble")]
        service_error: Option<ServiceError>,
    },
    /// The Secrets are to be written.
    Write {
        /// What was entered.
        #[serde(alias = "entered")]
        setup_form: SetupForm,
        /// Who this appliance is; none where the operator chose to install without a code.
        identity: Option<Identity>,
    },
    /// The product is to be bootstrapped.
    Bootstrap {
        /// The tenant, where the registry named it.
        tenant_id: Option<Uuid>,
    },
    /// All is done.
    Done {
        /// The tenant, where the registry named it.
        tenant_id: Option<Uuid>,
    },
}

/// What the program knows of the product, which it keeps in the state folder under this name.
pub const PRODUCT: &str = "product.json";

/// Its name in the state folder.
const FILE: &str = "install.json";

/// What is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    /// Whether a code was ever entered: then this appliance never makes up a tenant.
    code_was_entered: bool,
    step: Step,
    /// The codes that were tried, until one brought an identity.
    #[serde(default, alias = "tried")]
    attempted_codes: AttemptedCodes,
    /// What this appliance calls itself: as it was at the first try, since the registry knows the
    /// redemption by it.
    appliance_id: String,
}

impl State {
    fn begin(appliance_id: String) -> Self {
        let step = Step::Collect { refused: None, before: None };
        Self {
            code_was_entered: false,
            step,
            attempted_codes: AttemptedCodes::default(),
            appliance_id,
        }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until the operator enters something.
    WaitForOperator,
    /// The same again, after this pause.
    TryAgain {
        /// Why.
        service_error: ServiceError,
        /// After how long.
        after: Duration,
    },
    /// The next step, at once.
    GoOn,
    /// Nothing: all is done.
    Finished,
}

/// Why a form is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The installation is past it.
    #[error("The installation is under way already.")]
    UnderWay,
    /// The answer is missing.
    #[error("An appliance without a network needs the answer to its request.")]
    NoAnswer,
    /// The installation is done.
    #[error(
        "This appliance is installed already. To install it anew, start over with `reset` and a re-issued code."
    )]
    Installed,
    /// A code was entered before.
    #[error(
        "An install code was entered on this appliance, so it waits for its tenant. Enter a code, or start over with `reset`."
    )]
    CodeWasEntered,
    /// It cannot be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a step was not taken. It is taken again by the next [`Install::advance`].
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The state cannot be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Secrets cannot be written, or the product cannot be bootstrapped.
    #[error("{0}")]
    Product(String),
}

/// What takes the identity over: the cluster, say.
#[async_trait::async_trait]
pub trait Product: Send + Sync {
    /// Writes the Secrets. MUST be repeatable.
    async fn write(&self, manifests: &Manifests) -> Result<(), String>;

    /// Writes the Secret with a renewed license. MUST be repeatable.
    async fn renew(&self, license_seed: &str) -> Result<(), String>;

    /// Starts the bootstrap, and waits for it. MUST be repeatable.
    async fn bootstrap(&self) -> Result<(), String>;
}

/// An installation in its folder.
pub struct Install {
    folder: Folder,
    state: State,
}

impl Install {
    /// Goes on where the folder says, or begins, under this name.
    pub fn open(folder: &Path, appliance_id: String) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let state = folder.read(FILE)?.unwrap_or_else(|| State::begin(appliance_id));
        Ok(Self { folder, state })
    }

    /// Keeps other programs from installing, for as long as the lock is there, and removes what one
    /// that was killed left.
    pub fn lock(folder: &Path) -> Result<Lock, StoreError> {
        let folder = Folder::open(folder)?;
        let lock = folder.lock_now(FILE)?;
        folder.sweep()?;
        Ok(lock)
    }

    /// What this appliance calls itself.
    #[must_use]
    pub fn appliance_id(&self) -> &str {
        &self.state.appliance_id
    }

    /// Where it is.
    #[must_use]
    pub fn step(&self) -> &Step {
        &self.state.step
    }

    /// Forgets everything, also where it is damaged: the code that was entered, the identity that
    /// it brought, a request that waits, and the keys that were pinned.
    pub fn reset(folder: &Path) -> Result<(), StoreError> {
        let folder = Folder::open(folder)?;
        // A check-in that goes on would write it again.
        let _lock = folder.lock(license_state::FILE)?;
        folder.sweep()?;
        [license_state::FILE, offline::FILE, KEYS, PRODUCT, FILE]
            .into_iter()
            .try_for_each(|file| folder.clear(file))
    }

    /// Takes what the operator entered. While a code waits for the service, another one may take
    /// its place. A code that was not tried yet is tried under `fresh_key`: 16 to 255 characters,
    /// drawn at random.
    pub fn submit(&mut self, setup_form: SetupForm, fresh_key: String) -> Result<(), SubmitError> {
        self.is_open()?;
        let mut state = self.state.clone();
        state.step = match &setup_form.way {
            ProvisioningMethod::WithoutCode { .. } if state.code_was_entered => {
                return Err(SubmitError::CodeWasEntered);
            }
            ProvisioningMethod::WithoutCode { .. } => Step::Write { setup_form, identity: None },
            ProvisioningMethod::Offline => return Err(SubmitError::NoAnswer),
            ProvisioningMethod::Code { code } => {
                state.code_was_entered = true;
                let idempotency_key = state.attempted_codes.key_for(code.expose(), fresh_key);
                Step::Redeem { setup_form, idempotency_key, tries: 0, service_error: None }
            }
        };
        Ok(self.enter(state)?)
    }

    /// Whether something may be entered, and why not.
    pub fn is_open(&self) -> Result<(), SubmitError> {
        match self.state.step {
            Step::Collect { .. } | Step::Redeem { .. } | Step::Verify { .. } => Ok(()),
            Step::Write { .. } | Step::Bootstrap { .. } => Err(SubmitError::UnderWay),
            Step::Done { .. } => Err(SubmitError::Installed),
        }
    }

    /// What was entered, for as long as it can be corrected.
    #[must_use]
    pub fn setup_form(&self) -> Option<&SetupForm> {
        match &self.state.step {
            Step::Collect { before, .. } => before.as_deref(),
            Step::Redeem { setup_form, .. } | Step::Verify { setup_form, .. } => Some(setup_form),
            Step::Write { .. } | Step::Bootstrap { .. } | Step::Done { .. } => None,
        }
    }

    /// Whether a code was ever entered here: then there is no way without one.
    #[must_use]
    pub fn code_was_entered(&self) -> bool {
        self.state.code_was_entered
    }

    /// Takes an answer that was carried here, and forgets the request: no answer is taken twice.
    pub fn submit_answer(
        &mut self,
        setup_form: SetupForm,
        answered: Answered,
    ) -> Result<(), SubmitError> {
        self.is_open()?;
        let Answered { identity, appliance_id } = answered;
        let step = Step::Write { setup_form, identity: Some(identity) };
        self.enter(State {
            code_was_entered: true,
            step,
            attempted_codes: AttemptedCodes::default(),
            appliance_id,
        })?;
        Ok(self.folder.clear(offline::FILE)?)
    }

    /// Takes the next step. `jitter` is drawn freshly by the caller.
    pub async fn advance(
        &mut self,
        registry: &dyn RedeemClient,
        product: &dyn Product,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        match self.state.step.clone() {
            Step::Redeem { setup_form, idempotency_key, tries, .. } => {
                self.redeem(registry, setup_form, idempotency_key, tries, jitter).await
            }
            Step::Verify { setup_form, claimed, tries, .. } => {
                self.verify(registry, setup_form, claimed, tries, jitter).await
            }
            Step::Collect { .. }
            | Step::Write { .. }
            | Step::Bootstrap { .. }
            | Step::Done { .. } => self.hand_over(product).await,
        }
    }

    /// Takes the next step of those that need no registry.
    pub async fn hand_over(&mut self, product: &dyn Product) -> Result<Next, InstallError> {
        match self.state.step.clone() {
            Step::Collect { .. } | Step::Redeem { .. } | Step::Verify { .. } => {
                Ok(Next::WaitForOperator)
            }
            Step::Done { .. } => Ok(Next::Finished),
            Step::Write { setup_form, identity } => {
                let made = manifests(&setup_form, identity.as_ref(), &self.state.appliance_id);
                product.write(&made).await.map_err(InstallError::Product)?;
                self.hold(identity.as_ref()).await?;
                let tenant_id = identity.map(|identity| identity.tenant_id);
                self.go_on(Step::Bootstrap { tenant_id })
            }
            Step::Bootstrap { tenant_id } => {
                product.bootstrap().await.map_err(InstallError::Product)?;
                self.go_on(Step::Done { tenant_id })
            }
        }
    }

    async fn redeem(
        &mut self,
        registry: &dyn RedeemClient,
        setup_form: SetupForm,
        idempotency_key: String,
        tries: u32,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        let ProvisioningMethod::Code { code } = &setup_form.way else {
            return self.go_on(Step::Collect { refused: None, before: Some(Box::new(setup_form)) });
        };
        let request = RedeemRequest {
            code: code.clone(),
            appliance_id: self.state.appliance_id.clone(),
            idempotency_key: idempotency_key.clone(),
        };
        match registry.redeem(&request).await {
            // Written down before anything is done with it: the code is spent.
            RedeemOutcome::Answered(claimed) => self.go_on(Step::Verify {
                setup_form,
                claimed: *claimed,
                tries: 0,
                service_error: None,
            }),
            RedeemOutcome::Refused(refused) => {
                self.state.attempted_codes.refused(request.code.expose());
                self.go_on(Step::Collect {
                    refused: Some(refused),
                    before: Some(Box::new(setup_form)),
                })?;
                Ok(Next::WaitForOperator)
            }
            RedeemOutcome::ServiceError(service_error) => {
                let tries = tries.saturating_add(1);
                let after = service_error.pause(tries, jitter);
                let trouble_now = Some(service_error.clone());
                self.go_on(Step::Redeem {
                    setup_form,
                    idempotency_key,
                    tries,
                    service_error: trouble_now,
                })?;
                Ok(Next::TryAgain { service_error, after })
            }
        }
    }

    async fn verify(
        &mut self,
        registry: &dyn RedeemClient,
        setup_form: SetupForm,
        claimed: UnverifiedIdentity,
        tries: u32,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        match registry.believe(&claimed).await {
            Ok(identity) => self.go_on(Step::Write { setup_form, identity: Some(identity) }),
            Err(service_error) => {
                let tries = tries.saturating_add(1);
                let after = service_error.pause(tries, jitter);
                self.go_on(Step::Verify {
                    setup_form,
                    claimed,
                    tries,
                    service_error: Some(service_error.clone()),
                })?;
                Ok(Next::TryAgain { service_error, after })
            }
        }
    }

    /// What check-ins start from; without a license there is nothing to renew. What was renewed
    /// since is not undone.
    async fn hold(&self, identity: Option<&Identity>) -> Result<(), StoreError> {
        let first =
            identity.and_then(|identity| LicenseState::first(identity, &self.state.appliance_id));
        let _lock = self.folder.lock_soon(license_state::FILE).await?;
        let Some(first) = first else { return self.folder.clear(license_state::FILE) };
        let license_state: Option<LicenseState> = self.folder.read(license_state::FILE)?;
        match license_state {
            Some(license_state)
                if license_state.licensed.credential == first.licensed.credential =>
            {
                Ok(())
            }
            Some(_) | None => self.folder.write(license_state::FILE, &first),
        }
    }

    fn go_on(&mut self, step: Step) -> Result<Next, InstallError> {
        // With an identity, no code is typed any more.
        let is_past =
            !matches!(step, Step::Collect { .. } | Step::Redeem { .. } | Step::Verify { .. });
        let attempted_codes =
            if is_past { AttemptedCodes::default() } else { self.state.attempted_codes.clone() };
        self.enter(State { step, attempted_codes, ..self.state.clone() })?;
        Ok(Next::GoOn)
    }

    /// First on the disk, then here: what is not written down has not happened.
    fn enter(&mut self, state: State) -> Result<(), StoreError> {
        self.folder.write(FILE, &state)?;
        self.state = state;
        Ok(())
    }
}
