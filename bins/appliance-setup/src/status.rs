//! State of the installation and of the license, as text or JSON, without secrets.

use std::time::{Duration, UNIX_EPOCH};

use appliance_install::{LicenseState, LicenseStatus, ServiceError, Step};
use serde_json::{Value, json};
use terminal_text::printable;
use uuid::Uuid;

/// Formats Unix seconds as RFC 3339.
pub(crate) fn rfc3339(seconds: u64) -> String {
    // The latest time whose year has four digits.
    let at = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Returns the message about a wrong clock. `ahead` is the number of seconds by which the service's
/// clock is ahead of this machine's.
pub(crate) fn clock_skew_message(ahead: i64) -> String {
    let difference = humantime::format_duration(Duration::from_secs(ahead.unsigned_abs()));
    let direction = if ahead > 0 { "behind" } else { "ahead of" };
    format!(
        "This machine's clock is {difference} {direction} the service's clock. Set it: with a \
         wrong clock, valid licenses may be rejected."
    )
}

/// State of the installation and of the license.
pub(crate) struct Status {
    step: &'static str,
    detail: String,
    tenant_id: Option<Uuid>,
    license_state: Option<LicenseState>,
}

impl Status {
    pub(crate) fn new(step: &Step, license_state: Option<LicenseState>) -> Self {
        let (step, detail, tenant_id) = describe(step);
        Self { step, detail, tenant_id, license_state }
    }

    /// Returns the status as JSON.
    pub(crate) fn json(&self) -> Value {
        let license = self.license_state.as_ref().map(|license_state| {
            let status = license_state.status.as_ref();
            json!({
                "standing": status.map_or("not_checked_in_yet", status_name),
                "detail": license_message(license_state),
                "sub": license_state.licensed.sub,
                "expires_at": rfc3339(license_state.licensed.expires_at),
                "check_in_url": license_state.licensed.check_in_url,
                "last_answer_at": license_state.last_response_at.map(rfc3339),
                "next_check_in_at": rfc3339(license_state.schedule.due_at),
                "failures": license_state.schedule.failures,
                "handed_to_product": license_state.delivered,
            })
        });
        json!({
            "step": self.step,
            "detail": self.detail,
            "tenant_id": self.tenant_id,
            "license": license,
        })
    }

    /// Returns the status as text.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![("step", self.step.to_owned()), ("detail", self.detail.clone())];
        lines.extend(self.tenant_id.map(|tenant| ("tenant", tenant.to_string())));
        if let Some(license_state) = &self.license_state {
            let last = license_state.last_response_at.map_or("none yet".to_owned(), rfc3339);
            let expires_at = rfc3339(license_state.licensed.expires_at);
            lines.push(("license", format!("until {expires_at}")));
            lines.push(("", license_message(license_state)));
            lines.push((
                "check-in",
                format!("last {last}, next {}", rfc3339(license_state.schedule.due_at)),
            ));
        }
        let line = |(name, value): (&str, String)| format!("{name:<10}{}", printable(&value));
        lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn status_name(status: &LicenseStatus) -> &'static str {
    match status {
        LicenseStatus::Entitled => "entitled",
        LicenseStatus::Revoked => "revoked",
        LicenseStatus::CredentialRevoked => "credential_revoked",
        LicenseStatus::ServiceError(_) => "trouble",
    }
}

fn license_message(license_state: &LicenseState) -> String {
    let status = license_state.status.as_ref();
    status.map_or("This appliance has not checked in yet.".to_owned(), |status| {
        status.message(license_state.service())
    })
}

/// Returns a step's name, its details, and the tenant if it is known.
fn describe(step: &Step) -> (&'static str, String, Option<Uuid>) {
    // The URL of the service is an option of the command line and not part of the state.
    let failed = |service_error: &ServiceError, attempts: u32| {
        format!("{} (failed attempts: {attempts})", service_error.message("the configured URL"))
    };
    match step {
        Step::Collect { refusal: None, .. } => {
            ("collect", "No data has been entered yet.".to_owned(), None)
        }
        Step::Collect { refusal: Some(refusal), .. } => ("collect", refusal.text.clone(), None),
        Step::Redeem { service_error: None, .. } => {
            ("redeem", "The install code is being redeemed.".to_owned(), None)
        }
        Step::Redeem { service_error: Some(service_error), attempts, .. } => {
            ("redeem", failed(service_error, *attempts), None)
        }
        Step::Verify { service_error: None, unverified, .. } => (
            "verify",
            "The service's response is being verified.".to_owned(),
            Some(unverified.tenant_id),
        ),
        Step::Verify { service_error: Some(service_error), attempts, unverified, .. } => {
            ("verify", failed(service_error, *attempts), Some(unverified.tenant_id))
        }
        Step::Write { identity, .. } => {
            let tenant = identity.as_ref().map(|identity| identity.tenant_id);
            ("write", "The Secrets have not been delivered to the product yet.".to_owned(), tenant)
        }
        Step::Bootstrap { tenant_id } => {
            ("bootstrap", "The product has not been bootstrapped yet.".to_owned(), *tenant_id)
        }
        Step::Done { tenant_id } => ("done", "This appliance is installed.".to_owned(), *tenant_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_text_or_json() {
        let tenant_id = Some(Uuid::from_u128(7));
        let done = Status::new(&Step::Done { tenant_id }, None);
        assert!(
            done.text().contains("tenant    00000000-0000-0000-0000-000000000007"),
            "{}",
            done.text()
        );
        let collect = Step::Collect { refusal: None, previous_form: None };
        let status = Status::new(&collect, None).json();
        assert_eq!(
            (&status["step"], &status["tenant_id"], &status["license"]),
            (&json!("collect"), &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn any_time_is_formatted() {
        assert_eq!(rfc3339(1_795_490_640), "2026-11-24T03:24:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn clock_skew_names_its_direction() {
        for (ahead, expected) in [
            (3_600, "clock is 1h behind the service's clock"),
            (-90, "clock is 1m 30s ahead of the service's clock"),
        ] {
            let message = clock_skew_message(ahead);
            assert!(message.contains(expected), "{message}");
        }
    }
}
