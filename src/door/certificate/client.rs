//! What asks an authority: HTTPS with bounds.

use std::error::Error as StdError;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::redirect;

/// How long one exchange may take.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(30);

/// An answer; a chain of certificates is some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

type Fault = Box<dyn StdError + Send + Sync>;

/// Asks over HTTPS alone, and follows nobody to elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Client(reqwest::Client);

impl Client {
    /// One that trusts the web's roots, or those of a file and no others. It uses the environment's proxies or none.
    ///
    /// # Errors
    /// The file cannot be used; what to do about it.
    pub(super) fn trusting(ca_file: Option<&Path>, uses_proxy: bool) -> Result<Self, String> {
        let builder = reqwest::Client::builder()
            .https_only(true)
            .redirect(redirect::Policy::none())
            .timeout(EXCHANGE_TIME_MAX);
        let builder = if uses_proxy { builder } else { builder.no_proxy() };
        let Some(file) = ca_file else {
            let client = builder.build().map_err(|_| {
                "this system has no root certificates, so no authority can be asked: install them (ca-certificates)"
            });
            return Ok(Self(client?));
        };
        let unusable = |reason: &dyn std::fmt::Display| {
            let file = file.display();
            format!("cannot use {file}: {reason}: set tls.acme.ca_file to certificates in PEM")
        };
        let pem = fs::read(file).map_err(|error| unusable(&error))?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&words(&error)))?;
        if roots.is_empty() {
            return Err(unusable(&"it holds none"));
        }
        builder.tls_certs_only(roots).build().map(Self).map_err(|error| unusable(&words(&error)))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move { exchange(&client, request).await.map_err(Error::Other) })
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Fault> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = client.request(head.method, head.uri.to_string()).headers(head.headers).body(body);
    let mut answer = asked.send().await.map_err(|error| words(&error))?;
    let mut whole = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| words(&error))? {
        if whole.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".into());
        }
        whole.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Full::new(whole.freeze()));
    (*response.status_mut(), *response.headers_mut()) =
        (answer.status(), std::mem::take(answer.headers_mut()));
    Ok(response.into())
}

/// An error and what has led to it: the last is what helps.
fn words(error: &reqwest::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
