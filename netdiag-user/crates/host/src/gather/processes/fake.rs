//! A node of which each process is a folder of files.
use std::{fs, os::unix::fs::symlink, path::Path};

pub const SERVICE: &str = "0::/system.slice/x.service\n";
pub const SESSION: &str = "0::/user.slice/user-1000.slice/session-1.scope\n";
pub const UID: &str = "0c4e7e2a-5e9e-4b5e-9a43-1f1b1d2c3e4f";

/// What a process is made of.
#[derive(Clone, Copy)]
pub struct Made<'a> {
    pub users: &'a str,
    pub cgroup: &'a str,
    pub program: &'a str,
    pub comm: &'a str,
    pub arguments: &'a str,
    pub environment: &'a str,
    /// A file of its network namespace's inode: this thread's is the node's.
    pub netns: &'a str,
}

pub const FLANNELD: Made<'_> = Made {
    users: "0\t0\t0\t0",
    cgroup: SERVICE,
    program: "flanneld",
    comm: "flanneld",
    arguments: "/opt/bin/flanneld\0--iface-regex=eth1\0",
    environment: "",
    netns: "/proc/self/ns/net",
};

pub struct Node(tempfile::TempDir);

impl Node {
    pub fn new() -> Self {
        let node = Self(tempfile::tempdir().expect("a folder"));
        let systemd = Made {
            cgroup: "0::/init.scope\n",
            program: "systemd",
            comm: "systemd",
            arguments: "/sbin/init\0",
            ..FLANNELD
        };
        node.with(1, &systemd)
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn with(self, pid: u32, made: &Made<'_>) -> Self {
        let folder = self.root().join(format!("proc/{pid}"));
        fs::create_dir_all(folder.join("ns")).expect("made");
        symlink(made.netns, folder.join("ns/net")).expect("linked");
        let program = self.root().join("bin").join(made.program);
        fs::create_dir_all(program.parent().expect("a folder")).expect("made");
        fs::write(&program, "").expect("written");
        symlink(&program, folder.join("exe")).expect("linked");
        let status = format!("Name:\t{}\nUid:\t{}\nGid:\t0\n", made.comm, made.users);
        let files = [
            ("status", status.as_str()),
            ("cgroup", made.cgroup),
            ("comm", made.comm),
            ("cmdline", made.arguments),
            ("environ", made.environment),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("written");
        }
        self
    }
}
