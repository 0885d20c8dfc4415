//! Sample mails, to check templates at the start and for `registryctl mail preview`.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::id::{ReleaseId, TenantId};
use registry_core::install_code::PlainCode;
use registry_core::mail::{Download, InstallCodeMessage, Message, PortalLinkMessage};
use registry_core::release::Release;
use registry_core::secret::{DownloadLink, SignInLink};
use registry_core::text::{Channel, CompanyName, PersonName, Version};

/// The code in sample mails. It was never issued.
pub(crate) const CODE: &str = "K7QP-M2RX-9TDV";

/// A kind of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// A tenant's first install code.
    InstallCode,
    /// A re-issued install code.
    InstallCodeReissued,
    /// An install code while no image is published.
    InstallCodeWithoutImage,
    /// A sign-in link for the portal.
    PortalLink,
}

impl MailKind {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::InstallCode,
        Self::InstallCodeReissued,
        Self::InstallCodeWithoutImage,
        Self::PortalLink,
    ];

    /// Name of the kind, as `registryctl mail preview` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InstallCode => "install-code",
            Self::InstallCodeReissued => "install-code-reissued",
            Self::InstallCodeWithoutImage => "install-code-without-image",
            Self::PortalLink => "portal-link",
        }
    }
}

impl fmt::Display for MailKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for MailKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("unknown kind of mail; known are: {}", names.join(", "))
        })
    }
}

/// Returns a sample mail of this kind.
#[must_use]
pub fn sample(kind: MailKind, company: Option<&str>) -> Message {
    message(kind, company, true)
}

/// Returns a sample mail of this kind, with or without the contact's name.
pub(crate) fn message(kind: MailKind, company: Option<&str>, with_contact: bool) -> Message {
    let company_name = CompanyName::from_stored(company.unwrap_or("Acme & Sons Ltd").to_owned());
    let contact_name = with_contact.then(|| PersonName::from_stored("Ada Lovelace".to_owned()));
    let now = Timestamp::from_timestamp(1_795_618_800, 0).unwrap_or_default();
    let expires_at = now + TimeDelta::days(7);
    let link = |path: &str| {
        SignInLink::new(format!("https://registry.example/{path}?token=a-preview-has-no-token"))
    };
    match kind {
        MailKind::InstallCode
        | MailKind::InstallCodeReissued
        | MailKind::InstallCodeWithoutImage => {
            let download =
                (kind != MailKind::InstallCodeWithoutImage).then(|| download(now, expires_at));
            Message::InstallCode(Box::new(InstallCodeMessage {
                tenant_id: TenantId(uuid::Uuid::from_u128(
                    0x0193_7c9a_5b1e_7c3a_9d54_2f6a_1b0c_8e47,
                )),
                company_name,
                contact_name,
                edition: "pro".to_owned(),
                code: PlainCode::new(CODE.replace('-', "")),
                code_expires_at: expires_at,
                download: download.flatten(),
                reissued: kind == MailKind::InstallCodeReissued,
            }))
        }
        MailKind::PortalLink => Message::PortalLink(PortalLinkMessage {
            link: link("portal/sign-in"),
            expires_at: now + TimeDelta::minutes(15),
        }),
    }
}

fn download(now: Timestamp, expires_at: Timestamp) -> Option<Download> {
    let release = Release {
        id: ReleaseId(uuid::Uuid::nil()),
        channel: Channel::from_stored("stable".to_owned()),
        version: Version::from_stored("4.2.0".to_owned()),
        key: BlobKey::parse("stable/preview/appliance-4.2.0.iso")?,
        file_name: "appliance-4.2.0.iso".to_owned(),
        size: 1_234_567_890,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        published_at: now,
        manifest: None,
        yanked_at: None,
    };
    let link =
        DownloadLink::new("https://registry.example/download/a-preview-has-no-token".to_owned());
    Some(Download { link, expires_at, after_redemption: TimeDelta::days(7), release })
}
