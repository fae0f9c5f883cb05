//! A real node on free ports, and clients that speak to it as backends and browsers do.
//!
//! Every wait has a generous time-out that only a failure meets; nothing here sleeps to be right.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod bus_node;
pub mod certificates;
pub mod cluster;
pub mod console;
pub mod fleet;
pub mod hook;
pub mod log;
pub mod openapi;
pub mod postgres;
pub mod process;
pub mod proxied;
pub mod pusher;
pub mod raw;
pub mod real_nodes;
pub mod roles;
pub mod servers;
pub mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gusher::config::read::{self, Overlay};
use gusher::node::Node;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config, connect_async_tls_with_config,
};

use tls::Authority;

/// The super admin of every test node.
pub const SUPER: (&str, &str) = ("account", "password");

/// The admin that [`Server::register`] gives an app.
pub const ADMIN: (&str, &str) = ("admin", "secret");

/// When a wait has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for what must come.
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// A node in this process, with its database in memory. It ends with the test's runtime; [`Server::stop`] ends it
/// as a signal would.
pub struct Server {
    /// The running node.
    pub node: Node,
    /// Who has issued its certificate, if both listeners speak TLS.
    pub authority: Option<Authority>,
    http: reqwest::Client,
}

impl Server {
    /// A node with the settings of a trial run.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A node with some settings changed, such as `("limits.outbox_bytes_max", "1000")`; all over TLS if `TEST_TLS` is in
    /// the environment.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        match std::env::var_os("TEST_TLS") {
            Some(_) => Self::secure(settings).await,
            None => Self::plain(settings).await,
        }
    }

    /// The same without TLS, whatever the environment says.
    pub async fn plain(settings: &[(&str, &str)]) -> Self {
        Self { node: node(settings).await, authority: None, http: reqwest::Client::new() }
    }

    /// The same, with TLS on both listeners. All that a test does by way of this is done over TLS.
    pub async fn secure(settings: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let tls = authority.settings();
        let tls = tls.iter().map(|(key, value)| (*key, value.as_str())).chain([("tls.private", "true")]);
        let settings: Vec<_> = tls.chain(settings.iter().copied()).collect();
        let root = reqwest::Certificate::from_pem(authority.root_pem().as_bytes()).expect("a root");
        let http = reqwest::Client::builder().tls_certs_only([root]).build().expect("a client");
        Self { node: node(&settings).await, authority: Some(authority), http }
    }

    /// A URL of a listener: `scheme` is `http` or `ws`, to which TLS adds its letter.
    pub fn url(&self, scheme: &str, address: SocketAddr, path: &str) -> String {
        let s = if self.authority.is_some() { "s" } else { "" };
        format!("{scheme}{s}://{address}{path}")
    }

    /// Opens a WebSocket.
    pub async fn open(
        &self,
        request: impl IntoClientRequest + Unpin,
    ) -> Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, Response), tungstenite::Error> {
        let opened = connect_async_tls_with_config(request, None, false, Some(self.connector()));
        soon("the upgrade", opened).await
    }

    fn connector(&self) -> Connector {
        self.authority.as_ref().map_or(Connector::Plain, Authority::connector)
    }

    /// Stops the node the way a signal does, and waits for its end.
    pub async fn stop(self) {
        soon("the node stops", self.node.stop()).await;
    }

    /// The public listener.
    pub fn public(&self) -> SocketAddr {
        self.node.public.expect("it has a public listener")
    }

    /// The private listener.
    pub fn private(&self) -> SocketAddr {
        self.node.private.expect("it has a private listener")
    }

    /// A call of the private API, to be completed and sent.
    pub fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url("http", self.private(), path))
    }

    /// A call on the public listener, likewise.
    pub fn public_call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url("http", self.public(), path))
    }

    /// A call as the super admin without parameters.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.call(Method::GET, path).basic_auth(SUPER.0, Some(SUPER.1))).await
    }

    /// A form call as the super admin.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        send(self.call(Method::POST, path).basic_auth(SUPER.0, Some(SUPER.1)).form(fields)).await
    }

    /// Registers an app without a connect hook, administered by [`ADMIN`].
    pub async fn register(&self, app: &str) {
        self.register_hooked(app, "").await;
    }

    /// Registers an app whose connects are checked by `hook`.
    pub async fn register_hooked(&self, app: &str, hook: &str) {
        let fields =
            [("app_key", app), ("auth_account", ADMIN.0), ("auth_password", ADMIN.1), ("connect_hook", hook)];
        let answer = self.post("/api/register", &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }

    /// Unregisters an app as the super admin.
    pub async fn unregister(&self, app: &str) -> Answer {
        let path = format!("/api/{app}/unregister");
        send(self.call(Method::DELETE, &path).basic_auth(SUPER.0, Some(SUPER.1))).await
    }

    /// A call as somebody, or as nobody, with its parameters in the query.
    pub async fn call_as(&self, who: Option<(&str, &str)>, method: Method, path: &str) -> Answer {
        let call = self.call(method, path);
        send(match who {
            Some((account, password)) => call.basic_auth(account, Some(password)),
            None => call,
        })
        .await
    }

    /// Pushes to everyone in an app.
    pub async fn push(&self, app: &str, content: &str) -> Answer {
        self.post(&format!("/api/push/{app}"), &[("content", content)]).await
    }

    /// Pushes to the users of an app whose tags match.
    pub async fn push_to(&self, app: &str, pattern: &str, content: &str) -> Answer {
        self.post(&format!("/api/push/{app}"), &[("content", content), ("user_tag", pattern)]).await
    }

    /// The tags that are online in an app.
    pub async fn online(&self, app: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/{app}/listonlineuser")).await;
        let mut tags: Vec<String> =
            answer.json()["user_tags"].as_object().expect("an object").keys().cloned().collect();
        tags.sort();
        tags
    }

    /// Waits until exactly these tags are online.
    pub async fn until_online(&self, app: &str, tags: &[&str]) {
        soon(&format!("{tags:?} online in {app}"), async {
            while self.online(app).await != tags {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The address of a user's socket.
    pub fn socket_url(&self, app: &str, tag: &str) -> String {
        self.url("ws", self.public(), &format!("/ws/{app}/{tag}"))
    }

    /// Connects as a user.
    pub async fn connect(&self, app: &str, tag: &str) -> Client {
        self.try_connect(app, tag).await.unwrap_or_else(|(status, text)| panic!("refused: {status} {text}"))
    }

    /// Connects as a user, or says how that was refused. `tag` may carry a query.
    pub async fn try_connect(&self, app: &str, tag: &str) -> Result<Client, (u16, String)> {
        match self.open(self.socket_url(app, tag)).await {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tungstenite::Error::Http(response)) => {
                let text =
                    response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                Err((response.status().as_u16(), text))
            }
            Err(error) => panic!("no HTTP answer: {error}"),
        }
    }

    /// The sum of a counter over all shards.
    pub fn count(&self, counter: fn(&gusher::metrics::ShardMetrics) -> u64) -> u64 {
        self.node.shard_metrics().iter().map(|shard| counter(shard)).sum()
    }
}

async fn node(settings: &[(&str, &str)]) -> Node {
    let mut flags = Overlay::default();
    // Several shards on every machine; hashing at the cost of production is another matter's test.
    let usual = [
        ("listen", "127.0.0.1:0"),
        ("api_listen", "127.0.0.1:0"),
        ("node.shards", "2"),
        ("node.bcrypt_cost", "4"),
    ];
    let send = std::env::var("TEST_SEND").unwrap_or_else(|_| "auto".to_owned());
    usual
        .iter()
        .chain(&[("node.send", &*send)])
        .chain(settings)
        .for_each(|(key, value)| flags.set(key, *value));
    let config = read::dev([], &flags).expect("the settings are valid");
    Node::start(&config, None).await.expect("the node starts")
}

/// What a call was answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// A header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default())
    }
}

/// Sends a call, and holds the answer to the description of all calls.
pub async fn send(call: reqwest::RequestBuilder) -> Answer {
    let (client, request) = call.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = soon("an answer", client.execute(request)).await.expect("an HTTP answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = soon("a body", response.text()).await.expect("a body");
    openapi::check(&method, &path, status, &text);
    Answer { status, headers, text }
}

/// Sends a request as it is written, which no HTTP library would, and reads all that comes until the server closes.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    let mut answer = Vec::new();
    soon("the exchange", async {
        stream.write_all(request).await.expect("the server reads on");
        stream.read_to_end(&mut answer).await.expect("the server closes in order");
    })
    .await;
    String::from_utf8(answer).expect("an answer in UTF-8")
}

/// A WebSocket client, another implementation than ours.
pub struct Client {
    /// The socket itself.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// The next frame of any kind.
    pub async fn next(&mut self) -> Message {
        soon("a frame", self.socket.next()).await.expect("the socket is open").expect("the stream is sound")
    }

    /// The next text; pings are answered by the way.
    pub async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) => {}
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    /// The texts that come before `last`: pushes arrive in order, so after `last` nothing older can follow.
    pub async fn texts_before(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.text().await {
                text if text == last => return texts,
                text => texts.push(text),
            }
        }
    }

    /// The next close frame, which must be the next thing that comes.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.next().await {
            Message::Close(Some(CloseFrame { code, reason })) => (code.into(), reason.to_string()),
            other => panic!("expected a close, got {other:?}"),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, message: Message) {
        soon("sending", self.socket.send(message)).await.expect("the stream takes it");
    }

    /// Makes sure that the server has dealt with all that was sent, and that it sent nothing but the answer to
    /// this ping.
    pub async fn settle(&mut self) {
        self.send(Message::Ping("settle".into())).await;
        assert_eq!(self.next().await, Message::Pong("settle".into()));
    }

    /// Closes the socket and waits for the server's part.
    pub async fn close(mut self) {
        soon("closing", self.socket.close(None)).await.expect("the stream takes it");
        while let Some(Ok(_)) = soon("the server's close", self.socket.next()).await {}
    }
}

impl Server {
    /// Makes sure that a newcomer is admitted, pushed to and listed: whatever came before did no harm.
    pub async fn still_serves(&self) {
        self.register("healthy").await;
        let mut client = self.connect("healthy", "newcomer").await;
        assert_eq!(self.push("healthy", "still here").await.json()["sockets"], 1);
        assert_eq!(client.text().await, "still here");
        client.close().await;
        self.until_online("healthy", &[]).await;
        assert_eq!(self.unregister("healthy").await.status, StatusCode::OK);
    }
}

impl Client {
    /// Connects with a small receive buffer, so that the server notices soon when it does not read.
    pub async fn connect_narrow(server: &Server, app: &str, tag: &str) -> Self {
        let narrow = TcpSocket::new_v4().expect("a descriptor");
        narrow.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = narrow.connect(server.public()).await.expect("the listener accepts");
        let (url, connector) = (server.socket_url(app, tag), Some(server.connector()));
        let upgrade = client_async_tls_with_config(url, stream, None, connector);
        let (socket, _) = soon("the upgrade", upgrade).await.expect("it is admitted");
        Self { socket }
    }
}
