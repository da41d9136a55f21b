//! What may drop packets at one link: filters of tc on its clsact or ingress qdisc (RTM_GETTFILTER),
//! programs at tcx (net/core/filter.c, kernel/bpf/tcx.c), and XDP (IFLA_XDP). netdiag's own are left
//! out: they let every packet go on.
mod parse;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::Result;

use self::parse::{Found, Request};
use super::{
    inside,
    netlink::{self, End},
    security,
};
use crate::{
    host::{listing::NETLINK_ROUTE, namespaces},
    model::{
        link_filters::{Attachment, Dataplane, LinkFilter, LinkHook, LinkProgram, OWN},
        verdict::NotChecked,
    },
    sys::bpf::{self, Way},
};

/// Between two listings: what is dropped again and again is tried within it.
const BETWEEN: Duration = Duration::from_millis(1200);
/// Filters of one side that are read, and those that are told, the busiest first.
const MOST: usize = 4096;
const TOLD: usize = 64;

/// Programs that the AWS network policy agent pins there, one for each pod and side.
const AWS: &str = "sys/fs/bpf/globals/aws/programs";
const AWS_PROGRAMS: [&str; 2] = ["handle_ingress", "handle_egress"];

/// Takes a second or so.
pub fn filters(root: &Path, netns: u32, link: u32) -> Result<super::Found<Vec<LinkFilter>>> {
    let (found, beyond) = inside(root, netns, move || watched(link))?;
    // In a pod's own namespace anybody may have named them.
    let aws = namespaces::own() == Some(netns) && root.join(AWS).is_dir();
    let dataplane = |name: &str| match namespaces::own() == Some(netns) {
        true => dataplane(name, aws),
        false => None,
    };
    let mut all = named(found, dataplane)?;
    let ids: BTreeSet<u32> = all
        .iter()
        .filter_map(|f| Some(f.program.as_ref()?.id))
        .collect();
    let holders = security::holders(root, &Vec::from_iter(ids));
    for program in all.iter_mut().filter_map(|f| f.program.as_mut()) {
        program.holders = holders.get(&program.id).cloned().unwrap_or_default();
    }
    all.sort_by_key(|f| std::cmp::Reverse(f.moved));
    let more = beyond || all.len() > TOLD;
    all.truncate(TOLD);
    let left = more.then(|| {
        let what = format!("filters of link {link} in network namespace {netns} beyond {TOLD}");
        NotChecked::new(what, "no more are kept")
    });
    Ok((all, left.into_iter().collect()))
}

/// Whose programs have such names, where root alone can attach any.
fn dataplane(name: &str, aws: bool) -> Option<Dataplane> {
    if name.starts_with("cil_") {
        Some(Dataplane::Cilium)
    } else if name.starts_with("cali_") {
        Some(Dataplane::Calico)
    } else {
        let own = aws && AWS_PROGRAMS.contains(&name);
        own.then_some(Dataplane::AwsNetworkPolicy)
    }
}

/// All of a link of this thread's namespace, with what their counters moved by meanwhile, and
/// whether there are more.
fn watched(link: u32) -> Result<(Vec<Found>, bool)> {
    let (mut before, beyond) = tc(link)?;
    if before.iter().any(|f| f.dropped.is_some()) {
        thread::sleep(BETWEEN);
        let counts: BTreeMap<_, _> = before.iter().map(|f| (f.key(), f.dropped)).collect();
        before = tc(link)?.0;
        for found in &mut before {
            let then = counts.get(&found.key()).copied().flatten();
            let moved = found
                .dropped
                .zip(then)
                .map(|(now, then)| now.saturating_sub(then));
            found.moved = moved.unwrap_or(0);
        }
    }
    before.extend(tcx(link)?);
    before.extend(xdp(link)?);
    Ok((before, beyond))
}

fn tc(link: u32) -> Result<(Vec<Found>, bool)> {
    let mut qdisc = None;
    ask(&Request::qdiscs(), |message| {
        qdisc = qdisc.or_else(|| parse::qdisc(message, link));
    })?;
    let (mut all, mut beyond) = (Vec::new(), false);
    for hook in qdisc.into_iter().flat_map(parse::Qdisc::hooks) {
        let mut found = Vec::new();
        beyond |= ask(&Request::filters(link, *hook), |message| {
            found.extend(parse::filter(message, *hook));
        })?;
        all.extend(found);
    }
    Ok((all, beyond))
}

/// Whether there were more messages than that.
fn ask(request: &Request, mut each: impl FnMut(&[u8])) -> Result<bool> {
    let mut seen = 0;
    let end = netlink::until(NETLINK_ROUTE, &request.bytes(), |message| {
        seen += 1;
        each(message);
        match seen >= MOST {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(end == End::Enough)
}

fn tcx(link: u32) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for (hook, way) in [
        (LinkHook::Ingress, Way::TcxIngress),
        (LinkHook::Egress, Way::TcxEgress),
    ] {
        let ids = bpf::on_link(link, way)?;
        all.extend(ids.into_iter().map(|id| {
            let held = held_by(id, link);
            Found::program(hook, Attachment::Tcx { link: held }, id)
        }));
    }
    Ok(all)
}

fn xdp(link: u32) -> Result<Vec<Found>> {
    let mut programs = Vec::new();
    ask(&Request::link(link), |message| {
        programs.extend(parse::xdp(message))
    })?;
    let found = |(mode, id)| {
        let at = Attachment::Xdp {
            mode,
            link: held_by(id, link),
        };
        Found::program(LinkHook::Xdp, at, id)
    };
    Ok(programs.into_iter().map(found).collect())
}

/// The bpf link by which a program hangs on a device of that index, if it is one that is known for
/// certain.
fn held_by(program: u32, ifindex: u32) -> Option<u32> {
    let (links, _) = bpf::links().ok()?;
    let own = |l: &&bpf::Link| l.program == program && l.ifindex == ifindex;
    match links.iter().filter(own).collect::<Vec<_>>().as_slice() {
        [one] => Some(one.id),
        _ => None,
    }
}

/// With what the kernel knows of their programs; without netdiag's own, and without those that are
/// gone meanwhile.
fn named(
    found: Vec<Found>,
    dataplane: impl Fn(&str) -> Option<Dataplane>,
) -> Result<Vec<LinkFilter>> {
    let mut all = Vec::new();
    for one in found {
        let program = match one.program {
            None => None,
            Some(id) => match bpf::program(id) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                asked => Some(asked?),
            },
        };
        if program
            .as_ref()
            .is_some_and(|p| OWN.contains(&p.name.as_str()))
        {
            continue;
        }
        all.push(LinkFilter {
            hook: one.hook,
            at: one.at,
            dropped: one.dropped,
            moved: one.moved,
            program: program.map(|p| LinkProgram {
                id: p.id,
                dataplane: dataplane(&p.name),
                name: p.name,
                user: p.user,
                holders: Vec::new(),
            }),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataplanes_programs_are_known_by_their_names() {
        assert_eq!(dataplane("cil_from_contai", false), Some(Dataplane::Cilium));
        assert_eq!(dataplane("cali_tc_preambl", false), Some(Dataplane::Calico));
        let aws = Some(Dataplane::AwsNetworkPolicy);
        assert_eq!(dataplane("handle_ingress", true), aws);
        assert_eq!(dataplane("handle_ingress", false), None, "everybody's name");
        assert_eq!(dataplane("block_db", true), None);
    }

    #[test]
    fn a_link_that_nobody_filters_has_none() {
        let link = nix::net::if_::if_nametoindex("lo").expect("loopback");
        let (all, left) = thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
            watched(link)
        })
        .join()
        .expect("no panic")
        .expect("read");
        assert!(all.is_empty() && !left);
    }

    /// What tc(8) makes on loopback of a new namespace, and what is there after the command that
    /// takes the first away.
    fn made_and_deleted(link: u32) -> [Vec<Found>; 2] {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
        let tc = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            crate::sys::program::Program::new("tc")
                .text(&words)
                .expect("done");
        };
        tc("qdisc add dev lo clsact");
        for preference in [10, 20] {
            tc(&format!(
                "filter add dev lo egress protocol ip pref {preference} u32 match ip dport 80 0xffff \
                 action mirred egress mirror dev lo"
            ));
        }
        tc("filter add dev lo egress protocol ip pref 30 u32 match ip dport 81 0xffff classid 1:1");
        let (made, _) = super::tc(link).expect("read");
        let first = named(made.clone(), |_| None).expect("named");
        let delete = first[0].delete("lo").expect("a command").text();
        tc(delete.strip_prefix("tc ").expect("tc's"));
        [made, super::tc(link).expect("read").0]
    }

    #[test]
    fn a_filter_is_read_as_tc_makes_it_and_goes_alone() {
        if netdiag_tests::need::missing(&["tc"]) {
            return;
        }
        let link = nix::net::if_::if_nametoindex("lo").expect("loopback");
        let done = thread::spawn(move || made_and_deleted(link)).join();
        let [made, left] = done.expect("no panic");
        let words = |all: &[Found]| {
            all.iter()
                .map(Found::key)
                .map(|(_, words, _)| words)
                .collect::<Vec<_>>()
        };
        // One without actions drops nothing, and neither do u32's own tables.
        let both = ["pref 10 handle 800::800 u32", "pref 20 handle 801::800 u32"];
        assert_eq!(words(&made), both);
        assert!(
            made.iter()
                .all(|f| f.hook == LinkHook::Egress && f.dropped == Some(0))
        );
        assert_eq!(words(&left), both[1..]);
    }
}
