//! How webhooks fare, what became of them lately, and what tries them again.

use serde_json::{Value, json};

use super::Fault;
use crate::dialect::gusher::webhooks;
use crate::model::{WebhookOutcome, WebhookReport, WebhookResult};

/// The answer to `GET .../webhooks`.
pub fn told(reports: &[WebhookReport], log: &[WebhookOutcome]) -> String {
    let reports: Vec<Value> = reports.iter().map(webhooks::report).collect();
    json!({ "webhooks": reports, "log": log.iter().map(row).collect::<Vec<_>>() }).to_string()
}

fn row(outcome: &WebhookOutcome) -> Value {
    let result = match outcome.result {
        WebhookResult::Delivered => "delivered",
        WebhookResult::Failed => "failed",
        WebhookResult::GivenUp => "given_up",
        WebhookResult::Dropped => "dropped",
    };
    json!({
        "id": outcome.id,
        "time_ms": outcome.at_ms,
        "url": outcome.url,
        "events": outcome.events,
        "body": outcome.body,
        "status": outcome.status,
        "fault": outcome.fault,
        "outcome": result,
        "attempt": outcome.attempt,
        "can_retry": outcome.can_retry,
    })
}

/// `POST .../webhooks/retry`: a URL as it is told, or the id of an outcome.
///
/// # Errors
/// 400 when the body is neither.
pub fn retry<T>(body: &[u8], url: impl FnOnce(String) -> T, id: impl FnOnce(u64) -> T) -> Result<T, Fault> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Wanted {
        Url(String),
        Id(u64),
    }
    match serde_json::from_slice(body) {
        Ok(Wanted::Url(text)) => Ok(url(text)),
        Ok(Wanted::Id(number)) => Ok(id(number)),
        Err(_) => Err(Fault::invalid("the body is no url and no id in JSON")),
    }
}

/// The answer: how many events are tried again.
pub fn retried(events: usize) -> String {
    json!({ "retried": events }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_retried_is_a_url_or_an_id() {
        let read = |body: &str| retry(body.as_bytes(), |url| url, |id| id.to_string());
        assert_eq!(read(r#"{"url":"http://a/"}"#), Ok("http://a/".into()));
        assert_eq!(read(r#"{"id":7}"#), Ok("7".into()));
        for bad in ["", "{}", r#"{"id":-1}"#, r#"{"url":1}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
