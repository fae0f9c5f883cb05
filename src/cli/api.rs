//! A client of the private API: form fields or JSON out, JSON or an error in words back, basic authentication always.
//!
//! It follows no redirect and uses no proxy: the password goes to the server that was named and nowhere else.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::address::{self, ServerSettings};
use super::trust::TrustArgs;
use super::zone::Zones;
use super::{Failure, block_on, one_line};

/// For the whole exchange. A server under load answers in milliseconds; this only ends a hopeless wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the private API is, and who asks. No `Debug`: it holds a password.
#[derive(Args)]
pub struct ApiArgs {
    /// Base of the private API [default: http://127.0.0.1:8002]
    #[arg(long, env = "GUSHER_API", value_name = "URL")]
    api: Option<String>,
    /// Account to sign in with [default: account]
    #[arg(long, env = "GUSHER_ACCOUNT", value_name = "NAME")]
    account: Option<String>,
    /// Its password; better in the environment than on the command line, where others can see it
    #[arg(long, env = "GUSHER_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Server configuration to take address and account from [default: ./config.json, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

/// The private API of one server, with the credentials to use there.
pub(super) struct Api {
    client: Client,
    base: Url,
    account: String,
    password: String,
}

impl Api {
    /// Works out where to ask and as whom.
    ///
    /// # Errors
    /// `Usage` without a password or with an address that is none, `Configuration` for an unusable file.
    pub(super) fn new(args: &ApiArgs) -> Result<Self, Failure> {
        let Some(password) = args.password.clone().filter(|password| !password.is_empty()) else {
            return Err(Failure::Usage("no password: set GUSHER_PASSWORD or give --password".to_owned()));
        };
        let server = ServerSettings::find(args.config.as_deref())?;
        let base = server.api_url(args.api.as_deref())?;
        let client = client(&base, &args.trust)?;
        Ok(Self { client, base, account: server.account(args.account.as_deref()), password })
    }

    /// Base, account and password, for whoever calls in a way of its own.
    pub(super) fn into_parts(self) -> (Url, String, String) {
        (self.base, self.account, self.password)
    }

    /// Account and password.
    pub(super) fn credentials(&self) -> (&str, &str) {
        (&self.account, &self.password)
    }

    /// Makes one call with form fields and returns the body of the answer.
    ///
    /// # Errors
    /// `Runtime` when the server cannot be reached or answers with anything but success; then with its status and
    /// its words.
    pub(super) fn call(
        &self,
        method: Method,
        path: &[&str],
        fields: &[(&str, &str)],
    ) -> Result<String, Failure> {
        let mut request = self.request(method, path)?;
        if !fields.is_empty() {
            let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        self.send(request)
    }

    /// Makes one call with a JSON body and returns the body of the answer.
    ///
    /// # Errors
    /// As for [`Api::call`].
    pub(super) fn call_json(&self, method: Method, path: &[&str], body: &Value) -> Result<String, Failure> {
        let request = self.request(method, path)?.header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string()))
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failure> {
        let url = address::append(self.base.clone(), path)?;
        Ok(self.client.request(method, url).basic_auth(&self.account, Some(&self.password)))
    }

    fn send(&self, request: RequestBuilder) -> Result<String, Failure> {
        exchange(&self.base, request)
    }
}

/// Makes one call to the server at `base` and returns the body of the answer.
///
/// # Errors
/// `Runtime` when the server cannot be reached or answers with anything but success.
pub(super) fn exchange(base: &Url, request: RequestBuilder) -> Result<String, Failure> {
    block_on(async {
        let unreachable =
            |error| Failure::Runtime(format!("no answer from {}: {}", address::shown(base), cause(error)));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.text().await.map_err(unreachable)?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    })
}

/// Reads an answer of the API.
///
/// # Errors
/// `Runtime` when it is not what this version of the API answers.
pub(super) fn decode<T: DeserializeOwned>(body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| Failure::Runtime(format!("unexpected answer: {error}")))
}

/// A server's no, the same for requests and for websocket handshakes: status and words.
pub(super) fn refusal(status: StatusCode, body: &str) -> Failure {
    Failure::Runtime(format!("{status}: {}", one_line(body)))
}

/// What makes calls to a server at `base`.
///
/// # Errors
/// `Usage` when the certificates to trust are unusable, `Runtime` when the system has no root certificates that are needed.
pub(super) fn client(base: &Url, trust: &TrustArgs) -> Result<Client, Failure> {
    let mut builder = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).no_proxy();
    builder = builder.dns_resolver(Zones);
    if base.scheme() == "http" {
        // Without this even plain HTTP would need the system's root certificates, which small containers lack.
        builder = builder.tls_certs_only([]);
    } else if let Some(roots) = trust.roots()? {
        let roots = roots.iter().map(|root| Certificate::from_der(root));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(|error| Failure::Runtime(cause(error)))?;
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(|error| Failure::Runtime(cause(error)))
}

/// What asks a server for what everybody may know. It tells no secret, so it looks at no certificate: that of a server which
/// is called at 127.0.0.1 is for another name.
///
/// # Errors
/// `Runtime`: the machine permits no client.
pub(super) fn anonymous_client() -> Result<Client, Failure> {
    let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy().dns_resolver(Zones);
    // Nor does it need the roots of this system, which small containers lack.
    let builder = builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true);
    builder.build().map_err(|error| Failure::Runtime(cause(error)))
}

/// The innermost reason. The outer ones say only that a request failed, and repeat its URL.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut innermost: &dyn Error = &error.without_url();
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    explain_tls(innermost.to_string())
}

/// What a library says of a connection; where one side speaks TLS and the other does not, in words that say so.
pub(super) fn explain_tls(reason: String) -> String {
    if reason.contains("InvalidContentType") {
        return "this port does not speak TLS: give a URL that begins with http:// or ws://".to_owned();
    }
    // A server under TLS answers a plain request with an alert, which is no HTTP.
    if reason.contains("invalid HTTP version") || reason.contains("httparse error") {
        return "the answer is not HTTP; if this port speaks TLS, give a URL that begins with https:// or wss://"
            .to_owned();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        api: ApiArgs,
    }

    fn api(words: &[&str]) -> Result<Api, Failure> {
        Api::new(&Line::try_parse_from([&["x"], words].concat()).unwrap().api)
    }

    #[test]
    fn without_a_password_one_line_says_how_to_give_it() {
        let failure = api(&["--password", ""]).err().unwrap();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("GUSHER_PASSWORD") && !failure.to_string().contains('\n'));
    }

    #[test]
    fn nobody_there_is_told_with_the_address_and_without_the_password() {
        // A listener that is gone again leaves a port where nobody answers.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).unwrap().port();
        let base = format!("http://127.0.0.1:{port}");
        let api = api(&["--password", "hidden", "--api", &base]).unwrap();
        let failure = api.call(Method::GET, &["api", "app-list"], &[]).unwrap_err();
        let text = failure.to_string();
        assert_eq!(failure.exit_code(), 1);
        assert!(text.contains(&base) && text.contains("refused") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_refusal_holds_the_status_and_the_server_s_words() {
        let failure = refusal(StatusCode::NOT_FOUND, "app_key does not exist\n");
        assert_eq!(failure.to_string(), "404 Not Found: app_key does not exist");
    }
}
