//! Conformance of stores: a case for each MUST in `registry_core::store`. Each case's doc is the
//! requirement.

mod batches;
mod changes;
mod check_in;
mod constraints;
mod credentials;
mod outbox;
mod races;
mod reading;
mod releases;
mod retention;
mod sign_ins;

pub use batches::*;
pub use changes::*;
pub use check_in::*;
pub use constraints::*;
pub use credentials::*;
pub use outbox::*;
pub use races::*;
pub use reading::*;
pub use releases::*;
pub use retention::*;
pub use sign_ins::*;

use std::sync::Arc;

use registry_core::id::TenantId;
use registry_core::results::Redeemed;
use registry_core::store::{
    DecideError, Decision, Outcome, RedeemFacts, RedeemKey, Store, StoreError,
};
use registry_core::text::ApplianceId;

use crate::world::audit;

/// Creates the conformance tests of a store. `$new` is an expression that creates `(store,
/// guard)`: an empty store, and a guard that outlives it, such as a temporary folder.
#[macro_export]
macro_rules! store_conformance {
    ($new:expr) => {
        $crate::store_conformance!(@cases $new;
            registration_is_one_transaction,
            known_subscription_gets_a_new_code,
            redemption_is_one_transaction,
            reissue_replaces_codes_and_unsent_mails,
            failed_signature_leaves_the_code_live,
            failed_write_rolls_everything_back,
            abort_writes_nothing,
            refusal_commits_its_audit_entry,
            unbound_activation_code_uses_the_named_tenant,
            code_is_found_by_any_digest,
            published_release_becomes_current,
            republishing_adds_a_missing_manifest,
            yanked_release_is_never_current,
            rollback_selects_another_release,
            racing_rollback_never_offers_yanked_release,
            only_expired_rows_are_deleted,
            deletion_is_bounded,
            unused_tenants_of_strangers_are_deleted,
            customers_mails_go_first,
            racing_sign_ins_use_a_link_once,
            sign_out_ends_only_own_sessions,
            link_and_mail_are_stored_together,
            racing_redemptions_have_one_winner,
            racing_reissue_leaves_one_live_code,
            racing_registrations_share_one_tenant,
            cancelled_caller_leaves_all_or_nothing,
            one_failing_request_leaves_others_alone,
            contended_root_serves_everybody,
            twins_in_one_batch_run_once,
            audit_entries_of_a_tenant_keep_their_order,
            abandoned_callers_lose_nothing,
            tenant_has_one_live_code,
            code_is_consumed_once,
            code_digests_are_unique,
            subscription_has_one_entitlement,
            tenant_has_one_active_entitlement,
            version_is_published_once,
            recorded_response_is_replayed_until_expiry,
            rolled_back_response_is_not_recorded,
            concurrent_requests_with_one_key_run_once,
            mail_is_leased_to_one_worker,
            sent_mail_loses_its_secret,
            discarded_mail_stays_discarded_unless_sent,
            dead_letter_keeps_its_secret,
            late_failure_keeps_the_next_lease,
            mails_are_leased_and_listed_in_order,
            operator_retries_and_discards_mails,
            counted_events_share_an_audit_entry,
            pages_neither_skip_nor_repeat,
            audit_is_paged_newest_first,
            timeline_has_every_event_once,
            filters_and_search_select_tenants,
            contact_selects_newest_uncancelled_tenant,
            tenant_is_shown_in_full,
            master_keys_in_use_are_listed,
            mails_are_counted,
            mail_is_due_after_clock_was_set_back,
            unused_codes_are_superseded_after_restore,
            check_in_renews_a_due_license,
            first_use_retires_older_credentials,
            credentials_retire_in_order_of_registration,
            duplicates_are_seen_and_work,
            refused_check_ins_are_counted,
            unknown_and_revoked_credentials_look_alike,
            verifying_a_credential_writes_nothing,
            overdue_appliances_are_listed,
            racing_check_ins_renew_once,
            suspended_tenant_is_refused_until_resumed,
            unknown_master_key_is_not_registered,
            missing_rows_are_not_errors,
        );
    };
    (@cases $new:expr; $($case:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (store, _guard) = $new;
            let store: std::sync::Arc<dyn registry_core::store::Store> = std::sync::Arc::new(store);
            $crate::conformance::store::$case(store).await;
        }
    )+};
}

/// Runs a given decision through the store.
async fn run_decision(
    store: &Arc<dyn Store>,
    decision: impl Fn() -> Decision<Redeemed> + Send + Sync + 'static,
) -> Result<Outcome<Redeemed>, StoreError> {
    let key = RedeemKey { digests: vec![], tenant_id: None, appliance_id: appliance("any") };
    store.code_redeem(key, None, Arc::new(move |_: &RedeemFacts| decision())).await
}

fn abort() -> Decision<Redeemed> {
    Decision::Abort(DecideError::Replay("aborted by the test".to_owned()))
}

fn appliance(id: &str) -> ApplianceId {
    ApplianceId::parse(id).expect("an appliance id")
}

async fn actions(store: &Arc<dyn Store>, tenant: TenantId) -> Vec<&'static str> {
    audit(&**store, Some(tenant)).await.iter().map(|entry| entry.action.as_str()).collect()
}
