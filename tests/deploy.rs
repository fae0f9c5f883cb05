//! The examples in `deploy/`, the Dockerfile and the package say what Gusher understands, and files that they and the
//! workflows name are there. What they say to others, such as a container engine or systemd, is not checked here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use gusher::cli::{Cli, Command};
use gusher::config::read::{Overlay, parse};

/// A password, hashed.
const PASSWORD: &str = "$2a$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";

/// A variable of an example, and its value.
fn variables(text: &str) -> Vec<(String, String)> {
    text.lines().filter_map(|line| compose(line).or_else(|| kubernetes(line))).collect()
}

/// `GUSHER_BUS: nats`
fn compose(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim().split_once(": ")?;
    name.starts_with("GUSHER_").then(|| (name.to_owned(), value.to_owned()))
}

/// `- { name: GUSHER_BUS, value: nats }`, or the name alone where a secret is the value.
fn kubernetes(line: &str) -> Option<(String, String)> {
    let name = &line[line.find("name: GUSHER_")? + "name: ".len()..];
    let (name, value) = name.split_once(", value: ").unwrap_or((name, ""));
    Some((name.to_owned(), value.trim_end_matches([' ', '}']).trim_matches('"').to_owned()))
}

#[test]
fn the_examples_of_many_nodes_set_what_there_is_to_set() {
    let secrets = [
        ("GUSHER_AUTH_PASSWORD", PASSWORD),
        ("GUSHER_STORE_URL", "postgres://gusher:password@postgres/gusher"),
    ];
    for text in [include_str!("../deploy/compose.yaml"), include_str!("../deploy/kubernetes.yaml")] {
        let mut variables = variables(text);
        assert!(variables.len() >= 5, "{variables:?}");
        for (name, value) in &mut variables {
            if let Some((_, secret)) = secrets.iter().find(|(known, _)| known == name) {
                *value = (*secret).to_owned();
            }
        }
        let config = parse(Path::new("config.json"), b"{}", variables, &Overlay::default());
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert!(config.bus.is_some());
    }
}

#[test]
fn the_examples_ask_for_paths_and_ports_that_are_served() {
    let kubernetes = include_str!("../deploy/kubernetes.yaml");
    let caddy = include_str!("../deploy/Caddyfile");
    for path in ["/readyz", "/livez"] {
        assert!(kubernetes.contains(&format!("path: {path}, port: public")), "{path}");
    }
    assert!(caddy.contains("health_uri /readyz"));
    assert!(DOCKERFILE.contains("EXPOSE 8001 8002"));
    assert!(caddy.contains(":8001 {") && caddy.contains(":8002 {"));
}

/// The words of the lines of HAProxy's configuration that begin with `start`.
fn of_haproxy(start: &str) -> Vec<Vec<&'static str>> {
    let lines = include_str!("../deploy/haproxy.cfg").lines().map(str::trim);
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    let found: Vec<_> = lines.filter(|line| line.starts_with(start)).map(words).collect();
    assert!(!found.is_empty(), "{start}");
    found
}

#[test]
fn the_nodes_behind_haproxy_believe_it_and_nobody_else() {
    let text = include_bytes!("../deploy/haproxy-node.json");
    let secret = ("GUSHER_AUTH_PASSWORD".to_owned(), PASSWORD.to_owned());
    let node = parse(Path::new("config.json"), text, [secret], &Overlay::default());
    let node = node.unwrap_or_else(|error| panic!("{error}"));
    assert!(node.warnings.is_empty(), "{:?}", node.warnings);
    assert!(node.proxy_protocol && node.tls.is_some_and(|tls| !tls.is_private_too));
    for line in of_haproxy("source") {
        assert_eq!(node.trusted_proxies, line[1].parse().expect("an address"));
    }
    // All that it says begins with a header, and each listener is asked in the way in which it speaks.
    let [all, public] = &of_haproxy("default-server")[..] else { panic!("one for all, and one for TLS") };
    assert!(["check", "send-proxy-v2", "check-send-proxy"].iter().all(|word| all.contains(word)));
    assert!(public.contains(&"check-ssl"));
    assert_eq!(of_haproxy("option"), [["option", "httpchk", "GET", "/readyz"]]);
    let addresses = of_haproxy("server").into_iter().map(|line| line[2].parse::<SocketAddr>());
    let ports: BTreeSet<u16> = addresses.map(|address| address.expect("an address").port()).collect();
    assert_eq!(ports, BTreeSet::from([node.listen.port(), node.api_listen.port()]));
    // It takes three checks in vain before it sends nobody any more.
    assert!(all.contains(&"1s") && node.drain.delay > Duration::from_secs(3));
}

const DOCKERFILE: &str = include_str!("../Dockerfile");

#[test]
fn the_image_runs_and_asks_for_its_health_with_what_it_holds() {
    let words = |line: &'static str| {
        let list = line.trim().strip_prefix("CMD ").or_else(|| line.strip_prefix("ENTRYPOINT "))?;
        Some(serde_json::from_str::<Vec<&str>>(list).expect("a list of words, as there is no shell"))
    };
    let commands: Vec<_> = DOCKERFILE.lines().filter_map(words).collect();
    let [health, program, start] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(health[0], program[0]);
    for held in [program[0], "/etc/gusher/config.json", "/etc/ssl/certs/ca-certificates.crt"] {
        assert!(DOCKERFILE.contains(&format!("/image{held}")), "{held}");
    }
    let parsed = [health.clone(), [&program[..], &start[..]].concat()].map(Cli::try_parse_from);
    let [Ok(Command::Healthcheck(health)), Ok(Command::Start(start))] =
        parsed.map(|cli| cli.map(|cli| cli.command))
    else {
        panic!("{commands:?}")
    };
    assert!(health.config.is_some() && health.config == start.config);
}

const UNIT: &str = include_str!("../deploy/gusher.service");
const MANIFEST: &str = include_str!("../Cargo.toml");

/// What the unit gives a name.
fn of_unit(name: &str) -> &'static str {
    let value = UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit has no {name}"))
}

/// The assets of the package: what is copied, and where to.
fn assets() -> Vec<(&'static str, &'static str)> {
    let list = MANIFEST.split_once("\nassets = [\n").expect("there is a list of assets").1;
    let list = list.split_once("\n]").expect("it ends").0;
    let quoted = |line: &'static str| line.split('"').skip(1).step_by(2).collect::<Vec<_>>();
    list.lines().map(quoted).map(|parts| (parts[0], parts[1])).collect()
}

#[test]
fn the_package_holds_files_that_are_there() {
    let assets = assets();
    assert!(assets.len() > 3, "{assets:?}");
    for (source, target) in assets {
        assert!(
            !target.starts_with('/') && target.ends_with(|last: char| last == '/' || last.is_alphanumeric())
        );
        let is_built = source.starts_with("target/");
        assert!(is_built || Path::new(source.trim_end_matches('*')).exists(), "{source}");
    }
}

#[test]
fn the_service_runs_the_program_and_the_configuration_of_its_package() {
    let packed = |path: &str| {
        let path = path.trim_start_matches('/');
        assert!(assets().iter().any(|(source, target)| target_of(source, target) == path), "{path}");
    };
    let start: Vec<&str> = of_unit("ExecStart").split(' ').collect();
    let ["/usr/bin/gusher", "start", "--config", copy] = start[..] else { panic!("{start:?}") };
    packed(start[0]);
    // A start and a reload make the same copy, at the place where it is read.
    let copying = of_unit("ExecStartPre");
    assert_eq!(of_unit("ExecReload"), copying, "the first command of a reload");
    let [.., file, target] = copying.split(' ').collect::<Vec<_>>()[..] else { panic!("{copying}") };
    packed(file);
    assert_eq!(target, copy);
    assert_eq!(
        copy.strip_prefix("%t/").and_then(|copy| copy.split('/').next()),
        Some(of_unit("RuntimeDirectory"))
    );
    assert!(MANIFEST.contains(&format!("conf-files = [\"{file}\"]")), "an upgrade must not replace {file}");
}

fn target_of(source: &str, target: &str) -> String {
    let name = source.rsplit('/').next().unwrap_or_default();
    if target.ends_with('/') { format!("{target}{name}") } else { target.to_owned() }
}

#[test]
fn the_configuration_of_the_package_lacks_a_password_alone() {
    let text = include_bytes!("../deploy/debian/config.json");
    let read = |variables: Vec<(String, String)>| {
        parse(Path::new("config.json"), text, variables, &Overlay::default())
            .map_err(|error| error.to_string())
    };
    let refused = read(Vec::new()).expect_err("there is no password");
    assert!(refused.contains("auth_password"), "{refused}");
    let config = read(vec![("GUSHER_AUTH_PASSWORD".to_owned(), PASSWORD.to_owned())]);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let stop: u64 = of_unit("TimeoutStopSec").parse().expect("seconds");
    assert!(stop > config.drain.time_max.as_secs(), "every client is to be told to come back");
}

#[test]
fn the_workflows_name_files_that_are_there() {
    let workflows = [
        include_str!("../.github/workflows/ci.yml"),
        include_str!("../.github/workflows/release.yml"),
        include_str!("../.ci/package"),
    ];
    let mut named = 0;
    for word in workflows
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(words)
    {
        let is_file = [".ci/", "./.github/", "src/"].iter().any(|folder| word.starts_with(folder))
            || ["Dockerfile", "README.md", "CHANGELOG.md", "LICENSE"].contains(&word);
        if is_file {
            assert!(Path::new(word).is_file(), "{word}");
            named += 1;
        }
    }
    assert!(named >= 8, "{named}");
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '"', ',', '{', '}'])
}
