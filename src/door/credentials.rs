//! Who may do what: bcrypt on threads of its own, a short memory of what it proved, and a wait for who fails too often.
//!
//! A verified credential is remembered under a keyed hash of itself and of the hash it was verified against, so a
//! changed or unregistered app forgets it at once, and the memory holds nothing that opens anything.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use quick_cache::sync::Cache;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::throttle::{Attempt, RetryAfter, Throttle, ThrottleLimits};
use crate::config::Secret;
use crate::dialect::cluster;
use crate::dialect::gusher::api;
use crate::model::{Admin, Hash, Refusal};
use crate::turns::{Line, Turns};

/// How many verified credentials are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// What stands for an account where somebody shows a token. No account has a colon.
const BEARER: &str = ":bearer";

/// How bcrypt is used.
#[derive(Clone, Copy, Debug)]
pub struct CredentialSettings {
    /// The cost of new hashes: 2^cost rounds.
    pub bcrypt_cost: u32,
    /// How long a verified credential is remembered.
    pub memory: Duration,
    /// How many bcrypt computations run at once.
    pub computations_max: usize,
}

/// How far credentials reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The super admin's.
    Everything,
    /// The admin's of the app in question.
    OneApp,
}

/// An app that is asked for, and who may administer it: nobody if it is not there.
#[derive(Clone, Copy, Debug)]
pub struct Realm<'a> {
    /// Its key, as it was asked for.
    pub app: &'a str,
    /// Its admin.
    pub admin: Option<&'a Admin>,
}

/// How somebody shows that they may do everything.
#[derive(Debug)]
pub struct SuperAdmin {
    /// By this account and its password. A hash that is empty is proven by none.
    pub admin: Admin,
    /// By this, as bearer.
    pub token: Option<Secret>,
    /// Not at all: everybody may.
    pub is_everybody: bool,
}

impl SuperAdmin {
    /// What a client that may not is asked for.
    pub fn challenge(&self) -> &'static str {
        let has_password = !self.admin.hash.0.is_empty();
        if self.token.is_some() && !has_password {
            "Bearer realm=\"Restricted\""
        } else {
            "Basic realm=\"Restricted\""
        }
    }
}

impl From<Admin> for SuperAdmin {
    fn from(admin: Admin) -> Self {
        Self { admin, token: None, is_everybody: false }
    }
}

type Digest = [u8; 32];

/// Checks and makes credentials.
#[derive(Debug)]
pub struct Credentials {
    settings: CredentialSettings,
    key: [u8; 32],
    remembered: Cache<Digest, Instant>,
    computing: Semaphore,
    /// Nothing else runs on these threads, so nothing else can keep a right password out.
    threads: Turns,
    /// Counts who fails.
    pub throttle: Throttle,
}

impl Credentials {
    /// # Errors
    /// The system has no randomness, or gives no threads.
    pub fn new(settings: CredentialSettings, sign_ins: ThrottleLimits) -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let threads = Turns::new();
        threads.serve("bcrypt", settings.computations_max)?;
        let computing = Semaphore::new(settings.computations_max);
        let (remembered, throttle) = (Cache::new(REMEMBERED_MAX), Throttle::new(sign_ins));
        Ok(Self { settings, key, remembered, computing, threads, throttle })
    }

    /// How far the credentials of an `Authorization` header from `address` reach: those for everything first, then the
    /// app's.
    ///
    /// # Errors
    /// [`Refusal::NotAuthorized`]; [`Refusal::SignInsExceeded`], whatever the credentials are.
    pub async fn reach(
        &self,
        address: IpAddr,
        authorization: Option<&[u8]>,
        everything: &SuperAdmin,
        app: Option<Realm<'_>>,
    ) -> Result<Reach, Refusal> {
        if everything.is_everybody {
            return Ok(Reach::Everything);
        }
        if let Some(shown) = cluster::api::bearer(authorization) {
            self.take_token(address, shown, &[everything.token.as_ref()])?;
            return Ok(Reach::Everything);
        }
        let (account, password) = api::credentials(authorization)?;
        let of_everything = Attempt { address, realm: "", account: &account, secret: &password };
        let is_named = everything.admin.account == account;
        let failed = match self.attempt(&of_everything, Some(&everything.admin)).await {
            Ok(()) => return Ok(Reach::Everything),
            Err(refusal) => refusal,
        };
        let Some(Realm { app, admin }) = app else { return Err(self.count(&of_everything, failed)) };
        let of_app = Attempt { realm: app, ..of_everything };
        let refused = match self.attempt(&of_app, admin).await {
            Ok(()) => return Ok(Reach::OneApp),
            Err(refusal) => self.count(&of_app, refusal),
        };
        // Under another name the super admin's password was not tried, and so it was not wrong.
        if !is_named {
            return Err(refused);
        }
        match self.count(&of_everything, failed) {
            wait @ Refusal::SignInsExceeded { .. } => Err(wait),
            _ => Err(refused),
        }
    }

    /// Whether an account and a password are those of `admin`. Not counted when they are not.
    ///
    /// # Errors
    /// Those of [`Credentials::reach`].
    async fn attempt(&self, attempt: &Attempt<'_>, admin: Option<&Admin>) -> Result<(), Refusal> {
        let check = || self.check(attempt);
        check()?;
        match admin {
            Some(admin) if self.proves(admin, attempt.account, attempt.secret, check).await? => Ok(()),
            _ => Err(Refusal::NotAuthorized),
        }
    }

    /// Counts an attempt that failed, unless it was refused before it was looked at.
    fn count(&self, attempt: &Attempt<'_>, refusal: Refusal) -> Refusal {
        if refusal == Refusal::NotAuthorized { self.fail(attempt) } else { refusal }
    }

    /// Lets pass whose account and password are those of `admin`. Of one who is not there, or is called otherwise, it takes as
    /// long to say no.
    ///
    /// # Errors
    /// Those of [`Credentials::reach`].
    pub async fn sign_in(&self, attempt: &Attempt<'_>, admin: Option<&Admin>) -> Result<(), Refusal> {
        let Attempt { account, secret, .. } = *attempt;
        let check = || self.check(attempt);
        check()?;
        let is_named = |admin: &&Admin| bool::from(admin.account.as_bytes().ct_eq(account.as_bytes()));
        let is_proven = match admin.filter(is_named) {
            Some(admin) => self.proves(admin, account, secret, check).await?,
            None => {
                let (secret, cost) = (format!("{account}{secret}"), self.settings.bcrypt_cost);
                let _place = self.computing.acquire().await.map_err(|_| Refusal::Internal)?;
                check()?;
                self.compute(move || drop(bcrypt::hash(secret, cost))).await?;
                false
            }
        };
        if is_proven { Ok(()) } else { Err(self.fail(attempt)) }
    }

    /// Lets who shows one of these tokens pass. Digests are compared, so that not even the length of what was expected
    /// shows.
    ///
    /// # Errors
    /// Those of [`Credentials::reach`].
    pub fn take_token(&self, address: IpAddr, shown: &str, good: &[Option<&Secret>]) -> Result<(), Refusal> {
        let attempt = Attempt { address, realm: "", account: BEARER, secret: shown };
        self.check(&attempt)?;
        let shown = self.digest(&[shown]);
        let is_shown = |token: &&Secret| bool::from(self.digest(&[token.reveal()]).ct_eq(&shown));
        match good.iter().flatten().copied().find(is_shown) {
            Some(_) => Ok(()),
            None => Err(self.fail(&attempt)),
        }
    }

    fn check(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        let checked = self.throttle.check(attempt, Instant::now());
        checked.map_err(|RetryAfter(wait_s)| Refusal::SignInsExceeded { wait_s })
    }

    /// What a failure is answered with.
    fn fail(&self, attempt: &Attempt<'_>) -> Refusal {
        match self.throttle.fail(attempt, Instant::now()) {
            Ok(()) => Refusal::NotAuthorized,
            Err(RetryAfter(wait_s)) => Refusal::SignInsExceeded { wait_s },
        }
    }

    /// The hash of an account directly followed by its password (spec 1.6), together at most
    /// [`CREDENTIAL_BYTES_MAX`](crate::model::CREDENTIAL_BYTES_MAX) bytes: what is beyond them would not count.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when bcrypt fails.
    pub async fn hash(&self, account: &str, password: &str) -> Result<Hash, Refusal> {
        let (secret, cost) = (format!("{account}{password}"), self.settings.bcrypt_cost);
        // The caller has checked the length. The variant that checks it too refuses 72 bytes.
        let _place = self.computing.acquire().await.map_err(|_| Refusal::Internal)?;
        let hashed = self.compute(move || bcrypt::hash(secret, cost)).await?;
        hashed.map(Hash).map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Refusal::Internal
        })
    }

    /// Whether `password` is that of `admin`, whose account must be `account`; `check` says whether it may still be looked
    /// at when its turn has come.
    async fn proves(
        &self,
        admin: &Admin,
        account: &str,
        password: &str,
        check: impl Fn() -> Result<(), Refusal>,
    ) -> Result<bool, Refusal> {
        if !bool::from(admin.account.as_bytes().ct_eq(account.as_bytes())) {
            return Ok(false);
        }
        let digest = self.digest(&[&admin.hash.0, account, password]);
        if self.remembers(&digest) {
            return Ok(true);
        }
        let place = self.computing.acquire().await.map_err(|_| Refusal::Internal)?;
        // Who came together may have been told meanwhile: a right password is proven once, and of guesses that were made
        // side by side those are not computed that are too many already.
        check()?;
        if self.remembers(&digest) {
            return Ok(true);
        }
        let (secret, hash) = (format!("{account}{password}"), admin.hash.0.clone());
        // It is computed all the same: how long a refusal takes tells nothing.
        let can_be = admin.hash.can_be_of(&secret);
        let verified = self.compute(move || bcrypt::verify(secret, &hash).unwrap_or(false)).await?;
        drop(place);
        let is_proven = verified && can_be;
        // Guesses beside this one may have become too many while it was computed. Then it is not told what it was, not even
        // if it was right.
        check()?;
        if is_proven {
            self.remembered.insert(digest, Instant::now());
        }
        Ok(is_proven)
    }

    /// Computes where that may take its time. What is not begun when the caller leaves is not computed.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.threads.run(Line::Calls(0), work).await.ok_or(Refusal::Internal)
    }

    fn remembers(&self, digest: &Digest) -> bool {
        self.remembered.get(digest).is_some_and(|since| since.elapsed() < self.settings.memory)
    }

    fn digest(&self, parts: &[&str]) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}
