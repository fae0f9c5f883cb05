//! Tests of reading and validating together: text in, `Config` or findings out.

use super::*;
use crate::config::{BusKind, CertificateSource, DEFAULT_FILE, Database, Level, LogTarget};
use std::time::Duration;

/// A well-formed hash; of what does not matter here.
const HASH: &str = "$2a$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";

/// The example of the manual, remarks, blanks, trailing comma and all, with a hash for its password.
const MANUAL_SAMPLE: &str = r#"{
        "auth_account":"account", //Super Admin 
        "auth_password":"$2a$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232", //Bcrypt Encoding 
        "environment":"DEBUG", // DEBUG || DEVELOPMENT || PRODUCATION
        "logfile":"./", // "console" or "/homs/user/x.log"
        "listen":":8001",
        "api_listen":":8002",
        "sqlfile":"./appdata.sqlite",
        "max_wait_hook":10,
}
                        
"#;

fn pairs(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn parsed(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let mut overlay = Overlay::default();
    flags.iter().for_each(|(key, value)| overlay.set(key, *value));
    parse(Path::new("config.json"), text.as_bytes(), pairs(environment), &overlay)
        .map_err(|error| error.to_string())
}

/// A good file with `members` added.
fn with(members: &str) -> Result<Config, String> {
    parsed(&format!(r#"{{ "auth_password": "{HASH}", {members} }}"#), &[], &[])
}

fn error(text: &str) -> String {
    parsed(text, &[], &[]).unwrap_err()
}

fn defaults() -> Value {
    serde_json::to_value(Typed::default()).unwrap()
}

#[test]
fn gu_008_the_sample_of_the_manual_loads() {
    let config = parsed(MANUAL_SAMPLE, &[], &[]).unwrap();
    assert_eq!((config.listen.to_string(), config.api_listen.to_string()), (":8001".into(), ":8002".into()));
    assert_eq!(config.admin.account, "account");
    assert_eq!(config.admin.password_hash.reveal(), HASH);
    assert_eq!(config.log.target, LogTarget::File("./".into()));
    assert_eq!(config.database, Database::File("./appdata.sqlite".into()));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn gu_009_a_named_file_is_loaded_whatever_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("any name");
    std::fs::write(&file, MANUAL_SAMPLE.replace(":8001", ":9001")).unwrap();
    let config = load(Some(&file), [], &Overlay::default()).unwrap();
    assert_eq!(config.listen.port(), 9001);
}

#[test]
fn gu_010_a_missing_file_is_an_error_that_mentions_init() {
    let directory = tempfile::tempdir().unwrap();
    let absent = find(directory.path()).unwrap_err();
    assert!(matches!(absent, ConfigError::Absent));
    let named = load(Some(&directory.path().join("no.json")), [], &Overlay::default()).unwrap_err();
    for error in [absent.to_string(), named.to_string()] {
        assert!(error.contains("gusher init") && !error.contains('\n'), "{error}");
    }
    assert!(named.to_string().contains("no.json"));
}

#[test]
fn config_json_is_preferred_to_default_json() {
    let directory = tempfile::tempdir().unwrap();
    let found = || find(directory.path()).unwrap().0;
    std::fs::write(directory.path().join("default.json"), "").unwrap();
    assert_eq!(found(), directory.path().join("default.json"));
    // Even one that cannot be read: to fall back in silence would run the wrong configuration.
    std::fs::create_dir(directory.path().join("config.json")).unwrap();
    assert_eq!(found(), directory.path().join("config.json"));
    assert!(find(directory.path()).unwrap().1.is_err());
}

#[test]
fn gu_011_a_plain_password_is_refused_and_not_shown() {
    for password in ["swordfish", ""] {
        let error = error(&format!(r#"{{ "auth_password": "{password}" }}"#));
        assert!(error.contains("must be a bcrypt hash") && error.contains("gusher init"), "{error}");
        assert!(!error.contains("swordfish"), "{error}");
    }
    assert!(!error(r#"{ "auth_password": 760804 }"#).contains("760804"));
    assert!(!error(r#"{ "auth_password": swordfish }"#).contains("swordfish"));
}

#[test]
fn gu_012_environments_mean_levels_in_any_case() {
    let level = |environment: &str| with(&format!(r#""environment": "{environment}""#)).unwrap();
    for (environment, expected) in [
        ("DEBUG", Level::Debug),
        ("", Level::Debug),
        ("Development", Level::Info),
        ("PRODUCTION", Level::Warn),
        ("producation", Level::Warn),
    ] {
        let config = level(environment);
        assert_eq!((config.log.level, config.warnings.len()), (expected, 0), "{environment}");
    }
    let config = level("staging");
    assert_eq!(config.log.level, Level::Info);
    assert!(config.warnings[0].contains("staging"));
}

#[test]
fn gu_018_no_hook_workers_means_the_default() {
    for members in ["", r#""max_wait_hook": 0"#, r#""max_wait_hook": -3"#] {
        assert_eq!(with(members).unwrap().max_wait_hook, 10, "{members}");
    }
    assert_eq!(with(r#""max_wait_hook": 7"#).unwrap().max_wait_hook, 7);
}

#[test]
fn the_default_file_is_the_defaults_and_explains_each() {
    let mut layers = Layers::over(Typed::default());
    for key in keys::all(&defaults()) {
        let value = keys::at(&mut layers.tree, &key).unwrap();
        *value = match value {
            Value::String(_) => "changed".into(),
            Value::Bool(is_set) => (!*is_set).into(),
            _ => 424_242.into(),
        };
    }
    layers.lay_file(DEFAULT_FILE.as_bytes()).unwrap();
    assert_eq!((layers.tree, layers.findings), (defaults(), vec![]));

    let lines: Vec<&str> = DEFAULT_FILE.lines().map(str::trim).collect();
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with('"')) {
        assert!(pair[0].starts_with("//"), "{} has no explanation", pair[1]);
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = with("").unwrap();
    assert_eq!(config.limits.message_bytes_max, 512);
    assert_eq!(config.limits.sockets_max, None);
    assert_eq!(config.limits.ping_interval, Duration::from_secs(54));
    assert_eq!(config.node.credential_life, Duration::from_secs(60));
    assert_eq!(config.drain.time_max, Duration::from_secs(10));
    assert!((1..=64).contains(&config.node.shards));
    let empty = with(r#""listen": "", "api_listen": "", "sqlfile": "", "logfile": """#).unwrap();
    assert_eq!((empty.listen, empty.api_listen), (config.listen, config.api_listen));
    assert_eq!((empty.database, empty.log.target), (config.database, LogTarget::Console));
}

#[test]
fn the_environment_beats_the_file_and_a_flag_beats_both() {
    let file = format!(r#"{{ "auth_password": "{HASH}", "listen": ":1", "node": {{ "shards": 2 }} }}"#);
    let environment = [("GUSHER_LISTEN", ":3"), ("GUSHER_NODE_SHARDS", "3")];
    let seen = |environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        let config = parsed(&file, environment, flags).unwrap();
        (config.listen.port(), config.node.shards)
    };
    assert_eq!(seen(&[], &[]), (1, 2));
    assert_eq!(seen(&environment, &[]), (3, 3));
    assert_eq!(seen(&environment, &[("listen", ":4"), ("node.shards", "4")]), (4, 4));
    assert_eq!(seen(&[("GUSHER_LISTEN", ""), ("GUSHER_NODE_SHARDS", "")], &[]), (1, 2));
}

#[test]
fn every_setting_has_its_environment_variable() {
    for key in keys::all(&defaults()) {
        let mut layers = Layers::over(Typed::default());
        let (text, expected): (_, Value) = match keys::at(&mut defaults(), &key) {
            Some(Value::String(_)) => ("424242", "424242".into()),
            Some(Value::Bool(is_on)) => (if *is_on { "false" } else { "true" }, (!*is_on).into()),
            _ => ("424242", 424_242.into()),
        };
        layers.lay_environment(pairs(&[(&keys::variable(&key), text)]));
        assert_eq!(keys::at(&mut layers.tree, &key), Some(&mut expected.clone()), "{key}");
        assert!(!COMMAND_LINE_VARIABLES.contains(&keys::variable(&key).as_str()), "{key}");
    }
}

#[test]
fn every_number_has_a_permitted_range_and_is_named_when_outside() {
    let numbers = keys::all(&defaults());
    let numbers =
        numbers.iter().filter(|key| keys::at(&mut defaults(), key).is_some_and(|value| value.is_number()));
    for key in numbers {
        let error = parsed(MANUAL_SAMPLE, &[], &[(key, &i64::MAX.to_string())]).unwrap_err();
        assert!(error.contains(&format!("{} must be ", keys::flag(key))), "{key}: {error}");
        let error = parsed(MANUAL_SAMPLE, &[(&keys::variable(key), "many")], &[]).unwrap_err();
        assert!(error.contains(&format!("{} must be a whole number", keys::variable(key))), "{key}: {error}");
        let low = parsed(MANUAL_SAMPLE, &[], &[(key, "-1")]);
        assert!(
            key == "max_wait_hook" || low.unwrap_err().contains(&format!("{} must be ", keys::flag(key))),
            "{key}"
        );
    }
}

#[test]
fn truth_is_said_in_one_way() {
    let strict = |members: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        let file = format!(r#"{{ "auth_password": "{HASH}", "pusher": {{ {members} }} }}"#);
        parsed(&file, environment, flags).map(|config| config.pusher.strict_protocol)
    };
    let variable = |value| [("GUSHER_PUSHER_STRICT_PROTOCOL", value)];
    assert_eq!(strict("", &[], &[]), Ok(false));
    assert_eq!(strict(r#""strict_protocol": true"#, &[], &[]), Ok(true));
    assert_eq!(strict(r#""strict_protocol": true"#, &variable("false"), &[]), Ok(false));
    assert_eq!(strict("", &variable("false"), &[("pusher.strict_protocol", "true")]), Ok(true));
    let error = strict(r#""strict_protocol": "true""#, &variable("1"), &[("pusher.strict_protocol", "")]);
    let error = error.unwrap_err();
    for part in [
        "pusher.strict_protocol must be true or false, found a string",
        "GUSHER_PUSHER_STRICT_PROTOCOL must be true or false",
        "--pusher-strict-protocol must be true or false",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn a_wrong_proxy_or_prefix_is_named() {
    let error = with(r#""trusted_proxies": "10.0.0.1, x", "pusher": { "path_prefix": "x" }"#).unwrap_err();
    assert!(error.contains("trusted_proxies must be addresses") && error.contains(r#"found "x""#), "{error}");
    assert!(error.contains("pusher.path_prefix must begin with a slash"), "{error}");
}

#[test]
fn what_proxies_may_say_is_named_and_what_does_nothing_is_told() {
    let error = with(r#""proxy_protocol": "on", "api_allow": "10.0.0.0/40""#).unwrap_err();
    assert!(error.contains(r#"proxy_protocol must be off or trusted, found "on""#), "{error}");
    assert!(error.contains(r#"api_allow must be addresses"#) && error.contains("10.0.0.0/40"), "{error}");
    let warnings = |text: &str| with(text).unwrap().warnings.join("; ");
    assert!(warnings(r#""proxy_protocol": "trusted""#).contains("without trusted_proxies"));
    assert_eq!(warnings(r#""proxy_protocol": "trusted", "trusted_proxies": "10.0.0.1""#), "");
    assert!(warnings(r#""trusted_proxies": "10.0.0.1,::/0""#).contains("everybody"));
}

#[test]
fn a_rate_of_zero_is_none() {
    let limits = |text: &str| with(&format!(r#""addresses": {{ {text} }}"#)).unwrap().addresses;
    assert!(limits("").connects.is_none() && limits("").calls.is_none() && limits("").sockets_max.is_none());
    let rate = limits(r#""calls_per_second": 5, "calls_burst": 7"#).calls.unwrap();
    assert_eq!((rate.per_second.get(), rate.burst.get()), (5, 7));
}

#[test]
fn webhooks_reach_private_addresses_in_a_trial_run_only() {
    assert!(!with("").unwrap().webhooks.allow_private);
    assert!(dev([], &Overlay::default()).unwrap().webhooks.allow_private);
    let variable = pairs(&[("GUSHER_ALLOW_PRIVATE_WEBHOOKS", "false")]);
    assert!(!dev(variable, &Overlay::default()).unwrap().webhooks.allow_private);
}

#[test]
fn an_unknown_key_is_refused_and_the_nearest_named() {
    let refused = |members: &str| with(members).unwrap_err();
    assert!(refused(r#""lisen": ":1""#).contains("unknown key `lisen`, did you mean `listen`?"));
    assert!(refused(r#""shards": 4"#).contains("did you mean `shards` in `node`?"));
    assert!(
        refused(r#""node": { "shard": 4 }"#)
            .contains("unknown key `node.shard`, did you mean `shards` in `node`?")
    );
    assert!(refused(r#""colour": 1"#).ends_with("unknown key `colour`"));
    assert!(refused(r#""a\nb": 1"#).ends_with(r"unknown key `a\nb`"));
}

#[test]
fn an_unknown_variable_is_a_warning_unless_it_is_none_of_ours() {
    let environment = [("GUSHER_LISEN", ":1"), ("GUSHER_PASSWORD", "x"), ("PATH", "/bin")];
    let warnings = parsed(MANUAL_SAMPLE, &environment, &[]).unwrap().warnings;
    assert_eq!(warnings, ["unknown environment variable `GUSHER_LISEN`, did you mean GUSHER_LISTEN?"]);
}

#[test]
fn a_flag_without_a_setting_is_refused() {
    for key in ["lisen", "limits", ""] {
        assert!(parsed(MANUAL_SAMPLE, &[], &[(key, "1")]).unwrap_err().contains("is no setting"), "{key}");
    }
}

#[test]
fn a_wrong_type_names_key_expected_and_found() {
    for (members, expected) in [
        (r#""listen": 8001"#, "listen must be a string, found a number"),
        (r#""max_wait_hook": "10""#, "max_wait_hook must be a whole number, found a string"),
        (r#""max_wait_hook": 1.5"#, "max_wait_hook must be a whole number, found 1.5"),
        (r#""max_wait_hook": 99999999999999999999999"#, "max_wait_hook must be a whole number, found 99999"),
        (r#""limits": [1]"#, "limits must be an object, found an array"),
        (r#""limits": { "headers_max": null }"#, "limits.headers_max must be a whole number, found null"),
    ] {
        let error = with(members).unwrap_err();
        assert!(error.contains(expected), "{members}: {error}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    assert!(with(r#""listen": ":1", "listen": ":2""#).unwrap_err().ends_with("`listen` is there twice"));
    let twice = r#""node": { "shards": 1, "shards": 1 }"#;
    assert!(with(twice).unwrap_err().ends_with("`node.shards` is there twice"));
}

#[test]
fn only_remarks_and_trailing_commas_are_lax() {
    assert!(with("/* a remark */ // and another\n").is_ok());
    for text in [
        "",
        "[]",
        "{",
        "{'listen': ':1'}",
        "{listen: ':1'}",
        r#"{"a" "b"}"#,
        r#"{"max_wait_hook": 0x10}"#,
        "{}{}",
    ] {
        let error = error(text);
        assert!(
            error.starts_with("config.json: this is no JSON: ") && error.contains("gusher init"),
            "{error}"
        );
    }
    let bytes = parse(Path::new("c"), b"{ \"\xff\": 1 }", [], &Overlay::default());
    assert!(bytes.unwrap_err().to_string().contains("no JSON"));
}

#[test]
fn all_that_is_wrong_is_said_in_one_line() {
    let text =
        r#"{ "auth_password": "x", "listen": "nowhere", "lisen": 1, "limits": { "ping_seconds": 90 } }"#;
    let error = parsed(text, &[("GUSHER_DRAIN_SECONDS", "soon")], &[("node.shards", "65")]).unwrap_err();
    assert!(error.starts_with("config.json: "), "{error}");
    for part in [
        "unknown key `lisen`",
        "GUSHER_DRAIN_SECONDS must be a whole number",
        "listen must be [host]:port",
        "auth_password must be a bcrypt hash",
        "--node-shards must be 0 to 64, found 65",
        "limits.pong_seconds_max must be more than limits.ping_seconds",
    ] {
        assert_eq!(error.matches(part).count(), 1, "{part} in {error}");
    }
    assert!(!error.contains('\n'));
}

#[test]
fn a_value_is_blamed_on_where_it_came_from() {
    let file = format!(r#"{{ "auth_password": "{HASH}" }}"#);
    let flag = parsed(&file, &[], &[("listen", "nowhere")]).unwrap_err();
    assert!(flag.starts_with("--listen must be [host]:port"), "{flag}");
    let variable = parsed(&file, &[("GUSHER_NODE_SHARDS", "65")], &[]).unwrap_err();
    assert_eq!(variable, "GUSHER_NODE_SHARDS must be 0 to 64, found 65");
    let both = parsed(r#"{ "listen": "x" }"#, &[("GUSHER_NODE_SHARDS", "65")], &[]).unwrap_err();
    assert!(
        both.starts_with("config.json: ") && both.ends_with("; GUSHER_NODE_SHARDS must be 0 to 64, found 65")
    );
}

#[test]
fn a_missing_password_is_not_called_a_wrong_one() {
    assert!(error("{}").contains("auth_password is missing"));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(parsed(&format!("\u{feff}{{ \"auth_password\": \"{HASH}\" }}"), &[], &[]).is_ok());
}

#[test]
fn an_admin_who_could_not_sign_in_or_without_a_password_is_refused() {
    for account in ["", "a:b", r"a\nb", &"a".repeat(72)] {
        assert!(
            with(&format!(r#""auth_account": "{account}""#)).unwrap_err().contains("auth_account"),
            "{account}"
        );
    }
    assert!(with(&format!(r#""auth_account": "{}""#, "a".repeat(71))).is_ok());
}

#[test]
fn two_listeners_on_one_port_are_refused() {
    assert!(with(r#""listen": ":8002""#).unwrap_err().contains("must not share a port"));
    assert!(with(r#""listen": ":0", "api_listen": ":0""#).is_ok());
}

#[test]
fn a_trial_run_is_local_and_keeps_nothing() {
    let config = dev([], &Overlay::default()).unwrap();
    assert_eq!(
        (config.listen.to_string(), config.api_listen.to_string()),
        ("127.0.0.1:8001".into(), "127.0.0.1:8002".into())
    );
    assert_eq!(
        (config.database, config.log.level, config.log.target),
        (Database::Memory, Level::Info, LogTarget::Console)
    );
    assert!(bcrypt::verify("accountpassword", config.admin.password_hash.reveal()).unwrap());
}

#[test]
fn a_trial_run_obeys_environment_and_flags() {
    let mut flags = Overlay::default();
    flags.set("api_listen", ":0");
    let config = dev(pairs(&[("GUSHER_AUTH_ACCOUNT", "bob"), ("GUSHER_API_LISTEN", ":1")]), &flags).unwrap();
    assert_eq!(config.api_listen.port(), 0);
    assert!(bcrypt::verify("bobpassword", config.admin.password_hash.reveal()).unwrap());
    let config = dev(pairs(&[("GUSHER_AUTH_PASSWORD", HASH)]), &Overlay::default()).unwrap();
    assert_eq!(config.admin.password_hash.reveal(), HASH);
}

#[test]
fn a_configuration_prints_without_its_secret() {
    assert!(!format!("{:?}", with("").unwrap()).contains(HASH));
}

#[test]
fn a_file_too_large_is_not_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
    let error = load(Some(file.path()), [], &Overlay::default()).unwrap_err();
    assert!(error.to_string().contains("larger than 1 MiB"));
}

#[test]
fn variables_of_gusher_cluster_keep_their_names() {
    let environment = [("GUSHER_PUBLIC_PEM_FILE", "/k.pem"), ("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", "512")];
    let config = parsed(MANUAL_SAMPLE, &environment, &[]).unwrap();
    assert_eq!(config.cluster.public_pem_file.as_deref(), Some(Path::new("/k.pem")));
    assert_eq!((config.cluster.message_bytes_max, config.warnings.len()), (512, 0));
    let zero = parsed(MANUAL_SAMPLE, &[("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", "0")], &[]).unwrap();
    assert_eq!(zero.cluster.message_bytes_max, 10_240);
}

#[test]
fn algorithms_of_tokens_are_named() {
    use crate::model::Algorithm::{Rs256, Rs512};
    let config = with(r#""cluster": { "algorithms": "RS512, RS256" }"#).unwrap();
    assert_eq!(config.cluster.algorithms, [Rs512, Rs256]);
    for bad in ["", "HS256", "RS256,none"] {
        let refused = with(&format!(r#""cluster": {{ "algorithms": "{bad}" }}"#)).unwrap_err();
        assert!(refused.contains("cluster.algorithms"), "{refused}");
    }
}

#[test]
fn a_bus_has_what_its_kind_needs_and_nothing_that_it_does_not_know() {
    let bus = |members: &str| with(&format!(r#""bus": {{ {members} }}"#));
    for (members, finding) in [
        (r#""kind": "rabbit", "url": "x""#, "none, nats or redis"),
        (r#""kind": "nats""#, "nats://"),
        (r#""kind": "redis""#, "redis://"),
        (
            r#""kind": "redis", "url": "redis://a", "creds_file": "a.creds""#,
            "bus.creds_file is for NATS alone",
        ),
        (r#""kind": "nats", "url": "nats://a", "password": "Xsecret""#, "bus.password needs bus.user"),
    ] {
        let error = bus(members).unwrap_err();
        assert!(error.contains(finding) && !error.contains("Xsecret"), "{error}");
    }
    let of_redis = bus(r#""kind": "redis", "url": "redis://a", "password": "Xsecret""#).unwrap().bus.unwrap();
    assert_eq!((of_redis.kind, of_redis.user.as_deref()), (BusKind::Redis, None));
    assert!(!format!("{of_redis:?}").contains("Xsecret"));
}

#[test]
fn a_certificate_and_its_key_are_named_together() {
    let tls = |members: &str| with(&format!(r#""tls": {{ {members} }}"#)).map(|config| config.tls);
    assert_eq!(tls(""), Ok(None));
    let both = tls(r#""cert_file": "c.pem", "key_file": "k.pem""#).unwrap().unwrap();
    let files = CertificateSource::Files { cert_file: "c.pem".into(), key_file: "k.pem".into() };
    assert_eq!(both.source, files);
    assert!(!both.is_private_too);
    for (members, needed) in [
        (r#""cert_file": "c.pem""#, "tls.cert_file needs tls.key_file"),
        (r#""key_file": "k.pem""#, "tls.key_file needs tls.cert_file"),
        (r#""private": true"#, "tls.private needs tls.cert_file and tls.key_file"),
    ] {
        let error = tls(members).unwrap_err();
        assert!(error.contains(needed), "{error}");
    }
}

#[test]
fn a_token_for_figures_cannot_be_guessed_and_is_not_shown() {
    let metrics = |members: &str| with(&format!(r#""metrics": {{ {members} }}"#));
    for short in ["Xshort", "Xhas a blank in its middle", "Xfifteen-letter"] {
        let error = metrics(&format!(r#""token": "{short}""#)).unwrap_err();
        assert!(error.contains("metrics.token must be at least 16") && !error.contains(short), "{error}");
    }
    let settings = metrics(r#""token": "Xsixteen-letters""#).unwrap().metrics;
    assert!(settings.token.as_ref().is_some_and(|token| token.reveal() == "Xsixteen-letters"));
    assert!(!format!("{settings:?}").contains("Xsixteen"));
    assert!(metrics("").unwrap().metrics.token.is_none(), "without one nobody has the right one");
}
