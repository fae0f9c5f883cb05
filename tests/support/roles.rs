//! The roles of Gusher Cluster as processes of the test: `gusher slave` and `gusher master` on free ports.

use std::net::SocketAddr;

use reqwest::{Client as Http, Method};
use rustix::process::Signal;
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite;

use super::cluster::{ClusterClient, PUBLIC_KEY_FILE};
use super::process::{Directory, Outcome, Process};
use super::servers::BusServer;
use super::{Answer, Client, send, soon};

/// What backends show to a master of the tests.
pub const MASTER_TOKEN: &str = "Xmaster-token";

/// A role that serves.
pub struct Role {
    /// The process itself.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it printed when it was about to serve.
    pub banner: String,
}

/// Variables of a role.
pub type Variables<'a> = Vec<(&'static str, &'a str)>;

/// The variables that a slave needs, where NATS is at `url`.
pub fn slave_variables(url: &str) -> Variables<'_> {
    vec![
        ("GUSHER_NATS_ADDR", url),
        ("GUSHER_PUBLIC_PEM_FILE", PUBLIC_KEY_FILE),
        ("GUSHER_API_LISTEN", "127.0.0.1:0"),
    ]
}

/// The variables that a master needs, and the key.
pub fn master_variables(url: &str) -> Variables<'_> {
    vec![
        ("GUSHER_NATS_ADDR", url),
        ("GUSHER_PUBLIC_PEM_FILE", PUBLIC_KEY_FILE),
        ("GUSHER_MASTER_API_LISTEN", "127.0.0.1:0"),
        ("GUSHER_MASTER_TOKEN", MASTER_TOKEN),
    ]
}

impl Role {
    /// Starts a role with these words and variables, of which later ones win, and waits until it serves.
    pub fn start(directory: &Directory, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Process::start(directory.gusher(words).envs(variables.iter().copied()));
        let banner = process.prints("role");
        let listen = match serde_json::from_str::<Value>(&banner) {
            Ok(line) => line["listen"].as_str().expect("an address").to_owned(),
            Err(_) => {
                let words: Vec<&str> = banner.split(' ').collect();
                let address = words.iter().find_map(|word| word.strip_prefix("listen="));
                address.unwrap_or_else(|| panic!("no address in {banner}")).trim_matches('"').to_owned()
            }
        };
        let address: SocketAddr = listen.parse().unwrap_or_else(|error| panic!("{error}: {banner}"));
        Self { process, address, banner }
    }

    /// A slave with some variables added or replaced.
    pub fn slave(directory: &Directory, nats: &BusServer, more: &[(&'static str, &str)]) -> Self {
        let url = nats.url();
        Self::start(directory, &["slave"], &[&slave_variables(&url), more].concat())
    }

    /// A master with some variables added or replaced.
    pub fn master(directory: &Directory, nats: &BusServer, more: &[(&'static str, &str)]) -> Self {
        let url = nats.url();
        Self::start(directory, &["master"], &[&master_variables(&url), more].concat())
    }

    /// A call without credentials, to be completed and sent.
    pub fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        // One that listens everywhere is here, too.
        let host = Some(self.address.ip()).filter(|ip| !ip.is_unspecified()).unwrap_or([127, 0, 0, 1].into());
        let address = SocketAddr::new(host, self.address.port());
        Http::new().request(method, format!("http://{address}{path}"))
    }

    /// Asks as anybody.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.call(Method::GET, path)).await
    }

    /// Asks as a backend.
    pub async fn ask(&self, path: &str) -> Value {
        let answer = send(self.call(Method::GET, path).bearer_auth(MASTER_TOKEN)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// Posts as a backend.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.call(Method::POST, path).bearer_auth(MASTER_TOKEN).body(body.to_string())).await
    }

    /// Connects to an app with a token, or says how that was refused.
    pub async fn connect(&self, app: &str, token: &str) -> Result<ClusterClient, (u16, String)> {
        let url = format!("ws://{}/v1/apps/{app}/ws?token={token}", self.address);
        match soon("the upgrade", connect_async(url)).await {
            Ok((socket, _)) => Ok(ClusterClient { client: Client { socket } }),
            Err(tungstenite::Error::Http(response)) => {
                let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Err((response.status().as_u16(), text.into_owned()))
            }
            Err(error) => panic!("no HTTP answer: {error}"),
        }
    }

    /// Asks it to stop as a service supervisor does.
    pub fn stop(self) -> Outcome {
        self.process.signal(Signal::TERM);
        self.process.ended()
    }
}
