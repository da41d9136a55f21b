//! Every page of `--help`: options and their words are public.
use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use netdiag::cli::Cli;

use super::snapshots::{self, Kind};

const WIDTH: usize = 100;

/// `netdiag`, `netdiag.lab`, `netdiag.lab.up`, each with its page.
fn pages(command: &mut Command, name: &str, to: &mut Vec<(String, String)>) {
    let command_alone = command.clone();
    let page = command_alone.term_width(WIDTH).render_long_help();
    to.push((name.to_owned(), page.to_string()));
    for below in command.get_subcommands_mut() {
        let name = format!("{name}.{}", below.get_name());
        // clap's own, which repeats the others.
        if !name.ends_with(".help") {
            pages(below, &name, to);
        }
    }
}

#[test]
fn every_page_is_as_before() {
    let mut command = Cli::command();
    command.build();
    let mut all = Vec::new();
    pages(&mut command, "netdiag", &mut all);
    assert!(all.len() > 11, "{all:?}");
    let names: BTreeSet<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let pages = all.iter().map(|(name, page)| {
        let compare = || snapshots::compare(Kind::Help, name, page);
        std::panic::catch_unwind(compare).map_err(|_| name.as_str())
    });
    let others: Vec<&str> = pages.filter_map(Result::err).collect();
    assert!(
        others.is_empty(),
        "pages that say something else: {others:?}"
    );
    snapshots::no_orphans(Kind::Help, &names);
}
