//! The app that a node begins with: the one that the environment names, in the words of a Pusher backend's `.env`; in a
//! trial run without one, a demo.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Failure;
use super::place::{DEMO_KEY, DEMO_SECRET};
use crate::config::Config;
use crate::model::{Admin, App, AppKey, AppSecret, Hash, Registered};

const VARIABLES: [&str; 3] = ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"];

/// What an app is known by in signed calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstApp {
    id: String,
    key: AppKey,
    secret: AppSecret,
}

impl FirstApp {
    /// The app that the environment names, if it names one. An empty variable counts as not set.
    ///
    /// # Errors
    /// `Configuration` when only a part of it is named, or no app may be named so; no value is shown.
    pub(super) fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Failure> {
        let values = VARIABLES.map(|name| variable(name).filter(|value| !value.is_empty()));
        let [Some(id), Some(key), Some(secret)] = values else {
            if values.iter().all(Option::is_none) {
                return Ok(None);
            }
            let is_missing = |(name, value): (&'static str, &Option<String>)| value.is_none().then_some(name);
            let missing: Vec<_> = VARIABLES.into_iter().zip(&values).filter_map(is_missing).collect();
            let [one, two, three] = VARIABLES;
            let verb = if missing.len() == 1 { "is" } else { "are" };
            return Err(Failure::Configuration(format!(
                "set all of {one}, {two} and {three} or none: {} {verb} not set",
                missing.join(" and ")
            )));
        };
        let [id_name, key_name, secret_name] = VARIABLES;
        let unfit = |name, fault| Err(Failure::Configuration(format!("{name} {fault}")));
        let secret = AppSecret(secret);
        if !App::is_acceptable_id(&id) {
            return unfit(id_name, "is not 1 to 64 letters, digits, - and _");
        }
        if !secret.is_acceptable() {
            return unfit(secret_name, "is not 8 to 128 printable ASCII characters without blanks");
        }
        let Ok(key) = AppKey::parse(&key) else {
            return unfit(
                key_name,
                "is not 1 to 200 bytes without slashes and control characters, or it is . or ..",
            );
        };
        Ok(Some(Self { id, key, secret }))
    }

    /// The app of a trial run: known to everybody, like the password there.
    pub(super) fn demo() -> Self {
        Self { id: "1".to_owned(), key: AppKey::stored(DEMO_KEY), secret: AppSecret(DEMO_SECRET.to_owned()) }
    }

    /// Without a connect hook, and administered by whoever administers the node.
    pub(super) fn into_app(self, config: &Config) -> App {
        App {
            key: self.key,
            id: self.id,
            secret: self.secret,
            admin: Admin {
                account: config.admin.account.clone(),
                hash: Hash(config.admin.password_hash.reveal().to_owned()),
            },
            connect_hook: String::new(),
            request_ip: String::new(),
            registered: Registered::at(&Timestamp::now().to_zoned_datetime(TimeZone::system())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these values of [`VARIABLES`] name.
    fn find(values: [&str; 3]) -> Result<Option<FirstApp>, Failure> {
        FirstApp::find(|name| {
            let place = VARIABLES.iter().position(|variable| *variable == name)?;
            Some(values[place].to_owned())
        })
    }

    #[test]
    fn all_three_name_an_app_and_none_names_none() {
        let app = find(["7", "chat", "12345678"]).unwrap().unwrap();
        assert_eq!((&*app.id, app.key.as_str(), &*app.secret.0), ("7", "chat", "12345678"));
        assert_eq!(find(["", "", ""]), Ok(None));
        assert_eq!(FirstApp::find(|_| None), Ok(None));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_no_value_shown() {
        for (values, text) in [
            (["7", "", "12345678"], ": PUSHER_APP_KEY is not set"),
            (["", "chat", ""], ": PUSHER_APP_ID and PUSHER_APP_SECRET are not set"),
            (["a.b", "chat", "12345678"], "PUSHER_APP_ID is not 1 to 64 letters, digits, - and _"),
            (["7", "a/b", "12345678"], "PUSHER_APP_KEY is not 1 to 200 bytes"),
            (["7", "chat", "hidden"], "PUSHER_APP_SECRET is not 8 to 128 printable"),
        ] {
            let failure = find(values).unwrap_err();
            let told = failure.to_string();
            assert!(told.contains(text) && !told.contains("hidden"), "{told}");
            assert_eq!(failure.exit_code(), 78);
        }
    }
}
