//! `GET /files/{key}`: downloads from a local blob store by signed links, with `Range`, `ETag` and
//! HEAD (RFC 9110 §13, §14).

use std::io::{self, SeekFrom};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::{ErrorCode, Problem};
use registry_core::blob::{BlobKey, LinkError, LinkedFile};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{ServerProblems, path_text};
use crate::app::AppState;
use crate::problem::ApiError;

/// Size of the chunks in which a file is read, in bytes.
const CHUNK: usize = 256 * 1024;

/// Downloads a file. The signed link is the only authentication.
#[utoipa::path(
    get, path = "/files/{*key}", tag = "customers",
    params(
        ("key" = String, Path, description = "The file's key, with slashes"),
        ("expires" = i64, Query, description = "Expiry of the link, in Unix seconds"),
        ("code" = Option<String>, Query, description = "ID of the code that the link belongs to"),
        ("key_id" = String, Query, description = "The key that signed the link"),
        ("signature" = String, Query, description = "The signature"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream"),
        (status = 206, description = "The part requested with Range",
         content_type = "application/octet-stream"),
        (status = 304, description = "Not modified since the ETag in If-None-Match"),
        (status = 403, description = "`invalid_link`, `expired_link`, `tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`link_gone`",
         body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`image_withdrawn`: the vendor withdrew the image",
         body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "`precondition_failed`: the file does not match If-Match",
         body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`",
         body = Problem, content_type = "application/problem+json"),
        ServerProblems,
    )
)]
pub(crate) async fn download(
    State(app): State<AppState>,
    key: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let linked = verify_link(&app, path_text(key), query).await?;
    app.registry.check_file_download(linked.key.clone(), linked.holder).await?;
    let file = File::open(&linked.path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LinkError::Gone,
        _ => LinkError::Unavailable(error.to_string()),
    })?;
    let length =
        file.metadata().await.map_err(|error| ApiError::internal(error.to_string()))?.len();
    // A key is never written again with other content, so the key validates the content. The length
    // detects a file that somebody truncated.
    let etag = format!("\"{}:{length}\"", linked.key);
    match choose(&headers, &etag, length) {
        Choice::NotModified => not_modified(&etag),
        Choice::PreconditionFailed => Err(ApiError::of_status(StatusCode::PRECONDITION_FAILED)),
        Choice::Unsatisfiable => Err(unsatisfiable(length)),
        Choice::Whole => stream(file, 0, length, &linked.key, &etag, None).await,
        Choice::Part { first, last } => {
            let range = format!("bytes {first}-{last}/{length}");
            stream(file, first, last - first + 1, &linked.key, &etag, Some(range)).await
        }
    }
}

async fn verify_link(
    app: &AppState,
    key: String,
    query: Option<String>,
) -> Result<LinkedFile, ApiError> {
    let files = app.files.clone().ok_or(LinkError::Invalid)?;
    let now = app.registry.now();
    let open = move || files.open(&key, query.as_deref().unwrap_or_default(), now);
    let linked = tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| ApiError::internal(error.to_string()))??;
    Ok(linked)
}

fn not_modified(etag: &str) -> Result<Response, ApiError> {
    let etag =
        HeaderValue::from_str(etag).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response())
}

fn unsatisfiable(length: u64) -> ApiError {
    let text = format!("The requested range is outside the file, which has {length} bytes.");
    let code = ErrorCode::RangeNotSatisfiable;
    let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, code, text);
    let value = HeaderValue::from_str(&format!("bytes */{length}"));
    value.map_or(error.clone(), |value| error.header(header::CONTENT_RANGE, value))
}

/// The part of the file that is sent.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
    Whole,
    Part { first: u64, last: u64 },
}

/// Evaluates If-Match, If-None-Match, If-Range and Range, in this order (RFC 9110 §13.2.2). For
/// several ranges, or a malformed one, the whole file is sent, as RFC 9110 §14.2 allows.
fn choose(headers: &HeaderMap, etag: &str, length: u64) -> Choice {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let matches_weakly = |candidate: &str| {
        candidate.trim() == "*" || candidate.trim().trim_start_matches("W/") == etag
    };
    let matches_strongly = |candidate: &str| candidate.trim() == "*" || candidate.trim() == etag;
    if text(header::IF_MATCH).is_some_and(|list| !list.split(',').any(matches_strongly)) {
        return Choice::PreconditionFailed;
    }
    if text(header::IF_NONE_MATCH).is_some_and(|list| list.split(',').any(matches_weakly)) {
        return Choice::NotModified;
    }
    let is_unchanged = text(header::IF_RANGE).is_none_or(|validator| validator == etag);
    let Some(range) = text(header::RANGE).filter(|_| is_unchanged) else { return Choice::Whole };
    let Ok(parsed) = http_range_header::parse_range_header(range) else { return Choice::Whole };
    if range.contains(',') {
        return Choice::Whole;
    }
    match parsed.validate(length).as_deref() {
        Ok([range]) => Choice::Part { first: *range.start(), last: *range.end() },
        _ => Choice::Unsatisfiable,
    }
}

async fn stream(
    mut file: File,
    first: u64,
    length: u64,
    key: &BlobKey,
    etag: &str,
    range: Option<String>,
) -> Result<Response, ApiError> {
    file.seek(SeekFrom::Start(first))
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let name = key.as_str().rsplit('/').next().unwrap_or("image");
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-transform")
        .header("x-content-type-options", "nosniff")
        .header(header::ETAG, etag);
    if let Some(range) = range {
        response = response.header(header::CONTENT_RANGE, range);
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK));
    response.body(body).map_err(|error| ApiError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-files-2, R-files-3.
    #[test]
    fn conditions_and_ranges_follow_rfc_9110() {
        let part = |first, last| Choice::Part { first, last };
        for (name, value, choice) in [
            ("range", "bytes=0-4", part(0, 4)),
            ("range", "bytes=5-", part(5, 9)),
            ("range", "bytes=-3", part(7, 9)),
            ("range", "bytes=0-99", part(0, 9)),
            ("range", "bytes=10-", Choice::Unsatisfiable),
            ("range", "bytes=4-2", Choice::Whole),
            ("range", "bytes=0-1,3-4", Choice::Whole),
            ("range", "lines=1-2", Choice::Whole),
            ("range", "nonsense", Choice::Whole),
            ("if-match", "\"k\"", Choice::Whole),
            ("if-match", "W/\"k\"", Choice::PreconditionFailed),
            ("if-match", "\"x\"", Choice::PreconditionFailed),
            ("if-none-match", "\"k\"", Choice::NotModified),
            ("if-none-match", "W/\"x\", \"k\"", Choice::NotModified),
            ("if-none-match", "*", Choice::NotModified),
            ("if-none-match", "\"x\"", Choice::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(choose(&headers, "\"k\"", 10), choice, "{name}: {value}");
        }
    }

    /// R-files-3.
    #[test]
    fn changed_file_is_sent_whole() {
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-4"));
        headers.insert("if-range", HeaderValue::from_static("\"old\""));
        assert_eq!(choose(&headers, "\"k\"", 10), Choice::Whole);
        headers.insert("if-range", HeaderValue::from_static("\"k\""));
        assert_eq!(choose(&headers, "\"k\"", 10), Choice::Part { first: 0, last: 4 });
    }
}
