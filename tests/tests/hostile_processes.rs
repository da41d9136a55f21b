//! Processes of any user's that call themselves the node's daemons: nothing of theirs is believed,
//! opened, contacted, or read to its end.
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use netdiag_tests::{
    impostor::{MEASURED, NOBODY, impostor, inside, ready},
    netdiag::binary,
    process::{Process, run},
    require,
    shell_node::{ShellNode, TOOLS, fixture},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Of an audit, in KiB.
const MEMORY: u64 = 64 << 10;
const SECONDS: Duration = Duration::from_secs(90);
/// Where the impostor listens that must not be contacted.
const PORT: &str = "2379";
/// What flanneld must not be started with: each link matches, those of pods too.
const LOOSE: &str = "--iface-regex=cali|ens5";
const CAUSE: &str = "flannel-iface-regex-unanchored";

fn missing() -> bool {
    require::missing(&[&TOOLS[..], &["setpriv", "bash"]].concat())
}

/// What an audit of the node says, and what it took.
struct Audit {
    document: Value,
    code: Option<i32>,
    peak: u64,
    took: Duration,
}

impl Audit {
    fn of(netns: &str) -> Self {
        let begun = Instant::now();
        let mut command = inside(netns, &["/usr/bin/python3", "-c", MEASURED]);
        command.arg(binary()).args(["audit", "-o", "json"]);
        command.args(["--pods", "none"]);
        for variable in ["NODE_NAME", "NETDIAG_LOG", "KUBECONFIG"] {
            command.env_remove(variable);
        }
        let ended = run(&mut command);
        let took = begun.elapsed();
        let peak = ended.stderr.iter().find_map(|l| l.strip_prefix("peak "));
        Self {
            peak: peak.and_then(|n| n.parse().ok()).expect("its memory"),
            document: ended.json(),
            code: ended.code,
            took,
        }
    }

    fn causes(&self) -> Vec<&str> {
        let findings = self.document["findings"].as_array().expect("a list");
        findings
            .iter()
            .filter_map(|f| f["cause"].as_str())
            .collect()
    }

    /// Of each that was not believed, the one sentence.
    fn disbelieved(&self) -> Vec<String> {
        let rows = self.document["not_checked"].as_array().expect("a list");
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let rows = rows.iter().map(|row| (text(row, "what"), text(row, "why")));
        let told = rows.filter(|(what, _)| what.contains("calls itself"));
        told.map(|(what, why)| format!("{what}: {why}")).collect()
    }

    /// Everything else that it says, but for times.
    fn rest(&self) -> (Value, Value, Vec<Value>) {
        let rows = self.document["not_checked"].as_array().expect("a list");
        let told = |row: &&Value| {
            !row["what"]
                .as_str()
                .is_some_and(|w| w.contains("calls itself"))
        };
        (
            self.document["verdict"].clone(),
            self.document["findings"].clone(),
            rows.iter().filter(told).cloned().collect(),
        )
    }

    /// It says what the twin says, soon and without much memory.
    fn is_like(&self, twin: &Self) {
        assert_eq!(self.rest(), twin.rest());
        assert_eq!(self.code, twin.code);
        assert!(self.peak < MEMORY, "{} KiB, twin {}", self.peak, twin.peak);
        assert!(self.took < SECONDS, "{:?}, twin {:?}", self.took, twin.took);
    }
}

#[test]
fn whoever_calls_himself_a_daemon_is_not_believed() {
    if missing() {
        return;
    }
    let node = ShellNode::up(&[]);
    let netns = node.netns("left");
    let twin = Audit::of(&netns);
    assert_eq!(twin.disbelieved(), [""; 0]);
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).expect("linked");
    let listening = format!("--listen-client-urls=http://127.0.0.1:{PORT}");
    let etcd = |options: &[&str], url: &str, ca: &Path| {
        let ca = format!("--trusted-ca-file={}", ca.display());
        ready(impostor(&netns, options, &["etcd", url, &ca]))
    };
    let contacted = etcd(&["--port", PORT], &listening, Path::new("/dev/zero"));
    let closed = "--listen-client-urls=http://127.0.0.1:1";
    let etcds = [Path::new("/dev/zero"), &fifo, folder.path(), &link];
    let _etcds = etcds.map(|ca| etcd(&[], closed, ca));
    let words = ["/opt/bin/flanneld", LOOSE, "--iface-regex=$(id)|eth0|x"];
    let _flanneld = ready(impostor(&netns, &[], &words));
    let range = "--service-cluster-ip-range=0.0.0.0/0";
    let _api = ready(impostor(&netns, &[], &["kube-apiserver", range]));

    let audit = Audit::of(&netns);
    audit.is_like(&twin);
    let not_believed = "not believed: it is no system service of root's and no pod of kube-system";
    let told = audit.disbelieved();
    for (name, more) in [
        ("etcd", ", and 4 more"),
        ("flanneld", ""),
        ("kube-apiserver", ""),
    ] {
        let begins = format!("a process of uid {NOBODY} that calls itself {name} (pid ");
        let ends = format!("{more}): {not_believed}");
        let fits = |t: &&String| t.starts_with(&begins) && t.ends_with(&ends);
        assert_eq!(told.iter().filter(fits).count(), 1, "{name}: {told:#?}");
    }
    assert_eq!(told.len(), 3, "{told:#?}");
    let said = contacted.stop(Signal::SIGKILL).stderr;
    assert!(!said.iter().any(|l| l.contains("contacted")), "{said:?}");
}

#[test]
fn a_command_line_of_a_gigabyte_costs_nothing() {
    if missing() {
        return;
    }
    let node = ShellNode::up(&[]);
    let netns = node.netns("left");
    let twin = Audit::of(&netns);
    let words = ["flanneld", LOOSE];
    let mut process = impostor(&netns, &["--huge"], &words);
    let said = process.line(SECONDS);
    if said != "ready" {
        return require::say(&format!("a kernel that allows PR_SET_MM_MAP ({said})"));
    }
    let line = fs::File::open(format!("/proc/{}/cmdline", process.pid())).expect("there");
    let mut line = std::io::Read::take(line, 1 << 27);
    let read = std::io::copy(&mut line, &mut std::io::sink()).expect("read");
    assert_eq!(read, 1 << 27, "it goes on");
    let audit = Audit::of(&netns);
    audit.is_like(&twin);
    assert_eq!(audit.disbelieved().len(), 1);
}

/// The same words count where root runs them as a service of the machine.
#[test]
fn a_service_of_roots_is_believed() {
    if missing() {
        return;
    }
    let node = ShellNode::up(&[]);
    let netns = node.netns("left");
    let Some(service) = Service::make("flanneld") else {
        return require::say("cgroups that can be made");
    };
    let script = format!(
        "{} exec -a /opt/bin/flanneld /usr/bin/python3 - '{LOOSE}' < {}",
        service.enter(),
        fixture("impostor.py").display()
    );
    let _flanneld = ready(Process::start(&mut inside(
        &netns,
        &["bash", "-c", &script],
    )));
    let audit = Audit::of(&netns);
    assert_eq!(audit.causes(), [CAUSE], "{:#}", audit.document);
    assert_eq!(audit.disbelieved(), [""; 0]);
}

/// A cgroup as systemd makes one for a service, in each hierarchy that sorts them.
struct Service(Vec<PathBuf>);

impl Service {
    fn make(name: &str) -> Option<Self> {
        let mut made = Vec::new();
        for base in ["", "/systemd", "/unified"] {
            let base = format!("/sys/fs/cgroup{base}");
            let slice = format!("{base}/netdiag-test-{}.slice", std::process::id());
            let folder = format!("{slice}/{name}.service");
            let sorts = Path::new(&base).join("cgroup.procs").is_file();
            if sorts && fs::create_dir_all(&folder).is_ok() {
                made.push(folder.into());
            }
        }
        (!made.is_empty()).then_some(Self(made))
    }

    /// Words of a shell's that go there.
    fn enter(&self) -> String {
        let enter = |folder: &PathBuf| format!("echo 0 > {}/cgroup.procs;", folder.display());
        self.0.iter().map(enter).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for folder in &self.0 {
            let slice = folder.parent().expect("a slice");
            // Who was killed leaves it a little later.
            let gone = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                fs::remove_dir(folder).is_ok()
            });
            if !gone || fs::remove_dir(slice).is_err() {
                eprintln!("{} is still there", slice.display());
            }
        }
    }
}
