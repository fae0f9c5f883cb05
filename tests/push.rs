//! What a backend pushes arrives where it should, as it was, in order, and nowhere else.

mod support;

use support::Server;

#[tokio::test]
async fn gu_046_a_push_without_a_tag_reaches_every_socket() {
    let server = Server::start().await;
    server.register("x").await;
    let mut clients = Vec::new();
    for tag in ["a", "b", "c"] {
        clients.push(server.connect("x", tag).await);
    }
    server.push("x", "hello").await;
    for client in &mut clients {
        assert_eq!(client.text().await, "hello");
        client.settle().await;
    }
}
