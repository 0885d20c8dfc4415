//! The installation, step by step. Each step is written down before it is taken.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::entered::{Entered, Way};
use crate::held::{self, Held};
use crate::offline;
use crate::outcome::{Identity, Outcome, Redeeming, Refused, Request};
use crate::secret::SecretText;
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
        /// What was entered then: only what was wrong has to be typed again.
        before: Option<Box<Entered>>,
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
    /// The codes that were tried, until all is done.
    #[serde(default)]
    tried: Vec<Tried>,
}

/// A code that was tried. Its answer may have been lost: also where another one was tried since, it keeps its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    /// SHA-256 of it, however it was typed.
    code: String,
    idempotency_key: String,
}

/// How many codes are remembered.
const REMEMBERED: usize = 20;

/// The same for every way to type a code.
fn code_digest(code: &str) -> String {
    let plain: String = code.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_uppercase).collect();
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(plain))
}

impl State {
    /// The key of a code: the one that it was tried under before, else the fresh one.
    fn key_for(&mut self, code: &SecretText, fresh_key: String) -> String {
        let code = code_digest(code.expose());
        if let Some(before) = self.tried.iter().find(|tried| tried.code == code) {
            return before.idempotency_key.clone();
        }
        let forgotten = (self.tried.len() + 1).saturating_sub(REMEMBERED);
        self.tried.drain(..forgotten);
        self.tried.push(Tried { code, idempotency_key: fresh_key.clone() });
        fresh_key
    }

    fn begin() -> Self {
        Self { code_was_entered: false, step: Step::Collect { refused: None, before: None }, tried: Vec::new() }
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
    /// The installation is done.
    #[error("This appliance is installed already. To install it anew, start over with `reset` and a re-issued code.")]
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
        // A check-in that goes on would write it again.
        let _lock = self.folder.lock(held::FILE)?;
        self.folder.clear(held::FILE)?;
        self.folder.clear(offline::FILE)?;
        self.folder.clear(FILE)?;
        self.state = State::begin();
        Ok(())
    }

    /// Takes what the operator entered. While a code waits for the service, another one may take its place. A code that was
    /// not tried yet is tried under `fresh_key`: 16 to 255 characters, drawn at random.
    pub fn submit(&mut self, entered: Entered, fresh_key: String) -> Result<(), SubmitError> {
        self.is_open()?;
        let mut state = self.state.clone();
        state.step = match &entered.way {
            Way::WithoutCode { .. } if state.code_was_entered => return Err(SubmitError::CodeWasEntered),
            Way::WithoutCode { .. } => Step::Write { entered, identity: None },
            Way::Offline => return Err(SubmitError::NoAnswer),
            Way::Code { code } => {
                state.code_was_entered = true;
                let idempotency_key = state.key_for(code, fresh_key);
                Step::Redeem { entered, idempotency_key, tries: 0, trouble: None }
            }
        };
        Ok(self.enter(state)?)
    }

    /// Whether something may be entered.
    fn is_open(&self) -> Result<(), SubmitError> {
        match self.state.step {
            Step::Collect { .. } | Step::Redeem { .. } => Ok(()),
            Step::Write { .. } | Step::Bootstrap { .. } => Err(SubmitError::UnderWay),
            Step::Done { .. } => Err(SubmitError::Installed),
        }
    }

    /// What was entered, for as long as it can be corrected.
    #[must_use]
    pub fn entered(&self) -> Option<&Entered> {
        match &self.state.step {
            Step::Collect { before, .. } => before.as_deref(),
            Step::Redeem { entered, .. } => Some(entered),
            Step::Write { .. } | Step::Bootstrap { .. } | Step::Done { .. } => None,
        }
    }

    /// Whether a code was ever entered here: then there is no way without one.
    #[must_use]
    pub fn code_was_entered(&self) -> bool {
        self.state.code_was_entered
    }

    /// Takes an answer that was carried here, and forgets the request: no answer is taken twice.
    pub fn submit_answer(&mut self, entered: Entered, identity: Identity) -> Result<(), SubmitError> {
        self.is_open()?;
        let step = Step::Write { entered, identity: Some(identity) };
        self.enter(State { code_was_entered: true, step, tried: Vec::new() })?;
        Ok(self.folder.clear(offline::FILE)?)
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
        let Way::Code { code } = &entered.way else {
            return self.go_on(Step::Collect { refused: None, before: Some(Box::new(entered)) });
        };
        let request = Request {
            code: code.clone(),
            appliance_id: self.appliance_id.clone(),
            idempotency_key: idempotency_key.clone(),
        };
        match registry.redeem(&request).await {
            // Written down before anything is done with it.
            Outcome::Redeemed(identity) => self.go_on(Step::Write { entered, identity: Some(*identity) }),
            Outcome::Refused(refused) => {
                self.go_on(Step::Collect { refused: Some(refused), before: Some(Box::new(entered)) })?;
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
        // With an identity, no code is typed any more.
        let is_past = !matches!(step, Step::Collect { .. } | Step::Redeem { .. });
        let tried = if is_past { Vec::new() } else { self.state.tried.clone() };
        self.enter(State { code_was_entered: self.state.code_was_entered, step, tried })?;
        Ok(Next::GoOn)
    }

    /// First on the disk, then here: what is not written down has not happened.
    fn enter(&mut self, state: State) -> Result<(), StoreError> {
        self.folder.write(FILE, &state)?;
        self.state = state;
        Ok(())
    }
}
