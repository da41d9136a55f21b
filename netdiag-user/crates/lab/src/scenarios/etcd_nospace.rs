//! A real etcd on the node is written to until it is over its quota. It is found by its command
//! line, or as on kubeadm's nodes by its manifest, with TLS and client certificates.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Scenario, bulk, everyday};
use crate::cgroup::seat::Seat;
use crate::daemon::Daemon;
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "etcd-nospace",
    summary: "a real etcd on the node is filled until it refuses to write",
    expected: &["etcd-nospace"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::Program("etcd"),
        Need::Program("etcdctl"),
        Need::Program("openssl"),
    ],
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    daemons: |plan| vec![etcd(plan, plan.variant == 1)],
    fixable: |_| true,
    takes: &[Part::Etcd],
    ..Scenario::BASE
};

/// Filled by what the healthy twin has room for.
const SMALL: u64 = 16 << 20;
const LARGE: u64 = 1 << 30;
const PKI: &str = "{root}/etc/kubernetes/pki/etcd";

/// Filled when it is ready.
pub fn etcd(plan: &Plan, tls: bool) -> Daemon {
    let address = address(plan);
    let scheme = if tls { "https" } else { "http" };
    let [client, peer] = [address.port(), address.port() + 1].map(|port| {
        let address = SocketAddr::new(address.ip(), port);
        format!("{scheme}://{address}")
    });
    let mut arguments = vec![
        "--name=lab".to_owned(),
        "--data-dir={dir}/etcd".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={}", peer.replace("https", "http")),
        format!(
            "--initial-advertise-peer-urls={}",
            peer.replace("https", "http")
        ),
        format!("--initial-cluster=lab={}", peer.replace("https", "http")),
        format!(
            "--quota-backend-bytes={}",
            if plan.options.healthy { LARGE } else { SMALL }
        ),
    ];
    let certificates = [
        "cert-file=PKI/server.crt",
        "key-file=PKI/server.key",
        "trusted-ca-file=PKI/ca.crt",
    ];
    let mut files = Vec::new();
    if tls {
        arguments.push("--client-cert-auth=true".to_owned());
        files.push(manifest(&client, &certificates));
        let real = certificates.map(|c| format!("--{}", c.replace("PKI", PKI)));
        arguments.extend(real);
    }
    Daemon {
        netns: plan.nodes[A].netns.clone(),
        program: "etcd".to_owned(),
        arguments,
        files,
        before: if tls {
            vec![sh(plan, CERTIFICATES)]
        } else {
            Vec::new()
        },
        after: vec![sh(plan, &fill(plan, &client, tls))],
        listens: Some(address),
        seat: Seat::Service,
        ..Daemon::default()
    }
}

/// Where its clients find it.
pub fn address(plan: &Plan) -> SocketAddr {
    let ports = [2379, 4001, 12379];
    let port = ports[plan.options.seed as usize % ports.len()];
    match plan.options.ipv6 {
        true => (Ipv6Addr::LOCALHOST, port).into(),
        false => (Ipv4Addr::LOCALHOST, port).into(),
    }
}

fn sh(plan: &Plan, script: &str) -> Step {
    Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "sh",
        arguments: vec!["-eu".to_owned()],
        input: script.to_owned(),
    }
}

/// As kubeadm writes it; paths are those that the node sees.
fn manifest(client: &str, certificates: &[&str]) -> (String, String) {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\nspec:\n  containers:\n  - command:\n    \
         - etcd\n    - --listen-client-urls={client}\n"
    );
    for flag in certificates {
        let flag = flag.replace("PKI", "/etc/kubernetes/pki/etcd");
        text.push_str(&format!("    - --{flag}\n"));
    }
    ("{root}/etc/kubernetes/manifests/etcd.yaml".to_owned(), text)
}

/// A CA, and one certificate that is good for both sides, as kubeadm's is.
const CERTIFICATES: &str = r"
mkdir -p {root}/etc/kubernetes/pki/etcd
cd {root}/etc/kubernetes/pki/etcd
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $new -keyout ca.key -out ca.crt -days 2 -subj /CN=etcd-ca
openssl req $new -keyout server.key -out server.csr -subj /CN=etcd
echo 'subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost
extendedKeyUsage=serverAuth,clientAuth' > extensions
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 \
    -extfile extensions
";

/// Twenty megabytes of history, four of them current: what compaction gives back. Where they do not
/// fit, it must be for the want of space.
fn fill(plan: &Plan, client: &str, tls: bool) -> String {
    let credentials = match tls {
        true => format!("--cacert={PKI}/ca.crt --cert={PKI}/server.crt --key={PKI}/server.key"),
        false => String::new(),
    };
    let refused = if plan.options.healthy {
        "exit 1"
    } else {
        "grep -q 'space exceeded' {dir}/said"
    };
    format!(
        "export ETCDCTL_API=3\n\
         put() {{ etcdctl --endpoints={client} {credentials} put /registry/pods/shop/$1 \
         < {{dir}}/value >/dev/null 2>{{dir}}/said; }}\n\
         head -c 900000 /dev/zero | tr '\\0' x > {{dir}}/value\n\
         for n in $(seq 24); do put $((n % 4)) || {{ {refused}; exit; }}; done\n\
         {}\n",
        if plan.options.healthy {
            "exit 0"
        } else {
            "exit 1"
        }
    )
}
