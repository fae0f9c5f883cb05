//! An authority that speaks ACME (RFC 8555) to one node at a time: it really connects to a listener to see whether a domain
//! is the node's (RFC 8737), and signs what is asked for. Who signs requests is not verified.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::tls::{Authority, PublicKey, trusting_everybody};

/// What comes before the point of a public key on P-256 in DER, the number of its bytes included.
const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// What comes before the digest in a certificate that answers a challenge: `id-pe-acmeIdentifier`, critical (RFC 8737
/// section 3).
const ACME_IDENTIFIER: &str = "06082b0601050507011f0101ff04220420";

/// Year of the beginning and of the end.
type Years = (i32, i32);

/// A running one. It ends with the test's runtime.
pub struct AcmeServer {
    /// Who signs what it issues, and its own certificate.
    pub authority: Arc<Authority>,
    address: SocketAddr,
    state: Arc<Desk>,
    _serving: JoinHandle<()>,
}

/// What all requests see.
struct Desk {
    base: String,
    authority: Arc<Authority>,
    listener: watch::Sender<Option<SocketAddr>>,
    book: Mutex<Book>,
}

/// What has been ordered so far.
#[derive(Default)]
struct Book {
    /// Of the key of the last account.
    thumbprint: String,
    orders: Vec<Order>,
    years: Option<Years>,
    refusal: Option<String>,
    /// The account is not known any more.
    is_forgotten: bool,
}

struct Order {
    domains: Vec<String>,
    /// What was found at each domain: nothing yet, nothing wrong, or a fault.
    found: Vec<Option<Result<(), String>>>,
    chain: Option<String>,
}

impl AcmeServer {
    /// One that looks nowhere yet, so its challenges wait.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let authority = Arc::new(Authority::new());
        let desk = Desk {
            base: format!("https://{address}"),
            authority: Arc::clone(&authority),
            listener: watch::Sender::new(None),
            book: Mutex::default(),
        };
        let state = Arc::new(desk);
        let acceptor = authority.acceptor();
        let routes = routes().with_state(Arc::clone(&state));
        let serving = tokio::spawn(serve(listener, acceptor, routes));
        Self { authority, address, state, _serving: serving }
    }

    /// The settings of a node that orders a certificate for `localhost` here and keeps it there.
    pub fn settings(&self, cache: &Path) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        vec![
            ("tls.acme.domains", "localhost".to_owned()),
            ("tls.acme.accept_terms", "true".to_owned()),
            ("tls.acme.directory", format!("https://{}/directory", self.address)),
            ("tls.acme.ca_file", text(&self.authority.ca_file())),
            ("tls.acme.cache", text(cache)),
        ]
    }

    /// Where port 443 of all domains leads.
    pub fn looks_at(&self, listener: SocketAddr) {
        self.state.listener.send_replace(Some(listener));
    }

    /// Its own listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From when until when the certificates are good that it issues from now on.
    pub fn issues_for(&self, years: Years) {
        self.state.book().years = Some(years);
    }

    /// Refuses orders from now on for this reason, or for none any more.
    pub fn refuses(&self, reason: Option<&str>) {
        self.state.book().refusal = reason.map(str::to_owned);
    }

    /// Forgets the account.
    pub fn forgets(&self) {
        self.state.book().is_forgotten = true;
    }

    /// How many certificates it has issued.
    pub fn issued(&self) -> usize {
        self.state.book().orders.iter().filter(|order| order.chain.is_some()).count()
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with it")
    }

    /// The parts of a request that count here: what is signed, and the key, if it comes with it.
    fn heard(body: &str) -> (Value, Value) {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let part = |name: &str| {
            let text = body[name].as_str().expect("a signed request");
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url");
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        (part("payload"), part("protected")["jwk"].clone())
    }

    fn order(&self, number: usize) -> Value {
        let book = self.book();
        let order = &book.orders[number];
        let is_proven = order.found.iter().all(|found| matches!(found, Some(Ok(()))));
        let status = match &order.chain {
            Some(_) => "valid",
            None if is_proven => "ready",
            None if order.found.iter().any(|found| matches!(found, Some(Err(_)))) => "invalid",
            None => "pending",
        };
        let names = order.domains.iter().map(|name| json!({ "type": "dns", "value": name }));
        let places = (0..order.domains.len()).map(|at| format!("{}/authorization/{number}/{at}", self.base));
        let mut told = json!({
            "status": status,
            "identifiers": names.collect::<Vec<_>>(),
            "authorizations": places.collect::<Vec<_>>(),
            "finalize": format!("{}/finalize/{number}", self.base),
        });
        if order.chain.is_some() {
            told["certificate"] = json!(format!("{}/certificate/{number}", self.base));
        }
        told
    }

    fn challenge(&self, number: usize, at: usize) -> Value {
        let book = self.book();
        let (status, error) = match &book.orders[number].found[at] {
            None => ("pending", None),
            Some(Ok(())) => ("valid", None),
            Some(Err(fault)) => ("invalid", Some(fault)),
        };
        let problem = |fault| json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": fault });
        json!({
            "type": "tls-alpn-01",
            "status": status,
            "url": format!("{}/challenge/{number}/{at}", self.base),
            "token": token(number, at),
            "error": error.map(problem),
        })
    }

    /// Looks at the listener, as soon as it is known where it is.
    async fn look(&self, number: usize, at: usize) {
        let (domain, thumbprint) = {
            let book = self.book();
            (book.orders[number].domains[at].clone(), book.thumbprint.clone())
        };
        let listener =
            *self.listener.subscribe().wait_for(Option::is_some).await.expect("the sender is there");
        let expected = Sha256::digest(format!("{}.{thumbprint}", token(number, at)));
        let found = validate(&domain, listener.expect("it is known"), &expected).await;
        self.book().orders[number].found[at] = Some(found);
    }

    /// Signs the key of a request for a certificate.
    fn sign(&self, number: usize, csr: &[u8]) {
        let spki = hex::decode(P256).expect("hex");
        let at =
            csr.windows(spki.len()).position(|bytes| bytes == spki).expect("a key on P-256") + spki.len();
        let key = PublicKey(csr[at..at + 65].to_vec());
        let mut book = self.book();
        let years = book.years.unwrap_or((1975, 4096));
        let chain = self.authority.sign(&book.orders[number].domains, &key, years);
        book.orders[number].chain = Some(chain);
    }
}

fn token(number: usize, at: usize) -> String {
    format!("token-{number}-{at}-of-this-test")
}

/// What an authority does that looks whether a domain is somebody's (RFC 8737 section 3).
async fn validate(domain: &str, listener: SocketAddr, expected: &[u8]) -> Result<(), String> {
    let mut config = trusting_everybody();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let stream = TcpStream::connect(listener).await.map_err(|error| error.to_string())?;
    let name = domain.to_owned().try_into().expect("a name");
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = shaken.map_err(|error| error.to_string())?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err("no acme-tls/1".to_owned());
    }
    let certificate = session.peer_certificates().expect("a certificate")[0].to_vec();
    let extension = [hex::decode(ACME_IDENTIFIER).expect("hex"), expected.to_vec()].concat();
    if !certificate.windows(extension.len()).any(|bytes| bytes == extension) {
        return Err("another digest".to_owned());
    }
    match stream.read_to_end(&mut Vec::new()).await {
        Ok(0) => Ok(()),
        other => Err(format!("something is said behind the handshake: {other:?}")),
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, routes: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, routes) = (acceptor.clone(), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), routes);
            // The node may hang up when it likes.
            let _ = served.await;
        });
    }
}

fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/directory", get(directory))
        .route("/nonce", get(|| async { told(StatusCode::OK, None, json!({})) }))
        .route("/account", post(account))
        .route("/order", post(order))
        .route(
            "/order/{number}",
            post(async |State(desk): State<Arc<Desk>>, Segment(number): Segment<usize>| {
                told(StatusCode::OK, None, desk.order(number))
            }),
        )
        .route("/authorization/{number}/{at}", post(authorization))
        .route("/challenge/{number}/{at}", post(challenge))
        .route("/finalize/{number}", post(finalize))
        .route("/certificate/{number}", post(certificate))
}

async fn directory(State(desk): State<Arc<Desk>>) -> Response {
    let base = &desk.base;
    let urls = json!({
        "newNonce": format!("{base}/nonce"),
        "newAccount": format!("{base}/account"),
        "newOrder": format!("{base}/order"),
        "revokeCert": format!("{base}/none"),
        "keyChange": format!("{base}/none"),
    });
    told(StatusCode::OK, None, urls)
}

async fn account(State(desk): State<Arc<Desk>>, body: String) -> Response {
    let (payload, key) = Desk::heard(&body);
    assert_eq!(payload["termsOfServiceAgreed"], true);
    let part = |name: &str| key[name].as_str().expect("a key on P-256").to_owned();
    let known = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, part("x"), part("y"));
    desk.book().is_forgotten = false;
    desk.book().thumbprint = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(known));
    told(StatusCode::CREATED, Some(format!("{}/account/1", desk.base)), json!({ "status": "valid" }))
}

async fn order(State(desk): State<Arc<Desk>>, body: String) -> Response {
    let (payload, _) = Desk::heard(&body);
    if let Some(reason) = desk.book().refusal.clone() {
        let problem = json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": reason });
        return told(StatusCode::TOO_MANY_REQUESTS, None, problem);
    }
    if desk.book().is_forgotten {
        let problem = json!({ "type": "urn:ietf:params:acme:error:accountDoesNotExist" });
        return told(StatusCode::BAD_REQUEST, None, problem);
    }
    let names = payload["identifiers"].as_array().expect("identifiers").iter();
    let domains: Vec<_> = names.map(|name| name["value"].as_str().expect("a name").to_owned()).collect();
    let number = {
        let mut book = desk.book();
        let found = vec![None; domains.len()];
        book.orders.push(Order { domains, found, chain: None });
        book.orders.len() - 1
    };
    told(StatusCode::CREATED, Some(format!("{}/order/{number}", desk.base)), desk.order(number))
}

async fn authorization(
    State(desk): State<Arc<Desk>>,
    Segment((number, at)): Segment<(usize, usize)>,
) -> Response {
    let challenge = desk.challenge(number, at);
    let domain = desk.book().orders[number].domains[at].clone();
    let authorization = json!({
        "status": challenge["status"],
        "identifier": { "type": "dns", "value": domain },
        "challenges": [challenge],
    });
    told(StatusCode::OK, None, authorization)
}

/// The node is not kept waiting: it asks until the authority has looked.
async fn challenge(
    State(desk): State<Arc<Desk>>,
    Segment((number, at)): Segment<(usize, usize)>,
) -> Response {
    let looking = Arc::clone(&desk);
    tokio::spawn(async move { looking.look(number, at).await });
    told(StatusCode::OK, None, desk.challenge(number, at))
}

async fn finalize(State(desk): State<Arc<Desk>>, Segment(number): Segment<usize>, body: String) -> Response {
    let csr = Desk::heard(&body).0["csr"].as_str().expect("a request for a certificate").to_owned();
    desk.sign(number, &BASE64_URL_SAFE_NO_PAD.decode(csr).expect("base64url"));
    told(StatusCode::OK, None, desk.order(number))
}

async fn certificate(State(desk): State<Arc<Desk>>, Segment(number): Segment<usize>) -> Response {
    desk.book().orders[number].chain.clone().expect("it is issued").into_response()
}

/// Each answer brings a nonce for the next request; whether it is used once is not looked at.
fn told(status: StatusCode, location: Option<String>, body: Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("replay-nonce"), HeaderValue::from_static("nonce"));
    if let Some(location) = location {
        headers.insert("location", location.parse().expect("a URL"));
    }
    (status, headers, body.to_string()).into_response()
}
