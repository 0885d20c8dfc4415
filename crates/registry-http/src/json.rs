//! Reading JSON: 413 over the limit, 415 for another kind of content, 400 where it is no JSON, 422 where a value has
//! the wrong type. Texts name the field, never its value: it may be a code.

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use registry_api::ErrorCode;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::problem::ApiError;

/// So many limits' worth of a body that is too large is read before it is refused: a client that is still sending
/// would else see its connection break, and not why.
const PATIENCE: usize = 64;

/// A request's body as `T`.
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        check_type(&request)?;
        let reading = read(request, app.settings.body_limit);
        let body = tokio::time::timeout(app.settings.read_timeout, reading).await;
        let body = body.map_err(|_| ApiError::of_status(StatusCode::REQUEST_TIMEOUT))??;
        parse(&body).map(Self)
    }
}

/// `application/json` or `…+json`. No content type at all is taken for JSON.
fn check_type(request: &Request) -> Result<(), ApiError> {
    let Some(kind) = request.headers().get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if is_json { Ok(()) } else { Err(ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)) }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let mut body = request.into_body();
    let (mut kept, mut seen) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let broken = |_| ApiError::of_status(StatusCode::BAD_REQUEST);
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        seen = seen.saturating_add(data.remaining());
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else if seen > limit.saturating_mul(PATIENCE) {
            break;
        }
    }
    if seen > limit {
        let text = format!("The request is too large: at most {limit} bytes.");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::PayloadTooLarge, text));
    }
    Ok(kept.freeze())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let refused = |status, text: String| ApiError::new(status, ErrorCode::InvalidRequest, text);
    let unparsable = || refused(StatusCode::BAD_REQUEST, "The request is not JSON.".to_owned());
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if !error.inner().is_data() {
            return unparsable();
        }
        let (path, text) = (error.path().to_string(), error.inner().to_string());
        match text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => {
                refused(StatusCode::UNPROCESSABLE_ENTITY, format!("`{field}` is missing.")).reason(field)
            }
            None if path == "." => {
                refused(StatusCode::UNPROCESSABLE_ENTITY, "The request must be a JSON object.".to_owned())
            }
            None => {
                let text = format!("`{path}` has a value of the wrong type.");
                refused(StatusCode::UNPROCESSABLE_ENTITY, text).reason(path)
            }
        }
    })?;
    json.end().map_err(|_| unparsable())?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_api::RegisterRequest;

    #[test]
    fn what_cannot_be_read_names_the_field_and_never_the_value() {
        for (body, status, reason) in [
            ("", 400, None),
            ("{", 400, None),
            ("{}x", 400, None),
            ("nonsense", 400, None),
            ("\u{0}", 400, None),
            ("[]", 422, None),
            ("\"K7QPM2RX9TDV\"", 422, None),
            ("{}", 422, Some("claim_code")),
            (r#"{"claim_code": 77777777}"#, 422, Some("claim_code")),
            (r#"{"claim_code": "K7QPM2RX9TDV", "appliance_id": ["K7QPM2RX9TDV"]}"#, 422, Some("appliance_id")),
            (
                r#"{"claim_code": "K7QPM2RX9TDV", "appliance_id": "a", "tenant_id": "K7QPM2RX9TDV"}"#,
                422,
                Some("tenant_id"),
            ),
        ] {
            let error = parse::<RegisterRequest>(body.as_bytes()).err().unwrap();
            assert_eq!((error.status.as_u16(), error.reason.as_deref()), (status, reason), "{body}");
            assert!(!error.text.contains("K7QP") && !error.text.contains("7777"), "{}", error.text);
        }
    }

    #[test]
    fn a_null_tenant_is_told_from_an_absent_one_and_unknown_fields_are_ignored() {
        let tenant = |rest: &str| {
            let body = format!(r#"{{"claim_code": "x", "appliance_id": "a", "unknown": 1 {rest}}}"#);
            parse::<RegisterRequest>(body.as_bytes()).ok().unwrap().tenant_id
        };
        assert_eq!(tenant(""), None);
        assert_eq!(tenant(r#", "tenant_id": null"#), Some(None));
        let id = "019AB3C4-5d6e-7f80-9a1b-2c3d4e5f6071";
        assert_eq!(tenant(&format!(r#", "tenant_id": "{id}""#)), Some(Some(id.parse().unwrap())));
    }
}
