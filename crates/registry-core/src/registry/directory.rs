//! The directory: listing tenants, and showing one.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::entitlement::{self, Entitlement};
use crate::id::TenantId;
use crate::install_code::{CodeKind, CodeState, InstallCode};
use crate::pagination::{Cursor, paginate};
use crate::refusal::Refusal;
use crate::registry::{Error, Registry};
use crate::store::{SilentAppliance, TenantQuery, TenantRecord};
use crate::string_enum::string_enum;
use crate::tenant::{DeploymentType, TenantStatus};
use crate::text::{ProductCode, fold};

/// A listing as asked for, in the caller's words.
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

/// One page of the list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The tenants.
    pub items: Vec<TenantSummary>,
    /// What to ask for the next page with; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// A tenant as operators see it.
#[derive(Clone, Debug)]
pub struct TenantSummary {
    /// The tenant with all that hangs on it.
    pub record: TenantRecord,
    /// The entitlement that speaks for it.
    pub entitlement: Option<Entitlement>,
    /// The license tier of that.
    pub tier: Option<String>,
    /// The latest check-in of its appliances.
    pub last_check_in_at: Option<Timestamp>,
    /// Whether it has an unrevoked appliance and an active entitlement.
    pub connected: bool,
    /// Whether a license that was issued to one of its appliances still holds.
    pub has_current_token: bool,
    /// What became of its newest code.
    pub code_state: NewestCode,
    /// When it was looked at.
    pub now: Timestamp,
}

/// What became of a tenant's newest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewestCode {
    /// It can be redeemed.
    Live,
    /// It was redeemed.
    Consumed,
    /// It was replaced.
    Revoked,
    /// Its time ran out.
    Expired,
    /// There is none.
    None,
}

string_enum!(NewestCode { Live = "live", Consumed = "consumed", Revoked = "revoked", Expired = "expired", None = "none" });

/// How many tenants a page has where the caller does not say.
pub const DEFAULT_LIMIT: u32 = 50;

impl Registry {
    /// A page of the tenants, newest first.
    pub async fn tenant_list(&self, asked: ListTenants) -> Result<Page, Error> {
        let (records, next_cursor) = self.tenant_page(self.parse_query(&asked)?).await?;
        let now = self.now();
        let items = records.into_iter().map(|record| self.summary(record, now)).collect();
        Ok(Page { items, next_cursor })
    }

    /// A page, and what to ask for the next one with.
    pub(super) async fn tenant_page(
        &self,
        query: TenantQuery,
    ) -> Result<(Vec<TenantRecord>, Option<String>), Error> {
        let limit = query.limit;
        let mut records =
            self.ports.store.tenant_list(TenantQuery { limit: limit + 1, ..query }).await?;
        let place = |record: &TenantRecord| Cursor {
            at: record.tenant.registered_at,
            id: record.tenant.id,
        };
        let next_cursor = paginate(&mut records, limit, place);
        Ok((records, next_cursor))
    }

    /// One tenant.
    pub async fn tenant_show(&self, id: TenantId) -> Result<TenantSummary, Error> {
        let record = self.ports.store.tenant_show(id).await?.ok_or(Refusal::TenantNotFound)?;
        Ok(self.summary(record, self.now()))
    }

    /// The licensed appliances that were not heard of for so many check-ins: they may be off, or
    /// unable to renew.
    pub async fn appliances_silent(
        &self,
        missed: u32,
        limit: u32,
    ) -> Result<Vec<SilentAppliance>, Error> {
        let interval = self.settings.check_in_interval;
        let quiet = i32::try_from(missed)
            .ok()
            .and_then(|missed| interval.checked_mul(missed))
            .unwrap_or(interval);
        Ok(self.ports.store.appliances_silent(self.now() - quiet, limit).await?)
    }

    fn summary(&self, record: TenantRecord, now: Timestamp) -> TenantSummary {
        let entitlement = entitlement::current(&record.entitlements).cloned();
        let active = entitlement.as_ref().is_some_and(Entitlement::is_active);
        let tier = entitlement
            .as_ref()
            .and_then(|it| self.settings.editions.tier(&it.edition))
            .map(str::to_owned);
        let holds = |appliance: &crate::appliance::Appliance| {
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
            has_current_token: record.appliances.iter().any(holds),
            code_state: match install_code(&record.codes).map(|code| code.state(now)) {
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

    fn parse_query(&self, asked: &ListTenants) -> Result<TenantQuery, Refusal> {
        let invalid =
            |field, problem: &str| Refusal::Invalid { field, problem: problem.to_owned() };
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let limit = given(&asked.limit).map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=200).contains(limit));
        Ok(TenantQuery {
            deployment: given(&asked.deployment_type)
                .map(|word| {
                    DeploymentType::from_name(&word)
                        .ok_or_else(|| invalid("deployment_type", "is not known"))
                })
                .transpose()?,
            contact: None,
            text: given(&asked.query)
                .map(|text| crate::text::parse("query", &text, 200))
                .transpose()?
                .map(|it| fold(&it)),
            edition: given(&asked.edition)
                .map(|name| self.settings.editions.find(&name).map(|edition| edition.name.clone()))
                .transpose()?,
            product: given(&asked.product_code)
                .map(|code| ProductCode::parse(&code))
                .transpose()?,
            status: given(&asked.status)
                .map(|word| {
                    TenantStatus::from_name(&word).ok_or_else(|| invalid("status", "is not known"))
                })
                .transpose()?,
            limit: limit.ok_or_else(|| invalid("limit", "must be from 1 to 200"))?,
            after: given(&asked.cursor).as_deref().map(after).transpose()?,
        })
    }
}

/// The place that a cursor stands for.
pub(super) fn after<I: Copy + Into<Uuid> + From<Uuid>>(cursor: &str) -> Result<Cursor<I>, Refusal> {
    let invalid = || Refusal::Invalid { field: "cursor", problem: "is not one of ours".to_owned() };
    Cursor::decode(cursor).ok_or_else(invalid)
}

/// The install code that tells how a tenant is: the unused one, which of twins need not be the
/// newest, else the newest.
fn install_code(newest_first: &[InstallCode]) -> Option<&InstallCode> {
    let mut codes = newest_first.iter().filter(|code| code.kind == CodeKind::Install);
    let unused = codes.clone().find(|code| code.consumed.is_none() && code.superseded_at.is_none());
    unused.or_else(|| codes.next())
}
