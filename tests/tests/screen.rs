//! What a person at a terminal gets of a verdict, and what a program does.
use netdiag_tests::{netdiag::netdiag, terminal};

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recordings/");

/// What `netdiag ARGUMENTS` shows of a node that has findings.
fn at_a_terminal(arguments: &str, variables: &str) -> String {
    let ended = terminal::at_a_terminal(arguments, variables);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.text().replace('\r', "")
}

fn recording(name: &str) -> String {
    format!("{RECORDINGS}{name}.ndr")
}

#[test]
fn a_terminal_gets_one_screen_and_a_pipe_all_of_it() {
    let file = recording("vxlan-mtu-too-large");
    let screen = at_a_terminal(&format!("replay {file}"), "LANG=C.UTF-8 NO_COLOR=1");
    assert!(screen.lines().count() <= 23, "{screen}");
    for part in [
        "flannel.168 ─ bond0 ─",
        "1500>1450",
        "─╳",
        "    $ ip link set dev ",
    ] {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    assert!(
        !screen.contains('\x1b') && !screen.contains("Evidence"),
        "{screen}"
    );
    let whole = netdiag(&["replay", &file]).text();
    assert!(
        whole.contains("Evidence") && !whole.contains('╳'),
        "{whole}"
    );
    let wide = at_a_terminal(&format!("replay -o wide {file}"), "LANG=C.UTF-8 NO_COLOR=1");
    assert!(wide.contains("Evidence"), "{wide}");
}

#[test]
fn colours_are_for_those_who_want_them_and_ascii_for_those_who_have_no_more() {
    let file = recording("sidecar-without-dns");
    let coloured = at_a_terminal(&format!("replay {file}"), "LANG=C.UTF-8 TERM=xterm");
    assert!(coloured.contains("\x1b["), "{coloured}");
    let plain = at_a_terminal(&format!("replay {file}"), "LANG=C NO_COLOR=1");
    assert!(plain.is_ascii(), "{plain}");
    let tree = plain
        .lines()
        .any(|it| it.starts_with("     `- sidecar-blocked"));
    assert!(tree && plain.contains("-X "), "{plain}");
}
