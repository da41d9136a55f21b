//! What this kernel and these privileges allow, feature by feature.
mod hooks;

use std::{path::Path, time::Duration};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{is_map_supported, is_program_supported},
};
use netdiag_lang::{mark, t};
use serde::Serialize;

use super::{offsets, reading, refusal, sizes, symbols, trial, types, version};
use crate::{
    model::level::Level,
    sys::{
        capabilities::{self, Right},
        limits, seccomp,
    },
};

/// One feature, and what to do where it is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Feature {
    pub name: &'static str,
    pub available: bool,
    /// Nothing works without it.
    pub essential: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where it is available.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Tries everything that netdiag uses.
pub fn check(root: &Path) -> Vec<Feature> {
    let mut features = vec![
        maps(),
        map_sizes(),
        hop_programs(),
        cost(),
        tcx(),
        hooks::others(),
    ];
    features.extend(tracepoints(root));
    features.push(symbols(root));
    features.push(namespaces(root));
    features.push(cni(root));
    features
}

fn feature(name: &'static str, essential: bool, result: Result<String, (String, &str)>) -> Feature {
    let available = result.is_ok();
    let (detail, remedy) = match result {
        Ok(detail) => (detail, String::new()),
        Err((detail, remedy)) => (detail, remedy.to_owned()),
    };
    Feature {
        name,
        available,
        essential,
        detail,
        remedy,
    }
}

const PRIVILEGE: &str = mark!("run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");

fn maps() -> Feature {
    let result = match is_map_supported(MapType::RingBuf) {
        Ok(true) => Ok("BPF ring buffer".to_owned()),
        Ok(false) | Err(_) if let Some(why) = refused() => Err(why),
        Ok(false) => Err((
            mark!("no BPF ring buffer").into(),
            mark!("Linux 5.8 or newer"),
        )),
        Err(e) => Err((e.to_string(), PRIVILEGE)),
    };
    feature(mark!("eBPF maps"), true, result)
}

fn map_sizes() -> Feature {
    let remedy = mark!("/sys/devices/system/cpu/possible, which says how many CPUs there may be");
    let told = match sizes::possible_cpus() {
        Ok(cpus) => match too_little_locked(sizes::bytes(cpus, true)) {
            None => Ok(sizes::told(cpus)),
            Some(limit) => Err((
                t!("{}; {limit} bytes may be locked", sizes::told(cpus)),
                refusal::LOCKED_REMEDY,
            )),
        },
        Err(e) => Err((format!("{e:#}"), remedy)),
    };
    feature(mark!("maps' sizes"), true, told)
}

/// The limit that is in the way of so many bytes of maps.
fn too_little_locked(bytes: u64) -> Option<u64> {
    limits::locked_memory().filter(|l| *l < bytes && version::counts_maps_as_locked_memory())
}

/// What a packet costs on this machine, and what that comes to.
fn cost() -> Feature {
    let told = match trial::costs() {
        Ok(costs) => Ok(cost_told(&costs)),
        Err(_) if let Some(why) = refused() => Err(why),
        Err(e) => Err((
            t!("not measured: {e:#}"),
            mark!("it takes nothing from a trace"),
        )),
    };
    feature(mark!("a packet's cost"), false, told)
}

/// Hops of this node that a packet between pods of two nodes passes: veth, bridge, tunnel, uplink.
const HOPS: f64 = 4.0;
/// Of one processor.
const SHARE: f64 = 0.02;

fn cost_told(costs: &[(Level, [Duration; 2])]) -> String {
    let ns = |time: Duration| time.as_nanos();
    let of = |(level, [udp, tcp]): &(Level, [Duration; 2])| {
        let rate = SHARE / (udp.as_secs_f64() * HOPS).max(f64::MIN_POSITIVE);
        let thousands = rate / 1000.0;
        t!(
            "{level} {} ns (TCP data {}), 2 % of a CPU at {thousands:.0} k packets/s",
            ns(*udp),
            ns(*tcp)
        )
    };
    let levels: Vec<_> = costs.iter().map(of).collect();
    t!(
        "at one hop with warm caches, {HOPS:.0} hops a packet: {}",
        levels.join(t!("; "))
    )
}

fn hop_programs() -> Feature {
    let result = match is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => Ok(mark!("tc programs load").to_owned()),
        Ok(false) | Err(_) if let Some(why) = refused() => Err(why),
        Ok(false) => Err((
            mark!("no tc programs").into(),
            mark!("a kernel with CONFIG_NET_CLS_BPF"),
        )),
        Err(e) => Err((e.to_string(), PRIVILEGE)),
    };
    feature(mark!("packets on hops"), true, result)
}

/// Why bpf() is not permitted at all, with what permits it.
fn refused() -> Option<(String, &'static str)> {
    let may = holds(capabilities::BPF) || holds(capabilities::ADMIN);
    match (may, seccomp::refuses_bpf()) {
        (false, _) => Some((mark!("not permitted").to_owned(), PRIVILEGE)),
        (true, true) => {
            let why = mark!("a seccomp profile refuses bpf(), though the capability is there");
            Some((why.to_owned(), refusal::SECCOMP_REMEDY))
        }
        (true, false) => None,
    }
}

fn holds(right: Right) -> bool {
    capabilities::held(&[right]).is_ok_and(|(held, _)| !held.is_empty())
}

fn tcx() -> Feature {
    let release = version::release();
    let result = if version::running() >= (6, 6) {
        Ok(format!("Linux {release}"))
    } else {
        Err((
            t!("Linux {release}: clsact is used instead"),
            mark!("Linux 6.6 or newer, to save some per packet"),
        ))
    };
    feature(mark!("tcx hooks"), false, result)
}

/// What tracepoints give.
const TRACED: [&str; 3] = [
    mark!("drops"),
    mark!("retransmits by sockets"),
    mark!("OOM-killed processes"),
];

fn tracepoints(root: &Path) -> Vec<Feature> {
    let need_btf =
        mark!("a kernel with CONFIG_DEBUG_INFO_BTF, or drops and socket retransmits stay unseen");
    let btf = match types::types(root) {
        Ok(btf) => btf,
        Err(e) => return vec![feature("drops", false, Err((format!("{e:#}"), need_btf)))],
    };
    let reasons = btf.enumeration("skb_drop_reason").map_or(0, |r| r.len());
    let drops = match (
        offsets::offsets(&btf, false),
        btf.tracepoint_arguments("kfree_skb"),
    ) {
        (Err(e), _) => Err((format!("{e:#}"), mark!("report this kernel"))),
        (Ok(_), Some(n)) if n >= 3 => Ok(t!("{reasons} drop reasons")),
        (Ok(_), _) => Ok(mark!("without reasons, which Linux 5.17 has: places tell them").into()),
    };
    let retransmits = match btf.tracepoint_arguments("tcp_retransmit_skb") {
        Some(_) => Ok("tp_btf tcp_retransmit_skb".to_owned()),
        None => Err((mark!("no such tracepoint").into(), need_btf)),
    };
    let victims = match btf.tracepoint_arguments("mark_victim") {
        Some(2..) => Ok("tp_btf mark_victim".to_owned()),
        // Their names are known only where they ran out of memory themselves.
        Some(_) => Ok(mark!("tp_btf mark_victim, by pid").to_owned()),
        None => Err((mark!("no such tracepoint").into(), need_btf)),
    };
    vec![
        feature(
            mark!("reading at tracepoints"),
            false,
            Ok(reading::told(root)),
        ),
        feature(TRACED[0], false, drops),
        feature(TRACED[1], false, retransmits),
        feature(TRACED[2], false, victims),
    ]
}

fn symbols(root: &Path) -> Feature {
    let hidden = mark!("run as root, or with CAP_SYSLOG, with kernel.kptr_restrict at 0 or 1");
    let result = match symbols::hidden(root) {
        true => Err((mark!("/proc/kallsyms hides its addresses").into(), hidden)),
        false => Ok("/proc/kallsyms".to_owned()),
    };
    feature(mark!("names of drop locations"), false, result)
}

fn namespaces(root: &Path) -> Feature {
    let found = crate::host::namespaces::all(root).len();
    let is_root = nix::unistd::geteuid().is_root();
    let result = match holds(capabilities::ADMIN) {
        true => Ok(t!("{found} network namespaces can be entered")),
        false if is_root => Err((
            t!("{found} network namespaces are here, and CAP_SYS_ADMIN, which enters them, is not"),
            mark!("CAP_SYS_ADMIN, which the full profile of `netdiag manifests` has"),
        )),
        false => Err((
            t!("{found} network namespaces are here, and only root may enter them"),
            mark!("run as root, or with CAP_SYS_ADMIN"),
        )),
    };
    feature(mark!("pods' namespaces"), false, result)
}

fn cni(root: &Path) -> Feature {
    let dirs = crate::pods::cni::DEFAULT_DIRS.map(|d| root.join(d));
    let pods: usize = dirs.iter().map(|d| crate::pods::cni::count(d, root)).sum();
    let result = match pods {
        0 => Err((
            mark!("no pod in the CNI result cache").into(),
            mark!("--cni-dir DIR where it lies elsewhere, or --pods FILE"),
        )),
        n => Ok(t!("{n} pods in the CNI result cache")),
    };
    feature(mark!("pods' names"), false, result)
}
