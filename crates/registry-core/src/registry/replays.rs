//! Recorded responses that may no longer be given. A response holds a license, a credential or a
//! code, which a revocation or a suspension since then has ended.

use crate::audit::{Action, AuditDetail};
use crate::id::{EntitlementId, TenantId};
use crate::refusal::Refusal;
use crate::registry::{ChangeContext, Error, Registry};
use crate::secret::CredentialDigest;
use crate::store::EntitlementSelector;

/// The thing that a recorded response hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Nothing that can end.
    Nothing,
    /// A tenant, which got a code.
    Code(TenantId),
    /// A tenant that was installed, and the credential of its appliance if it has one.
    Appliance(TenantId, Option<CredentialDigest>),
    /// An entitlement, with a license or a code.
    Entitlement(EntitlementId),
}

impl Subject {
    fn refused(self) -> Action {
        match self {
            Self::Appliance(..) => Action::RedeemRefused,
            Self::Entitlement(_) => Action::EntitlementRefused,
            Self::Code(_) | Self::Nothing => Action::ReissueRefused,
        }
    }
}

impl Registry {
    /// Refuses to repeat a response whose subject was revoked, suspended or cancelled since, with an
    /// audit entry.
    pub(crate) async fn check_replay(
        &self,
        subject: Subject,
        asked: &ChangeContext,
    ) -> Result<(), Error> {
        let (tenant, checked) = match subject {
            Subject::Nothing => return Ok(()),
            Subject::Code(tenant) => (Some(tenant), self.check_tenant(tenant).await),
            Subject::Appliance(tenant, credential) => {
                (Some(tenant), self.check_appliance(tenant, credential, asked).await)
            }
            Subject::Entitlement(id) => self.check_entitlement(id).await,
        };
        if let Err(Error::Refused(refusal)) = &checked {
            let detail = AuditDetail::reason(refusal.reason());
            let entry = asked.clone().audit(subject.refused(), tenant, detail);
            self.count_event(entry).await?;
        }
        checked
    }

    async fn check_tenant(&self, tenant: TenantId) -> Result<(), Error> {
        let record = self.ports.store.tenant_show(tenant).await?;
        record.ok_or(Refusal::TenantNotFound)?.tenant.check_open()?;
        Ok(())
    }

    async fn check_appliance(
        &self,
        tenant: TenantId,
        credential: Option<CredentialDigest>,
        asked: &ChangeContext,
    ) -> Result<(), Error> {
        let store = &self.ports.store;
        let record = store.tenant_show(tenant).await?.ok_or(Refusal::TenantNotFound)?;
        record.tenant.check_open()?;
        let Some(credential) = credential else { return Ok(()) };
        let facts = store.credential_show(credential).await?;
        // The code was used. What it brought is gone, so another code is needed.
        let since = record.tenant.installed_at.unwrap_or(asked.now);
        let facts = facts.filter(|it| it.appliance.revoked_at.is_none());
        let facts = facts.ok_or(Refusal::CodeConsumed { since })?;
        if facts.entitlement.is_none() {
            let revoked = record.entitlements.iter().filter_map(|it| it.revoked_at).max();
            return Err(Refusal::EntitlementRevoked { since: revoked.unwrap_or(since) }.into());
        }
        Ok(())
    }

    async fn check_entitlement(&self, id: EntitlementId) -> (Option<TenantId>, Result<(), Error>) {
        let entitlement = match self.entitlement_show(EntitlementSelector::Id(id)).await {
            Ok(entitlement) => entitlement,
            Err(error) => return (None, Err(error)),
        };
        let tenant = entitlement.tenant_id;
        let checked = match (entitlement.revoked_at, tenant) {
            (Some(since), _) => Err(Refusal::EntitlementRevoked { since }.into()),
            (None, Some(tenant)) => self.check_tenant(tenant).await,
            (None, None) => Ok(()),
        };
        (tenant, checked)
    }
}
