//! Reading a request's parameters within the limits.

use std::time::Duration;

use axum::body::HttpBody as _;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::DoorLimits;
use crate::dialect::form::Form;
use crate::model::Refusal;

/// The parameters of a request (spec 1.6).
///
/// # Errors
/// [`Refusal::BodyTooLarge`] (spec D29), [`Refusal::TooSlow`], [`Refusal::ParametersInvalid`].
pub async fn form(head: &Parts, body: Body, limits: &DoorLimits) -> Result<Form, Refusal> {
    let has_body = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    let body =
        if has_body { read(body, limits.body_bytes_max, limits.body_time_max).await? } else { Bytes::new() };
    Ok(Form::read(has_body, head.uri.query(), content_type(&head.headers), &body)?)
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// A whole body. One that is announced as too large is refused at once.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::TooSlow`], [`Refusal::ParametersInvalid`] when it breaks off.
pub async fn read(body: Body, bytes_max: usize, time_max: Duration) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    timeout(time_max, gather(body, bytes_max)).await.map_err(|_| Refusal::TooSlow)?
}

/// A body that is too large is read on, up to as much again, and forgotten: a client that is still sending would
/// otherwise find its connection reset and never see the answer.
async fn gather(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut gathered = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::ParametersInvalid("request body broken".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= bytes_max {
            gathered.extend_from_slice(&data);
        } else if length <= bytes_max.saturating_mul(2) {
            gathered = Vec::new();
        } else {
            break;
        }
    }
    if length <= bytes_max { Ok(gathered.into()) } else { Err(Refusal::BodyTooLarge) }
}
