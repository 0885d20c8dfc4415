//! `GET /files/{key}`: downloads behind links of our own, with `Range`, `ETag` and HEAD (RFC 9110
//! §13, §14).

use std::io::{self, SeekFrom};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::{ErrorCode, Problem};
use registry_core::blob::{BlobKey, LinkError};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::ServerProblems;
use crate::app::AppState;
use crate::problem::ApiError;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Downloads a file. The link is the only proof; it is minted at registration and re-issue.
#[utoipa::path(
    get, path = "/files/{*key}", tag = "customers",
    params(
        ("key" = String, Path, description = "The file's key, with slashes"),
        ("expires" = i64, Query, description = "When the link ends, in seconds since 1970"),
        ("key_id" = String, Query, description = "The key it is signed with"),
        ("signature" = String, Query, description = "The signature"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream"),
        (status = 206, description = "The part asked for with Range", content_type = "application/octet-stream"),
        (status = 304, description = "Not modified since the ETag in If-None-Match"),
        (status = 403, description = "`invalid_link`, `expired_link`", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "`link_gone`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`image_withdrawn`: the vendor yanked it", body = Problem,
         content_type = "application/problem+json"),
        (status = 412, description = "`precondition_failed`: the file is not the one in If-Match", body = Problem,
         content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`", body = Problem, content_type = "application/problem+json"),
        ServerProblems,
    )
)]
pub(crate) async fn download(
    State(app): State<AppState>,
    key: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let files = app.files.clone().ok_or(LinkError::Invalid)?;
    let Path(key) = key.map_err(|_| LinkError::Invalid)?;
    let now = app.registry.now();
    let open = move || files.open(&key, query.as_deref().unwrap_or_default(), now);
    let linked = tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| ApiError::internal(error.to_string()))??;
    app.registry.file_admit(linked.key.clone()).await?;
    let file = File::open(&linked.path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LinkError::Gone,
        _ => LinkError::Unavailable(error.to_string()),
    })?;
    let length =
        file.metadata().await.map_err(|error| ApiError::internal(error.to_string()))?.len();
    // A key is written once and never again with other content, so it is as good a validator as the
    // content; the length tells a file apart that was cut off by hand.
    let etag = format!("\"{}:{length}\"", linked.key);
    match choose(&headers, &etag, length) {
        Choice::NotModified => {
            let etag = HeaderValue::from_str(&etag)
                .map_err(|error| ApiError::internal(error.to_string()))?;
            Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response())
        }
        Choice::PreconditionFailed => Err(ApiError::of_status(StatusCode::PRECONDITION_FAILED)),
        Choice::Unsatisfiable => {
            let text = format!("The file has {length} bytes; the range asked for lies outside.");
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                ErrorCode::RangeNotSatisfiable,
                text,
            );
            let value = HeaderValue::from_str(&format!("bytes */{length}"));
            Err(value.map_or(error.clone(), |value| error.header(header::CONTENT_RANGE, value)))
        }
        Choice::Whole => stream(file, 0, length, &linked.key, &etag, None).await,
        Choice::Part { first, last } => {
            let range = format!("bytes {first}-{last}/{length}");
            stream(file, first, last - first + 1, &linked.key, &etag, Some(range)).await
        }
    }
}

/// What of the file is sent.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
    Whole,
    Part { first: u64, last: u64 },
}

/// Reads If-Match, If-None-Match, If-Range and Range, in this order (RFC 9110 §13.2.2). Several
/// ranges, and what cannot be read, get the whole file, as RFC 9110 §14.2 allows.
fn choose(headers: &HeaderMap, etag: &str, length: u64) -> Choice {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let same = |candidate: &str| {
        candidate.trim() == "*" || candidate.trim().trim_start_matches("W/") == etag
    };
    let exactly = |candidate: &str| candidate.trim() == "*" || candidate.trim() == etag;
    if text(header::IF_MATCH).is_some_and(|list| !list.split(',').any(exactly)) {
        return Choice::PreconditionFailed;
    }
    if text(header::IF_NONE_MATCH).is_some_and(|list| list.split(',').any(same)) {
        return Choice::NotModified;
    }
    let still_same = text(header::IF_RANGE).is_none_or(|validator| validator == etag);
    let Some(range) = text(header::RANGE).filter(|_| still_same) else { return Choice::Whole };
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

    #[test]
    fn what_is_sent_follows_rfc_9110() {
        let (whole, whole_too) = (Choice::Whole, Choice::Whole);
        let part = |first, last| Choice::Part { first, last };
        for (name, value, choice) in [
            ("range", "bytes=0-4", part(0, 4)),
            ("range", "bytes=5-", part(5, 9)),
            ("range", "bytes=-3", part(7, 9)),
            ("range", "bytes=0-99", part(0, 9)),
            ("range", "bytes=10-", Choice::Unsatisfiable),
            ("range", "bytes=4-2", Choice::Whole),
            ("range", "bytes=0-1,3-4", whole),
            ("range", "lines=1-2", Choice::Whole),
            ("range", "nonsense", Choice::Whole),
            ("if-match", "\"k\"", whole_too),
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

    #[test]
    fn a_part_of_a_file_that_changed_meanwhile_is_the_whole_file() {
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-4"));
        headers.insert("if-range", HeaderValue::from_static("\"old\""));
        assert_eq!(choose(&headers, "\"k\"", 10), Choice::Whole);
        headers.insert("if-range", HeaderValue::from_static("\"k\""));
        assert_eq!(choose(&headers, "\"k\"", 10), Choice::Part { first: 0, last: 4 });
    }
}
