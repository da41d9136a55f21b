//! Set-up, build, run, test and VMs: everything that plain `cargo` cannot do here.
mod build;
mod check;
mod cli;
mod paths;
mod run;
mod setup;
mod sh;
mod test;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(code) => code,
        Err(error) => {
            sh::say(&format!("error: {error:#}"));
            ExitCode::from(3)
        }
    }
}
