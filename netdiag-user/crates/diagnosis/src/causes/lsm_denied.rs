//! # Symptom
//! One application's connections or datagrams fail ("operation not permitted", or a timeout), while
//! others in the same pod or on the same node get through. No firewall rule counts the packets.
//!
//! # Mechanism
//! Netfilter is not the only one that filters a socket's packets. eBPF programs attached to the process's
//! cgroup, or to one above it, filter what it sends (ip_finish_output) and what it receives
//! (sk_filter_trim_cap): systemd's IPAddressDeny=, a CNI's or a security agent's programs. Security
//! modules (SELinux, AppArmor, Smack, BPF LSM) filter what comes in for a socket (security_sock_rcv_skb).
//!
//! # Signals
//! Observed: drops with the reason BPF_CGROUP_EGRESS or SECURITY_HOOK, or of TCP and UDP with
//! SOCKET_FILTER, again and again for the same destination, and no answer ever. Gathered: the programs on
//! the cgroups of the namespace's processes, who loaded and who holds them, and the active security
//! modules. SOCKET_FILTER alone may be a filter of the application's own: it counts only if a program for
//! received packets is attached.
//!
//! # Look-alikes
//! `firewall-drop` has the reason NETFILTER_DROP; SELinux's rules for forwarded and labelled packets end
//! there too. A hook that denies connect(2) or sendmsg(2) itself (cgroup/connect4, socket_connect)
//! returns an error and sends no packet: netdiag cannot see it.
//!
//! # By hand
//! `bpftool cgroup tree`; `ausearch -m avc -ts recent`; `journalctl -k | grep -i apparmor`.
//!
//! # Fix
//! Change the policy of the agent that attached the program, or the security module's policy for the
//! application.
use crate::{
    model::{
        flow::TCP,
        gather::Want,
        security::{CgroupProgram, Security},
        verdict::{Evidence, EvidenceKind, Finding, Fix, Origin, Severity},
    },
    need::Need,
    pipeline::facts::{Facts, Loss},
    shared::losses::{self, DropGroup},
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "lsm-denied";
pub const TITLE: &str = mark!("a cgroup's BPF program or a security module denies packets");

/// IPPROTO_UDP.
const UDP: u8 = 17;
/// Programs that a finding names at most.
const PROGRAMS: usize = 3;

/// Who denies, by the reason that the kernel gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    /// A cgroup's program, about what is sent or what is received.
    Cgroup {
        egress: bool,
    },
    Module,
}

impl Hook {
    fn of(loss: &Loss) -> Option<Self> {
        match loss.reason.as_str() {
            "BPF_CGROUP_EGRESS" => Some(Self::Cgroup { egress: true }),
            "SECURITY_HOOK" => Some(Self::Module),
            // Raw sockets of ping(8) and others filter what is not theirs.
            "SOCKET_FILTER" if matches!(loss.flow().protocol, TCP | UDP) => {
                Some(Self::Cgroup { egress: false })
            }
            _ => None,
        }
    }
}

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let patterns = losses::patterns(facts, |l| Hook::of(l).is_some());
    let known = patterns.iter().filter(|p| netns(p) != 0);
    let need = |p: &DropGroup<'_>| {
        let hangs = severity(facts, p).is_some() && !shown(facts, p);
        Need::of(Want::Security(netns(p)), vec![p.sufferer()]).only_if(hangs)
    };
    known.map(need).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut patterns = losses::patterns(facts, |l| Hook::of(l).is_some());
    patterns.retain(|p| shown(facts, p) && severity(facts, p).is_some());
    let worst = patterns.first()?;
    let hook = Hook::of(worst.losses.first()?)?;
    let severity = patterns.iter().filter_map(|p| severity(facts, p)).max()?;
    let programs = programs(facts, worst, hook);
    let summary = t!(
        "{} denies {} from {}: {} packets, none got through",
        denier(hook, &programs),
        worst.target(),
        worst.sender(facts),
        worst.packets(),
    );
    let mut finding = losses::finding(facts, ID, severity, &patterns, summary);
    finding
        .evidence
        .extend(programs.iter().copied().map(attached));
    let security = facts.gathered.security(netns(worst));
    if hook == Hook::Module {
        finding.evidence.extend(security.and_then(active));
    }
    finding.fix = match hook {
        Hook::Cgroup { egress } => by_program(worst, &programs, egress),
        Hook::Module => by_module(worst, security),
    };
    Some(finding)
}

fn netns(pattern: &DropGroup<'_>) -> u32 {
    pattern.losses.first().map_or(0, |l| l.key.netns)
}

/// What is sent and denied is one's own; for what is received it goes by who sent it.
fn severity(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> Option<Severity> {
    let egress = |l: &&Loss| Hook::of(l) == Some(Hook::Cgroup { egress: true });
    match pattern.losses.iter().any(egress) {
        true => Some(Severity::Warning),
        false => losses::severity(facts, pattern),
    }
}

/// The reason alone shows it, but for that of a socket's own filter.
fn shown(facts: &Facts<'_>, pattern: &DropGroup<'_>) -> bool {
    let hook = pattern.losses.first().and_then(|l| Hook::of(l));
    match hook {
        Some(hook @ Hook::Cgroup { egress: false }) => !programs(facts, pattern, hook).is_empty(),
        hook => hook.is_some(),
    }
}

/// Programs that are asked about these packets, the nearest to the process first.
fn programs<'a>(facts: &Facts<'a>, pattern: &DropGroup<'_>, hook: Hook) -> Vec<&'a CgroupProgram> {
    let security = facts.gathered.security(netns(pattern));
    let all = security.map_or(&[][..], |s| &s.programs);
    let asked = |p: &&CgroupProgram| hook == Hook::Cgroup { egress: p.egress };
    let mut programs: Vec<_> = all.iter().filter(asked).collect();
    programs.sort_by_key(|p| std::cmp::Reverse(p.cgroup.len()));
    programs.truncate(PROGRAMS);
    programs
}

fn denier(hook: Hook, programs: &[&CgroupProgram]) -> String {
    match (hook, programs) {
        (Hook::Module, _) => t!("a security module").into(),
        (_, [one]) => t!("the BPF program {} on cgroup {}", name(one), one.cgroup),
        (_, [nearest, ..]) => t!(
            "one of the BPF programs on cgroup {} and above",
            nearest.cgroup
        ),
        (_, []) => t!("a BPF program on the process's cgroup").into(),
    }
}

fn name(program: &CgroupProgram) -> String {
    match program.name.as_str() {
        "" => format!("id {}", program.id),
        name => format!("{name} (id {})", program.id),
    }
}

fn way(egress: bool) -> &'static str {
    if egress {
        "cgroup_inet_egress"
    } else {
        "cgroup_inet_ingress"
    }
}

fn attached(program: &CgroupProgram) -> Evidence {
    let held = match program.holders.as_slice() {
        [] => t!("no process holds it").to_owned(),
        holders => t!("held by {}", holders.join(t!(", "))),
    };
    let text = t!(
        "program {} is attached to {} as {}, which {} belongs to; loaded by uid {}, {held}",
        name(program),
        program.cgroup,
        way(program.egress),
        program.processes.join(t!(", ")),
        program.user,
    );
    let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, text);
    line.at = Some(program.cgroup.clone());
    line.confirm = Some(shell!("bpftool cgroup show {}", program.cgroup));
    line
}

fn active(security: &Security) -> Option<Evidence> {
    if security.modules.is_empty() {
        return None;
    }
    let text = t!(
        "active security modules: {}",
        security.modules.join(t!(", "))
    );
    let mut line = Evidence::new(EvidenceKind::File, Origin::Configured, text);
    line.at = Some("/sys/kernel/security/lsm".into());
    line.confirm = Some(shell!("cat /sys/kernel/security/lsm"));
    Some(line)
}

fn by_program(worst: &DropGroup<'_>, programs: &[&CgroupProgram], egress: bool) -> Fix {
    let target = worst.target();
    let Some(nearest) = programs.first() else {
        return Fix {
            summary: t!(
                "find the program on the process's cgroup or one above it that denies {target}, \
                 and change the policy of whoever attached it"
            ),
            commands: vec![shell!("bpftool cgroup tree")],
        };
    };
    let (id, cgroup) = (nearest.id, &nearest.cgroup);
    let mut commands: Vec<_> = programs
        .iter()
        .map(|p| shell!("bpftool cgroup show {}", p.cgroup))
        .collect();
    commands.dedup();
    commands.push(shell!("bpftool prog show id {}", id));
    if programs.len() == 1 {
        commands.push(shell!(
            "bpftool cgroup detach {} {} id {}",
            cgroup,
            way(egress),
            id
        ));
    }
    let whose = match nearest.holders.as_slice() {
        [] => {
            t!("whoever attached it (systemd's IPAddressDeny=, the CNI, a security agent)").into()
        }
        holders => holders.join(t!(", ")),
    };
    Fix {
        summary: t!(
            "let {target} pass in the policy of {whose}; what is detached by hand, its owner \
             may attach again"
        ),
        commands,
    }
}

fn by_module(worst: &DropGroup<'_>, security: Option<&Security>) -> Fix {
    let known = security.map_or(&[][..], |s| &s.modules);
    let active = |name: &str| known.is_empty() || known.iter().any(|m| m == name);
    let logs = [
        ("selinux", shell!("ausearch -m avc,selinux_err -ts recent")),
        (
            "apparmor",
            shell!("aa-status; journalctl -k | grep -i 'apparmor=.DENIED'"),
        ),
        ("smack", shell!("journalctl -k | grep -i smack")),
        ("bpf", shell!("bpftool prog list | grep -w lsm")),
    ];
    let commands = logs.iter().filter(|(name, _)| active(name));
    Fix {
        summary: t!(
            "find the denial of {} in the security module's log, and allow it in the policy of \
             that application",
            worst.target(),
        ),
        commands: commands.map(|(_, log)| log.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, observation::Observation},
        testing::{NETNS, POD, died, overlay_node, tcp, with_gathered},
    };

    fn program(egress: bool) -> CgroupProgram {
        CgroupProgram {
            id: 42,
            name: "sd_fw".into(),
            egress,
            cgroup: "/sys/fs/cgroup/system.slice/app.service".into(),
            holders: vec!["systemd[1]".into()],
            processes: vec!["curl[9]".into()],
            ..CgroupProgram::default()
        }
    }

    fn judge(reason: &str, programs: Vec<CgroupProgram>) -> (usize, Option<Finding>) {
        let flow = tcp("172.20.1.5", "172.20.2.9", 5432);
        let observation = Observation {
            drops: vec![died(flow, (reason, "tcp_v4_rcv"), POD, 5)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        let modules = vec!["capability".into(), "selinux".into()];
        let piece = Piece::Security(Security { modules, programs });
        let known = [(Want::Security(NETNS), Ok(piece))];
        with_gathered(&node, &observation, known, |facts| {
            (wants(facts).len(), evaluate(facts))
        })
    }

    #[test]
    fn the_program_on_the_cgroup_is_named() {
        let (wants, found) = judge("BPF_CGROUP_EGRESS", vec![program(true), program(false)]);
        let found = found.expect("a finding");
        assert_eq!(wants, 1);
        assert!(found.summary.contains("sd_fw (id 42)"), "{}", found.summary);
        assert!(found.fix.summary.contains("systemd[1]"));
        let detach = found.fix.commands.last().expect("a command");
        assert!(
            detach
                .text()
                .ends_with("app.service cgroup_inet_egress id 42"),
            "{detach}"
        );
    }

    #[test]
    fn the_reason_is_enough_for_what_is_sent() {
        let found = judge("BPF_CGROUP_EGRESS", Vec::new()).1.expect("a finding");
        assert_eq!(found.fix.commands, ["bpftool cgroup tree"]);
    }

    #[test]
    fn a_sockets_own_filter_is_nobodys_denial() {
        assert!(judge("SOCKET_FILTER", vec![program(true)]).1.is_none());
        let found = judge("SOCKET_FILTER", vec![program(false)]).1;
        assert!(found.expect("a finding").summary.contains("sd_fw"));
    }

    #[test]
    fn a_modules_log_is_where_to_look() {
        let found = judge("SECURITY_HOOK", vec![program(false)])
            .1
            .expect("a finding");
        assert!(found.summary.starts_with("a security module denies"));
        assert_eq!(
            found.fix.commands,
            ["ausearch -m avc,selinux_err -ts recent"]
        );
    }

    #[test]
    fn a_firewalls_drop_is_not_denied_here() {
        assert_eq!(judge("NETFILTER_DROP", vec![program(true)]), (0, None));
    }
}
