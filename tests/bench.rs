//! `gusher bench` in its smallest forms, against a real server: whether what it counts is what happened.

mod support;

use gusher::config::BusKind;
use serde_json::Value;
use support::process::{Directory, FREE_PORTS, Outcome, Process, Serving, run};
use support::servers::BusServer;
use support::tls::Authority;

/// A trial run, and where it runs.
struct Bench {
    directory: Directory,
    server: Serving,
    /// Who has issued its certificate, if both listeners speak TLS.
    authority: Option<Authority>,
}

impl Bench {
    fn start() -> Self {
        let directory = Directory::new();
        let server = directory.serve(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
        Self { directory, server, authority: None }
    }

    fn start_secure() -> Self {
        let (directory, authority) = (Directory::new(), Authority::new());
        let mut command = directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
        command
            .env("GUSHER_TLS_CERT_FILE", authority.cert_file())
            .env("GUSHER_TLS_KEY_FILE", authority.key_file())
            .env("GUSHER_TLS_PRIVATE", "true");
        let server = Serving::new(Process::start(&mut command));
        Self { directory, server, authority: Some(authority) }
    }

    fn run(&self, line: &str) -> Outcome {
        let pid = self.server.process.id().to_string();
        let words: Vec<&str> = ["bench"].into_iter().chain(line.split(' ')).chain(["--pid", &pid]).collect();
        let mut command = self.server.ask(&self.directory, &words);
        if let Some(authority) = &self.authority {
            command
                .env("PUSHER_SCHEME", "https")
                .env("GUSHER_CA_FILE", authority.ca_file())
                .env("GUSHER_API", format!("https://{}", self.server.private));
        }
        run(command.env("PUSHER_PORT", self.server.public.port().to_string()))
    }

    /// What it tells programs, which must be one line.
    fn measure(&self, line: &str) -> Value {
        told(&self.run(&format!("{line} --json")))
    }
}

fn told(outcome: &Outcome) -> Value {
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome:?}");
    let figures: Value = serde_json::from_str(&outcome.stdout).expect("one line of JSON");
    assert_eq!(figures.get("complaint"), None, "{figures}");
    figures
}

/// That so many deliveries were made, and none went wrong.
#[track_caller]
fn assert_delivered(figures: &Value, messages: u64, deliveries: u64) {
    let counts = ["messages", "deliveries", "lost", "disordered", "closed", "refused_calls"];
    let counts = counts.map(|name| figures[name].as_u64());
    assert_eq!(counts, [messages, deliveries, 0, 0, 0, 0].map(Some), "{figures}");
    assert!(figures["p99_ms"].as_f64() >= figures["p50_ms"].as_f64(), "{figures}");
    assert!(figures["p50_ms"].as_f64() > Some(0.0), "{figures}");
}

#[test]
fn fan_outs_are_counted() {
    let bench = Bench::start();
    let steady = bench.measure("fanout --subscribers 10 --rate 50 --seconds 0.2");
    assert_delivered(&steady, 10, 100);
    assert!(steady["cpu_us_per_delivery"].as_f64() > Some(0.0), "{steady}");
    assert_delivered(&bench.measure("fanout --subscribers 10 --burst 50"), 50, 500);
    let multi = bench.measure("multi --channels 5 --subscribers 2 --rate 200 --seconds 0.1 --connections 2");
    assert_delivered(&multi, 20, 40);
}

#[test]
fn a_server_is_measured_over_tls() {
    let bench = Bench::start_secure();
    assert_delivered(&bench.measure("fanout --subscribers 10 --rate 50 --seconds 0.2"), 10, 100);
    let long = bench.measure("fanout --subscribers 5 --burst 50 --data-bytes 10000");
    assert_delivered(&long, 50, 250);
    let own = bench.measure("fanout --dialect gusher --key demo --subscribers 3 --burst 20");
    assert_delivered(&own, 20, 60);
    let connect = bench.measure("connect --sockets 10 --subscribe --in-flight 3");
    assert_eq!((&connect["sockets"], &connect["refused"]), (&10.into(), &0.into()));
    let idle = bench.measure("idle --sockets 10 --rest-seconds 0.1");
    assert_eq!((&idle["sockets"], &idle["closed"]), (&10.into(), &0.into()));
    let nobody_trusted = bench.run("connect --sockets 1 --json --ca /dev/null");
    assert_eq!(nobody_trusted.code, Some(2), "{nobody_trusted:?}");
}

#[test]
fn tls_is_not_spoken_to_just_anybody() {
    let bench = Bench::start_secure();
    let port = bench.server.public.port().to_string();
    let words = ["bench", "connect", "--sockets", "1", "--port", &port, "--tls"];
    let outcome = run(&mut bench.directory.gusher(&words));
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("TLS needs --ca FILE"), "{}", outcome.stderr);
    let stranger = Authority::new();
    let outcome = run(bench.directory.gusher(&words).env("GUSHER_CA_FILE", stranger.ca_file()));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("certificate"), "{}", outcome.stderr);
}

#[test]
fn what_is_published_as_fast_as_can_be_is_counted() {
    let figures = Bench::start().measure("publish --connections 2 --subscribers 3 --seconds 0.2");
    let messages = figures["messages"].as_u64().expect("a count");
    assert!(messages > 2, "{figures}");
    assert_delivered(&figures, messages, 3 * messages);
    assert!(figures["cpu_us_per_publish"].as_f64() > Some(0.0), "{figures}");
}

#[test]
fn a_server_is_compared_with_the_kernel_alone() {
    let bench = Bench::start();
    let mixed = "mixed --subscribers 10 --rate 20 --timed-subscribers 2 --timed-rate 40 --seconds 0.2 --floor --rounds 2";
    let figures = bench.measure(mixed);
    assert_delivered(&figures["floor"], 4, 40);
    assert_delivered(&figures["server"], 4, 40);
    assert_eq!(
        (&figures["server"]["timed_deliveries"], &figures["server"]["timed_lost"]),
        (&16.into(), &0.into())
    );
    assert!(figures["ratio"]["cpu_us_per_delivery"].as_f64() > Some(0.0), "{figures}");
}

#[test]
fn the_floor_needs_no_server() {
    let directory = Directory::new();
    for way in ["send", "ten", "uring"] {
        let words = ["bench", "floor", "--subscribers", "10", "--burst", "25", "--way", way, "--json"];
        let outcome = run(&mut directory.gusher(&words));
        if way == "uring" && outcome.stderr.contains("no io_uring for us") {
            continue;
        }
        assert_delivered(&told(&outcome), 25, 250);
    }
}

#[test]
fn what_is_published_to_one_node_is_counted_on_another() {
    let (bus, directory) = (BusServer::start(BusKind::Nats), Directory::new());
    let serve = || {
        let mut command = directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
        command.env("GUSHER_BUS", "nats").env("GUSHER_BUS_URL", bus.url());
        Serving::new(Process::start(&mut command))
    };
    let [one, other] = [serve(), serve()];
    let line = format!(
        "bench fanout --subscribers 10 --rate 50 --seconds 0.2 --json --port {} --publish-to {} --pid {} --pid {}",
        one.public.port(),
        other.public,
        one.process.id(),
        other.process.id()
    );
    let words: Vec<&str> = line.split(' ').collect();
    assert_delivered(&told(&run(&mut directory.gusher(&words))), 10, 100);
}

#[test]
fn the_bus_is_measured_without_a_node() {
    let directory = Directory::new();
    for kind in BusServer::KINDS {
        let bus = BusServer::start(kind);
        let words = ["bench", "bus", &bus.url(), "--messages", "300", "--json"];
        let figures = told(&run(&mut directory.gusher(&words)));
        assert_eq!(figures["messages"], 300);
        assert!(figures["client_cpu_us_per_message"].as_f64() > Some(0.0), "{figures}");
        assert!(figures["p99_ms"].as_f64() >= figures["p50_ms"].as_f64(), "{figures}");
    }
    let nowhere = run(&mut directory.gusher(&["bench", "bus", "redis://127.0.0.1:1"]));
    assert_eq!((nowhere.code, nowhere.stderr.contains("cannot use Redis")), (Some(1), true), "{nowhere:?}");
}

#[test]
fn sockets_that_come_and_go_are_counted() {
    let bench = Bench::start();
    let connect = bench.measure("connect --sockets 10 --subscribe --in-flight 3");
    assert_eq!((&connect["sockets"], &connect["refused"]), (&10.into(), &0.into()));
    let idle = bench.measure("idle --sockets 10 --rest-seconds 0.1");
    assert_eq!((&idle["sockets"], &idle["closed"]), (&10.into(), &0.into()));
    assert!(idle["rss_bytes"].as_u64() > Some(100_000), "{idle}");
    let churn = bench.measure("churn --subscribers 3 --rate 20 --seconds 0.2");
    assert_delivered(&churn, 4, 12);
    assert!(churn["sockets"].as_u64() > Some(1) && churn["refused"] == 0, "{churn}");
}

#[test]
fn sockets_that_an_app_does_not_take_are_refused_with_the_reason() {
    let bench = Bench::start();
    let words = ["app", "set", "demo", "max_connections=4"];
    assert_eq!(run(&mut bench.server.ask(&bench.directory, &words)).code, Some(0));
    let outcome = bench.run("connect --sockets 10 --json");
    let figures: Value = serde_json::from_str(&outcome.stdout).expect("one line of JSON");
    assert_eq!((&figures["sockets"], &figures["refused"]), (&4.into(), &6.into()));
    assert!(figures["complaint"].as_str().is_some_and(|text| text.contains("4004")), "{figures}");
}

#[test]
fn members_who_join_and_leave_are_seen_by_all_watchers() {
    let figures = Bench::start().measure("presence --joins 10 --rate 100 --joiners 3 --watchers 4");
    let counts = ["sockets", "joins", "deliveries", "lost", "disordered", "closed"];
    let counts = counts.map(|name| figures[name].as_u64());
    assert_eq!(counts, [7, 10, 80, 0, 0, 0].map(Some), "{figures}");
}

#[test]
fn readers_that_never_read_are_cut_and_the_others_miss_nothing() {
    // 5 MB for each, more than the kernel and an outbox hold together.
    let bench = Bench::start();
    let figures = bench.measure("slow --stalled 2 --subscribers 3 --rate 500 --data-bytes 10000 --seconds 1");
    assert_delivered(&figures, 500, 1500);
    assert_eq!((&figures["stalled"], &figures["stalled_cut"]), (&2.into(), &2.into()));
}

#[test]
fn gusher_s_own_sockets_are_measured_too() {
    let bench = Bench::start();
    let figures = bench.measure("fanout --dialect gusher --subscribers 5 --rate 50 --seconds 0.2");
    assert_delivered(&figures, 10, 50);
    let refused = bench.run("multi --dialect gusher");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("multi needs channels"), "{refused:?}");
}

#[test]
fn people_get_a_table_and_programs_its_last_line() {
    let outcome = Bench::start().run("fanout --subscribers 1 --burst 3");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].starts_with("scenario") && lines[0].ends_with("fanout"), "{outcome:?}");
    let figures: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_delivered(&figures, 3, 3);
}

#[test]
fn what_cannot_be_measured_is_told_in_one_sentence() {
    let bench = Bench::start();
    for (line, sentence) in [
        ("fanout --subscribers 1 --burst 1 --secret wrong-secret", "the server refused to publish: 401"),
        ("connect --sockets 1 --key nobody", "no socket was let in"),
        ("connect --sockets 1 --port 1", "refused"),
        ("idle --sockets 9999999", "ask for at most"),
        ("connect --sockets 1 --pid 4000000000", "process 4000000000"),
    ] {
        let outcome = bench.run(line);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{line}: {outcome:?}");
        assert!(
            outcome.stderr.lines().count() == 1 && outcome.stderr.contains(sentence),
            "{line}: {outcome:?}"
        );
    }
}
