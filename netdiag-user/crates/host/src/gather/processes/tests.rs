//! Who is believed, on nodes made of files.
#![expect(clippy::disallowed_methods, reason = "files of the test's own")]
use std::os::unix::fs::PermissionsExt;

use super::{
    fake::{FLANNELD, Made, Node, SESSION, UID},
    *,
};
use crate::model::impostors::{Doubt, Impostors};

impl Node {
    fn flannelds(&self) -> Vec<u32> {
        let found = daemons::of_node(self.root(), "flanneld");
        found.iter().map(|command| command.pid).collect()
    }

    fn doubts(&self) -> Vec<Doubt> {
        let found: Impostors = daemons::impostors(self.root());
        found.all.into_iter().map(|one| one.doubt).collect()
    }
}

#[test]
fn words_end_with_a_zero_byte() {
    assert_eq!(words(b"a\0-b\0"), ["a", "-b"]);
    assert!(words(b"").is_empty());
    assert_eq!(words(b"a\x1b[2J\0"), ["a [2J"]);
    assert_eq!(words(&[b'a'; 2000])[0].chars().count(), WORD + 1);
}

#[test]
fn finds_this_process() {
    let mut found = None;
    each(Path::new("/"), |process, _| {
        if process.pid == std::process::id() {
            found = Some((process.users(), process.arguments().0));
        }
    });
    let (users, arguments) = found.expect("this process");
    assert_eq!(users.map(|u| u[0]), Some(nix::unistd::getuid().as_raw()));
    let own: Vec<_> = std::env::args().collect();
    assert_eq!(arguments, own);
}

#[test]
fn a_daemon_is_roots_and_a_service() {
    let node = Node::new().with(7, &FLANNELD);
    assert_eq!(node.flannelds(), [7]);
    assert_eq!(node.doubts(), []);
    // Its program has been replaced since, and its title is not its name.
    let replaced = Made {
        program: "flanneld (deleted)",
        comm: "x",
        arguments: "x\0",
        ..FLANNELD
    };
    assert_eq!(Node::new().with(7, &replaced).flannelds(), [7]);
    let titled = Made {
        program: "hyperkube",
        arguments: "/bin/flanneld agent\0",
        ..FLANNELD
    };
    assert_eq!(Node::new().with(7, &titled).flannelds(), [7]);
}

#[test]
fn who_only_says_so_is_told_once() {
    let nobody = Made {
        users: "65534\t65534\t65534\t65534",
        ..FLANNELD
    };
    let becomes_root = Made {
        users: "1000\t0\t0\t0",
        ..FLANNELD
    };
    let session = Made {
        cgroup: SESSION,
        ..FLANNELD
    };
    for made in [&nobody, &becomes_root, &session] {
        let node = Node::new().with(7, made);
        assert_eq!(node.flannelds(), [0; 0]);
        assert_eq!(node.doubts(), [Doubt::NoService]);
    }
    let first_word = Made {
        program: "python3",
        comm: "python3",
        ..nobody
    };
    let node = Node::new().with(9, &first_word).with(10, &nobody);
    let found = daemons::impostors(node.root());
    assert_eq!(found.all.len(), 1);
    assert_eq!(found.all[0].uid, Some(65534));
    assert_eq!(found.all[0].more, 1);
    let other = Made {
        program: "python3",
        comm: "python3",
        arguments: "python3\0flanneld\0",
        ..nobody
    };
    assert_eq!(Node::new().with(9, &other).doubts(), []);
}

#[test]
fn a_set_uid_program_says_what_its_user_likes() {
    let sudo = Made {
        program: "sudo",
        comm: "sudo",
        cgroup: "0::/system.slice/cron.service\n",
        ..FLANNELD
    };
    let node = Node::new().with(7, &sudo);
    let program = node.root().join("bin/sudo");
    let mode = |mode| fs::set_permissions(&program, fs::Permissions::from_mode(mode));
    mode(0o4755).expect("set");
    assert_eq!(node.flannelds(), [0; 0]);
    assert_eq!(node.doubts(), [Doubt::SetUid]);
}

#[test]
fn kubelet_says_whose_pod_it_is() {
    let cgroup = format!("0::/kubepods/pod{UID}/{}\n", "a".repeat(64));
    let pods = Made {
        cgroup: &cgroup,
        ..FLANNELD
    };
    let node = Node::new().with(7, &pods);
    assert_eq!(node.doubts(), [Doubt::UnknownPod]);
    let logs = node.root().join("var/log/pods");
    let of = |namespace: &str| {
        let _ = fs::remove_dir_all(&logs);
        let name = format!("{namespace}_flannel-x7k2p_{UID}");
        fs::create_dir_all(logs.join(name)).expect("made");
        (node.flannelds(), node.doubts())
    };
    let root = nix::unistd::geteuid().is_root();
    let unknown = (vec![], vec![Doubt::UnknownPod]);
    let expected = |other| if root { other } else { unknown.clone() };
    assert_eq!(of("kube-flannel"), expected((vec![7], vec![])));
    let shop = Doubt::OtherPod("shop".into());
    assert_eq!(of("shop"), expected((vec![], vec![shop])));
    of("kube-flannel");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).expect("set");
    assert_eq!((node.flannelds(), node.doubts()), unknown);
}

#[test]
fn a_command_line_of_any_size_is_read_so_far() {
    let node = Node::new().with(7, &FLANNELD);
    let file = node.root().join("proc/7/cmdline");
    let text = format!(
        "flanneld\0--iface-regex=eth1\0{}\0",
        "x".repeat(2 * LONGEST)
    );
    fs::write(&file, text).expect("written");
    let sparse = fs::OpenOptions::new().write(true).open(&file);
    sparse.expect("open").set_len(1 << 30).expect("set");
    let found = daemons::of_node(node.root(), "flanneld");
    assert_eq!(found[0].arguments, ["flanneld", "--iface-regex=eth1"]);
    let cut = daemons::impostors(node.root()).cut;
    assert_eq!(cut, ["flanneld (pid 7)"]);
}

/// What a process of root's sees that has no CAP_SYS_PTRACE.
#[test]
fn who_may_not_be_looked_at_is_counted() {
    let node = Node::new().with(7, &FLANNELD);
    let hidden = Node::new().with(7, &FLANNELD);
    fs::remove_dir_all(hidden.root().join("proc/1")).expect("removed");
    let roots = [Path::new("/"), node.root(), hidden.root()];
    let all = || roots.map(|root| each(root, |_, _| {}).closed);
    let without = thread::scope(|scope| {
        let without = scope.spawn(|| {
            capabilities::keep(&[]).expect("given away");
            all()
        });
        without.join().expect("no panic")
    });
    assert!(without[0] > 0, "the first process is another's");
    assert_eq!(
        without[1..],
        [0, 1],
        "where others' are hidden, the first is"
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(all(), [0; 3]);
    }
}
