//! Real name servers for scenarios: dnsmasq as the cluster's and as its upstream.
use std::net::{IpAddr, SocketAddr};

use super::daemon::Daemon;
use super::plan::{Place, Plan};
use super::step::Step;
use super::traffic::DNS_PORT;

/// A name that every cluster has, and another service.
pub const KUBERNETES: &str = "kubernetes.default.svc.cluster.local";
pub const SERVICE: &str = "web.shop.svc.cluster.local";
pub const MISSING: &str = "no-such-service.default.svc.cluster.local";
/// Reserved for documentation (RFC 2606).
pub const EXTERNAL: [&str; 2] = ["www.example.com", "registry.example.org"];

/// The cluster's own: it knows services, and asks `upstream` for the rest.
pub fn cluster(plan: &Plan, at: Place, upstream: Option<IpAddr>) -> Daemon {
    let mut more = vec!["--local=/cluster.local/".to_owned()];
    for name in [KUBERNETES, SERVICE] {
        more.push(format!("--host-record={name},10.96.0.1,fd00:96::1"));
    }
    more.extend(upstream.map(|address| format!("--server={address}")));
    dnsmasq(plan, at, more)
}

/// One that knows the names outside of the cluster and no others.
pub fn outside(plan: &Plan, at: Place) -> Daemon {
    let known = EXTERNAL.map(|name| format!("--host-record={name},192.0.2.80,2001:db8::80"));
    let mut more = known.to_vec();
    // What it does not know does not exist.
    more.push("--local=//".to_owned());
    more.push("--local=/cluster.local/".to_owned());
    dnsmasq(plan, at, more)
}

/// One that knows every name.
pub fn any(plan: &Plan, at: Place) -> Daemon {
    let addresses = ["192.0.2.80", "2001:db8::80"];
    let more = addresses.map(|address| format!("--address=/#/{address}"));
    dnsmasq(plan, at, more.to_vec())
}

/// One that refuses every question.
pub fn refusing(plan: &Plan, at: Place) -> Daemon {
    dnsmasq(plan, at, Vec::new())
}

/// Stops its process: it stays there and answers no more.
pub fn hang(plan: &Plan, at: Place) -> Step {
    let netns = plan.netns(at).to_owned();
    let command = format!("kill -STOP $(cat {{dir}}/{netns}.pid)");
    Step::Run {
        netns,
        program: "sh",
        arguments: vec!["-c".to_owned(), command],
        input: String::new(),
    }
}

fn dnsmasq(plan: &Plan, at: Place, more: Vec<String>) -> Daemon {
    let netns = plan.netns(at).to_owned();
    let address = plan.address(at);
    let mut arguments = vec![
        "--keep-in-foreground".to_owned(),
        "--conf-file=/dev/null".to_owned(),
        "--no-resolv".to_owned(),
        "--no-hosts".to_owned(),
        // Each question is to go to the upstream.
        "--cache-size=0".to_owned(),
        "--user=root".to_owned(),
        "--log-facility=-".to_owned(),
        "--bind-interfaces".to_owned(),
        format!("--listen-address={address}"),
        format!("--pid-file={{dir}}/{netns}.pid"),
    ];
    arguments.extend(more);
    Daemon {
        netns,
        program: "dnsmasq".to_owned(),
        arguments,
        listens: Some(SocketAddr::new(address, DNS_PORT)),
        ..Daemon::default()
    }
}
