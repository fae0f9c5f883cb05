//! Holds `src/door/openapi.json` to the server: it describes every route and nothing else, on the listener where it is,
//! with examples that are accepted and answered as it says. Each answer that any test gets is one that it knows
//! (`support::openapi`). At the end Schemathesis makes up calls from it, good ones and bad ones, and judges the answers.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::openapi::{DESCRIPTION, OPERATIONS};
use support::{Answer, SUPER, Server, cluster, pusher, send};

/// What the guest ends with when something that it needs is not here.
const SKIPPED: i32 = 77;

/// A method in small letters and a path.
type Route = (String, String);

/// The sources that have routes for programs. What the page of the console asks (`src/door/console`) is between the two.
fn sources() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/door");
    let entries =
        fs::read_dir(directory).expect("src/door is there").map(|entry| entry.expect("readable").path());
    let is_source = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    entries.filter(is_source).map(|path| fs::read_to_string(path).expect("UTF-8")).collect()
}

/// The text up to the parenthesis that closes what is open at its start.
fn within_parentheses(text: &str) -> &str {
    let mut open = 1;
    let end = text.find(|char| {
        open += i32::from(char == '(') - i32::from(char == ')');
        open == 0
    });
    &text[..end.expect("what is opened is closed")]
}

/// The routes that a source adds to a router.
fn routes_in(source: &str) -> Vec<Route> {
    let route = Regex::new(r#"\.route\(\s*"([^"]+)","#).expect("a pattern");
    let method = Regex::new(r"\b(get|put|post|delete|options|patch)\(").expect("a pattern");
    let of_one = |found: regex::Captures<'_>| {
        let methods = within_parentheses(&source[found.get(0).expect("all of it").end()..]);
        let of_method = |method: regex::Captures<'_>| (method[1].to_owned(), found[1].to_owned());
        method.captures_iter(methods).map(of_method).collect::<Vec<_>>()
    };
    route.captures_iter(source).flat_map(of_one).collect()
}

/// Whether a route is there only to tell two others apart that share a path, when an app is called `push`.
fn stands_for_others((method, path): &Route, all: &BTreeSet<Route>) -> bool {
    let Some(call) = path.strip_prefix("/api/push/").filter(|call| !call.starts_with('{')) else {
        return false;
    };
    let others = ["/api/push/{app_key}".to_owned(), format!("/api/{{app_key}}/{call}")];
    others.into_iter().any(|other| all.contains(&(method.clone(), other)))
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes: BTreeSet<Route> = sources().iter().flat_map(|source| routes_in(source)).collect();
    assert!(routes.len() > 40, "only {} routes were found", routes.len());
    let served: BTreeSet<_> =
        routes.iter().filter(|route| !stands_for_others(route, &routes)).cloned().collect();
    let described: BTreeSet<Route> =
        OPERATIONS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    let lacking: Vec<_> = served.difference(&described).collect();
    let superfluous: Vec<_> = described.difference(&served).collect();
    assert!(
        lacking.is_empty() && superfluous.is_empty(),
        "lacking: {lacking:?}, superfluous: {superfluous:?}"
    );
}

#[test]
fn routes_are_found_in_a_source() {
    let source = r#"x().route("/a/{b}", get(|| async { page() }).patch(b)).route(
        "/c",
        delete(d),
    )"#;
    let expected = [("get", "/a/{b}"), ("patch", "/a/{b}"), ("delete", "/c")];
    let expected = expected.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert!(expected.iter().all(|route| routes_in(source).contains(route)), "{:?}", routes_in(source));
}

/// All references in it.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(target) if name == "$ref" => vec![target.as_str()],
                other => references(other),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn references_lead_somewhere_and_every_part_is_used() {
    let used: BTreeSet<_> = references(&DESCRIPTION).into_iter().map(str::to_owned).collect();
    let kinds = DESCRIPTION["components"].as_object().unwrap().iter();
    let parts: BTreeSet<_> = kinds
        .filter(|(kind, _)| *kind != "securitySchemes")
        .flat_map(|(kind, parts)| {
            parts.as_object().unwrap().keys().map(move |part| format!("#/components/{kind}/{part}"))
        })
        .collect();
    assert_eq!(used, parts);
}

#[test]
fn it_is_of_this_version_and_names_each_call_once() {
    assert_eq!(DESCRIPTION["info"]["version"], env!("CARGO_PKG_VERSION"));
    let names: BTreeSet<_> =
        OPERATIONS.iter().map(|(_, _, operation)| operation["operationId"].as_str()).collect();
    assert_eq!(names.len(), OPERATIONS.len());
}

/// The settings of an app are known by their names, and so are those that the description has.
#[test]
fn all_settings_of_an_app_are_described() {
    let known: Vec<_> =
        gusher::model::AppSettings::default().members().into_iter().map(|(name, _)| name).collect();
    for schema in ["Settings", "SettingsChange"] {
        let properties = &DESCRIPTION["components"]["schemas"][schema]["properties"];
        let described: Vec<_> = properties.as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, known, "{schema}");
    }
}

/// A node with keys for tokens, and the app of the examples.
async fn serve() -> Server {
    // A guest tries wrong credentials again and again, and looks whether that is what it is told.
    let server = Server::with(&[cluster::KEY_SETTING, ("addresses.failed_sign_ins_max", "0")]).await;
    pusher::register(&server, json!({})).await;
    server
}

/// A path of a call about the app of the tests.
fn filled(template: &str) -> String {
    let values =
        [("{app_key}", "key"), ("{app_id}", "77"), ("{channel}", "presence-room"), ("{user_id}", "alice")];
    let socket = [("{socket_id}", "0c2d8a54-5ad0-4f6b-9a3e-0f4f5a0c0d11"), ("{user_tag}", "alice")];
    values.iter().chain(&socket).fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

#[tokio::test]
async fn each_call_is_on_the_listeners_that_are_named_and_on_no_other() {
    let server = serve().await;
    let private = &DESCRIPTION["servers"][0]["url"];
    for (path, item) in DESCRIPTION["paths"].as_object().unwrap() {
        let servers = item["servers"].as_array().map(|all| all.iter().map(|server| &server["url"]).collect());
        let servers = servers.unwrap_or_else(|| vec![private]);
        // A method that no call has: whoever has the path says that it is the wrong one.
        let wrong = |on_public: bool| match on_public {
            true => server.public_call(Method::TRACE, &filled(path)),
            false => server.call(Method::TRACE, &filled(path)),
        };
        for (on_public, url) in [(false, private), (true, &json!("http://localhost:8001"))] {
            let expected =
                if servers.contains(&url) { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND };
            assert_eq!(send(wrong(on_public)).await.status, expected, "{path} at {url}");
        }
    }
}

/// The example of a request, if it has a body of JSON or of fields.
fn example(operation: &Value) -> Option<(&str, &Value)> {
    let content = operation["requestBody"]["content"].as_object()?;
    content.iter().find_map(|(kind, media)| media.get("example").map(|example| (kind.as_str(), example)))
}

/// Makes a call with this body, as somebody who may.
async fn make(
    server: &Server,
    method: &str,
    path: &str,
    operation: &Value,
    kind: &str,
    body: &str,
) -> Answer {
    let method: Method = method.to_uppercase().parse().unwrap();
    if operation["tags"][0] == "Pusher Channels" {
        return pusher::call(server, method, path, body).await;
    }
    let call = match operation["operationId"] == "checkToken" {
        true => server.public_call(method, path),
        false => server.call(method, path).basic_auth(SUPER.0, Some(SUPER.1)),
    };
    send(call.header("content-type", kind).body(body.to_owned())).await
}

/// The names of the members of an object, or of the first object in a list.
fn members(value: &Value) -> Vec<&String> {
    value.get(0).unwrap_or(value).as_object().map(|object| object.keys().collect()).unwrap_or_default()
}

#[tokio::test]
async fn examples_are_accepted_and_answered_as_it_says() {
    let server = serve().await;
    let token = cluster::token_for("key", "alice", &["news"]);
    let mut seen = 0;
    for (method, path, operation) in OPERATIONS.iter() {
        let Some((kind, example)) = example(operation) else { continue };
        let body = match kind {
            "application/json" => example.to_string().replace("eyJ...", &token),
            _ => {
                let fields = example.as_object().unwrap().iter();
                let fields = fields.map(|(name, value)| (name, value.as_str().unwrap()));
                form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
            }
        };
        let answer = make(&server, method, &filled(path), operation, kind, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.text);
        let described = &operation["responses"]["200"]["content"]["application/json"]["example"];
        // What was not asked for, and what a token does not have, is not told.
        if !["triggerEvent", "decodeToken"].contains(&operation["operationId"].as_str().unwrap())
            && !described.is_null()
        {
            assert_eq!(members(&answer.json()), members(described), "{method} {path}");
        }
        seen += 1;
    }
    assert!(seen > 12, "only {seen} examples were found");
}

#[tokio::test]
async fn it_is_served_as_it_is_to_anybody_on_the_private_listener() {
    let server = Server::start().await;
    let answer = send(server.call(Method::GET, "/openapi.json")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::OK, "application/json; charset=utf-8")
    );
    assert_eq!(answer.json(), *DESCRIPTION);
    assert_eq!(send(server.public_call(Method::GET, "/openapi.json")).await.status, StatusCode::NOT_FOUND);
}

/// Schemathesis, as a guest (`tests/guests/openapi`).
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let server = serve().await;
    // For the calls that change an app, or take it away.
    server.register("changing").await;
    server.register("leaving").await;
    let public = server.public();
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/run");
    let mut guest = Command::new(run);
    guest
        .args(["openapi", &public.ip().to_string(), &public.port().to_string()])
        .env("GUSHER_API", format!("http://{}", server.private()))
        .env("PUSHER_APP_ID", "77")
        .env("PUSHER_APP_KEY", "key")
        .env("PUSHER_APP_SECRET", pusher::SECRET)
        .stdin(Stdio::null());
    let output =
        tokio::task::spawn_blocking(move || guest.output()).await.unwrap().expect("tests/guests/run runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => server.still_serves().await,
        // Past the harness, which keeps to itself what a test prints that passes.
        Some(SKIPPED) => std::io::stderr().write_all(said.as_bytes()).expect("stderr takes it"),
        other => panic!("it ended with {other:?}:\n{said}"),
    }
}
