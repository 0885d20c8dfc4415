//! Re-issues an install code from the portal or the console. The code is mailed, and no page shows
//! it.

use registry_core::audit::Actor;
use registry_core::id::TenantId;
use registry_core::registry::idempotency::IdempotencyKey;
use registry_core::registry::reissue::Reissue;
use registry_core::store::TenantSelector;
use uuid::Uuid;

use crate::app::AppState;
use crate::problem::ApiError;

pub(super) async fn reissue_by_mail(
    app: &AppState,
    tenant: Uuid,
    key: Option<IdempotencyKey>,
    actor: Actor,
) -> Result<(), ApiError> {
    let selector = TenantSelector::Id(TenantId(tenant));
    let reissue = Reissue { selector, strict: false, send_email: true, mail_only: true, key };
    app.registry.code_reissue(reissue, actor).await?;
    Ok(())
}
