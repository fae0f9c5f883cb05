//! The JavaScript client of Gusher Cluster, gusher-js 1.2.5, by what it sends and what it makes of what it hears (spec 2.13).

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use support::cluster::{KEY_SETTING, publish, token};
use support::{Client, Server, soon};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// How many channels it puts into one request.
const GROUP: usize = 10;

/// The client of a page that has named its channels before it connects.
struct GusherJs {
    url: String,
    /// By channel: the events that its callbacks have seen.
    channels: BTreeMap<String, Vec<String>>,
    client: Client,
}

impl GusherJs {
    /// Connects, and asks for all channels in groups.
    async fn connect(address: SocketAddr, token: &str, channels: impl IntoIterator<Item = String>) -> Self {
        let url = format!("ws://{address}/v1/apps/app/ws?token={token}");
        let channels = channels.into_iter().map(|channel| (channel, Vec::new())).collect();
        let (socket, _) = connect_async(&url).await.expect("it is let in");
        let mut page = Self { url, channels, client: Client { socket } };
        page.ask().await;
        page
    }

    async fn ask(&mut self) {
        let names: Vec<String> = self.channels.keys().cloned().collect();
        for group in names.chunks(GROUP) {
            let message = json!({ "event": "gusher.multi_subscribe", "data": { "multi_channel": group } });
            self.client.send(Message::text(message.to_string())).await;
        }
    }

    /// With `reconnection: true`: tries again until somebody is there, then asks as at first.
    async fn reconnect(&mut self) {
        let socket = soon("it is let in again", async {
            loop {
                match connect_async(&self.url).await {
                    Ok((socket, _)) => break socket,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await;
        self.client = Client { socket };
        self.ask().await;
    }

    /// Hears one message: its event fires on the channel that it names, or on each of a list in its data.
    async fn hear(&mut self) {
        let message: Value = serde_json::from_str(&self.client.text().await).expect("JSON");
        let event = message["event"].as_str().expect("an event").to_owned();
        assert_ne!(event, "error", "it throws if nothing listens");
        let one = message["channel"].as_str().into_iter();
        let several = message["data"]["channel"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for channel in one.chain(several) {
            self.channels.entry(channel.to_owned()).or_default().push(event.clone());
        }
    }

    fn fired(&self, event: &str) -> usize {
        self.channels.values().flatten().filter(|fired| *fired == event).count()
    }
}

fn twelve() -> impl Iterator<Item = String> {
    (1..=12).map(|number| format!("a-channel-with-quite-a-long-name-{number:02}"))
}

async fn serve(listen: &str) -> Server {
    let server = Server::with(&[KEY_SETTING, ("listen", listen)]).await;
    server.register("app").await;
    server
}

#[tokio::test]
async fn gc_081_twelve_channels_are_two_requests_and_their_callbacks_fire() {
    let server = serve("127.0.0.1:0").await;
    let mut page = GusherJs::connect(server.public(), &token("u", &["*"]), twelve()).await;
    page.hear().await;
    assert_eq!(page.fired("gusher.multi_subscribe_succeeded"), 10);
    page.hear().await;
    assert!(page.channels.values().all(|events| *events == ["gusher.multi_subscribe_succeeded"]));
    publish(&server, &twelve().last().unwrap(), "hello", json!({ "a": 1 })).await;
    page.hear().await;
    assert_eq!(page.channels[&twelve().last().unwrap()].last().unwrap(), "hello");
}

#[tokio::test]
async fn gc_082_it_resubscribes_after_a_restart_of_the_server() {
    let server = serve("127.0.0.1:0").await;
    let address = server.public();
    let mut page = GusherJs::connect(address, &token("u", &["*"]), twelve()).await;
    page.hear().await;
    page.hear().await;
    server.stop().await;
    let server = serve(&address.to_string()).await;
    page.reconnect().await;
    page.hear().await;
    page.hear().await;
    publish(&server, &twelve().next().unwrap(), "again", json!(null)).await;
    page.hear().await;
    assert_eq!((page.channels.len(), page.fired("again")), (12, 1));
}
