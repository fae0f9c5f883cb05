//! Reading what a request sends, within the limits, and understanding it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use http_body_util::BodyExt;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Door;
use crate::dialect::form::Form;
use crate::model::Refusal;

/// A body of more bytes is large: to understand it takes so long that others would notice.
const LARGE_BODY_BYTES: usize = 64 * 1024;

impl Door {
    /// A whole body, as far as requests may have one.
    pub(super) async fn body(&self, body: Body) -> Result<Bytes, Refusal> {
        let limits = self.terms().limits;
        read(body, limits.body_bytes_max, limits.body_time_max).await
    }

    /// A body with a token, which may be as long as the head of a socket's request, which holds one as well.
    pub(super) async fn token_body(&self, body: Body) -> Result<Bytes, Refusal> {
        let limits = self.terms().limits;
        read(body, limits.head_bytes_max, limits.body_time_max).await
    }

    /// What a body says.
    ///
    /// # Errors
    /// Those of [`read`].
    pub(super) async fn parsed<T: Send + 'static>(
        &self,
        body: Body,
        parse: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let body = self.body(body).await?;
        self.understood(body.len(), move || parse(&body)).await
    }

    /// The parameters of a request (spec 1.6).
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`] (spec D29), [`Refusal::TooSlow`], [`Refusal::ParametersInvalid`].
    pub(super) async fn form(&self, head: &Parts, body: Body) -> Result<Form, Refusal> {
        let has_body = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        let body = if has_body { self.body(body).await? } else { Bytes::new() };
        let bytes = body.len();
        let (query, content_type) = (head.uri.query().map(str::to_owned), content_type(&head.headers));
        let content_type = content_type.map(str::to_owned);
        let read = move || Form::read(has_body, query.as_deref(), content_type.as_deref(), &body);
        Ok(self.understood(bytes, read).await??)
    }

    /// What becomes of a body of so many bytes. A large one is looked at off the threads that serve everybody, and no more at
    /// once than the node can spare cores for; who sends more of them waits for his own.
    pub(super) async fn understood<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if bytes <= LARGE_BODY_BYTES {
            return Ok(work());
        }
        let place = Arc::clone(&self.large_bodies).acquire_owned().await.map_err(|_| Refusal::Internal)?;
        let working = spawn_blocking(move || {
            let done = work();
            // A caller who left does not make room before the work is done.
            drop(place);
            done
        });
        working.await.map_err(|_| Refusal::Internal)
    }
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
