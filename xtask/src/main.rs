//! Set-up, build, run, test and VMs.
fn main() {}
