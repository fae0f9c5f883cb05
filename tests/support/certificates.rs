//! Certificates made for one test.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::process::Directory;

/// The files of a server on this machine, and of whoever vouches for it.
pub struct Certificates {
    directory: Directory,
}

impl Certificates {
    /// New ones.
    pub fn new() -> Self {
        let mut authority = CertificateParams::new([]).expect("no names are fine");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let vouching = authority.self_signed(&key).expect("a certificate").pem();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let server_key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(names)
            .and_then(|server| server.signed_by(&server_key, &Issuer::new(authority, key)))
            .expect("a certificate");
        let directory = Directory::new();
        directory.write("authority.pem", &vouching);
        directory.write("server.pem", &server.pem());
        directory.write("server.key", &server_key.serialize_pem());
        Self { directory }
    }

    /// The certificate of who vouches for the server.
    pub fn authority(&self) -> String {
        self.path("authority.pem")
    }

    /// The certificate of the server.
    pub fn server(&self) -> String {
        self.path("server.pem")
    }

    /// The key of the server.
    pub fn key(&self) -> String {
        self.path("server.key")
    }

    fn path(&self, name: &str) -> String {
        self.directory.path(name).to_str().expect("the path is text").to_owned()
    }
}
