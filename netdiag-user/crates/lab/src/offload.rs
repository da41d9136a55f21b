//! Segmentation offload of every device of a namespace.
//!
//! With it, packets cross a node as superpackets of up to 64 kB; without it every device sees
//! what is on the wire. An MTU fault must be found either way.
use std::fs::{self, File};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use super::netns::Netns;
use super::sys::{Feature, set_feature};

/// Switches TSO, GSO and GRO off on every device of the namespace.
pub fn off(netns: &Netns) -> Result<()> {
    netns.run(|| {
        let socket =
            Socket::new(Domain::IPV4, Type::DGRAM, None).context("cannot open a socket")?;
        let socket = File::from(OwnedFd::from(socket));
        for device in devices()? {
            for feature in [Feature::Tso, Feature::Gso, Feature::Gro] {
                // Not every kind of device has every switch; what it has not, it does not do.
                if let Err(error) = set_feature(&socket, &device, feature, false) {
                    log::debug!("{device}: {feature:?} off: {error}");
                }
            }
        }
        Ok(())
    })
}

/// Names of the calling thread's devices, from the file that shows its own namespace's.
fn devices() -> Result<Vec<String>> {
    const FILE: &str = "/proc/thread-self/net/dev";
    let text = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    Ok(names
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name != "lo")
        .collect())
}
