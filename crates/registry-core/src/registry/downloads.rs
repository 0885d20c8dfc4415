//! Downloads: links to the current image, only where its file is there, whole; and who may have
//! them.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::audit::{Action, Actor};
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

/// How long it is believed that a file is there, or is not: asking may be a call over the network.
const BELIEVED: TimeDelta = TimeDelta::seconds(10);

/// What was last seen of a release's file.
#[derive(Default)]
pub(crate) struct LastLook(Mutex<Option<(BlobKey, Timestamp, bool)>>);

impl LastLook {
    fn at(&self, key: &BlobKey, now: Timestamp) -> Option<bool> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            |it: &&(BlobKey, Timestamp, bool)| it.0 == *key && it.1 <= now && now - it.1 < BELIEVED;
        last.as_ref().filter(fresh).map(|it| it.2)
    }

    fn note(&self, key: &BlobKey, now: Timestamp, is_whole: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), now, is_whole));
    }
}

/// What a token was found to be good for.
struct Asked {
    code: CodeId,
    tenant: TenantId,
    admitted: Result<Release, Refusal>,
}

/// Who follows a mail's link.
const CUSTOMER: &str = "customer";

impl Registry {
    /// A link to a release's file that ends at `expires_at`; `None` where the file is gone or torn.
    pub(crate) async fn download_link(
        &self,
        release: &Release,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<DownloadLink>, BlobError> {
        if self.seems_whole(release, now).await {
            self.ports.blobs.link(&release.key, now, expires_at).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether a release's file is there whole, as far as is known. Where the blob store does not
    /// answer, it is taken to be: the store may answer by the time that somebody follows the link.
    pub(crate) async fn seems_whole(&self, release: &Release, now: Timestamp) -> bool {
        if let Some(is_whole) = self.last_look.at(&release.key, now) {
            return is_whole;
        }
        // A store that does not answer is not asked again at once either: each registration would
        // wait for it.
        let is_whole = self.is_whole(release).await.unwrap_or(true);
        self.last_look.note(&release.key, now, is_whole);
        is_whole
    }

    /// Whether a release's file is there with all of its bytes.
    pub(crate) async fn is_whole(&self, release: &Release) -> Result<bool, Error> {
        match self.ports.blobs.size(&release.key).await {
            Ok(size) => Ok(size == release.size),
            Err(BlobError::NotFound(_)) => Ok(false),
            Err(error @ BlobError::Unavailable(_)) => Err(error.into()),
        }
    }

    /// The release that customers download now: one whose file is lost is none.
    pub async fn release_offered(&self) -> Result<Option<Release>, Error> {
        let Some(release) = self.ports.store.release_current(self.settings.channel.clone()).await?
        else {
            return Ok(None);
        };
        Ok(self.seems_whole(&release, self.now()).await.then_some(release))
    }

    /// A fresh link to it, for a customer who is signed in and has a tenant that is not closed;
    /// audited with the newest one.
    pub async fn download_offered(
        &self,
        contact: &EmailAddress,
        source: Source,
    ) -> Result<DownloadLink, Error> {
        let Some(newest) = self.newest_open(contact).await? else {
            return Err(Refusal::TenantSuspended.into());
        };
        let release = self.release_offered().await?.ok_or(Refusal::NothingToDownload)?;
        let now = self.now();
        let link =
            self.download_link(&release, now, now + self.settings.fresh_link_lifetime).await?;
        let link = link.ok_or(Refusal::NothingToDownload)?;
        if let Some(code) = newest.codes.first() {
            let asked = Asked { code: code.id, tenant: newest.tenant.id, admitted: Ok(release) };
            self.note_download(&asked, None, source).await?;
        }
        Ok(link)
    }

    /// A fresh link for the token of a mail's link, to the current image. Nothing changes but the
    /// audit.
    pub async fn download_start(&self, token: &str, source: Source) -> Result<DownloadLink, Error> {
        let asked = self.download_asked(token).await?;
        let now = self.now();
        let link = match &asked.admitted {
            Ok(release) => {
                self.download_link(release, now, now + self.settings.fresh_link_lifetime).await?
            }
            Err(_) => None,
        };
        let outcome = asked.admitted.clone().and_then(|_| link.ok_or(Refusal::NothingToDownload));
        self.note_download(&asked, outcome.as_ref().err(), source).await?;
        Ok(outcome?)
    }

    /// The release that the token of a mail's link is good for now. It is not audited: nothing is
    /// downloaded.
    pub async fn download_show(&self, token: &str) -> Result<Release, Error> {
        Ok(self.download_asked(token).await?.admitted?)
    }

    async fn download_asked(&self, token: &str) -> Result<Asked, Error> {
        let code_id =
            self.ports.vault.download_token_read(token).ok_or(Refusal::DownloadLinkInvalid)?;
        let Some((code, tenant)) = self.ports.store.code_show(code_id).await? else {
            return Err(Refusal::DownloadLinkInvalid.into());
        };
        let current = self.ports.store.release_current(self.settings.channel.clone()).await?;
        let admitted = admit(&code, &tenant, self.now(), self.settings.link_grace);
        let admitted = admitted.and_then(|()| current.ok_or(Refusal::NothingToDownload));
        Ok(Asked { code: code_id, tenant: tenant.id, admitted })
    }

    async fn note_download(
        &self,
        asked: &Asked,
        refusal: Option<&Refusal>,
        source: Source,
    ) -> Result<(), Error> {
        let version = asked.admitted.as_ref().map(|release| release.version.as_str());
        let (action, detail) = match refusal {
            None => (Action::DownloadStarted, version.unwrap_or_default()),
            Some(refusal) => (Action::DownloadRefused, refusal.word()),
        };
        let actor = Actor { name: CUSTOMER.to_owned(), source: source.to_string() };
        let mut entry = self.change_context(actor).audit(action, Some(asked.tenant), detail);
        (entry.at, entry.code_id) = (minute(self.now()), Some(asked.code));
        Ok(self.ports.store.audit_count(entry).await?)
    }

    /// Whether the file behind a link of our own may still be had: one of a yanked release may not.
    /// What no release names is none of ours to withhold.
    pub async fn file_admit(&self, key: BlobKey) -> Result<(), Error> {
        match self.ports.store.release_of_file(key).await? {
            Some(Release { yanked_at: Some(since), version, .. }) => {
                Err(Refusal::ImageWithdrawn { version: version.to_string(), since }.into())
            }
            _ => Ok(()),
        }
    }
}

/// A link lives as long as its code, and a while longer where that was redeemed: a download may
/// have to begin again.
fn admit(
    code: &InstallCode,
    tenant: &Tenant,
    now: Timestamp,
    grace: TimeDelta,
) -> Result<(), Refusal> {
    let ended = |since: Timestamp| Err(Refusal::DownloadLinkEnded { since });
    if tenant.status.is_closed() {
        return Err(Refusal::TenantSuspended);
    }
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
            product: ProductCode::from_stored("psa".into()),
            deployment: DeploymentType::Appliance,
            status,
            subscription: None,
            billing_customer: None,
            region: None,
            registered_at: at(0),
            installed_at: None,
            updated_at: at(0),
        }
    }

    #[test]
    fn a_link_lives_as_long_as_its_code_and_a_while_after_it_was_redeemed() {
        let open = tenant(TenantStatus::Registered);
        let grace = TimeDelta::days(3);
        for (what, code, now, ended) in [
            ("live", code(None, None), 6, None),
            ("expired", code(None, None), 7, Some(7)),
            ("superseded", code(None, Some(2)), 3, Some(2)),
            ("just redeemed", code(Some(6), None), 6, None),
            ("redeemed, and the code's own time over", code(Some(6), None), 8, None),
            ("redeemed long ago", code(Some(1), None), 4, Some(4)),
        ] {
            let expected =
                ended.map_or(Ok(()), |day| Err(Refusal::DownloadLinkEnded { since: at(day) }));
            assert_eq!(admit(&code, &open, at(now), grace), expected, "{what}");
        }
        for status in [TenantStatus::Suspended, TenantStatus::Cancelled] {
            let refused = admit(&code(None, None), &tenant(status), at(1), grace);
            assert_eq!(refused, Err(Refusal::TenantSuspended));
        }
    }
}
