//! A program on the cgroup of one process drops what it sends to a port, or what it receives
//! there; other processes of the same pod go on.
use super::{HTTP, POD_A, POD_B, Scenario, bulk, everyday};
use crate::cgroup::filter::Filter;
use crate::daemon::Daemon;
use crate::nameserver::{self, KUBERNETES, SERVICE};
use crate::needs::Need;
use crate::nft::End;
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{DNS_PORT, Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "lsm-denied",
    summary: "a BPF program on a process's cgroup drops what it sends or receives",
    expected: &["lsm-denied"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::CgroupPrograms,
        Need::Program("bash"),
        Need::Program("timeout"),
        Need::Program("dnsmasq"),
    ],
    shape: |plan| plan.variant = (plan.form() % 3) as u32,
    faults,
    daemons: |plan| vec![confined(plan)],
    traffic,
    takes: &[Part::Cgroup, Part::NameServer],
    relies_on: &[Part::Way],
    ..Scenario::BASE
};

/// A client of a database, a name server that is asked, and a client of a name server.
const CONNECTS: u32 = 0;
const IS_ASKED: u32 = 1;

const NAME_SERVER: Place = Place::Pod(A, 1);

fn port(plan: &Plan) -> u16 {
    let ports = [5432, 3306, 6379, 443, 27017];
    match plan.variant {
        CONNECTS => ports[plan.options.seed as usize % ports.len()],
        IS_ASKED => DNS_PORT,
        _ => HTTP + 7,
    }
}

/// The healthy twin has the same program for a port that nobody uses.
fn faults(plan: &Plan) -> Vec<Step> {
    let protocol = if plan.variant == CONNECTS {
        libc::IPPROTO_TCP
    } else {
        libc::IPPROTO_UDP
    };
    vec![Step::Deny(Filter {
        egress: plan.variant != IS_ASKED,
        ipv6: plan.options.ipv6,
        protocol: protocol as u8,
        end: End::To,
        port: if plan.options.healthy { 1 } else { port(plan) },
    })]
}

fn confined(plan: &Plan) -> Daemon {
    let daemon = match plan.variant {
        CONNECTS => client(plan, "timeout 1 bash -c 'exec 3<>/dev/tcp/{to}'"),
        IS_ASKED => nameserver::cluster(plan, NAME_SERVER, None),
        _ => client(plan, "timeout 1 bash -c 'echo measured >/dev/udp/{to}'"),
    };
    Daemon {
        confined: true,
        ..daemon
    }
}

/// Tries again and again.
fn client(plan: &Plan, once: &str) -> Daemon {
    let to = format!("{}/{}", plan.address(POD_B), port(plan));
    let again = format!("while :; do {}; sleep 0.2; done", once.replace("{to}", &to));
    Daemon {
        netns: plan.netns(POD_A).to_owned(),
        program: "bash".to_owned(),
        arguments: vec!["-c".to_owned(), again],
        ..Daemon::default()
    }
}

/// Others in the cluster use the same services.
fn traffic(plan: &Plan) -> Vec<Flow> {
    let mut flows = [everyday(), bulk(100_000)].concat();
    let neighbour = NAME_SERVER;
    match plan.variant {
        CONNECTS => flows.push(Flow::new(Work::Request, neighbour, POD_B, port(plan), 300)),
        IS_ASKED => flows.extend([
            Flow::new(Work::Resolve(KUBERNETES), POD_A, NAME_SERVER, DNS_PORT, 300),
            Flow::new(Work::Resolve(SERVICE), POD_B, NAME_SERVER, DNS_PORT, 400),
        ]),
        _ => flows.push(Flow::new(Work::Datagram, neighbour, POD_B, port(plan), 300)),
    }
    flows
}
