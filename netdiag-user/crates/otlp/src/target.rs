//! Where the collector is. What the environment says beside its address (OTEL_EXPORTER_OTLP_HEADERS,
//! OTEL_RESOURCE_ATTRIBUTES and the like) the SDK reads itself.
use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use opentelemetry_otlp::{
    Compression, WithExportConfig, WithTonicConfig,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};

use crate::{model::text, sys::file};

/// The standard variable of the collector's address.
pub const ENVIRONMENT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const COMPRESSION: &str = "OTEL_EXPORTER_OTLP_COMPRESSION";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
/// What the SDK sends with each record, such as a token.
const HEADERS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
];
/// Bytes of a file of certificates.
const CERTIFICATES: usize = 1 << 20;
/// Where Linux systems have theirs, as one file.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// A collector that lives answers sooner.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A collector's address, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// `http://HOST:PORT`, or `https://` with the system's certificates.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            let clean = text::line(text, 100);
            format!("'{clean}' is no address of a collector, like http://otel-collector:4317")
        };
        let uri: http::Uri = text.parse().map_err(|_| bad())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        // A port that is none is left in it, and so are a user and a password.
        let host = uri.authority().is_some_and(|it| {
            let port = it
                .port()
                .map_or_else(String::new, |port| format!(":{port}"));
            !it.host().is_empty() && it.as_str() == format!("{}{port}", it.host())
        });
        let path = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        // gRPC has paths of its own, and who names one means the other protocol.
        match known && host && path {
            true => Ok(Self(text.to_owned())),
            false => Err(bad()),
        }
    }

    /// What the standard variable says; nothing where it is empty or not set.
    pub fn from_environment() -> Result<Option<Self>, String> {
        let value = std::env::var(ENVIRONMENT).unwrap_or_default();
        if value.is_empty() {
            return Ok(None);
        }
        let named = |why| format!("{ENVIRONMENT}: {why}");
        Self::parse(&value).map(Some).map_err(named)
    }

    /// What the environment has sent there for all on the way to read: the variable's name.
    pub fn exposes(&self) -> Option<&'static str> {
        self.exposes_of(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()))
    }

    fn exposes_of(&self, is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
        let uri: http::Uri = self.0.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']);
        let own = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        let open = uri.scheme_str() == Some("http") && !own;
        HEADERS.into_iter().find(|name| open && is_set(name))
    }

    /// Brings an exporter there. Below `root` the node has its certificates, where this container
    /// has none.
    pub(crate) fn reach<B>(&self, builder: B, root: &Path) -> Result<B>
    where
        B: WithExportConfig + WithTonicConfig,
    {
        let builder = builder.with_endpoint(&self.0).with_timeout(TIMEOUT);
        let builder = match std::env::var_os(COMPRESSION) {
            Some(_) => builder,
            // Each node sends much the same again and again.
            None => builder.with_compression(Compression::Gzip),
        };
        match self.0.starts_with("https") {
            true => Ok(builder.with_tls_config(tls(root)?)),
            false => Ok(builder),
        }
    }
}

fn tls(root: &Path) -> Result<ClientTlsConfig> {
    let named = std::env::var_os(CERTIFICATE).filter(|it| !it.is_empty());
    let has_own = || !rustls_native_certs::load_native_certs().certs.is_empty();
    let tls = ClientTlsConfig::new();
    Ok(match trusted(named.map(PathBuf::from), has_own, root)? {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls.with_enabled_roots(),
    })
}

/// The certificates to trust; nothing where they are this system's own, without which the SDK takes
/// no other either.
fn trusted(
    named: Option<PathBuf>,
    has_own: impl FnOnce() -> bool,
    root: &Path,
) -> Result<Option<Vec<u8>>> {
    if let Some(path) = named {
        let read = file::read(&path, CERTIFICATES);
        let pem = read.with_context(|| format!("{CERTIFICATE}: reading {}", path.display()))?;
        return Ok(Some(pem));
    }
    if has_own() {
        return Ok(None);
    }
    let read = |path: &&str| file::within(root, Path::new(path), CERTIFICATES).ok();
    let of_node = SYSTEM.iter().find_map(read);
    let none = || {
        let root = root.display();
        format!(
            "no certificates to trust were found, here or below {root}: name some in {CERTIFICATE}"
        )
    };
    Ok(Some(of_node.with_context(none)?))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_certificates_trusts_those_that_are_named_or_the_nodes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, named) = (folder.path(), folder.path().join("ca.pem"));
        let why = trusted(None, || false, root).expect_err("there are none");
        let why = format!("{why:#}");
        assert!(why.contains(CERTIFICATE) && !why.contains('\n'), "{why}");
        std::fs::write(&named, "named").expect("written");
        let asks_nobody = || panic!("the system's own are not needed");
        let pem = trusted(Some(named), asks_nobody, root).expect("it is there");
        assert_eq!(pem.as_deref(), Some(&b"named"[..]));
        // Links are the node's, not this container's.
        let bundle = root.join("etc/pki/ca-trust/extracted/pem/bundle");
        std::fs::create_dir_all(bundle.parent().expect("a folder")).expect("made");
        std::fs::create_dir_all(root.join("etc/ssl/certs")).expect("made");
        std::fs::write(&bundle, "the node's").expect("written");
        let link = root.join("etc/ssl/certs/ca-certificates.crt");
        let there = "/etc/pki/ca-trust/extracted/pem/bundle";
        std::os::unix::fs::symlink(there, link).expect("linked");
        let pem = trusted(None, || false, root).expect("the node has some");
        assert_eq!(pem.as_deref(), Some(&b"the node's"[..]));
        let pem = trusted(None, || true, root).expect("the system has some");
        assert_eq!(pem, None);
    }

    #[test]
    fn headers_go_in_the_open_by_http_to_others_alone() {
        let exposes = |target: &str, set: &str| {
            let target = Target::parse(target).expect("a collector");
            target.exposes_of(|name| name == set)
        };
        let [all, logs, metrics] = HEADERS;
        for set in [all, logs, metrics] {
            assert_eq!(exposes("http://collector:4317", set), Some(set));
        }
        for open in [
            "http://10.0.0.1:4317",
            "HTTP://[fd00::1]:4317",
            "http://localhost.example",
        ] {
            assert_eq!(exposes(open, all), Some(all), "{open}");
        }
        for safe in [
            "https://collector:4317",
            "http://localhost:4317",
            "http://127.0.0.2:4317",
            "http://[::1]:4317",
        ] {
            assert_eq!(exposes(safe, all), None, "{safe}");
        }
        assert_eq!(exposes("http://collector:4317", "OTEL_SERVICE_NAME"), None);
    }

    #[test]
    fn what_is_no_address_is_refused_in_a_sentence() {
        for good in [
            "http://10.0.0.1:4317",
            "https://collector",
            "http://[::1]:4317/",
        ] {
            assert!(Target::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "collector:4317",
            "grpc://collector:4317",
            "http://",
            "http://a:x",
            "http://a/v1/logs",
            "a\nb",
        ] {
            let why = Target::parse(bad).expect_err(bad);
            assert!(why.contains("like http://") && !why.contains('\n'), "{why}");
        }
    }
}
