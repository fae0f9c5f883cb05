//! What every kind of bus promises (`src/bus/mod.rs`), on each of them, with its real server.

mod support;

use std::collections::BTreeSet;
use std::iter;

use bytes::Bytes;
use gusher::bus::local::LocalBus;
use gusher::bus::{BusEvent, NotSent};
use support::bus_node::BusNode;
use support::servers::BusServer;

/// A bus that nodes can join.
enum Network {
    Local(LocalBus),
    Server(BusServer),
}

impl Network {
    fn of_each_kind() -> impl Iterator<Item = Self> {
        let servers = BusServer::KINDS.into_iter().map(|kind| Self::Server(BusServer::start(kind)));
        iter::once(Self::Local(LocalBus::new())).chain(servers)
    }

    /// Joins a node, and waits until its bus is up.
    async fn join(&self, name: &str) -> BusNode {
        match self {
            Self::Local(network) => BusNode::new(name, network.join(name, 10_000)).await,
            Self::Server(server) => BusNode::join(name, &server.settings()).await,
        }
    }

    /// The bus of these nodes fails, and is back when `meanwhile` is over.
    async fn fail(&mut self, nodes: &mut [&mut BusNode], meanwhile: impl Fn(&BusNode)) {
        match self {
            Self::Local(network) => nodes.iter().for_each(|node| network.take_down(&node.name)),
            Self::Server(server) => server.kill(),
        }
        for node in nodes.iter_mut() {
            assert_eq!(node.next().await, BusEvent::Down);
            meanwhile(node);
        }
        match self {
            Self::Local(network) => nodes.iter().for_each(|node| network.bring_up(&node.name)),
            Self::Server(server) => server.restart(),
        }
        for node in nodes.iter_mut() {
            assert_eq!(node.next().await, BusEvent::Up);
        }
    }
}

#[tokio::test]
async fn a_frame_reaches_each_who_follows_its_subject_once_and_in_order() {
    for network in Network::of_each_kind() {
        let (mut one, mut other) = (network.join("one").await, network.join("other").await);
        for node in [&mut one, &mut other] {
            node.bus.follow("s");
            node.bus.follow("s");
            node.settle().await;
        }
        one.says("elsewhere", "not heard");
        for text in ["1", "2", "3"] {
            one.says("s", text);
        }
        for node in [&mut one, &mut other] {
            for text in ["1", "2", "3"] {
                node.hears(text).await;
            }
            node.settle().await;
        }
    }
}

#[tokio::test]
async fn what_is_no_longer_followed_is_no_longer_heard() {
    for network in Network::of_each_kind() {
        let mut node = network.join("one").await;
        node.bus.follow("s");
        node.says("s", "heard");
        node.hears("heard").await;
        node.bus.unfollow("s");
        node.settle().await;
        node.says("s", "not heard");
        node.settle().await;
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    for network in Network::of_each_kind() {
        let mut node = network.join("one").await;
        let large = Bytes::from(vec![b'x'; 2 << 20]);
        assert_eq!(node.bus.send("s", large), Err(NotSent::TooLarge));
        node.settle().await;
    }
}

#[tokio::test]
async fn an_outage_is_told_nothing_is_taken_meanwhile_and_what_was_followed_still_is() {
    for mut network in Network::of_each_kind() {
        let (mut one, mut other) = (network.join("one").await, network.join("other").await);
        other.bus.follow("s");
        other.settle().await;
        network
            .fail(&mut [&mut one, &mut other], |node| {
                assert_eq!(node.bus.send("s", "lost".into()), Err(NotSent::Down));
                assert!(!node.bus.is_up());
            })
            .await;
        other.settle().await;
        one.says("s", "again");
        other.hears("again").await;
    }
}

#[tokio::test]
async fn what_was_taken_goes_out_before_the_bus_is_closed() {
    for network in Network::of_each_kind() {
        let (one, mut other) = (network.join("one").await, network.join("other").await);
        other.bus.follow("s");
        other.settle().await;
        one.says("s", "the last word");
        one.bus.close().await;
        drop(one);
        other.hears("the last word").await;
    }
}

#[tokio::test]
async fn each_node_hears_each_other_in_order_under_load() {
    const FRAMES: usize = 2_000;
    for network in Network::of_each_kind() {
        let mut nodes = [network.join("a").await, network.join("b").await];
        for node in &mut nodes {
            node.bus.follow("s");
            node.settle().await;
        }
        for number in 0..FRAMES {
            for node in &nodes {
                node.bus.send("s", format!("{} {number}", node.name).into()).expect("there is room");
            }
            // What waits may go out, at times.
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for node in &mut nodes {
            let mut heard = [0, 0];
            while heard != [FRAMES, FRAMES] {
                let BusEvent::Frame(frame) = node.next().await else { panic!("nothing is lost") };
                let sender = usize::from(frame[0] == b'b');
                assert_eq!(&frame[2..], heard[sender].to_string().as_bytes(), "of {sender}");
                heard[sender] += 1;
            }
            node.settle().await;
        }
    }
}

#[tokio::test]
async fn what_is_ordered_during_an_outage_holds_after_it() {
    for mut network in Network::of_each_kind() {
        let (mut one, mut other) = (network.join("one").await, network.join("other").await);
        other.bus.follow("s");
        other.settle().await;
        network
            .fail(&mut [&mut one, &mut other], |node| {
                node.bus.follow("new");
                node.bus.unfollow("s");
            })
            .await;
        for node in [&mut one, &mut other] {
            node.settle().await;
        }
        one.says("s", "not heard");
        one.says("new", "heard");
        other.hears("heard").await;
    }
}

#[tokio::test]
async fn many_subjects_are_followed_again_after_an_outage() {
    const SUBJECTS: usize = 2_500;
    for mut network in Network::of_each_kind() {
        let (mut one, mut other) = (network.join("one").await, network.join("other").await);
        (0..SUBJECTS).for_each(|number| other.bus.follow(&format!("s.{number}")));
        other.settle().await;
        network.fail(&mut [&mut one, &mut other], |_| {}).await;
        for number in 0..SUBJECTS {
            one.bus.send(&format!("s.{number}"), number.to_string().into()).expect("there is room");
        }
        let mut heard = BTreeSet::new();
        while heard.len() < SUBJECTS {
            let BusEvent::Frame(frame) = other.next().await else { panic!("nothing is lost") };
            assert!(heard.insert(frame), "it was heard before");
        }
    }
}
