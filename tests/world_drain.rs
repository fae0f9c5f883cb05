//! How the sockets of a node that stops are closed, on a node in one thread under a fake clock.

#[path = "support/world.rs"]
mod world;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gusher::dialect::signature::hmac_hex;
use gusher::hub::Message;
use gusher::model::pattern::{Pattern, PatternLimits};
use gusher::model::{ChannelName, Parting, Publication, Target, ValueEvent};
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
fn all_sockets_of_a_node_that_restarts_are_closed_at_once_and_hardly_waited_for() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..300).map(|number| world.connect_pusher(&app, number).0).collect();
    peers.extend((0..300).map(|number| world.connect(&app, &format!("u{number}"))));
    heard(&mut peers);
    world.hub.drain_to_restart();
    world.settle();
    let heard = heard(&mut peers);
    assert_eq!((closed_with(4100, &heard).len(), closed_with(1001, &heard).len()), (300, 300));
    // None of them answers.
    world.pass(2 * TICK);
    assert!(world.shards.iter().all(gusher::shard::Shard::is_over));
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

/// Publishes to `target` again and again from another thread while all sockets are closed. Each publication reaches as many
/// as it was counted for; more, if some had left and were not closed yet.
fn all_who_are_counted_are_reached(world: &mut World, app: &str, target: &Target, mut peers: Vec<Peer>) {
    let app = world.hub.app(app).unwrap();
    heard(&mut peers);
    let (hub, turns, dice) = (world.hub.clone(), AtomicU64::new(0), RandomState::new());
    world.hub.drain(Duration::ZERO);
    let counted = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut counted = Vec::new();
            loop {
                // Once in a turn, somewhere in it.
                let turn = turns.load(Ordering::Acquire);
                let (begun, wait) = (Instant::now(), Duration::from_micros(dice.hash_one(turn) % 200));
                while begun.elapsed() < wait {}
                let data = counted.len().to_string().into();
                let publication =
                    Publication { target: target.clone(), event: "e".into(), data, except: None };
                match hub.publish(&app, &publication).unwrap().sockets {
                    0 => return counted,
                    sockets => counted.push(sockets),
                }
                while turns.load(Ordering::Acquire) == turn {
                    thread::yield_now();
                }
            }
        });
        while !publisher.is_finished() {
            world.turn();
            turns.fetch_add(1, Ordering::Release);
        }
        publisher.join().unwrap()
    });
    world.settle();
    let mut reached = vec![0; counted.len()];
    for mut frames in heard(&mut peers) {
        assert!(matches!(frames.pop(), Some(Frame::Close(1001 | 4200))), "it ends with a close frame");
        reached.iter_mut().take(frames.len()).for_each(|reached| *reached += 1);
    }
    assert!(
        counted.iter().zip(&reached).all(|(counted, reached)| counted <= reached),
        "{counted:?} {reached:?}"
    );
}

#[test]
fn whoever_a_publication_was_counted_for_gets_it_before_the_close_frame() {
    for _ in 0..10 {
        let mut world = World::new(1, SETTINGS);
        let app = world.register("x");
        let peers = (0..300).map(|number| world.connect(&app, &format!("u{number}"))).collect();
        all_who_are_counted_are_reached(&mut world, "x", &Target::Everyone, peers);
    }
}

#[test]
fn whoever_is_counted_in_a_channel_gets_what_is_published_there_before_the_close_frame() {
    for _ in 0..10 {
        let mut world = World::new(1, SETTINGS);
        let app = world.register("x");
        let mut peers: Vec<_> = (0..300).map(|number| world.connect_pusher(&app, number).0).collect();
        peers.iter_mut().for_each(|peer| {
            peer.send(1, br#"{"event":"pusher:subscribe","data":{"channel":"c"}}"#);
        });
        world.settle();
        let target = Target::Channels(vec![ChannelName::parse("c").unwrap()]);
        all_who_are_counted_are_reached(&mut world, "x", &target, peers);
    }
}

#[test]
fn those_who_stay_hear_who_has_left_and_those_who_leave_do_not() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..60).map(|number| world.connect_pusher(&app, number).0).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        let data = format!(r#"{{"user_id":"u{number}"}}"#);
        let auth = format!("x:{}", hmac_hex("", &format!("1.{number}:presence-c:{data}")));
        let data = serde_json::json!({ "channel": "presence-c", "auth": auth, "channel_data": data });
        peer.send(1, serde_json::json!({ "event": "pusher:subscribe", "data": data }).to_string().as_bytes());
    }
    world.settle();
    heard(&mut peers);
    world.hub.drain(Duration::from_secs(1));
    world.settle();
    let heard = heard(&mut peers);
    let gone = closed_with(4200, &heard);
    assert_eq!(gone.len(), 25);
    for (index, frames) in heard.iter().enumerate() {
        let removed = |frame: &&Frame| matches!(frame, Frame::Text(text) if text.contains("member_removed"));
        let expected = if gone.contains(&index) { 0 } else { gone.len() };
        assert_eq!(frames.iter().filter(removed).count(), expected);
    }
}

#[test]
fn what_is_published_in_either_form_reaches_those_who_have_not_been_closed_yet() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..50).map(|number| world.connect_pusher(&app, number).0).collect();
    let subscribe =
        serde_json::json!({ "event": "pusher:subscribe", "data": { "channel": "c" } }).to_string();
    peers.iter_mut().for_each(|peer| peer.send(1, subscribe.as_bytes()));
    world.settle();
    heard(&mut peers);
    world.hub.drain(Duration::from_secs(1));
    // Some have left the hub.
    world.turn();
    let channel = ChannelName::parse("c").unwrap();
    let target = Target::Channels(vec![channel.clone()]);
    let event = Publication { target, event: "e".into(), data: "d".into(), except: None };
    assert_eq!(world.hub.publish(&app, &event).unwrap().sockets, 25);
    let value = ValueEvent { channel, event: "v".into(), value: "1".into() };
    world.hub.publish_values(&app, &[value]).unwrap();
    world.turn();
    let heard = heard(&mut peers);
    assert_eq!(closed_with(4200, &heard).len(), 25);
    for frames in heard {
        assert!(matches!(frames[..], [Frame::Text(_), Frame::Text(_)] | [Frame::Text(_), Frame::Text(_), _]));
    }
}

#[test]
fn one_that_is_let_in_while_the_node_stops_gets_what_it_was_counted_for_and_is_closed() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    // As when the node is told to stop while the hub lets one in.
    world.mailboxes[0].post(Message::Drain(Duration::from_secs(1), Parting::NodeStops));
    let (admission, arriving) = world.admit(&app, "u");
    assert_eq!(world.push(&app, "hello").unwrap().sockets, 1);
    world.settle();
    let mut peer = world.open(admission, arriving);
    assert_eq!(peer.frames(), [Frame::Text("hello".into()), Frame::Close(1001)]);
}

/// A node is told to stop within eight seconds while it is behind by more than it carries out in four turns, and stands still for
/// a while in the first of them. What its socket gets, and how many sockets count as closed early.
fn stopped_while_behind(standing_still: Duration) -> (Vec<Frame>, u64) {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peer = world.connect(&app, "u");
    world.hub.drain(Duration::from_secs(8));
    for _ in 0..1_200 {
        assert_eq!(world.push(&app, "p").unwrap().sockets, 1);
    }
    world.turn();
    world.skip(standing_still);
    world.settle();
    (peer.frames(), world.count(|shard| shard.closed_early.get()))
}

#[test]
fn a_node_that_is_behind_takes_the_time_for_all_that_was_accepted() {
    let (frames, closed_early) = stopped_while_behind(Duration::from_secs(5));
    assert_eq!((frames.len(), frames.last(), closed_early), (1_201, Some(&Frame::Close(1001)), 0));
}

#[test]
fn whom_a_node_closes_early_for_want_of_time_is_counted() {
    let (frames, closed_early) = stopped_while_behind(Duration::from_secs(7));
    assert_eq!((frames.last(), closed_early), (Some(&Frame::Close(1001)), 1));
    assert!(frames.len() < 1_201, "{}", frames.len());
}

/// Of sockets that share what they are in, those that are left get what is published there, tick by tick, until none is.
fn the_rest_is_reached(world: &mut World, app: &str, targets: &[Target], mut peers: Vec<Peer>) {
    let app = world.hub.app(app).unwrap();
    heard(&mut peers);
    world.hub.drain(Duration::from_secs(2));
    let mut is_closed = vec![false; peers.len()];
    for tick in 0..=8 {
        world.pass(TICK);
        let heard_of_close = heard(&mut peers);
        closed(&heard_of_close)
            .into_iter()
            .chain(closed_with(4200, &heard_of_close))
            .for_each(|index| is_closed[index] = true);
        for (number, target) in targets.iter().enumerate() {
            let publication =
                Publication { target: target.clone(), event: "e".into(), data: "d".into(), except: None };
            let reach = world.hub.publish(&app, &publication).unwrap();
            world.turn();
            let of_target = |index: &usize| index % targets.len() == number;
            let left = (0..peers.len()).filter(of_target).filter(|index| !is_closed[*index]).count();
            assert_eq!(reach.sockets, left, "tick {tick}");
            let reached =
                heard(&mut peers).iter().filter(|frames| matches!(frames[..], [Frame::Text(_)])).count();
            assert_eq!(reached, left, "tick {tick}");
        }
    }
    assert!(is_closed.into_iter().all(|is_closed| is_closed));
}

#[test]
fn users_are_reached_while_their_sockets_leave_one_after_the_other() {
    let mut world = World::new(2, SETTINGS);
    let app = world.register("x");
    let peers = (0..150).map(|number| world.connect(&app, &format!("u{}", number % 3))).collect();
    let user = |number| Pattern::parse(&format!("^u{number}$"), PatternLimits::default()).unwrap();
    let targets = [0, 1, 2].map(|number| Target::UsersMatching(user(number)));
    the_rest_is_reached(&mut world, "x", &targets, peers);
}

#[test]
fn channels_are_reached_while_their_sockets_leave_one_after_the_other() {
    let mut world = World::new(2, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<_> = (0..150).map(|number| world.connect_pusher(&app, number).0).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        let data = serde_json::json!({ "channel": format!("c{}", number % 3) });
        peer.send(1, serde_json::json!({ "event": "pusher:subscribe", "data": data }).to_string().as_bytes());
    }
    world.settle();
    let channel = |number| ChannelName::parse(&format!("c{number}")).unwrap();
    let targets = [0, 1, 2].map(|number| Target::Channels(vec![channel(number)]));
    the_rest_is_reached(&mut world, "x", &targets, peers);
}
