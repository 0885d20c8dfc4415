//! Reads a page's form, with limits on its size and its time. The size limit also bounds the page
//! that shows the form again.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::IntoResponse as _;
use serde::de::DeserializeOwned;

use crate::app::AppState;
use crate::json::read_in_time;
use crate::problem::ApiError;

/// Maximum size of a form, in bytes: enough for the longest names and addresses, percent-encoded.
const LIMIT: usize = 7 * 1024;

/// The fields of a form.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let read = Request::from_parts(parts, Body::from(read_in_time(body, LIMIT, app).await?));
        match axum::extract::Form::<T>::from_request(read, app).await {
            Ok(axum::extract::Form(form)) => Ok(Self(form)),
            Err(rejection) => Err(ApiError::of_status(rejection.into_response().status())),
        }
    }
}
