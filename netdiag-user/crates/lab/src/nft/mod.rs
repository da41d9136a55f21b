//! Firewall rules of a lab, over nfnetlink: just what its faults need.
//!
//! Source of the numbers: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h.
mod message;

use std::io;

use anyhow::{Context, Result};
use rtnetlink::sys::{Socket, SocketAddr};

use super::netns::Netns;
use message::Batch;

const NETLINK_NETFILTER: isize = 12;

/// Where a chain's packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `inet filter forward`: what this node passes on.
    Forward,
    /// `netdev ingress` of a device: before anything of this namespace sees the packet.
    Ingress(String),
}

/// What a rule looks at. All tests of a rule must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The packet's EtherType.
    Ethertype(u16),
    /// TCP, UDP, ...
    Transport(u8),
    /// Bytes of the IP header.
    Network { offset: u32, value: Vec<u8> },
    /// Bytes of the IP header of which one bit of the mask at least is set.
    NetworkBits { offset: u32, mask: Vec<u8> },
    /// Bytes of the TCP or UDP header.
    Payload { offset: u32, value: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Drop,
    Accept,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub tests: Vec<Test>,
    pub action: Action,
}

/// A chain with its rules, in a table of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub table: String,
    pub hook: Hook,
    pub rules: Vec<Rule>,
}

/// Which of a packet's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    From,
    To,
}

impl Chain {
    /// One rule, which drops what is forwarded from or to a port of TCP or UDP.
    pub fn dropping(protocol: u8, end: End, port: u16) -> Self {
        let offset = match end {
            End::From => 0,
            End::To => 2,
        };
        let value = port.to_be_bytes().into();
        let tests = vec![Test::Transport(protocol), Test::Payload { offset, value }];
        let action = Action::Drop;
        Self {
            table: "filter".to_owned(),
            hook: Hook::Forward,
            rules: vec![Rule { tests, action }],
        }
    }
}

/// Installs a chain in the namespace; all of it or nothing.
pub fn install(netns: &Netns, chain: &Chain) -> Result<()> {
    netns.run(|| send(chain).with_context(|| format!("cannot install table {}", chain.table)))
}

/// Sends the chain from the calling thread's namespace and waits for the kernel's word on it.
pub fn send(chain: &Chain) -> io::Result<()> {
    deliver(&Batch::of(chain))
}

/// The same with a table whose name is of any bytes: it stands in for the chain's, of that length.
pub fn send_named(chain: &Chain, name: &[u8]) -> io::Result<()> {
    let mut batch = Batch::of(chain);
    let told = chain.table.as_bytes();
    assert_eq!(told.len(), name.len());
    for at in 0..=batch.bytes.len() - name.len() {
        let there = &mut batch.bytes[at..at + name.len()];
        if there == told {
            there.copy_from_slice(name);
        }
    }
    deliver(&batch)
}

fn deliver(batch: &Batch) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&batch.bytes, 0)?;
    let mut open = batch.requests;
    while open > 0 {
        let (answer, _) = socket.recv_from_full()?;
        for errno in message::acknowledgements(&answer) {
            if errno != 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
            open = open.saturating_sub(1);
        }
    }
    Ok(())
}
