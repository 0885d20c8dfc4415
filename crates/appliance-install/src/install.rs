//! The installation, step by step. Each step is written down before it is taken.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entered::{Entered, Way};
use crate::held::{self, Held};
use crate::offline;
use crate::outcome::{Identity, Outcome, Redeeming, Refused, Request};
use crate::secrets::{Manifests, manifests};
use crate::store::{Folder, Lock, StoreError};
use crate::trouble::Trouble;

/// Where the installation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The operator has to enter something, or to correct it.
    Collect {
        /// What was wrong, where something was.
        refused: Option<Refused>,
    },
    /// The code is being redeemed.
    Redeem {
        /// What was entered.
        entered: Entered,
        /// The same for every try of this code.
        idempotency_key: String,
        /// How often it was tried in vain.
        tries: u32,
        /// What was in the way the last time.
        trouble: Option<Trouble>,
    },
    /// The Secrets are to be written.
    Write {
        /// What was entered.
        entered: Entered,
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

/// Its name in the state folder.
const FILE: &str = "install.json";

/// What is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    /// Whether a code was ever entered: then this appliance never makes up a tenant.
    code_was_entered: bool,
    step: Step,
}

impl State {
    fn begin() -> Self {
        Self { code_was_entered: false, step: Step::Collect { refused: None } }
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
        trouble: Trouble,
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
    Handing(String),
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
    appliance_id: String,
}

impl Install {
    /// Goes on where the folder says, or begins.
    pub fn open(folder: &Path, appliance_id: String) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let state = folder.read(FILE)?.unwrap_or_else(State::begin);
        Ok(Self { folder, state, appliance_id })
    }

    /// Keeps other programs from installing, for as long as the lock is there.
    pub fn lock(folder: &Path) -> Result<Lock, StoreError> {
        Folder::open(folder)?.lock_now(FILE)
    }

    /// Where it is.
    #[must_use]
    pub fn step(&self) -> &Step {
        &self.state.step
    }

    /// Forgets everything: the code that was entered, and the identity that it brought.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        self.folder.clear(held::FILE)?;
        self.folder.clear(offline::FILE)?;
        self.folder.clear(FILE)?;
        self.state = State::begin();
        Ok(())
    }

    /// Takes what the operator entered. While a code waits for the service, another one may take its place. A code that was
    /// not tried yet is tried under `fresh_key`: 16 to 255 characters, drawn at random.
    pub fn submit(&mut self, entered: Entered, fresh_key: String) -> Result<(), SubmitError> {
        if !matches!(self.state.step, Step::Collect { .. } | Step::Redeem { .. }) {
            return Err(SubmitError::UnderWay);
        }
        let (code_was_entered, step) = match &entered.way {
            Way::WithoutCode { .. } if self.state.code_was_entered => return Err(SubmitError::CodeWasEntered),
            Way::WithoutCode { .. } => (false, Step::Write { entered, identity: None }),
            Way::Offline => return Err(SubmitError::NoAnswer),
            Way::Code { .. } => {
                let idempotency_key = self.key_for(&entered, fresh_key);
                (true, Step::Redeem { entered, idempotency_key, tries: 0, trouble: None })
            }
        };
        Ok(self.enter(State { code_was_entered, step })?)
    }

    /// Takes an answer that was carried here, and forgets the request: no answer is taken twice.
    pub fn submit_answer(&mut self, entered: Entered, identity: Identity) -> Result<(), SubmitError> {
        if !matches!(self.state.step, Step::Collect { .. } | Step::Redeem { .. }) {
            return Err(SubmitError::UnderWay);
        }
        self.enter(State { code_was_entered: true, step: Step::Write { entered, identity: Some(identity) } })?;
        Ok(self.folder.clear(offline::FILE)?)
    }

    /// The code that waits keeps its key: its answer may only be lost.
    fn key_for(&self, entered: &Entered, fresh_key: String) -> String {
        match &self.state.step {
            Step::Redeem { entered: before, idempotency_key, .. } if before.way == entered.way => {
                idempotency_key.clone()
            }
            _ => fresh_key,
        }
    }

    /// Takes the next step. `jitter` is drawn freshly by the caller.
    pub async fn advance(
        &mut self,
        registry: &dyn Redeeming,
        product: &dyn Product,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        match self.state.step.clone() {
            Step::Redeem { entered, idempotency_key, tries, .. } => {
                self.redeem(registry, entered, idempotency_key, tries, jitter).await
            }
            Step::Collect { .. } | Step::Write { .. } | Step::Bootstrap { .. } | Step::Done { .. } => {
                self.hand_over(product).await
            }
        }
    }

    /// Takes the next step of those that need no registry.
    pub async fn hand_over(&mut self, product: &dyn Product) -> Result<Next, InstallError> {
        match self.state.step.clone() {
            Step::Collect { .. } | Step::Redeem { .. } => Ok(Next::WaitForOperator),
            Step::Done { .. } => Ok(Next::Finished),
            Step::Write { entered, identity } => {
                let made = manifests(&entered, identity.as_ref(), &self.appliance_id);
                self.hold(identity.as_ref())?;
                product.write(&made).await.map_err(InstallError::Handing)?;
                let tenant_id = identity.map(|identity| identity.tenant_id);
                self.go_on(Step::Bootstrap { tenant_id })
            }
            Step::Bootstrap { tenant_id } => {
                product.bootstrap().await.map_err(InstallError::Handing)?;
                self.go_on(Step::Done { tenant_id })
            }
        }
    }

    async fn redeem(
        &mut self,
        registry: &dyn Redeeming,
        entered: Entered,
        idempotency_key: String,
        tries: u32,
        jitter: u8,
    ) -> Result<Next, InstallError> {
        let Way::Code { code } = &entered.way else { return self.go_on(Step::Collect { refused: None }) };
        let request = Request {
            code: code.clone(),
            appliance_id: self.appliance_id.clone(),
            idempotency_key: idempotency_key.clone(),
        };
        match registry.redeem(&request).await {
            // Written down before anything is done with it.
            Outcome::Redeemed(identity) => self.go_on(Step::Write { entered, identity: Some(*identity) }),
            Outcome::Refused(refused) => {
                self.go_on(Step::Collect { refused: Some(refused) })?;
                Ok(Next::WaitForOperator)
            }
            Outcome::Trouble(trouble) => {
                let tries = tries.saturating_add(1);
                let after = trouble.pause(tries, jitter);
                let trouble_now = Some(trouble.clone());
                self.go_on(Step::Redeem { entered, idempotency_key, tries, trouble: trouble_now })?;
                Ok(Next::TryAgain { trouble, after })
            }
        }
    }

    /// What check-ins start from; without a license there is nothing to renew.
    fn hold(&self, identity: Option<&Identity>) -> Result<(), StoreError> {
        let held = identity.and_then(|identity| Held::first(identity, &self.appliance_id));
        let _lock = self.folder.lock(held::FILE)?;
        match held {
            Some(held) => self.folder.write(held::FILE, &held),
            None => self.folder.clear(held::FILE),
        }
    }

    fn go_on(&mut self, step: Step) -> Result<Next, InstallError> {
        self.enter(State { code_was_entered: self.state.code_was_entered, step })?;
        Ok(Next::GoOn)
    }

    /// First on the disk, then here: what is not written down has not happened.
    fn enter(&mut self, state: State) -> Result<(), StoreError> {
        self.folder.write(FILE, &state)?;
        self.state = state;
        Ok(())
    }
}
