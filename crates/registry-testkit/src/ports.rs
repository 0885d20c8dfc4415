//! Test implementations of the small ports: clock, randomness, mail, files, and a failing signer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use registry_core::blob::{BlobError, BlobKey, BlobStore, BlobUpload};
use registry_core::clock::{Clock, Timestamp, truncate};
use registry_core::entropy::Entropy;
use registry_core::id::CodeId;
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError, SignedLicense};
use registry_core::mail::{MailError, Mailer, Message, OutgoingMail};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::{AnswerToken, DownloadLink};

/// A clock that stands still until a test advances it.
pub struct ManualClock(Mutex<Timestamp>);

impl Default for ManualClock {
    /// 2026-11-24 03:24:00 UTC.
    fn default() -> Self {
        Self(Mutex::new(Timestamp::from_timestamp(1_795_490_640, 0).expect("a date")))
    }
}

impl ManualClock {
    /// Moves the clock forward.
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

/// Randomness that is determined by a seed (`SplitMix64`). For tests only.
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// Creates randomness from a seed.
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

/// A real signer that a test can make fail.
pub struct FlakySigner {
    signer: Arc<dyn LicenseSigner>,
    failing: AtomicBool,
}

impl FlakySigner {
    /// Creates a signer that signs with `signer` until a test makes it fail.
    #[must_use]
    pub fn new(signer: Arc<dyn LicenseSigner>) -> Self {
        Self { signer, failing: AtomicBool::new(false) }
    }

    /// Makes signing fail from now on, or work again.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl LicenseSigner for FlakySigner {
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(SignError("failing on request of the test".to_owned()));
        }
        self.signer.sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.signer.sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.signer.public_keys()
    }

    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        self.signer.signed_key_sets(issuer, now)
    }
}

/// A mail that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// Id of the mail.
    pub id: String,
    /// Address of the recipient.
    pub to: String,
    /// Install code in the mail; empty if the mail has no code.
    pub code: String,
    /// Link in the mail: for the download, or to sign in.
    pub link: Option<String>,
}

/// A mailer that records mails in memory, or fails on request.
#[derive(Default)]
pub struct MemoryMailer {
    sent: Mutex<Vec<SentMail>>,
    failure: Mutex<Option<MailError>>,
    probe_succeeds: AtomicBool,
}

impl MemoryMailer {
    /// Returns the mails sent so far.
    #[must_use]
    pub fn sent(&self) -> Vec<SentMail> {
        self.sent.lock().unwrap().clone()
    }

    /// Makes every mail fail with this error from now on, or be sent again if `None`.
    pub fn fail(&self, failure: Option<MailError>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// Makes the probe succeed from now on, even while every mail fails.
    pub fn keep_probe_healthy(&self) {
        self.probe_succeeds.store(true, Ordering::SeqCst);
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
            ) if !self.probe_succeeds.load(Ordering::SeqCst) => Err(error),
            _ => Ok(()),
        }
    }

    fn send_timeout(&self) -> TimeDelta {
        TimeDelta::seconds(10)
    }
}

/// A blob store in memory. Its links contain the file's key and their expiry, and lead nowhere.
#[derive(Clone, Default)]
pub struct MemoryBlobs {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    down: Arc<AtomicBool>,
    truncating: Arc<AtomicBool>,
}

impl MemoryBlobs {
    /// Takes the store down from now on, or up again.
    pub fn fail(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Drops the last byte of every upload from now on.
    pub fn truncate_uploads(&self) {
        self.truncating.store(true, Ordering::SeqCst);
    }

    /// Returns the content of a file.
    #[must_use]
    pub fn content(&self, key: &BlobKey) -> Option<Vec<u8>> {
        self.files.lock().unwrap().get(key.as_str()).cloned()
    }

    fn check_up(&self) -> Result<(), BlobError> {
        if self.down.load(Ordering::SeqCst) {
            Err(BlobError::Unavailable("taken down by the test".to_owned()))
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
        self.blobs.check_up()?;
        self.content.extend_from_slice(part);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        self.blobs.check_up()?;
        if self.blobs.truncating.load(Ordering::SeqCst) {
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
        self.check_up()?;
        Ok(Box::new(MemoryUpload { blobs: self.clone(), key: key.clone(), content: Vec::new() }))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        self.check_up()?;
        let files = self.files.lock().unwrap();
        files
            .get(key.as_str())
            .map(|content| content.len() as u64)
            .ok_or_else(|| BlobError::NotFound(key.clone()))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.check_up()?;
        self.files.lock().unwrap().remove(key.as_str());
        Ok(())
    }

    async fn link(
        &self,
        key: &BlobKey,
        _holder: Option<CodeId>,
        _now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError> {
        Ok(DownloadLink::new(format!("memory:{key}?expires={}", expires_at.timestamp())))
    }

    async fn probe(&self) -> Result<(), BlobError> {
        self.check_up()
    }
}
