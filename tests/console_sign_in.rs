//! Signing in to the console: who may, how often, and what a session is kept by.

mod support;

use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, COOKIE};
use reqwest::{Method, Version};
use serde_json::{Value, json};
use support::console::{Browser, Feed, error, serve, sign_in};
use support::{ADMIN, Answer, SUPER, Server, send};

#[tokio::test]
async fn a_session_lasts_from_signing_in_to_signing_out() {
    let server = serve().await;
    let answer = sign_in(&server, SUPER, Some("")).await;
    let flags = answer.header("set-cookie").split_once("; ").expect("flags").1;
    let is_secure = server.authority.is_some();
    let (path, secure) = if is_secure { ("/", "; Secure") } else { ("/console", "") };
    assert_eq!(flags, format!("Path={path}; HttpOnly; SameSite=Strict{secure}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    let browser = Browser::super_admin(&server).await;
    let session = browser.get(&server, "/session").await.json();
    assert_eq!((&session["kind"], &session["account"]), (&json!("super"), &json!(SUPER.0)));
    assert_eq!((&session["app_key"], &session["csrf"]), (&Value::Null, &json!(browser.csrf)));
    assert_eq!(session["hosts"], json!({ "public": "127.0.0.1:0", "tls": server.authority.is_some() }));
    assert_eq!(browser.delete(&server, "/session").await.status, 204);
    assert_eq!(error(&browser.get(&server, "/session").await), (401, "sign in first".into()));
}

#[tokio::test]
async fn nobody_else_signs_in() {
    let server = serve().await;
    let wrong = (401, "account or password is wrong".to_owned());
    for (who, app) in [
        ((SUPER.0, "wrong"), None),
        (("nobody", SUPER.1), None),
        (ADMIN, None),
        (SUPER, Some("x")),
        (ADMIN, Some("unknown")),
    ] {
        let answer = sign_in(&server, who, app).await;
        assert_eq!(error(&answer), wrong, "{who:?} {app:?}");
        assert_eq!(answer.header("set-cookie"), "");
        assert_eq!(answer.header("www-authenticate"), "", "a browser must not ask for a password itself");
    }
    for path in ["/session", "/overview", "/apps", "/apps/x", "/nothing"] {
        let nobody = send(server.call(Method::GET, &format!("/console/api{path}"))).await;
        let status = if path == "/nothing" { 404 } else { 401 };
        assert_eq!((nobody.status.as_u16(), nobody.json()["error"].is_string()), (status, true), "{path}");
    }
}

/// Tries to sign in from an address, as a trusted proxy tells it.
async fn sign_in_from(server: &Server, address: &str, who: (&str, &str), app: Option<&str>) -> Answer {
    let body = json!({ "account": who.0, "password": who.1, "app_key": app }).to_string();
    let call = server.call(Method::POST, "/console/api/session").header(CONTENT_TYPE, "application/json");
    send(call.header("X-Forwarded-For", format!("6.6.6.6, {address}")).body(body)).await
}

/// A node with the app `x` that lets an account fail three times from one address.
async fn serve_strictly() -> Server {
    let settings = [("addresses.failed_sign_ins_max", "3"), ("trusted_proxies", "127.0.0.1")];
    let server = Server::with(&settings).await;
    server.register("x").await;
    server
}

#[tokio::test]
async fn whoever_fails_too_often_has_to_wait_and_nobody_elsewhere_does() {
    let server = serve_strictly().await;
    let from = async |address, who, app| sign_in_from(&server, address, who, app).await;
    for _ in 0..5 {
        assert_eq!(from("1.1.1.1", SUPER, None).await.status, 200, "good ones do not count");
    }
    for guess in ["a", "b", "c"] {
        assert_eq!(from("1.1.1.1", (SUPER.0, guess), None).await.status, 401);
    }
    let throttled = from("1.1.1.1", SUPER, None).await;
    assert_eq!(error(&throttled), (429, "too many failed sign-ins: try again later".into()));
    let seconds: u64 = throttled.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(from("2.2.2.2", SUPER, None).await.status, 200, "who guesses keeps no admin elsewhere out");
    assert_eq!(from("1.1.1.1", ADMIN, Some("x")).await.status, 200, "nor another account");
    for guess in ["a", "b", "c"] {
        assert_eq!(from("3.3.3.3", ("nobody", guess), Some("none")).await.status, 401);
    }
    assert_eq!(from("3.3.3.3", ("nobody", "d"), Some("none")).await.status, 429, "there or not");
    let figures = server.get("/metrics").await.text;
    assert!(figures.contains("gusher_console_sign_ins_total{result=\"throttled\"} 2"), "{figures}");
}

#[tokio::test]
async fn failures_at_both_doors_count_together() {
    let server = serve_strictly().await;
    let list = async |address: &str, (account, password): (&str, &str)| {
        let call = server.call(Method::GET, "/api/app-list").basic_auth(account, Some(password));
        send(call.header("X-Forwarded-For", address)).await.status.as_u16()
    };
    assert_eq!(list("1.1.1.1", (SUPER.0, "a")).await, 401);
    for guess in ["b", "c"] {
        assert_eq!(sign_in_from(&server, "1.1.1.1", (SUPER.0, guess), None).await.status, 401);
    }
    assert_eq!(sign_in_from(&server, "1.1.1.1", SUPER, None).await.status, 429);
    assert_eq!((list("1.1.1.1", SUPER).await, list("2.2.2.2", SUPER).await), (429, 200));
}

#[tokio::test]
async fn guesses_side_by_side_are_not_more_than_one_after_the_other() {
    let server = serve_strictly().await;
    for account in [SUPER.0, "nobody"] {
        let guesses: Vec<_> = (0..200).map(|guess| guess.to_string()).collect();
        let guessing = guesses.iter().map(|guess| sign_in_from(&server, "1.1.1.1", (account, guess), None));
        let answers = join_all(guessing).await;
        let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!(looked_at, 3);
    }
}

#[tokio::test]
async fn what_changes_something_must_come_from_the_page() {
    let server = serve().await;
    let mut browser = Browser::super_admin(&server).await;
    let other = Browser::super_admin(&server).await;
    let refused = (403, "the request does not come from the console".to_owned());
    for csrf in ["", "wrong", &other.csrf] {
        browser.csrf = csrf.into();
        assert_eq!(error(&browser.delete(&server, "/apps/x").await), refused);
        assert_eq!(error(&browser.delete(&server, "/session").await), refused);
        assert_eq!(browser.get(&server, "/apps/x").await.status, 200, "looking is free");
    }
    let form = server.call(Method::POST, "/console/api/session").form(&[("account", SUPER.0)]);
    assert_eq!(error(&send(form).await), refused);
}

#[tokio::test]
async fn over_tls_the_cookie_stays_there_by_each_version_of_http() {
    for (streams_max, version) in [("100", Version::HTTP_2), ("0", Version::HTTP_11)] {
        let server = Server::secure(&[("limits.http2_streams_max", streams_max)]).await;
        server.register("x").await;
        let page = server.call(Method::GET, "/console").send().await.expect("an answer");
        assert_eq!((page.version(), page.status().as_u16()), (version, 200));
        let answer = sign_in(&server, SUPER, None).await;
        let (cookie, flags) = answer.header("set-cookie").split_once("; ").expect("flags");
        assert_eq!((answer.status.as_u16(), flags), (200, "Path=/; HttpOnly; SameSite=Strict; Secure"));
        assert!(cookie.starts_with("__Host-gusher_console="), "{cookie}");
        let browser = Browser::super_admin(&server).await;
        // Neither a second word counts nor one that a neighbouring host could have planted.
        for cookie in [format!("{0}; {0}", browser.cookie), browser.cookie.replace("__Host-", "")] {
            let call = server.call(Method::GET, "/console/api/session").header(COOKIE, cookie);
            assert_eq!(send(call).await.status, 401);
        }
        let mut feed = Feed::watch(&server, &browser, "x").await;
        server.push("x", "hello").await;
        assert_eq!(feed.item().await["data"], "hello");
        let gone = browser.delete(&server, "/session").await;
        assert!(gone.header("set-cookie").ends_with("; Secure; Max-Age=0"), "{}", gone.header("set-cookie"));
        assert_eq!(browser.get(&server, "/session").await.status, 401);
    }
}
