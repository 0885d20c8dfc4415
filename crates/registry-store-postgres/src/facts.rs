//! Loads what decisions are made on, and the roots it hangs on.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::entitlement::Entitlement;
use registry_core::id::{CodeId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::refusal::Refusal;
use registry_core::secret::{CodeDigest, KeyId, Sealed};
use registry_core::store::{
    EntitlementFacts, EntitlementKey, EntitlementSelector, Outcome, RedeemFacts, RedeemKey,
    RegisterFacts, ReissueFacts, Replay, StoreError, TenantFacts, TenantKey, TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::SubscriptionId;

use crate::failure::{ChangeError, failure};
use crate::rows::{ApplianceRow, CodeRow, EntitlementRow, TenantRow};
use crate::schema::{appliances, entitlements, install_codes, replays, tenants};
use crate::writes::{LockSet, Root};

/// What a change is decided on, and how it is found.
pub(crate) trait Load: Send + Sync + 'static {
    type Facts: Send + 'static;

    /// Whether [`load`](Self::load) reads the roots in its first statement. What is read later can
    /// then only be newer than they are, and whatever is newer changed their versions: it may be
    /// decided on without holding them.
    fn reads_roots_first(&self) -> bool;

    fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> impl Future<Output = Result<(Self::Facts, LockSet), ChangeError>> + Send;
}

/// A tenant with its version, and an entitlement with its own.
type Versioned<Row> = (Row, i64);

fn root(tenant: Option<&Versioned<TenantRow>>) -> Root {
    tenant.map_or(Root::Absent, |(row, version)| Root::Known(row.id.into(), *version))
}

/// The entitlement that does not hang on the tenant.
fn unbound(
    entitlement: Option<&Versioned<EntitlementRow>>,
    tenant: Root,
) -> Option<(registry_core::id::EntitlementId, i64)> {
    let (row, version) = entitlement?;
    let bound = row.tenant_id.map(TenantId::from);
    let hangs = matches!((bound, tenant), (Some(bound), Root::Known(id, _)) if bound == id);
    (!hangs).then(|| (row.id.into(), *version))
}

fn domain<Row, T: TryFrom<Row, Error = StoreError>>(
    row: Option<Versioned<Row>>,
) -> Result<Option<T>, StoreError> {
    row.map(|(row, _)| T::try_from(row)).transpose()
}

/// What a request with an idempotency key was answered before.
pub(crate) async fn replayed<T>(
    connection: &mut AsyncPgConnection,
    replay: &Replay,
) -> Result<Option<Outcome<T>>, ChangeError> {
    let record: Option<(Vec<u8>, String, Vec<u8>)> = replays::table
        .find((&replay.scope, replay.key_digest.as_slice()))
        .filter(replays::expires_at.gt(replay.now))
        .select((replays::fingerprint, replays::sealed_key_id, replays::sealed))
        .first(connection)
        .await
        .optional()?;
    Ok(record.map(|(recorded, key_id, bytes)| {
        if recorded == replay.fingerprint {
            Outcome::Replayed(Sealed { key_id: KeyId(key_id), bytes })
        } else {
            Outcome::Refused(Refusal::KeyReused)
        }
    }))
}

impl Load for Option<SubscriptionId> {
    type Facts = RegisterFacts;

    fn reads_roots_first(&self) -> bool {
        self.is_none()
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(RegisterFacts, LockSet), ChangeError> {
        let Some(subscription) = self else {
            return Ok((RegisterFacts::default(), LockSet { tenant: Root::Absent, unbound: None }));
        };
        let entitlement =
            entitlement(connection, &EntitlementSelector::Subscription(subscription.clone()))
                .await?;
        let bound = entitlement.as_ref().and_then(|(row, _)| row.tenant_id);
        let query = tenants::table.select((TenantRow::as_select(), tenants::version));
        let tenant = if let Some(id) = bound {
            query.find(id).first(connection).await.optional()?
        } else {
            let same = tenants::subscription.eq(subscription.as_str());
            query.filter(same).first(connection).await.optional()?
        };
        let tenant_entitlement = match &tenant {
            None => None,
            Some((row, _)) => active_entitlement(connection, row.id.into()).await?,
        };
        let tenant_root = root(tenant.as_ref());
        let roots =
            LockSet { tenant: tenant_root, unbound: unbound(entitlement.as_ref(), tenant_root) };
        let facts = RegisterFacts {
            tenant: domain(tenant)?,
            entitlement: domain(entitlement)?,
            tenant_entitlement,
        };
        Ok((facts, roots))
    }
}

diesel::define_sql_function! {
    /// The first that is there.
    #[sql_name = "coalesce"]
    fn first_of(a: Nullable<SqlUuid>, b: Nullable<SqlUuid>, c: Nullable<SqlUuid>) -> Nullable<SqlUuid>;
}

/// A code with what it hangs on: its entitlement, its tenant and the appliance of that.
type Found = (
    CodeRow,
    Option<EntitlementRow>,
    Option<i64>,
    Option<TenantRow>,
    Option<i64>,
    Option<ApplianceRow>,
);

impl Load for RedeemKey {
    type Facts = RedeemFacts;

    fn reads_roots_first(&self) -> bool {
        true
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(RedeemFacts, LockSet), ChangeError> {
        let mut found = None;
        // One after the other, and not all at once: a plan for any number of digests is made anew
        // each time.
        for digest in &self.digests {
            found = match found {
                None => find(connection, self, digest).await?,
                found => found,
            };
        }
        let Some(found) = found else { return Ok((RedeemFacts::default(), LockSet::default())) };
        let (code, entitlement, entitlement_version, tenant, tenant_version, appliance) = found;
        let (entitlement, tenant) =
            (entitlement.zip(entitlement_version), tenant.zip(tenant_version));
        let tenant_root = root(tenant.as_ref());
        let roots =
            LockSet { tenant: tenant_root, unbound: unbound(entitlement.as_ref(), tenant_root) };
        let entitlement: Option<Entitlement> = domain(entitlement)?;
        let tenant: Option<Tenant> = domain(tenant)?;
        let is_the_active_one =
            |it: &Entitlement| it.is_active() && it.tenant_id == tenant.as_ref().map(|it| it.id);
        let tenant_entitlement = match (&tenant, &entitlement) {
            (None, _) => None,
            // A tenant has one at most.
            (Some(_), Some(entitlement)) if is_the_active_one(entitlement) => {
                Some(entitlement.clone())
            }
            (Some(tenant), _) => active_entitlement(connection, tenant.id).await?,
        };
        let facts = RedeemFacts {
            code: Some(InstallCode::try_from(code)?),
            tenant,
            entitlement,
            tenant_entitlement,
            appliance: appliance.map(TryFrom::try_from).transpose()?,
        };
        Ok((facts, roots))
    }
}

async fn find(
    connection: &mut AsyncPgConnection,
    key: &RedeemKey,
    digest: &CodeDigest,
) -> Result<Option<Found>, ChangeError> {
    let owner = first_of(
        install_codes::tenant_id,
        entitlements::tenant_id.nullable(),
        key.tenant_id.map(|id| id.0).into_sql::<Nullable<SqlUuid>>(),
    );
    let its_entitlement = entitlements::id.nullable().eq(install_codes::entitlement_id);
    let its_tenant = tenants::id.nullable().eq(owner);
    let its_appliance = appliances::tenant_id
        .nullable()
        .eq(tenants::id.nullable())
        .and(appliances::id.eq(key.appliance_id.as_str()));
    let is_it = install_codes::digest
        .eq(digest.bytes.as_slice())
        .and(install_codes::digest_key_id.eq(&digest.key_id.0));
    let found = install_codes::table
        .left_join(entitlements::table.on(its_entitlement))
        .left_join(tenants::table.on(its_tenant))
        .left_join(appliances::table.on(its_appliance))
        .filter(is_it)
        .select((
            CodeRow::as_select(),
            Option::<EntitlementRow>::as_select(),
            entitlements::version.nullable(),
            Option::<TenantRow>::as_select(),
            tenants::version.nullable(),
            Option::<ApplianceRow>::as_select(),
        ))
        .first(connection)
        .await;
    Ok(found.optional()?)
}

impl Load for TenantSelector {
    type Facts = ReissueFacts;

    fn reads_roots_first(&self) -> bool {
        true
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(ReissueFacts, LockSet), ChangeError> {
        let query = tenants::table.select((TenantRow::as_select(), tenants::version));
        let rows: Vec<Versioned<TenantRow>> = match self {
            Self::Id(id) => query.find(id.0).load(connection).await?,
            Self::Contact(contact) => {
                let theirs = tenants::contact_email_folded
                    .eq(contact.folded())
                    .and(tenants::status.ne("cancelled"));
                query
                    .filter(theirs)
                    .order((tenants::registered_at.desc(), tenants::id.desc()))
                    .limit(2)
                    .load(connection)
                    .await?
            }
        };
        // `first` would be diesel's.
        let newest = rows.as_slice().first();
        let roots = LockSet { tenant: root(newest), unbound: None };
        let entitlement = match newest {
            None => None,
            Some((row, _)) => active_entitlement(connection, row.id.into()).await?,
        };
        let tenants =
            rows.into_iter().map(|(row, _)| Tenant::try_from(row)).collect::<Result<_, _>>()?;
        Ok((ReissueFacts { tenants, entitlement }, roots))
    }
}

impl Load for EntitlementKey {
    type Facts = EntitlementFacts;

    fn reads_roots_first(&self) -> bool {
        false
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(EntitlementFacts, LockSet), ChangeError> {
        let entitlement = entitlement(connection, &self.selector).await?;
        let bound = entitlement.as_ref().and_then(|(row, _)| row.tenant_id).map(TenantId::from);
        let Some(owner) = bound.or(self.tenant_id) else {
            let roots = LockSet {
                tenant: Root::Unknown,
                unbound: unbound(entitlement.as_ref(), Root::Unknown),
            };
            return Ok((
                EntitlementFacts {
                    entitlement: domain(entitlement)?,
                    ..EntitlementFacts::default()
                },
                roots,
            ));
        };
        let row = tenants::table.find(owner.0).select((TenantRow::as_select(), tenants::version));
        let tenant: Option<Versioned<TenantRow>> = row.first(connection).await.optional()?;
        // A tenant that is not there has none. One found all the same would be a twin's, made since
        // the tenant was looked for, and would look like another's: without it the tenant is made
        // anew, which fails, and is decided again.
        let tenant_entitlement = match &tenant {
            Some(_) => active_entitlement(connection, owner).await?,
            None => None,
        };
        let tenant_root = root(tenant.as_ref());
        let roots =
            LockSet { tenant: tenant_root, unbound: unbound(entitlement.as_ref(), tenant_root) };
        let facts = EntitlementFacts {
            entitlement: domain(entitlement)?,
            tenant: domain(tenant)?,
            tenant_entitlement,
        };
        Ok((facts, roots))
    }
}

impl Load for TenantKey {
    type Facts = TenantFacts;

    fn reads_roots_first(&self) -> bool {
        true
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(TenantFacts, LockSet), ChangeError> {
        let row = tenants::table.find(self.id.0).select((TenantRow::as_select(), tenants::version));
        let tenant: Option<Versioned<TenantRow>> = row.first(connection).await.optional()?;
        let appliance = match &self.appliance {
            None => None,
            Some(id) => {
                let row = appliances::table
                    .find((self.id.0, id.as_str()))
                    .select(ApplianceRow::as_select());
                row.first(connection).await.optional()?
            }
        };
        let roots = LockSet { tenant: root(tenant.as_ref()), unbound: None };
        let appliance = appliance.map(TryFrom::try_from).transpose()?;
        Ok((TenantFacts { tenant: domain(tenant)?, appliance }, roots))
    }
}

/// An install code and its tenant.
pub(crate) async fn code(
    connection: &mut AsyncPgConnection,
    id: CodeId,
) -> Result<Option<(InstallCode, Tenant)>, StoreError> {
    let owner = install_codes::tenant_id.eq(tenants::id.nullable());
    let rows = install_codes::table.find(id.0).inner_join(tenants::table.on(owner));
    let row = rows
        .select((CodeRow::as_select(), TenantRow::as_select()))
        .first(connection)
        .await
        .optional();
    let row: Option<(CodeRow, TenantRow)> = row.map_err(|error| failure(&error))?;
    row.map(|(code, tenant)| Ok((InstallCode::try_from(code)?, Tenant::try_from(tenant)?)))
        .transpose()
}

async fn entitlement(
    connection: &mut AsyncPgConnection,
    selector: &EntitlementSelector,
) -> Result<Option<Versioned<EntitlementRow>>, ChangeError> {
    let query = entitlements::table.select((EntitlementRow::as_select(), entitlements::version));
    let row = match selector {
        EntitlementSelector::Id(id) => query.find(id.0).first(connection).await,
        EntitlementSelector::Subscription(subscription) => {
            query
                .filter(entitlements::subscription.eq(subscription.as_str()))
                .first(connection)
                .await
        }
    };
    Ok(row.optional()?)
}

async fn active_entitlement(
    connection: &mut AsyncPgConnection,
    tenant: TenantId,
) -> Result<Option<Entitlement>, ChangeError> {
    let theirs = entitlements::tenant_id.eq(tenant.0).and(entitlements::revoked_at.is_null());
    let row = entitlements::table
        .filter(theirs)
        .select(EntitlementRow::as_select())
        .first(connection)
        .await;
    Ok(row.optional()?.map(Entitlement::try_from).transpose()?)
}
