//! The parts that a delivery is made of, each for itself: `cargo bench`. What they cost together is measured by
//! `gusher bench`.

#[path = "../tests/support/world.rs"]
mod world;

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gusher::dialect::Session;
use gusher::model::UserId;
use gusher::model::pattern::{Pattern, PatternLimits};
use gusher::net::websocket::{Deflater, Opcode, Reader, Rules, text};
use world::{Peer, SETTINGS, World, frame};

const TEXT: u8 = 1;

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for bytes in [64, 1024] {
        let payload = "x".repeat(bytes);
        let inbound = frame(TEXT, payload.as_bytes());
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("read {bytes} bytes"), |bencher| {
            let (mut reader, mut buffer) = (Reader::default(), inbound.clone());
            bencher.iter(|| {
                buffer.copy_from_slice(&inbound);
                reader.read(&mut buffer, Rules::plain(65_536), &mut |message| {
                    black_box(message);
                    ControlFlow::Continue(())
                })
            });
        });
        group.bench_function(format!("write {bytes} bytes"), |bencher| {
            bencher.iter(|| text(black_box(payload.as_bytes())));
        });
        let json = format!(r#"{{"event":"price","channel":"news","data":"{}"}}"#, digits(bytes));
        let mut deflater = Deflater::default();
        group.bench_function(format!("deflate {bytes} digits in JSON"), |bencher| {
            bencher.iter(|| deflater.message(Opcode::Text, black_box(json.as_bytes()), 0));
        });
    }
    group.finish();
}

/// Text that is neither all the same nor random.
fn digits(count: usize) -> String {
    (0_u32..).flat_map(|number| number.to_string().into_bytes()).map(char::from).take(count).collect()
}

/// Publishing to 200 sockets on one shard, the kernel's work included; their clients read in between.
fn fan_out(criterion: &mut Criterion) {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let mut peers: Vec<Peer> =
        (0..200).map(|number| world.connect(&app, &format!("user-{number}"))).collect();
    let mut group = criterion.benchmark_group("fan-out");
    group.throughput(Throughput::Elements(peers.len() as u64));
    for messages in [1, 10] {
        group.bench_function(format!("{messages} to each of 200"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    let began = std::time::Instant::now();
                    (0..messages).for_each(|_| drop(world.push(&app, "hello")));
                    world.settle();
                    spent += began.elapsed();
                    peers.iter_mut().for_each(|peer| drop(peer.frames()));
                }
                spent
            });
        });
    }
    group.finish();
}

/// Who is addressed among 2,000 users that are online; nobody is, so nothing is delivered.
fn directory(criterion: &mut Criterion) {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let _peers: Vec<Peer> = (0..2000).map(|number| world.connect(&app, &format!("user-{number}"))).collect();
    let mut group = criterion.benchmark_group("directory of 2,000");
    group.bench_function("a literal tag", |bencher| bencher.iter(|| world.push_to(&app, "^nobody$", "x")));
    group.bench_function("a pattern", |bencher| bencher.iter(|| world.push_to(&app, "user-[0-9]*x$", "x")));
    let newcomer = || Session::Gusher(UserId::parse("newcomer").expect("it is one"));
    group.bench_function("come and go", |bencher| {
        bencher.iter(|| {
            drop(world.hub.admit(&app, newcomer(), false, None));
            world.settle();
        });
    });
    group.finish();
}

fn pattern(criterion: &mut Criterion) {
    let tags: Vec<String> = (0..10_000).map(|number| format!("user-{number}")).collect();
    let parse = || Pattern::parse("^user-[0-9]*7$", PatternLimits::default());
    let mut group = criterion.benchmark_group("pattern");
    group.bench_function("compile", |bencher| bencher.iter(parse));
    let compiled = parse().expect("it is one");
    group.bench_function("match 10,000 tags", |bencher| {
        bencher.iter(|| tags.iter().filter(|tag| compiled.matches(tag)).count());
    });
    group.finish();
}

criterion_group!(parts, codec, fan_out, directory, pattern);
criterion_main!(parts);
