//! How the webhooks of an app fare, and trying them again.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;

use super::{Answer, Door, ok};
use crate::dialect::console::webhooks as words;
use crate::hook::Retry;

/// `GET /console/api/apps/{app_key}/webhooks`.
pub async fn show(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app(&head)?.1;
    let reports = door.webhook_reports(&live.app.key).await?;
    ok(words::told(&reports, &door.webhooks.log(&live.app.key)))
}

/// `POST /console/api/apps/{app_key}/webhooks/retry`.
pub async fn retry(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let live = door.enter_app(&head)?.1;
    let wanted = door.parsed(body, |body| words::retry(body, Retry::Url, Retry::Outcome)).await??;
    let retried = door.webhooks.retry(&live.app.key, &wanted).await;
    ok(words::retried(retried.map_err(|error| crate::door::private::database_failed(&error))?))
}
