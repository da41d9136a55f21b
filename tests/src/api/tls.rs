//! Certificates that are made anew for each server: a CA, the server's, and a client's.
use std::{fs, net::IpAddr, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};

pub struct Tls {
    pub ca: String,
    pub client: (String, String),
    /// The server's certificate and key as a daemon reads them.
    pub pem: (String, String),
    pub server: Arc<ServerConfig>,
}

impl Tls {
    /// Writes `ca.pem` and the server's files, and returns the names of its certificate and key.
    pub fn written(&self, folder: &Path) -> (String, String) {
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("a file of TLS");
            path.display().to_string()
        };
        put("ca.pem", &self.ca);
        (
            put("server.pem", &self.pem.0),
            put("server.key", &self.pem.1),
        )
    }
}

/// Who serves at that address, and whom it knows.
pub fn make(address: IpAddr) -> Tls {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (key, mut params) = (pair(), named("fixture-ca"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let ca = params.self_signed(&key).expect("a CA");
    let issuer = Issuer::new(params, key);
    let mut params = named("kube-apiserver");
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (own, private) = (pair(), params);
    let chain = private.signed_by(&own, &issuer).expect("a certificate");
    let mut params = named("netdiag");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let clients = pair();
    let client = params.signed_by(&clients, &issuer).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("the CA");
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let verifier = verifier
        .allow_unauthenticated()
        .build()
        .expect("a verifier");
    let private = PrivateKeyDer::try_from(own.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![chain.der().clone()], private)
        .expect("a server");
    Tls {
        ca: ca.pem(),
        client: (client.pem(), clients.serialize_pem()),
        pem: (chain.pem(), own.serialize_pem()),
        server: Arc::new(server),
    }
}

fn pair() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
