//! Time and order, on a node in one thread under a fake clock.

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gusher::model::{AppSettings, ChannelName, Publication, Target};
use gusher::shard::{OutboxLimits, ShardSettings};
use proptest::prelude::*;
use proptest::test_runner::Config;
use world::{Frame, Peer, SETTINGS, World, frame};

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn gu_070_a_client_that_answers_pings_stays() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peer = world.connect(&app, "a");
    for _ in 0..3 {
        world.pass(seconds(55));
        assert_eq!(peer.frames(), [Frame::Ping]);
        peer.send(PONG, b"");
    }
    assert!(!peer.is_ended());
    world.push(&app, "still here").unwrap();
    world.settle();
    assert_eq!(peer.texts(), ["still here"]);
}

#[test]
fn gu_071_a_client_that_is_never_heard_of_is_dropped_between_55_and_75_seconds() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peer = world.connect(&app, "a");
    world.pass(seconds(55));
    assert_eq!(peer.frames(), [Frame::Ping]);
    assert!(!peer.is_ended());
    world.pass(seconds(20));
    assert_eq!(peer.frames(), [], "no close frame, as in the original");
    assert!(peer.is_ended());
    assert!(world.hub.online(&app).is_empty());
    assert_eq!(world.count(|shard| shard.silent_cuts.get()), 1);
}

#[test]
fn a_push_is_deflated_once_for_all_who_read_that_and_plain_for_the_others() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut plain = world.connect(&app, "plain");
    let long = "again and ".repeat(50);
    world.push(&app, &long).unwrap();
    world.settle();
    assert_eq!(world.count(|shard| shard.deflated.get()), 0, "nobody reads that");
    let mut deflating: Vec<Peer> = (0..100)
        .map(|number| {
            let (admission, arriving) = world.admit_deflating(&app, &format!("u{number}"));
            world.open(admission, arriving)
        })
        .collect();
    for text in [&long, "short", &long] {
        world.push(&app, text).unwrap();
    }
    world.settle();
    assert_eq!(world.count(|shard| shard.deflated.get()), 2);
    let deflated = Frame::Deflated(long.clone());
    for peer in &mut deflating {
        assert_eq!(peer.frames(), [deflated.clone(), Frame::Text("short".into()), deflated.clone()]);
    }
    let text = Frame::Text(long);
    assert_eq!(plain.frames(), [text.clone(), text.clone(), Frame::Text("short".into()), text]);
    drop(deflating);
    world.settle();
    world.push(&app, &"nobody left ".repeat(50)).unwrap();
    world.settle();
    assert_eq!(world.count(|shard| shard.deflated.get()), 2, "those who read that are gone");
}

#[test]
fn any_frame_of_a_client_counts_as_life() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peer = world.connect(&app, "a");
    for _ in 0..10 {
        world.pass(seconds(20));
        peer.send(TEXT, b"I never answer pings");
    }
    peer.frames();
    assert!(!peer.is_ended());
}

#[test]
fn bytes_that_make_no_frame_are_no_sign_of_life() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peer = world.connect(&app, "a");
    for byte in [0x81, 0x80 | 9, 0, 0] {
        peer.send_raw(&[byte]);
        world.pass(seconds(20));
    }
    peer.frames();
    assert!(peer.is_ended());
}

#[test]
fn a_reader_that_takes_nothing_for_ten_seconds_is_cut_and_told_why() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut stuck = world.connect(&app, "stuck");
    world.push(&app, &"x".repeat(600_000)).unwrap();
    world.settle();
    world.pass(seconds(9));
    assert_eq!(world.count(|shard| shard.slow_cuts.get()), 0);
    world.pass(seconds(2));
    assert_eq!(world.count(|shard| shard.slow_cuts.get()), 1);
    assert!(world.hub.online(&app).is_empty());
    assert_eq!(world.read_to_the_end(&mut stuck), Some(Frame::Close(1013)));
}

#[test]
fn a_reader_that_reads_slowly_but_reads_is_kept() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut slow = world.connect(&app, "slow");
    world.push(&app, &"x".repeat(600_000)).unwrap();
    for _ in 0..6 {
        world.pass(seconds(9));
        // As much as the kernel brings at a time, five times over.
        (0..5).for_each(|_| slow.read_some(20_000));
        slow.send(PONG, b"");
    }
    assert_eq!(world.count(|shard| shard.slow_cuts.get()), 0);
    assert_eq!(world.hub.online(&app).len(), 1);
}

#[test]
fn a_full_outbox_cuts_its_reader_at_once_and_nobody_else() {
    for settings in [
        ShardSettings { outbox: OutboxLimits { bytes_max: 10_000, frames_max: 4096 }, ..SETTINGS },
        ShardSettings { outbox: OutboxLimits { bytes_max: 1 << 20, frames_max: 10 }, ..SETTINGS },
    ] {
        let mut world = World::new(1, settings);
        let app = world.register("x");
        let (mut stuck, mut healthy) = (world.connect(&app, "stuck"), world.connect(&app, "healthy"));
        world.push_to(&app, "^stuck$", &"x".repeat(600_000)).unwrap();
        world.settle();
        for number in 0..20 {
            world.push(&app, &format!("{number} {}", "x".repeat(1000))).unwrap();
            world.settle();
        }
        assert_eq!(world.count(|shard| shard.slow_cuts.get()), 1);
        assert_eq!(world.hub.online(&app).len(), 1);
        assert_eq!(healthy.texts().len(), 20);
        assert_eq!(world.read_to_the_end(&mut stuck), Some(Frame::Close(1013)));
    }
}

#[test]
fn pushes_to_all_and_to_some_arrive_in_the_order_accepted() {
    let mut world = World::new(2, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> = (0..300).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.push(&app, "1").unwrap();
    world.turn();
    world.push_to(&app, "^u7$", "2").unwrap();
    world.push_to(&app, "u", "3").unwrap();
    world.turn();
    world.push(&app, "4").unwrap();
    world.settle();
    for (number, peer) in peers.iter_mut().enumerate() {
        let expected: &[&str] = if number == 7 { &["1", "2", "3", "4"] } else { &["1", "3", "4"] };
        assert_eq!(peer.texts(), expected, "u{number}");
    }
}

#[test]
fn pushes_that_wait_together_become_one_write() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> = (0..50).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    let before = world.count(|shard| shard.writes.get());
    for number in 0..20 {
        world.push(&app, &number.to_string()).unwrap();
    }
    for number in 20..30 {
        world.push_to(&app, "u", &number.to_string()).unwrap();
    }
    world.settle();
    assert_eq!(world.count(|shard| shard.writes.get()) - before, 50);
    let expected: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    assert!(peers.iter_mut().all(|peer| peer.texts() == expected));
}

#[test]
fn a_push_accepted_before_the_stream_is_handed_over_arrives() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let (admission, arriving) = world.admit(&app, "a");
    assert_eq!(world.push(&app, "early").unwrap().sockets, 1);
    world.push_to(&app, "^a$", "earlier than the stream").unwrap();
    world.settle();
    let mut peer = world.open(admission, arriving);
    assert_eq!(peer.texts(), ["early", "earlier than the stream"]);
}

#[test]
fn an_upgrade_that_fails_leaves_nobody_online() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let (admission, _) = world.admit(&app, "a");
    assert_eq!(world.hub.online(&app).len(), 1);
    drop(admission);
    world.settle();
    assert!(world.hub.online(&app).is_empty());
    assert_eq!(world.hub.sockets(), 0);
}

#[test]
fn what_was_accepted_before_a_close_arrives_before_it() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> = (0..200).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.push(&app, "last words").unwrap();
    world.unregister(&app);
    world.settle();
    for peer in &mut peers {
        assert_eq!(peer.frames(), [Frame::Text("last words".into()), Frame::Close(4001)]);
        assert!(peer.is_ended());
    }
}

#[test]
fn a_client_that_does_not_finish_its_close_is_dropped_in_time() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let _peer = world.connect(&app, "a");
    world.unregister(&app);
    world.pass(seconds(4));
    assert_eq!(world.count(|shard| shard.sockets.get()), 1);
    world.pass(seconds(2));
    assert_eq!(world.count(|shard| shard.sockets.get()), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Connect(u8),
    Leave(usize),
    Push,
    PushTo(u8),
    Turn,
    Read(usize),
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u8..5).prop_map(Step::Connect),
        1 => any::<usize>().prop_map(Step::Leave),
        4 => Just(Step::Push),
        3 => (0u8..5).prop_map(Step::PushTo),
        4 => Just(Step::Turn),
        2 => any::<usize>().prop_map(Step::Read),
        1 => Just(Step::Pass),
    ];
    prop::collection::vec(step, 0..80)
}

/// A world beside what every client is owed.
struct History {
    world: World,
    app: std::sync::Arc<gusher::hub::LiveApp>,
    clients: Vec<(u8, Peer, Vec<String>)>,
    pushed: usize,
}

impl History {
    fn new(shards: usize) -> Self {
        let world = World::new(shards, SETTINGS);
        let app = world.register("x");
        Self { world, app, clients: Vec::new(), pushed: 0 }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Connect(user) => {
                let name = format!("u{user}");
                let peer = if user % 2 == 0 {
                    self.world.connect(&self.app, &name)
                } else {
                    let (admission, arriving) = self.world.admit_deflating(&self.app, &name);
                    self.world.open(admission, arriving)
                };
                self.clients.push((*user, peer, Vec::new()));
            }
            Step::Leave(choice) if !self.clients.is_empty() => {
                drop(self.clients.swap_remove(choice % self.clients.len()));
                // Whether a push still counts a client that is leaving is open; not what this is about.
                self.world.settle();
            }
            Step::Push => self.push(|_| true, None),
            Step::PushTo(user) => self.push(|tag| tag == *user, Some(*user)),
            Step::Turn => self.world.turn(),
            Step::Read(choice) if !self.clients.is_empty() => {
                let choice = choice % self.clients.len();
                self.check(choice, false);
            }
            Step::Pass => self.world.pass(seconds(1)),
            Step::Leave(_) | Step::Read(_) => {}
        }
    }

    fn push(&mut self, is_meant: impl Fn(u8) -> bool, to: Option<u8>) {
        self.pushed += 1;
        // Every third is long enough to be deflated.
        let length = if self.pushed.is_multiple_of(3) { 200 } else { 0 };
        let data = format!("{}{}", self.pushed, "-".repeat(length));
        let reach = match to {
            Some(user) => self.world.push_to(&self.app, &format!("u{user}"), &data),
            None => self.world.push(&self.app, &data),
        };
        let mut users = BTreeMap::new();
        for (user, _, owed) in self.clients.iter_mut().filter(|(user, _, _)| is_meant(*user)) {
            owed.push(data.clone());
            *users.entry(*user).or_insert(0) += 1;
        }
        let reach = reach.unwrap();
        assert_eq!((reach.users, reach.sockets), (users.len(), users.values().sum()));
    }

    /// A client has read the beginning of what it is owed; all of it, once everything has settled.
    fn check(&mut self, client: usize, is_settled: bool) {
        let (_, peer, owed) = &mut self.clients[client];
        let read = peer.texts();
        assert!(owed.starts_with(&read), "owed {owed:?}, read {read:?}");
        owed.drain(..read.len());
        assert!(!is_settled || owed.is_empty(), "never came: {owed:?}");
    }
}

proptest! {
    #![proptest_config(Config::with_cases(64))]

    /// Whatever happens in whatever order: everybody gets what was accepted while it was online, in that order,
    /// each once, and nothing else; and the counts say so.
    #[test]
    fn nobody_misses_anything_and_nothing_comes_twice(shards in 1usize..4, steps in steps()) {
        let mut history = History::new(shards);
        steps.iter().for_each(|step| history.run(step));
        history.world.settle();
        (0..history.clients.len()).for_each(|client| history.check(client, true));
    }
}

#[test]
fn pc_127_a_silent_client_of_pusher_is_pinged_and_then_closed() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let (mut peer, _) = world.connect_pusher(&app, 1);
    world.pass(seconds(119));
    assert_eq!(peer.frames().len(), 1, "the greeting");
    world.pass(seconds(2));
    assert_eq!(peer.frames(), [Frame::Ping]);
    world.pass(seconds(28));
    assert_eq!(peer.frames(), []);
    world.pass(seconds(3));
    assert_eq!(peer.frames(), [Frame::Close(4201)]);
    assert_eq!(world.count(|shard| shard.silent_cuts.get()), 1);
}

#[test]
fn pc_128_a_client_of_pusher_that_only_answers_pings_is_kept() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let (mut peer, _) = world.connect_pusher(&app, 1);
    peer.frames();
    for period in 0..10 {
        world.pass(seconds(121));
        assert_eq!(peer.frames(), [Frame::Ping], "period {period}");
        peer.send(PONG, b"");
    }
    world.pass(seconds(31));
    assert!(!peer.is_ended());
}

#[test]
fn pc_088_a_kept_event_ends_after_its_time() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    world.configure(&app, AppSettings { cache_ttl: 60, ..AppSettings::default() });
    let target = Target::Channels(vec![ChannelName::parse("cache-a").unwrap()]);
    let kept = Publication { target, event: "kept".into(), data: "d".into(), except: None };
    world.hub.publish(&app, &kept).unwrap();
    let mut last_heard = |number, wait| {
        world.pass(seconds(wait));
        let (mut peer, _) = world.connect_pusher(&app, number);
        peer.send(TEXT, br#"{"event":"pusher:subscribe","data":{"channel":"cache-a"}}"#);
        world.settle();
        peer.texts().pop().unwrap()
    };
    assert!(last_heard(1, 59).contains("kept"));
    assert!(last_heard(2, 2).contains("pusher:cache_miss"));
}

#[test]
fn a_reader_that_pauses_among_many_misses_nothing_and_holds_up_nobody() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> = (0..40).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    let texts: Vec<String> = (0..100).map(|number| format!("{number} {}", "x".repeat(4000))).collect();
    for text in &texts {
        world.push(&app, text).unwrap();
        world.settle();
        // The first one reads nothing yet.
        assert!(peers[1..].iter_mut().all(|peer| peer.texts() == [text.clone()]));
    }
    let mut late = Vec::new();
    while late.len() < texts.len() {
        late.extend(peers[0].texts());
        world.settle();
    }
    assert_eq!(late, texts);
}

#[test]
fn who_sends_without_pause_gets_a_share_of_each_turn_and_no_more() {
    const SHARE_BYTES: std::ops::Range<u64> = 4 * 1024..32 * 1024;
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    world.configure(&app, AppSettings { max_frames_per_second: 1_000_000, ..AppSettings::default() });
    let mut peer = world.connect(&app, "u");
    let pong = world::frame(10, &[0; 125]);
    let pongs = pong.repeat(20_000);
    let (is_over, mut turns) = (AtomicBool::new(false), Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut poured = 0;
            while !is_over.load(Ordering::Relaxed) {
                poured += peer.pour(&pongs[poured % pong.len()..]);
            }
        });
        // At first the kernel holds less than a share.
        while turns.iter().filter(|bytes| **bytes >= SHARE_BYTES.start).count() < 20 {
            let before = world.count(|shard| shard.bytes_in.get());
            world.turn();
            turns.push(world.count(|shard| shard.bytes_in.get()) - before);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(turns.iter().max() < Some(&SHARE_BYTES.end));
    assert_eq!(world.count(|shard| shard.violations.get()), 0);
}

#[test]
fn pc_088_the_later_event_is_kept_though_the_clock_was_set_back() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let (mut peer, _) = world.connect_pusher(&app, 1);
    for (event, ahead_ms) in [("first", 0), ("second", -600_000), ("third", -600_000)] {
        world.hub.wall.set_ahead(ahead_ms);
        let target = Target::Channels(vec![ChannelName::parse("cache-a").unwrap()]);
        let kept = Publication { target, event: event.into(), data: "d".into(), except: None };
        world.hub.publish(&app, &kept).unwrap();
    }
    peer.send(TEXT, br#"{"event":"pusher:subscribe","data":{"channel":"cache-a"}}"#);
    world.settle();
    assert!(peer.texts().pop().unwrap().contains("third"));
}

#[test]
fn what_is_being_written_does_not_count_against_its_reader() {
    let settings = ShardSettings { outbox: OutboxLimits { bytes_max: 10_000, frames_max: 4096 }, ..SETTINGS };
    let mut world = World::new(1, settings);
    let app = world.register("x");
    let mut peer = world.connect(&app, "reader");
    let texts = [600_000, 3_000, 3_000, 3_000].map(|length| "x".repeat(length));
    for text in &texts {
        world.push(&app, text).unwrap();
        world.settle();
    }
    let mut received = Vec::new();
    while received.len() < texts.len() {
        received.extend(peer.texts());
        assert!(!peer.is_ended(), "it was cut");
        world.settle();
    }
    assert_eq!(received, texts);
    assert_eq!(world.count(|shard| shard.slow_cuts.get()), 0);
}

#[test]
fn what_a_socket_is_answered_in_a_turn_leaves_in_one_write() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peer = world.connect(&app, "a");
    let before = world.count(|shard| shard.writes.get());
    peer.send_raw(&frame(PING, b"p").repeat(100));
    world.settle();
    assert_eq!(peer.frames(), vec![Frame::Pong; 100]);
    assert_eq!(world.count(|shard| shard.writes.get()) - before, 1);
}

#[test]
fn floods_of_small_frames_leave_their_turn_to_others() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    world.configure(&app, AppSettings { max_frames_per_second: 1_000_000, ..AppSettings::default() });
    let mut floods: Vec<Peer> = (0..50).map(|number| world.connect(&app, &format!("f{number}"))).collect();
    let mut calm = world.connect(&app, "calm");
    let pings = frame(PING, b"").repeat(8_000);
    let poured: usize = floods.iter_mut().map(|flood| flood.pour(&pings)).sum();
    calm.send(PING, b"p");
    let received = |world: &World| world.count(|shard| shard.bytes_in.get()) as usize;
    let (begun, mut turns) = (received(&world), 0);
    while calm.frames().is_empty() {
        let before = received(&world);
        world.turn();
        assert!(received(&world) - before < 20_000, "a turn takes as much as it is given");
        turns += 1;
        assert!(turns < 50, "it is answered in its turn");
    }
    assert!(received(&world) - begun < poured / 2, "it does not wait until all are read");
    while received(&world) - begun < poured + 7 {
        world.turn();
    }
    world.settle();
    // Each is answered as often as it asked, as far as its client has room.
    assert!(floods.iter_mut().all(|flood| flood.frames().len() >= 1_000 && !flood.is_ended()));
}

#[test]
fn a_node_that_stood_still_pings_its_clients_before_it_judges_them() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> = (0..3).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.pass(seconds(52));
    world.stand_still(seconds(12));
    assert_eq!(world.count(|shard| shard.silent_cuts.get()), 0);
    world.pass(seconds(4));
    for peer in &mut peers {
        assert_eq!(peer.frames(), [Frame::Ping]);
        peer.send(PONG, b"");
    }
    world.pass(seconds(10));
    assert_eq!(world.count(|shard| shard.silent_cuts.get()), 0);
    assert_eq!(world.count(|shard| shard.standstills.get()), 1);
    // Whoever says nothing is found as ever.
    world.pass(seconds(60));
    assert_eq!(world.count(|shard| shard.silent_cuts.get()), 3);
}

#[test]
fn what_the_kernel_holds_is_read_before_somebody_is_silent() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> = (0..1_500).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    world.pass(seconds(55));
    peers.iter_mut().for_each(|peer| peer.send(PONG, b""));
    world.skip(seconds(20));
    world.settle();
    assert_eq!(world.count(|shard| shard.silent_cuts.get()), 0);
    assert_eq!(world.hub.online(&app).len(), 1_500);
}
