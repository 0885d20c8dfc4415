//! Errors on their way out: what handlers return, and how refusals and failures map to status and
//! code (`docs/wire-contract.md`, "Errors").

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::{ErrorCode, ReadyPart};
use registry_core::blob::{BlobError, LinkError};
use registry_core::store::StoreError;
use registry_core::{Error, Refusal};

/// How long clients are asked to wait where we cannot say better, in seconds.
const RETRY_AFTER: i64 = 2;

/// An error that has not got its form yet: [`crate::middleware`] adds the request's id, the time and the
/// next step.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
    pub(crate) reason: Option<String>,
    /// Set where the rules said no: they know the next step.
    pub(crate) refusal: Option<Refusal>,
    /// What the log says and the client does not.
    pub(crate) cause: Option<String>,
    /// The parts of the service, where readiness is asked.
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

    /// The service is not ready: these parts say why.
    pub(crate) fn not_ready(parts: Vec<ReadyPart>) -> Self {
        let text = "The service is not ready. `parts` says what is down.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::NotReady, text);
        Self { parts: Some(parts), ..error }.header(header::RETRY_AFTER, RETRY_AFTER.into())
    }

    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let text = "The service failed. The operator finds the reason in its log.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::InternalError, text).cause(cause)
    }

    /// An answer that no handler of ours made: the framework's, or a library's.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, text) = match status {
            StatusCode::NOT_FOUND => (ErrorCode::NotFound, "There is nothing at this path."),
            StatusCode::METHOD_NOT_ALLOWED => {
                (ErrorCode::MethodNotAllowed, "This path does not take this method.")
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                (ErrorCode::PayloadTooLarge, "The request is too large.")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                (ErrorCode::UnsupportedMediaType, "Send application/json.")
            }
            StatusCode::PRECONDITION_FAILED => {
                (ErrorCode::PreconditionFailed, "The file is not the one that If-Match names.")
            }
            StatusCode::REQUEST_TIMEOUT => {
                (ErrorCode::RequestTimeout, "The request took too long to arrive.")
            }
            status if status.is_client_error() => {
                (ErrorCode::InvalidRequest, "The request cannot be read.")
            }
            _ => return Self { status, ..Self::internal(format!("an unexplained {status}")) },
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
            Error::Store(StoreError::Corrupt(cause)) => Self::internal(cause),
            Error::Decide(error) => Self::internal(error.to_string()),
            Error::Blob(error @ BlobError::NotFound(_)) => Self::internal(error.to_string()),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = status_and_code(&refusal);
        let error =
            Self { refusal: Some(refusal.clone()), ..Self::new(status, code, refusal.to_string()) };
        match &refusal {
            Refusal::Invalid { field, .. } => error.reason(*field),
            Refusal::NotAnActivationCode => error.reason("not_an_activation_code"),
            Refusal::CodeSuperseded { .. } => error.reason("superseded"),
            Refusal::AlreadyEntitled => error.reason("already_entitled"),
            Refusal::CodeNotBound => error.reason("code_not_bound"),
            Refusal::TooManyGuesses { retry_after } | Refusal::TooOften { retry_after } => {
                error.header(header::RETRY_AFTER, (retry_after.num_seconds() + 1).into())
            }
            Refusal::CodeInvalid
            | Refusal::CodeExpired { .. }
            | Refusal::CodeConsumed { .. }
            | Refusal::TenantMismatch
            | Refusal::TenantSuspended
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
            | Refusal::ImageWithdrawn { .. }
            | Refusal::NothingToDownload
            | Refusal::MailNotFound
            | Refusal::MailSettled { .. }
            | Refusal::MailOutdated { .. } => error,
        }
    }
}

fn status_and_code(refusal: &Refusal) -> (StatusCode, ErrorCode) {
    use ErrorCode as Code;
    match refusal {
        Refusal::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidRequest),
        Refusal::CodeInvalid | Refusal::NotAnActivationCode => {
            (StatusCode::NOT_FOUND, Code::InvalidClaimCode)
        }
        Refusal::CodeExpired { .. } => (StatusCode::GONE, Code::ExpiredClaimCode),
        Refusal::CodeConsumed { .. } => (StatusCode::CONFLICT, Code::ConsumedClaimCode),
        Refusal::CodeSuperseded { .. } => (StatusCode::CONFLICT, Code::SupersededClaimCode),
        Refusal::TenantMismatch | Refusal::AlreadyEntitled => {
            (StatusCode::CONFLICT, Code::TenantMismatch)
        }
        Refusal::TenantSuspended => (StatusCode::FORBIDDEN, Code::TenantSuspended),
        Refusal::EntitlementRevoked { .. } => (StatusCode::FORBIDDEN, Code::EntitlementRevoked),
        Refusal::TenantRequired | Refusal::CodeNotBound => {
            (StatusCode::UNPROCESSABLE_ENTITY, Code::TenantRequired)
        }
        Refusal::TenantNotFound => (StatusCode::NOT_FOUND, Code::TenantNotFound),
        Refusal::AmbiguousContact => (StatusCode::CONFLICT, Code::AmbiguousContact),
        Refusal::ApplianceRevoked => (StatusCode::UNAUTHORIZED, Code::RevokedAppliance),
        Refusal::ApplianceNotFound => (StatusCode::NOT_FOUND, Code::ApplianceNotFound),
        Refusal::CredentialInvalid => (StatusCode::UNAUTHORIZED, Code::InvalidCredential),
        Refusal::EntitlementNotFound => (StatusCode::NOT_FOUND, Code::EntitlementNotFound),
        Refusal::TooManyGuesses { .. } | Refusal::TooOften { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, Code::TooManyAttempts)
        }
        Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, Code::IdempotencyKeyReused),
        Refusal::ReleaseExists { .. } | Refusal::ReleaseYanked { .. } => {
            (StatusCode::CONFLICT, Code::ReleaseExists)
        }
        Refusal::ReleaseNotFound | Refusal::NoEarlierRelease { .. } => {
            (StatusCode::NOT_FOUND, Code::ReleaseNotFound)
        }
        Refusal::DownloadLinkInvalid | Refusal::SignInLinkInvalid => {
            (StatusCode::FORBIDDEN, Code::InvalidLink)
        }
        Refusal::DownloadLinkEnded { .. } => (StatusCode::FORBIDDEN, Code::ExpiredLink),
        Refusal::ImageWithdrawn { .. } => (StatusCode::GONE, Code::ImageWithdrawn),
        Refusal::NothingToDownload => (StatusCode::NOT_FOUND, Code::NoRelease),
        Refusal::MailNotFound => (StatusCode::NOT_FOUND, Code::MailNotFound),
        Refusal::MailSettled { .. } | Refusal::MailOutdated { .. } => {
            (StatusCode::CONFLICT, Code::MailSettled)
        }
    }
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        let (status, code) = match error {
            LinkError::Invalid => (StatusCode::FORBIDDEN, ErrorCode::InvalidLink),
            LinkError::Expired(_) => (StatusCode::FORBIDDEN, ErrorCode::ExpiredLink),
            LinkError::Gone => (StatusCode::NOT_FOUND, ErrorCode::LinkGone),
            LinkError::Unavailable(cause) => return Self::overloaded(cause),
        };
        Self::new(status, code, format!("{error} Ask for a fresh one with a new install code."))
    }
}
