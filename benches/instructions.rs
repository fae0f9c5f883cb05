//! Pushes to 200 sockets on one shard, so many as its argument says, for a tool that counts instructions:
//! `cargo xtask instructions`. It counts what happens in `Shard::work`, and takes the difference of two runs.

#[path = "../tests/support/world.rs"]
mod world;

use world::{Peer, SETTINGS, World};

const SOCKETS: usize = 200;

fn main() {
    // `cargo bench` and `cargo test` hand over flags of their own: then one push shows that it works.
    let pushes = std::env::args().nth(1).and_then(|pushes| pushes.parse().ok()).unwrap_or(1);
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> =
        (0..SOCKETS).map(|number| world.connect(&app, &format!("user-{number}"))).collect();
    for _ in 0..pushes {
        world.push(&app, "hello").expect("the mailbox has room");
        world.settle();
        let arrived: usize = peers.iter_mut().map(|peer| peer.texts().len()).sum();
        assert_eq!(arrived, SOCKETS);
    }
}
