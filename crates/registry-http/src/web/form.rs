//! Reading a page's form: bounded in size, so that what is shown again stays small, and in time.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::IntoResponse as _;
use serde::de::DeserializeOwned;

use crate::app::AppState;
use crate::json::read_in_time;
use crate::problem::ApiError;

/// The largest form, in bytes: what the longest names and addresses come to, percent-encoded.
const LARGEST: usize = 7 * 1024;

/// What a form holds.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let read = Request::from_parts(parts, Body::from(read_in_time(body, LARGEST, app).await?));
        match axum::extract::Form::<T>::from_request(read, app).await {
            Ok(axum::extract::Form(form)) => Ok(Self(form)),
            Err(rejection) => Err(ApiError::of_status(rejection.into_response().status())),
        }
    }
}
