//! The running kernel's types (BTF), for our own walker and for aya's.
use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use aya::Btf as AyaBtf;

use super::btf::Btf;
use crate::sys::file;

/// Most bytes of a kernel's types: distributions' have some six million.
const LARGEST_BTF: usize = 64 << 20;

/// Each of the two takes tens of milliseconds to read them, and aya's is needed later.
pub struct KernelTypes {
    pub ours: Btf,
    ayas: Ayas,
}

enum Ayas {
    Coming(JoinHandle<Result<AyaBtf>>),
    Here(Box<AyaBtf>),
}

impl Ayas {
    /// On a thread of its own, where there is memory for one.
    fn parse(bytes: &Arc<Vec<u8>>) -> Result<Self> {
        let shared = bytes.clone();
        let beside = thread::Builder::new().spawn(move || parse(&shared));
        match beside {
            Ok(thread) => Ok(Self::Coming(thread)),
            Err(_) => Ok(Self::Here(Box::new(parse(bytes)?))),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<AyaBtf> {
    AyaBtf::parse(bytes, aya::Endianness::default()).context("parsing the kernel's BTF")
}

impl KernelTypes {
    pub fn read(root: &Path) -> Result<Self> {
        let bytes = Arc::new(bytes(root)?);
        let ayas = Ayas::parse(&bytes)?;
        Ok(Self {
            ours: walker(bytes)?,
            ayas,
        })
    }

    /// Waits for aya.
    pub fn ayas(self) -> Result<AyaBtf> {
        match self.ayas {
            Ayas::Here(parsed) => Ok(*parsed),
            Ayas::Coming(thread) => {
                let parsed = thread.join();
                parsed.map_err(|_| anyhow!("parsing the kernel's BTF failed"))?
            }
        }
    }
}

/// For our walker alone.
pub fn types(root: &Path) -> Result<Btf> {
    walker(Arc::new(bytes(root)?))
}

fn walker(bytes: Arc<Vec<u8>>) -> Result<Btf> {
    Btf::parse(bytes).context("reading the kernel's BTF")
}

fn bytes(root: &Path) -> Result<Vec<u8>> {
    let path = root.join("sys/kernel/btf/vmlinux");
    file::read(&path, LARGEST_BTF).with_context(|| {
        format!(
            "this kernel has no BTF at {} (CONFIG_DEBUG_INFO_BTF)",
            path.display()
        )
    })
}
