//! Every refusal of the rules. The text is fit for an operator's screen: it says what happened, and
//! since when. [`Refusal::next_step`] says what to do next.

use chrono::TimeDelta;

use crate::clock::{Timestamp, format_time};
use crate::id::TenantId;
use crate::mail::MailState;
use crate::rate_limit::Limited;

/// A refusal: the request was understood, and is denied. Only audit entries were written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field of the request has an invalid value.
    #[error("`{field}` {problem}.")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// The problem, as the rest of a sentence that begins with the field.
        problem: String,
    },
    /// The code does not exist, or the text cannot be a code.
    #[error("Invalid install code.")]
    CodeInvalid,
    /// An install code without an entitlement was entered in a running appliance.
    #[error(
        "This is an install code for a new appliance; it cannot activate one that is already \
         running."
    )]
    NotAnActivationCode,
    /// The code has expired.
    #[error("Install code has expired, on {}.", format_time(*.since))]
    CodeExpired {
        /// Time of expiry.
        since: Timestamp,
    },
    /// The code was redeemed earlier.
    #[error("Install code has already been used, on {}.", format_time(*.since))]
    CodeConsumed {
        /// Time of the redemption.
        since: Timestamp,
    },
    /// A newer code replaced this one.
    #[error("Install code was replaced by a newer one on {}.", format_time(*.since))]
    CodeSuperseded {
        /// Time of issue of the newer code.
        since: Timestamp,
    },
    /// The code or the entitlement belongs to another tenant.
    #[error("This code or subscription belongs to another tenant.")]
    TenantMismatch,
    /// The tenant has an active entitlement other than the requested one.
    #[error("This tenant already has another active subscription.")]
    AlreadyEntitled,
    /// An operator suspended or cancelled the tenant.
    #[error(
        "This tenant was suspended or cancelled{}.",
        since.map(|since| format!(" on {}", format_time(since))).unwrap_or_default()
    )]
    TenantSuspended {
        /// The tenant, if the request named one.
        tenant: Option<TenantId>,
        /// Time of the tenant's last change.
        since: Option<Timestamp>,
    },
    /// The entitlement behind an activation code was revoked.
    #[error("The subscription behind this code ended on {}.", format_time(*.since))]
    EntitlementRevoked {
        /// Time of the revocation.
        since: Timestamp,
    },
    /// Neither the activation code nor the request names a tenant.
    #[error("This code can only be used on a running appliance that sends its tenant id.")]
    TenantRequired,
    /// The activation code was not bound to a tenant beforehand, as the vendor's settings require.
    #[error("This code is not bound to a tenant.")]
    CodeNotBound,
    /// The tenant does not exist.
    #[error("No tenant was found.")]
    TenantNotFound,
    /// Several tenants have this contact, and the caller requested a strict match.
    #[error("Several tenants have this contact. Name one by its `tenant_id`.")]
    AmbiguousContact,
    /// The credential is unknown, or the appliance was revoked. Callers cannot distinguish the two.
    #[error("This appliance's credential is unknown or was revoked.")]
    ApplianceRevoked,
    /// The credential that a service verifies is unknown, revoked or malformed.
    #[error("The credential is not valid.")]
    CredentialInvalid,
    /// The tenant has no appliance with this id.
    #[error("No appliance with this id was found.")]
    ApplianceNotFound,
    /// The entitlement does not exist.
    #[error("No entitlement was found.")]
    EntitlementNotFound,
    /// The source, or the recipient, has reached a rate limit.
    #[error("{}", match limited {
        Limited::UnknownCodes => "Too many unknown codes were tried from this address.",
        Limited::Requests => "Too many requests.",
    })]
    RateLimited {
        /// The kind of event that the limit counts.
        limited: Limited,
        /// Time until the limit's window ends.
        retry_after: TimeDelta,
    },
    /// All sources together have reached a rate limit.
    #[error("Too many requests from many addresses are being refused at the moment.")]
    Overloaded {
        /// Time until the limit's window ends.
        retry_after: TimeDelta,
    },
    /// The sign-in link was already used, has expired, or never existed.
    #[error("This sign-in link was already used or has expired.")]
    SignInLinkInvalid,
    /// The idempotency key was used before with a different request.
    #[error("This Idempotency-Key was used before with a different request.")]
    KeyReused,
    /// The version is already published with different content.
    #[error("Version {version} is already published with different content.")]
    ReleaseExists {
        /// The version.
        version: String,
    },
    /// The version was withdrawn (yanked).
    #[error("Version {version} was yanked on {}.", format_time(*.since))]
    ReleaseYanked {
        /// The version.
        version: String,
        /// Time of the withdrawal.
        since: Timestamp,
    },
    /// The release does not exist.
    #[error("No such release was found.")]
    ReleaseNotFound,
    /// The channel has no earlier release to roll back to.
    #[error("Channel `{channel}` has no earlier release to roll back to.")]
    NoEarlierRelease {
        /// The channel.
        channel: String,
    },
    /// The download link was altered, or its code was deleted some time after its expiry.
    #[error("This download link is not valid: it was altered or cut off, or it expired long ago.")]
    DownloadLinkInvalid,
    /// The download link has expired: its code has ended, or was redeemed some time ago.
    #[error("This download link expired on {}.", format_time(*.since))]
    DownloadLinkEnded {
        /// Time of expiry.
        since: Timestamp,
    },
    /// The file behind a download link was deleted.
    #[error("The file behind this download link no longer exists.")]
    DownloadFileGone,
    /// The image behind a link was withdrawn.
    #[error(
        "Version {version} of the image was withdrawn by the vendor on {}.",
        format_time(*.since)
    )]
    ImageWithdrawn {
        /// The version.
        version: String,
        /// Time of the withdrawal.
        since: Timestamp,
    },
    /// No image can be downloaded now.
    #[error("There is no image to download at the moment.")]
    NothingToDownload,
    /// The mail does not exist.
    #[error("No mail with this id was found.")]
    MailNotFound,
    /// The mail was sent or discarded, so its secret no longer exists.
    #[error("This mail was already {state}.")]
    MailSettled {
        /// The state of the mail.
        state: MailState,
    },
    /// The code or link in the mail has expired.
    #[error("The code or link in this mail expired on {}.", format_time(*.since))]
    MailOutdated {
        /// Time of expiry.
        since: Timestamp,
    },
}

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request lacks something, or has a value that it must not have.
    Invalid,
    /// The caller's credential is not valid.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// The thing does not exist, or a code is not an activation code.
    NotFound,
    /// The thing is in a state that does not allow the change.
    Conflict,
    /// The thing existed, and has expired or was withdrawn.
    Gone,
    /// The caller has reached a rate limit.
    RateLimited,
    /// The registry protects itself. The caller has done nothing wrong, and may try again.
    Overloaded,
}

impl Refusal {
    /// The kind of the refusal. The kind alone decides the HTTP status and the exit code.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Invalid { .. } | Self::TenantRequired | Self::CodeNotBound | Self::KeyReused => {
                RefusalKind::Invalid
            }
            Self::ApplianceRevoked | Self::CredentialInvalid => RefusalKind::Unauthenticated,
            Self::TenantSuspended { .. }
            | Self::EntitlementRevoked { .. }
            | Self::SignInLinkInvalid
            | Self::DownloadLinkInvalid
            | Self::DownloadLinkEnded { .. } => RefusalKind::Forbidden,
            Self::CodeInvalid
            | Self::NotAnActivationCode
            | Self::TenantNotFound
            | Self::ApplianceNotFound
            | Self::EntitlementNotFound
            | Self::ReleaseNotFound
            | Self::NoEarlierRelease { .. }
            | Self::DownloadFileGone
            | Self::NothingToDownload
            | Self::MailNotFound => RefusalKind::NotFound,
            Self::CodeConsumed { .. }
            | Self::CodeSuperseded { .. }
            | Self::TenantMismatch
            | Self::AlreadyEntitled
            | Self::AmbiguousContact
            | Self::ReleaseExists { .. }
            | Self::ReleaseYanked { .. }
            | Self::MailSettled { .. }
            | Self::MailOutdated { .. } => RefusalKind::Conflict,
            Self::CodeExpired { .. } | Self::ImageWithdrawn { .. } => RefusalKind::Gone,
            Self::RateLimited { .. } => RefusalKind::RateLimited,
            Self::Overloaded { .. } => RefusalKind::Overloaded,
        }
    }

    /// Returns what the reader should do next, if anything. `portal` is the URL at which codes are
    /// re-issued. Customers, installers and operators read these texts.
    #[must_use]
    pub fn next_step(&self, portal: Option<&str>) -> Option<String> {
        let new_code = || match portal {
            Some(url) => format!("Request a fresh one from the portal (re-issue) at {url}."),
            None => "Request a fresh one from the portal (re-issue).".to_owned(),
        };
        let new_link = || match portal {
            Some(url) => format!(
                "Request a new install code from the portal (re-issue) at {url}. The email with \
                 the code has a new link."
            ),
            None => {
                "Request a new install code (re-issue). The email with the code has a new link."
                    .to_owned()
            }
        };
        match self {
            Self::CodeInvalid => {
                Some("Check the code from your registration email and try again.".to_owned())
            }
            Self::CodeExpired { .. } | Self::CodeConsumed { .. } => Some(new_code()),
            Self::CodeSuperseded { .. } => {
                Some(format!("Use the newest code you were mailed. {}", new_code()))
            }
            Self::NotAnActivationCode => Some(
                "Use the activation code of your subscription, or install a new appliance with \
                 this one."
                    .to_owned(),
            ),
            Self::TenantMismatch => {
                Some("Use the code that was mailed for this tenant.".to_owned())
            }
            Self::TenantSuspended { .. }
            | Self::EntitlementRevoked { .. }
            | Self::AlreadyEntitled
            | Self::CodeNotBound => Some("Ask your vendor.".to_owned()),
            Self::ApplianceRevoked => {
                Some("Ask your vendor, or install with a re-issued code.".to_owned())
            }
            Self::TenantRequired => Some(
                "Finish the installation first, then enter this code in the running appliance."
                    .to_owned(),
            ),
            Self::RateLimited { retry_after, .. } | Self::Overloaded { retry_after } => {
                let minutes = retry_after.num_minutes() + 1;
                let plural = if minutes == 1 { "" } else { "s" };
                Some(format!("Try again in {minutes} minute{plural}."))
            }
            Self::SignInLinkInvalid => Some("Request a new sign-in link.".to_owned()),
            Self::DownloadLinkInvalid => {
                Some(format!("Use the link in your newest email. {}", new_link()))
            }
            Self::DownloadLinkEnded { .. } | Self::DownloadFileGone => Some(new_link()),
            Self::ImageWithdrawn { .. } => Some(
                "Use the link in your email, which leads to the current version, or ask your \
                 vendor."
                    .to_owned(),
            ),
            Self::NothingToDownload => Some("Try again later, or ask your vendor.".to_owned()),
            Self::ReleaseYanked { .. } => Some("Publish it under a new version.".to_owned()),
            Self::MailSettled { .. } | Self::MailOutdated { .. } => {
                Some("Send a new install code with `registryctl code reissue`.".to_owned())
            }
            Self::Invalid { .. }
            | Self::ReleaseNotFound
            | Self::NoEarlierRelease { .. }
            | Self::MailNotFound
            | Self::TenantNotFound
            | Self::AmbiguousContact
            | Self::ApplianceNotFound
            | Self::CredentialInvalid
            | Self::EntitlementNotFound
            | Self::KeyReused
            | Self::ReleaseExists { .. } => None,
        }
    }

    /// The stable name of the refusal in audit entries.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::CodeInvalid => "code_invalid",
            Self::NotAnActivationCode => "not_an_activation_code",
            Self::CodeExpired { .. } => "code_expired",
            Self::CodeConsumed { .. } => "code_consumed",
            Self::CodeSuperseded { .. } => "code_superseded",
            Self::TenantMismatch => "tenant_mismatch",
            Self::AlreadyEntitled => "already_entitled",
            Self::CodeNotBound => "code_not_bound",
            Self::TenantSuspended { .. } => "tenant_suspended",
            Self::EntitlementRevoked { .. } => "entitlement_revoked",
            Self::TenantRequired => "tenant_required",
            Self::TenantNotFound => "tenant_not_found",
            Self::AmbiguousContact => "ambiguous_contact",
            Self::ApplianceRevoked => "appliance_revoked",
            Self::ApplianceNotFound => "appliance_not_found",
            Self::CredentialInvalid => "credential_invalid",
            Self::EntitlementNotFound => "entitlement_not_found",
            Self::RateLimited { limited: Limited::UnknownCodes, .. } => "too_many_guesses",
            Self::RateLimited { limited: Limited::Requests, .. } => "too_often",
            Self::Overloaded { .. } => "overloaded",
            Self::SignInLinkInvalid => "sign_in_link_invalid",
            Self::KeyReused => "key_reused",
            Self::ReleaseExists { .. } => "release_exists",
            Self::ReleaseYanked { .. } => "release_yanked",
            Self::ReleaseNotFound => "release_not_found",
            Self::NoEarlierRelease { .. } => "no_earlier_release",
            Self::DownloadLinkInvalid => "download_link_invalid",
            Self::DownloadLinkEnded { .. } => "download_link_ended",
            Self::DownloadFileGone => "download_file_gone",
            Self::ImageWithdrawn { .. } => "image_withdrawn",
            Self::NothingToDownload => "nothing_to_download",
            Self::MailNotFound => "mail_not_found",
            Self::MailSettled { .. } => "mail_settled",
            Self::MailOutdated { .. } => "mail_outdated",
        }
    }
}
