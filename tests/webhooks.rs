//! Webhooks: what they are sent, what happens when they fail, and what becomes of it all when the node ends.
//!
//! Long because it is a list of short cases on one stage: a node, and a backend that is told.

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use gusher::dialect::signature::hmac_hex;
use gusher::hook::{Clock, JournalLimits, Notices, Retry, WebhookApp, WebhookSettings, Webhooks};
use gusher::model::{
    AppKey, AppNumber, AppSecret, AppSettings, ChannelName, Notice, NoticeEvent, WebhookAttempt,
    WebhookReport, WebhookResult,
};
use gusher::store::{Lane, Outbox};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use support::hook::{Asked, Hook, RawHook};
use support::{ADMIN, Server, soon};
use tempfile::TempDir;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

const SECRET: &str = "secret of the app";

/// Where the clock of most tests stands at first.
const BEGIN_MS: i64 = 1_700_000_000_000;

/// A place for a database, and its file there.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gusher.db");
    (directory, file)
}

/// The apps of a node, and their webhooks.
#[derive(Clone, Default)]
struct Apps(Arc<Mutex<HashMap<AppKey, WebhookApp>>>);

impl Apps {
    /// One app `x` with one webhook.
    fn telling(hook: &Hook) -> Self {
        Self::with("x", json!({ "webhooks": [{ "url": hook.url() }] }))
    }

    fn with(app: &str, settings: Value) -> Self {
        let apps = Self::default();
        apps.set(app, settings);
        apps
    }

    fn set(&self, app: &str, settings: Value) {
        let settings: AppSettings = serde_json::from_value(settings).expect("settings");
        assert_eq!(settings.check(), Ok(()));
        let (secret, feed) = (AppSecret(SECRET.into()), Default::default());
        let live = WebhookApp { secret, settings: settings.into(), number: AppNumber(1), feed };
        self.0.lock().unwrap().insert(AppKey::stored(app), live);
    }

    fn remove(&self, app: &str) {
        self.0.lock().unwrap().remove(app);
    }
}

/// The part of a node that tells webhooks.
struct Telling {
    webhooks: Webhooks,
    notices: Notices,
    clock: Clock,
}

/// What differs from test to test.
struct Setup {
    clock: Clock,
    allows_private: bool,
    request_time_max: Duration,
    waiting_max: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            clock: Clock::jumping(BEGIN_MS),
            allows_private: true,
            request_time_max: Duration::from_secs(10),
            waiting_max: 10_000,
        }
    }
}

impl Setup {
    /// Starts when these notices are in the queue already.
    async fn start(self, file: &Path, apps: &Apps, notices: impl IntoIterator<Item = Notice>) -> Telling {
        let (queue, posted) = Notices::queue(10_000);
        notices.into_iter().for_each(|notice| queue.post(notice));
        assert_eq!(queue.dropped(), 0);
        let outbox = Outbox::open(file, self.waiting_max).await.expect("the file is a database");
        let apps = apps.clone();
        let lookup = move |key: &AppKey| apps.0.lock().unwrap().get(key).cloned();
        let settings = WebhookSettings {
            allows_private: self.allows_private,
            requests_max: 64,
            request_time_max: self.request_time_max,
            journal: JournalLimits { outcomes_max: 100, bytes_max: 1 << 20 },
            clock: self.clock.clone(),
        };
        let webhooks = Webhooks::start(outbox, posted, Box::new(lookup), settings).expect("there is TLS");
        Telling { webhooks, notices: queue, clock: self.clock }
    }
}

/// Starts as most tests do, in a file that is gone when the test ends.
async fn telling(apps: &Apps, notices: impl IntoIterator<Item = Notice>) -> (TempDir, Telling) {
    let (directory, file) = place();
    (directory, Setup::default().start(&file, apps, notices).await)
}

impl Telling {
    /// How the one webhook of `x` fares.
    async fn report(&self) -> WebhookReport {
        let mut reports = self.webhooks.status(&AppKey::stored("x")).await.expect("the database works");
        reports.remove(0)
    }

    /// Waits until it fares so.
    async fn until(&self, is_so: impl Fn(&WebhookReport) -> bool) -> WebhookReport {
        soon("the webhook", async {
            loop {
                let report = self.report().await;
                if is_so(&report) {
                    return report;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    async fn stop(self) {
        soon("the end", self.webhooks.stop(Duration::from_secs(10))).await;
    }
}

/// Says when each question came.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<i64>>>);

impl Diary {
    fn note(&self, clock: &Clock) -> usize {
        let mut times = self.0.lock().unwrap();
        times.push(clock.now_ms());
        times.len()
    }

    /// The seconds after [`BEGIN_MS`].
    fn seconds(&self) -> Vec<i64> {
        self.0.lock().unwrap().iter().map(|time| (time - BEGIN_MS) / 1000).collect()
    }
}

fn occupied(app: &str, channel: &str) -> Notice {
    counted(app, channel, NoticeEvent::ChannelOccupied, BEGIN_MS)
}

/// The `number`-th event of a channel.
fn numbered(channel: &str, number: usize) -> Notice {
    counted("x", channel, NoticeEvent::SubscriptionCount(number), BEGIN_MS)
}

fn counted(app: &str, channel: &str, event: NoticeEvent, at_ms: i64) -> Notice {
    Notice { app: AppKey::stored(app), channel: ChannelName::parse(channel).unwrap(), at_ms, event }
}

fn body(asked: &Asked) -> Value {
    serde_json::from_str(&asked.body).expect("JSON")
}

/// The channels and numbers of the events that a webhook was asked about, in order.
fn numbers(asked: &[Asked]) -> Vec<(String, u64)> {
    let events = asked.iter().flat_map(|asked| body(asked)["events"].as_array().unwrap().clone());
    let number = |event: Value| {
        (event["channel"].as_str().unwrap().to_owned(), event["subscription_count"].as_u64().unwrap())
    };
    events.map(number).collect()
}

/// Two channels that do not wait for each other.
fn independent_channels(hook: &Hook) -> (String, String) {
    let lane = |channel: &str| {
        let channel = ChannelName::parse(channel).unwrap();
        Lane::of(&AppKey::stored("x"), &hook.url().into(), &channel)
    };
    let other = (0..).map(|number| format!("other-{number}")).find(|name| lane(name) != lane("first"));
    ("first".to_owned(), other.unwrap())
}

#[tokio::test]
async fn pc_175_headers_tell_who_signed_what() {
    let hook = Hook::answering(204, "").await;
    let headers = json!({ "X-Ours": "1", "x-pusher-key": "forged", "content-type": "text/plain", "Content-Length": "1" });
    let apps =
        Apps::with("x", json!({ "webhooks": [{ "url": hook.url() + "?of=ours", "headers": headers }] }));
    let (_directory, _telling) = telling(&apps, [occupied("x", "my-channel")]).await;
    hook.until_asked(1).await;
    let asked = hook.asked().remove(0);
    assert_eq!((&asked.method, asked.target.as_str()), (&Method::POST, "/hook?of=ours"));
    assert_eq!(
        asked.body,
        format!(
            r#"{{"time_ms":{BEGIN_MS},"events":[{{"name":"channel_occupied","channel":"my-channel"}}]}}"#
        )
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-pusher-key", "x"),
        ("x-pusher-signature", &hmac_hex(SECRET, &asked.body)),
        ("x-ours", "1"),
        ("content-length", &asked.body.len().to_string()),
    ] {
        let values: Vec<_> = asked.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
}

/// Backends in PHP see the names as they were sent, and compare their case.
#[tokio::test]
async fn pc_175_names_of_headers_leave_as_pusher_writes_them() {
    let backend = RawHook::start(|_| 200).await;
    let webhook = json!({ "url": backend.url(), "headers": { "x-our-header": "1" } });
    let apps = Apps::with("x", json!({ "webhooks": [webhook] }));
    let (_directory, _telling) = telling(&apps, [occupied("x", "my-channel")]).await;
    let heads = backend.until_asked(1).await;
    let mut names = heads[0].names();
    names.sort();
    let expected = "Accept, Content-Length, Content-Type, Host, User-Agent, X-Our-Header, X-Pusher-Key, X-Pusher-Signature";
    assert_eq!(names.join(", "), expected);
}

#[tokio::test]
async fn pc_182_a_failure_is_tried_again_later_and_later() {
    let (clock, diary) = (Clock::jumping(BEGIN_MS), Diary::default());
    let script = (clock.clone(), diary.clone());
    let hook = Hook::scripted(move |_| {
        let answer = [500, 404, 302, 503, 200][script.1.note(&script.0) - 1];
        StatusCode::from_u16(answer).unwrap().into_response()
    })
    .await;
    let (_directory, file) = place();
    let setup = Setup { clock, ..Setup::default() };
    let telling = setup.start(&file, &Apps::telling(&hook), [occupied("x", "c")]).await;
    let report = telling.until(|report| report.delivered == 1 && report.waiting == 0).await;
    assert_eq!(diary.seconds(), [0, 1, 3, 7, 15]);
    assert_eq!((report.failed_attempts, report.given_up), (4, 0));
    let last = WebhookAttempt { at_ms: telling.clock.now_ms(), status: Some(200), fault: None };
    assert_eq!(report.last, Some(last));
    let same = |asked: &Asked| (asked.body.clone(), asked.header("x-pusher-signature").to_owned());
    let asked = hook.asked();
    assert!(asked.iter().all(|again| same(again) == same(&asked[0])));
}

/// Has one event fail for ever, and says when it was tried.
async fn failing_for_ever(settings: Value, at_ms: i64) -> (Vec<i64>, WebhookReport) {
    let (clock, diary) = (Clock::jumping(BEGIN_MS), Diary::default());
    let script = (clock.clone(), diary.clone());
    let hook = Hook::scripted(move |_| {
        script.1.note(&script.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
    .await;
    let mut settings = settings;
    settings["webhooks"] = json!([{ "url": hook.url() }]);
    let (_directory, file) = place();
    let event = counted("x", "c", NoticeEvent::CacheMiss, at_ms);
    let setup = Setup { clock, ..Setup::default() };
    let telling = setup.start(&file, &Apps::with("x", settings), [event]).await;
    let report = telling.until(|report| report.given_up == 1 && report.waiting == 0).await;
    telling.stop().await;
    (diary.seconds(), report)
}

#[tokio::test]
async fn pc_183_after_300_seconds_nothing_is_tried() {
    let (seconds, report) = failing_for_ever(json!({}), BEGIN_MS).await;
    assert_eq!(seconds, [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181, 211, 241, 271]);
    assert_eq!((report.failed_attempts, report.delivered), (14, 0));
}

#[tokio::test]
async fn pc_183_an_app_may_give_up_earlier() {
    assert_eq!(failing_for_ever(json!({ "webhook_retry_span": 7 }), BEGIN_MS).await.0, [0, 1, 3, 7]);
    assert_eq!(failing_for_ever(json!({ "webhook_retry_span": 0 }), BEGIN_MS - 5_000).await.0, [0]);
}

#[tokio::test]
async fn pc_183_what_is_too_old_already_is_not_tried() {
    assert_eq!(failing_for_ever(json!({}), BEGIN_MS - 299_500).await.0, [0]);
    assert!(failing_for_ever(json!({}), BEGIN_MS - 300_001).await.0.is_empty());
}

#[tokio::test]
async fn pc_184_a_request_is_about_one_event() {
    let hook = Hook::answering(200, "").await;
    let (_directory, telling) = telling(&Apps::telling(&hook), (0..150).map(|n| numbered("c", n))).await;
    telling.until(|report| report.delivered == 150).await;
    assert_eq!(hook.asked().len(), 150);
    assert!(numbers(&hook.asked()).into_iter().map(|(_, number)| number).eq(0..150));
}

#[tokio::test]
async fn pc_184_a_batch_is_about_events_of_one_app() {
    let hook = Hook::answering(200, "").await;
    let settings = json!({ "webhooks": [{ "url": hook.url(), "batch": true }] });
    let apps = Apps::with("x", settings.clone());
    apps.set("y", settings);
    let notices = (0..150).map(|n| numbered("c", n)).chain([occupied("y", "d")]);
    let (_directory, telling) = telling(&apps, notices).await;
    telling.until(|report| report.delivered == 150).await;
    hook.until_asked(3).await;
    let (of_x, of_y): (Vec<_>, Vec<_>) =
        hook.asked().into_iter().partition(|asked| asked.header("x-pusher-key") == "x");
    let sizes: Vec<_> = of_x.iter().map(|asked| body(asked)["events"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 50]);
    assert!(numbers(&of_x).into_iter().map(|(_, number)| number).eq(0..150));
    assert_eq!(body(&of_y[0])["events"], json!([{ "name": "channel_occupied", "channel": "d" }]));
    assert!(
        of_x.iter().chain(&of_y).all(|a| a.header("x-pusher-signature") == hmac_hex(SECRET, &a.body)),
        "each body is signed as it is sent"
    );
}

#[tokio::test]
async fn pc_185_a_webhook_is_told_what_it_chose() {
    let hook = Hook::answering(200, "").await;
    let url = |name: &str| format!("http://{}/{name}", hook.address);
    let apps = Apps::with(
        "x",
        json!({ "webhooks": [
            { "url": url("misses"), "events": ["cache_miss"], "batch": true },
            { "url": url("private"), "filter": { "channel_name_starts_with": "private-" }, "batch": true },
            { "url": url("private"), "events": ["cache_miss"] },
            { "url": url("nothing"), "events": [] },
        ] }),
    );
    let event = |channel: &str, event| counted("x", channel, event, BEGIN_MS);
    let notices = [
        event("public", NoticeEvent::ChannelOccupied),
        event("private-a", NoticeEvent::ChannelOccupied),
        event("private-a", NoticeEvent::CacheMiss),
        event("elsewhere", NoticeEvent::ChannelVacated),
    ];
    let (_directory, _telling) = telling(&apps, notices).await;
    hook.until_asked(2).await;
    let mut told = hook.asked();
    told.sort_by(|one, other| one.target.cmp(&other.target));
    let miss = json!({ "name": "cache_miss", "channel": "private-a" });
    let occupied = json!({ "name": "channel_occupied", "channel": "private-a" });
    assert_eq!([told[0].target.as_str(), &told[1].target], ["/misses", "/private"]);
    assert_eq!(
        [&body(&told[0])["events"], &body(&told[1])["events"]],
        [&json!([miss.clone()]), &json!([occupied, miss])]
    );
    assert!(told.iter().all(|asked| asked.header("x-pusher-signature") == hmac_hex(SECRET, &asked.body)));
}

#[tokio::test]
async fn pc_186_a_dead_webhook_delays_no_other() {
    let dead = Hook::held(|_| ().into_response()).await;
    let alive = Hook::answering(200, "").await;
    let apps = Apps::with("x", json!({ "webhooks": [{ "url": dead.url() }, { "url": alive.url() }] }));
    let notices = (0..200).map(|n| numbered(&format!("c-{}", n % 20), n));
    let (_directory, _telling) = telling(&apps, notices).await;
    alive.until_asked(200).await;
    dead.until_asked(1).await;
    assert_eq!(dead.asked().len(), 1, "one request at a time, as long as none is answered");
}

/// None of the requests that hang ends within this test: who waits for them waits in vain.
#[tokio::test]
async fn pc_186_webhooks_that_hang_delay_no_other_however_many_they_are() {
    let (alive, sibling) = (Hook::answering(200, "").await, Hook::answering(200, "").await);
    let apps = Apps::telling(&alive);
    let (mut dead, mut notices) = (Vec::new(), Vec::new());
    for app in 0..100 {
        let (hook, app) = (Hook::held(|_| ().into_response()).await, format!("dead-{app}"));
        // It answers once, so it is known as one that does.
        hook.release(1);
        let mut webhooks = vec![json!({ "url": hook.url() })];
        if app == "dead-0" {
            webhooks.push(json!({ "url": sibling.url() }));
        }
        apps.set(&app, json!({ "webhooks": webhooks }));
        notices.extend((0..20).map(|channel| occupied(&app, &format!("c-{channel}"))));
        dead.push(hook);
    }
    notices.extend((0..200).map(|n| numbered(&format!("c-{}", n % 20), n)));
    let (_directory, file) = place();
    let setup = Setup { request_time_max: Duration::from_secs(3_600), ..Setup::default() };
    let _telling = setup.start(&file, &apps, notices).await;
    alive.until_asked(200).await;
    sibling.until_asked(20).await;
}

#[tokio::test]
async fn pc_186_an_app_whose_webhook_takes_nothing_leaves_room_to_others() {
    let (dead, alive) = (Hook::held(|_| ().into_response()).await, Hook::answering(200, "").await);
    let apps = Apps::telling(&alive);
    apps.set("greedy", json!({ "webhooks": [{ "url": dead.url() }] }));
    let greedy = (0..5_000).map(|n| occupied("greedy", &format!("c-{n}")));
    let (_directory, file) = place();
    let setup = Setup { waiting_max: 1_000, clock: Clock::system(), ..Setup::default() };
    let now = Timestamp::now().as_millisecond();
    let notices = greedy.chain((0..20).map(|n| numbered("c", n))).map(|it| Notice { at_ms: now, ..it });
    let telling = setup.start(&file, &apps, notices).await;
    let report = telling.until(|report| report.delivered == 20).await;
    assert_eq!(report.dropped, 0);
    let of_greedy = telling.webhooks.status(&AppKey::stored("greedy")).await.unwrap().remove(0);
    assert!((700..900).contains(&of_greedy.waiting), "{of_greedy:?}");
}

#[tokio::test]
async fn what_the_database_does_not_take_until_the_end_is_counted() {
    let hook = Hook::answering(200, "").await;
    let (_directory, file) = place();
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut other = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let notices = (0..20).map(|n| numbered("c", n));
    let telling = Setup::default().start(&file, &Apps::telling(&hook), notices).await;
    soon("the end", telling.webhooks.stop(Duration::from_millis(10))).await;
    assert_eq!(telling.notices.dropped(), 20);
    telling.notices.post(numbered("c", 20));
    assert_eq!(telling.notices.dropped(), 21, "and so is what comes too late");
    assert!(hook.asked().is_empty());
}

/// A host that moved is found at its new address, where no connection that is there already leads.
#[tokio::test]
async fn what_failed_is_tried_again_on_a_fresh_connection() {
    let backend = RawHook::start(|connection| if connection == 1 { 503 } else { 200 }).await;
    let apps = Apps::with("x", json!({ "webhooks": [{ "url": backend.url() }] }));
    let (_directory, telling) = telling(&apps, (0..3).map(|n| numbered("c", n))).await;
    let report = telling.until(|report| report.delivered == 3).await;
    assert_eq!(report.failed_attempts, 1, "the first connection is not used again");
    let connections = backend.until_asked(4).await.into_iter().map(|asked| asked.connection);
    assert!(connections.eq(1..=4));
}

#[tokio::test]
async fn what_a_webhook_takes_goes_over_one_connection() {
    let backend = RawHook::start(|_| 200).await;
    let apps = Apps::with("x", json!({ "webhooks": [{ "url": backend.url() }] }));
    let (_directory, telling) = telling(&apps, (0..20).map(|n| numbered("c", n))).await;
    telling.until(|report| report.delivered == 20).await;
    assert!(backend.until_asked(20).await.iter().all(|asked| asked.connection == 1));
}

#[tokio::test]
async fn pc_188_the_time_is_when_it_happened_in_milliseconds() {
    let hook = Hook::answering(200, "").await;
    let now = Timestamp::now().as_millisecond();
    let (_directory, file) = place();
    let setup = Setup { clock: Clock::system(), ..Setup::default() };
    let event = counted("x", "c", NoticeEvent::ChannelOccupied, now);
    let telling = setup.start(&file, &Apps::telling(&hook), [event]).await;
    hook.until_asked(1).await;
    assert_eq!(body(&hook.asked()[0])["time_ms"].as_i64(), Some(now));
    let report = telling.until(|report| report.delivered == 1).await;
    assert!(report.last.is_some_and(|last| (now..now + 10_000).contains(&last.at_ms)));
}

#[tokio::test]
async fn a_channel_stays_in_order_whatever_fails() {
    let seen = Mutex::new(Vec::new());
    let hook = Hook::scripted(move |asked| {
        let mut seen = seen.lock().unwrap();
        let is_new = !seen.contains(&asked.body);
        seen.push(asked.body.clone());
        if is_new { StatusCode::BAD_GATEWAY.into_response() } else { ().into_response() }
    })
    .await;
    let notices = (0..60).map(|n| numbered(&format!("c-{}", n % 6), n));
    let (_directory, telling) = telling(&Apps::telling(&hook), notices).await;
    let report = telling.until(|report| report.delivered == 60).await;
    assert_eq!(report.failed_attempts, 60);
    for channel in 0..6 {
        let told = numbers(&hook.asked()).into_iter().filter(|(of, _)| *of == format!("c-{channel}"));
        let expected = (channel..60).step_by(6).flat_map(|number| [number, number]);
        assert!(told.map(|(_, number)| number).eq(expected), "channel {channel}");
    }
}

#[tokio::test]
async fn an_event_that_fails_does_not_stop_other_channels() {
    let hook = Hook::scripted(|asked| {
        let is_first = asked.body.contains("first");
        if is_first { StatusCode::BAD_REQUEST.into_response() } else { ().into_response() }
    })
    .await;
    let (first, other) = independent_channels(&hook);
    let (_directory, file) = place();
    // On a clock that does not jump, what fails is not given up within this test.
    let setup = Setup { clock: Clock::system(), ..Setup::default() };
    let now = Timestamp::now().as_millisecond();
    let notices = (0..20).map(|n| Notice { at_ms: now, ..numbered(if n < 10 { &first } else { &other }, n) });
    let telling = setup.start(&file, &Apps::telling(&hook), notices).await;
    let report = telling.until(|report| report.delivered == 10).await;
    assert_eq!(report.waiting, 10);
}

#[tokio::test]
async fn of_a_batch_that_is_given_up_only_what_is_too_old_is_lost() {
    let hook = Hook::scripted(|asked| {
        let has_old = asked.body.contains("\"old\"");
        if has_old { StatusCode::BAD_REQUEST.into_response() } else { ().into_response() }
    })
    .await;
    let apps = Apps::with("x", json!({ "webhooks": [{ "url": hook.url(), "batch": true }] }));
    let event = |name: &str, age_ms| {
        let data = (Arc::from(name), Arc::from(""));
        let socket = gusher::model::SocketId { high: 1, low: 2 };
        let event = NoticeEvent::ClientEvent { event: data.0, data: data.1, socket, user: None };
        counted("x", "c", event, BEGIN_MS - age_ms)
    };
    let (_directory, telling) = telling(&apps, [event("old", 299_000), event("new", 1_000)]).await;
    let report = telling.until(|report| report.delivered == 1).await;
    assert_eq!((report.given_up, report.waiting), (1, 0));
    let last = body(hook.asked().last().unwrap());
    assert_eq!(
        (last["time_ms"].as_i64(), &last["events"][0]["event"]),
        (Some(BEGIN_MS - 1_000), &json!("new"))
    );
}

#[test]
fn what_was_on_disk_when_the_node_died_is_told_first_and_in_order() {
    let backend = tokio::runtime::Runtime::new().unwrap();
    let hook = backend.block_on(Hook::held(|_| ().into_response()));
    let (_directory, file) = place();
    let apps = Apps::telling(&hook);
    let node = tokio::runtime::Runtime::new().unwrap();
    node.block_on(async {
        let telling = Setup::default().start(&file, &apps, (0..3).map(|n| numbered("c", n))).await;
        hook.until_asked(1).await;
        telling.until(|report| report.waiting == 3).await;
    });
    node.shutdown_background();
    hook.release(100);
    backend.block_on(async {
        let telling = Setup::default().start(&file, &apps, (3..5).map(|n| numbered("c", n))).await;
        telling.until(|report| report.delivered == 5).await;
    });
    assert!(numbers(&hook.asked()).into_iter().map(|(_, number)| number).eq([0, 0, 1, 2, 3, 4]));
}

#[tokio::test]
async fn what_was_accepted_before_the_end_is_on_disk() {
    let hook = Hook::answering(200, "").await;
    let (_directory, file) = place();
    let apps = Apps::telling(&hook);
    let telling = Setup::default().start(&file, &apps, (0..2_000).map(|n| numbered("c", n))).await;
    telling.stop().await;
    let told = hook.asked().len();
    let telling = Setup::default().start(&file, &apps, []).await;
    assert_eq!(telling.until(|report| report.waiting == 0).await.delivered, 2_000 - told as u64);
    assert!(numbers(&hook.asked()).into_iter().map(|(_, number)| number).eq(0..2_000));
}

#[tokio::test]
async fn a_request_under_way_at_the_end_is_not_repeated() {
    let hook = Hook::held(|_| ().into_response()).await;
    let (_directory, file) = place();
    let apps = Apps::telling(&hook);
    let telling = Setup::default().start(&file, &apps, [numbered("c", 1), numbered("c", 2)]).await;
    hook.until_asked(1).await;
    let answered = async { hook.release(1) };
    futures_util::join!(telling.stop(), answered);
    hook.release(1);
    Setup::default().start(&file, &apps, []).await.until(|report| report.delivered == 1).await;
    assert_eq!(numbers(&hook.asked()), [("c".to_owned(), 1), ("c".to_owned(), 2)]);
}

#[tokio::test]
async fn the_end_waits_no_longer_than_it_may() {
    let hook = Hook::held(|_| ().into_response()).await;
    let (_directory, telling) = telling(&Apps::telling(&hook), [numbered("c", 1)]).await;
    hook.until_asked(1).await;
    soon("the end", telling.webhooks.stop(Duration::ZERO)).await;
    hook.until_abandoned(1).await;
    assert_eq!(telling.report().await.waiting, 1);
}

#[tokio::test]
async fn what_finds_no_room_is_counted() {
    let hook = Hook::held(|_| ().into_response()).await;
    let (_directory, file) = place();
    let setup = Setup { waiting_max: 2, ..Setup::default() };
    let telling = setup.start(&file, &Apps::telling(&hook), (0..5).map(|n| numbered("c", n))).await;
    let report = telling.until(|report| report.dropped == 3).await;
    assert_eq!(report.waiting, 2);
    hook.release(2);
    telling.until(|report| report.delivered == 2).await;
    assert!(numbers(&hook.asked()).into_iter().map(|(_, number)| number).eq(0..2));
    let key = AppKey::stored("x");
    let mut dropped = telling.webhooks.log(&key);
    dropped.retain(|outcome| outcome.result == WebhookResult::Dropped);
    assert!(dropped.len() == 3 && dropped.iter().all(|outcome| outcome.can_retry && outcome.attempt == 0));
    let again = Retry::Outcome(dropped[2].id);
    assert_eq!(telling.webhooks.retry(&key, &again).await.expect("the database works"), 1);
    hook.release(1);
    telling.until(|report| report.delivered == 3).await;
    assert_eq!(numbers(&hook.asked())[2].1, 2, "the first that found no room");
}

#[tokio::test]
async fn private_addresses_are_not_told_anything() {
    let hook = Hook::answering(200, "").await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/", hook.address.port());
        let (_directory, file) = place();
        let setup = Setup { allows_private: false, ..Setup::default() };
        let apps = Apps::with("x", json!({ "webhooks": [{ "url": url }] }));
        let telling = setup.start(&file, &apps, [numbered("c", 1)]).await;
        let report = telling.until(|report| report.given_up == 1).await;
        let fault = report.last.and_then(|last| last.fault);
        assert_eq!(fault, Some("the host has no public address"), "{host}");
    }
    assert!(hook.asked().is_empty());
}

#[tokio::test]
async fn redirects_are_failures() {
    let hook = Hook::scripted(|_| Redirect::temporary("/elsewhere").into_response()).await;
    let (_directory, telling) = telling(&Apps::telling(&hook), [numbered("c", 1)]).await;
    let report = telling.until(|report| report.given_up == 1).await;
    assert_eq!(report.last.and_then(|last| last.status), Some(307));
    assert!(hook.asked().iter().all(|asked| asked.target == "/hook"));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_tried_again() {
    let hook = Hook::held(|_| ().into_response()).await;
    let (_directory, file) = place();
    let setup = Setup { request_time_max: Duration::from_millis(50), ..Setup::default() };
    let telling = setup.start(&file, &Apps::telling(&hook), [numbered("c", 1)]).await;
    hook.until_asked(2).await;
    let fault = telling.report().await.last.and_then(|last| last.fault);
    assert_eq!(fault, Some("it took too long"));
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_gone_is_dropped() {
    let goes: [fn(&Apps); 2] = [|apps| apps.set("x", json!({})), |apps| apps.remove("x")];
    for goes in goes {
        let hook = Hook::held(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
        let apps = Apps::telling(&hook);
        let (_directory, file) = place();
        let _telling = Setup::default().start(&file, &apps, (0..3).map(|n| numbered("c", n))).await;
        hook.until_asked(1).await;
        goes(&apps);
        hook.release(100);
        let outbox = Outbox::open(&file, 1).await.unwrap();
        soon("an empty outbox", async {
            while !outbox.lanes().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(hook.asked().len(), 1);
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_log_nor_status_tells_a_secret_or_the_same_twice() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    let ours = Targets::new().with_target("gusher", tracing::Level::TRACE);
    // Of all tests of this file; each has a backend with a port of its own.
    let subscriber = tracing_subscriber::registry().with(ours).with(lines);
    tracing::subscriber::set_global_default(subscriber).expect("there is no other log");

    let hook = Hook::answering(500, "Xanswer").await;
    let url = format!("http://Xaccount:Xpassword@{}/path?token=Xtoken#Xpart", hook.address);
    let headers = json!({ "X-Key": "Xheader" });
    let apps = Apps::with("x", json!({ "webhooks": [{ "url": url, "headers": headers }] }));
    let (_directory, telling) = telling(&apps, (0..3).map(|n| numbered("c", n))).await;
    let report = telling.until(|report| report.given_up == 3).await;
    assert!(hook.asked().iter().all(|asked| asked.header("authorization").starts_with("Basic ")));
    assert_eq!(report.url, format!("http://{}/path", hook.address));

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let of_hook: Vec<_> = log.lines().filter(|line| line.contains(&hook.address.to_string())).collect();
    assert_eq!(of_hook.len(), 2, "{of_hook:?}");
    assert!(of_hook[0].contains("a webhook fails") && of_hook[1].contains("are given up"), "{of_hook:?}");
    for secret in [SECRET, "Xaccount", "Xpassword", "Xtoken", "Xpart", "Xheader", "Xanswer"] {
        assert!(!log.contains(secret) && !format!("{report:?}").contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn the_admin_of_an_app_may_ask_how_its_webhooks_fare() {
    let server = Server::start().await;
    for app in ["x", "push"] {
        server.register(app).await;
        let path = format!("/api/{app}/webhooks");
        let answer = server.call_as(Some(ADMIN), Method::GET, &path).await;
        assert_eq!(answer.json(), json!({ "app_key": app, "total": 0, "webhooks": [] }));
        assert_eq!(server.get(&path).await.text, answer.text);
        let stranger = server.call_as(Some(("admin", "guess")), Method::GET, &path).await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    }
}
