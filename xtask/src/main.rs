//! Set-up, build, run, test, VMs and benchmarks: everything that plain `cargo` cannot do here.
mod bench;
mod build;
mod by_hand;
mod check;
mod cli;
mod count;
mod dist;
mod fuzz;
mod r#gen;
mod jobs;
mod lab_commands;
mod markdown;
mod oracle;
mod pairs;
mod paths;
mod pictures;
mod po;
mod programs;
mod reasons;
mod record;
mod remap;
mod run;
mod setup;
mod sh;
mod test;
mod verdict;
mod vm;
mod walked;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(code) => code,
        Err(error) => {
            // What to do about it comes first, and how it came about below.
            sh::say(&format!("error: {error}"));
            for cause in error.chain().skip(1) {
                sh::say(&format!("  because {cause}"));
            }
            ExitCode::from(3)
        }
    }
}
