//! netdiag at a terminal, as a person has it.
use std::process::Command;

use crate::{
    netdiag::binary,
    process::{Ended, run},
};

/// `netdiag ARGUMENTS` at a terminal of 80 by 24, with these variables; script(1) has the terminal.
/// Its text has the terminal's line ends.
pub fn at_a_terminal(arguments: &str, variables: &str) -> Ended {
    let netdiag = binary();
    let line = format!(
        "stty cols 80 rows 24; {variables} {} {arguments}",
        netdiag.display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env_remove("NO_COLOR").env_remove("LC_ALL");
    run(&mut script)
}
