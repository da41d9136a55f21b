//! A real etcd is over its quota, and the plugin that gives pods their addresses notes them there:
//! a real containerd cannot set up any pod.
use super::cni_add_failing::{CONTAINERD, bridge, log, pods};
use super::etcd_nospace::{address, etcd};
use super::{Scenario, bulk, everyday};
use crate::containerd::{self, network, runtime, sh};
use crate::daemon::Daemon;
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "ipam-etcd-full",
    summary: "etcd is full, so that IPAM that keeps its state there gives pods no address",
    expected: &["etcd-nospace"],
    leads_to: &["cni-add-failing"],
    needs: NEEDS,
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    daemons,
    fixable: |_| true,
    takes: &[Part::Cni, Part::Etcd],
    ..Scenario::BASE
};

const NEEDS: &[Need] = &{
    let mut all = [Need::Veth; CONTAINERD.len() + 2];
    let mut n = 0;
    while n < CONTAINERD.len() {
        all[n] = CONTAINERD[n];
        n += 1;
    }
    all[n] = Need::Program("etcd");
    all[n + 1] = Need::Program("etcdctl");
    all
};

fn daemons(plan: &Plan) -> Vec<Daemon> {
    let node = &plan.nodes[A];
    let endpoint = format!("http://{}", address(plan));
    let ipam = format!(r#"{{ "type": "etcd-ipam", "etcd_endpoints": "{endpoint}" }}"#);
    let plugins = bridge(plan, "bridge", false, &ipam);
    let before = vec![plugin(plan), network(node, &plan.cni_network, &plugins)];
    vec![
        etcd(plan, false),
        runtime(node, log(plan), before),
        containerd::kubelet(plan, node, &pods(plan)),
    ]
}

/// IPAM as Calico's: an address is given out when it stands in etcd with the sandbox that has it.
/// When etcd refuses, some plugins say why, and some say nothing at all.
fn plugin(plan: &Plan) -> Step {
    let refused = match plan.variant {
        0 => "exit 0",
        1 => "exit 1",
        _ => {
            r#"printf '{"cniVersion":"0.4.0","code":11,"msg":"%s"}' "$(tail -n 1 $said | tr -d '"')"; exit 1"#
        }
    };
    let node = &plan.nodes[A];
    let (version, base, length) = match plan.options.ipv6 {
        true => (6, format!("{}f", node.pods_ipv6), 64),
        false => {
            let [a, b, c, _] = node.pods_ipv4.octets();
            (4, format!("{a}.{b}.{c}."), 24)
        }
    };
    let script = PLUGIN
        .replace("REFUSED", refused)
        .replace("VERSION", &version.to_string())
        .replace("BASE", &base)
        .replace("LENGTH", &length.to_string());
    sh(
        &node.netns,
        &format!(
            "mkdir -p {{dir}}/plugins\n\
             cat > {{dir}}/plugins/etcd-ipam <<'END'\n{script}\nEND\n\
             chmod +x {{dir}}/plugins/etcd-ipam\n"
        ),
    )
}

const PLUGIN: &str = r#"#!/bin/sh
export ETCDCTL_API=3
endpoint=$(sed -n 's/.*"etcd_endpoints": *"\([^"]*\)".*/\1/p')
said={dir}/said.$$
trap 'rm -f $said' EXIT
etcd() { etcdctl --command-timeout=2s --endpoints=$endpoint "$@" 2>$said; }
case $CNI_COMMAND in
ADD)
    for n in 230 231 232 233 234 235; do
        [ -z "$(etcd get --print-value-only /ipam/$n)" ] || continue
        etcd put /ipam/$n $CNI_CONTAINERID >/dev/null || { REFUSED; }
        printf '{"cniVersion":"0.4.0","ips":[{"version":"VERSION","address":"BASE%s/LENGTH"}]}' $n
        exit 0
    done
    exit 1;;
DEL)
    for n in 230 231 232 233 234 235; do
        [ "$(etcd get --print-value-only /ipam/$n)" != $CNI_CONTAINERID ] || etcd del /ipam/$n >/dev/null
    done;;
VERSION) printf '{"cniVersion":"0.4.0","supportedVersions":["0.4.0"]}';;
esac
"#;
