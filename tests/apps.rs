//! Apps come, are listed and go; and what all calls of the private listener have in common.

mod support;

use reqwest::multipart;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{ADMIN, Answer, SUPER, Server, exchange, send};
use tokio::net::TcpStream;

/// What it takes to register `x`.
const X: [(&str, &str); 3] = [("app_key", "x"), ("auth_account", "a"), ("auth_password", "p")];

/// The `Authorization` of the super admin as a line of a request.
const AUTHORIZATION: &str = "Authorization: Basic YWNjb3VudDpwYXNzd29yZA==\r\n";

/// [`X`] with one field set to something else.
fn x_with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    X.into_iter().filter(|(other, _)| *other != name).chain([(name, value)]).collect()
}

fn register(server: &Server) -> reqwest::RequestBuilder {
    server.call(Method::POST, "/api/register").basic_auth(SUPER.0, Some(SUPER.1))
}

/// A registration whose query has all that it takes.
fn register_by_query(server: &Server, key: &str) -> reqwest::RequestBuilder {
    let path = format!("/api/register?app_key={key}&auth_account=a&auth_password=p");
    server.call(Method::POST, &path).basic_auth(SUPER.0, Some(SUPER.1))
}

/// The status of a registration that must change nothing.
async fn refused(server: &Server, fields: &[(&str, &str)]) -> Answer {
    let before = server.get("/api/app-list").await.text;
    let answer = server.post("/api/register", fields).await;
    assert_eq!(server.get("/api/app-list").await.text, before, "{fields:?}");
    answer
}

/// The keys of the apps in the order of the list.
async fn keys(server: &Server) -> Vec<String> {
    let list = server.get("/api/app-list").await.json();
    let entries = list["data"].as_array().expect("an array");
    entries.iter().map(|entry| entry["app_key"].as_str().expect("a text").to_owned()).collect()
}

/// The names of the members of an object, in the order in which they were sent.
fn members(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Asks for a path as it is written, as the super admin.
async fn raw(server: &Server, method: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(server.private()).await.expect("the server listens");
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{AUTHORIZATION}\r\n");
    exchange(&mut stream, request.as_bytes()).await
}

#[track_caller]
fn assert_plain(answer: &Answer, status: u16, text: &str) {
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, format!("{text}\n").as_str()));
    assert_eq!(answer.header("Content-Type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("X-Content-Type-Options"), "nosniff");
}

#[tokio::test]
async fn gu_030_a_registration_is_answered_with_what_was_registered() {
    let server = Server::start().await;
    let answer = server.post("/api/register", &x_with("connect_hook", "http://localhost/login?a=<b>")).await;
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    assert!(answer.text.ends_with("}\n"));
    assert!(answer.text.contains("a=<b>"), "nothing is escaped that JSON does not ask for: {}", answer.text);
    let app = answer.json();
    let order =
        ["app_key", "auth_account", "auth_password", "connect_hook", "request_ip", "app_id", "app_secret"];
    assert_eq!(members(&app), order);
    assert_eq!([&app["app_key"], &app["auth_account"]], ["x", "a"]);
    assert!(bcrypt::verify("ap", app["auth_password"].as_str().unwrap()).unwrap());
}

#[tokio::test]
async fn gu_030_the_address_of_a_registration_is_the_callers() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.private()).await.unwrap();
    let address = stream.local_addr().unwrap();
    let target = "/api/register?app_key=x&auth_account=a&auth_password=p";
    let request = format!("POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{AUTHORIZATION}\r\n");
    let answer = exchange(&mut stream, request.as_bytes()).await;
    assert!(answer.contains(&format!("\"request_ip\":\"{address}\",\"app_id\"")), "{answer}");
}

#[tokio::test]
async fn gu_031_without_a_connect_hook_it_is_empty() {
    let server = Server::start().await;
    let answer = server.post("/api/register", &X).await;
    assert_eq!(answer.json()["connect_hook"], "");
}

#[tokio::test]
async fn gu_032_a_required_field_that_is_absent_or_empty_is_named() {
    let server = Server::start().await;
    for name in ["app_key", "auth_account", "auth_password"] {
        let absent: Vec<_> = X.into_iter().filter(|(other, _)| *other != name).collect();
        for fields in [absent, x_with(name, "")] {
            assert_plain(&refused(&server, &fields).await, 400, &format!("{name} empty"));
        }
    }
}

#[tokio::test]
async fn gu_033_a_key_is_registered_once() {
    let server = Server::start().await;
    server.register("x").await;
    assert_plain(&refused(&server, &X).await, 409, "app_key repeat");
    let path = "/api/x/listonlineuser";
    assert_eq!(server.call_as(Some(ADMIN), Method::GET, path).await.status, 200);
    assert_eq!(server.call_as(Some(("a", "p")), Method::GET, path).await.status, 401);
}

#[tokio::test]
async fn an_id_is_given_once() {
    let server = Server::start().await;
    assert_eq!(server.post("/api/register", &x_with("app_id", "7")).await.status, StatusCode::OK);
    let second = [("app_key", "y"), ("auth_account", "a"), ("auth_password", "p"), ("app_id", "7")];
    assert_plain(&refused(&server, &second).await, 409, "app_id repeat");
}

#[tokio::test]
async fn gu_033_keys_differ_in_case() {
    let server = Server::start().await;
    server.register("x").await;
    server.register("X").await;
    assert_eq!(keys(&server).await, ["x", "X"]);
}

#[tokio::test]
async fn gu_034_parameters_come_in_the_body_or_in_the_query() {
    let server = Server::start().await;
    let form = multipart::Form::new().text("app_key", "multipart").text("auth_account", "a");
    let calls = [
        register(&server).form(&x_with("app_key", "urlencoded")),
        register(&server).multipart(form.text("auth_password", "p")),
        register_by_query(&server, "query"),
        register(&server).json(&json!({ "app_key": "json", "auth_account": "a", "auth_password": "p" })),
    ];
    for call in calls {
        let answer = send(call).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(keys(&server).await, ["urlencoded", "multipart", "query", "json"]);
}

#[tokio::test]
async fn gu_035_an_urlencoded_body_beats_the_query_and_that_any_other_body() {
    let server = Server::start().await;
    let part = multipart::Form::new().text("app_key", "multipart");
    send(register_by_query(&server, "q1").form(&[("app_key", "urlencoded")])).await;
    send(register_by_query(&server, "q2").multipart(part)).await;
    send(register_by_query(&server, "q3").json(&json!({ "app_key": "json" }))).await;
    assert_eq!(keys(&server).await, ["urlencoded", "q2", "q3"]);
}

#[tokio::test]
async fn gu_035_an_empty_field_of_the_body_hides_that_of_the_query() {
    let server = Server::start().await;
    let answer = send(register_by_query(&server, "x").form(&[("app_key", "")])).await;
    assert_plain(&answer, 400, "app_key empty");
}

#[tokio::test]
async fn gu_036_of_a_repeated_name_the_first_value_counts() {
    let server = Server::start().await;
    let fields: Vec<_> = X.into_iter().chain([("app_key", "second")]).collect();
    server.post("/api/register", &fields).await;
    assert_eq!(keys(&server).await, ["x"]);
}

#[tokio::test]
async fn gu_037_a_key_is_one_segment_of_a_path() {
    let server = Server::start().await;
    for key in ["a/b", "/", "a\nb", "a\u{7f}", &"k".repeat(201)] {
        assert_eq!(refused(&server, &x_with("app_key", key)).await.status, 400, "{key:?}");
    }
}

#[tokio::test]
async fn gu_037_any_other_key_names_its_app_in_a_path() {
    let server = Server::start().await;
    let long = "k".repeat(200);
    for (key, segment) in [("a b+c", "a%20b+c"), ("键", "%E9%94%AE"), ("%2F", "%252F"), (&long, &long)] {
        server.register(key).await;
        let answer = server.get(&format!("/api/{segment}/listonlineuser")).await;
        assert_eq!(answer.json()["app_key"], key);
    }
}

#[tokio::test]
async fn gu_038_account_and_password_have_at_most_72_bytes() {
    let server = Server::start().await;
    for password in ["p".repeat(72), "é".repeat(36)] {
        assert_eq!(refused(&server, &x_with("auth_password", &password)).await.status, 400);
    }
    let longest = "p".repeat(71);
    assert_eq!(server.post("/api/register", &x_with("auth_password", &longest)).await.status, 200);
    let answer = server.call_as(Some(("a", &longest)), Method::GET, "/api/x/listonlineuser").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_bcrypt_does_not_read_of_a_password_counts() {
    let server = Server::start().await;
    let longest = "p".repeat(71);
    let pairs = [("x", &*longest), ("y", "secret")];
    for (key, password) in pairs {
        let fields = [("app_key", key), ("auth_account", "a"), ("auth_password", password)];
        assert_eq!(server.post("/api/register", &fields).await.status, 200);
    }
    for (key, password, status) in [
        ("x", longest.clone(), 200),
        ("x", format!("{longest}more"), 401),
        ("y", "secret".into(), 200),
        ("y", "secret\0asecret".into(), 401),
    ] {
        let path = format!("/api/{key}/listonlineuser");
        let answer = server.call_as(Some(("a", &password)), Method::GET, &path).await;
        assert_eq!(answer.status, status, "{password:?}");
    }
    assert_eq!(refused(&server, &x_with("auth_password", "a\0b")).await.status, 400);
    for key in [".", ".."] {
        assert_eq!(refused(&server, &x_with("app_key", key)).await.status, 400, "{key}");
    }
}

#[tokio::test]
async fn gu_039_a_connect_hook_is_an_absolute_web_address() {
    let server = Server::start().await;
    for hook in ["::bad", "ftp://x/", "/login", "localhost/login", "http://", "javascript:x"] {
        assert_eq!(refused(&server, &x_with("connect_hook", hook)).await.status, 400, "{hook}");
    }
    for (key, hook) in [("plain", "http://127.0.0.1:9/a?b=c"), ("tls", "https://example.com")] {
        server.register_hooked(key, hook).await;
    }
}

#[tokio::test]
async fn gu_040_a_list_of_no_apps() {
    let answer = Server::start().await.get("/api/app-list").await;
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    assert_eq!(answer.text, "{\"total\":0,\"data\":[]}\n");
}

#[tokio::test]
async fn gu_041_apps_are_listed_in_the_order_of_their_registration() {
    let server = Server::start().await;
    for key in ["c", "a", "d", "b"] {
        server.register(key).await;
    }
    server.unregister("a").await;
    server.register("a").await;
    assert_eq!(server.get("/api/app-list").await.json()["total"], 4);
    assert_eq!(keys(&server).await, ["c", "d", "b", "a"]);
}

#[tokio::test]
async fn gu_041_an_entry_has_the_registration_and_its_time() {
    let server = Server::start().await;
    let registered = server.post("/api/register", &x_with("connect_hook", "http://localhost/")).await.json();
    let list = server.get("/api/app-list").await.json();
    assert_eq!(members(&list), ["total", "data"]);
    let entry = &list["data"][0];
    let order =
        ["app_key", "auth_account", "auth_password", "connect_hook", "request_ip", "date", "timestamp"];
    assert_eq!(members(entry), [&order[..], &["app_id", "app_secret"]].concat());
    order[..5].iter().for_each(|name| assert_eq!(entry[name], registered[name]));
    let timestamp = entry["timestamp"].as_str().expect("a text");
    assert!(timestamp.len() == 13 && timestamp.bytes().all(|byte| byte.is_ascii_digit()), "{timestamp}");
}

#[tokio::test]
async fn gu_042_an_app_is_unregistered_once() {
    let server = Server::start().await;
    server.register("x").await;
    let answer = server.unregister("x").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "{\"message\":\"Scuess\"}\n"));
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    assert_plain(&server.unregister("x").await, 404, "app_key does not exist");
}

#[tokio::test]
async fn gu_043_with_its_app_a_socket_is_closed() {
    let server = Server::start().await;
    server.register("x").await;
    server.register("y").await;
    let mut gone = [server.connect("x", "a").await, server.connect("x", "b").await];
    let mut stays = server.connect("y", "a").await;
    server.unregister("x").await;
    for client in &mut gone {
        assert_eq!(client.closed().await, (4001, "app unregistered".to_owned()));
    }
    stays.settle().await;
}

#[tokio::test]
async fn gu_043_what_was_pushed_before_is_still_delivered() {
    let server = Server::start().await;
    server.register("x").await;
    let mut client = server.connect("x", "a").await;
    server.push("x", "last words").await;
    server.unregister("x").await;
    assert_eq!(client.text().await, "last words");
    assert_eq!(client.closed().await.0, 4001);
}

#[tokio::test]
async fn gu_044_a_key_that_is_registered_again_begins_without_users() {
    let server = Server::start().await;
    server.register("x").await;
    let mut former = server.connect("x", "a").await;
    server.unregister("x").await;
    server.register("x").await;
    assert!(server.online("x").await.is_empty());
    assert_eq!(server.push("x", "for the new ones").await.json()["sockets"], 0);
    assert_eq!(former.closed().await.0, 4001);
}

#[tokio::test]
async fn gu_045_a_path_names_the_methods_that_it_takes() {
    let server = Server::start().await;
    server.register("x").await;
    let known = [
        (Method::GET, "/api/register", "POST"),
        (Method::POST, "/api/app-list", "GET,HEAD"),
        (Method::GET, "/api/x/unregister", "DELETE"),
        (Method::PUT, "/api/push/x", "POST"),
        (Method::DELETE, "/api/x/listonlineuser", "GET,HEAD"),
    ];
    for (method, path, allowed) in known {
        let answer = server.call_as(Some(SUPER), method, path).await;
        assert_plain(&answer, 405, "Method Not Allowed");
        assert_eq!(answer.header("Allow"), allowed, "{path}");
    }
    let client = reqwest::Client::new();
    let answer = send(client.post(format!("http://{}/ws/x/a", server.public()))).await;
    assert_plain(&answer, 405, "Method Not Allowed");
    assert_eq!(answer.header("Allow"), "GET,HEAD");
}

#[tokio::test]
async fn gu_045_nothing_is_at_an_unknown_path() {
    let server = Server::start().await;
    server.register("x").await;
    for path in ["/", "/api", "/api/x", "/api/x/nothing", "/api/app-list/", "/api/push/x/", "/ws/x/a"] {
        assert_plain(&server.get(path).await, 404, "404 page not found");
    }
}

#[tokio::test]
async fn a_segment_is_neither_empty_nor_a_way_elsewhere() {
    let server = Server::start().await;
    server.register("x").await;
    let targets = [
        ("GET", "//api/app-list"),
        ("GET", "/api//app-list"),
        ("GET", "/api//listonlineuser"),
        ("GET", "/api/../listonlineuser"),
        ("GET", "/api/x/../app-list"),
        ("GET", "/api/%2e%2E/listonlineuser"),
        ("GET", "/api/x%2Fy/listonlineuser"),
        ("GET", "/api/%FF/listonlineuser"),
        ("DELETE", "/api//unregister"),
        ("POST", "/api/push//?content=hi"),
        ("POST", "/api/push/..?content=hi"),
    ];
    for (method, target) in targets {
        let answer = raw(&server, method, target).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
        assert!(answer.ends_with("\r\n\r\n404 page not found\n"), "{target}: {answer}");
    }
}

#[tokio::test]
async fn an_app_may_be_called_as_a_part_of_a_path() {
    let server = Server::start().await;
    for key in ["push", "register", "app-list", "unregister", "listonlineuser", "settings", "api"] {
        server.register(key).await;
        assert_eq!(server.push(key, "hi").await.json()["app_key"], key);
        assert_eq!(server.get(&format!("/api/{key}/listonlineuser")).await.json()["app_key"], key);
        assert_eq!(server.unregister(key).await.json()["message"], "Scuess", "{key}");
    }
}

#[tokio::test]
async fn json_members_that_are_no_texts_are_missing() {
    let server = Server::start().await;
    for value in [json!(7), json!(null), json!(""), json!(["x"])] {
        let body = json!({ "app_key": value, "auth_account": "a", "auth_password": "p" });
        assert_plain(&send(register(&server).json(&body)).await, 400, "app_key empty");
    }
}

#[tokio::test]
async fn a_body_of_another_kind_is_not_read() {
    let server = Server::start().await;
    let body = "app_key=x&auth_account=a&auth_password=p";
    for kind in ["text/plain", "application/octet-stream"] {
        let call = register(&server).header("Content-Type", kind).body(body);
        assert_plain(&send(call).await, 400, "app_key empty");
    }
    assert_eq!(send(register_by_query(&server, "x").body("app_key=body")).await.status, 200);
    assert_eq!(keys(&server).await, ["x"]);
}

#[tokio::test]
async fn a_body_has_a_longest_length() {
    let server = Server::with(&[("limits.body_bytes_max", "2000")]).await;
    server.register("x").await;
    let name = "content=".len();
    let answer = server.push("x", &"c".repeat(2000 - name)).await;
    assert_eq!(answer.json()["content"].as_str().map(str::len), Some(2000 - name));
    assert_plain(&server.push("x", &"c".repeat(2001 - name)).await, 413, "request body too large");
}

/// More than the kernel buffers between the two: a server that stopped reading would break the stream.
#[tokio::test]
async fn a_client_that_is_still_sending_learns_that_its_body_is_too_large() {
    let server = Server::start().await;
    server.register("x").await;
    let length = 2 * 10_485_760;
    let mut request = format!(
        "POST /api/push/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{AUTHORIZATION}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.resize(request.len() + length, b'c');
    let mut stream = TcpStream::connect(server.private()).await.unwrap();
    let answer = exchange(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nrequest body too large\n"), "{answer}");
}
