//! Errors, as an operator reads them, and as a script does: text, next step and exit code.

use registry_core::refusal::RefusalKind;
use registry_core::store::StoreError;
use registry_core::{Error, Refusal};
use serde_json::json;
use terminal_text::{printable_json, printable_lines};

use crate::Interrupted;

/// Prints an error, unless standard output is a pipe that its reader has closed.
pub(crate) fn print(error: &anyhow::Error, json: bool) {
    let is_closed_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(is_closed_pipe) {
        return;
    }
    let next_step = match error.downcast_ref() {
        Some(Error::Refused(refusal)) => next_step(refusal),
        _ => None,
    };
    if json {
        let error = json!({ "error": format!("{error:#}"), "next_step": next_step }).to_string();
        eprintln!("{}", printable_json(&error));
    } else {
        let next_step = next_step.map(|step| format!(" {step}")).unwrap_or_default();
        eprintln!("registryctl: {}", printable_lines(&format!("{error:#}{next_step}")));
    }
}

/// Returns what an operator should do next. [`Refusal::next_step`] is written for customers, who
/// are sent to their vendor.
fn next_step(refusal: &Refusal) -> Option<String> {
    let step = match refusal {
        Refusal::TenantSuspended { tenant: Some(tenant), .. } => {
            return Some(format!("Resume it with `registryctl tenant resume {tenant}`."));
        }
        Refusal::TenantSuspended { tenant: None, .. } => {
            "Resume the tenant with `registryctl tenant resume TENANT_ID`."
        }
        Refusal::EntitlementRevoked { .. } => {
            "Restore the entitlement with `registryctl entitlement restore SUBSCRIPTION_ID`."
        }
        Refusal::AlreadyEntitled => {
            "Revoke the other subscription with `registryctl entitlement revoke SUBSCRIPTION_ID`."
        }
        Refusal::CodeNotBound => {
            "Issue a code that is bound to a tenant, with `tenant_id` in `/claim-codes`."
        }
        Refusal::CodeInvalid => "Check the code, and enter it again.",
        Refusal::TenantNotFound | Refusal::AmbiguousContact => {
            "Find the tenant's id with `registryctl tenant list`."
        }
        Refusal::ApplianceNotFound | Refusal::EntitlementNotFound => {
            "List the tenant's appliances and entitlements with \
             `registryctl tenant show TENANT_ID`."
        }
        Refusal::ReleaseNotFound => "List the releases with `registryctl release list`.",
        Refusal::NothingToDownload | Refusal::ImageWithdrawn { .. } => {
            "Publish an image with `registryctl release publish`."
        }
        Refusal::MailNotFound => "List the mails with `registryctl mail list`.",
        Refusal::CodeExpired { .. }
        | Refusal::CodeConsumed { .. }
        | Refusal::CodeSuperseded { .. }
        | Refusal::ApplianceRevoked => "Send a new code with `registryctl code reissue TENANT_ID`.",
        Refusal::Invalid { .. }
        | Refusal::NotAnActivationCode
        | Refusal::TenantMismatch
        | Refusal::TenantRequired
        | Refusal::CredentialInvalid
        | Refusal::RateLimited { .. }
        | Refusal::Overloaded { .. }
        | Refusal::SignInLinkInvalid
        | Refusal::KeyReused
        | Refusal::ReleaseExists { .. }
        | Refusal::ReleaseYanked { .. }
        | Refusal::NoEarlierRelease { .. }
        | Refusal::DownloadLinkInvalid
        | Refusal::DownloadLinkEnded { .. }
        | Refusal::DownloadFileGone
        | Refusal::MailSettled { .. }
        | Refusal::MailOutdated { .. } => return refusal.next_step(None),
    };
    Some(step.to_owned())
}

/// The exit code of an error. The kind of a refusal alone decides.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let store = |error: &StoreError| match error {
        StoreError::Contended(_) | StoreError::Unavailable(_) | StoreError::Unconfirmed(_) => 5,
        StoreError::Corrupt(_) => 1,
    };
    let refusal = |refusal: &Refusal| match refusal.kind() {
        RefusalKind::NotFound => 4,
        RefusalKind::Overloaded => 5,
        RefusalKind::Invalid
        | RefusalKind::Unauthenticated
        | RefusalKind::Forbidden
        | RefusalKind::Conflict
        | RefusalKind::Gone
        | RefusalKind::RateLimited => 3,
    };
    if error.is::<Interrupted>() {
        return 130;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Refused(refused)) => refusal(refused),
        Some(Error::Store(error)) => store(error),
        Some(Error::Blob(_)) => 5,
        Some(Error::Decide(_)) => 1,
        None => match (error.downcast_ref::<Refusal>(), error.downcast_ref::<StoreError>()) {
            (Some(refused), _) => refusal(refused),
            (None, Some(error)) => store(error),
            (None, None) => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use registry_core::clock::Timestamp;

    use super::*;

    #[test]
    fn exit_code_depends_on_error_kind() {
        let busy = || StoreError::Contended("x".to_owned());
        for (error, code) in [
            (
                anyhow::Error::from(Error::Refused(Refusal::TenantSuspended {
                    tenant: None,
                    since: None,
                })),
                3,
            ),
            (Error::Refused(Refusal::TenantNotFound).into(), 4),
            (Refusal::TenantNotFound.into(), 4),
            (Error::Refused(Refusal::CodeInvalid).into(), 4),
            (Error::Store(busy()).into(), 5),
            (anyhow::Error::from(busy()).context("opening"), 5),
            (Error::Store(StoreError::Corrupt("x".to_owned())).into(), 1),
            (anyhow::anyhow!("x"), 1),
        ] {
            assert_eq!(exit_code(&error), code, "{error:?}");
        }
    }

    #[test]
    fn operator_is_not_sent_to_vendor() {
        let since = Timestamp::UNIX_EPOCH;
        for refusal in [
            Refusal::TenantSuspended { tenant: None, since: None },
            Refusal::EntitlementRevoked { since },
            Refusal::AlreadyEntitled,
            Refusal::CodeNotBound,
            Refusal::CodeExpired { since },
            Refusal::CodeConsumed { since },
            Refusal::CodeSuperseded { since },
            Refusal::ApplianceRevoked,
            Refusal::ImageWithdrawn { version: "1.0".to_owned(), since },
            Refusal::NothingToDownload,
        ] {
            let step = next_step(&refusal).unwrap();
            assert!(!step.contains("vendor") && !step.contains("portal"), "{refusal:?}: {step}");
        }
    }

    #[test]
    fn operator_is_sent_to_the_list() {
        for (refusal, command) in [
            (Refusal::TenantNotFound, "tenant list"),
            (Refusal::AmbiguousContact, "tenant list"),
            (Refusal::ApplianceNotFound, "tenant show"),
            (Refusal::EntitlementNotFound, "tenant show"),
            (Refusal::ReleaseNotFound, "release list"),
            (Refusal::MailNotFound, "mail list"),
        ] {
            let step = next_step(&refusal).unwrap();
            assert!(step.contains(&format!("registryctl {command}")), "{refusal:?}: {step}");
        }
    }
}
