//! What Prometheus' own tool says of what a node shows and of what is written about it. Besides: no alert rings for a node
//! that is well, and each rings for its own trouble and for no other's. Where there is no `promtool`, all are skipped, aloud.

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::Server;
use support::process::Directory;

/// How far apart two scrapes are.
const INTERVAL: &str = "1m";
/// So long lasts what is told here: longer than any alert waits before it rings.
const DURATION: &str = "2h";
/// And so many scrapes are that.
const SCRAPES: usize = 120;

fn deployed(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "deploy", name].iter().collect()
}

/// What promtool says, with this text to read; nothing where there is none.
///
/// # Panics
/// It is not content.
fn promtool(words: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        // Not `eprintln!`, which the harness hides where a test passes.
        writeln!(std::io::stderr(), "skipped: there is no promtool").expect("stderr takes it");
        return None;
    };
    // It may have seen enough before the end.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{words:?}: {said}");
    Some(said.into_owned())
}

async fn shown() -> String {
    let server = Server::start().await;
    server.register("news").await;
    server.get("/metrics").await.text
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_about_the_figures() {
    let shown = shown().await;
    if let Some(said) = promtool(&["check", "metrics"], &shown) {
        assert_eq!(said, "");
    }
}

#[test]
fn promtool_understands_every_expression_of_the_dashboard() {
    let dashboard = std::fs::read(deployed("grafana.json")).expect("there is a dashboard");
    let dashboard: Value = serde_json::from_slice(&dashboard).expect("it is JSON");
    let asked = |panel: &Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let panels = dashboard["panels"].as_array().expect("panels");
    let expressions: Vec<String> = panels
        .iter()
        .flat_map(asked)
        .map(|target| target["expr"].as_str().expect("a target asks").replace("$__rate_interval", "5m"))
        .collect();
    assert!(expressions.len() > 50, "{expressions:?}");
    let rules: Vec<_> = expressions.iter().map(|expr| json!({ "record": "panel", "expr": expr })).collect();
    // Two panels may ask the same, which is one rule too many.
    let groups: Vec<_> = rules
        .iter()
        .enumerate()
        .map(|(number, rule)| json!({ "name": number.to_string(), "rules": [rule] }))
        .collect();
    let directory = Directory::new();
    directory.write("rules.json", &json!({ "groups": groups }).to_string());
    promtool(&["check", "rules", directory.path("rules.json").to_str().expect("a path")], "");
}

/// Each alert, and what is scraped of a node that has the trouble: figures with a value that stays, or `+` with what they grow by
/// at each scrape.
const TROUBLES: &[(&str, &[(&str, &str)])] = &[
    ("GusherDown", &[("up{job='gusher'}", "0")]),
    (
        "GusherShardStuck",
        &[("gusher_mailbox_bytes{shard='1'}", "9"), ("gusher_shard_turns_total{shard='1'}", "7")],
    ),
    ("GusherBusDown", &[("gusher_bus_up", "0")]),
    ("GusherNotReady", &[("gusher_bus_ready", "0")]),
    ("GusherNodesDisagree", &[("gusher_nodes{instance='a'}", "3"), ("gusher_nodes{instance='b'}", "2")]),
    ("GusherBusLosesFrames", &[("gusher_bus_frames_lost_total", "+1")]),
    (
        "GusherBusShedsPublications",
        &[("gusher_bus_publications_shed_total", "+1"), ("gusher_bus_changes_shed_total", "+0")],
    ),
    ("GusherPatternsUnmatched", &[("gusher_bus_patterns_unmatched_total", "+1")]),
    (
        "GusherAlmostFull",
        &[
            ("gusher_connections{dialect='pusher'}", "50"),
            ("gusher_connections{dialect='gusher'}", "45"),
            ("gusher_connections_max", "100"),
        ],
    ),
    ("GusherRefusesApps", &[("gusher_apps_refused_total", "+1")]),
    ("GusherRefusesConnections", &[("gusher_connections_refused_total{reason='app_full'}", "+90")]),
    ("GusherPlacesTaken", &[("gusher_places_given_up_total{reason='slow'}", "+90")]),
    ("GusherShortOfMemory", &[("gusher_memory_short", "1")]),
    ("GusherAddressesExceed", &[("gusher_connections_refused_total{reason='address_full'}", "+90")]),
    ("GusherAddressesExceed", &[("gusher_address_refusals_total{reason='calls_exceeded'}", "+90")]),
    ("GusherSignInsFail", &[("gusher_address_refusals_total{reason='sign_ins_exceeded'}", "+5")]),
    ("GusherSignInsFail", &[("gusher_console_sign_ins_total{result='refused'}", "+5")]),
    ("GusherProxyWithoutHeader", &[("gusher_address_refusals_total{reason='proxy_header'}", "+1")]),
    ("GusherAppsExceed", &[("gusher_app_rate_exceeded_total{app='news',rate='calls'}", "+90")]),
    ("GusherOutOfDescriptors", &[("gusher_accept_failures_total", "+1")]),
    ("GusherOutOfDescriptors", &[("process_open_fds", "98"), ("process_max_fds", "100")]),
    ("GusherRefusesPublications", &[("gusher_publications_refused_total{reason='bus_down'}", "+1")]),
    (
        "GusherPublishSlow",
        &[
            ("gusher_publish_seconds_bucket{le='0.25'}", "0"),
            ("gusher_publish_seconds_bucket{le='1'}", "+9"),
            ("gusher_publish_seconds_bucket{le='+Inf'}", "+9"),
        ],
    ),
    (
        "GusherFanoutSlow",
        &[
            ("gusher_fanout_lap_seconds_bucket{le='1'}", "0"),
            ("gusher_fanout_lap_seconds_bucket{le='4'}", "+9"),
            ("gusher_fanout_lap_seconds_bucket{le='+Inf'}", "+9"),
        ],
    ),
    ("GusherSlowReaders", &[("gusher_slow_cuts_total", "+90")]),
    ("GusherWebhooksBehind", &[("gusher_webhook_events_waiting", "1001")]),
    ("GusherWebhooksLost", &[("gusher_webhook_events_total{result='given_up'}", "+1")]),
    ("GusherWebhooksLost", &[("gusher_notices_dropped_total", "+1")]),
    ("GusherStoreFails", &[("gusher_store_failures_total{store='apps'}", "+1")]),
    ("GusherTlsFails", &[("gusher_tls_failures_total", "+90")]),
    // In seconds since the first scrape, with which time begins here.
    ("GusherCertificateEnds", &[("gusher_certificate_end_timestamp_seconds", "604800")]),
    ("GusherCertificateNotIssued", &[("gusher_certificate_order_failures_total", "+1")]),
    ("GusherBusFollowsLate", &[("gusher_bus_follows_late_total", "+1")]),
    ("GusherLogDropsLines", &[("gusher_log_lines_dropped_total", "+1")]),
];

/// A figure of a node as it was scraped again and again. One that grows begins at nought.
fn series(figure: &str, value: &str) -> Value {
    let (name, labels) = figure.trim_end_matches('}').split_once('{').unwrap_or((figure, ""));
    let mut labels: Vec<String> =
        labels.split_terminator(',').map(|label| label.replace('\'', "\"")).collect();
    if !labels.iter().any(|label| label.starts_with("instance")) {
        labels.push("instance=\"a\"".to_owned());
    }
    let values =
        if value.starts_with('+') { format!("0{value}x{SCRAPES}") } else { format!("{value}x{SCRAPES}") };
    json!({ "series": format!("{name}{{{}}}", labels.join(",")), "values": values })
}

/// What is scraped, and which alert alone rings.
fn case(scraped: Vec<Value>, rings: Option<&str>) -> Value {
    let ringing: Vec<_> = rings
        .iter()
        .map(|name| json!({ "labels": format!("{{alertname=\"{name}\"}}"), "value": 1 }))
        .collect();
    json!({
        "name": rings.unwrap_or("a node that is well"),
        "interval": INTERVAL,
        "input_series": scraped,
        "promql_expr_test": [{
            "expr": "group by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": DURATION,
            "exp_samples": ringing,
        }],
    })
}

#[tokio::test]
async fn each_alert_rings_for_its_own_trouble_and_none_for_a_node_that_is_well() {
    let well = shown().await;
    let figures = well
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').expect("a value"));
    let well =
        figures.map(|(figure, value)| series(figure, value)).chain([series("up{job=\"gusher\"}", "1")]);
    let mut cases = vec![case(well.collect(), None)];
    for (alert, scraped) in TROUBLES {
        let scraped = scraped.iter().map(|(figure, value)| series(figure, value));
        cases.push(case(scraped.collect(), Some(alert)));
    }
    let rules = std::fs::read_to_string(deployed("alerts.yaml")).expect("there are alerts");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(TROUBLES.iter().any(|(known, _)| *known == alert), "when does {alert} ring?");
    }
    let directory = Directory::new();
    let told = json!({
        "rule_files": [deployed("alerts.yaml")],
        "evaluation_interval": INTERVAL,
        "tests": cases,
    });
    directory.write("alerts.json", &told.to_string());
    promtool(&["test", "rules", directory.path("alerts.json").to_str().expect("a path")], "");
}
