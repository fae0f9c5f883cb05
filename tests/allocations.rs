//! The hot path allocates per publication and per shard, never per receiver: counted by an allocator.

#[path = "support/world.rs"]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use world::{Peer, SETTINGS, World};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread.
struct Counting;

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises about `layout` hold for the system's allocator as well.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from the system's allocator with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: `memory` came from the system's allocator with this layout.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations it takes the shards to carry out what `publish` makes the hub post, once they are warm.
fn allocations(receivers: usize, publish: impl Fn(&World)) -> usize {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> =
        (0..receivers).map(|number| world.connect(&app, &format!("u{number}"))).collect();
    for _ in 0..3 {
        publish(&world);
        world.settle();
    }
    publish(&world);
    let before = ALLOCATIONS.get();
    world.settle();
    let count = ALLOCATIONS.get() - before;
    assert!(peers.iter_mut().all(|peer| !peer.texts().is_empty()));
    count
}

fn assert_same_for_few_and_many(publish: impl Fn(&World)) {
    let (few, many) = (allocations(10, &publish), allocations(500, &publish));
    assert!(few > 0, "the counter counts");
    // Between the chunks of a long walk what is pending is joined anew: that is per chunk of 64, not per receiver.
    assert!(many <= few + 500 / 64 + 1, "{few} allocations for 10 receivers, {many} for 500");
}

fn app(world: &World) -> std::sync::Arc<gusher::hub::LiveApp> {
    world.hub.app("x").unwrap()
}

#[test]
fn a_push_to_everyone_allocates_nothing_per_receiver() {
    assert_same_for_few_and_many(|world| drop(world.push(&app(world), "hello")));
}

#[test]
fn a_burst_to_everyone_allocates_nothing_per_receiver() {
    assert_same_for_few_and_many(|world| {
        for _ in 0..20 {
            world.push(&app(world), "hello").unwrap();
        }
    });
}

#[test]
fn a_push_by_pattern_allocates_nothing_per_receiver() {
    assert_same_for_few_and_many(|world| drop(world.push_to(&app(world), "u", "hello")));
}
