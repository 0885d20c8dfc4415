//! Downloads: links to the current image, offered only if its file exists and is complete, and the
//! rule for who may follow them.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::audit::{Action, AuditDetail};
use crate::blob::{BlobError, BlobKey};
use crate::clock::{Timestamp, minute};
use crate::id::{CodeId, TenantId};
use crate::install_code::{CodeState, InstallCode};
use crate::rate_limit::Source;
use crate::refusal::Refusal;
use crate::registry::{Error, Registry};
use crate::release::Release;
use crate::secret::DownloadLink;
use crate::tenant::Tenant;
use crate::text::EmailAddress;

/// Lifetime of a cached file check: a check may be a call over the network.
const CACHED_FOR: TimeDelta = TimeDelta::seconds(10);

/// Result of the last check of a release's file: its key, the time, and whether it was complete.
#[derive(Default)]
pub(crate) struct FileCheckCache(Mutex<Option<(BlobKey, Timestamp, bool)>>);

impl FileCheckCache {
    fn get(&self, key: &BlobKey, now: Timestamp) -> Option<bool> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_valid = |it: &&(BlobKey, Timestamp, bool)| {
            it.0 == *key && it.1 <= now && now - it.1 < CACHED_FOR
        };
        last.as_ref().filter(is_valid).map(|it| it.2)
    }

    fn put(&self, key: &BlobKey, now: Timestamp, is_whole: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), now, is_whole));
    }
}

/// A request for a download, with the release to deliver or the refusal.
struct DownloadRequest {
    code: CodeId,
    tenant: TenantId,
    release: Result<Release, Refusal>,
}

/// Name of the actor in audit entries about downloads.
const CUSTOMER: &str = "customer";

impl Registry {
    /// Creates a link to a release's file that expires at `expires_at`. Returns `None` if the file
    /// is missing or incomplete.
    pub(crate) async fn download_link(
        &self,
        release: &Release,
        holder: Option<CodeId>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<DownloadLink>, BlobError> {
        if self.seems_whole(release, now).await {
            self.ports.blobs.link(&release.key, holder, now, expires_at).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// Returns true if a release's file is complete, as far as is known. If the blob store does not
    /// respond, the file counts as complete: the store may be back when the link is followed.
    pub(crate) async fn seems_whole(&self, release: &Release, now: Timestamp) -> bool {
        if let Some(is_whole) = self.file_checks.get(&release.key, now) {
            return is_whole;
        }
        // The result is cached even if the store does not respond. Otherwise each registration
        // would wait for the store.
        let is_whole = self.is_whole(release).await.unwrap_or(true);
        self.file_checks.put(&release.key, now, is_whole);
        is_whole
    }

    /// Returns true if a release's file exists with all of its bytes.
    pub(crate) async fn is_whole(&self, release: &Release) -> Result<bool, Error> {
        match self.ports.blobs.size(&release.key).await {
            Ok(size) => Ok(size == release.size),
            Err(BlobError::NotFound(_)) => Ok(false),
            Err(error @ BlobError::Unavailable(_)) => Err(error.into()),
        }
    }

    /// Returns the release that customers download now, if its file exists.
    pub async fn release_offered(&self) -> Result<Option<Release>, Error> {
        let channel = self.settings.downloads.channel.clone();
        let Some(release) = self.ports.store.release_current(channel).await? else {
            return Ok(None);
        };
        Ok(self.seems_whole(&release, self.now()).await.then_some(release))
    }

    /// Creates a link to the offered release for a signed-in customer. The customer needs a tenant
    /// that is neither suspended nor cancelled. The newest such tenant gets the audit entry.
    pub async fn portal_download(
        &self,
        contact: &EmailAddress,
        source: Source,
    ) -> Result<DownloadLink, Error> {
        let Some(newest) = self.newest_open(contact).await? else {
            return Err(Refusal::TenantSuspended { tenant: None, since: None }.into());
        };
        let release = self.release_offered().await?.ok_or(Refusal::NothingToDownload)?;
        let now = self.now();
        let expires_at = now + self.settings.downloads.fresh_lifetime;
        let holder = newest.codes.first().map(|code| code.id);
        let link = self.download_link(&release, holder, now, expires_at).await?;
        let link = link.ok_or(Refusal::NothingToDownload)?;
        if let Some(code) = newest.codes.first() {
            let request =
                DownloadRequest { code: code.id, tenant: newest.tenant.id, release: Ok(release) };
            self.count_download(&request, None, source).await?;
        }
        Ok(link)
    }

    /// Exchanges the token of a mail's link for a link to the current image. Writes nothing but the
    /// audit entry.
    pub async fn mailed_download(
        &self,
        token: &str,
        source: Source,
    ) -> Result<DownloadLink, Error> {
        let request = self.download_request(token).await?;
        let now = self.now();
        let link = match &request.release {
            Ok(release) => {
                let expires_at = now + self.settings.downloads.fresh_lifetime;
                self.download_link(release, Some(request.code), now, expires_at).await?
            }
            Err(_) => None,
        };
        let outcome = request.release.clone().and_then(|_| link.ok_or(Refusal::NothingToDownload));
        self.count_download(&request, outcome.as_ref().err(), source).await?;
        Ok(outcome?)
    }

    /// Returns the release that the token of a mail's link leads to now. The call is not audited,
    /// since nothing is downloaded.
    pub async fn download_show(&self, token: &str) -> Result<Release, Error> {
        Ok(self.download_request(token).await?.release?)
    }

    async fn download_request(&self, token: &str) -> Result<DownloadRequest, Error> {
        let code_id =
            self.ports.vault.download_token_read(token).ok_or(Refusal::DownloadLinkInvalid)?;
        let Some((code, tenant)) = self.ports.store.code_show(code_id).await? else {
            return Err(Refusal::DownloadLinkInvalid.into());
        };
        let channel = self.settings.downloads.channel.clone();
        let current = self.ports.store.release_current(channel).await?;
        let grace = self.settings.downloads.after_redemption;
        let release = check_link(&code, &tenant, self.now(), grace)
            .and_then(|()| current.ok_or(Refusal::NothingToDownload));
        Ok(DownloadRequest { code: code_id, tenant: tenant.id, release })
    }

    async fn count_download(
        &self,
        request: &DownloadRequest,
        refusal: Option<&Refusal>,
        source: Source,
    ) -> Result<(), Error> {
        let version = request.release.as_ref().map(|release| release.version.as_str());
        let (action, detail) = match refusal {
            None => (Action::DownloadStarted, AuditDetail::value(version.unwrap_or_default())),
            Some(refusal) => (Action::DownloadRefused, AuditDetail::reason(refusal.reason())),
        };
        let actor = self.counted_actor(CUSTOMER, source);
        self.audit_sources.note(source);
        let mut entry = self.change_context(actor).audit(action, Some(request.tenant), detail);
        (entry.at, entry.code_id) = (minute(self.now()), Some(request.code));
        self.count_event(entry).await
    }

    /// Refuses the file of a yanked release, and of a link whose tenant was suspended or cancelled
    /// since, for links that the registry serves itself. A file that belongs to no release is not
    /// withheld.
    pub async fn check_file_download(
        &self,
        key: BlobKey,
        holder: Option<CodeId>,
    ) -> Result<(), Error> {
        if let Some(code) = holder {
            let found = self.ports.store.code_show(code).await?;
            let (_, tenant) = found.ok_or(Refusal::DownloadLinkInvalid)?;
            tenant.check_open()?;
        }
        match self.ports.store.release_of_file(key).await? {
            Some(Release { yanked_at: Some(since), version, .. }) => {
                Err(Refusal::ImageWithdrawn { version: version.to_string(), since }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a mail's link that has ended. A link works as long as its code can be redeemed. After a
/// redemption it works for the `grace` period, since a download may have to start again.
fn check_link(
    code: &InstallCode,
    tenant: &Tenant,
    now: Timestamp,
    grace: TimeDelta,
) -> Result<(), Refusal> {
    let ended = |since: Timestamp| Err(Refusal::DownloadLinkEnded { since });
    tenant.check_open()?;
    match code.state(now) {
        CodeState::Live => Ok(()),
        CodeState::Consumed(since) if now < since + grace => Ok(()),
        CodeState::Consumed(since) => ended(since + grace),
        CodeState::Superseded(since) | CodeState::Expired(since) => ended(since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install_code::{CodeKind, Consumption};
    use crate::secret::{CodeDigest, KeyId};
    use crate::tenant::{DeploymentType, TenantStatus};
    use crate::text::{ApplianceId, CompanyName, ProductCode};

    fn at(day: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + day * 86_400, 0).unwrap()
    }

    fn code(consumed: Option<i64>, superseded: Option<i64>) -> InstallCode {
        InstallCode {
            id: CodeId(uuid::Uuid::nil()),
            kind: CodeKind::Install,
            tenant_id: None,
            entitlement_id: None,
            digest: CodeDigest { key_id: KeyId("k".into()), bytes: [0; 32] },
            last_four: "XXXX".into(),
            issued_at: at(0),
            expires_at: at(7),
            consumed: consumed
                .map(|day| Consumption { at: at(day), by: ApplianceId::from_stored("a".into()) }),
            superseded_at: superseded.map(at),
        }
    }

    fn tenant(status: TenantStatus) -> Tenant {
        Tenant {
            id: TenantId(uuid::Uuid::nil()),
            company_name: CompanyName::from_stored("Acme".into()),
            contact_name: None,
            contact_email: None,
            edition: crate::edition::EditionName::new("pro"),
            product: ProductCode::from_stored("default".into()),
            deployment: DeploymentType::Appliance,
            status,
            subscription: None,
            billing_customer: None,
            region: None,
            origin: crate::tenant::TenantOrigin::Service,
            registered_at: at(0),
            installed_at: None,
            updated_at: at(0),
        }
    }

    /// R-download-1.
    #[test]
    fn link_ends_with_its_code() {
        let open = tenant(TenantStatus::Registered);
        let grace = TimeDelta::days(3);
        for (case, code, now, ended) in [
            ("live", code(None, None), 6, None),
            ("expired", code(None, None), 7, Some(7)),
            ("superseded", code(None, Some(2)), 3, Some(2)),
            ("just redeemed", code(Some(6), None), 6, None),
            ("redeemed, after the code's own expiry", code(Some(6), None), 8, None),
            ("redeemed long ago", code(Some(1), None), 4, Some(4)),
        ] {
            let expected =
                ended.map_or(Ok(()), |day| Err(Refusal::DownloadLinkEnded { since: at(day) }));
            assert_eq!(check_link(&code, &open, at(now), grace), expected, "{case}");
        }
        for status in [TenantStatus::Suspended, TenantStatus::Cancelled] {
            let refused = check_link(&code(None, None), &tenant(status), at(1), grace);
            assert!(matches!(refused, Err(Refusal::TenantSuspended { .. })), "{refused:?}");
        }
    }
}
