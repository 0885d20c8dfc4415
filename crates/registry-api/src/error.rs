//! The one form of every error (`docs/wire-contract.md`, "Errors"), on top of RFC 9457.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tenants::ReadyPart;

/// What a client can branch on. Stable: a code is never renamed, and never used for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract's table of errors says what each means")]
pub enum ErrorCode {
    InvalidRequest,
    Unauthorized,
    InvalidClaimCode,
    ExpiredClaimCode,
    ConsumedClaimCode,
    SupersededClaimCode,
    TenantMismatch,
    TenantSuspended,
    TenantRequired,
    TenantNotFound,
    AmbiguousContact,
    EntitlementRevoked,
    EntitlementNotFound,
    RevokedAppliance,
    ApplianceNotFound,
    InvalidCredential,
    TooManyAttempts,
    IdempotencyKeyReused,
    ReleaseExists,
    ReleaseNotFound,
    NoRelease,
    ImageWithdrawn,
    MailNotFound,
    MailSettled,
    InvalidLink,
    ExpiredLink,
    LinkGone,
    PreconditionFailed,
    RangeNotSatisfiable,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    NotReady,
    Overloaded,
    InternalError,
}

/// An error, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What happened and what to do, fit for an operator's screen.
    pub detail: String,
    /// The same text as `detail`, where clients in the field look for it.
    pub error: String,
    /// What a client can branch on.
    pub code: ErrorCode,
    /// More about `code`: the field of a refused value, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What to do, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// The parts of the service, where it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<ReadyPart>>,
    /// The registry's time: a client whose clock is off can tell.
    pub server_time: DateTime<Utc>,
    /// Names the request in the registry's log.
    pub request_id: String,
}
