//! The examples in `deploy/` and the Dockerfile say what Gusher understands. What they say to others, such as a container
//! engine, is not checked here.

use std::path::Path;

use gusher::config::read::{Overlay, parse};

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
        ("GUSHER_AUTH_PASSWORD", "$2a$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232"),
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
    for path in ["/readyz", "/healthz"] {
        assert!(kubernetes.contains(&format!("path: {path}, port: public")), "{path}");
    }
    assert!(caddy.contains("health_uri /readyz"));
    let dockerfile = include_str!("../Dockerfile");
    assert!(
        dockerfile.contains("EXPOSE 8001 8002") && caddy.contains(":8001 {") && caddy.contains(":8002 {")
    );
}
