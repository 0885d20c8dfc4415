//! What every store must do: a case for each MUST in `registry_core::store`.

mod changes;
mod check_in;
mod constraints;
mod outbox;
mod races;
mod reading;
mod releases;
mod retention;
mod sign_ins;

pub use changes::*;
pub use check_in::*;
pub use constraints::*;
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

/// Stamps the suite on a store: `$fresh` is an expression that makes an empty one, as `(store,
/// guard)`, where the guard is what has to outlive it (a temporary folder, say).
#[macro_export]
macro_rules! store_conformance {
    ($fresh:expr) => {
        $crate::store_conformance!(@cases $fresh;
            registering_writes_tenant_entitlement_code_mail_and_audit_together,
            a_subscription_brings_its_tenant_back_with_a_fresh_code,
            redeeming_pro_writes_appliance_and_license_and_essentials_does_not,
            a_reissue_kills_unused_codes_and_unsent_mails_and_keeps_the_tenant,
            a_failed_signature_leaves_the_code_live,
            a_failed_write_leaves_everything_as_it_was,
            an_abort_writes_nothing,
            a_refusal_keeps_its_audit,
            an_unbound_activation_code_finds_the_tenant_the_appliance_names,
            a_code_is_found_under_any_master_key_of_the_ring,
            publishing_makes_a_release_current_and_never_replaces_a_version,
            publishing_again_signs_a_release_that_has_no_manifest,
            a_yanked_release_is_never_current_again,
            rolling_back_goes_to_the_newest_older_release_or_the_named_one,
            a_rollback_racing_a_yank_never_offers_what_was_withdrawn,
            what_ended_long_ago_is_deleted_and_the_rest_is_kept,
            a_sweep_is_bounded,
            a_link_is_found_by_one,
            signing_out_ends_one_session_or_all_of_a_visitor,
            a_link_and_its_mail_are_kept_together,
            of_16_redeemers_of_each_of_200_codes_exactly_one_wins,
            a_reissue_racing_a_redemption_never_leaves_two_live_codes,
            racing_registrations_of_one_subscription_are_one_tenant,
            a_caller_that_goes_away_leaves_all_or_nothing,
            a_tenant_has_one_live_code,
            a_code_is_consumed_once,
            code_digests_are_unique,
            a_tenant_has_one_active_entitlement_and_a_subscription_one_entitlement,
            a_version_is_published_once,
            a_recorded_answer_is_replayed_until_it_ends,
            a_recorded_answer_exists_exactly_when_its_effects_do,
            twins_in_flight_are_one,
            a_leased_mail_is_nobody_elses_until_the_lease_ends,
            a_sent_mail_loses_its_secret_and_a_discarded_one_stays_discarded_unless_it_was_sent,
            a_mail_that_was_given_up_keeps_its_secret_until_its_code_is_replaced,
            a_worker_whose_lease_ended_takes_nothing_from_the_next_one,
            due_mails_are_leased_oldest_first_and_listed_newest_first,
            a_mail_is_sent_again_or_discarded_by_an_operator,
            what_an_open_endpoint_writes_is_one_line_a_source_and_minute,
            pages_neither_skip_nor_repeat,
            the_audit_is_paged_newest_first,
            a_timeline_has_every_line_and_every_mail_once,
            filters_and_search_find_what_they_name,
            a_contact_means_its_newest_tenants_that_are_not_cancelled,
            a_tenant_is_shown_with_everything,
            the_keys_that_live_codes_and_unsent_mails_need_are_known,
            a_check_in_is_recorded_and_renews_what_is_due,
            the_newest_credential_retires_the_older_ones_at_its_first_use,
            an_unknown_and_a_revoked_credential_are_refused_alike,
            verifying_a_credential_writes_nothing,
            appliances_are_silent_from_their_last_check_in_on,
            check_ins_racing_each_other_and_a_revocation_all_answer,
            a_suspended_tenant_is_refused_until_it_is_resumed,
            a_master_key_that_others_do_not_have_is_not_recorded,
            what_is_not_there_is_not_found,
        );
    };
    (@cases $fresh:expr; $($case:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (store, _guard) = $fresh;
            let store: std::sync::Arc<dyn registry_core::store::Store> = std::sync::Arc::new(store);
            $crate::conformance::store::$case(store).await;
        }
    )+};
}

/// Runs writes of the suite's own through the store, as a decision that then aborts, refuses or
/// answers.
async fn decide_so(
    store: &Arc<dyn Store>,
    decision: impl Fn() -> Decision<Redeemed> + Send + Sync + 'static,
) -> Result<Outcome<Redeemed>, StoreError> {
    let key = RedeemKey { digests: vec![], tenant_id: None, appliance_id: appliance("any") };
    store.code_redeem(key, None, Arc::new(move |_: &RedeemFacts| decision())).await
}

fn abort() -> Decision<Redeemed> {
    Decision::Abort(DecideError::Replay("told to".to_owned()))
}

fn appliance(id: &str) -> ApplianceId {
    ApplianceId::parse(id).expect("an appliance id")
}

async fn actions(store: &Arc<dyn Store>, tenant: TenantId) -> Vec<&'static str> {
    audit(&**store, Some(tenant)).await.iter().map(|entry| entry.action.as_str()).collect()
}
