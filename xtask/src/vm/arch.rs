//! What differs between the processors that VMs have.
use std::env;

use anyhow::{Context, Result};

use super::accel::Accel;
use crate::dist::target::{self, Target};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

/// What QEMU is told of a machine, and what its kernel is.
pub struct Machine {
    pub qemu: &'static str,
    /// Debian's package of that QEMU.
    pub package: &'static str,
    pub fixed: &'static [&'static str],
    /// Where the frames go, which the init takes for the second port (tests/src/vm_init/main.rs).
    pub port: &'static [&'static str],
    /// For the kernel's console, the first port.
    pub line: &'static str,
}

const X86_64: Machine = Machine {
    qemu: "qemu-system-x86_64",
    package: "qemu-system-x86",
    fixed: &[],
    port: &["-serial", "chardev:frames"],
    // Emulated timers come late on a busy host, which is no reason to look for other ones.
    line: "console=ttyS0 no_timer_check",
};

/// Its board has one port of its own.
const AARCH64: Machine = Machine {
    qemu: "qemu-system-aarch64",
    package: "qemu-system-arm",
    fixed: &["-machine", "virt,gic-version=3"],
    port: &["-device", "pci-serial,chardev=frames"],
    line: "console=ttyAMA0",
};

impl Arch {
    /// This machine's.
    pub fn here() -> Self {
        match env::consts::ARCH {
            "aarch64" => Self::Aarch64,
            _ => Self::X86_64,
        }
    }

    pub fn is_here(self) -> bool {
        self == Self::here()
    }

    /// As Rust and uname(1) say.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// What is shipped for it.
    pub fn target(self) -> Result<&'static Target> {
        let triple = format!("{}-unknown-linux-musl", self.name());
        target::find(Some(&triple)).context("a VM for what is not shipped")
    }

    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    pub fn machine(self) -> &'static Machine {
        match self {
            Self::X86_64 => &X86_64,
            Self::Aarch64 => &AARCH64,
        }
    }

    pub fn cpu(self, accel: Accel) -> &'static str {
        match (accel, self) {
            (Accel::Kvm, _) => "host",
            // QEMU 7.2 forgets the flags where an interrupt follows cmpxchg16b at once, and the
            // kernel, which allocates by it, dies of a double fault.
            (Accel::Tcg, Self::X86_64) => "max,cx16=off",
            // What clouds rent; "max" signs pointers, which is slow to emulate.
            (Accel::Tcg, Self::Aarch64) => "neoverse-n1",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_is_shipped_and_called_the_same() {
        for arch in Arch::value_variants() {
            let target = arch.target().expect("shipped");
            assert_eq!((target.arch, target.debian), (arch.name(), arch.debian()));
            let typed = arch.to_possible_value().expect("can be typed");
            assert_eq!(typed.get_name(), arch.name());
        }
    }
}
