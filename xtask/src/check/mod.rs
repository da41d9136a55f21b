//! The fast static part: format, lints, licences, documentation, the repository's own rules.
mod layers;
pub mod links;
mod literal;
pub mod source;
mod tidy;
mod words;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::Result;

use crate::{build, r#gen, paths, pictures, po, setup, sh::say, test::tally::Tally};

pub fn command() -> Result<ExitCode> {
    // The user side embeds it, and does not compile without.
    if !paths::bpf_object().exists() {
        build::kernel_side(&setup::ensure(None)?)?;
    }
    let mut tally = Tally::default();
    all(false, &mut tally);
    Ok(tally.close())
}

/// Every check, each counting as one test; `built` says that there is a netdiag in dev of this very state.
pub fn all(built: bool, tally: &mut Tally) {
    cargo(tally, "fmt", &["fmt", "--all", "--check"]);
    let clippy = [
        "clippy",
        "--workspace",
        "--exclude",
        "netdiag-ebpf",
        "--all-targets",
    ];
    cargo(
        tally,
        "clippy",
        &[&clippy[..], &["--quiet", "--", "-D", "warnings"]].concat(),
    );
    let bare = [
        "clippy",
        "--package",
        "netdiag-user",
        "--no-default-features",
    ];
    cargo(
        tally,
        "clippy without features",
        &[&bare[..], &["--quiet", "--", "-D", "warnings"]].concat(),
    );
    kernel_side_clippy(tally);
    let doc = [
        "doc",
        "--workspace",
        "--exclude",
        "netdiag-ebpf",
        "--no-deps",
        "--quiet",
    ];
    cargo(tally, "doc", &doc);
    dependencies(tally);
    tidy::all(tally);
    match r#gen::check() {
        Ok(()) => tally.pass("generated tables"),
        Err(error) => tally.fail("generated tables", &format!("{error:#}")),
    }
    match po::check() {
        Ok(()) => tally.pass("every sentence in both languages"),
        Err(error) => tally.fail("every sentence in both languages", &format!("{error:#}")),
    }
    pictures::check(built, tally);
}

/// What may enter the dependency tree. Advisories change with the calendar, and this must not.
fn dependencies(tally: &mut Tally) {
    match setup::cargo_tool::DENY.ensure() {
        Ok(program) => {
            let mut deny = Command::new(&program);
            deny.current_dir(paths::root());
            deny.args(["check", "--hide-inclusion-graph"]);
            deny.args(["bans", "licenses", "sources"]);
            watch(tally, "deny", &mut deny);
            advisories(tally, &program);
        }
        Err(error) => tally.skip("deny", &format!("{error:#}")),
    }
}

/// Known weaknesses of dependencies. The list changes with the calendar: what was good yesterday
/// must still build today, so this warns and does not fail.
fn advisories(tally: &mut Tally, program: &Path) {
    const NAME: &str = "advisories";
    say(&format!("check: {NAME}"));
    let mut deny = Command::new(program);
    deny.current_dir(paths::root()).stdin(Stdio::null());
    deny.args(["check", "--hide-inclusion-graph", NAME]);
    let done = match deny.output() {
        Ok(done) => done,
        Err(error) => return tally.skip(NAME, &error.to_string()),
    };
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        return tally.pass(NAME);
    }
    if !said.contains("advisories FAILED") && !said.contains("error[vulnerability]") {
        let why = said.lines().find(|line| line.contains("ERROR"));
        let why = why.or(said.lines().next()).unwrap_or("cargo-deny failed");
        let why: String = why.chars().take(120).collect();
        return tally.skip(NAME, &format!("the database cannot be read: {why}"));
    }
    say(&said);
    say("warning: dependencies have known weaknesses, see above; this does not fail the build");
    tally.pass(NAME);
}

/// The kernel side's lints on the host's target, whose core every toolchain has.
fn kernel_side_clippy(tally: &mut Tally) {
    let mut clippy = build::cargo();
    clippy.args([
        "clippy",
        "--package",
        "netdiag-ebpf",
        "--quiet",
        "--target-dir",
    ]);
    clippy
        .arg(paths::target().join("bpf-clippy"))
        .args(["--", "-D", "warnings"]);
    // A program without std has no unwinding.
    clippy.env("CARGO_PROFILE_DEV_PANIC", "abort");
    // It uses an unstable feature, which a release compiler allows only when told so.
    clippy.env("RUSTC_BOOTSTRAP", "1");
    judge(tally, "clippy netdiag-ebpf", "clippy", &mut clippy);
}

fn cargo(tally: &mut Tally, name: &str, args: &[&str]) {
    let mut command = build::cargo();
    command.args(args).env("RUSTDOCFLAGS", "-D warnings");
    judge(tally, name, args[0], &mut command);
}

fn judge(tally: &mut Tally, name: &str, subcommand: &str, command: &mut Command) {
    if !has(subcommand) {
        return tally.skip(name, &format!("cargo-{subcommand} not installed"));
    }
    watch(tally, name, command);
}

fn watch(tally: &mut Tally, name: &str, command: &mut Command) {
    say(&format!("check: {name}"));
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    match status {
        Ok(status) if status.success() => tally.pass(name),
        Ok(status) => tally.fail(name, &format!("{status}, see above")),
        Err(error) => tally.fail(name, &error.to_string()),
    }
}

/// Whether cargo knows the subcommand; rustup's proxies exist for components that do not.
fn has(subcommand: &str) -> bool {
    let mut probe = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let probe = probe.args([subcommand, "-h"]);
    probe.output().is_ok_and(|it| it.status.success())
}
