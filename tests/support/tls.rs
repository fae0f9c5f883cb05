//! An authority that issues certificates while a test runs, and clients that trust it and nobody else.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SignatureAlgorithm,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::Connector;

use super::soon;

/// Where test nodes are, by name and by number.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// An authority, and the files of a node that it has issued a certificate for.
pub struct Authority {
    directory: TempDir,
    root: CertificateDer<'static>,
    root_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, with the files of a node.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("a certificate without names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a certificate");
        let authority = Self {
            directory: tempfile::tempdir().expect("a directory for the test"),
            root: root.der().clone(),
            root_pem: root.pem(),
            issuer: Issuer::new(params, key),
        };
        fs::write(authority.ca_file(), &authority.root_pem).expect("the directory is ours");
        authority.issue();
        authority
    }

    /// Puts a new certificate and its key in place of those that are there; returns the certificate.
    pub fn issue(&self) -> CertificateDer<'static> {
        self.issue_until(4096)
    }

    /// The same of one that ends with the first of January of that year.
    pub fn issue_until(&self, year: i32) -> CertificateDer<'static> {
        let (certificate, pem, key) = self.certificate(year);
        fs::write(self.key_file(), key).expect("the directory is ours");
        fs::write(self.cert_file(), pem).expect("the directory is ours");
        certificate
    }

    fn certificate(&self, year: i32) -> (CertificateDer<'static>, String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(NAMES.map(String::from).to_vec()).expect("names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.der().clone(), certificate.pem(), key.serialize_pem())
    }

    /// A certificate for somebody else's key, from the first of January of one year to that of another, and behind it the
    /// root; in PEM.
    pub fn sign(&self, names: &[String], key: &PublicKey, (from, until): (i32, i32)) -> String {
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        certificate.pem() + &self.root_pem
    }

    /// What makes handshakes for a server of the test's own, with the node's certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(self.cert_file()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(self.key_file()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions that are spoken");
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).expect("a pair");
        Arc::new(config).into()
    }

    /// A key that belongs to no certificate here.
    pub fn foreign_key(&self) -> String {
        self.certificate(4096).2
    }

    /// The node's certificate.
    pub fn cert_file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// The node's key.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// The certificate of the authority.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The same in PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The settings of a node with TLS on its public listener.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let name = |file: PathBuf| file.to_str().expect("a path in UTF-8").to_owned();
        [("tls.cert_file", name(self.cert_file())), ("tls.key_file", name(self.key_file()))]
    }

    /// A client that trusts this authority.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_of(rustls::ALL_VERSIONS)
    }

    /// One that speaks these versions only.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_protocol_versions(versions).expect("versions that are spoken");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// The same for WebSocket clients.
    pub fn connector(&self) -> Connector {
        Connector::Rustls(self.client())
    }
}

/// A public key on P-256: its point.
pub struct PublicKey(pub Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A client that takes whatever certificate it is shown.
pub fn trusting_everybody() -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions that are spoken");
    config.dangerous().with_custom_certificate_verifier(Arc::new(Credulous)).with_no_client_auth()
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The handshake of a client.
pub async fn shake_hands(
    config: Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    shake_hands_with("127.0.0.1", config, address).await
}

/// The same with a node of another name.
pub async fn shake_hands_with(
    name: &'static str,
    config: Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = soon("a connection", TcpStream::connect(address)).await.expect("the listener accepts");
    let name = ServerName::try_from(name).expect("a name");
    soon("a handshake", TlsConnector::from(config).connect(name, stream)).await
}

/// A connection over TLS and what came on it and was not looked at yet.
pub struct RawTls {
    /// The connection itself.
    pub stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl RawTls {
    /// Connects, and says nothing yet.
    pub async fn connect(authority: &Authority, address: SocketAddr) -> Self {
        let stream = shake_hands(authority.client(), address).await.expect("a handshake");
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("sending", self.stream.write_all(bytes.as_ref())).await.expect("the stream takes it");
        soon("sending", self.stream.flush()).await.expect("the stream takes it");
    }

    /// The head of the next response.
    pub async fn head(&mut self) -> String {
        let end = self.until(|read| read.windows(4).position(|four| four == b"\r\n\r\n")).await + 4;
        String::from_utf8(self.take(end).await).expect("a head is text")
    }

    /// The next bytes, so many.
    pub async fn take(&mut self, length: usize) -> Vec<u8> {
        self.until(|read| (read.len() >= length).then_some(())).await;
        self.read.drain(..length).collect()
    }

    /// The next frame of the server's: its first byte and its payload.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let (head, length) = self.until(super::raw::frame_length).await;
        let frame = self.take(head + length).await;
        (frame[0], frame[head..].to_vec())
    }

    /// The end of the stream, of which the server has told: an end without a word would be an error.
    pub async fn ended(&mut self) {
        let mut rest = std::mem::take(&mut self.read);
        let read = soon("the end", self.stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "an orderly end, not {read:?}");
        assert!(rest.is_empty(), "nothing more, not {rest:?}");
    }

    async fn until<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> T {
        loop {
            if let Some(found) = found(&self.read) {
                return found;
            }
            let read = soon("bytes", self.stream.read_buf(&mut self.read)).await;
            let length = read.expect("the stream is sound");
            assert!(length > 0, "ended behind {:?}", String::from_utf8_lossy(&self.read));
        }
    }
}
