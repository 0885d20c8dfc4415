//! Reads JSON requests: 413 if the body is over the limit, 415 for another content type, 400 if it
//! is not JSON, 422 if a field is missing or has the wrong type.
//!
//! Error texts name the field, never its value: the value may be a code.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use registry_api::ErrorCode;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::app::AppState;
use crate::origin::is_same_origin;
use crate::problem::ApiError;

/// Factor of the limit up to which a body that is too large is read before it is refused. Without
/// it, a client that is still sending would get a broken connection and no error.
const READ_BEYOND: usize = 64;

/// A request's body, parsed as `T`.
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        check_type(&request)?;
        check_origin(&request, app)?;
        let body = read_in_time(request.into_body(), app.settings.body_limit, app).await?;
        parse(&body).map(Self)
    }
}

/// Accepts `application/json`, `application/…+json`, and requests without a content type.
fn check_type(request: &Request) -> Result<(), ApiError> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or(Ok("application/json"), |kind| kind.to_str());
    let kind =
        kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json =
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    let is_plain =
        request.headers().get(header::CONTENT_ENCODING).is_none_or(|value| value == "identity");
    if is_json && is_plain {
        Ok(())
    } else {
        Err(ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
    }
}

/// Refuses a request without a content type that a page of another site makes a browser send. With
/// one, a browser asks first, and is refused.
fn check_origin(request: &Request, app: &AppState) -> Result<(), ApiError> {
    let headers = request.headers();
    let is_ours = headers.contains_key(header::CONTENT_TYPE)
        || is_same_origin(headers, &app.registry.settings().check_in_url);
    if is_ours { Ok(()) } else { Err(ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)) }
}

/// Reads a body of at most `limit` bytes, within the read timeout.
pub(crate) async fn read_in_time(
    body: Body,
    limit: usize,
    app: &AppState,
) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(app.settings.read_timeout, read(body, limit)).await;
    read.map_err(|_| ApiError::body_stalled())?
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let (mut bytes, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let broken = |_| ApiError::of_status(StatusCode::BAD_REQUEST);
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        length = length.saturating_add(data.remaining());
        if length <= limit {
            bytes.extend_from_slice(&data);
        } else if length > limit.saturating_mul(READ_BEYOND) {
            break;
        }
    }
    if length > limit {
        let text = format!("The request is too large: at most {limit} bytes.");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::PayloadTooLarge, text));
    }
    Ok(bytes.freeze())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let refused = |status, text: String| ApiError::new(status, ErrorCode::InvalidRequest, text);
    let unparsable =
        || refused(StatusCode::BAD_REQUEST, "The request body is not JSON.".to_owned());
    let text = std::str::from_utf8(body).map_err(|_| unparsable())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| unparsable())?;
    // serde would also accept an array, as the fields in their order.
    if !text.trim_start().starts_with('{') {
        let text = "The request body must be a JSON object.".to_owned();
        return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, text) = (error.path().to_string(), error.inner().to_string());
        let field =
            |prefix| text.strip_prefix(prefix).and_then(|rest| Some(rest.split_once('`')?.0));
        let (field, problem) = match (field("missing field `"), field("duplicate field `")) {
            (Some(field), _) => (field, "is missing."),
            (None, Some(field)) => (field, "is given twice."),
            (None, None) => (&*path, "has a value of the wrong type."),
        };
        refused(StatusCode::UNPROCESSABLE_ENTITY, format!("`{field}` {problem}")).reason(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_api::RegisterRequest;

    /// R-errors-1, R-errors-7.
    #[test]
    fn error_names_field_but_not_value() {
        for (body, status, reason) in [
            ("", 400, None),
            ("{", 400, None),
            ("{}x", 400, None),
            ("nonsense", 400, None),
            ("\u{0}", 400, None),
            ("[]", 422, None),
            (r#"["K7QPM2RX9TDV", "a"]"#, 422, None),
            ("[[[[", 400, None),
            ("\"K7QPM2RX9TDV\"", 422, None),
            ("{}", 422, Some("claim_code")),
            (r#"{"claim_code": "a", "claim_code": "b"}"#, 422, Some("claim_code")),
            (r#"{"claim_code": 77777777}"#, 422, Some("claim_code")),
            (
                r#"{"claim_code": "K7QPM2RX9TDV", "appliance_id": ["K7QPM2RX9TDV"]}"#,
                422,
                Some("appliance_id"),
            ),
            (
                concat!(
                    r#"{"claim_code": "K7QPM2RX9TDV", "appliance_id": "a", "#,
                    r#""tenant_id": "K7QPM2RX9TDV"}"#
                ),
                422,
                Some("tenant_id"),
            ),
        ] {
            let error = parse::<RegisterRequest>(body.as_bytes()).err().unwrap();
            assert_eq!(
                (error.status.as_u16(), error.reason.as_deref()),
                (status, reason),
                "{body}"
            );
            assert!(!error.text.contains("K7QP") && !error.text.contains("7777"), "{}", error.text);
        }
    }

    /// R-register-3, R-general-4.
    #[test]
    fn null_tenant_differs_from_absent_tenant() {
        let tenant = |rest: &str| {
            let body =
                format!(r#"{{"claim_code": "x", "appliance_id": "a", "unknown": 1 {rest}}}"#);
            parse::<RegisterRequest>(body.as_bytes()).ok().unwrap().tenant_id
        };
        assert_eq!(tenant(""), None, "unknown fields are ignored");
        assert_eq!(tenant(r#", "tenant_id": null"#), Some(None));
        let id = "019AB3C4-5d6e-7f80-9a1b-2c3d4e5f6071";
        assert_eq!(tenant(&format!(r#", "tenant_id": "{id}""#)), Some(Some(id.parse().unwrap())));
    }
}
