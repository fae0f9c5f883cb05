//! The settings of an app are asked for and changed by the super admin while the node runs.

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{ADMIN, Answer, SUPER, Server, send};

/// Changes the settings of an app as the super admin.
async fn change(server: &Server, app: &str, body: &str) -> Answer {
    let call = server.call(Method::PATCH, &format!("/api/{app}/settings"));
    send(call.basic_auth(SUPER.0, Some(SUPER.1)).body(body.to_owned())).await
}

/// A change that must be refused with this text and change nothing.
async fn refused(server: &Server, body: &str, status: u16, text: &str) {
    let before = settings(server, "x").await;
    let answer = change(server, "x", body).await;
    assert_eq!((answer.status.as_u16(), answer.text), (status, format!("{text}\n")), "{body}");
    assert_eq!(settings(server, "x").await, before, "{body}");
}

async fn settings(server: &Server, app: &str) -> Value {
    server.get(&format!("/api/{app}/settings")).await.json()
}

/// A node with the app `x`.
async fn serve() -> Server {
    let server = Server::start().await;
    server.register("x").await;
    server
}

#[tokio::test]
async fn a_new_app_has_the_defaults() {
    let server = serve().await;
    let answer = server.get("/api/x/settings").await;
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    let settings = answer.json();
    assert_eq!(settings["enabled"], true);
    assert_eq!(settings["max_connections"], Value::Null);
    assert_eq!(settings["activity_timeout"], 120);
    assert_eq!(settings["additional_keys"], json!([]));
}

#[tokio::test]
async fn a_change_replaces_what_it_names_and_answers_with_all() {
    let server = serve().await;
    server.register("y").await;
    let mut expected = settings(&server, "x").await;
    let changed = change(&server, "x", r#"{"max_connections":7,"allowed_origins":["example.com"]}"#).await;
    expected["max_connections"] = json!(7);
    expected["allowed_origins"] = json!(["example.com"]);
    assert_eq!((changed.status, changed.json()), (StatusCode::OK, expected.clone()));
    let reset = change(&server, "x", r#"{"max_connections":null}"#).await.json();
    expected["max_connections"] = Value::Null;
    assert_eq!(reset, expected);
    assert_eq!(settings(&server, "x").await, expected);
    assert_eq!(settings(&server, "y").await["allowed_origins"], json!([]));
}

#[tokio::test]
async fn a_bad_change_is_refused_with_a_sentence_and_changes_nothing() {
    let server = serve().await;
    for (body, text) in [
        (r#"{"enabled":false,"cachettl":1}"#, "unknown setting cachettl, did you mean cache_ttl?"),
        (r#"{"enabled":"no"}"#, "enabled is not true or false"),
        (r#"{"enabled":false,"cache_ttl":0}"#, "cache_ttl is not between 1 and 604800"),
        (r#"{"max_connections":-1}"#, "max_connections is not a whole number from 0 to 4294967295"),
        ("enabled=false", "the body is no JSON object"),
        ("[]", "the body is no JSON object"),
        ("", "the body is no JSON object"),
    ] {
        refused(&server, body, 400, text).await;
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_app() {
    let server = serve().await;
    server.register("y").await;
    let keys = |key: &str| format!(r#"{{"additional_keys":[{{"key":"{key}","secret":"12345678"}}]}}"#);
    for key in ["x", "y"] {
        refused(&server, &keys(key), 409, "additional_keys has a key that is taken").await;
    }
    assert_eq!(change(&server, "y", &keys("y2")).await.status, StatusCode::OK);
    refused(&server, &keys("y2"), 409, "additional_keys has a key that is taken").await;
    let fields = [("app_key", "y2"), ("auth_account", "a"), ("auth_password", "p")];
    let registered = server.post("/api/register", &fields).await;
    assert_eq!((registered.status.as_u16(), registered.text.as_str()), (409, "app_key repeat\n"));
    // The paths of the original know an app by its own key alone.
    assert_eq!(server.get("/api/y2/settings").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_the_super_admin_sees_and_changes_settings() {
    let server = serve().await;
    for who in [None, Some(ADMIN), Some((SUPER.0, "wrong"))] {
        for method in [Method::GET, Method::PATCH] {
            for app in ["x", "unknown"] {
                let answer = server.call_as(who, method.clone(), &format!("/api/{app}/settings")).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {app} {who:?}");
            }
        }
    }
    let unknown = change(&server, "unknown", "{}").await;
    assert_eq!((unknown.status.as_u16(), unknown.text.as_str()), (404, "app_key does not exist\n"));
}

#[tokio::test]
async fn an_app_called_push_has_settings_too() {
    let server = Server::start().await;
    server.register("push").await;
    assert_eq!(change(&server, "push", r#"{"enabled":false}"#).await.json()["enabled"], false);
    assert_eq!(settings(&server, "push").await["enabled"], false);
}

#[tokio::test]
async fn settings_survive_a_restart_and_go_with_their_app() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("gusher.db").to_string_lossy().into_owned();
    let serve = async || Server::with(&[("sqlfile", &file)]).await;
    let server = serve().await;
    server.register("x").await;
    change(&server, "x", r#"{"cache_ttl":60}"#).await;
    server.stop().await;
    let server = serve().await;
    assert_eq!(settings(&server, "x").await["cache_ttl"], 60);
    server.unregister("x").await;
    server.register("x").await;
    assert_eq!(settings(&server, "x").await["cache_ttl"], 1_800);
    server.stop().await;
    let server = serve().await;
    assert_eq!(settings(&server, "x").await["cache_ttl"], 1_800);
}
