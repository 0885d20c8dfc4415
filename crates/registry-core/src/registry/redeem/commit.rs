//! The writes of an accepted redemption.

use chrono::SubsecRound as _;

use super::{Accepted, Context};
use crate::appliance::{Appliance, Credential, IssuedLicense};
use crate::audit::{Action, AuditDetail};
use crate::entitlement::Entitlement;
use crate::id::TenantId;
use crate::install_code::{Consumption, InstallCode};
use crate::license::LicenseTerms;
use crate::registry::ChangeContext;
use crate::results::{Licensed, Redeemed};
use crate::secret::LicenseToken;
use crate::store::{DecideError, Write};

impl Context {
    /// Signs the license of a redemption.
    fn license(
        &self,
        change: &mut ChangeContext,
        entitlement: &Entitlement,
        tenant: TenantId,
    ) -> Result<(LicenseToken, IssuedLicense), DecideError> {
        let terms = LicenseTerms::of(entitlement, Some(tenant), &self.settings.editions)?;
        let claims = self.settings.license.claims(terms, change.now, self.lifetime);
        let token = change.sign(&*self.signer, &claims)?;
        Ok((
            token,
            IssuedLicense { expires_at: claims.expires_at.trunc_subsecs(0), terms: claims.terms },
        ))
    }
}

pub(super) fn commit(
    context: &Context,
    change: &mut ChangeContext,
    code: &InstallCode,
    known: Option<&Appliance>,
    accepted: Accepted,
) -> Result<(Vec<Write>, Redeemed), DecideError> {
    let Accepted { tenant, entitlement, binding, is_only_named } = accepted;
    let (now, tenant) = (change.now, tenant.installed(change.now));
    let edition =
        entitlement.as_ref().map_or(context.settings.editions.free(), |it| &it.edition).clone();
    let consumption = Consumption { at: now, by: context.appliance_id.clone() };
    let mut writes = vec![
        Write::tenant(binding == Some(Action::TenantAdopted), tenant.clone()),
        Write::ConsumeCode { code: code.id, consumption, tenant: tenant.id },
    ];
    if let (Some(action), Some(entitlement)) = (binding, &entitlement) {
        writes.push(Write::entitlement(false, entitlement.clone()));
        writes.push(Write::audit(change.audit(
            action,
            Some(tenant.id),
            AuditDetail::value(entitlement.edition.as_str()),
        )));
    }
    let mut licensed = None;
    if let Some(entitlement) = &entitlement {
        let (token, issued) = context.license(change, entitlement, tenant.id)?;
        let (appliance, credential) = context.appliance(known, tenant.id, issued);
        if known.is_some_and(|known| known.revoked_at.is_some()) {
            // A revoked appliance may be installed again, but its old credentials stay revoked.
            writes.push(Write::DeleteCredentials {
                tenant: tenant.id,
                appliance: appliance.id.clone(),
            });
        }
        writes.push(Write::PutAppliance(Box::new(appliance)));
        writes.push(Write::InsertCredential(credential));
        let check_in_url = context.settings.check_in_url.clone();
        licensed = Some(Licensed { token, credential: context.credential.clone(), check_in_url });
    }
    let mut entry = change.audit(
        Action::CodeRedeemed,
        Some(tenant.id),
        AuditDetail::appliance(&context.appliance_id),
    );
    entry.code_id = Some(code.id);
    writes.push(Write::audit(entry));
    // An appliance that names a tenant learns only what the code's own entitlement says.
    let (company_name, contact_email) = match &entitlement {
        Some(entitlement) if is_only_named => (entitlement.customer.clone(), None),
        _ => (tenant.company_name, tenant.contact_email),
    };
    let redeemed = Redeemed {
        tenant_id: tenant.id,
        edition,
        company_name: company_name.to_string(),
        contact_email: contact_email.map(|email| email.to_string()).unwrap_or_default(),
        licensed,
    };
    Ok((writes, redeemed))
}

impl Context {
    /// Returns the appliance after the redemption, and its new credential. Older credentials keep
    /// working until a check-in first uses the new one.
    fn appliance(
        &self,
        known: Option<&Appliance>,
        tenant: TenantId,
        issued: IssuedLicense,
    ) -> (Appliance, Credential) {
        let (now, id) = (self.change.now, self.appliance_id.clone());
        let new = || Appliance::new(tenant, id.clone(), now);
        let known = known.cloned().unwrap_or_else(new);
        let registrations = known.registrations + 1;
        let appliance =
            Appliance { revoked_at: None, license: Some(issued), registrations, ..known };
        let digest = self.credential.digest();
        (appliance, Credential::unused(digest, (tenant, id), registrations, now))
    }
}
