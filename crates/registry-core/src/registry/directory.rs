//! The directory: lists tenants, and shows one.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::entitlement::{self, Entitlement};
use crate::id::TenantId;
use crate::install_code::{CodeKind, CodeState, InstallCode};
use crate::pagination::{Cursor, paginate};
use crate::refusal::Refusal;
use crate::registry::{Error, Registry};
use crate::store::{OverdueAppliance, TenantQuery, TenantRecord};
use crate::string_enum::string_enum;
use crate::tenant::{DeploymentType, TenantStatus};
use crate::text::{ProductCode, fold};

/// The parameters of a tenant list, as the caller sent them.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names say it; the wire contract lists their rules")]
pub struct ListTenants {
    pub deployment_type: Option<String>,
    pub query: Option<String>,
    pub edition: Option<String>,
    pub product_code: Option<String>,
    pub status: Option<String>,
    pub limit: Option<String>,
    pub cursor: Option<String>,
}

/// One page of the tenant list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The tenants.
    pub items: Vec<TenantSummary>,
    /// Cursor of the next page; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// A tenant as operators see it.
#[derive(Clone, Debug)]
pub struct TenantSummary {
    /// The tenant with its entitlements, codes and appliances.
    pub record: TenantRecord,
    /// The active entitlement, or else the newest one.
    pub entitlement: Option<Entitlement>,
    /// The license tier of `entitlement`.
    pub tier: Option<String>,
    /// The latest check-in of any of the tenant's appliances.
    pub last_check_in_at: Option<Timestamp>,
    /// True if the tenant has an active entitlement and an appliance that is not revoked.
    pub connected: bool,
    /// True if a license of one of the tenant's appliances has not expired.
    pub has_current_token: bool,
    /// State of the tenant's unused code, or else of its newest one.
    pub code_state: NewestCode,
    /// Time at which the summary was made.
    pub now: Timestamp,
}

/// State of a tenant's install code, as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewestCode {
    /// The code can be redeemed.
    Live,
    /// The code was redeemed.
    Consumed,
    /// The code was replaced.
    Revoked,
    /// The code expired unused.
    Expired,
    /// The tenant has no code.
    None,
}

string_enum!(NewestCode {
    Live = "live",
    Consumed = "consumed",
    Revoked = "revoked",
    Expired = "expired",
    None = "none"
});

/// Number of tenants on a page if the caller sets no limit.
pub const DEFAULT_LIMIT: u32 = 50;

impl Registry {
    /// Returns a page of the tenants, newest first.
    pub async fn tenant_list(&self, parameters: ListTenants) -> Result<Page, Error> {
        let (records, next_cursor) = self.tenant_page(self.parse_query(&parameters)?).await?;
        let now = self.now();
        let items = records.into_iter().map(|record| self.summary(record, now)).collect();
        Ok(Page { items, next_cursor })
    }

    /// Returns a page of tenants, and the cursor of the next page.
    pub(super) async fn tenant_page(
        &self,
        query: TenantQuery,
    ) -> Result<(Vec<TenantRecord>, Option<String>), Error> {
        let limit = query.limit;
        let mut records =
            self.ports.store.tenant_list(TenantQuery { limit: limit + 1, ..query }).await?;
        let cursor_of = |record: &TenantRecord| Cursor {
            at: record.tenant.registered_at,
            id: record.tenant.id,
        };
        let next_cursor = paginate(&mut records, limit, cursor_of);
        Ok((records, next_cursor))
    }

    /// Returns one tenant.
    pub async fn tenant_show(&self, id: TenantId) -> Result<TenantSummary, Error> {
        let record = self.ports.store.tenant_show(id).await?.ok_or(Refusal::TenantNotFound)?;
        Ok(self.summary(record, self.now()))
    }

    /// Returns the licensed appliances that have missed at least `missed` check-ins in a row. Such
    /// an appliance may be off, or unable to renew its license.
    pub async fn appliances_overdue(
        &self,
        missed: u32,
        limit: u32,
    ) -> Result<Vec<OverdueAppliance>, Error> {
        let interval = self.settings.license.check_in_interval;
        let missed_for = i32::try_from(missed)
            .ok()
            .and_then(|missed| interval.checked_mul(missed))
            .unwrap_or(interval);
        Ok(self.ports.store.appliances_overdue(self.now() - missed_for, limit).await?)
    }

    fn summary(&self, record: TenantRecord, now: Timestamp) -> TenantSummary {
        let entitlement = entitlement::current(&record.entitlements).cloned();
        let active = entitlement.as_ref().is_some_and(Entitlement::is_active);
        let tier = entitlement
            .as_ref()
            .and_then(|it| self.settings.editions.tier(&it.edition))
            .map(str::to_owned);
        let has_current_license = |appliance: &crate::appliance::Appliance| {
            appliance.license.as_ref().is_some_and(|license| license.expires_at > now)
        };
        TenantSummary {
            tier,
            last_check_in_at: record
                .appliances
                .iter()
                .filter_map(|appliance| appliance.last_check_in_at)
                .max(),
            connected: active
                && record.appliances.iter().any(|appliance| appliance.revoked_at.is_none()),
            has_current_token: record.appliances.iter().any(has_current_license),
            code_state: match representative_code(&record.codes).map(|code| code.state(now)) {
                Some(CodeState::Live) => NewestCode::Live,
                Some(CodeState::Consumed(_)) => NewestCode::Consumed,
                Some(CodeState::Superseded(_)) => NewestCode::Revoked,
                Some(CodeState::Expired(_)) => NewestCode::Expired,
                None => NewestCode::None,
            },
            entitlement,
            record,
            now,
        }
    }

    fn parse_query(&self, parameters: &ListTenants) -> Result<TenantQuery, Refusal> {
        let invalid =
            |field, problem: &str| Refusal::Invalid { field, problem: problem.to_owned() };
        let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let limit =
            non_empty(&parameters.limit).map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=200).contains(limit));
        Ok(TenantQuery {
            deployment: non_empty(&parameters.deployment_type)
                .map(|name| {
                    DeploymentType::from_name(&name)
                        .ok_or_else(|| invalid("deployment_type", "is not known"))
                })
                .transpose()?,
            contact: None,
            text: non_empty(&parameters.query)
                .map(|text| crate::text::parse("query", &text, 200))
                .transpose()?
                .map(|it| fold(&it)),
            edition: non_empty(&parameters.edition)
                .map(|name| self.settings.editions.find(&name).map(|edition| edition.name.clone()))
                .transpose()?,
            product: non_empty(&parameters.product_code)
                .map(|code| ProductCode::parse(&code))
                .transpose()?,
            status: non_empty(&parameters.status)
                .map(|name| {
                    TenantStatus::from_name(&name).ok_or_else(|| invalid("status", "is not known"))
                })
                .transpose()?,
            limit: limit.ok_or_else(|| invalid("limit", "must be from 1 to 200"))?,
            after: non_empty(&parameters.cursor).as_deref().map(parse_cursor).transpose()?,
        })
    }
}

/// Decodes a cursor that the caller sent.
pub(super) fn parse_cursor<I: Copy + Into<Uuid> + From<Uuid>>(
    cursor: &str,
) -> Result<Cursor<I>, Refusal> {
    let problem = "is not a cursor of this list".to_owned();
    Cursor::decode(cursor).ok_or(Refusal::Invalid { field: "cursor", problem })
}

/// Returns the install code whose state is shown for the tenant: the unused one, or else the
/// newest. Of two codes issued at the same time, the unused one need not come first.
fn representative_code(newest_first: &[InstallCode]) -> Option<&InstallCode> {
    let mut codes = newest_first.iter().filter(|code| code.kind == CodeKind::Install);
    let unused = codes.clone().find(|code| code.consumed.is_none() && code.superseded_at.is_none());
    unused.or_else(|| codes.next())
}
