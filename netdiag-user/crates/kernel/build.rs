//! Finds the kernel side's object, which `cargo xtask build` makes with a toolchain of its own.
use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=NETDIAG_BPF_OBJECT");
    let default = || {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
        root.join("../../../target/bpf/netdiag-ebpf")
    };
    let object = env::var_os("NETDIAG_BPF_OBJECT").map_or_else(default, PathBuf::from);
    println!("cargo:rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) => println!("cargo:rustc-env=NETDIAG_BPF_OBJECT={}", path.display()),
        Err(_) => println!(
            "cargo:warning=no eBPF object at {}: run `cargo xtask build` first",
            object.display()
        ),
    }
}
