//! # Symptom
//! The cluster accepts no writes: pods get no address if IPAM keeps its state in etcd or in the API
//! (Calico), leases expire, `kubectl apply` fails with `etcdserver: mvcc: database space exceeded`.
//! Running pods keep running.
//!
//! # Mechanism
//! etcd's backend file reached `--quota-backend-bytes` (2 GiB by default). etcd raises the alarm NOSPACE
//! for the whole cluster and accepts only reads and deletes until the alarm is disarmed, even if there is
//! room again (etcd, server/etcdserver/quota.go). Compaction makes room within the file; only
//! defragmentation makes the file smaller.
//!
//! # Signals
//! Observed, by asking each member's gateway over HTTP: the alarm NOSPACE (critical). Without the alarm:
//! the file's size against the quota, a warning from 95 %, info from 80 %. Under the alarm the size can
//! stay just below the quota, because etcd refuses a write before it makes it. The members are those of
//! `--etcd`, else those of kubeadm's manifest, else an etcd in the node's own namespace that runs as
//! root's service or as a pod of kube-system. netdiag asks no other process of that name; such processes,
//! and members that do not answer, appear under "not checked". The alarm is the evidence: a finding is
//! confirmed without any packet.
//!
//! # Look-alikes
//! `ipam-exhausted`: pods get no address while etcd accepts writes. A member that is slow or has no
//! leader also refuses, with other errors (`etcdserver: request timed out`, `no leader`).
//!
//! # By hand
//! `etcdctl alarm list`, `etcdctl endpoint status -w fields`. `etcdctl endpoint health` of 3.4 says
//! "healthy" even under the alarm; GET /health says false.
//!
//! # Fix
//! Compact, defragment every member, disarm: all three, in that order. Then find what fills etcd, set
//! auto-compaction, and raise the quota (up to 8 GiB).
use crate::{
    model::{
        control::{EtcdMember, EtcdStatus},
        gather::Want,
        shell::CommandLine,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
    },
    need::Need,
    pipeline::facts::Facts,
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "etcd-nospace";
pub const TITLE: &str = mark!("etcd is over its quota and takes no more writes");

const ALARM: &str = "NOSPACE";
/// Per cent of the quota. A write is refused that would not fit, so that a file of 95 % may be
/// full for the next large object.
const FULL: u64 = 95;
/// At this point an administrator has days, not minutes.
const FILLING: u64 = 80;

/// Whether a node has an etcd is not to be seen in packets; no answer costs nothing.
pub fn wants(_: &Facts<'_>) -> Vec<Need> {
    vec![Want::Etcd.into(), Need::detail(Want::Impostors)]
}

struct Member<'a> {
    member: &'a EtcdMember,
    status: &'a EtcdStatus,
    severity: Severity,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut members: Vec<_> = facts.gathered.etcd().iter().filter_map(judge).collect();
    members.sort_by_key(|m| std::cmp::Reverse(m.severity));
    let worst = members.first()?;
    let summary = t!("etcd at {} {}", worst.member.endpoint, worst.says());
    let mut finding = Finding::new(ID, worst.severity, Confidence::Confirmed, summary);
    finding.evidence = members.iter().flat_map(Member::evidence).collect();
    finding.fix = fix(&members);
    // Near its quota it still takes writes.
    if alarmed(worst.status) {
        let because = t!("etcd takes no more writes").to_owned();
        finding.ties.blame(Subject::Etcd, because);
    }
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen = facts.clock.text(facts.now);
    Some(finding)
}

fn judge(member: &EtcdMember) -> Option<Member<'_>> {
    let status = member.answer.as_ref().ok()?;
    let severity = match share(status) {
        _ if alarmed(status) => Severity::Critical,
        Some(share) if share >= FULL => Severity::Warning,
        Some(share) if share >= FILLING => Severity::Info,
        _ => return None,
    };
    Some(Member {
        member,
        status,
        severity,
    })
}

fn alarmed(status: &EtcdStatus) -> bool {
    status.alarms.iter().any(|(_, kind)| kind == ALARM)
}

/// Of the quota, in per cent; nothing where the quota is not known.
fn share(status: &EtcdStatus) -> Option<u64> {
    let quota = status.quota.filter(|quota| *quota > 0)?;
    Some(status.size.saturating_mul(100) / quota)
}

impl Member<'_> {
    fn says(&self) -> String {
        let full = match (share(self.status), self.status.quota) {
            (Some(share), Some(quota)) => {
                let size = mib(self.status.size);
                t!("its database has {size} of {} MiB ({share} %)", mib(quota))
            }
            _ => t!("its database has {} MiB", mib(self.status.size)),
        };
        match self.severity {
            Severity::Critical => t!("takes no more writes (alarm {ALARM}): {full}"),
            _ => t!("is close to its quota: {full}"),
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let line = |text: String, command: &[&str]| {
            let mut line = Evidence::new(EvidenceKind::Api, Origin::Observed, text);
            line.at = Some(self.member.endpoint.clone());
            line.confirm = Some(etcdctl(self.member, command));
            line
        };
        let mut lines = Vec::new();
        for (member, kind) in &self.status.alarms {
            lines.push(line(
                t!("member {member} raised {kind}"),
                &["alarm", "list"],
            ));
        }
        lines.push(line(self.sizes(), &["endpoint", "status", "-w", "fields"]));
        if self.status.healthy == Some(false) {
            let mut told = line(t!("/health says false").into(), &[]);
            let health = format!("{}/health", self.member.endpoint);
            told.confirm = Some(
                shell!("curl -sSm 3")
                    .with_words(credentials(self.member))
                    .with_names([health]),
            );
            lines.push(told);
        }
        lines
    }

    fn sizes(&self) -> String {
        let status = self.status;
        let mut text = t!("backend file {} bytes", status.size);
        if let Some(quota) = status.quota {
            text.push_str(&t!(", quota {quota}"));
        }
        if let Some(in_use) = status.in_use {
            text.push_str(&t!(", in use {in_use}"));
        }
        t!("{text}, revision {}", status.revision)
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// An option and its file each.
fn credentials(member: &EtcdMember) -> impl Iterator<Item = &str> {
    let all = member.credentials.iter();
    all.flat_map(|one| match one.split_once(' ') {
        Some((option, file)) => [Some(option), Some(file)],
        None => [Some(one.as_str()), None],
    })
    .flatten()
}

fn etcdctl(member: &EtcdMember, command: &[&str]) -> CommandLine {
    shell!("etcdctl --endpoints={}", member.endpoint)
        .with_words(credentials(member))
        .with_words(command)
}

/// Compaction and the alarm are the cluster's, defragmentation is each member's own.
fn fix(members: &[Member<'_>]) -> Fix {
    let mut commands = Vec::new();
    if let Some(first) = members.first() {
        let revision = members.iter().map(|m| m.status.revision).max();
        let revision = revision.unwrap_or_default().to_string();
        commands.push(etcdctl(first.member, &["compact", &revision]));
        for each in members {
            // It stands still for as long as that takes, seconds for gigabytes.
            commands.push(etcdctl(each.member, &["--command-timeout=60s", "defrag"]));
        }
        if alarmed(first.status) {
            commands.push(etcdctl(first.member, &["alarm", "disarm"]));
        }
    }
    let quota = members.iter().filter_map(|m| m.status.quota).max();
    let quota = quota.map_or_else(String::new, |q| t!(" (now {q})"));
    Fix {
        summary: t!(
            "compact, defragment each member in turn{}; then find what fills it, give etcd \
             --auto-compaction-mode=periodic --auto-compaction-retention=1h and a larger \
             --quota-backend-bytes{quota}, and alert at 80 % of it. Where etcd is a static pod: \
             kubectl -n kube-system exec etcd-NODE -- etcdctl …",
            match members.iter().any(|m| alarmed(m.status)) {
                true => t!(", disarm the alarm"),
                false => "",
            }
        ),
        commands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, observation::Observation},
        testing::{overlay_node, with_gathered},
    };

    fn found(size: u64, alarms: &[&str]) -> Option<Finding> {
        let alarm = |kind: &&str| ("8e9e".to_owned(), (*kind).to_owned());
        let status = EtcdStatus {
            revision: 23,
            size,
            quota: Some(100 << 20),
            alarms: alarms.iter().map(alarm).collect(),
            ..EtcdStatus::default()
        };
        let members = vec![
            EtcdMember {
                endpoint: "http://192.0.2.1:2379".into(),
                credentials: Vec::new(),
                answer: Err("no answer within 2 s".into()),
            },
            EtcdMember {
                endpoint: "https://[::1]:2379".into(),
                credentials: vec!["--cacert /pki/ca.crt".into()],
                answer: Ok(status),
            },
        ];
        let piece = (Want::Etcd, Ok(Piece::Etcd(members)));
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &Observation::default(), [piece], evaluate)
    }

    #[test]
    fn the_alarm_decides_whatever_the_size_is() {
        let finding = found(70 << 20, &[ALARM]).expect("a finding");
        assert_eq!(finding.severity, Severity::Critical);
        let first = "etcdctl '--endpoints=https://[::1]:2379' --cacert /pki/ca.crt compact 23";
        assert_eq!(finding.fix.commands[0], first);
        assert!(finding.fix.commands[2].text().ends_with("alarm disarm"));
    }

    #[test]
    fn sizes_below_the_quota_are_graded() {
        let severity = |size: u64| found(size << 20, &[]).map(|f| f.severity);
        assert_eq!(severity(79), None);
        assert_eq!(severity(80), Some(Severity::Info));
        assert_eq!(severity(96), Some(Severity::Warning));
    }

    #[test]
    fn another_alarm_is_another_fault() {
        assert!(found(1, &["CORRUPT"]).is_none());
    }
}
