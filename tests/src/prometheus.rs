//! A real Prometheus in a node's network namespace, which scrapes the agent there and judges by the
//! rules that netdiag ships.
use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    netdiag::netdiag,
    netns,
    process::{Process, wait_until},
};

const ADDRESS: &str = "127.0.0.1:9090";
/// Every second it looks at both; alerts' durations are scaled so that they are some of these.
const CONFIGURATION: &str = "
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [rules.yml]
scrape_configs:
- job_name: netdiag
  static_configs:
  - targets: [\"127.0.0.1:9464\"]
";
/// It starts within seconds; a busy machine takes longer.
const STARTS: Duration = Duration::from_secs(60);

pub struct Prometheus {
    process: Process,
    netns: String,
    _folder: TempDir,
}

/// An alert of its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub labels: BTreeMap<String, String>,
    pub firing: bool,
}

impl Alert {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Prometheus {
    /// With the shipped rules, their times multiplied.
    pub fn start(netns: &str, scale: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = netdiag(&["manifests", "rules", "--plain", "--alert-scale", scale]);
        assert_eq!(rules.code, Some(0), "{rules:?}");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("rules.yml"), rules.text()).expect("written");
        fs::write(file("prometheus.yml"), CONFIGURATION).expect("written");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, "prometheus"]);
        command.arg(format!(
            "--config.file={}",
            file("prometheus.yml").display()
        ));
        command.arg(format!("--storage.tsdb.path={}", file("data").display()));
        command.arg(format!("--web.listen-address={ADDRESS}"));
        command.arg("--log.level=warn");
        let prometheus = Self {
            process: Process::start(&mut command),
            netns: netns.to_owned(),
            _folder: folder,
        };
        wait_until("Prometheus answers", STARTS, || {
            prometheus.ask("-/ready", &["--fail"]).is_some()
        });
        prometheus
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The samples of a query: labels and value.
    pub fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let text = format!("query={query}");
        let data = self.data("api/v1/query", &["--data-urlencode", &text]);
        let rows = data["result"].as_array().expect("a vector").iter();
        let sample = |row: &Value| {
            let value = row["value"][1].as_str().and_then(|text| text.parse().ok());
            (row["metric"].clone(), value.expect("a number"))
        };
        rows.map(sample).collect()
    }

    pub fn alerts(&self) -> Vec<Alert> {
        let data = self.data("api/v1/alerts", &[]);
        let alerts = data["alerts"].as_array().expect("a list").iter();
        let alert = |it: &Value| Alert {
            labels: serde_json::from_value(it["labels"].clone()).expect("labels"),
            firing: it["state"] == "firing",
        };
        alerts.map(alert).collect()
    }

    pub fn is_firing(&self, name: &str) -> bool {
        let of = |it: &Alert| it.firing && it.label("alertname") == name;
        self.alerts().iter().any(of)
    }

    fn data(&self, path: &str, more: &[&str]) -> Value {
        let text = self.ask(path, more).expect("Prometheus answers");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "success", "{path} {more:?}: {answer}");
        answer["data"].clone()
    }

    /// Nothing where nobody answers.
    fn ask(&self, path: &str, more: &[&str]) -> Option<String> {
        let url = format!("http://{ADDRESS}/{path}");
        let curl = ["ip", "netns", "exec", &self.netns, "curl", "--silent"];
        let all = [&curl[..], more, &[&url]].concat();
        let ended = crate::process::run(Command::new(all[0]).args(&all[1..]));
        (ended.code == Some(0)).then(|| ended.text())
    }
}

/// What Grafana would ask for each panel of the shipped dashboard: its title and its queries, with
/// the variables filled in as it does.
pub fn panels() -> Vec<(String, Vec<String>)> {
    let ended = netdiag(&["manifests", "dashboard", "--plain"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let dashboard: Value = serde_json::from_str(&ended.text()).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let queries = |panel: &Value| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let text = |target: &Value| {
            let text = target["expr"].as_str().expect("a query");
            // Four scrapes, as Grafana takes it.
            let text = text
                .replace("$__rate_interval", "4s")
                .replace("$job", "netdiag");
            text.replace("$instance", ".*")
        };
        targets.map(text).collect::<Vec<_>>()
    };
    let title = |panel: &Value| panel["title"].as_str().expect("a title").to_owned();
    let shown = panels.filter(|panel| panel["type"] != "row");
    shown.map(|panel| (title(panel), queries(panel))).collect()
}

/// Runs what a verdict of this node prints to repair it, as a person copies it.
pub fn repair(netns: &str, cni_dir: &str) -> usize {
    let arguments = [
        "diagnose",
        "-o",
        "json",
        "--duration",
        "10s",
        "--cni-dir",
        cni_dir,
    ];
    let verdict = crate::process::run(&mut crate::netdiag::command_in(netns, &arguments)).json();
    let findings = verdict["findings"].as_array().expect("a list").iter();
    let roots = findings.filter(|it| it["consequence_of"].is_null());
    let mut done = 0;
    for fix in roots.map(|it| &it["fix"]) {
        let commands = fix["commands"].as_array().into_iter().flatten();
        let kinds = fix["kinds"].as_array().into_iter().flatten();
        for (command, _) in commands.zip(kinds).filter(|(_, kind)| **kind == "change") {
            netns::exec(netns, &["sh", "-c", command.as_str().expect("text")]);
            done += 1;
        }
    }
    done
}
