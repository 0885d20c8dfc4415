//! The small ports: clock, randomness, mail, files, and a signer that can be made to fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use registry_core::blob::{BlobError, BlobKey, BlobStore, BlobUpload};
use registry_core::clock::{Clock, Timestamp, truncate};
use registry_core::entropy::Entropy;
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError};
use registry_core::mail::{MailError, Mailer, Message, OutgoingMail};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::{AnswerToken, DownloadLink, LicenseToken};

/// A clock that stands still until it is told otherwise.
pub struct ManualClock(Mutex<Timestamp>);

impl Default for ManualClock {
    /// 2026-11-24 03:24:00 UTC.
    fn default() -> Self {
        Self(Mutex::new(Timestamp::from_timestamp(1_795_490_640, 0).expect("a date")))
    }
}

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.0.lock().unwrap();
        *now = truncate(*now + by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Randomness that repeats with its seed (`SplitMix64`). For tests only.
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// Randomness of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A real signer with a switch that makes it fail.
pub struct FlakySigner {
    signer: Arc<dyn LicenseSigner>,
    failing: AtomicBool,
}

impl FlakySigner {
    /// Signs with `signer`, until told to fail.
    #[must_use]
    pub fn new(signer: Arc<dyn LicenseSigner>) -> Self {
        Self { signer, failing: AtomicBool::new(false) }
    }

    /// From now on signing fails, or works again.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl LicenseSigner for FlakySigner {
    fn sign(&self, claims: &LicenseClaims) -> Result<LicenseToken, SignError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(SignError("told to fail".to_owned()));
        }
        self.signer.sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.signer.sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.signer.public_keys()
    }
}

/// A mail as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// Its id.
    pub id: String,
    /// To whom.
    pub to: String,
    /// The install code in it; empty where it brings none.
    pub code: String,
    /// The link in it: to download, or to sign in.
    pub link: Option<String>,
}

/// Keeps the mails it is given, or refuses them.
#[derive(Default)]
pub struct MemoryMailer {
    sent: Mutex<Vec<SentMail>>,
    failure: Mutex<Option<MailError>>,
    choosy: AtomicBool,
}

impl MemoryMailer {
    /// What was sent so far.
    #[must_use]
    pub fn sent(&self) -> Vec<SentMail> {
        self.sent.lock().unwrap().clone()
    }

    /// From now on every mail fails so, or is sent again.
    pub fn fail(&self, failure: Option<MailError>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// From now on it says that it can send, whatever becomes of the mails.
    pub fn be_choosy(&self) {
        self.choosy.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Mailer for MemoryMailer {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)?;
        let (code, link) = match &mail.message {
            Message::InstallCode(message) => {
                let link =
                    message.download.as_ref().map(|download| download.link.expose().to_owned());
                (message.code.grouped().to_string(), link)
            }
            Message::PortalLink(message) => (String::new(), Some(message.link.expose().to_owned())),
            Message::RegistrationLink(message) => {
                (String::new(), Some(message.link.expose().to_owned()))
            }
        };
        self.sent.lock().unwrap().push(SentMail {
            id: mail.id.to_string(),
            to: mail.to.to_string(),
            code,
            link,
        });
        Ok(())
    }

    async fn probe(&self) -> Result<(), MailError> {
        match self.failure.lock().unwrap().clone() {
            Some(
                error @ (MailError::Unavailable(_)
                | MailError::Unclear(_)
                | MailError::Unreadable(_)),
            ) if !self.choosy.load(Ordering::SeqCst) => Err(error),
            _ => Ok(()),
        }
    }

    fn patience(&self) -> TimeDelta {
        TimeDelta::seconds(10)
    }
}

/// Keeps files in memory. Its links are told apart by key and expiry, and lead nowhere.
#[derive(Clone, Default)]
pub struct MemoryBlobs {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    down: Arc<AtomicBool>,
    losing: Arc<AtomicBool>,
}

impl MemoryBlobs {
    /// From now on the store is down, or up again.
    pub fn fail(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// From now on the last byte of every upload gets lost on the way.
    pub fn lose_last_bytes(&self) {
        self.losing.store(true, Ordering::SeqCst);
    }

    /// The content of a file.
    #[must_use]
    pub fn content(&self, key: &BlobKey) -> Option<Vec<u8>> {
        self.files.lock().unwrap().get(key.as_str()).cloned()
    }

    fn up(&self) -> Result<(), BlobError> {
        if self.down.load(Ordering::SeqCst) {
            Err(BlobError::Unavailable("told to be down".to_owned()))
        } else {
            Ok(())
        }
    }
}

struct MemoryUpload {
    blobs: MemoryBlobs,
    key: BlobKey,
    content: Vec<u8>,
}

#[async_trait]
impl BlobUpload for MemoryUpload {
    async fn write(&mut self, part: &[u8]) -> Result<(), BlobError> {
        self.blobs.up()?;
        self.content.extend_from_slice(part);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        self.blobs.up()?;
        if self.blobs.losing.load(Ordering::SeqCst) {
            self.content.pop();
        }
        self.blobs.files.lock().unwrap().insert(self.key.to_string(), self.content);
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<(), BlobError> {
        Ok(())
    }
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn upload(
        &self,
        key: &BlobKey,
        _size: Option<u64>,
    ) -> Result<Box<dyn BlobUpload>, BlobError> {
        self.up()?;
        Ok(Box::new(MemoryUpload { blobs: self.clone(), key: key.clone(), content: Vec::new() }))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        self.up()?;
        let files = self.files.lock().unwrap();
        files
            .get(key.as_str())
            .map(|content| content.len() as u64)
            .ok_or_else(|| BlobError::NotFound(key.clone()))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.up()?;
        self.files.lock().unwrap().remove(key.as_str());
        Ok(())
    }

    async fn link(
        &self,
        key: &BlobKey,
        _now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError> {
        Ok(DownloadLink::new(format!("memory:{key}?expires={}", expires_at.timestamp())))
    }

    async fn probe(&self) -> Result<(), BlobError> {
        self.up()
    }
}
