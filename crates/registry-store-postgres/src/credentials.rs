//! What a credential opens, in one statement: for a service that asks, and for an appliance that
//! checks in, which is recorded on the way. Daily check-ins are what a fleet mostly does, and most
//! of them change nothing else.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::clock::Timestamp;
use registry_core::secret::CredentialDigest;
use registry_core::store::CredentialFacts;

use crate::batch::Columns;
use crate::facts::Load;
use crate::failure::ChangeError;
use crate::rows::{ApplianceRow, CredentialRow, EntitlementRow, Selected, TenantRow};
use crate::statement::Statement;
use crate::writes::{LockSet, Root};

/// A credential, its appliance, the tenant with its version, and the tenant's active entitlement.
type Found = (CredentialRow, ApplianceRow, TenantRow, i64, Option<EntitlementRow>);

type FoundSql = (
    <CredentialRow as Selected>::Sql,
    <ApplianceRow as Selected>::Sql,
    <TenantRow as Selected>::Sql,
    BigInt,
    Nullable<<EntitlementRow as Selected>::Sql>,
);

fn selected() -> String {
    fn names<R: Columns>() -> Vec<String> {
        R::NAMES.iter().map(|name| format!("{}.{name}", R::TABLE)).collect()
    }
    let version = vec!["tenants.version".to_owned()];
    [
        names::<CredentialRow>(),
        names::<ApplianceRow>(),
        names::<TenantRow>(),
        version,
        names::<EntitlementRow>(),
    ]
    .concat()
    .join(", ")
}

const HANGS_ON_IT: &str = "JOIN tenants ON tenants.id = credentials.tenant_id \
    LEFT JOIN entitlements ON entitlements.tenant_id = tenants.id AND entitlements.revoked_at IS NULL";

/// What a credential opens.
pub(crate) async fn show(
    connection: &mut AsyncPgConnection,
    digest: CredentialDigest,
) -> Result<Option<CredentialFacts>, ChangeError> {
    let text = format!(
        "SELECT {} FROM credentials JOIN appliances ON appliances.tenant_id = credentials.tenant_id AND appliances.id = \
         credentials.appliance_id {HANGS_ON_IT} WHERE credentials.digest = ",
        selected()
    );
    let asked = Statement::<FoundSql>::of([text], vec![digest.0.to_vec().into()]);
    let found: Option<Found> = asked.get_result(connection).await.optional()?;
    Ok(facts(found)?.0)
}

/// A check-in at a moment.
pub(crate) struct CheckIn {
    pub(crate) digest: CredentialDigest,
    pub(crate) now: Timestamp,
}

impl Load for CheckIn {
    type Facts = Option<CredentialFacts>;

    fn reads_roots_first(&self) -> bool {
        true
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(Option<CredentialFacts>, LockSet), ChangeError> {
        let touch =
            "UPDATE appliances SET last_check_in_at = GREATEST(appliances.last_check_in_at, "
                .to_owned();
        let found = format!(
            ") FROM credentials {HANGS_ON_IT} WHERE appliances.tenant_id = credentials.tenant_id AND appliances.id = \
             credentials.appliance_id AND credentials.digest = "
        );
        let returning = format!(" RETURNING {}", selected());
        let binds = vec![self.now.into(), self.digest.0.to_vec().into()];
        let asked = Statement::<FoundSql>::of([touch, found, returning], binds);
        let found: Option<Found> = asked.get_result(connection).await.optional()?;
        facts(found)
    }
}

fn facts(found: Option<Found>) -> Result<(Option<CredentialFacts>, LockSet), ChangeError> {
    let Some((credential, appliance, tenant, version, entitlement)) = found else {
        return Ok((None, LockSet::default()));
    };
    let roots = LockSet { tenant: Root::Known(tenant.id.into(), version), unbound: None };
    let facts = CredentialFacts {
        credential: credential.try_into()?,
        appliance: appliance.try_into()?,
        tenant: tenant.try_into()?,
        entitlement: entitlement.map(TryInto::try_into).transpose()?,
    };
    Ok((Some(facts), roots))
}
