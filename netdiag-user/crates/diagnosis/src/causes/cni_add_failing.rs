//! # Symptom
//! New pods stay in ContainerCreating: `Failed to create pod sandbox: … failed to setup network for
//! sandbox`, `netplugin failed …`, `unexpected end of JSON input`. Running pods keep working.
//!
//! # Mechanism
//! The container runtime calls a CNI plugin (ADD) for each new sandbox, and the plugin fails: the plugin
//! or its configuration is missing, its IPAM has no address or cannot write, or the daemon that it calls
//! is gone. kubelet retries every 10 to 20 s, each time with a new sandbox.
//!
//! # Signals
//! Observed, in the log of the runtime or of kubelet (files, syslog, the journal; the last five minutes):
//! setting up the network fails again and again for the same pod, the last time recently, and neither
//! these logs nor the runtime's list (CRI) show a success since. Or the runtime has pods and reports over
//! CRI, twice in a row, that its network is not ready. The log is the evidence: a finding is confirmed
//! without any packet.
//!
//! # Look-alikes
//! One ADD that fails before another works: the pod waited for its network daemon. `ipam-exhausted`,
//! `etcd-nospace` and `cni-daemon-oom` are reasons why the plugin fails: if one of them is found, this
//! cause appears below it.
//!
//! # By hand
//! `kubectl -n NAMESPACE describe pod POD` shows the event FailedCreatePodSandBox, `journalctl -u
//! containerd | grep 'network for sandbox'` the plugin's error, `crictl info` the condition NetworkReady.
//!
//! # Fix
//! The plugin's error says what it lacks. Restart the network daemon, or restore its plugin and
//! configuration (its DaemonSet installs both when its pod starts).
use crate::{
    model::{
        gather::Want,
        runtime::{Network, Runtime, Setups, is_shared},
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRef, PodRole, Severity,
            Subject, Ties,
        },
    },
    pipeline::facts::Facts,
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "cni-add-failing";
pub const TITLE: &str = mark!("the CNI plugin fails, so that pods get no network");

/// A daemon of the network that restarts makes one or two fail.
const TRIES: u32 = 3;
/// kubelet tries a pod again every 10 to 20 s: one that has not failed for a minute is gone, or
/// was set up.
const STILL: i64 = 60_000_000_000;
/// Pods that are told one by one.
const TOLD: usize = 10;
/// Words and addresses of plugins' messages that are looked at.
const NAMED: usize = 256;

/// Ends of logs, and a word with the runtime, now and then; where there are none it costs nothing.
pub fn wants(_: &Facts<'_>) -> Vec<Want> {
    vec![Want::Runtime]
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let runtime = facts.gathered.runtime()?;
    let now = facts.clock.time(facts.now).as_nanosecond();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let failing = failing(runtime, now);
    let unready = unready(runtime);
    if failing.is_empty() && unready.is_none() {
        return None;
    }
    let severity = severity(runtime, &failing, unready.is_some());
    let summary = summary(&failing, unready.map(|(_, why)| why));
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    if unready.is_none() && failing.iter().all(|pod| is_shared(&pod.log)) {
        // Any program can write there, by any name.
        finding.confidence = Confidence::Suspected;
        finding.severity = Severity::Warning;
    }
    let told = failing.iter().take(TOLD);
    finding.evidence.extend(told.clone().map(|pod| log(pod)));
    finding
        .evidence
        .extend(unready.map(|(socket, why)| api(socket, why)));
    finding.evidence.extend(runtime.networks.iter().map(conf));
    finding.pods = told.map(|pod| victim(pod)).collect();
    finding.about = failing
        .iter()
        .flat_map(|pod| addresses(&pod.message))
        .collect();
    needs(runtime, &failing, &mut finding.ties);
    finding.fix = fix(runtime, &failing);
    let first = failing.iter().map(|pod| pod.first).min();
    let last = failing.iter().map(|pod| pod.last).max();
    finding.first_seen = at(facts, first);
    finding.last_seen = at(facts, last);
    Some(finding)
}

/// Pods whose network fails now, most often first.
fn failing(runtime: &Runtime, now: i64) -> Vec<&Setups> {
    let still = |pod: &&Setups| pod.failures >= TRIES && now.saturating_sub(pod.last) <= STILL;
    let mut failing: Vec<_> = runtime.setups.iter().filter(still).collect();
    failing.sort_by_key(|pod| std::cmp::Reverse(pod.failures));
    failing
}

fn unready(runtime: &Runtime) -> Option<(&str, &str)> {
    let (socket, said) = runtime.cri.as_ref()?;
    let why = said.as_ref().ok()?.network_not_ready.as_deref()?;
    Some((socket, why))
}

/// Worst where no pod at all was set up since.
fn severity(runtime: &Runtime, failing: &[&Setups], unready: bool) -> Severity {
    let first = failing.iter().map(|pod| pod.first).min();
    let succeeded = runtime.setups.iter().filter_map(|pod| pod.succeeded).max();
    match first.zip(succeeded) {
        Some((first, succeeded)) if succeeded > first && !unready => Severity::Warning,
        _ => Severity::Critical,
    }
}

fn label(pod: &Setups) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn summary(failing: &[&Setups], unready: Option<&str>) -> String {
    let Some(worst) = failing.first() else {
        let why = unready.unwrap_or_default();
        return t!("the container runtime can give no pod a network: {why}");
    };
    let pods = match failing.len() {
        1 => label(worst),
        n => t!("{} and {} more", label(worst), n - 1),
    };
    let times = worst.failures;
    match is_shared(&worst.log) {
        // Those words may be anybody's: they stand below, as what the log says.
        true => t!(
            "{} says that the network of {pods} cannot be set up, {times} times so far",
            worst.log
        ),
        false => t!(
            "the network of {pods} cannot be set up, {times} times so far: {}",
            worst.message
        ),
    }
}

fn log(pod: &Setups) -> Evidence {
    let text = t!(
        "{}: {} sandboxes failed for their network and none was set up since; the last one: {}",
        label(pod),
        pod.failures,
        pod.message
    );
    let mut line = Evidence::new(EvidenceKind::Log, Origin::Observed, text);
    line.at = Some(pod.log.clone());
    line.confirm = pod.show.command(&pod.name);
    line
}

fn api(socket: &str, why: &str) -> Evidence {
    let text = t!("the runtime says that its network is not ready: {why}");
    let mut line = Evidence::new(EvidenceKind::Api, Origin::Observed, text);
    line.at = Some(socket.to_owned());
    line.confirm = Some(shell!(
        "crictl -r unix://{} info | grep -A4 NetworkReady",
        socket
    ));
    line
}

fn conf(network: &Network) -> Evidence {
    let mut text = t!(
        "network {}: plugins {}",
        network.name,
        network.plugins.join(t!(", "))
    );
    if let Some(ipam) = &network.ipam {
        text.push_str(&t!(", IPAM {ipam}"));
    }
    if !network.etcd.is_empty() {
        let etcd = network.etcd.join(t!(", "));
        text.push_str(&t!(", addresses are kept in etcd ({etcd})"));
    }
    let mut line = Evidence::new(EvidenceKind::File, Origin::Configured, text);
    line.at = Some(network.file.clone());
    let mut shown: Vec<&str> = network.plugins.iter().map(String::as_str).collect();
    shown.push(&network.name);
    line.confirm = Some(shell!("cat {}", network.file).showing(&shown));
    line
}

fn victim(pod: &Setups) -> PodRef {
    PodRef {
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        role: Some(PodRole::Victim),
        ..PodRef::default()
    }
}

/// Addresses that the plugin names: those of a range that is used up, of a server that refuses.
fn addresses(message: &str) -> Vec<std::net::IpAddr> {
    let of = |c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':'));
    let words = message.split(of).map(|word| word.trim_matches(['.', ':']));
    words.filter_map(|word| word.parse().ok()).collect()
}

fn at(facts: &Facts<'_>, time: Option<i64>) -> String {
    let time = time.and_then(|t| jiff::Timestamp::from_nanosecond(t.into()).ok());
    match time {
        Some(time) => format!("{time:.3}"),
        None => facts.clock.text(facts.now),
    }
}

/// By the plugin's own words.
fn fix(runtime: &Runtime, failing: &[&Setups]) -> Fix {
    let said = failing.first().map_or("", |pod| pod.message.as_str());
    let file = runtime.networks.first().map(|n| n.file.as_str());
    let file = file.unwrap_or("/etc/cni/net.d");
    let has = |words: &str| said.contains(words);
    let summary = match () {
        () if has("failed to find plugin") => t!(
            "put the plugin that {file} names where the runtime looks for it (/opt/cni/bin, \
             /usr/lib/cni): the network's DaemonSet installs it when its pod starts"
        ),
        () if has("not initialized") || failing.is_empty() || runtime.networks.is_empty() => t!(
            "no CNI configuration is in /etc/cni/net.d: start the network's daemon \
             (its DaemonSet's pod on this node), which writes it"
        )
        .to_owned(),
        () if has("already has an IP address different") => t!(
            "the bridge has an address of another range than {file} now gives: bring both \
             together, or drain the node and delete the bridge, which the plugin makes anew"
        ),
        () => t!(
            "see what the plugin of {file} lacks by its own words and its daemon's log, and let \
             kubelet try again"
        ),
    };
    let mut commands = vec![shell!("ls -l /etc/cni/net.d /opt/cni/bin")];
    let pods = failing.iter().take(1);
    commands.extend(pods.map(|p| shell!("kubectl -n {v} describe pod {}", p.namespace, p.name)));
    Fix { summary, commands }
}

/// What the plugin cannot do without, by its own words: whoever calls himself so in a pod's name
/// is not meant.
fn needs(runtime: &Runtime, failing: &[&Setups], ties: &mut Ties) {
    let messages = || failing.iter().map(|pod| pod.message.as_str());
    if let Some(because) = refused_by_etcd(runtime, messages) {
        ties.rest_because(Subject::Etcd, because);
    }
    for end in messages().flat_map(addresses).take(NAMED) {
        ties.rest_on(Subject::Range { end });
    }
    let words = messages().flat_map(|m| m.split(|c: char| !c.is_ascii_alphanumeric()));
    for word in words.filter(|w| !w.is_empty()).take(NAMED) {
        let name = word.to_owned();
        ties.rest_on(Subject::Daemon { name });
    }
}

/// The plugin says so, or says nothing at all while its addresses are kept there.
fn refused_by_etcd<'a, M>(runtime: &Runtime, messages: impl Fn() -> M) -> Option<String>
where
    M: Iterator<Item = &'a str>,
{
    let says = |words: &[&str]| messages().any(|m| words.iter().any(|word| m.contains(word)));
    if says(&["database space exceeded"]) {
        return Some(t!("the plugin is refused by etcd: database space exceeded").into());
    }
    let kept = runtime.networks.iter().find(|n| !n.etcd.is_empty())?;
    let mute = says(&["end of JSON input", "no error message", "etcd"]);
    let file = &kept.file;
    mute.then(|| t!("pods' addresses are kept in etcd, as {file} says: none can be given out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, observation::Observation, runtime::Cri},
        testing::{overlay_node, with_gathered},
    };

    const SECOND: i64 = 1_000_000_000;

    fn pod(failures: u32, last: i64, message: &str) -> Setups {
        Setups {
            namespace: "shop".into(),
            name: "cart-1".into(),
            log: "/var/log/containerd.log".into(),
            failures,
            first: last - 30 * SECOND,
            last,
            message: message.into(),
            ..Setups::default()
        }
    }

    fn found(runtime: Runtime) -> Option<Finding> {
        let observation = Observation {
            now: 100 * SECOND as u64,
            ..Observation::default()
        };
        let piece = (Want::Runtime, Ok(Piece::Runtime(runtime)));
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, [piece], evaluate)
    }

    fn of_pods(setups: Vec<Setups>) -> Option<Finding> {
        found(Runtime {
            setups,
            ..Runtime::default()
        })
    }

    #[test]
    fn a_pod_that_fails_again_and_again_is_named() {
        let finding = of_pods(vec![pod(
            3,
            95 * SECOND,
            "failed to find plugin \"flannel\"",
        )]);
        let finding = finding.expect("a finding");
        assert_eq!(finding.severity, Severity::Critical);
        assert!(
            finding.summary.contains("shop/cart-1"),
            "{}",
            finding.summary
        );
        assert!(finding.fix.summary.contains("/opt/cni/bin"));
        assert_eq!(finding.first_seen, "1970-01-01T00:01:05.000Z");
    }

    #[test]
    fn once_or_long_ago_is_nothing() {
        assert!(of_pods(vec![pod(2, 95 * SECOND, "x")]).is_none());
        assert!(of_pods(vec![pod(9, 30 * SECOND, "x")]).is_none());
        assert!(of_pods(Vec::new()).is_none());
    }

    #[test]
    fn others_that_get_theirs_make_it_a_warning() {
        let other = Setups {
            succeeded: Some(90 * SECOND),
            ..Setups::default()
        };
        let finding = of_pods(vec![pod(3, 95 * SECOND, "x"), other]).expect("a finding");
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.pods.len(), 1);
    }

    #[test]
    fn a_runtime_without_a_network_says_so() {
        let said = |why: Option<&str>| {
            let cri = Cri {
                network_not_ready: why.map(str::to_owned),
            };
            found(Runtime {
                cri: Some(("/run/crio/crio.sock".into(), Ok(cri))),
                ..Runtime::default()
            })
        };
        assert!(said(None).is_none());
        let finding = said(Some("NetworkPluginNotReady: x")).expect("a finding");
        assert!(finding.summary.contains("NetworkPluginNotReady"));
        assert!(
            finding.evidence[0]
                .confirm
                .as_ref()
                .is_some_and(|c| c.contains("crio.sock"))
        );
    }

    #[test]
    fn etcd_explains_it_where_addresses_are_kept_there() {
        let refused = |message: &str, etcd: &[&str]| {
            let runtime = Runtime {
                setups: vec![pod(3, 95 * SECOND, message)],
                networks: vec![Network {
                    name: "k8s-pod-network".into(),
                    file: "/etc/cni/net.d/10-calico.conflist".into(),
                    etcd: etcd.iter().map(|e| (*e).to_owned()).collect(),
                    ..Network::default()
                }],
                ..Runtime::default()
            };
            let rests_on = found(runtime).expect("a finding").ties.rests_on;
            rests_on.iter().any(|tie| tie.subject == Subject::Etcd)
        };
        assert!(refused("etcdserver: mvcc: database space exceeded", &[]));
        assert!(refused(
            "unexpected end of JSON input",
            &["https://10.0.0.5:2379"]
        ));
        assert!(
            !refused("unexpected end of JSON input", &[]),
            "of another kind"
        );
        assert!(!refused(
            "failed to find plugin \"calico\"",
            &["https://10.0.0.5:2379"]
        ));
    }

    #[test]
    fn addresses_of_the_plugins_words() {
        let found =
            addresses("no IP addresses available in range set: 10.2.0.2-10.2.0.9, fd00::1.");
        let expected = ["10.2.0.2", "10.2.0.9", "fd00::1"].map(crate::testing::ip);
        assert_eq!(found, expected);
    }
}
