//! The roles of Gusher Cluster and the variables that set them up (spec 2.1): what each means among our settings.
//!
//! Always holds: what the original needs and nobody gave is a finding that names the variable; an integer of the original's
//! that is none means the default; and one set of variables may serve both roles, as what belongs to the other is passed
//! over.

use super::{Secret, keys};

/// Which part of a node runs.
#[derive(Clone, Debug)]
pub enum Role {
    /// Both listeners and every dialect, for apps that are registered (`gusher start`).
    Whole,
    /// Clients of Gusher Cluster alone, in whatever apps their tokens name.
    Slave,
    /// Backends of Gusher Cluster alone, for whatever apps they name.
    Master(MasterAccess),
}

/// A role of Gusher Cluster as it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// For clients.
    Slave,
    /// For backends.
    Master,
}

impl RoleName {
    /// A complaint that begins with a setting, which is then called as the operator of this role calls it.
    pub fn in_its_words(self, complaint: String) -> String {
        let Some((key, rest)) = complaint.split_once(' ') else { return complaint };
        match variable_of(self, key) {
            Some(variable) => format!("{variable} {rest}"),
            None if key == "auth_password" => format!("{} {rest}", keys::variable(key)),
            None => complaint,
        }
    }
}

/// Who may call a master, besides its super admin.
#[derive(Clone, Debug)]
pub struct MasterAccess {
    /// Whoever shows this. Printable ASCII.
    pub token: Option<Secret>,
    /// Everybody.
    pub is_open: bool,
}

impl Role {
    /// Whether only the dialect of Gusher Cluster is served, and in apps that need not be registered.
    pub fn is_of_cluster(&self) -> bool {
        !matches!(self, Role::Whole)
    }

    /// Whether everybody who reaches its private listener may do everything.
    pub fn is_open(&self) -> bool {
        matches!(self, Role::Master(access) if access.is_open)
    }

    /// What an operator calls the setting at `key` in this role.
    pub fn word_for<'a>(&self, key: &'a str) -> &'a str {
        let name = match self {
            Role::Whole => return key,
            Role::Slave => RoleName::Slave,
            Role::Master(_) => RoleName::Master,
        };
        variable_of(name, key).unwrap_or(key)
    }
}

/// What a variable of the original is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The text of this setting.
    Text(&'static str),
    /// The number of this setting; the default if it is none, or is not above 0.
    Number(&'static str),
    /// Whether this setting is on; off if it is neither.
    Truth(&'static str),
    /// Nothing: what it sets does not exist here.
    Nothing,
}

use Meaning::{Nothing, Number, Text, Truth};

const ADDRESS: &str = "GUSHER_NATS_ADDR";
const KEY_FILE: &str = "GUSHER_PUBLIC_PEM_FILE";
const SLAVE_LISTEN: &str = "GUSHER_API_LISTEN";
const MASTER_LISTEN: &str = "GUSHER_MASTER_API_LISTEN";
const MASTER_TOKEN: &str = "GUSHER_MASTER_TOKEN";
const MASTER_OPEN: &str = "GUSHER_MASTER_OPEN";

/// The variables that mean the same in both roles.
const VARIABLES: [(&str, Meaning); 15] = [
    (ADDRESS, Text("bus.url")),
    ("GUSHER_NATS_CREDS", Text("bus.creds_file")),
    (KEY_FILE, Text("cluster.public_pem_file")),
    ("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", Number("cluster.message_bytes_max")),
    ("GUSHER_READ_BUFFER", Nothing),
    ("GUSHER_WRITE_BUFFER", Nothing),
    ("GUSHER_SCAN_INTERVAL", Nothing),
    ("GUSHER_LOG_SYS_INTERVAL", Nothing),
    ("GUSHER_LOG_OUTPUT", Text("log.output")),
    ("GUSHER_LOG_FILE", Text("log.file")),
    ("GUSHER_LOG_FORMAT", Text("log.format")),
    ("GUSHER_LOG_MAX_SIZE_MB", Number("log.max_size_mb")),
    ("GUSHER_LOG_MAX_BACKUPS", Number("log.max_backups")),
    ("GUSHER_LOG_MAX_AGE_DAYS", Number("log.max_age_days")),
    ("GUSHER_LOG_COMPRESS", Truth("log.compress")),
];

/// The variables of one role. What is not its own is passed over.
fn of_role(name: RoleName) -> [(&'static str, Meaning); 2] {
    match name {
        RoleName::Slave => [(SLAVE_LISTEN, Text("listen")), (MASTER_LISTEN, Nothing)],
        RoleName::Master => [(MASTER_LISTEN, Text("api_listen")), (SLAVE_LISTEN, Nothing)],
    }
}

fn meaning(name: RoleName, variable: &str) -> Option<Meaning> {
    let mut all = of_role(name).into_iter().chain(VARIABLES);
    all.find(|(known, _)| *known == variable).map(|(_, meaning)| meaning)
}

fn variable_of(name: RoleName, key: &str) -> Option<&'static str> {
    let is_it = |meaning: Meaning| matches!(meaning, Text(set) | Number(set) | Truth(set) if set == key);
    of_role(name).into_iter().chain(VARIABLES).find(|(_, meaning)| is_it(*meaning)).map(|(known, _)| known)
}

/// The environment of a role, sorted.
pub(super) struct Variables {
    name: RoleName,
    /// What is set, by the key of the setting.
    pub settings: Vec<(String, String)>,
    /// What the original does not know.
    pub others: Vec<(String, String)>,
    given: Vec<&'static str>,
    token: Option<String>,
    is_open: bool,
}

impl Variables {
    /// Sorts an environment. An empty variable counts as not set.
    pub fn sort(name: RoleName, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut sorted = Self {
            name,
            settings: Vec::new(),
            others: Vec::new(),
            given: Vec::new(),
            token: None,
            is_open: false,
        };
        environment.into_iter().filter(|(_, value)| !value.is_empty()).for_each(|(variable, value)| {
            sorted.take(variable, value);
        });
        sorted
    }

    fn take(&mut self, variable: String, value: String) {
        match variable.as_str() {
            MASTER_TOKEN => self.token = Some(value),
            MASTER_OPEN => self.is_open = is_true(&value),
            _ => match meaning(self.name, &variable) {
                None => self.others.push((variable, value)),
                Some(Nothing) => {}
                Some(Text(key)) => self.set(key, value),
                Some(Number(key)) => {
                    let number = value.trim().parse().ok().filter(|number: &i64| *number > 0);
                    number.into_iter().for_each(|number| self.set(key, number.to_string()));
                }
                Some(Truth(key)) => self.set(key, is_true(&value).to_string()),
            },
        }
    }

    fn set(&mut self, key: &'static str, value: String) {
        self.given.push(key);
        self.settings.push((key.to_owned(), value));
    }

    /// The role with what it needs; `has_admin` if there is a super admin. What is missing is added to `findings`.
    pub fn role(self, has_admin: bool, findings: &mut Vec<String>) -> Role {
        let required: &[&str] = match self.name {
            RoleName::Slave => &["listen", "bus.url", "cluster.public_pem_file"],
            // Without a key it serves all the same, but decodes no tokens.
            RoleName::Master => &["api_listen", "bus.url"],
        };
        for key in required.iter().filter(|key| !self.given.contains(*key)) {
            let variable = variable_of(self.name, key).unwrap_or(key);
            let example = match *key {
                "bus.url" => "where NATS is, such as nats://127.0.0.1:4222",
                "cluster.public_pem_file" => "the file with the RSA public key that proves tokens",
                _ => "where to listen, such as :8888",
            };
            findings.push(format!("{variable} is not set: set it to {example}"));
        }
        if self.name == RoleName::Slave {
            return Role::Slave;
        }
        let is_showable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !is_showable(token)) {
            findings.push(format!("{MASTER_TOKEN} must be printable ASCII characters without blanks"));
        }
        if self.token.is_none() && !has_admin && !self.is_open {
            findings.push(format!(
                "nobody could call this master: set {MASTER_TOKEN} to what backends show as bearer, or \
                 GUSHER_AUTH_PASSWORD to the bcrypt hash of a super admin, or {MASTER_OPEN}=true to let everybody"
            ));
        }
        // Whoever closes it means it, whatever an old environment says besides.
        let is_open = self.is_open && self.token.is_none() && !has_admin;
        Role::Master(MasterAccess { token: self.token.map(Secret::new), is_open })
    }
}

/// As Go reads a truth value.
fn is_true(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "t" | "true")
}

#[cfg(test)]
mod tests {
    use super::super::read::{self, Overlay};
    use super::super::{Config, Level, LogFormat, LogTarget};
    use super::*;

    const SLAVE: [(&str, &str); 3] =
        [(SLAVE_LISTEN, "127.0.0.1:0"), (ADDRESS, "nats://u:secret@n:4222"), (KEY_FILE, "one.pem")];
    const MASTER: [(&str, &str); 3] =
        [(MASTER_LISTEN, ":7777"), (ADDRESS, "n:4222"), (MASTER_TOKEN, "a-token")];

    fn read(name: RoleName, variables: &[(&str, &str)]) -> Result<Config, String> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read::role(name, environment, &Overlay::default()).map_err(|error| error.to_string())
    }

    fn slave(more: &[(&str, &str)]) -> Result<Config, String> {
        read(RoleName::Slave, &[&SLAVE, more].concat())
    }

    fn master(more: &[(&str, &str)]) -> Result<Config, String> {
        read(RoleName::Master, &[&MASTER[..2], more].concat())
    }

    #[test]
    fn the_variables_of_the_original_become_settings() {
        let config = slave(&[
            ("GUSHER_NATS_CREDS", "a.creds"),
            ("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", "512"),
            ("GUSHER_READ_BUFFER", "1024"),
            ("GUSHER_WRITE_BUFFER", "x"),
            ("GUSHER_SCAN_INTERVAL", "0"),
            ("GUSHER_LOG_SYS_INTERVAL", "30"),
            ("GUSHER_MASTER_API_LISTEN", ":7777"),
            ("GUSHER_DRAIN_SECONDS", "3"),
        ])
        .unwrap();
        assert!(matches!(config.role, Role::Slave));
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(config.cluster.public_pem_file.unwrap().to_str(), Some("one.pem"));
        assert_eq!(config.cluster.message_bytes_max, 512);
        let bus = config.bus.unwrap();
        assert_eq!((bus.url.reveal(), bus.creds_file.unwrap().to_str()), (SLAVE[1].1, Some("a.creds")));
        assert_eq!(config.drain.time_max.as_secs(), 3);
        assert_eq!(config.warnings, [""; 0]);
        assert_eq!(config.log.level, Level::Info);
        assert_eq!((config.log.target, config.log.format), (LogTarget::Stdout, LogFormat::Json));
    }

    #[test]
    fn numbers_that_are_none_mean_the_default() {
        for value in ["many", "-1", "0", "1.5"] {
            let config = slave(&[
                ("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", value),
                ("GUSHER_LOG_OUTPUT", "both"),
                ("GUSHER_LOG_MAX_SIZE_MB", value),
                ("GUSHER_LOG_MAX_BACKUPS", value),
                ("GUSHER_LOG_MAX_AGE_DAYS", value),
                ("GUSHER_LOG_COMPRESS", value),
            ]);
            let config = config.unwrap();
            assert_eq!(config.cluster.message_bytes_max, 10_240, "{value}");
            let LogTarget::Both(rotation) = config.log.target else { panic!("{value}") };
            assert_eq!((rotation.bytes_max, rotation.backups_max), (100 << 20, 7), "{value}");
            assert_eq!((rotation.age_max.as_secs() / 86_400, rotation.compresses), (30, false), "{value}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_called_as_the_operator_calls_it() {
        let told = read(RoleName::Slave, &[]).unwrap_err();
        assert!(SLAVE.iter().all(|(variable, _)| told.contains(variable)), "{told}");
        let told = read(RoleName::Master, &[]).unwrap_err();
        let needed = [MASTER_LISTEN, ADDRESS, MASTER_TOKEN, MASTER_OPEN, "GUSHER_AUTH_PASSWORD"];
        assert!(needed.iter().all(|variable| told.contains(variable)), "{told}");
        let told = slave(&[(SLAVE_LISTEN, "nowhere"), ("GUSHER_LOG_FORMAT", "xml")]).unwrap_err();
        assert!(told.contains("GUSHER_API_LISTEN must be") && told.contains("GUSHER_LOG_FORMAT must be"));
        let told = master(&[("GUSHER_AUTH_PASSWORD", "clear")]).unwrap_err();
        assert!(told.starts_with("GUSHER_AUTH_PASSWORD must be") && !told.contains("clear"), "{told}");
    }

    #[test]
    fn a_master_is_closed_unless_it_is_asked_to_be_open() {
        let access = |more: &[(&str, &str)]| match master(more).unwrap().role {
            Role::Master(access) => (access.token.map(|token| token.reveal().to_owned()), access.is_open),
            other => panic!("{other:?}"),
        };
        assert_eq!(access(&[(MASTER_OPEN, "true")]), (None, true));
        assert_eq!(access(&[MASTER[2]]), (Some("a-token".to_owned()), false));
        assert_eq!(access(&[MASTER[2], (MASTER_OPEN, "1")]), (Some("a-token".to_owned()), false));
        for refused in
            [(MASTER_OPEN, "false"), (MASTER_OPEN, "yes"), (MASTER_TOKEN, ""), (MASTER_TOKEN, "a b")]
        {
            assert!(master(&[refused]).is_err(), "{refused:?}");
        }
        let config = master(&[MASTER[2]]).unwrap();
        assert!(!format!("{config:?}").contains("a-token"));
        assert_eq!(config.cluster.public_pem_file, None);
    }
}
