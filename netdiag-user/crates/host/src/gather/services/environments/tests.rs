//! Containers that tell the truth, and others.
use super::*;
use crate::gather::processes::fake::{FLANNELD, Made, Node};

const ELSEWHERE: &str = "/proc/self/ns/uts";

fn uid(pid: u32) -> String {
    format!("0c4e7e2a-5e9e-4b5e-9a43-{pid:012}")
}

/// A node with a container for each, by namespace and environment, from the process 7 on.
fn node(containers: &[(&str, &str)]) -> Node {
    let mut node = Node::new();
    for (pid, (namespace, environment)) in (7..).zip(containers) {
        let cgroup = format!("0::/kubepods/pod{}/{pid:064}\n", uid(pid));
        let made = Made {
            cgroup: &cgroup,
            program: "nginx",
            comm: "nginx",
            arguments: "nginx\0",
            environment,
            netns: ELSEWHERE,
            ..FLANNELD
        };
        node = node.with(pid, &made);
        if !namespace.is_empty() {
            let name = format!("var/log/pods/{namespace}_p_{}", uid(pid));
            std::fs::create_dir_all(node.root().join(name)).expect("made");
        }
    }
    node
}

fn containers(node: &Node) -> Containers {
    let mut all = Containers::default();
    processes::each(node.root(), |process, believer| {
        all.meet(process, believer);
    });
    all
}

fn services(node: &Node) -> Services {
    let mut found = Services::default();
    read(node.root(), containers(node), &mut found);
    found
}

/// Who tells of the one address, and whether that settles it.
fn word(containers: &[(&str, &str)]) -> (String, bool) {
    let found = services(&node(containers));
    assert_eq!((found.told.len(), found.unread.len()), (1, 0));
    (found.told[0].by.clone(), found.told[0].sure)
}

const WEB: &str = "WEB_SERVICE_HOST=10.96.7.7\0";

#[test]
fn a_strangers_word_alone_is_not_sure() {
    let root = nix::unistd::geteuid().is_root();
    let web = |pid: u32| format!("WEB_SERVICE_HOST of nginx[{pid}]");
    assert_eq!(word(&[("shop", WEB)]), (web(7), false));
    assert_eq!(word(&[("shop", WEB), ("shop", WEB)]), (web(7), false));
    assert_eq!(word(&[("", WEB), ("", WEB)]), (web(7), false));
    // Folders of logs that are not root's say nothing.
    let own = (web(8), true);
    let own = if root { own } else { (web(7), false) };
    assert_eq!(word(&[("shop", WEB), ("kube-system", WEB)]), own);
    let two = (
        format!("{} and {}, of two namespaces", web(7), web(8)),
        true,
    );
    let two = if root { two } else { (web(7), false) };
    assert_eq!(word(&[("shop", WEB), ("bank", WEB)]), two);
}

/// A process whose memory somebody else holds the lock of.
#[test]
fn who_is_held_up_keeps_what_was_read_and_passes_over_it() {
    let dns = "DNS_SERVICE_HOST=10.96.0.10\0";
    let node = node(&[("shop", WEB), ("bank", WEB), ("kube-system", dns)]);
    let (go, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let reader: Arc<Reader> = Arc::new(move |process: &Process| {
        if process.pid == 7 {
            let _ = waits.lock().expect("no panic").recv();
        }
        process.environment()
    });
    let look = |time| {
        let mut found = Services::default();
        let (root, all) = (node.root(), containers(&node));
        read_by(root, all, time, reader.clone(), &mut found);
        let told = found.told.iter().map(|t| t.by.clone());
        (told.collect::<Vec<_>>(), found.unread)
    };
    let (told, unread) = look(Duration::from_millis(300));
    if nix::unistd::geteuid().is_root() {
        assert_eq!(
            told,
            ["DNS_SERVICE_HOST of nginx[9]"],
            "the cluster's own first"
        );
    }
    assert_eq!(unread.len(), 1);
    assert!(unread[0].1.contains("at nginx[7]"), "{unread:?}");
    let (told, unread) = look(Duration::from_secs(60));
    assert_eq!(
        told,
        [
            "DNS_SERVICE_HOST of nginx[9]",
            "WEB_SERVICE_HOST of nginx[8]"
        ]
    );
    let expected = (
        "what nginx[7] was told of Services".to_owned(),
        "an earlier reader of a process's memory still hangs".to_owned(),
    );
    assert_eq!(unread, [expected]);
    go.send(()).expect("it waits");
}

#[test]
fn there_is_an_end_to_what_is_told_and_who_is_left_out_is_counted() {
    let many = |base: u32, n: u32| -> String {
        let address = |i: u32| std::net::Ipv4Addr::from_bits(base + i);
        let one = |i| format!("A_SERVICE_HOST={}\0", address(i));
        (0..n).map(one).collect()
    };
    let full: Vec<String> = (1..6_u32).map(|i| many(i << 24, 5000)).collect();
    let api = "KUBERNETES_SERVICE_HOST=10.96.0.1\0";
    let mut all: Vec<_> = full.iter().map(|e| ("shop", e.as_str())).collect();
    all.push(("bank", api));
    let found = services(&node(&all));
    assert_eq!(found.told.len(), MOST + 1);
    let api = found.told.iter().find(|t| t.by.starts_with("KUBERNETES"));
    assert!(api.is_some(), "each container's own is kept");
    let left_out = 5 * 5000 - MOST;
    assert_eq!(
        found.unread,
        [(
            format!("{left_out} addresses that containers call Services'"),
            "4096 of each container are kept, and 16384 of all".to_owned()
        )]
    );
}

#[test]
fn a_part_of_an_address_is_none() {
    // Together as long as what is read.
    let mut long = "A=1\0".repeat((256 << 10) / 4 - 6);
    long.push_str("B_SERVICE_HOST=10.0.0.9\0");
    let last = "C_SERVICE_HOST=10.0.0.1";
    let cut = format!("{}{last}2\0", &long[last.len()..]);
    let found = services(&node(&[("shop", &cut)]));
    let told: Vec<_> = found.told.iter().map(|t| t.by.as_str()).collect();
    assert_eq!(told, ["B_SERVICE_HOST of nginx[7]"]);
    assert_eq!(found.unread[0].0, "the rest of the environment of nginx[7]");
}

#[test]
fn variables_are_kubelets() {
    let told = host("CART_SERVICE_HOST=10.96.7.7").expect("a Service");
    assert_eq!(told.0, "CART_SERVICE_HOST");
    for other in [
        "PATH=/bin",
        "X_SERVICE_HOST=name",
        "X_SERVICE_PORT=80",
        "x;id_SERVICE_HOST=10.96.7.7",
    ] {
        assert_eq!(host(other), None);
    }
}
