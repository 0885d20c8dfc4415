//! Every "no" of the rules. Its text is fit for an operator's screen: what happened, and since
//! when; what to do next is [`Refusal::next_step`].

use chrono::TimeDelta;

use crate::clock::{Timestamp, in_words};
use crate::mail::MailState;

/// A refusal: the request was understood, and the answer is no. Nothing but audit was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field of the request has a value it must not have.
    #[error("`{field}` {problem}.")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No such code, or nothing that could be one.
    #[error("Invalid install code.")]
    CodeInvalid,
    /// An install code without an entitlement was typed into a running appliance.
    #[error(
        "This is an install code for a new appliance; it cannot activate one that is already running."
    )]
    NotAnActivationCode,
    /// The code's time ran out.
    #[error("Install code has expired, on {}.", in_words(*.since))]
    CodeExpired {
        /// When it ended.
        since: Timestamp,
    },
    /// The code was redeemed before.
    #[error("Install code has already been used, on {}.", in_words(*.since))]
    CodeConsumed {
        /// When it was redeemed.
        since: Timestamp,
    },
    /// A newer code took its place.
    #[error("Install code was replaced by a newer one on {}.", in_words(*.since))]
    CodeSuperseded {
        /// When the newer one was minted.
        since: Timestamp,
    },
    /// The code belongs to another tenant than the one that wants to use it.
    #[error("This code belongs to another tenant than this appliance.")]
    TenantMismatch,
    /// The tenant has another active entitlement than the one that the code would bring.
    #[error("This tenant already has another active subscription.")]
    AlreadyEntitled,
    /// An operator closed the door on the tenant.
    #[error("This tenant was suspended or cancelled.")]
    TenantSuspended,
    /// The entitlement that the code would have brought was revoked.
    #[error("The subscription behind this code ended on {}.", in_words(*.since))]
    EntitlementRevoked {
        /// When it was revoked.
        since: Timestamp,
    },
    /// An activation code that names no tenant, from an appliance that names none either.
    #[error("This code can only be used by a running appliance, which has to name its tenant.")]
    TenantRequired,
    /// An activation code that was not bound to a tenant beforehand, where the vendor demands it.
    #[error("This code was not prepared for a tenant.")]
    CodeNotBound,
    /// No such tenant.
    #[error("No tenant was found.")]
    TenantNotFound,
    /// Several tenants have this contact, and the caller asked not to choose.
    #[error("Several tenants have this contact; name one by its tenant_id.")]
    AmbiguousContact,
    /// The credential is unknown, or its appliance was revoked: the two are told apart by nobody.
    #[error("This appliance's credential is not known, or was revoked.")]
    ApplianceRevoked,
    /// The same, said to a service that asks about a credential.
    #[error("The credential is not valid.")]
    CredentialInvalid,
    /// The tenant has no such appliance.
    #[error("No appliance of that name was found.")]
    ApplianceNotFound,
    /// No such entitlement.
    #[error("No entitlement was found.")]
    EntitlementNotFound,
    /// The source guesses codes.
    #[error("Too many unknown codes were tried from this address.")]
    TooManyGuesses {
        /// When to come back.
        retry_after: TimeDelta,
    },
    /// The source asks too often.
    #[error("Too much was asked for from this address.")]
    TooOften {
        /// When to come back.
        retry_after: TimeDelta,
    },
    /// The link that signs in was used, has ended, or never was one.
    #[error("This sign-in link was used before, or has ended.")]
    SignInLinkInvalid,
    /// The same idempotency key came with another request.
    #[error("This Idempotency-Key was used before with a different request.")]
    KeyReused,
    /// The version is published already, with other content.
    #[error("Version {version} is published already, with other content.")]
    ReleaseExists {
        /// The version.
        version: String,
    },
    /// The version was withdrawn.
    #[error("Version {version} was yanked on {}.", in_words(*.since))]
    ReleaseYanked {
        /// The version.
        version: String,
        /// When it was.
        since: Timestamp,
    },
    /// There is no such release.
    #[error("No such release was found.")]
    ReleaseNotFound,
    /// There is no earlier release to go back to.
    #[error("There is no earlier release in channel `{channel}` to go back to.")]
    NoEarlierRelease {
        /// The channel.
        channel: String,
    },
    /// The download link was altered, or its code is long gone.
    #[error("This download link is not valid: it was altered, cut off, or is long over.")]
    DownloadLinkInvalid,
    /// The download link ended, with its code.
    #[error("This download link ended on {}, with its install code.", in_words(*.since))]
    DownloadLinkEnded {
        /// When it ended.
        since: Timestamp,
    },
    /// The image behind a link was withdrawn.
    #[error("Version {version} of the image was withdrawn by the vendor on {}.", in_words(*.since))]
    ImageWithdrawn {
        /// The version.
        version: String,
        /// When it was.
        since: Timestamp,
    },
    /// There is nothing to download.
    #[error("There is no image to download at the moment.")]
    NothingToDownload,
    /// No such mail.
    #[error("No mail with this id was found.")]
    MailNotFound,
    /// The mail was sent or discarded: its secret is gone.
    #[error("This mail was {state} already.")]
    MailSettled {
        /// What became of it.
        state: MailState,
    },
    /// What the mail brings is no good any more.
    #[error("What this mail brings ended on {}.", in_words(*.since))]
    MailOutdated {
        /// When it ended.
        since: Timestamp,
    },
}

impl Refusal {
    /// What the reader should do next, where there is something. `portal` is where codes are
    /// re-issued.
    #[must_use]
    pub fn next_step(&self, portal: Option<&str>) -> Option<String> {
        let fresh = || match portal {
            Some(url) => format!("Request a fresh one from the portal (re-issue) at {url}."),
            None => "Request a fresh one from the portal (re-issue).".to_owned(),
        };
        let fresh_code = || match portal {
            Some(url) => format!(
                "Request a fresh install code from the portal (re-issue) at {url}; it brings a link."
            ),
            None => "Ask for a fresh install code (re-issue); it brings a link.".to_owned(),
        };
        match self {
            Self::CodeInvalid => Some("Check the code from your registration email and try again.".to_owned()),
            Self::CodeExpired { .. } | Self::CodeConsumed { .. } => Some(fresh()),
            Self::CodeSuperseded { .. } => Some(format!("Use the newest code you were mailed. {}", fresh())),
            Self::NotAnActivationCode => {
                Some("Use the activation code of your subscription, or install a new appliance with this one.".into())
            }
            Self::TenantMismatch => Some("Use the code that was mailed for this tenant.".to_owned()),
            Self::TenantSuspended | Self::EntitlementRevoked { .. } | Self::AlreadyEntitled | Self::CodeNotBound => {
                Some("Ask your vendor.".to_owned())
            }
            Self::ApplianceRevoked => Some("Ask your vendor, or install with a re-issued code.".to_owned()),
            Self::TenantRequired => Some("Finish the installation first, then enter this code there.".to_owned()),
            Self::TooManyGuesses { retry_after } | Self::TooOften { retry_after } => {
                let minutes = retry_after.num_minutes() + 1;
                Some(format!("Try again in {minutes} minute{}.", if minutes == 1 { "" } else { "s" }))
            }
            Self::SignInLinkInvalid => Some("Ask for a new one.".to_owned()),
            Self::DownloadLinkInvalid => Some(format!("Use the link from your newest mail. {}", fresh_code())),
            Self::DownloadLinkEnded { .. } => Some(fresh_code()),
            Self::ImageWithdrawn { .. } => {
                Some("The link in your mail leads to the current one; else ask your vendor.".to_owned())
            }
            Self::NothingToDownload => Some("Try again later, or ask your vendor.".to_owned()),
            Self::ReleaseYanked { .. } => Some("Publish it under a new version.".to_owned()),
            Self::MailSettled { .. } | Self::MailOutdated { .. } => {
                Some("Mail a fresh code: registryctl code reissue.".to_owned())
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

    /// One word for the audit.
    #[must_use]
    pub fn word(&self) -> &'static str {
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
            Self::TenantSuspended => "tenant_suspended",
            Self::EntitlementRevoked { .. } => "entitlement_revoked",
            Self::TenantRequired => "tenant_required",
            Self::TenantNotFound => "tenant_not_found",
            Self::AmbiguousContact => "ambiguous_contact",
            Self::ApplianceRevoked => "appliance_revoked",
            Self::ApplianceNotFound => "appliance_not_found",
            Self::CredentialInvalid => "credential_invalid",
            Self::EntitlementNotFound => "entitlement_not_found",
            Self::TooManyGuesses { .. } => "too_many_guesses",
            Self::TooOften { .. } => "too_often",
            Self::SignInLinkInvalid => "sign_in_link_invalid",
            Self::KeyReused => "key_reused",
            Self::ReleaseExists { .. } => "release_exists",
            Self::ReleaseYanked { .. } => "release_yanked",
            Self::ReleaseNotFound => "release_not_found",
            Self::NoEarlierRelease { .. } => "no_earlier_release",
            Self::DownloadLinkInvalid => "download_link_invalid",
            Self::DownloadLinkEnded { .. } => "download_link_ended",
            Self::ImageWithdrawn { .. } => "image_withdrawn",
            Self::NothingToDownload => "nothing_to_download",
            Self::MailNotFound => "mail_not_found",
            Self::MailSettled { .. } => "mail_settled",
            Self::MailOutdated { .. } => "mail_outdated",
        }
    }
}
