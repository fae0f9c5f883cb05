//! Who calls: a signature over the method, the path and the query, which holds a digest of the body
//! (pusher-channels 13). So the signature is checked before the body is read, and the digest after.
//!
//! What is signed are the values as they were before they were escaped for the URL, since libraries and proxies do
//! not agree on what to escape. A path may be signed either way, and a query also as it was written.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;

use super::Fault;
use crate::dialect::signature::is_signed;
use crate::model::{App, AppSettings};

/// What a signature is made of. The query holds a digest of the body.
#[derive(Clone, Copy, Debug)]
pub struct SignedHead<'a> {
    /// As on the wire, which is in upper case.
    pub method: &'a str,
    /// As on the wire, still escaped.
    pub path: &'a str,
    /// As on the wire, without the question mark.
    pub query: &'a str,
}

/// A call and all that its signature covers.
#[derive(Clone, Copy, Debug)]
pub struct SignedCall<'a> {
    /// As on the wire, which is in upper case.
    pub method: &'a str,
    /// As on the wire, still escaped.
    pub path: &'a str,
    /// As on the wire, without the question mark.
    pub query: &'a str,
    /// All of it.
    pub body: &'a [u8],
}

/// Checks that the app made the call with one of its keys, within ten minutes of now or what it set, and that nobody changed it.
///
/// # Errors
/// 401 with the first of the checks that failed.
pub fn authenticate(
    call: &SignedCall<'_>,
    app: &App,
    settings: &AppSettings,
    now_unix_seconds: i64,
) -> Result<(), Fault> {
    let SignedCall { method, path, query, body } = *call;
    Claim::prove(SignedHead { method, path, query }, app, settings, now_unix_seconds)?.check_body(body)
}

/// What the signature of a call proves before its body has come: the key, the time, and the digest that the body must have.
pub struct Claim {
    digest: Option<String>,
}

impl Claim {
    /// Checks all of a call but its body.
    ///
    /// # Errors
    /// 401 with the first of the checks that failed.
    pub fn prove(
        head: SignedHead<'_>,
        app: &App,
        settings: &AppSettings,
        now_unix_seconds: i64,
    ) -> Result<Self, Fault> {
        let parameters = Parameters::read(head.query);
        let key = parameters.required("auth_key")?;
        let timestamp = parameters.required("auth_timestamp")?;
        let version = parameters.required("auth_version")?;
        let signature = parameters.required("auth_signature")?;
        if version != "1.0" {
            return Err(Fault::unauthorized("Version not supported"));
        }
        let further = settings.additional_keys.iter().map(|pair| (pair.key.as_str(), &pair.secret));
        let mut pairs = std::iter::once((app.key.as_str(), &app.secret)).chain(further);
        let (_, secret) = pairs.find(|(own, _)| *own == key).ok_or_else(Fault::key_unknown)?;
        check_timestamp(timestamp, now_unix_seconds, settings.max_timestamp_skew)?;
        check_signature(head, &parameters, &secret.0, signature)?;
        Ok(Self { digest: parameters.get("body_md5").map(str::to_owned) })
    }

    /// Whether the call may have a body.
    pub fn has_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// Checks the body of the same call.
    ///
    /// # Errors
    /// 401 when it is another one than was signed.
    pub fn check_body(&self, body: &[u8]) -> Result<(), Fault> {
        let matches = match &self.digest {
            None => body.is_empty(),
            Some(digest) => digest.eq_ignore_ascii_case(&md5_hex(body)),
        };
        if matches { Ok(()) } else { Err(Fault::digest_wrong()) }
    }
}

/// The key that a call says it is signed with.
///
/// # Errors
/// 401 when it does not say.
pub fn auth_key(query: &str) -> Result<String, Fault> {
    Parameters::read(query).required("auth_key").map(str::to_owned)
}

fn check_timestamp(given: &str, now: i64, skew_seconds_max: u32) -> Result<(), Fault> {
    let seconds: Option<i64> = given.parse().ok();
    if seconds.is_some_and(|seconds| seconds.abs_diff(now) <= skew_seconds_max.into()) {
        return Ok(());
    }
    let iso = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).ok();
    let given = seconds.and_then(iso).unwrap_or_else(|| given.to_owned());
    let now = iso(now).unwrap_or_default();
    Err(Fault::unauthorized(format!(
        "Timestamp expired: Given timestamp ({given}) not within {skew_seconds_max}s of server time ({now})"
    )))
}

fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::with_capacity(32), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes all that is written to it");
        hex
    })
}

fn check_signature(
    head: SignedHead<'_>,
    parameters: &Parameters,
    secret: &str,
    signature: &str,
) -> Result<(), Fault> {
    let pairs = parameters.canonical();
    let text = |path: &str| format!("{}\n{path}\n{pairs}", head.method);
    let as_sent = text(head.path);
    // Borrowed means that nothing was escaped.
    let unescaped = match percent_decode_str(head.path).decode_utf8() {
        Ok(Cow::Owned(path)) => Some(text(&path)),
        _ => None,
    };
    // The Perl library signs the pairs as it writes them.
    let written = || format!("{}\n{}\n{}", head.method, head.path, written_pairs(head.query));
    let is_valid = is_signed(secret, &as_sent, signature)
        || unescaped.is_some_and(|text| is_signed(secret, &text, signature))
        || is_signed(secret, &written(), signature);
    if is_valid {
        return Ok(());
    }
    Err(Fault::unauthorized(format!(
        "Invalid signature: you should have sent HmacSHA256Hex(\"{}\", your_secret_key), but you sent \"{signature}\"",
        as_sent.replace('\n', "\\n")
    )))
}

/// All of a query but its signature, still escaped, sorted by name.
fn written_pairs(query: &str) -> String {
    let name = |pair: &&str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut pairs: Vec<_> = query.split('&').filter(|pair| name(pair) != "auth_signature").collect();
    pairs.sort_by_key(name);
    pairs.join("&")
}

/// The parameters of a query as they are signed: unescaped, names in lower case, arrays joined.
pub(super) struct Parameters {
    /// In the order of the query.
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    value: String,
    /// The value is joined from `name[0]=..&name[1]=..`, which is how the PHP library sends what it signs as one.
    is_array: bool,
}

impl Parameters {
    /// Reads a query string.
    pub(super) fn read(query: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = name.to_lowercase();
            let Some(name) = array_name(&name) else {
                entries.push(Entry { name, value: value.into_owned(), is_array: false });
                continue;
            };
            match entries.iter_mut().find(|entry| entry.is_array && entry.name == name) {
                Some(entry) => {
                    entry.value.push(',');
                    entry.value.push_str(&value);
                }
                None => {
                    entries.push(Entry { name: name.into(), value: value.into_owned(), is_array: true });
                }
            }
        }
        Self { entries }
    }

    /// The first value of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.value.as_str())
    }

    /// The names, in the order of the query.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, Fault> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Fault::unauthorized(format!("{name} is required")))
    }

    /// What of the query is signed: all but the signature, sorted by name.
    fn canonical(&self) -> String {
        let mut signed: Vec<_> = self.entries.iter().filter(|entry| entry.name != "auth_signature").collect();
        signed.sort_by(|one, other| one.name.cmp(&other.name));
        let pairs: Vec<_> = signed.iter().map(|entry| format!("{}={}", entry.name, entry.value)).collect();
        pairs.join("&")
    }
}

/// `name` of `name[0]`.
fn array_name(name: &str) -> Option<&str> {
    let (name, index) = name.strip_suffix(']')?.split_once('[')?;
    (!name.is_empty() && !index.contains(['[', ']'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::signature::hmac_hex;

    const KEY: &str = "278d425bdf160c739803";
    const SECRET: &str = "7ad3773142a6692b25b8";
    const NOW: i64 = 1_353_088_179;
    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const V6: &str = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
    const V6_MD5: &str = "&body_md5=ec365a775a4cd0599faeb73354201b6f";

    /// A query of the vectors' app: further parameters, then the signature.
    fn query(more: &str, signature: &str) -> String {
        format!("auth_key={KEY}&auth_timestamp={NOW}&auth_version=1.0{more}&auth_signature={signature}")
    }

    fn check(method: &str, path: &str, query: &str, body: &[u8]) -> Result<(), String> {
        let call = SignedCall { method, path, query, body };
        authenticate(&call, &App::sample(KEY, SECRET), &AppSettings::default(), NOW).map_err(|fault| {
            assert_eq!(fault.status, 401);
            fault.text
        })
    }

    fn check_v6(query: &str, body: &[u8]) -> Result<(), String> {
        check("POST", "/apps/3/events", query, body)
    }

    fn check_v6_at(now: i64) -> Result<(), String> {
        let query = query(V6_MD5, V6);
        let call = SignedCall { method: "POST", path: "/apps/3/events", query: &query, body: BODY };
        authenticate(&call, &App::sample(KEY, SECRET), &AppSettings::default(), now)
            .map_err(|fault| fault.text)
    }

    #[test]
    fn pc_131_a_signed_call_is_good_for_ten_minutes_either_way() {
        for now in [NOW, NOW + 600, NOW - 600] {
            assert_eq!(check_v6_at(now), Ok(()));
        }
    }

    #[test]
    fn pc_132_a_call_of_another_time_has_expired() {
        let text = "Timestamp expired: Given timestamp (2012-11-16T17:49:39Z) \
                    not within 600s of server time (2012-11-16T17:59:40Z)";
        assert_eq!(check_v6_at(NOW + 601).unwrap_err(), text);
        assert!(check_v6_at(NOW - 601).unwrap_err().starts_with("Timestamp expired"));
        let unreadable = query(V6_MD5, V6).replace(&NOW.to_string(), "soon");
        assert!(check_v6(&unreadable, BODY).unwrap_err().contains("(soon)"));
    }

    #[test]
    fn pc_133_a_wrong_signature_is_told_what_should_have_been_signed() {
        let wrong = V6.replace('d', "e");
        let text = format!(
            "Invalid signature: you should have sent HmacSHA256Hex(\"POST\\n/apps/3/events\\nauth_key={KEY}\
             &auth_timestamp={NOW}&auth_version=1.0{V6_MD5}\", your_secret_key), but you sent \"{wrong}\""
        );
        assert_eq!(check_v6(&query(V6_MD5, &wrong), BODY).unwrap_err(), text);
    }

    #[test]
    fn pc_134_every_auth_parameter_is_required() {
        for name in ["auth_key", "auth_timestamp", "auth_version", "auth_signature"] {
            let without = query(V6_MD5, V6).replace(name, "other");
            assert_eq!(check_v6(&without, BODY).unwrap_err(), format!("{name} is required"));
        }
    }

    #[test]
    fn pc_135_there_is_one_version() {
        let query = query(V6_MD5, V6).replace("1.0", "2.0");
        assert_eq!(check_v6(&query, BODY).unwrap_err(), "Version not supported");
    }

    #[test]
    fn the_key_of_another_app_is_unknown_here() {
        let query = query(V6_MD5, V6).replace(KEY, "another");
        assert_eq!(check_v6(&query, BODY).unwrap_err(), "Unknown auth_key");
    }

    #[test]
    fn pc_137_a_changed_body_is_noticed() {
        assert_eq!(check_v6(&query(V6_MD5, V6), b"{}").unwrap_err(), "Invalid body_md5");
    }

    #[test]
    fn pc_138_a_body_needs_its_digest() {
        let pairs = format!("auth_key={KEY}&auth_timestamp={NOW}&auth_version=1.0");
        let signature = hmac_hex(SECRET, &format!("POST\n/apps/3/events\n{pairs}"));
        assert_eq!(check_v6(&query("", &signature), BODY).unwrap_err(), "Invalid body_md5");
    }

    #[test]
    fn vectors_7_and_8_are_accepted() {
        let batch = br#"{"batch":[{"channel":"my-channel-1","name":"my-event-1","data":"{\"a\":1}"},{"channel":"presence-x","name":"e2","data":"x","info":"user_count"}]}"#;
        let v7 = query(
            "&body_md5=4a8a584d71bc2a427b12b6d12959d67e",
            "2c35d53006285b46f907d9091e01e4e92d865bd01841aa7c7174505f143273db",
        );
        assert_eq!(check("POST", "/apps/3/batch_events", &v7, batch), Ok(()));
        let to_user = br##"{"name":"hi","channel":"#server-to-user-12345","data":"{\"m\":1}"}"##;
        let v8 = query(
            "&body_md5=1420d4aff26c0ac377e767f0754a5150",
            "1b06ad0efdd30bfe32443f4f7d81adea7134a4568e686cb745f0210e5007d773",
        );
        assert_eq!(check_v6(&v8, to_user), Ok(()));
    }

    #[test]
    fn vector_9_is_accepted_on_both_paths() {
        let digest = "&body_md5=99914b932bd37a50b983c5e7c90ae93b";
        let signatures = [
            ("/apps/3", "01fa634edeb0cae84115307cad5c23f65a46cd286461b1c89637a3b5871a8f0e"),
            ("", "e3c6b279be14c04728803c2f54d90bef57357d2bb2e1b8ae90507149cd3308d7"),
        ];
        for (base, signature) in signatures {
            let path = format!("{base}/users/12345/terminate_connections");
            assert_eq!(check("POST", &path, &query(digest, signature), b"{}"), Ok(()));
        }
    }

    #[test]
    fn pc_139_a_get_may_carry_the_digest_of_nothing() {
        let more = "&body_md5=d41d8cd98f00b204e9800998ecf8427e&filter_by_prefix=presence-&info=user_count";
        let v10 = query(more, "f3f17c61ae491cc9085db68b22076e9b772e3bcb301659d655153ee3f9782aba");
        assert_eq!(check("GET", "/apps/3/channels", &v10, b""), Ok(()));
    }

    #[test]
    fn pc_140_values_are_signed_unescaped() {
        let v11 = "1e24809fdf9548ab18b4fccbc7f2c4cdcb7a85561f653a1faba614a227027176";
        for prefix in ["private-a%40b%2Cc%3Bd%3De", "private-a@b,c;d=e"] {
            let query = query(&format!("&filter_by_prefix={prefix}"), v11);
            assert_eq!(check("GET", "/apps/3/channels", &query, b""), Ok(()));
        }
    }

    #[test]
    fn pc_141_a_path_may_be_signed_raw_or_unescaped() {
        let path = "/apps/3/users/a%20b/terminate_connections";
        for signature in [
            "018c597f71190b3e4f5381914f679b0f7d94ae5ea73ac404395bbf4ab6507989",
            "a5b7d417f5f468b138e97c20e3c36da6f4f738f40dfa0a63523c968046baa9a5",
        ] {
            let query = query("&body_md5=99914b932bd37a50b983c5e7c90ae93b", signature);
            assert_eq!(check("POST", path, &query, b"{}"), Ok(()));
        }
    }

    #[test]
    fn pc_142_parameters_come_in_any_order() {
        let query =
            format!("auth_signature={V6}{V6_MD5}&auth_version=1.0&auth_timestamp={NOW}&auth_key={KEY}");
        assert_eq!(check_v6(&query, BODY), Ok(()));
    }

    #[test]
    fn pc_143_names_are_signed_in_lower_case() {
        let query = query(V6_MD5, V6).replace("auth_key", "Auth_KEY").replace("body_md5", "BODY_MD5");
        assert_eq!(check_v6(&query, BODY), Ok(()));
    }

    #[test]
    fn an_array_is_signed_as_one_parameter() {
        let text = format!(
            "GET\n/apps/3/channels\nauth_key={KEY}&auth_timestamp={NOW}&auth_version=1.0&info=a,b,c&z=[]"
        );
        let query = query("&z=[]&info[0]=a&info%5B1%5D=b&info[]=c", &hmac_hex(SECRET, &text));
        assert_eq!(check("GET", "/apps/3/channels", &query, b""), Ok(()));
    }

    #[test]
    fn vectors_13_are_accepted() {
        let session = "/apps/102015/channels/presence-session-d41a439c438a100756f5-4bf35003e819bb138249";
        for (path, more, now, signature) in [
            (
                "/apps/102015/channels".to_owned(),
                "&filter_by_prefix=presence-&info=user_count",
                1_427_034_994,
                "4d8a02edcc8a758b0162cd6da690a9a45fb8ae326a276dca1e06a0bc42796c11",
            ),
            (
                "/apps/102015/channels".to_owned(),
                "",
                1_427_036_787,
                "df89248f87f6e6d028925e0b04d60f316527a865992ace6936afa91281d8bef0",
            ),
            (
                format!("{session}-ROpCFmgFhXY"),
                "&info=user_count,subscription_count",
                1_427_053_326,
                "f93ceb31f396aef336226efe512aaf339bd5e39c7c2c04b81cc8681dc16ee785",
            ),
            (
                format!("{session}-nYJLy67qh52/users"),
                "",
                1_427_053_709,
                "207feaf4e8efeb24e5f148011704251bf90e2059a5f97a3eb52d06178b11feca",
            ),
        ] {
            let key = "d41a439c438a100756f5";
            let query = format!(
                "auth_key={key}&auth_timestamp={now}&auth_version=1.0{more}&auth_signature={signature}"
            );
            let call = SignedCall { method: "GET", path: &path, query: &query, body: b"" };
            assert_eq!(
                authenticate(&call, &App::sample(key, "4bf35003e819bb138249"), &AppSettings::default(), now),
                Ok(())
            );
        }
    }
}
