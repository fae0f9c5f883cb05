//! The answer to `GET /api/{app_key}/webhooks`: how the webhooks of an app fare.

use serde_json::{Value, json};

use crate::model::{AppKey, WebhookAttempt, WebhookReport};

/// The reports of an app's webhooks, in the order of its settings.
pub fn reported(key: &AppKey, reports: &[WebhookReport]) -> String {
    let webhooks: Vec<_> = reports.iter().map(report).collect();
    format!("{}\n", json!({ "app_key": key.as_str(), "total": webhooks.len(), "webhooks": webhooks }))
}

/// One report, as it is told.
pub fn report(report: &WebhookReport) -> Value {
    json!({
        "url": report.url,
        "waiting": report.waiting,
        "delivered": report.delivered,
        "failed_attempts": report.failed_attempts,
        "given_up": report.given_up,
        "dropped": report.dropped,
        "last": report.last.map(attempt),
    })
}

fn attempt(attempt: WebhookAttempt) -> Value {
    json!({ "time_ms": attempt.at_ms, "status": attempt.status, "error": attempt.fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_is_null() {
        let fresh = WebhookReport { url: "http://a/".into(), ..WebhookReport::default() };
        let last = WebhookAttempt { at_ms: 5, status: Some(500), fault: Some("no") };
        let failed = WebhookReport { failed_attempts: 1, last: Some(last), ..fresh.clone() };
        let counts = r#""url":"http://a/","waiting":0,"delivered":0"#;
        let expected = format!(
            r#"{{"app_key":"k","total":2,"webhooks":[{{{counts},"failed_attempts":0,"given_up":0,"dropped":0,"last":null}},{{{counts},"failed_attempts":1,"given_up":0,"dropped":0,"last":{{"time_ms":5,"status":500,"error":"no"}}}}]}}"#
        );
        assert_eq!(reported(&AppKey::stored("k"), &[fresh, failed]), expected + "\n");
    }
}
