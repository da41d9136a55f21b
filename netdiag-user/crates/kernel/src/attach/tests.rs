//! Against a pretended kernel that takes everything and notes what it was asked.
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::*;
use crate::{
    model::{
        node::LinkKind,
        testing::{UPLINK, link, overlay_node},
    },
    rtnl::{Wire, word},
};

/// Messages' numbers (include/uapi/linux/rtnetlink.h).
const NEWQDISC: u16 = 36;
const NEWTFILTER: u16 = 44;

/// What was asked, of which link.
type Asked = Arc<Mutex<Vec<(u16, u32)>>>;

struct Pretended {
    asked: Asked,
    answer: Vec<u8>,
}

impl Wire for Pretended {
    fn port(&self) -> u32 {
        7
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let kind = u16::from_ne_bytes([request[4], request[5]]);
        let ifindex = word(request, 20).expect("a link's index");
        self.asked.lock().expect("no panic").push((kind, ifindex));
        // An acknowledgement: header, error 0, the request's header.
        self.answer = 36_u32.to_ne_bytes().to_vec();
        self.answer.extend([2, 0, 0, 0]);
        self.answer.extend(&request[8..12]);
        self.answer.extend([0; 24]);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.answer))
    }
}

/// Hooks without tcx, and what they ask. The folder goes with the test.
fn hooks(folder: &tempfile::TempDir) -> (Hooks, Asked) {
    let asked = Asked::default();
    let theirs = asked.clone();
    let open = move || {
        let (asked, answer) = (theirs.clone(), Vec::new());
        Ok(Box::new(Pretended { asked, answer }) as Box<dyn Wire>)
    };
    let names = [
        "hop_ingress",
        "hop_egress",
        "uplink_ingress",
        "uplink_egress",
    ];
    let file = || OwnedFd::from(tempfile::tempfile().expect("a file"));
    let fds = names.map(|name| (name.to_owned(), file())).into();
    let mut ledger = Ledger::open(1, 7, Vec::new()).expect("this process");
    ledger.path = folder.path().join("netdiag/trace/7-1.json");
    std::fs::create_dir(folder.path().join("netdiag")).expect("made");
    let numbers = Vec::new();
    let hooks = Hooks {
        programs: Attachable { fds, numbers },
        set: Set::Tracing,
        only: Vec::new(),
        outline: Outline::default(),
        covered: HashMap::new(),
        ledger,
        others: None,
        qdiscs: HashMap::new(),
        rtnl: Rtnl::over(Box::new(open)),
        watch: Watch::over(Box::new(Silent)),
        failed: HashMap::new(),
        tcx: false,
        few: false,
        awaited: HashSet::new(),
        again: Again::default(),
        proof: Proof::default(),
        closed: false,
    };
    (hooks, asked)
}

/// Nobody else changes anything.
struct Silent;

impl Wire for Silent {
    fn port(&self) -> u32 {
        8
    }

    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn taken(asked: &Asked) -> Vec<(u16, u32)> {
    std::mem::take(&mut *asked.lock().expect("no panic"))
}

/// A pod's link as the kernel tells of it. None has its name where the test runs, nor its index.
fn pods_link(index: u32) -> Link {
    let name = format!("vethtest{index}");
    let mut link = link(index, &name, LinkKind::Veth, 1450);
    link.peer_elsewhere = true;
    link
}

/// A node with very many pods.
fn crowded() -> Node {
    let mut node = overlay_node(1450, 1450, 1500);
    node.links.extend((1000..2000).map(pods_link));
    node
}

#[test]
fn covering_a_new_link_asks_the_kernel_about_that_one_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut hooks, asked) = hooks(&folder);
    hooks.follow(&crowded(), Instant::now());
    assert!(taken(&asked).len() > 3000, "a qdisc and two filters each");
    hooks.cover_new(&pods_link(5000));
    let one = [(NEWQDISC, 5000), (NEWTFILTER, 5000), (NEWTFILTER, 5000)];
    assert_eq!(taken(&asked), one);
    // Nothing of a link that is covered, and none of what is asked of all.
    hooks.cover_new(&pods_link(5000));
    assert_eq!(taken(&asked), []);
    // Somebody asked for others alone.
    hooks.only = vec!["eth*".into()];
    hooks.cover_new(&pods_link(5001));
    assert_eq!(taken(&asked), []);
    hooks.closed = true;
    hooks.only.clear();
    hooks.cover_new(&pods_link(5001));
    assert_eq!(taken(&asked), []);
}

#[test]
fn a_reading_from_before_a_link_came_does_not_let_go_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut hooks, _) = hooks(&folder);
    let node = overlay_node(1450, 1450, 1500);
    let moment = Duration::from_secs(1);
    let before = Instant::now().checked_sub(moment).expect("it is up");
    hooks.follow(&node, before);
    hooks.cover_new(&pods_link(5000));
    hooks.follow(&node, before);
    assert!(hooks.covered.contains_key(&5000));
    hooks.follow(&node, Instant::now() + moment);
    assert!(!hooks.covered.contains_key(&5000), "it is gone");
    hooks.closed = true;
}

#[test]
fn what_all_packets_pass_is_covered_before_the_pods() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut hooks, _) = hooks(&folder);
    let node = crowded();
    hooks.cover_first(&node, Instant::now());
    let named = |index| hooks.covered.get(&index).map(|it| it.hooks[0].0);
    assert_eq!(named(UPLINK), Some("uplink_ingress"));
    assert!((1000..2000).all(|index| named(index).is_none()));
    hooks.closed = true;
}
