//! A backend with a connect hook that answers by a script, remembers what it was asked, and can be held.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::soon;

/// One request, as the hook saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path, and the query if there is one.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Asked {
    /// A header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default())
    }
}

type Script = dyn Fn(&Asked) -> Response + Send + Sync;

struct Stage {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    /// One permit for each answer that may go out.
    gate: Semaphore,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
    abandoned: AtomicUsize,
}

/// A hook server on a free port. It ends with the test's runtime.
pub struct Hook {
    /// Where it listens.
    pub address: SocketAddr,
    stage: Arc<Stage>,
}

impl Hook {
    /// A hook that gives everybody the same answer at once.
    pub async fn answering(status: u16, body: &str) -> Self {
        let (status, body) = (StatusCode::from_u16(status).expect("a status"), body.to_owned());
        Self::scripted(move |_| (status, body.clone()).into_response()).await
    }

    /// A hook that answers at once what `script` says.
    pub async fn scripted(script: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let hook = Self::held(script).await;
        hook.release(Semaphore::MAX_PERMITS);
        hook
    }

    /// A hook that answers what `script` says, but only as often as it is [released](Hook::release).
    pub async fn held(script: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let stage = Arc::new(Stage {
            script: Box::new(script),
            asked: Mutex::default(),
            gate: Semaphore::new(0),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&stage));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, stage }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Lets so many more answers out.
    pub fn release(&self, answers: usize) {
        self.stage.gate.add_permits(answers);
    }

    /// All it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.stage.asked.lock().expect("no test panics under the lock").clone()
    }

    /// Waits until it was asked so often.
    pub async fn until_asked(&self, times: usize) {
        self.until("questions", || self.asked().len() >= times).await;
    }

    /// Waits until so many questions were taken back before they were answered.
    pub async fn until_abandoned(&self, times: usize) {
        self.until("cancelling", || self.stage.abandoned.load(Ordering::SeqCst) >= times).await;
    }

    /// How many questions it had before it at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.stage.most_at_once.load(Ordering::SeqCst)
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        soon(what, async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn answer(State(stage): State<Arc<Stage>>, request: Request) -> Response {
    let mut question = Question::begin(&stage);
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a short body");
    let asked = Asked {
        method: head.method,
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body: String::from_utf8(body.into()).expect("a form is text"),
    };
    stage.asked.lock().expect("no test panics under the lock").push(asked.clone());
    stage.gate.acquire().await.expect("the gate stays").forget();
    question.is_answered = true;
    (stage.script)(&asked)
}

/// A question under way; dropped before it is answered, it was abandoned.
struct Question<'a> {
    stage: &'a Stage,
    is_answered: bool,
}

impl<'a> Question<'a> {
    fn begin(stage: &'a Stage) -> Self {
        let under_way = stage.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        stage.most_at_once.fetch_max(under_way, Ordering::SeqCst);
        Self { stage, is_answered: false }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.stage.under_way.fetch_sub(1, Ordering::SeqCst);
        self.stage.abandoned.fetch_add(usize::from(!self.is_answered), Ordering::SeqCst);
    }
}

/// A request as its bytes came, and on which connection.
#[derive(Clone, Debug)]
pub struct RawAsked {
    /// Connections count from one, in the order in which they were accepted.
    pub connection: usize,
    /// The request line and the headers, letter by letter.
    pub head: Vec<String>,
}

impl RawAsked {
    /// The names of the headers in their case.
    pub fn names(&self) -> Vec<String> {
        let named = self.head.iter().skip(1).filter_map(|line| line.split_once(':'));
        named.map(|(name, _)| name.to_owned()).collect()
    }
}

/// A backend that sees bytes and connections, and keeps each connection open. It ends with the test's runtime.
pub struct RawHook {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<RawAsked>>>,
}

impl RawHook {
    /// Answers each connection with the status that `script` gives for its number.
    pub async fn start(script: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (asked, script) = (Arc::<Mutex<Vec<RawAsked>>>::default(), Arc::new(script));
        let notes = Arc::clone(&asked);
        tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.expect("it accepts");
                let (notes, script) = (Arc::clone(&notes), Arc::clone(&script));
                tokio::spawn(async move { serve_raw(stream, connection, &notes, &*script).await });
            }
        });
        Self { address, asked }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// All it was asked, once that is so often.
    pub async fn until_asked(&self, times: usize) -> Vec<RawAsked> {
        soon("questions", async {
            loop {
                let asked = self.asked.lock().expect("no test panics under the lock").clone();
                if asked.len() >= times {
                    return asked;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Serves one connection until the other side ends it.
async fn serve_raw(
    stream: TcpStream,
    connection: usize,
    asked: &Mutex<Vec<RawAsked>>,
    script: &(dyn Fn(usize) -> u16 + Send + Sync),
) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut body_bytes) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                body_bytes = length.trim().parse().expect("a length");
            }
            head.push(line);
        }
        if stream.read_exact(&mut vec![0; body_bytes]).await.is_err() {
            return;
        }
        asked.lock().expect("no test panics under the lock").push(RawAsked { connection, head });
        let answer = format!("HTTP/1.1 {} Said\r\nContent-Length: 0\r\n\r\n", script(connection));
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
