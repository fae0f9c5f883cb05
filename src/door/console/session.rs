//! Who is signed in. Sessions live in memory; a browser shows a random word in a cookie, of which only a hash is kept.
//!
//! Always: a session ends when it was unused for too long, when it lasted too long, and when what it was made with does
//! not hold any more: the password, or the registration of its app.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::{Answer, Door, Refused, json, ok};
use crate::config::ConsoleSettings;
use crate::dialect::console::Fault;
use crate::dialect::console::session::{SignIn, Told};
use crate::door::client::Client;
use crate::door::throttle::Attempt;
use crate::door::{answer, body, upgrade};
use crate::hub::LiveApp;
use crate::model::{Admin, AppKey, AppNumber, Refusal};

/// What a browser calls its word without TLS.
const COOKIE_NAME: &str = "gusher_console";

/// The same over TLS: a browser takes a cookie of such a name from this very host alone and over TLS alone, so no
/// neighbouring host can plant one (RFC 6265bis section 4.1.3.2).
const SECURE_COOKIE_NAME: &str = "__Host-gusher_console";

/// The header in which the page shows that a call is its own.
const CSRF_HEADER: &str = "x-csrf-token";

/// How long a body with an account and a password may be.
const SIGN_IN_BYTES_MAX: usize = 4096;

type Digest = [u8; 32];

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Super,
    /// The admin of this registration of an app.
    App(AppKey, AppNumber),
}

/// Somebody with a session, for one call.
#[derive(Clone, Debug)]
pub struct Visitor {
    who: Who,
    account: String,
    csrf: Arc<str>,
    session: Digest,
}

impl Visitor {
    /// Whether it may do everything.
    pub fn is_super(&self) -> bool {
        self.who == Who::Super
    }

    /// Whether it may look at an app.
    pub fn reaches(&self, live: &LiveApp) -> bool {
        match &self.who {
            Who::Super => true,
            Who::App(key, number) => (key, *number) == (&live.app.key, live.number),
        }
    }

    /// Whether a call shows the token of the session.
    pub fn is_shown_in(&self, head: &Parts) -> bool {
        let shown = head.headers.get(CSRF_HEADER).map_or(&b""[..], |shown| shown.as_bytes());
        shown.ct_eq(self.csrf.as_bytes()).into()
    }

    fn app_key(&self) -> Option<&str> {
        match &self.who {
            Who::Super => None,
            Who::App(key, _) => Some(key.as_str()),
        }
    }
}

#[derive(Debug)]
struct Session {
    visitor: Visitor,
    /// What its password proved.
    admin: Admin,
    made: Instant,
    used: Instant,
}

/// The sessions of a node.
#[derive(Debug)]
pub struct Sessions {
    settings: ConsoleSettings,
    open: Mutex<HashMap<Digest, Session>>,
}

impl Sessions {
    pub fn new(settings: ConsoleSettings) -> Self {
        Self { settings, open: Mutex::default() }
    }

    /// Opens one, and returns the word for the cookie. If the account has as many as it may have, the one that was unused
    /// for longest ends.
    fn open(&self, who: Who, admin: Admin, now: Instant) -> Result<(String, Visitor), getrandom::Error> {
        let (word, csrf) = (random_word()?, random_word()?);
        let session = Sha256::digest(&word).into();
        let visitor = Visitor { who, account: admin.account.clone(), csrf: csrf.into(), session };
        let mut open = self.lock();
        open.retain(|_, session| !self.is_over(session, now));
        let is_same = |session: &Session| session.visitor.who == visitor.who;
        while open.values().filter(|session| is_same(session)).count() >= self.settings.sessions_max {
            let unused =
                open.iter().filter(|(_, session)| is_same(session)).min_by_key(|(_, session)| session.used);
            let Some(unused) = unused.map(|(digest, _)| *digest) else { break };
            open.remove(&unused);
        }
        open.insert(session, Session { visitor: visitor.clone(), admin, made: now, used: now });
        Ok((word, visitor))
    }

    /// Whose session this is, if it is not over and `holds` says that its admin is still one.
    fn find(
        &self,
        digest: &Digest,
        now: Instant,
        holds: impl FnOnce(&Who, &Admin) -> bool,
    ) -> Option<Visitor> {
        let mut open = self.lock();
        let session = open.get_mut(digest)?;
        if self.is_over(session, now) || !holds(&session.visitor.who, &session.admin) {
            open.remove(digest);
            return None;
        }
        session.used = now;
        Some(session.visitor.clone())
    }

    fn close(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    fn is_over(&self, session: &Session, now: Instant) -> bool {
        now - session.used > self.settings.idle_time_max
            || now - session.made > self.settings.session_time_max
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        // No code that can panic runs under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 32 random bytes, in letters and digits.
fn random_word() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

impl Door {
    /// Who calls, if the call shows the word of a session.
    pub(super) fn visitor(&self, head: &Parts, now: Instant) -> Option<Visitor> {
        let word = cookie(&head.headers, upgrade::came_over_tls(self, head))?;
        self.visitor_of(&Sha256::digest(word).into(), now)
    }

    /// Whether a session goes on. To ask is to use it.
    pub(super) fn is_still_there(&self, visitor: &Visitor, now: Instant) -> bool {
        self.visitor_of(&visitor.session, now).is_some()
    }

    fn visitor_of(&self, session: &Digest, now: Instant) -> Option<Visitor> {
        self.console.sessions.find(session, now, |who, admin| self.still_holds(who, admin))
    }

    /// Whether what a session was made with is what it would be made with now.
    fn still_holds(&self, who: &Who, made_with: &Admin) -> bool {
        let is_same = |admin: &Admin| (&admin.account, &admin.hash) == (&made_with.account, &made_with.hash);
        match who {
            Who::Super => is_same(&self.terms().admin.admin),
            Who::App(key, number) => {
                let live = self.hub.app(key.as_str());
                live.is_ok_and(|live| live.number == *number && is_same(&live.app.admin))
            }
        }
    }

    /// Whose account it is that somebody wants to sign in with, if there is such a one.
    fn admin_of(&self, app_key: Option<&str>) -> Option<(Who, Admin)> {
        match app_key {
            None => Some((Who::Super, self.terms().admin.admin.clone())),
            Some(key) => {
                let live = self.hub.app(key).ok()?;
                Some((Who::App(live.app.key.clone(), live.number), live.app.admin.clone()))
            }
        }
    }

    async fn try_sign_in(&self, head: &Parts, sign_in: &SignIn) -> Result<(String, Visitor), Refusal> {
        let asked = self.admin_of(sign_in.app_key.as_deref());
        let admin = asked.as_ref().map(|(_, admin)| admin);
        let address = Client::of_head(head).address;
        let realm = sign_in.app_key.as_deref().unwrap_or_default();
        let attempt = Attempt { address, realm, account: &sign_in.account, secret: &sign_in.password };
        self.credentials.sign_in(&attempt, admin).await?;
        let (who, admin) = asked.ok_or(Refusal::NotAuthorized)?;
        self.console.sessions.open(who, admin, Instant::now()).map_err(|_| Refusal::Internal)
    }

    fn told<'a>(&'a self, visitor: &'a Visitor) -> String {
        let (public, is_tls) = (&*self.console.public, self.console.is_public_tls);
        Told { account: &visitor.account, app_key: visitor.app_key(), csrf: &visitor.csrf, public, is_tls }
            .body()
    }
}

/// `POST /console/api/session`. A page of another site can send no JSON without being asked first, and we do not answer
/// that question.
pub async fn sign_in(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    if door.hub.is_draining() {
        return Err(Refusal::Draining.into());
    }
    if !is_json(&head.headers) {
        return Err(Fault::not_from_page().into());
    }
    let body = body::read(body, SIGN_IN_BYTES_MAX, door.terms().limits.body_time_max).await?;
    let signed_in = door.try_sign_in(&head, &SignIn::read(&body)?).await;
    let outcome = match &signed_in {
        Ok(_) => Some("accepted"),
        Err(Refusal::NotAuthorized) => Some("refused"),
        Err(Refusal::SignInsExceeded { .. }) => Some("throttled"),
        Err(_) => None,
    };
    outcome.iter().for_each(|outcome| door.hub.metrics.console_sign_ins.add(outcome, 1));
    Ok(match signed_in {
        Ok((word, visitor)) => {
            let mut response = json(StatusCode::OK, door.told(&visitor));
            set_cookie(&mut response, &word, upgrade::came_over_tls(&door, &head));
            response
        }
        Err(refusal) => {
            let mut response = Refused(refusal.clone().into()).into_response();
            answer::mark(&mut response, &refusal);
            response
        }
    })
}

/// `GET /console/api/session`.
pub async fn show(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    ok(door.told(&door.enter(&head)?))
}

/// `DELETE /console/api/session`.
pub async fn sign_out(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let visitor = door.enter(&head)?;
    door.console.sessions.close(&visitor.session);
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, "", upgrade::came_over_tls(&door, &head));
    Ok(response)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_COOKIE_NAME } else { COOKIE_NAME }
}

/// The word that a browser shows. Of two nobody knows which one is ours.
fn cookie(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut words = pairs.filter(|(name, _)| *name == cookie_name(is_secure)).map(|(_, word)| word);
    words.next().filter(|_| words.next().is_none())
}

/// Gives a browser its word, or takes it away if that is empty. It goes when the browser does: how long a session lasts
/// is known here.
fn set_cookie(response: &mut Response, word: &str, is_secure: bool) {
    // The name over TLS demands both.
    let (path, secure) = if is_secure { ("/", "; Secure") } else { ("/console", "") };
    let gone = if word.is_empty() { "; Max-Age=0" } else { "" };
    let name = cookie_name(is_secure);
    let cookie = format!("{name}={word}; Path={path}; HttpOnly; SameSite=Strict{secure}{gone}");
    let cookie = HeaderValue::from_str(&cookie).expect("hex digits can be a header");
    response.headers_mut().insert(SET_COOKIE, cookie);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Hash;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sessions() -> Sessions {
        Sessions::new(ConsoleSettings {
            is_enabled: true,
            idle_time_max: 30 * MINUTE,
            session_time_max: 60 * MINUTE,
            sessions_max: 2,
            watchers_max: 1,
            items_per_second_max: 1,
        })
    }

    fn open(sessions: &Sessions, who: Who, now: Instant) -> Digest {
        let admin = Admin { account: "a".into(), hash: Hash("h".into()) };
        sessions.open(who, admin, now).unwrap().1.session
    }

    fn lives(sessions: &Sessions, session: &Digest, now: Instant) -> bool {
        sessions.find(session, now, |_, _| true).is_some()
    }

    #[test]
    fn a_session_ends_unused_or_old() {
        let (sessions, now) = (sessions(), Instant::now());
        let (unused, used) = (open(&sessions, Who::Super, now), open(&sessions, Who::Super, now));
        assert!(lives(&sessions, &used, now + 30 * MINUTE));
        assert!(!lives(&sessions, &unused, now + 31 * MINUTE));
        assert!(lives(&sessions, &used, now + 60 * MINUTE));
        assert!(!lives(&sessions, &used, now + 61 * MINUTE));
    }

    #[test]
    fn one_too_many_ends_the_one_of_its_account_that_was_unused_for_longest() {
        let (sessions, now) = (sessions(), Instant::now());
        let app = Who::App(AppKey::stored("x"), AppNumber(1));
        let other = open(&sessions, app, now);
        let [first, second] = [1, 2].map(|minute| open(&sessions, Who::Super, now + minute * MINUTE));
        assert!(lives(&sessions, &first, now + 3 * MINUTE));
        let third = open(&sessions, Who::Super, now + 4 * MINUTE);
        let living =
            [other, first, second, third].map(|session| lives(&sessions, &session, now + 5 * MINUTE));
        assert_eq!(living, [true, true, false, true]);
    }

    #[test]
    fn a_session_ends_when_its_password_does_not_hold_any_more() {
        let (sessions, now) = (sessions(), Instant::now());
        let session = open(&sessions, Who::Super, now);
        assert!(sessions.find(&session, now, |_, _| false).is_none());
        assert!(!lives(&sessions, &session, now));
    }

    #[test]
    fn the_word_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers, false), None);
        headers.insert(
            COOKIE,
            HeaderValue::from_static("a=b; gusher_console=word;c; __Host-gusher_console=safe"),
        );
        assert_eq!((cookie(&headers, false), cookie(&headers, true)), (Some("word"), Some("safe")));
    }

    #[test]
    fn of_two_words_none_counts() {
        let mut headers = HeaderMap::new();
        for value in ["gusher_console=planted; __Host-gusher_console=a", "gusher_console=own"] {
            headers.append(COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!((cookie(&headers, false), cookie(&headers, true)), (None, Some("a")));
    }
}
