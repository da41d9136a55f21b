//! Where the collector is. What the environment says beside its address (OTEL_EXPORTER_OTLP_HEADERS,
//! OTEL_RESOURCE_ATTRIBUTES and the like) the SDK reads itself.
use std::{fmt, time::Duration};

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
/// Bytes of a file of certificates.
const CERTIFICATES: usize = 1 << 20;
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

    /// Brings an exporter there.
    pub(crate) fn reach<B: WithExportConfig + WithTonicConfig>(&self, builder: B) -> Result<B> {
        let builder = builder.with_endpoint(&self.0).with_timeout(TIMEOUT);
        let builder = match std::env::var_os(COMPRESSION) {
            Some(_) => builder,
            // Each node sends much the same again and again.
            None => builder.with_compression(Compression::Gzip),
        };
        match self.0.starts_with("https") {
            true => Ok(builder.with_tls_config(tls()?)),
            false => Ok(builder),
        }
    }
}

fn tls() -> Result<ClientTlsConfig> {
    let tls = ClientTlsConfig::new().with_enabled_roots();
    let Some(path) = std::env::var_os(CERTIFICATE) else {
        return Ok(tls);
    };
    let path = std::path::PathBuf::from(path);
    let read = file::read(&path, CERTIFICATES);
    let pem = read.with_context(|| format!("{CERTIFICATE}: reading {}", path.display()))?;
    Ok(tls.ca_certificate(Certificate::from_pem(pem)))
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
