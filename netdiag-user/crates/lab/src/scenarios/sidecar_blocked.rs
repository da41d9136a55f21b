//! A pod whose connections are led to a proxy, as Istio and Linkerd do it; the proxy opens its
//! ports when it has found its control plane, and does not find it: there is no such name, or
//! nobody listens at that address.
use std::net::SocketAddr;

use super::{DNS_B, POD_A, POD_B, Scenario, everyday};
use crate::containerd::sh;
use crate::daemon::Daemon;
use crate::nameserver::{self, KUBERNETES};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::sidecar::USER;
use crate::step::Step;
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "sidecar-blocked",
    summary: "a sidecar does not find its control plane and keeps its ports closed",
    expected: &["sidecar-blocked"],
    needs: SIDECAR,
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults: |plan| vec![led(plan)],
    traffic: |plan| {
        let there = plan.options.healthy || plan.variant == NO_NAME;
        traffic(plan, there)
    },
    daemons: |plan| {
        let known = plan.options.healthy || plan.variant != NO_NAME;
        daemons(plan, known)
    },
    takes: &[Part::Pod, Part::Connections, Part::NameServer],
    relies_on: &[Part::Way],
    // It asks the name server and its control plane on the other node in vain.
    hidden_as: |_| &["sidecar-blocked"],
    ..Scenario::BASE
};

pub const SIDECAR: &[Need] = &[
    Need::Veth,
    Need::Bridge,
    Need::Vxlan,
    Need::NfTables,
    Need::Program("nft"),
    Need::Program("iptables-legacy-restore"),
    Need::Program("iptables-nft-restore"),
    Need::Program("dnsmasq"),
    Need::Program("ip"),
];

/// The control plane's Service is not there; in the other form nobody listens behind it.
const NO_NAME: u32 = 0;

/// A mesh as its injector sets it up.
struct Mesh {
    name: &'static str,
    /// Its proxy's program, and the container that the injector calls so.
    proxy: (&'static str, &'static str),
    control: u16,
    inbound: u16,
    outbound: u16,
    health: u16,
}

fn mesh(plan: &Plan) -> Mesh {
    let istio = ("pilot-agent", "istio-proxy");
    let linkerd = ("linkerd2-proxy", "linkerd-proxy");
    let mesh = |name, proxy, [control, inbound, outbound, health]: [u16; 4]| Mesh {
        name,
        proxy,
        control,
        inbound,
        outbound,
        health,
    };
    match plan.options.seed % 3 {
        0 => mesh(
            "istiod.istio-system.svc.cluster.local",
            istio,
            [15012, 15006, 15001, 15021],
        ),
        1 => mesh(
            "linkerd-dst-headless.linkerd.svc.cluster.local",
            linkerd,
            [8086, 4143, 4140, 4191],
        ),
        _ => mesh(
            "istiod-canary.mesh.svc.cluster.local",
            istio,
            [15010, 25006, 25001, 25021],
        ),
    }
}

/// Pods and nodes talk as ever, kubelet asks for the sidecar's health, and other proxies talk to
/// the control plane.
pub fn traffic(plan: &Plan, control_plane: bool) -> Vec<Flow> {
    let mesh = mesh(plan);
    let mut flows = everyday();
    // The name server is a real one here.
    flows.retain(|flow| flow.work != Work::Nxdomain);
    let resolve = Work::Resolve(KUBERNETES);
    flows.push(Flow::new(resolve, POD_A, DNS_B, DNS_PORT, 700));
    flows.push(Flow::new(
        Work::Probe,
        Place::Node(A),
        POD_A,
        mesh.health,
        400,
    ));
    if control_plane {
        let other = Flow::new(Work::Request, Place::Node(B), POD_B, mesh.control, 500);
        flows.push(other);
    }
    flows
}

pub fn daemons(plan: &Plan, known: bool) -> Vec<Daemon> {
    let mesh = mesh(plan);
    let mut dns = nameserver::cluster(plan, DNS_B, None);
    if known {
        let record = format!("--host-record={},{}", mesh.name, plan.address(POD_B));
        dns.arguments.push(record);
    }
    let words = [
        (
            "--resolver",
            SocketAddr::new(plan.address(DNS_B), DNS_PORT).to_string(),
        ),
        ("--name", mesh.name.to_owned()),
        ("--port", mesh.control.to_string()),
        ("--led", mesh.inbound.to_string()),
        ("--led", mesh.outbound.to_string()),
        ("--health", mesh.health.to_string()),
    ];
    let mut arguments = vec!["lab".to_owned(), "sidecar".to_owned()];
    arguments.extend(
        words
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]),
    );
    let (program, container) = mesh.proxy;
    let proxy = Daemon {
        netns: plan.netns(POD_A).to_owned(),
        // A program is known by its file.
        before: vec![sh(
            plan.netns(POD_A),
            &format!("cp {{netdiag}} {{dir}}/{program}\n"),
        )],
        program: format!("{{dir}}/{program}"),
        container: Some(container),
        arguments,
        ..Daemon::default()
    };
    vec![dns, proxy]
}

/// The rules in the pod, by either engine of iptables, or by nft.
pub fn led(plan: &Plan) -> Step {
    let mesh = mesh(plan);
    let engine = match plan.options.seed / 3 % 3 {
        0 => "iptables-nft",
        1 => "iptables-legacy",
        _ => {
            return sh(
                plan.netns(POD_A),
                &format!("nft -f - <<'END'\n{}END\n", nft(&mesh)),
            );
        }
    };
    let script = [("", "127.0.0.1/32"), ("6", "::1/128")].map(|(six, own)| {
        let program = engine.replacen("tables", &format!("{six}tables"), 1);
        format!("{program}-restore <<'END'\n{}END\n", iptables(&mesh, own))
    });
    sh(plan.netns(POD_A), &script.concat())
}

fn iptables(mesh: &Mesh, own: &str) -> String {
    let Mesh {
        inbound,
        outbound,
        health,
        ..
    } = mesh;
    format!(
        "*nat\n:MESH_INBOUND - [0:0]\n:MESH_IN_REDIRECT - [0:0]\n:MESH_OUTPUT - [0:0]\n\
         :MESH_REDIRECT - [0:0]\n\
         -A PREROUTING -p tcp -j MESH_INBOUND\n\
         -A OUTPUT -p tcp -j MESH_OUTPUT\n\
         -A MESH_INBOUND -p tcp -m tcp --dport {health} -j RETURN\n\
         -A MESH_INBOUND -p tcp -j MESH_IN_REDIRECT\n\
         -A MESH_IN_REDIRECT -p tcp -j REDIRECT --to-ports {inbound}\n\
         -A MESH_OUTPUT -o lo -j RETURN\n\
         -A MESH_OUTPUT -m owner --uid-owner {USER} -j RETURN\n\
         -A MESH_OUTPUT -d {own} -j RETURN\n\
         -A MESH_OUTPUT -j MESH_REDIRECT\n\
         -A MESH_REDIRECT -p tcp -j REDIRECT --to-ports {outbound}\nCOMMIT\n"
    )
}

fn nft(mesh: &Mesh) -> String {
    let Mesh {
        inbound,
        outbound,
        health,
        ..
    } = mesh;
    format!(
        "table inet mesh {{\n\
         chain in-redirect {{\n meta l4proto tcp redirect to :{inbound}\n}}\n\
         chain prerouting {{\n type nat hook prerouting priority dstnat;\n\
         tcp dport {health} return\n meta l4proto tcp jump in-redirect\n}}\n\
         chain output {{\n type nat hook output priority -100;\n\
         oifname \"lo\" return\n meta skuid {USER} return\n\
         meta l4proto tcp redirect to :{outbound}\n}}\n}}\n"
    )
}
