//! netdiag as a server of the Model Context Protocol: lines of JSON-RPC in, lines of JSON-RPC out.
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use netdiag_tests::{
    netdiag::{binary, command, netdiag, sentence},
    other_tc_user,
    process::{PATIENCE, run, wait_until},
    recordings, require,
    schema::{self, Form},
    shell_node::ShellNode,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

/// A server, and whoever talks to it.
struct Client {
    server: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    number: u64,
}

impl Client {
    fn new(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("netdiag starts");
        let to = server.stdin.take();
        let from = BufReader::new(server.stdout.take().expect("a pipe"));
        let mut client = Self {
            server,
            to,
            from,
            number: 0,
        };
        let greeting = client.ask(
            "initialize",
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            }),
        );
        assert_eq!(greeting["result"]["serverInfo"]["name"], "netdiag");
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        client
    }

    fn at(recordings: &Path) -> Self {
        let folder = recordings.display().to_string();
        Self::new(command(&["mcp", "--recordings", &folder]))
    }

    fn say(&mut self, line: &str) {
        let to = self.to.as_mut().expect("it is open");
        writeln!(to, "{line}").expect("it listens");
    }

    fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.number += 1;
        let id = self.number;
        self.say(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string(),
        );
        id
    }

    /// The answer to that question; all that comes is of the protocol.
    fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.from.read_line(&mut line).expect("text"),
                0,
                "it has gone away"
            );
            let message: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(message["jsonrpc"], "2.0");
            if message["id"] == id {
                return message;
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer(id)
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let told = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(told["error"].is_null(), "{told:#}");
        told["result"].clone()
    }

    /// The one sentence of why there is no answer: marked where it may quote strangers.
    fn refused(&mut self, tool: &str, arguments: Value) -> String {
        let told = self.call(tool, arguments);
        assert_eq!(told["isError"], true, "{told:#}");
        let text = told["content"][0]["text"].as_str().expect("text");
        let lines: Vec<&str> = text.lines().collect();
        match lines[..] {
            [own] => own.to_owned(),
            [_, begin, sentence, end] => {
                assert_eq!(begin.strip_suffix(" begin"), end.strip_suffix(" end"));
                sentence.to_owned()
            }
            _ => panic!("{text}"),
        }
    }

    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the server ends", PATIENCE, || {
            status = self.server.try_wait().expect("its status");
            status.is_some()
        });
        status.and_then(|it| it.code())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail where it has ended, as it should have.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn tool(client: &mut Client, name: &str) -> Value {
    let tools = client.ask("tools/list", json!({}))["result"]["tools"].clone();
    let mut tools = tools.as_array().expect("tools").clone().into_iter();
    tools.find(|it| it["name"] == name).expect("the tool")
}

/// What is told and what is structured are the same, and as the tool's schema says.
fn checked(client: &mut Client, name: &str, told: &Value) -> Value {
    assert_eq!(told["isError"], false, "{told:#}");
    let answer = told["structuredContent"].clone();
    Form::strict(tool(client, name)["outputSchema"].clone()).assert_holds(&answer);
    let text = told["content"][0]["text"].as_str().expect("text");
    if answer["untrusted"].is_null() {
        assert_eq!(answer["text"], text);
    } else {
        let lines: Vec<&str> = text.lines().collect();
        let [_, begin, json, end] = lines[..] else {
            panic!("{text}");
        };
        assert_eq!(begin.strip_suffix(" begin"), end.strip_suffix(" end"));
        assert_eq!(serde_json::from_str::<Value>(json).expect("JSON"), answer);
    }
    answer
}

#[test]
fn tools_are_few_and_only_read() {
    let mut client = Client::at(&recordings::folder());
    let listed = client.ask("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let names: Vec<&str> = tools.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "diagnose", "audit", "path", "replay", "findings", "explain", "doctor"
        ]
    );
    for tool in tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool:#}");
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{tool:#}");
            Form::strict(tool[schema].clone());
        }
    }
    let size = listed.to_string().len();
    assert!(
        size < 64 << 10,
        "a client reads {size} bytes before its first question"
    );
}

#[test]
fn recordings_are_judged() {
    let mut client = Client::at(&recordings::folder());
    assert!(
        client
            .refused("findings", json!({}))
            .contains("no verdict yet")
    );
    let told = client.call("replay", json!({"recordings": ["firewall-drop.ndr"]}));
    let answer = checked(&mut client, "replay", &told);
    let verdict = &answer["untrusted"];
    schema::check(verdict);
    assert_eq!(verdict["findings"][0]["cause"], "firewall-drop");
    assert_eq!(answer["left_out"], json!({"rows": {}, "characters": 0}));
    // The same as at the command line.
    let file = recordings::file("firewall-drop").display().to_string();
    assert_eq!(*verdict, netdiag(&["replay", &file, "-o", "json"]).json());

    let told = client.call("findings", json!({"cause": "firewall-drop", "limit": 1}));
    let page = checked(&mut client, "findings", &told);
    assert_eq!(page["untrusted"]["findings"][0], verdict["findings"][0]);
    let none = client.call("findings", json!({"cause": "no-route"}));
    assert_eq!(none["structuredContent"]["untrusted"]["of"], 0);

    let nodes = [
        "pod-route-missing.worker-1.ndr",
        "pod-route-missing.worker-2.ndr",
    ];
    let told = client.call("replay", json!({ "recordings": nodes }));
    let answer = checked(&mut client, "replay", &told);
    assert_eq!(
        answer["untrusted"]["nodes"].as_array().map(Vec::len),
        Some(2)
    );
}

#[test]
fn an_answer_has_its_largest_size() {
    let mut client = Client::at(&recordings::folder());
    let mut names = recordings::names();
    names.retain(|name| !name.contains('.'));
    let chosen: Vec<String> = names
        .iter()
        .take(16)
        .map(|name| format!("{name}.ndr"))
        .collect();
    let files = chosen.iter().map(|name| recordings::folder().join(name));
    let mut whole = command(&["replay", "-o", "json"]);
    let whole = run(whole.args(files)).json().to_string();
    assert!(whole.len() > 80 << 10, "{} bytes are few", whole.len());
    let told = client.call("replay", json!({ "recordings": chosen }));
    let answer = checked(&mut client, "replay", &told);
    let size = answer["untrusted"].to_string().len();
    assert!(size <= 64 << 10, "{size}");
    let rows = answer["left_out"]["rows"].as_object().expect("rows");
    assert!(rows.values().any(|it| it.as_u64() > Some(0)), "{rows:?}");
}

#[test]
fn only_recordings_of_the_folder_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).expect("made");
    for file in ["outside.ndr", "inside/healthy.ndr"] {
        std::fs::write(folder.path().join(file), recordings::bytes("healthy")).expect("written");
    }
    symlink("../outside.ndr", inside.join("out.ndr")).expect("made");
    symlink("healthy.ndr", inside.join("same.ndr")).expect("made");
    std::fs::create_dir(inside.join("folder.ndr")).expect("made");
    nix::unistd::mkfifo(&inside.join("fifo.ndr"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let outside = folder.path().join("outside.ndr").display().to_string();
    let mut client = Client::at(&inside);
    for name in ["healthy.ndr", "same.ndr"] {
        let told = client.call("replay", json!({"recordings": [name]}));
        assert_eq!(told["isError"], false, "{told:#}");
    }
    for name in [
        "../outside.ndr",
        "./healthy.ndr",
        &outside,
        "out.ndr",
        "folder.ndr",
        "fifo.ndr",
        "missing.ndr",
        "",
        "..",
        "--anonymise=x",
        "healthy.ndr\u{0}",
    ] {
        let why = client.refused("replay", json!({"recordings": [name]}));
        assert!(why.contains("no recording here"), "{name}: {why}");
    }
    assert!(client.refused("replay", json!({})).contains("healthy.ndr"));
    let mut without = Client::new(command(&["mcp"]));
    let why = without.refused("replay", json!({"recordings": ["healthy.ndr"]}));
    assert!(why.contains("--recordings"), "{why}");
}

#[test]
fn what_is_wrong_is_told_and_the_server_lives_on() {
    let mut client = Client::at(&recordings::folder());
    for (tool, arguments, word) in [
        ("diagnose", json!({"duration_seconds": 61}), "60"),
        (
            "diagnose",
            json!({"duration_seconds": "long"}),
            "invalid type",
        ),
        ("diagnose", json!({"record": "/tmp/x"}), "unknown field"),
        ("diagnose", json!({"filter": "nonsense"}), "nonsense"),
        ("audit", json!({"causes": ["vxlan"]}), "is no cause"),
        ("path", json!({"source": "a"}), "missing field"),
        (
            "path",
            json!({"source": "a\u{202e}", "destination": "b"}),
            "not printed",
        ),
        ("explain", json!({"name": "nonsense"}), "neither a cause"),
        ("explain", json!({"name": "x".repeat(300)}), "256"),
        ("findings", json!({"limit": 99}), "limit"),
    ] {
        let why = client.refused(tool, arguments.clone());
        assert!(why.contains(word), "{tool} {arguments}: {why}");
    }
    let unknown = client.ask("tools/call", json!({"name": "lab", "arguments": {}}));
    assert!(unknown["error"]["code"].is_i64(), "{unknown:#}");
    client.say("no JSON");
    // Longer than any message: dropped, and nothing is answered.
    let long = "x".repeat(1 << 20);
    let long =
        json!({"jsonrpc": "2.0", "id": 9999, "method": "tools/call", "params": {"name": long}});
    client.say(&long.to_string());
    let told = client.call("explain", json!({"name": "firewall-drop"}));
    let answer = checked(&mut client, "explain", &told);
    assert!(
        answer["text"]
            .as_str()
            .expect("text")
            .contains("Look-alikes")
    );
    drop(client.to.take());
    assert_eq!(client.ended(), Some(0));
}

#[test]
fn doctor_and_audit_answer() {
    let mut client = Client::at(&recordings::folder());
    let told = client.call("doctor", json!({}));
    let answer = checked(&mut client, "doctor", &told);
    assert!(
        answer["untrusted"].as_array().map_or(0, Vec::len) > 3,
        "{answer:#}"
    );
    let told = client.call("audit", json!({}));
    let answer = checked(&mut client, "audit", &told);
    schema::check(&answer["untrusted"]);
}

#[test]
fn without_privileges_a_tool_says_so() {
    if require::missing(&["setpriv"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("netdiag");
    std::fs::copy(binary(), &program).expect("copied");
    for path in [folder.path(), &program] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("its own file");
    }
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    unprivileged.arg(&program).arg("mcp");
    let mut client = Client::new(unprivileged);
    let why = client.refused("diagnose", json!({"duration_seconds": 1}));
    assert!(why.contains("root"), "{why}");
    let told = client.call("audit", json!({}));
    assert_eq!(told["isError"], false, "{told:#}");
}

/// What the server has started, by any of its threads (proc_pid_task(5)).
fn children(server: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{server}/task")).expect("it is there");
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let children = thread.expect("a thread").path().join("children");
        std::fs::read_to_string(children).unwrap_or_default()
    };
    let all = threads.map(of).collect::<Vec<_>>().join(" ");
    let pids = all
        .split_whitespace()
        .map(|pid| pid.parse().expect("a pid"));
    pids.collect()
}

fn in_node(netns: &str) -> Client {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", netns]);
    inside.arg(binary()).args(["mcp", "--", "--pods", "none"]);
    Client::new(inside)
}

/// What ends a live call before its time.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Input,
    Interrupt,
    Cancel,
}

fn one_live_call(end: End) {
    if require::missing(&["bpftool", "bridge", "ip", "sysctl", "tc"]) {
        return;
    }
    let node = ShellNode::up(&[]);
    let left = node.netns("left");
    let before = other_tc_user::attached(&left);
    let mut client = in_node(&left);
    let told = client.call("diagnose", json!({"duration_seconds": 1}));
    checked(&mut client, "diagnose", &told);
    assert!(children(client.server.id()).is_empty());

    let asked = json!({"name": "diagnose", "arguments": {"duration_seconds": 60}});
    let id = client.begin("tools/call", asked);
    let mut child = 0;
    wait_until("programs are attached", PATIENCE, || {
        let started = children(client.server.id());
        child = started.first().copied().unwrap_or_default();
        child != 0 && other_tc_user::covers(child, &left, "caliweb")
    });
    let held = other_tc_user::held(child);
    let why = client.refused(
        "path",
        json!({"source": "10.0.0.1", "destination": "10.0.0.2"}),
    );
    assert!(why.contains("one at a time"), "{why}");
    // Long before its 60 s are over.
    let begun = Instant::now();
    match end {
        End::Input => drop(client.to.take()),
        End::Interrupt => {
            let pid = i32::try_from(client.server.id()).expect("a pid");
            kill(Pid::from_raw(pid), Signal::SIGINT).expect("it is there");
        }
        End::Cancel => client.say(
            &json!({
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": { "requestId": id },
            })
            .to_string(),
        ),
    }
    match end {
        End::Cancel => wait_until("the call has ended", PATIENCE, || {
            children(client.server.id()).is_empty()
        }),
        End::Input => assert_eq!(client.ended(), Some(0)),
        End::Interrupt => assert_eq!(client.ended(), Some(130)),
    }
    assert!(begun.elapsed() < Duration::from_secs(40));
    assert_eq!(other_tc_user::attached(&left), before);
    wait_until("its programs are gone", PATIENCE, || held.left().is_empty());
    if end == End::Cancel {
        let told = client.call("diagnose", json!({"duration_seconds": 1}));
        assert_eq!(told["isError"], false, "{told:#}");
    }
}

#[test]
fn the_end_of_input_takes_a_live_call_along() {
    one_live_call(End::Input);
}

#[test]
fn a_signal_takes_a_live_call_along() {
    one_live_call(End::Interrupt);
}

#[test]
fn who_cancels_a_live_call_may_begin_another() {
    one_live_call(End::Cancel);
}

#[test]
fn options_for_each_call_are_checked_at_the_beginning() {
    for (options, word) in [
        (&["--", "--output-file", "/tmp/x"][..], "writes a file"),
        (&["--", "--record", "/tmp/x"], "--record"),
        (&["--", "--nonsense"], "nonsense"),
        (&["--recordings", "/nonexistent"], "/nonexistent"),
    ] {
        let ended = netdiag(&[&["mcp"], options].concat());
        assert!(matches!(ended.code, Some(2 | 3)), "{ended:?}");
        assert!(sentence(&ended).contains(word), "{ended:?}");
    }
}
