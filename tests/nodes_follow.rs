//! Real nodes on a real NATS server: whoever was told that it is subscribed misses nothing that is published anywhere
//! from then on.

mod support;

use serde_json::json;
use support::cluster::ClusterClient;
use support::fleet::Fleet;
use support::real_nodes::on_each_bus;
use support::soon;
use tokio_tungstenite::connect_async;

#[tokio::test]
async fn what_is_published_elsewhere_right_after_the_reply_is_not_missed() {
    on_each_bus(async |kind| {
        let fleet = Fleet::start(kind, 2, json!({ "webhooks": [] })).await;
        let mut client = fleet.connect(1).await;
        for number in 0..1_000 {
            // Each is followed by nobody before.
            let channel = format!("fresh-{number}");
            client.subscribe(&channel).await;
            assert!(fleet.publish(0, &channel, "e", json!(number)).await);
            let heard = soon("what was published", client.next()).await;
            assert_eq!((&heard["event"], &heard["channel"]), (&json!("e"), &json!(channel)));
            if number % 2 == 0 {
                client.leave(&channel).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_pushed_elsewhere_right_after_the_upgrade_is_not_missed() {
    on_each_bus(async |kind| {
        let fleet = Fleet::start(kind, 2, json!({ "webhooks": [] })).await;
        let token = support::cluster::token_for("key", "u", &["*"]);
        for number in 0..100 {
            // Each is the first of its node, as the one before is gone.
            let url = format!("ws://{}/v1/apps/key/ws?token={token}", fleet.public(1));
            let (socket, _) = soon("the upgrade", connect_async(url)).await.expect("it is admitted");
            let mut client = ClusterClient { client: support::Client { socket } };
            let body = json!({ "data": number });
            let answer = fleet.call(0, reqwest::Method::POST, "/v1/apps/key/users/u/messages", &body).await;
            assert_eq!(answer.status, 200);
            assert_eq!(client.next().await, json!(number));
            client.client.close().await;
            fleet.until_empty(1).await;
        }
    })
    .await;
}
