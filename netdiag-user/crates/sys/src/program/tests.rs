#![expect(clippy::disallowed_methods, reason = "files of the test's own")]
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::*;

/// A folder of root's with programs; none where the test is not root's.
struct Stubs(tempfile::TempDir);

impl Stubs {
    fn new() -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        root.then(|| Self(tempfile::tempdir().expect("a folder")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        mode(&path, 0o755);
        path
    }

    fn program(&self) -> Program {
        Program::new("stub").found_in(&[self.0.path().to_owned()])
    }

    fn says(&self, script: &str) -> Result<String, String> {
        self.put("stub", script);
        let said = self.program().text(&["first", "second"]);
        said.map_err(|e| e.to_string())
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn what_is_not_here_is_the_nodes() {
    let Some(stubs) = Stubs::new() else { return };
    stubs.put("host/usr/bin/real", "true");
    let root = stubs.path("host");
    fs::create_dir_all(root.join("usr/sbin")).expect("made");
    // A link leads where it leads on the node.
    symlink("/usr/bin/real", root.join("usr/sbin/nodes-own")).expect("linked");
    let folders: Vec<PathBuf> = find::FOLDERS.iter().map(PathBuf::from).collect();
    let look = |name, root| find::find(name, &folders, root);
    assert!(matches!(
        look("nodes-own", None),
        Err(Failure::NotInstalled(_))
    ));
    let found = look("nodes-own", Some(&root)).expect("the node's");
    assert_eq!(found.path, Path::new("/usr/bin/real"));
    assert_eq!(found.root.as_deref(), Some(&*root));
    // What is here comes first.
    assert_eq!(look("sh", Some(&root)).expect("our own").root, None);
    mode(&root.join("usr/bin"), 0o777);
    let refused = look("nodes-own", Some(&root)).expect_err("anybody's");
    assert!(refused.to_string().contains("host/usr/bin"), "{refused}");
}

/// The program runs in that root: /usr has its own /lib and /lib64 where it is merged.
#[test]
fn the_nodes_program_sees_the_nodes_files() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let found = find::Found {
        root: Some("/usr".into()),
        path: "/bin/ls".into(),
    };
    let started = Child::start(&found, "ls", &["/"], 1 << 30, NETWORK);
    let (mut child, mut out, _) = started.expect("started");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut out, &mut text).expect("read");
    let ended = child.end(Instant::now() + TIME);
    assert!(ended.is_some_and(|it| it.success()), "{text}");
    assert!(text.lines().any(|it| it == "share"), "{text}");
    assert!(!text.lines().any(|it| it == "proc"), "{text}");
}

#[test]
fn it_prints_and_fails_in_its_own_words() {
    let Some(stubs) = Stubs::new() else { return };
    assert_eq!(
        stubs.says("echo \"$1-$2\"").as_deref(),
        Ok("first-second\n")
    );
    let failed = stubs.says("echo; printf 'no \\033[2Jrules\\nmore' >&2; exit 3");
    assert_eq!(failed.expect_err("it failed"), "stub: no  [2Jrules");
    let silent = stubs.says("exit 3").expect_err("it failed");
    assert_eq!(silent, "stub: exit status: 3");
    let killed = stubs.says("kill -9 $$").expect_err("it was killed");
    assert!(killed.contains("signal: 9"), "{killed}");
}

#[test]
fn what_is_not_understood_is_told_unless_it_failed() {
    let Some(stubs) = Stubs::new() else { return };
    let odd = |script: &str| {
        stubs.put("stub", script);
        let program = stubs.program();
        let read = program.read(&["x"; 0], |_| -> anyhow::Result<()> {
            anyhow::bail!("no JSON")
        });
        read.expect_err("not understood").to_string()
    };
    let told = "what stub prints is not understood: no JSON";
    assert_eq!(odd("echo x"), told);
    assert_eq!(odd("exec sleep 1000"), told, "it is not waited for");
    assert_eq!(odd("echo broken >&2; exit 1"), "stub: broken");
}

#[test]
fn a_program_gets_nothing_of_netdiags() {
    let Some(stubs) = Stubs::new() else { return };
    // A file that stays open across exec, as a careless parent leaves one.
    let left = fs::File::open("/").expect("open");
    nix::fcntl::fcntl(
        &left,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .expect("set");
    let said = stubs.says(
        "tr '\\0' '\\n' < /proc/$$/environ; echo --; readlink /proc/$$/fd/0; ls /proc/$$/fd; \
         cut -d' ' -f5,6 /proc/$$/stat; echo $$; cat /proc/$$/oom_score_adj; pwd; ulimit -v; \
         cat",
    );
    let said = said.expect("it runs");
    let lines: Vec<&str> = said.lines().collect();
    let (environment, rest) = lines.split_at(2);
    assert_eq!(environment, ["LC_ALL=C", "--"], "{said}");
    assert_eq!(rest[0], "/dev/null", "{said}");
    // Beside the three the shell has its script open.
    let own = |fd: &&&str| fd.parse::<u32>().is_ok_and(|fd| fd < 10);
    assert!(rest[1..].iter().take_while(own).count() <= 4, "{said}");
    let pid = rest[rest.len() - 4];
    let group = rest[rest.len() - 5];
    assert_eq!(group, format!("{pid} {pid}"), "its own group and session");
    assert_eq!(rest[rest.len() - 3..], ["1000", "/", "1048576"], "{said}");
}

#[test]
fn time_is_limited_and_nobody_stays_behind() {
    let Some(stubs) = Stubs::new() else { return };
    let mark = stubs.path("pids");
    let note = format!(
        "echo $$ >> {0}; sleep 1000 & echo $! >> {0}; ",
        mark.display()
    );
    for rest in [
        "wait",
        "exec >&- 2>&-; wait",
        "while :; do echo x; done",
        ":",
    ] {
        stubs.put("stub", &format!("{note}{rest}"));
        let program = stubs.program().within(Duration::from_millis(300));
        let start = Instant::now();
        let why = program.text(&["x"; 0]).expect_err("too slow").to_string();
        assert_eq!(why, "stub did not end within 0 s", "{rest}");
        assert!(start.elapsed() < Duration::from_secs(5), "{rest}");
    }
    let pids = fs::read_to_string(mark).expect("written");
    assert_eq!(pids.lines().count(), 8);
    for pid in pids.lines() {
        // Killed is not gone at once; and an orphan that is dead may wait for init to reap it.
        let alive = || {
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        let late = Instant::now() + Duration::from_secs(10);
        while alive() {
            assert!(Instant::now() < late, "{pid} still runs");
            std::thread::yield_now();
        }
    }
}

#[test]
fn output_is_limited_and_never_held() {
    let Some(stubs) = Stubs::new() else { return };
    stubs.put("stub", "exec yes");
    let program = stubs.program().at_most(4 << 20);
    let mut read = 0;
    let why = program.read(&["x"; 0], |from| {
        loop {
            let bytes = from.fill_buf()?.len();
            if bytes == 0 {
                return Ok(());
            }
            read += bytes;
            from.consume(bytes);
        }
    });
    assert_eq!(
        why.expect_err("too much").to_string(),
        "stub prints more than 4 MiB"
    );
    assert!(read <= 4 << 20, "{read}");
    // What it says on stderr neither holds it up nor is kept.
    let said = stubs.says("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done");
    assert_eq!(said.as_deref(), Ok("done\n"));
}

#[test]
fn what_it_took_is_counted() {
    let Some(stubs) = Stubs::new() else { return };
    let (_, cost) = cost::of(|| stubs.says("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"));
    assert!(cost >= Duration::from_millis(1), "{cost:?}");
}

#[test]
fn only_what_root_alone_can_have_put_there_is_run() {
    let Some(stubs) = Stubs::new() else { return };
    let run = |folder: &str| {
        let program = Program::new("stub").found_in(&[stubs.path(folder)]);
        program.text(&["x"; 0]).map_err(|e| e.to_string())
    };
    assert_eq!(run("none").expect_err("none"), "stub is not installed here");
    let stub = stubs.put("own/stub", "echo \"$0\"");
    assert!(run("own").is_ok_and(|said| said.ends_with("/own/stub\n")));
    let refused = |why: &str| {
        let said = run("own").expect_err("refused");
        assert!(
            said.starts_with("stub is not run: /") && said.ends_with(why),
            "{said}"
        );
    };
    for writable in [0o775, 0o757] {
        mode(&stub, writable);
        refused("/own/stub can be written by others than root");
    }
    mode(&stub, 0o644);
    refused("/own/stub is no program");
    mode(&stub, 0o755);
    nix::unistd::chown(&stub, Some(65534.into()), None).expect("given away");
    refused("/own/stub does not belong to root");
    nix::unistd::chown(&stub, Some(0.into()), None).expect("taken back");
    mode(&stubs.path("own"), 0o777);
    refused("/own can be written by others than root");
    mode(&stubs.path("own"), 0o1777);
    assert!(run("own").is_ok(), "sticky, and the program is root's");
    // By a link, however it leads there: the folder of the program itself counts.
    fs::create_dir(stubs.path("links")).expect("made");
    symlink("../own/stub", stubs.path("links/stub")).expect("linked");
    assert!(run("links").is_ok());
    mode(&stubs.path("own"), 0o777);
    assert!(run("links").is_err());
    fs::create_dir(stubs.path("circle")).expect("made");
    symlink("stub", stubs.path("circle/stub")).expect("linked");
    assert!(run("circle").is_err());
}

#[test]
fn a_program_of_many_names_sees_the_one_that_it_was_called_by() {
    let Some(stubs) = Stubs::new() else { return };
    let shell = fs::canonicalize("/bin/sh").expect("a shell");
    symlink(shell, stubs.path("stub")).expect("linked");
    let said = stubs
        .program()
        .text(&["-c", "tr '\\0' ' ' < /proc/$$/cmdline"]);
    assert!(said.expect("it runs").starts_with("stub -c "));
}
