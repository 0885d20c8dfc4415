//! The error type of handlers, and how refusals and failures map to status and code
//! (`docs/wire-contract.md`, "Errors").

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::{ErrorCode, ReadyPart};
use registry_core::blob::{BlobError, LinkError};
use registry_core::refusal::RefusalKind;
use registry_core::store::StoreError;
use registry_core::{Error, Refusal};

/// The default of `Retry-After`, in seconds.
const RETRY_AFTER: i64 = 2;

/// An error as a handler returns it. [`crate::middleware`] adds the request id, the time and the
/// next step, and makes the response of it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
    pub(crate) reason: Option<String>,
    /// The refusal, if the error is one. The refusal knows the next step.
    pub(crate) refusal: Option<Refusal>,
    /// Cause for the log. The client does not see it.
    pub(crate) cause: Option<String>,
    /// The parts of the service, in a response of `/readyz`.
    pub(crate) parts: Option<Vec<ReadyPart>>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            reason: None,
            refusal: None,
            cause: None,
            parts: None,
            header: None,
        }
    }

    /// True if the request had an unknown code, credential, token or link, or was refused because of
    /// earlier ones. Such a response waits, so that trying secrets takes no time from others.
    pub(crate) fn is_wrong_secret(&self) -> bool {
        self.code == ErrorCode::Unauthorized
            || matches!(
                self.refusal,
                Some(
                    Refusal::CodeInvalid
                        | Refusal::RateLimited { .. }
                        | Refusal::Overloaded { .. }
                        | Refusal::ApplianceRevoked
                        | Refusal::CredentialInvalid
                        | Refusal::SignInLinkInvalid
                        | Refusal::DownloadLinkInvalid
                )
            )
    }

    pub(crate) fn reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    fn cause(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    pub(crate) fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(crate) fn unauthorized() -> Self {
        let text = "A service token is required: `Authorization: Bearer <service token>`.";
        let challenge = HeaderValue::from_static("Bearer");
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, text)
            .header(header::WWW_AUTHENTICATE, challenge)
    }

    pub(crate) fn overloaded(cause: impl Into<String>) -> Self {
        let text = "The service is overloaded or restarting. Try again in a moment.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Overloaded, text);
        error.header(header::RETRY_AFTER, RETRY_AFTER.into()).cause(cause)
    }

    /// The body did not arrive in time. The request was not executed, so it is no 4xx: clients take
    /// those for final.
    pub(crate) fn body_stalled() -> Self {
        let text = "The request took too long to arrive.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::RequestTimeout, text);
        error.header(header::RETRY_AFTER, RETRY_AFTER.into())
    }

    /// The database did not confirm a change.
    fn unconfirmed(cause: impl Into<String>) -> Self {
        let text = "The change may have been made or not. Repeat it with the same Idempotency-Key, \
                    or check before you repeat it.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Overloaded, text);
        error.header(header::RETRY_AFTER, RETRY_AFTER.into()).cause(cause)
    }

    /// The service is not ready; `parts` has the details.
    pub(crate) fn not_ready(parts: Vec<ReadyPart>) -> Self {
        let text = "The service is not ready. `parts` lists what is down.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::NotReady, text);
        Self { parts: Some(parts), ..error }.header(header::RETRY_AFTER, RETRY_AFTER.into())
    }

    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let text = "Internal error. The service's log has the cause, under the request ID.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::InternalError, text).cause(cause)
    }

    /// The error for a response that only has a status: the framework or a library made it.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, text) = match status {
            StatusCode::NOT_FOUND => (ErrorCode::NotFound, "This path does not exist."),
            StatusCode::METHOD_NOT_ALLOWED => {
                (ErrorCode::MethodNotAllowed, "This path does not support this method.")
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                (ErrorCode::PayloadTooLarge, "The request is too large.")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                (ErrorCode::UnsupportedMediaType, "The content type must be application/json.")
            }
            StatusCode::PRECONDITION_FAILED => {
                (ErrorCode::PreconditionFailed, "The file does not match If-Match.")
            }
            status if status.is_client_error() => {
                (ErrorCode::InvalidRequest, "The request is malformed.")
            }
            _ => {
                return Self { status, ..Self::internal(format!("an unexpected status {status}")) };
            }
        };
        Self::new(status, code, text)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some((name, value)) = self.header.clone() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Store(StoreError::Contended(cause) | StoreError::Unavailable(cause))
            | Error::Blob(BlobError::Unavailable(cause)) => Self::overloaded(cause),
            Error::Store(error @ StoreError::Unconfirmed(_)) => {
                Self::unconfirmed(error.to_string())
            }
            Error::Store(StoreError::Corrupt(cause)) => Self::internal(cause),
            Error::Decide(error) => Self::internal(error.to_string()),
            Error::Blob(error @ BlobError::NotFound(_)) => Self::internal(error.to_string()),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = (status(refusal.kind()), code(&refusal));
        let error =
            Self { refusal: Some(refusal.clone()), ..Self::new(status, code, refusal.to_string()) };
        match &refusal {
            Refusal::Invalid { field, .. } => error.reason(*field),
            Refusal::NotAnActivationCode => error.reason("not_an_activation_code"),
            Refusal::CodeSuperseded { .. } => error.reason("superseded"),
            Refusal::AlreadyEntitled => error.reason("already_entitled"),
            Refusal::CodeNotBound => error.reason("code_not_bound"),
            Refusal::RateLimited { retry_after, .. } | Refusal::Overloaded { retry_after } => {
                error.header(header::RETRY_AFTER, (retry_after.num_seconds() + 1).into())
            }
            Refusal::CodeInvalid
            | Refusal::CodeExpired { .. }
            | Refusal::CodeConsumed { .. }
            | Refusal::TenantMismatch
            | Refusal::TenantSuspended { .. }
            | Refusal::EntitlementRevoked { .. }
            | Refusal::TenantRequired
            | Refusal::TenantNotFound
            | Refusal::AmbiguousContact
            | Refusal::ApplianceRevoked
            | Refusal::ApplianceNotFound
            | Refusal::CredentialInvalid
            | Refusal::EntitlementNotFound
            | Refusal::KeyReused
            | Refusal::SignInLinkInvalid
            | Refusal::ReleaseExists { .. }
            | Refusal::ReleaseYanked { .. }
            | Refusal::ReleaseNotFound
            | Refusal::NoEarlierRelease { .. }
            | Refusal::DownloadLinkInvalid
            | Refusal::DownloadLinkEnded { .. }
            | Refusal::DownloadFileGone
            | Refusal::ImageWithdrawn { .. }
            | Refusal::NothingToDownload
            | Refusal::MailNotFound
            | Refusal::MailSettled { .. }
            | Refusal::MailOutdated { .. } => error,
        }
    }
}

fn status(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        RefusalKind::Forbidden => StatusCode::FORBIDDEN,
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Conflict => StatusCode::CONFLICT,
        RefusalKind::Gone => StatusCode::GONE,
        RefusalKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        RefusalKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The stable code of a refusal on the wire.
fn code(refusal: &Refusal) -> ErrorCode {
    use ErrorCode as Code;
    match refusal {
        Refusal::Invalid { .. } => Code::InvalidRequest,
        Refusal::CodeInvalid | Refusal::NotAnActivationCode => Code::InvalidClaimCode,
        Refusal::CodeExpired { .. } => Code::ExpiredClaimCode,
        Refusal::CodeConsumed { .. } => Code::ConsumedClaimCode,
        Refusal::CodeSuperseded { .. } => Code::SupersededClaimCode,
        Refusal::TenantMismatch | Refusal::AlreadyEntitled => Code::TenantMismatch,
        Refusal::TenantSuspended { .. } => Code::TenantSuspended,
        Refusal::EntitlementRevoked { .. } => Code::EntitlementRevoked,
        Refusal::TenantRequired | Refusal::CodeNotBound => Code::TenantRequired,
        Refusal::TenantNotFound => Code::TenantNotFound,
        Refusal::AmbiguousContact => Code::AmbiguousContact,
        Refusal::ApplianceRevoked => Code::RevokedAppliance,
        Refusal::ApplianceNotFound => Code::ApplianceNotFound,
        Refusal::CredentialInvalid => Code::InvalidCredential,
        Refusal::EntitlementNotFound => Code::EntitlementNotFound,
        Refusal::RateLimited { .. } => Code::TooManyAttempts,
        Refusal::Overloaded { .. } => Code::Overloaded,
        Refusal::KeyReused => Code::IdempotencyKeyReused,
        Refusal::ReleaseExists { .. } | Refusal::ReleaseYanked { .. } => Code::ReleaseExists,
        Refusal::ReleaseNotFound | Refusal::NoEarlierRelease { .. } => Code::ReleaseNotFound,
        Refusal::DownloadLinkInvalid | Refusal::SignInLinkInvalid => Code::InvalidLink,
        Refusal::DownloadLinkEnded { .. } => Code::ExpiredLink,
        Refusal::DownloadFileGone => Code::LinkGone,
        Refusal::ImageWithdrawn { .. } => Code::ImageWithdrawn,
        Refusal::NothingToDownload => Code::NoRelease,
        Refusal::MailNotFound => Code::MailNotFound,
        Refusal::MailSettled { .. } | Refusal::MailOutdated { .. } => Code::MailSettled,
    }
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        Error::from(error).into()
    }
}
