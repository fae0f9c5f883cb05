//! Where settings come from: the file, over it the environment, over that the flags of the command line.
//!
//! The environment is handed in, never looked up, so that a test can replace it. Each layer is laid over a tree of
//! defaults which also says what is known and of which type; what does not fit is a finding, and reading goes on.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use serde_json::Value;

use super::{Config, ConfigError, Role, RoleName, keys, role, shown::shown, typed::Typed, validate};

/// Tried in this order when no file is named (D9).
const FILE_NAMES: [&str; 2] = ["config.json", "default.json"];

/// A longer configuration file is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What all our environment variables begin with.
const VARIABLE_PREFIX: &str = "GUSHER_";

/// Variables that the command line itself reads: they are no settings and no mistakes.
const COMMAND_LINE_VARIABLES: [&str; 8] = [
    "GUSHER_API",
    "GUSHER_ACCOUNT",
    "GUSHER_PASSWORD",
    "GUSHER_ADMIN_PASSWORD",
    "GUSHER_APP_SECRET",
    "GUSHER_CA_FILE",
    "GUSHER_URL",
    "GUSHER_TOKEN",
];

/// Variables under other names than the usual: those of Gusher Cluster, and one that reads shorter. Variable and key.
const CLUSTER_VARIABLES: [(&str, &str); 3] = [
    ("GUSHER_BUS", "bus.kind"),
    ("GUSHER_PUBLIC_PEM_FILE", "cluster.public_pem_file"),
    ("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", "cluster.message_bytes_max"),
];

/// The password of a trial run; known to everyone, therefore the cheapest hash will do.
pub const DEV_PASSWORD: &str = "password";
const DEV_BCRYPT_COST: u32 = 4;

/// Settings that one source lays over the file, in the order they were set: key path and value as text.
#[derive(Clone, Debug, Default)]
pub struct Overlay(Vec<(String, String)>);

impl Overlay {
    /// Adds `key`, such as `listen` or `node.shards`; the last value of a key counts. A key that does not exist is
    /// reported when the overlay is used.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.push((key.to_owned(), value.into()));
    }
}

/// The variables of this process that may be meant for us. Bytes that are not UTF-8 are replaced.
pub fn environment() -> Vec<(String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    let ours = |(name, _): &(String, String)| name.starts_with(VARIABLE_PREFIX);
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).filter(ours).collect()
}

/// A configuration, and the settings that it was made of.
pub struct Effective {
    /// What the program goes by.
    pub config: Config,
    /// All settings under the names that a file gives them, as they were typed but for their secrets: those are `…`.
    pub settings: Value,
}

/// Reads the configuration from `path`; without one from `./config.json`, else `./default.json` (D9).
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Config, ConfigError> {
    effective(path, environment, flags).map(|effective| effective.config)
}

/// As [`load`], with the settings besides.
pub fn effective(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Effective, ConfigError> {
    let (file, bytes) = match path {
        Some(path) => (path.to_owned(), read(path)),
        None => find(Path::new("."))?,
    };
    match bytes {
        Ok(bytes) => effective_of(&file, &bytes, environment, flags),
        Err(reason) => Err(ConfigError::Unreadable { file, reason }),
    }
}

/// Reads the configuration from the content of a file; `file` is only named in errors.
pub fn parse(
    file: &Path,
    bytes: &[u8],
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Config, ConfigError> {
    effective_of(file, bytes, environment, flags).map(|effective| effective.config)
}

fn effective_of(
    file: &Path,
    bytes: &[u8],
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Effective, ConfigError> {
    let mut layers = Layers::over(Typed::default());
    let at_fault = |findings| ConfigError::Invalid { file: Some(file.to_owned()), findings };
    // What lies over a file that makes no sense as a whole is not worth a word.
    layers.lay_file(bytes).map_err(|finding| at_fault(vec![finding]))?;
    layers.lay_environment(environment);
    layers.lay_flags(flags);
    layers.effective(|_, _| Role::Whole).map_err(|invalid| match invalid.is_file_at_fault {
        true => at_fault(invalid.findings),
        false => ConfigError::Invalid { file: None, findings: invalid.findings },
    })
}

/// The configuration of a trial run without a file: loopback, a database in memory, and the admin `account` with the
/// password `password`. Environment and flags still count.
pub fn dev(
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Config, ConfigError> {
    effective_dev(environment, flags).map(|effective| effective.config)
}

/// As [`dev`], with the settings besides.
pub fn effective_dev(
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Effective, ConfigError> {
    let mut layers = Layers::over(Typed::dev());
    layers.lay_environment(environment);
    layers.lay_flags(flags);
    let mut is_known = false;
    let effective = layers.effective(|typed, findings| {
        if typed.auth_password.is_empty() {
            is_known = true;
            let secret = format!("{}{DEV_PASSWORD}", typed.auth_account);
            match bcrypt::hash(secret, DEV_BCRYPT_COST) {
                Ok(hash) => typed.auth_password = hash,
                Err(reason) => findings.push(reason.to_string()),
            }
        }
        Role::Whole
    });
    let mut effective =
        effective.map_err(|invalid| ConfigError::Invalid { file: None, findings: invalid.findings })?;
    effective.config.admin.is_known = is_known;
    Ok(effective)
}

/// The configuration of a role of Gusher Cluster, by the variables of its original (spec 2.1). All other settings may be
/// given in the environment as ever; flags still count.
pub fn role(
    name: RoleName,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Overlay,
) -> Result<Config, ConfigError> {
    let mut variables = role::Variables::sort(name, environment);
    let mut defaults = Typed::role();
    if name == RoleName::Master {
        // It holds no sockets.
        defaults.node.shards = 1;
    }
    let mut layers = Layers::over(defaults);
    layers.lay_environment(std::mem::take(&mut variables.others));
    for (key, value) in std::mem::take(&mut variables.settings) {
        layers.lay_text(&key, &keys::flag(&key), &value);
        // The role knows which of its variables that was.
        layers.origins.remove(&key);
    }
    layers.lay_flags(flags);
    let effective =
        layers.effective(|typed, findings| variables.role(!typed.auth_password.is_empty(), findings));
    effective.map(|effective| effective.config).map_err(|invalid| {
        let findings = invalid.findings.into_iter().map(|finding| name.in_its_words(finding)).collect();
        ConfigError::Invalid { file: None, findings }
    })
}

/// A configuration file as it was named, and what reading it gave.
type Found = (PathBuf, io::Result<Vec<u8>>);

/// The first of [`FILE_NAMES`] that exists in `directory`, be it readable or not.
fn find(directory: &Path) -> Result<Found, ConfigError> {
    FILE_NAMES
        .iter()
        .map(|name| directory.join(name))
        .map(|file| (read(&file), file))
        .find(|(bytes, _)| !matches!(bytes, Err(reason) if reason.kind() == io::ErrorKind::NotFound))
        .map(|(bytes, file)| (file, bytes))
        .ok_or(ConfigError::Absent)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// The defaults and whatever was laid over them so far. The tree keeps the shape of [`Typed`] throughout.
struct Layers {
    tree: Value,
    /// The settings that a variable or flag gave, each with the name of that variable or flag.
    origins: HashMap<String, String>,
    findings: Vec<String>,
    warnings: Vec<String>,
}

/// All that is wrong with the layers together.
struct Invalid {
    findings: Vec<String>,
    /// A finding concerns a value that no variable or flag gave.
    is_file_at_fault: bool,
}

impl Layers {
    fn over(defaults: Typed) -> Self {
        let tree = serde_json::to_value(defaults)
            .expect("a struct of texts, integers and truth values is always JSON");
        Self { tree, origins: HashMap::new(), findings: Vec::new(), warnings: Vec::new() }
    }

    /// Lays the content of a file over the tree. Fails if it is not JSON with remarks at all.
    fn lay_file(&mut self, bytes: &[u8]) -> Result<(), String> {
        let not_json = |reason: String| format!("this is no JSON: {reason} (`gusher init` makes a new one)");
        let text = std::str::from_utf8(bytes).map_err(|reason| not_json(reason.to_string()))?;
        // Editors on Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = parse_to_ast(text, &CollectOptions::default(), &syntax())
            .map_err(|reason| not_json(reason.to_string()))?;
        match parsed.value {
            Some(ast::Value::Object(typed)) => lay_object(&mut self.tree, &typed, "", &mut self.findings),
            _ => return Err(not_json("an object { ... } is missing".to_owned())),
        }
        Ok(())
    }

    /// Lays environment variables over the tree. An empty one counts as not set, and one we do not know is a warning
    /// and no error: it may belong to another program or another version.
    fn lay_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let known = keys::all(&self.tree);
        for (name, value) in environment {
            if !name.starts_with(VARIABLE_PREFIX) || COMMAND_LINE_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let cluster =
                CLUSTER_VARIABLES.iter().find(|(variable, _)| *variable == name).map(|(_, key)| *key);
            let own = known.iter().find(|key| keys::variable(key) == name).map(String::as_str);
            match own.or(cluster) {
                Some(key) if !value.is_empty() => self.lay_text(key, &name, &value),
                Some(_) => {}
                None => {
                    let near = keys::nearest_variable(&name, &known);
                    let near = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                    self.warnings.push(format!("unknown environment variable {}{near}", quoted(&name)));
                }
            }
        }
    }

    fn lay_flags(&mut self, flags: &Overlay) {
        for (key, value) in &flags.0 {
            self.lay_text(key, &keys::flag(key), value);
        }
    }

    /// Lays one value, given as text, over the setting at `key`. `origin` is how its source calls it.
    fn lay_text(&mut self, key: &str, origin: &str, text: &str) {
        self.origins.insert(key.to_owned(), origin.to_owned());
        match keys::at(&mut self.tree, key) {
            Some(Value::String(below)) => *below = text.to_owned(),
            Some(below @ Value::Number(_)) => match text.trim().parse::<i64>() {
                Ok(number) => *below = number.into(),
                Err(_) => self.findings.push(format!("{origin} must be a whole number")),
            },
            Some(Value::Bool(below)) => match text.trim().parse() {
                Ok(truth) => *below = truth,
                Err(_) => self.findings.push(format!("{origin} must be true or false")),
            },
            _ => self.findings.push(format!("{origin} is no setting")),
        }
    }

    /// The checked settings, to which `complete` adds what no layer had, of the role that it says; or all that is wrong
    /// with them.
    fn effective(
        self,
        complete: impl FnOnce(&mut Typed, &mut Vec<String>) -> Role,
    ) -> Result<Effective, Invalid> {
        let settings = shown(&self.tree);
        let Self { tree, origins, mut findings, warnings } = self;
        let broken = |reason: serde_json::Error| blame(vec![reason.to_string()], 0, &origins);
        let mut typed = serde_json::from_value(tree).map_err(broken)?;
        let of_layers = findings.len();
        let role = complete(&mut typed, &mut findings);
        let validated = validate::validate(typed, role, findings, warnings);
        let config = validated.map_err(|findings| blame(findings, of_layers, &origins))?;
        Ok(Effective { config, settings })
    }
}

/// Names in each finding the variable or flag that gave the value. The first `of_layers` findings do so already: they come
/// from reading the layers one by one. Those that concern the file come first, as they stand behind its name.
fn blame(mut findings: Vec<String>, of_layers: usize, origins: &HashMap<String, String>) -> Invalid {
    for finding in findings.iter_mut().skip(of_layers) {
        if let Some((key, rest)) = finding.split_once(' ')
            && let Some(origin) = origins.get(key)
        {
            *finding = format!("{origin} {rest}");
        }
    }
    let is_of_file = |finding: &String| {
        let subject = finding.split(' ').next();
        !origins.values().any(|origin| subject == Some(origin))
    };
    let is_file_at_fault = findings.iter().any(is_of_file);
    findings.sort_by_key(|finding| !is_of_file(finding));
    Invalid { findings, is_file_at_fault }
}

/// JSON with remarks and trailing commas, and nothing else that is lax (D12).
fn syntax() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Lays the members of an object over those of `below`, the object at `path`.
fn lay_object(below: &mut Value, typed: &ast::Object<'_>, path: &str, findings: &mut Vec<String>) {
    let known = keys::all(below);
    let mut seen = HashSet::new();
    for member in &typed.properties {
        let name = member.name.as_str();
        let key = keys::join(path, name);
        if !seen.insert(name) {
            findings.push(format!("{} is there twice", quoted(&key)));
        } else if let Some(below) = below.get_mut(name) {
            lay(below, &member.value, &key, findings);
        } else {
            let near = keys::nearest(&key, known.iter().map(|known| keys::join(path, known)));
            let near = near.map(|near| format!(", did you mean {}?", place(&near))).unwrap_or_default();
            findings.push(format!("unknown key {}{near}", quoted(&key)));
        }
    }
}

/// Where in a file `key` belongs: a dot is our way to say it and means nothing in JSON.
fn place(key: &str) -> String {
    match key.rsplit_once('.') {
        Some((object, name)) => format!("`{name}` in `{object}`"),
        None => format!("`{key}`"),
    }
}

/// Lays one value over `below`, the setting or object at `key`, if it is of the same type.
fn lay(below: &mut Value, typed: &ast::Value<'_>, key: &str, findings: &mut Vec<String>) {
    let mut refuse = |expected: &str, found: &str| {
        findings.push(format!("{key} must be {expected}, found {found}"));
    };
    match (below, typed) {
        (below @ Value::Object(_), ast::Value::Object(typed)) => lay_object(below, typed, key, findings),
        (Value::String(below), ast::Value::StringLit(text)) => *below = text.value.to_string(),
        (below @ Value::Number(_), ast::Value::NumberLit(number)) => match number.value.parse::<i64>() {
            Ok(number) => *below = number.into(),
            Err(_) => refuse("a whole number", &format!("{:.20}", number.value)),
        },
        (Value::Bool(below), ast::Value::BooleanLit(truth)) => *below = truth.value,
        (Value::Object(_), typed) => refuse("an object", kind(typed)),
        (Value::String(_), typed) => refuse("a string", kind(typed)),
        (Value::Bool(_), typed) => refuse("true or false", kind(typed)),
        (_, typed) => refuse("a whole number", kind(typed)),
    }
}

/// What was found where something else was expected. The value itself stays unsaid, it may be a secret.
fn kind(value: &ast::Value<'_>) -> &'static str {
    match value {
        ast::Value::StringLit(_) => "a string",
        ast::Value::NumberLit(_) => "a number",
        ast::Value::BooleanLit(_) => "true or false",
        ast::Value::Object(_) => "an object",
        ast::Value::Array(_) => "an array",
        ast::Value::NullKeyword(_) => "null",
    }
}

/// A name that somebody else chose, fit for one line of any length we like.
fn quoted(name: &str) -> String {
    format!("`{:.80}`", name.escape_debug().to_string())
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
