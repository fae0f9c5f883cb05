//! A browser at the console, which makes the calls of its page.

use reqwest::header::{CONTENT_TYPE, COOKIE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Answer, SUPER, Server, send, soon};

/// A node with the apps `x` and `y`.
pub async fn serve() -> Server {
    let server = Server::start().await;
    server.register("x").await;
    server.register("y").await;
    server
}

/// A browser that is signed in.
pub struct Browser {
    /// What it shows of itself, name and word.
    pub cookie: String,
    /// What the page shows besides.
    pub csrf: String,
}

impl Browser {
    /// Signs in, as the super admin without an app.
    pub async fn sign_in(server: &Server, who: (&str, &str), app: Option<&str>) -> Self {
        let answer = sign_in(server, who, app).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.header("set-cookie").split(';').next().expect("a cookie").to_owned();
        Self { cookie, csrf: answer.json()["csrf"].as_str().expect("a token").to_owned() }
    }

    /// Signs in as the super admin.
    pub async fn super_admin(server: &Server) -> Self {
        Self::sign_in(server, SUPER, None).await
    }

    /// A call as the page makes it.
    pub fn call(&self, server: &Server, method: Method, path: &str) -> RequestBuilder {
        let call = server.call(method, &format!("/console/api{path}"));
        call.header(COOKIE, &self.cookie).header("X-CSRF-Token", &self.csrf)
    }

    /// Asks for something.
    pub async fn get(&self, server: &Server, path: &str) -> Answer {
        send(self.call(server, Method::GET, path)).await
    }

    /// Sends something.
    pub async fn send(&self, server: &Server, method: Method, path: &str, body: Value) -> Answer {
        send(self.call(server, method, path).body(body.to_string())).await
    }

    /// Has something removed.
    pub async fn delete(&self, server: &Server, path: &str) -> Answer {
        send(self.call(server, Method::DELETE, path)).await
    }
}

/// Tries to sign in.
pub async fn sign_in(server: &Server, (account, password): (&str, &str), app: Option<&str>) -> Answer {
    let body = json!({ "account": account, "password": password, "app_key": app });
    let call = server.call(Method::POST, "/console/api/session").header(CONTENT_TYPE, "application/json");
    send(call.body(body.to_string())).await
}

/// What an answer gives as its reason.
pub fn error(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// A feed that is watched.
pub struct Feed {
    /// How many other nodes there are, as it was told first.
    pub others: Value,
    response: Response,
    text: String,
}

impl Feed {
    /// Begins to watch an app; returns when what happens next is shown.
    pub async fn watch(server: &Server, browser: &Browser, app: &str) -> Self {
        let call = browser.call(server, Method::GET, &format!("/apps/{app}/feed"));
        let response = soon("an answer", call.send()).await.expect("an HTTP answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut feed = Self { others: Value::Null, response, text: String::new() };
        let (name, nodes) = feed.next().await.expect("the feed goes on");
        assert_eq!(name, "nodes");
        feed.others = nodes["others"].clone();
        feed
    }

    /// The next event: its name, and its data. None when the feed is over.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some((name, data)) = event.split_once("\ndata: ") {
                    let name = name.strip_prefix("event: ").expect("a name").to_owned();
                    return Some((name, serde_json::from_str(data).expect("JSON")));
                }
            }
            let chunk = soon("the feed", self.response.chunk()).await.expect("the feed is sound")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// The next item, without its time.
    pub async fn item(&mut self) -> Value {
        let (name, mut item) = self.next().await.expect("the feed goes on");
        assert_eq!(name, "item", "{item}");
        let members = item.as_object_mut().expect("an object");
        assert!(members.remove("time_ms").and_then(|time| time.as_i64()) > Some(1_700_000_000_000));
        item
    }

    /// Waits for the end.
    pub async fn ended(&mut self) {
        assert_eq!(self.next().await, Some(("ended".to_owned(), json!({}))));
        assert_eq!(self.next().await, None);
    }
}
