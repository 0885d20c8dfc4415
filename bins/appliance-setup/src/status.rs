//! Where the installation is, and how the license stands, in words or as JSON; without secrets.

use std::time::{Duration, UNIX_EPOCH};

use appliance_install::{LicenseState, LicenseStatus, Step};
use serde_json::{Value, json};
use uuid::Uuid;

/// A moment in words, from Unix seconds.
pub(crate) fn moment(seconds: u64) -> String {
    // Later than that no date has four digits.
    let at = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// What to do about a clock that is off: `ahead` is by how many seconds the service's is before
/// this machine's.
pub(crate) fn skew(ahead: i64) -> String {
    let off = humantime::format_duration(Duration::from_secs(ahead.unsigned_abs()));
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    format!(
        "This machine's clock is {off} {way} the service's: set it, or licenses are judged wrongly."
    )
}

/// Where an installation is.
pub(crate) struct Status {
    step: &'static str,
    detail: String,
    tenant_id: Option<Uuid>,
    license_state: Option<LicenseState>,
}

impl Status {
    pub(crate) fn of(step: &Step, license_state: Option<LicenseState>) -> Self {
        let (step, detail, tenant_id) = words(step);
        Self { step, detail, tenant_id, license_state }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let license = self.license_state.as_ref().map(|license_state| {
            json!({
                "standing": license_state.standing.as_ref().map_or("not_checked_in_yet", name),
                "detail": message(license_state),
                "sub": license_state.licensed.sub,
                "expires_at": moment(license_state.licensed.expires_at),
                "check_in_url": license_state.licensed.check_in_url,
                "last_answer_at": license_state.last_answer_at.map(moment),
                "next_check_in_at": moment(license_state.schedule.due_at),
                "failures": license_state.schedule.failures,
                "handed_to_product": license_state.handed,
            })
        });
        json!({ "step": self.step, "detail": self.detail, "tenant_id": self.tenant_id, "license": license })
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![("step", self.step.to_owned()), ("detail", self.detail.clone())];
        lines.extend(self.tenant_id.map(|tenant| ("tenant", tenant.to_string())));
        if let Some(license_state) = &self.license_state {
            let last = license_state.last_answer_at.map_or("none yet".to_owned(), moment);
            lines.push(("license", format!("until {}", moment(license_state.licensed.expires_at))));
            lines.push(("", message(license_state)));
            lines.push((
                "check-in",
                format!("last {last}, next {}", moment(license_state.schedule.due_at)),
            ));
        }
        let lines: Vec<_> =
            lines.into_iter().map(|(name, value)| format!("{name:<10}{value}")).collect();
        lines.join("\n")
    }
}

fn name(standing: &LicenseStatus) -> &'static str {
    match standing {
        LicenseStatus::Entitled => "entitled",
        LicenseStatus::Revoked => "revoked",
        LicenseStatus::CredentialRevoked => "credential_revoked",
        LicenseStatus::ServiceError(_) => "service_error",
    }
}

fn message(license_state: &LicenseState) -> String {
    let standing = license_state.standing.as_ref();
    standing.map_or("It was not renewed yet.".to_owned(), |standing| {
        standing.message(license_state.service())
    })
}

fn words(step: &Step) -> (&'static str, String, Option<Uuid>) {
    match step {
        Step::Collect { refused: None, .. } => {
            ("collect", "Nothing was entered yet.".to_owned(), None)
        }
        Step::Collect { refused: Some(refused), .. } => ("collect", refused.text.clone(), None),
        Step::Redeem { service_error: None, .. } => {
            ("redeem", "The install code is being redeemed.".to_owned(), None)
        }
        Step::Redeem { service_error: Some(service_error), tries, .. } => (
            "redeem",
            format!("{} (tried {tries} times)", service_error.message("its address")),
            None,
        ),
        Step::Verify { service_error: None, claimed, .. } => (
            "verify",
            "What the service answered is being verified.".to_owned(),
            Some(claimed.tenant_id),
        ),
        Step::Verify { service_error: Some(service_error), tries, claimed, .. } => {
            let detail = format!("{} (tried {tries} times)", service_error.message("its address"));
            ("verify", detail, Some(claimed.tenant_id))
        }
        Step::Write { identity, .. } => {
            let tenant = identity.as_ref().map(|identity| identity.tenant_id);
            ("write", "The identity is to be handed to the product.".to_owned(), tenant)
        }
        Step::Bootstrap { tenant_id } => {
            ("bootstrap", "The product is to be bootstrapped.".to_owned(), *tenant_id)
        }
        Step::Done { tenant_id } => ("done", "This appliance is installed.".to_owned(), *tenant_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_readable_by_people_and_programs() {
        let tenant_id = Some(Uuid::from_u128(7));
        let done = Status::of(&Step::Done { tenant_id }, None);
        assert!(
            done.text().contains("tenant    00000000-0000-0000-0000-000000000007"),
            "{}",
            done.text()
        );
        let outcome = Status::of(&Step::Collect { refused: None, before: None }, None).json();
        assert_eq!(
            (&outcome["step"], &outcome["tenant_id"], &outcome["license"]),
            (&json!("collect"), &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn a_moment_is_readable_however_far_off() {
        assert_eq!(moment(1_795_490_640), "2026-11-24T03:24:00Z");
        assert_eq!(moment(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_clock_that_is_off_is_told_which_way() {
        assert!(skew(3_600).contains("clock is 1h behind the service's"), "{}", skew(3_600));
        assert!(skew(-90).contains("clock is 1m 30s ahead of the service's"), "{}", skew(-90));
    }
}
