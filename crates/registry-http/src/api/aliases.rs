//! Fields that a request may send under two names: the clients in the field send `stripe_…`, new
//! clients a neutral name.
//!
//! The values are merged before the idempotency key is computed, so the two names make one request.

use registry_core::Refusal;
use registry_core::text::{BillingCustomerId, SubscriptionId, same_field};

/// Merges `stripe_sub_id` and `subscription_id` into the first.
pub(super) fn subscription(
    stripe_sub_id: &mut Option<String>,
    subscription_id: &mut Option<String>,
) -> Result<(), Refusal> {
    *stripe_sub_id = same_field(
        ("subscription_id", subscription_id.take()),
        ("stripe_sub_id", stripe_sub_id.take()),
        SubscriptionId::parse,
    )?;
    Ok(())
}

/// [`subscription`], which must be in the request. Returns the value.
pub(super) fn required_subscription(
    stripe_sub_id: &mut Option<String>,
    subscription_id: &mut Option<String>,
) -> Result<String, Refusal> {
    subscription(stripe_sub_id, subscription_id)?;
    let problem = "is missing".to_owned();
    stripe_sub_id.clone().ok_or(Refusal::Invalid { field: "stripe_sub_id", problem })
}

/// Merges `stripe_customer_id` and `billing_customer_id` into the first.
pub(super) fn billing_customer(
    stripe_customer_id: &mut Option<String>,
    billing_customer_id: &mut Option<String>,
) -> Result<(), Refusal> {
    *stripe_customer_id = same_field(
        ("billing_customer_id", billing_customer_id.take()),
        ("stripe_customer_id", stripe_customer_id.take()),
        BillingCustomerId::parse,
    )?;
    Ok(())
}
