//! Where a transcript is played: a real node, a backend that calls it, and clients that connect, each with a name.

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::script::Speech;
use crate::support::{self, Answer, Client, Server, soon};

/// What a marker begins with.
const MARKER: &str = "marker";

/// The headers that a transcript shows.
const SHOWN_HEADERS: [&str; 3] = ["WWW-Authenticate", "Allow", "Sec-WebSocket-Version"];

/// A node and who speaks with it.
pub struct Stage {
    server: Server,
    http: reqwest::Client,
    /// In the order in which they connected.
    clients: Vec<Named>,
    markers: usize,
}

/// A connected client.
struct Named {
    name: String,
    app: String,
    client: Client,
}

impl Stage {
    /// A new node; nobody is connected.
    pub async fn new() -> Self {
        let server = Server::start().await;
        Self { server, http: reqwest::Client::new(), clients: Vec::new(), markers: 0 }
    }

    /// Says something to the node. Returns the lines that anybody heard since.
    pub async fn perform(&mut self, speech: &Speech<'_>) -> Vec<String> {
        let mut heard = Vec::new();
        if speech.who.is_empty() {
            heard.extend(shown(&self.call(speech).await).into_iter().map(|line| format!("< {line}")));
        } else {
            for words in speech.words() {
                let answer = self.act(speech.who, words).await;
                heard.extend(answer.into_iter().map(|line| format!("{}< {line}", speech.who)));
            }
        }
        self.settle(&mut heard).await;
        heard
    }

    /// `METHOD PATH [as ACCOUNT:PASSWORD]`, then headers, then the body.
    async fn call(&self, speech: &Speech<'_>) -> Answer {
        let words: Vec<_> = speech.words().collect();
        let mut head = words[0].split(' ');
        let (method, path) = (head.next().unwrap_or_default(), head.next().unwrap_or_default());
        let listener = if path.starts_with("/ws") { self.server.public() } else { self.server.private() };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("http://{listener}{path}"));
        if let Some((account, password)) = head.nth(1).and_then(|credentials| credentials.split_once(':')) {
            request = request.basic_auth(account, Some(password));
        }
        let body_at = 1 + words[1..].iter().take_while(|line| header(line).is_some()).count();
        let (headers, body) = (&words[1..body_at], words[body_at..].join("\r\n"));
        if !body.is_empty() && headers.is_empty() {
            request = request.header("Content-Type", "application/x-www-form-urlencoded");
        }
        for (name, value) in headers.iter().filter_map(|line| header(line)) {
            request = request.header(name, value);
        }
        support::send(request.body(body)).await
    }

    /// One deed of a client, and what it is answered at once.
    async fn act(&mut self, name: &str, words: &str) -> Vec<String> {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        let message = match verb {
            "connect" => return self.connect(name, rest).await,
            "text" => Message::text(rest),
            "ping" => Message::Ping(rest.to_owned().into()),
            "bytes" => Message::binary(vec![0; rest.parse().unwrap()]),
            "close" => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                let code = code.parse::<u16>().unwrap().into();
                Message::Close(Some(CloseFrame { code, reason: reason.into() }))
            }
            _ => panic!("a client can connect, text, ping, bytes and close, but not {verb}"),
        };
        let speaker = self.clients.iter_mut().find(|client| client.name == name);
        speaker.unwrap_or_else(|| panic!("{name} is not connected")).client.send(message).await;
        Vec::new()
    }

    async fn connect(&mut self, name: &str, path: &str) -> Vec<String> {
        let app = path.split('/').nth(2).unwrap_or_default().to_owned();
        let url = format!("ws://{}{path}", self.server.public());
        match soon("the upgrade", connect_async(url)).await {
            Ok((socket, _)) => {
                self.clients.push(Named { name: name.to_owned(), app, client: Client { socket } });
                vec!["101".to_owned()]
            }
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                let text = String::from_utf8(body.unwrap_or_default()).unwrap();
                shown(&Answer { status: head.status, headers: head.headers, text })
            }
            Err(error) => panic!("no HTTP answer: {error}"),
        }
    }

    /// Adds all that the clients heard until now. A client has all of it when it has the answer to a ping, which
    /// comes behind the answers to what it sent, and a push of ours, which comes behind all earlier ones.
    async fn settle(&mut self, heard: &mut Vec<String>) {
        for mut client in std::mem::take(&mut self.clients) {
            self.markers += 1;
            let marker = format!("{MARKER} {}", self.markers);
            // Fails if the client has said goodbye; then it hears the node's and is done.
            let _ = client.client.socket.send(Message::Ping(marker.clone().into())).await;
            self.server.push(&client.app, &marker).await;
            if client.listen(&marker, heard).await {
                self.clients.push(client);
            }
        }
    }
}

impl Named {
    /// Adds what comes before both forms of `marker`, or before the end. Returns whether the socket is still open.
    async fn listen(&mut self, marker: &str, heard: &mut Vec<String>) -> bool {
        let mut is_missing = [true, true];
        while is_missing != [false, false] {
            let line = match soon(marker, self.client.socket.next()).await {
                Some(Ok(Message::Pong(payload))) if payload == marker => {
                    is_missing[0] = false;
                    continue;
                }
                Some(Ok(Message::Text(text))) if text.starts_with(MARKER) => {
                    is_missing[1] &= text != marker;
                    continue;
                }
                Some(Ok(Message::Text(text))) => format!("text {}", text.replace('\n', "\\n")),
                Some(Ok(Message::Pong(payload))) => format!("pong {}", String::from_utf8_lossy(&payload)),
                Some(Ok(Message::Close(Some(close)))) => format!("close {} {}", close.code, close.reason),
                Some(Ok(other)) => format!("{other:?}"),
                None | Some(Err(_)) => "end".to_owned(),
            };
            heard.push(format!("{}< {line}", self.name).trim_end().to_owned());
            if line == "end" {
                return false;
            }
        }
        true
    }
}

fn header(line: &str) -> Option<(&str, &str)> {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    line.split_once(": ").filter(|(name, _)| is_name(name))
}

fn shown(answer: &Answer) -> Vec<String> {
    let head = format!("{} {}", answer.status.as_u16(), answer.header("Content-Type"));
    let headers = SHOWN_HEADERS.iter().filter(|name| answer.headers.contains_key(**name));
    let headers = headers.map(|name| format!("{name}: {}", answer.header(name)));
    let body = answer.text.lines().map(str::to_owned);
    [head.trim_end().to_owned()].into_iter().chain(headers).chain(body).collect()
}
