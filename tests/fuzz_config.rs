//! Whatever stands in a configuration file or in the environment, reading it ends in a configuration or in one line.

use std::path::Path;

use gusher::config::{
    Config, ConfigError, DEFAULT_FILE, ListenAddress,
    read::{Overlay, parse},
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Reads `bytes` and checks what every error must be.
fn read(bytes: &[u8], environment: Vec<(String, String)>) -> Result<Config, ConfigError> {
    let result = parse(Path::new("config.json"), bytes, environment, &Overlay::default());
    if let Err(error) = &result {
        let line = error.to_string();
        // What a variable gave bears its name instead of the file's.
        let has_origin = line.starts_with("config.json: ") || line.starts_with("GUSHER_");
        assert!(has_origin && !line.contains(char::is_control), "{line:?}");
    }
    result
}

/// The default file with a good password.
fn good_file() -> Vec<u8> {
    let hash = "$2a$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";
    DEFAULT_FILE.replace(r#""auth_password": """#, &format!(r#""auth_password": "{hash}""#)).into_bytes()
}

/// What may stand in the place of a piece of a configuration: a piece of syntax, a strange value, or any bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let syntax = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "//",
        "/*",
        "*/",
        "\\",
        "\n",
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        "1.5",
        "9223372036854775807",
        "9223372036854775808",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "{\"a\":{\"a\":1}}",
        "\"[::1]:1\"",
        "é",
    ];
    prop_oneof![
        3 => proptest::sample::select(syntax.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..8),
    ]
}

fn mutate(mut bytes: Vec<u8>, edits: Vec<(Index, usize, Vec<u8>)>) -> Vec<u8> {
    for (place, removed, piece) in edits {
        let start = place.index(bytes.len() + 1);
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, piece);
    }
    bytes
}

#[test]
fn the_unchanged_file_is_good() {
    read(&good_file(), vec![]).unwrap();
}

#[test]
fn deep_nesting_is_an_error() {
    for bracket in ["[", "{\"limits\":"] {
        assert!(read(bracket.repeat(100_000).as_bytes(), vec![]).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..256)) {
        let _ = read(&bytes, vec![]);
    }

    #[test]
    fn a_mutated_file_is_read_without_panic(edits in vec((any::<Index>(), 0..24_usize, piece()), 1..6)) {
        if let Ok(config) = read(&mutate(good_file(), edits), vec![]) {
            prop_assert!(config.limits.pong_wait_max > config.limits.ping_interval);
            prop_assert!((1..=64).contains(&config.node.shards) && config.max_wait_hook > 0);
        }
    }

    #[test]
    fn any_environment_is_read_without_panic(
        variables in vec((r"GUSHER_(LISTEN|SQLFILE|ENVIRONMENT|AUTH_ACCOUNT|NODE_SHARDS|DRAIN_SECONDS|\PC{0,9})", any::<String>()), 0..6)
    ) {
        if let Ok(config) = read(&good_file(), variables) {
            prop_assert!(!config.warnings.iter().any(|warning| warning.contains(char::is_control)));
        }
    }

    #[test]
    fn a_listen_address_prints_as_it_is_read(text in r"(\[[0-9a-f:%.]{0,12}\]|[a-z0-9.:_-]{0,12}):[0-9]{0,6}|\PC{0,12}") {
        if let Ok(address) = text.parse::<ListenAddress>() {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
