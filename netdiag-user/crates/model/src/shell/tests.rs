use std::process::Command;

use proptest::prelude::*;

use super::*;

#[test]
fn plain_words_stay_as_they_are() {
    let line = shell!("ip link set dev {} mtu {}", "bond0.100", 1400);
    assert_eq!(line, "ip link set dev bond0.100 mtu 1400");
    assert_eq!(line.argv().len(), 7);
    let line = shell!(
        "tcpdump -nni {v} 'ip[2:2] > {} or ip6[4:2] > {}'",
        "a b",
        1,
        2
    );
    assert_eq!(line, "tcpdump -nni 'a b' 'ip[2:2] > 1 or ip6[4:2] > 2'");
    assert_eq!(line.argv()[3], "ip[2:2] > 1 or ip6[4:2] > 2");
    let line = shell!(
        "kubectl get pods -o jsonpath='{{.items[?(@.uid==\"{}\")]}}'",
        "a-1"
    );
    assert_eq!(line.argv()[4], "jsonpath={.items[?(@.uid==\"a-1\")]}");
}

#[test]
fn a_value_is_one_word() {
    let line = shell!("dig -q {v}", "$(id>/tmp/x).example.com");
    assert_eq!(line, "dig -q '$(id>/tmp/x).example.com'");
    let line = shell!("rm -- {}", "it's; a `trap`");
    assert_eq!(line, r"rm -- 'it'\''s; a `trap`'");
}

#[test]
fn what_cannot_be_said_safely_is_not_said() {
    let refused = [
        shell!("ip link show {}", "-all"),
        shell!("ip link show {}", ""),
        shell!("ip link show {}", "a\u{202e}b"),
        shell!("ip link show {}", "a\nreboot"),
        shell!("tcpdump -nni eth0 'host {}'", "1.2.3.4 or net 0.0.0.0/0"),
        shell!(
            "nft delete rule inet {} {} handle {}",
            "a;flush ruleset",
            "b",
            3
        ),
        shell!("nft delete rule inet {} {} handle {}", "-f", "b", 3),
        shell!("ssh {} ip link set dev {} up", "node", "a;reboot"),
        shell!("grep -F -e {v}", "x".repeat(LONGEST)),
        shell!("ls").with_names(["-R"]),
        shell!("ls").pipe(shell!("grep {}", "-r")),
        shell!("ip link").under(&shell!("nsenter --net={}", "\u{7}")),
    ];
    for line in refused {
        assert!(line.is_refused() && line.argv().is_empty(), "{line:?}");
        assert_eq!(line, "");
    }
    assert_eq!(shell!("grep -e {v} f", "-r"), "grep -e -r f");
}

#[test]
fn several_commands_are_one_line() {
    let list = shell!("nft list ruleset").pipe(shell!("grep -F -e {v}", "10.0.0.1"));
    assert_eq!(list, "nft list ruleset | grep -F -e 10.0.0.1");
    assert_eq!(list.argv()[..2], ["sh", "-c"]);
    let both = shell!("sysctl a").then(list);
    let prefix = shell!("nsenter --net={}", "/run/netns/a b");
    let entered = "nsenter '--net=/run/netns/a b'";
    let expected = format!("{entered} sysctl a; {entered} nft list ruleset | grep -F -e 10.0.0.1");
    assert_eq!(both.under(&prefix), expected.as_str());
    let nested = shell!(
        "nsenter -n -t $( lsns -n | awk '$1=={}{{print $2}}' ) ip link",
        7
    );
    assert_eq!(
        nested,
        "nsenter -n -t $(lsns -n | awk '$1==7{print $2}') ip link"
    );
    let kept = shell!("echo {}=1 > /etc/sysctl.d/90.conf", "net.a");
    assert_eq!(kept, "echo net.a=1 > /etc/sysctl.d/90.conf");
}

/// What a shell makes of it.
fn run(line: &str) -> Vec<String> {
    let script = format!("show() {{ for w do printf '%s\\0' \"$w\"; done; }}\n{line}\n");
    let done = Command::new("sh").arg("-c").arg(script).output();
    let said = String::from_utf8(done.expect("sh").stdout).expect("text");
    said.split_terminator('\0').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_shell_finds_the_words_that_were_meant(one in "\\PC{1,40}", two in "[ -~]{1,40}") {
        let line = shell!("show {} {}", one, two);
        if !line.is_refused() {
            prop_assert_eq!(run(&line.text()), [one, two]);
        }
    }
}
