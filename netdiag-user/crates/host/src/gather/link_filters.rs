//! What may drop packets at links: filters of tc on a clsact or ingress qdisc (RTM_GETTFILTER),
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
use netdiag_lang::english;

use self::parse::{Found, Request};
use super::{
    inside,
    netlink::{self, End},
    security,
};
use crate::{
    listing::NETLINK_ROUTE,
    model::{
        link_filters::{Attachment, Dataplane, LinkFilter, LinkHook, LinkProgram, OWN},
        verdict::NotChecked,
    },
    namespaces,
    sys::bpf::{self, Way},
};

/// Between two listings: what is dropped again and again is tried within it.
const BETWEEN: Duration = Duration::from_millis(1200);
/// Messages of one listing, and filters that are told, the busiest first: a dataplane has some on
/// each pod's link.
const MOST: usize = 16_384;
const TOLD: usize = 1024;

/// Programs that the AWS network policy agent pins there, one for each pod and side.
const AWS: &str = "sys/fs/bpf/globals/aws/programs";
const AWS_PROGRAMS: [&str; 2] = ["handle_ingress", "handle_egress"];

/// Takes a second or so.
pub fn filters(root: &Path, netns: u32) -> Result<super::Found<Vec<LinkFilter>>> {
    let (found, beyond) = inside(root, netns, watched)?;
    // In a pod's own namespace anybody may have named them.
    let own = namespaces::own() == Some(netns);
    let aws = own && root.join(AWS).is_dir();
    let mut all = named(found, |name| dataplane(name, aws).filter(|_| own))?;
    all.sort_by_key(|f| std::cmp::Reverse(f.moved));
    let more = beyond || all.len() > TOLD;
    all.truncate(TOLD);
    let ids: BTreeSet<u32> = all
        .iter()
        .filter_map(|f| Some(f.program.as_ref()?.id))
        .collect();
    let (holders, unseen) = security::holders(root, &Vec::from_iter(ids));
    for program in all.iter_mut().filter_map(|f| f.program.as_mut()) {
        program.holders = holders.get(&program.id).cloned().unwrap_or_default();
    }
    let left = more.then(|| {
        let what = english!("filters of links of network namespace {netns} beyond {TOLD}");
        NotChecked::new(what, "no more are kept")
    });
    Ok((all, left.into_iter().chain(unseen).collect()))
}

/// Those of this thread's namespace, and whether there are more, without what their counters do.
pub(crate) fn present() -> Result<(Vec<LinkFilter>, bool)> {
    let (all, beyond) = listed()?;
    let mut all = named(all, |_| None)?;
    let more = beyond || all.len() > TOLD;
    all.truncate(TOLD);
    Ok((all, more))
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

/// All of this thread's namespace, with what their counters moved by meanwhile, and whether there
/// are more.
fn watched() -> Result<(Vec<Found>, bool)> {
    let (mut all, beyond) = tc()?;
    if all.iter().any(|f| f.dropped.is_some()) {
        thread::sleep(BETWEEN);
        let counts: BTreeMap<_, _> = all.iter().map(|f| (f.key(), f.dropped)).collect();
        all = tc()?.0;
        for found in &mut all {
            let then = counts.get(&found.key()).copied().flatten();
            let moved = found.dropped.zip(then);
            let moved = moved.map(|(now, then)| now.saturating_sub(then));
            found.moved = moved.unwrap_or(0);
        }
    }
    let (mut programs, more) = programs()?;
    hold(&mut programs);
    all.extend(programs);
    Ok((all, beyond || more))
}

fn listed() -> Result<(Vec<Found>, bool)> {
    let (mut all, beyond) = tc()?;
    let (programs, more) = programs()?;
    all.extend(programs);
    Ok((all, beyond || more))
}

fn programs() -> Result<(Vec<Found>, bool)> {
    let mut links = Vec::new();
    let beyond = ask(&Request::links(), |message| {
        links.extend(parse::link(message))
    })?;
    let mut programs = Vec::new();
    for (link, xdp) in links {
        programs.extend(tcx(link)?);
        let found = |(mode, id)| {
            let at = Attachment::Xdp { mode, link: None };
            Found::program(link, LinkHook::Xdp, at, id)
        };
        programs.extend(xdp.into_iter().map(found));
    }
    Ok((programs, beyond))
}

fn tc() -> Result<(Vec<Found>, bool)> {
    let mut qdiscs = Vec::new();
    let mut beyond = ask(&Request::qdiscs(), |message| {
        qdiscs.extend(parse::qdisc(message))
    })?;
    let mut all = Vec::new();
    for (link, qdisc) in qdiscs {
        for hook in qdisc.hooks() {
            let of = |message: &[u8]| all.extend(parse::filter(message, link, *hook));
            beyond |= ask(&Request::filters(link, *hook), of)?;
        }
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
    const SIDES: [(LinkHook, Way); 2] = [
        (LinkHook::Ingress, Way::TcxIngress),
        (LinkHook::Egress, Way::TcxEgress),
    ];
    let mut all = Vec::new();
    for (hook, way) in SIDES {
        let ids = match bpf::on_link(link, way) {
            // The link is gone meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Vec::new(),
            asked => asked?,
        };
        let found = |id| Found::program(link, hook, Attachment::Tcx { link: None }, id);
        all.extend(ids.into_iter().map(found));
    }
    Ok(all)
}

/// Finds the bpf links by which programs hang there, where these are known for certain.
fn hold(programs: &mut [Found]) {
    let known = match programs {
        [] => return,
        _ => bpf::links().map(|(links, _)| links).unwrap_or_default(),
    };
    for found in programs {
        let (program, ifindex) = (found.program, found.link);
        let own = |l: &&bpf::Link| Some(l.program) == program && l.ifindex == ifindex;
        let by = match known.iter().filter(own).collect::<Vec<_>>().as_slice() {
            [one] => Some(one.id),
            _ => None,
        };
        match &mut found.at {
            Attachment::Tcx { link } | Attachment::Xdp { link, .. } => *link = by,
            Attachment::Tc(_) => {}
        }
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
            link: one.link,
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
        let (all, left) = thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
            watched()
        })
        .join()
        .expect("no panic")
        .expect("read");
        assert!(all.is_empty() && !left);
    }

    /// What tc(8) makes on loopback of a new namespace, and what is there after the command that
    /// takes the first away.
    fn made_and_deleted() -> [Vec<Found>; 2] {
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
        let (made, _) = super::tc().expect("read");
        let first = named(made.clone(), |_| None).expect("named");
        let delete = first[0].delete("lo").expect("a command").text();
        tc(delete.strip_prefix("tc ").expect("tc's"));
        [made, super::tc().expect("read").0]
    }

    #[test]
    fn a_filter_is_read_as_tc_makes_it_and_goes_alone() {
        if netdiag_tests::require::missing(&["tc"]) {
            return;
        }
        let done = thread::spawn(made_and_deleted).join();
        let [made, left] = done.expect("no panic");
        let words = |all: &[Found]| {
            all.iter()
                .map(Found::key)
                .map(|(_, _, words, _)| words)
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
