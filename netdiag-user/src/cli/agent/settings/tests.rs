use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::{model::pod::Origin, pods::Source};

fn args(words: &[&str]) -> AgentArgs {
    let words = [&["netdiag", "agent"], words].concat();
    match Cli::parse_from(words).command {
        Command::Agent(args) => args,
        other => panic!("no agent: {other:?}"),
    }
}

fn with_file(text: &str, words: &[&str]) -> Result<(Settings, AgentArgs), String> {
    // A folder of its own: tests run side by side.
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, text).expect("written");
    let name = path.display().to_string();
    let mut args = args(&[&["--config", &name], words].concat());
    let settings = Settings::of(&mut args).map_err(|e| format!("{e:#}"));
    Ok((settings?, args))
}

#[test]
fn options_count_before_the_file() {
    let text =
        "listen = \"0.0.0.0:1\"\nresolve_after = \"30s\"\ncanary = \"0\"\ninterfaces = [\"a*\"]\n";
    let (settings, args) = with_file(text, &["--listen", "[::1]:2"]).expect("read");
    assert_eq!(settings.listen.to_string(), "[::1]:2");
    assert_eq!(settings.resolve_after, Duration::from_secs(30));
    assert_eq!((settings.canary, settings.max_series), (None, SERIES));
    assert_eq!(args.scope.iface, ["a*"]);
}

#[test]
fn a_file_that_others_may_write_says_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, "").expect("written");
    let name = path.display().to_string();
    let settings = || Settings::of(&mut args(&["--config", &name]));
    settings().expect("read");
    let all = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&path, all).expect("set");
    let why = format!("{:#}", settings().expect_err("refused"));
    assert!(
        why.contains("agent.toml can be written by others than its owner"),
        "{why}"
    );
}

#[test]
fn a_file_says_where_pods_and_etcd_are() {
    let text = "pods = \"cni\"\netcd = [\"https://a:2379\"]\netcd_cert = \"c\"\netcd_key = \"k\"\n";
    let (settings, args) = with_file(text, &[]).expect("read");
    let place = &args.scope.place;
    assert_eq!(place.pods, Source::One(Origin::Cni));
    assert_eq!(place.etcd.etcd, ["https://a:2379"]);
    assert_eq!(place.etcd.etcd_key, Some("k".into()));
    let again = settings.print(&args.scope);
    let (_, again) = with_file(&again, &[]).expect("what is printed can be read");
    assert_eq!(again.scope.place.pods, place.pods);
    assert_eq!(again.scope.place.etcd.etcd, place.etcd.etcd);
    let (_, args) = with_file(text, &["--pods", "none", "--etcd", "http://b"]).expect("read");
    assert_eq!(args.scope.place.pods, Source::None);
    assert_eq!(args.scope.place.etcd.etcd, ["http://b"]);
    for text in ["etcd_key = \"k\"\n", "\netcd_cert = \"c\"\n"] {
        let why = with_file(text, &[]).expect_err("half a pair");
        assert!(why.contains("is missing"), "{why}");
    }
}

#[cfg(feature = "k8s")]
#[test]
fn events_are_told_where_the_file_or_an_option_says_so() {
    for (text, words, told) in [
        ("events = true\n", &[][..], true),
        ("events = false\n", &["--events"], true),
        ("events = false\n ", &[], false),
    ] {
        let (settings, _) = with_file(text, words).expect("read");
        assert_eq!(settings.events, told, "{text}");
    }
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_is_an_address() {
    let (settings, _) = with_file("otlp = \"http://a:4317\"\n", &[]).expect("read");
    assert_eq!(
        settings.otlp.map(|it| it.to_string()).as_deref(),
        Some("http://a:4317")
    );
    let (settings, _) =
        with_file("otlp = \"http://a:43170\"\n", &["--otlp", "http://b"]).expect("read");
    assert_eq!(
        settings.otlp.map(|it| it.to_string()).as_deref(),
        Some("http://b")
    );
    let error = with_file("\notlp = \"a:4317\"\n", &[]).expect_err("refused");
    assert!(
        error.contains("line 2: otlp: 'a:4317' is no address"),
        "{error}"
    );
}

#[test]
fn what_is_printed_says_the_same() {
    let text = "max_cpu = \"1.5%\"\ncanary = \"2500ms\"\nmax_series = 7\nnode_name = \"a\\\"b\"\nlevel = \"full\"\n";
    let (settings, args) = with_file(text, &[]).expect("read");
    let printed = settings.print(&args.scope);
    let (again, args) = with_file(&printed, &[]).expect("read again");
    assert_eq!(again, settings);
    assert_eq!(again.print(&args.scope), printed);
    assert_eq!(args.scope.max_cpu, Some(1.5));
    assert_eq!(args.scope.place.node_name.as_deref(), Some("a\"b"));
}

#[test]
fn bad_values_are_told_with_their_line() {
    for (text, told) in [
        (
            "resolve_after = \"3s\"\n",
            "line 1: resolve_after: '3s' is too short",
        ),
        ("\ncanary = \"1s\"\n", "line 2: canary: '1s' is too often"),
        ("max_series = 0\n", "line 1: max_series: '0' is no number"),
        (
            "listen = \"here\"\n",
            "line 1: listen: 'here' is no address",
        ),
    ] {
        let error = with_file(text, &[]).expect_err("refused");
        assert!(error.contains(told), "{error}");
    }
}
