//! How the sockets of a node that stops are closed, on a node in one thread under a fake clock.

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use world::{Frame, Peer, SETTINGS, World};

const TICK: Duration = Duration::from_millis(250);

/// Everything that has come since the last time, of each.
fn heard(peers: &mut [Peer]) -> Vec<Vec<Frame>> {
    peers.iter_mut().map(Peer::frames).collect()
}

fn closed(heard: &[Vec<Frame>]) -> Vec<usize> {
    closed_with(1001, heard)
}

/// Whose last frame of these is a close with that code.
fn closed_with(code: u16, heard: &[Vec<Frame>]) -> Vec<usize> {
    let is_closed = |frames: &Vec<Frame>| frames.last() == Some(&Frame::Close(code));
    heard.iter().enumerate().filter(|(_, frames)| is_closed(frames)).map(|(index, _)| index).collect()
}

#[test]
fn many_sockets_are_closed_over_three_quarters_of_the_time_in_no_order() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..300).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.hub.drain(Duration::from_secs(1));
    world.settle();
    let mut shares = vec![closed(&heard(&mut peers))];
    for _ in 0..3 {
        world.pass(TICK);
        shares.push(closed(&heard(&mut peers)));
    }
    assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [75; 4]);
    let first = &shares[0];
    assert!(first.windows(2).any(|pair| pair[1] != pair[0] + 1), "by chance alone: {first:?}");
    drop(peers);
    world.pass(TICK);
    assert!(world.shards.iter().all(gusher::shard::Shard::is_over));
}

#[test]
fn few_sockets_are_closed_at_once_however_much_time_there_is() {
    let mut world = World::new(2, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..50).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.hub.drain(Duration::from_secs(3_600));
    world.settle();
    assert_eq!(closed(&heard(&mut peers)).len(), 50);
}

#[test]
fn pc_130_sockets_of_pusher_are_closed_with_4200_over_the_drain_period() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..300).map(|number| world.connect_pusher(&app, number).0).collect();
    heard(&mut peers);
    world.hub.drain(Duration::from_secs(1));
    world.settle();
    let mut shares = vec![closed_with(4200, &heard(&mut peers)).len()];
    for _ in 0..3 {
        world.pass(TICK);
        shares.push(closed_with(4200, &heard(&mut peers)).len());
    }
    assert_eq!(shares, [75; 4]);
}

#[test]
fn what_is_pushed_during_a_drain_reaches_all_who_are_still_there() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..100).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.hub.drain(Duration::from_secs(3));
    let mut owed: Vec<Vec<Frame>> = vec![Vec::new(); peers.len()];
    let mut got: Vec<Vec<Frame>> = vec![Vec::new(); peers.len()];
    for push in 0..6 {
        let text = format!("push {push}");
        // In the mailbox before the next share is due.
        let reach = world.push(&app, &text).unwrap();
        let still = peers.len() - got.iter().filter(|frames| frames.contains(&Frame::Close(1001))).count();
        assert_eq!(reach.sockets, still);
        for (owed, got) in owed.iter_mut().zip(&got) {
            if !got.contains(&Frame::Close(1001)) {
                owed.push(Frame::Text(text.clone()));
            }
        }
        world.pass(TICK);
        got.iter_mut().zip(heard(&mut peers)).for_each(|(all, new)| all.extend(new));
    }
    for (mut owed, got) in owed.into_iter().zip(got) {
        owed.push(Frame::Close(1001));
        assert_eq!(got, owed);
    }
}
