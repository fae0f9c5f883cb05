//! The console's calls, as its page makes them.

mod support;

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Method;
use reqwest::header::ACCEPT_ENCODING;
use serde_json::{Value, json};
use support::cluster::{self, ClusterClient};
use support::console::{Browser, error, serve, sign_in};
use support::pusher::{self, PusherClient};
use support::{ADMIN, SUPER, Server, send, soon};

#[tokio::test]
async fn the_page_may_load_nothing_but_its_own_files_and_is_asked_for_again() {
    let server = Server::start().await;
    let page = send(server.call(Method::GET, "/console")).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let tag = page.header("etag").to_owned();
    let again = send(server.call(Method::GET, "/console").header("if-none-match", &tag)).await;
    assert_eq!((again.status.as_u16(), &*again.text), (304, ""));
    assert_eq!(send(server.call(Method::GET, "/console/index.html")).await.header("etag"), tag);
    assert_eq!(send(server.call(Method::GET, "/console/../Cargo.toml")).await.status, 404);
    assert_eq!(send(server.call(Method::GET, "/console/none.js")).await.status, 404);
    assert_eq!(send(server.public_call(Method::GET, "/console")).await.status, 404, "not for everybody");
}

#[tokio::test]
async fn the_bare_address_leads_to_the_page() {
    let server = Server::start().await;
    for path in ["/", "/console/"] {
        let answer = send(server.call(Method::GET, path).header("Accept", "text/html,*/*;q=0.8")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        assert_eq!(send(server.call(Method::GET, path)).await.status, 404, "{path} is nothing to a program");
    }
    assert_eq!(send(server.public_call(Method::GET, "/")).await.status, 404, "not for everybody");
}

#[tokio::test]
async fn its_files_come_compressed_to_those_who_take_that() {
    let server = Server::start().await;
    let ask = async |accepted: &'static str| {
        let call = server.call(Method::GET, "/console/parts.css").header(ACCEPT_ENCODING, accepted);
        call.send().await.expect("an answer")
    };
    let (plain, packed) = (ask("identity").await, ask("br, gzip;q=0.5").await);
    for answer in [&plain, &packed] {
        assert_eq!(answer.headers()["vary"], "accept-encoding");
        assert_eq!(answer.headers()["content-type"], "text/css; charset=utf-8");
    }
    assert!(!plain.headers().contains_key("content-encoding"));
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_ne!(plain.headers()["etag"], packed.headers()["etag"]);
    let tag = packed.headers()["etag"].clone();
    let again = async |accepted: &'static str| {
        let call = server.call(Method::GET, "/console/parts.css").header(ACCEPT_ENCODING, accepted);
        send(call.header("if-none-match", &tag)).await.status
    };
    assert_eq!((again("gzip").await.as_u16(), again("gzip;q=0").await.as_u16()), (304, 200));
    let (plain, packed) = (plain.bytes().await.expect("a body"), packed.bytes().await.expect("a body"));
    let mut unpacked = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut unpacked).expect("it is sound");
    assert_eq!((unpacked == plain, packed.len() * 2 < plain.len()), (true, true));
}

#[tokio::test]
async fn there_is_no_console_where_it_is_switched_off() {
    let server = Server::with(&[("console.enabled", "false")]).await;
    assert_eq!(send(server.call(Method::GET, "/console")).await.status, 404);
    assert_eq!(sign_in(&server, SUPER, None).await.status, 404);
}

#[tokio::test]
async fn what_is_no_call_is_refused_like_one() {
    let server = serve().await;
    for path in ["", "/", "/nothing", "/apps/x/nothing", "/apps/x/channels/c/members/d", "//", "/%FF"] {
        let answer = send(server.call(Method::GET, &format!("/console/api{path}"))).await;
        assert_eq!(error(&answer), (404, "there is nothing at this path".into()), "{path}");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/session", "GET,HEAD,POST,DELETE"),
        (Method::POST, "/overview", "GET,HEAD"),
        (Method::GET, "/apps/x/events", "POST"),
        (Method::PUT, "/apps/x", "GET,HEAD,DELETE"),
    ] {
        let answer = send(server.call(method, &format!("/console/api{path}"))).await;
        assert_eq!(error(&answer), (405, "this method is not allowed here".into()), "{path}");
        assert_eq!((answer.header("allow"), answer.header("cache-control")), (allowed, "no-store"), "{path}");
    }
}

#[tokio::test]
async fn the_admin_of_an_app_reaches_that_app_alone() {
    let server = serve().await;
    let browser = Browser::sign_in(&server, ADMIN, Some("x")).await;
    let session = browser.get(&server, "/session").await.json();
    assert_eq!((&session["kind"], &session["app_key"]), (&json!("app"), &json!("x")));
    let apps = browser.get(&server, "/apps").await.json();
    assert_eq!((apps["apps"].as_array().map(Vec::len), &apps["apps"][0]["app_key"]), (Some(1), &json!("x")));
    let app = browser.get(&server, "/apps/x").await.json();
    assert_eq!((app["secret"].as_str().map(str::len), &app["settings"]), (Some(32), &Value::Null));
    for app in ["y", "unknown"] {
        let refused = browser.get(&server, &format!("/apps/{app}")).await;
        assert_eq!(error(&refused), (404, "there is no such app".into()), "{app}");
    }
    let denied = (403, "this is for the super admin".to_owned());
    assert_eq!(error(&browser.get(&server, "/overview").await), denied);
    let refused = [
        (Method::POST, "/apps"),
        (Method::PATCH, "/apps/x/settings"),
        (Method::POST, "/apps/x/rotate"),
        (Method::DELETE, "/apps/x/keys/k"),
    ];
    for (method, path) in refused {
        assert_eq!(error(&browser.send(&server, method, path, json!({})).await), denied, "{path}");
    }
    assert_eq!(browser.delete(&server, "/apps/y").await.status, 404);
    assert_eq!(browser.delete(&server, "/apps/x").await.status, 204, "its own it may unregister");
    assert_eq!(browser.get(&server, "/session").await.status, 401, "with the app the session is gone");
    server.register("x").await;
    assert_eq!(browser.get(&server, "/session").await.status, 401, "another app of that name is another");
}

#[tokio::test]
async fn the_overview_tells_how_the_node_fares() {
    let server = serve().await;
    let browser = Browser::super_admin(&server).await;
    let mut client = server.connect("x", "anna").await;
    server.push("x", "hello").await;
    assert_eq!(client.text().await, "hello");
    // A client may have read what the shard has not counted yet.
    let overview = soon("the count", async {
        loop {
            let overview = browser.get(&server, "/overview").await.json();
            if overview["delivered"] == 1 {
                return overview;
            }
        }
    })
    .await;
    assert_eq!((&overview["connections"]["gusher"], &overview["published"]), (&json!(1), &json!(1)));
    assert_eq!((&overview["other_nodes"], &overview["bus"]), (&json!(0), &Value::Null));
    assert!(overview["memory_bytes"].as_u64() > Some(1_000_000) && overview["bytes_out"].as_u64() > Some(5));
    assert!(overview["refusals"].as_array().is_some_and(|rows| rows.iter().any(|row| row[0] == "401")));
    assert_eq!(overview["webhooks"]["waiting"], 0);
}

#[tokio::test]
async fn an_app_is_made_changed_and_removed() {
    let server = Server::start().await;
    let browser = Browser::super_admin(&server).await;
    let wanted = json!({ "app_key": "shop", "account": "boss", "password": "of the shop" });
    let made = browser.send(&server, Method::POST, "/apps", wanted.clone()).await;
    assert_eq!((made.status.as_u16(), &made.json()["settings"]["enabled"]), (201, &json!(true)));
    let again = browser.send(&server, Method::POST, "/apps", wanted).await;
    assert_eq!(error(&again), (409, "there is an app with this key".into()));
    Browser::sign_in(&server, ("boss", "of the shop"), Some("shop")).await;
    let row = browser.get(&server, "/apps").await.json()["apps"][0].clone();
    assert_eq!(
        (&row["app_key"], &row["account"], &row["connections"]),
        (&json!("shop"), &json!("boss"), &json!(0))
    );
    let change = json!({ "max_connections": 7 });
    let changed = browser.send(&server, Method::PATCH, "/apps/shop/settings", change).await.json();
    assert_eq!(changed["max_connections"], 7);
    let refused =
        browser.send(&server, Method::PATCH, "/apps/shop/settings", json!({ "cache_ttl": 0 })).await;
    assert_eq!(error(&refused), (400, "cache_ttl is not between 1 and 604800".into()));
    assert_eq!(browser.delete(&server, "/apps/shop").await.status, 204);
    assert_eq!(browser.get(&server, "/apps/shop").await.status, 404);
}

#[tokio::test]
async fn a_rotated_key_signs_until_it_is_removed() {
    let server = serve().await;
    let browser = Browser::super_admin(&server).await;
    let pair = browser.send(&server, Method::POST, "/apps/x/rotate", json!({})).await.json();
    let key = pair["key"].as_str().expect("a key");
    let keys = async || browser.get(&server, "/apps/x").await.json()["settings"]["additional_keys"].clone();
    assert_eq!(keys().await, json!([pair]));
    assert_eq!(browser.delete(&server, &format!("/apps/x/keys/{key}")).await.status, 204);
    assert_eq!(keys().await, json!([]));
    assert_eq!(browser.delete(&server, &format!("/apps/x/keys/{key}")).await.status, 404);
}

#[tokio::test]
async fn an_app_shows_who_is_there() {
    let server = pusher::serve(json!({})).await;
    let browser = Browser::super_admin(&server).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("news").await;
    client.join_as("presence-room", json!({ "user_id": "anna", "user_info": { "age": 7 } })).await;
    let tagged = server.connect("key", "ben").await;
    let channels = browser.get(&server, "/apps/key/channels").await.json();
    let rows = json!([
        { "name": "news", "subscriptions": 1, "users": null },
        { "name": "presence-room", "subscriptions": 1, "users": 1 },
    ]);
    assert_eq!(channels, json!({ "total": 2, "channels": rows }));
    let first = browser.get(&server, "/apps/key/channels?limit=1&prefix=p").await.json();
    assert_eq!((&first["total"], &first["channels"][0]["name"]), (&json!(1), &json!("presence-room")));
    let members = browser.get(&server, "/apps/key/channels/presence-room/members").await.json();
    assert_eq!(members, json!({ "total": 1, "members": [{ "id": "anna", "info": { "age": 7 } }] }));
    let users = browser.get(&server, "/apps/key/users?prefix=b").await.json();
    assert_eq!(users, json!({ "total": 1, "users": [{ "user": "ben", "sockets": 1 }] }));
    let row = browser.get(&server, "/apps").await.json()["apps"][0].clone();
    assert_eq!((&row["connections"], &row["users"], &row["channels"]), (&json!(2), &json!(1), &json!(2)));
    assert_eq!(browser.get(&server, "/apps/key/users?limit=x").await.status, 400);
    tagged.close().await;
}

#[tokio::test]
async fn an_event_reaches_a_channel_in_the_form_of_each_dialect() {
    let server = cluster::serve().await;
    let browser = Browser::sign_in(&server, ADMIN, Some("app")).await;
    let mut cluster = ClusterClient::connect(&server, "anna", &["*"]).await;
    cluster.subscribe("news").await;
    let mut pusher = PusherClient::connect_to(&server, "/app/app?protocol=7").await;
    pusher.subscribe("news").await;
    let event = json!({ "target": "channel", "to": "news", "event": "e", "data": { "a": 1 } });
    let sent = browser.send(&server, Method::POST, "/apps/app/events", event).await;
    assert_eq!(
        (sent.status.as_u16(), sent.json()),
        (200, json!({ "reach": { "sockets": 2 } })),
        "{}",
        sent.text
    );
    assert_eq!(cluster.next().await["data"], json!({ "a": 1 }));
    assert_eq!(pusher.until("e").await["data"], json!(r#"{"a":1}"#));
}

#[tokio::test]
async fn an_event_reaches_users_by_whatever_makes_sockets_theirs() {
    let server = cluster::serve().await;
    let browser = Browser::super_admin(&server).await;
    let (mut anna, mut ben) = (server.connect("app", "anna").await, server.connect("app", "ben").await);
    let mut bearer = ClusterClient::connect(&server, "anna", &["*"]).await;
    bearer.subscribe("news").await;
    let send =
        async |event: Value| browser.send(&server, Method::POST, "/apps/app/events", event).await.json();
    let to_anna = json!({ "target": "user", "to": "anna", "event": "e", "data": "hello" });
    assert_eq!(send(to_anna).await["reach"]["sockets"], 2);
    assert_eq!((anna.text().await, bearer.next().await), ("hello".to_owned(), json!("hello")));
    let to_b = json!({ "target": "pattern", "to": "^b", "data": { "a": 1 } });
    assert_eq!(send(to_b).await, json!({ "reach": { "users": 1, "sockets": 1 } }));
    assert_eq!(ben.text().await, r#"{"a":1}"#);
    assert_eq!(send(json!({ "target": "everyone", "data": "all" })).await["reach"]["users"], 2);
    assert_eq!((anna.text().await, ben.text().await), ("all".to_owned(), "all".to_owned()));
    let nobody = json!({ "target": "user", "to": "nobody", "event": "e", "data": 1 });
    assert_eq!(send(nobody).await, json!({ "reach": { "sockets": 0 } }));
    assert!(send(json!({ "target": "pattern", "to": "(", "data": 1 })).await["error"].is_string());
}
