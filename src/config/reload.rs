//! Which settings may change while a node runs, and which are different in another configuration.

use std::fmt;

use serde_json::Value;

use super::{Config, keys, typed::Typed};

/// What a node that runs takes over when it reads its configuration again (SIGHUP). All else counts at the next start.
pub const RELOADABLE: [&str; 36] = [
    "auth_account",
    "auth_password",
    "environment",
    "logfile",
    "log.output",
    "log.file",
    "log.max_size_mb",
    "log.max_backups",
    "log.max_age_days",
    "log.compress",
    "trusted_proxies",
    "proxy_protocol",
    "api_allow",
    "addresses.connects_per_second",
    "addresses.connects_burst",
    "addresses.calls_per_second",
    "addresses.calls_burst",
    "addresses.connections_max",
    "addresses.sockets_max",
    "addresses.failed_sign_ins_max",
    "addresses.failed_sign_ins_seconds",
    "cors.origins",
    "limits.memory_bytes_max",
    "limits.body_bytes_max",
    "limits.body_seconds_max",
    "limits.head_bytes_max",
    "limits.headers_max",
    "limits.head_seconds_max",
    "limits.idle_seconds_max",
    "pusher.strict_protocol",
    "pusher.path_prefix",
    "cluster.public_pem_file",
    "cluster.algorithms",
    "cluster.close_at_expiry",
    "drain.seconds",
    "drain.delay_seconds",
];

/// All settings as they were typed, to be compared. Shows nothing: there are secrets among them.
#[derive(Clone)]
pub(super) struct AsTyped(Value);

impl AsTyped {
    pub(super) fn of(typed: &Typed) -> Self {
        Self(serde_json::to_value(typed).unwrap_or_default())
    }

    fn at(&self, key: &str) -> Option<&Value> {
        key.split('.').try_fold(&self.0, |tree, name| tree.get(name))
    }
}

impl fmt::Debug for AsTyped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AsTyped")
    }
}

impl Config {
    /// The settings that are different in `later` and count at the next start only, called as the operator of this role
    /// calls them.
    pub fn needs_start(&self, later: &Config) -> Vec<String> {
        let (now, then) = (&self.as_typed, &later.as_typed);
        let is_changed = |key: &String| !RELOADABLE.contains(&key.as_str()) && now.at(key) != then.at(key);
        let changed = keys::all(&now.0).into_iter().filter(is_changed);
        changed.map(|key| self.role.word_for(&key).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::{self, Overlay};
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Config {
        let mut flags = Overlay::default();
        settings.iter().for_each(|(key, value)| flags.set(key, *value));
        read::dev([], &flags).unwrap()
    }

    #[test]
    fn what_may_change_is_a_setting_and_is_listed_in_the_manual() {
        let manual = include_str!("../../docs/configuration.md");
        let manual = manual.split("## Reloading").nth(1).unwrap().split("\n## ").next().unwrap();
        let all = keys::all(&serde_json::to_value(Typed::default()).unwrap());
        for key in RELOADABLE {
            assert!(all.iter().any(|known| known == key), "{key}");
            assert!(manual.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn what_has_to_wait_for_a_start_is_named_and_nothing_else() {
        let now = config(&[]);
        assert!(now.needs_start(&config(&[])).is_empty());
        let later = config(&[
            ("listen", "127.0.0.1:9"),
            ("node.shards", "7"),
            ("trusted_proxies", "10.0.0.1"),
            ("environment", "PRODUCTION"),
        ]);
        assert_eq!(now.needs_start(&later), ["listen", "node.shards"]);
    }

    #[test]
    fn a_configuration_shows_nothing_of_what_was_typed() {
        let shown = format!("{:?}", config(&[("bus.kind", "nats"), ("bus.url", "nats://u:hidden@h")]));
        assert!(shown.contains("AsTyped") && !shown.contains("hidden"), "{shown}");
    }
}
