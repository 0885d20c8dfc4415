//! The format of all error responses: RFC 9457 with additional members (`docs/wire-contract.md`,
//! "Errors").

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tenants::ReadyPart;

/// Stable code of an error, for clients to branch on. A code is never renamed and never reused for
/// another error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the table of errors in the wire contract defines them")]
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

/// Error response, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` identifies the error.
    pub r#type: String,
    /// Reason phrase of the HTTP status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Explanation of the error with the next step, fit to be shown to an operator.
    pub detail: String,
    /// Copy of `detail`, which clients in the field read.
    pub error: String,
    /// Stable code of the error, for clients to branch on.
    pub code: ErrorCode,
    /// Subdivision of `code`. For `invalid_request`, the name of the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True if the same request may succeed later.
    pub retryable: bool,
    /// Next step for the reader, with which `detail` ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// Parts of the service with their states, for `not_ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<ReadyPart>>,
    /// Time of the registry's clock, ISO 8601 in UTC. A client can compare its own clock with it.
    pub server_time: DateTime<Utc>,
    /// ID of the request in the registry's log.
    pub request_id: String,
}
