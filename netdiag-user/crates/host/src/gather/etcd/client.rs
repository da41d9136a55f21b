//! HTTP to one member: the JSON gateway (etcd's api/v3 as grpc-gateway shows it), /metrics and
//! /health.
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, body::Bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use netdiag_lang::{english, mark};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;

use super::{Endpoint, Pem, WORD};
use crate::model::text;

/// Metrics of a large cluster's etcd are a few hundred kilobytes; what else is asked is answered in
/// less than one.
const METRICS: usize = 8 << 20;
const ANSWER: usize = 64 << 10;
/// Alarms that are kept: three kinds, of each member.
const ALARMS: usize = 64;

pub struct Client {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
}

impl Client {
    pub fn new(endpoint: &Endpoint) -> Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(endpoint)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: legacy::Client::builder(TokioExecutor::new()).build(connector),
            base: endpoint.url.trim_end_matches('/').to_owned(),
        })
    }

    /// A call of the JSON gateway.
    pub async fn call(&self, path: &str, body: &'static str) -> Result<Value> {
        let request = Request::post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json");
        let request = request.body(Full::from(body))?;
        let text = self.send(request, true, ANSWER).await?;
        serde_json::from_str(&text).with_context(|| format!("{path} gave no JSON"))
    }

    /// The text of a page, whatever its status: an unhealthy member says 503.
    pub async fn get(&self, path: &str) -> Result<String> {
        let request = Request::get(format!("{}{path}", self.base));
        let request = request.body(Full::default())?;
        self.send(request, false, METRICS).await
    }

    /// Nobody is followed elsewhere: what leads on is an answer like any other.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        must: bool,
        largest: usize,
    ) -> Result<String> {
        let path = request.uri().path().to_owned();
        let answer = self.client.request(request).await;
        let answer = answer.with_context(|| english!("asking etcd for {path}"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), largest).collect().await;
        let body = body.map_err(|e| anyhow::anyhow!("{path}: {e}"))?.to_bytes();
        ensure!(!must || status.is_success(), "{path} answered {status}");
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Trusts the CA that was given and nobody else.
fn tls(endpoint: &Endpoint) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let [ca, certificate, key] = &endpoint.files;
    if let Some(ca) = ca {
        for certificate in certificates(ca)? {
            roots.add(certificate).context(mark!("taking the CA"))?;
        }
    } else if endpoint.url.starts_with("https") {
        bail!("no CA to trust it by: --etcd-cacert gives one");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context(mark!("choosing TLS versions"))?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Ok(config.with_no_client_auth());
    };
    let shown = key.here.display();
    let key = PrivateKeyDer::from_pem_slice(&key.read()?)
        .map_err(|e| anyhow::anyhow!("reading {shown}: {e}"))?;
    config
        .with_client_auth_cert(certificates(certificate)?, key)
        .context(mark!("taking the client's certificate"))
}

fn certificates(file: &Pem) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = file.read()?;
    let all: Result<_, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.map_err(|e| anyhow::anyhow!("reading {}: {e}", file.here.display()))
}

/// The gateway writes 64-bit numbers as text.
pub fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A metric without labels, in the text form of Prometheus.
pub fn metric(text: &str, name: &str) -> Option<u64> {
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let value: f64 = text.lines().find_map(of)?;
    Some(value as u64)
}

pub fn alarms(answer: &Value) -> Vec<(String, String)> {
    let alarm = |alarm: &Value| {
        let kind = alarm["alarm"].as_str()?;
        let member = number(&alarm["memberID"]).map(|id| format!("{id:x}"));
        Some((member.unwrap_or_default(), text::line(kind, WORD)))
    };
    let all = answer["alarms"].as_array().into_iter().flatten();
    let all = all.take(ALARMS);
    all.filter_map(alarm).collect()
}

/// `{"health":"false"}`.
pub fn health(text: &str) -> Option<bool> {
    let answer: Value = serde_json::from_str(text).ok()?;
    answer["health"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_etcd_gives_them() {
        let answer =
            r#"{"header":{},"alarms":[{"memberID":"10276657743932975437","alarm":"NOSPACE"}]}"#;
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        let expected = ("8e9e05c52164694d".to_owned(), "NOSPACE".to_owned());
        assert_eq!(alarms(&answer), [expected]);
        let text = "# TYPE a gauge\na_b 1\na 1.6777216e+07\n";
        assert_eq!(metric(text, "a"), Some(16_777_216));
        assert_eq!(metric(text, "c"), None);
        assert_eq!(
            health(r#"{"health":"false","reason":"ALARM NOSPACE"}"#),
            Some(false)
        );
    }
}
