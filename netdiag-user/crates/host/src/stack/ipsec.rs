//! IPsec's policies (include/uapi/linux/xfrm.h), where the kernel has been told of any.
use std::{net::IpAddr, ops::ControlFlow, path::Path};

use anyhow::{Context, Result};
use netdiag_lang::mark;

use crate::{
    gather::netlink::{self, DUMP, End, HEADER, u16_at},
    model::{
        address::Prefix,
        world::{
            Known, Why,
            ipsec::{Direction, Ipsec, IpsecPolicy, Ports},
        },
    },
    sys::file,
};

const NETLINK_XFRM: isize = 6;
/// NLM_F_REQUEST.
const REQUEST: u16 = 1;
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRM_MSG_GETDEFAULT: u16 = 0x28;
const XFRM_USERPOLICY_BLOCK: u8 = 1;
/// `struct xfrm_userpolicy_info`: behind the selector its lifetimes, its priority and its index.
const DIRECTION: usize = 56 + 64 + 32 + 4 + 4;
/// `struct xfrm_userpolicy_id`, of which a listing asks nothing.
const ASKED: usize = 64;
/// A line for each socket.
const SOCKETS: usize = 4 << 20;

/// Those of the namespace that this thread is in, up to so many.
pub fn read(root: &Path, most: usize) -> Known<Ipsec> {
    // To ask loads the module, where nobody has done that.
    match is_there(root) {
        Ok(Some(true)) => {}
        Ok(Some(false)) => return Known::Is(Ipsec::default()),
        Ok(None) => return Known::Not(Why::TooMany),
        Err(error) => return Known::Not(Why::Refused(error.to_string())),
    }
    match netlink::twice(|| listed(most)) {
        Ok((all, End::Whole)) => Known::Is(all),
        Ok((all, End::Changed)) => Known::Partly(all, Why::Changing),
        Ok((all, End::Enough)) => Known::Partly(all, Why::TooMany),
        Err(error) => Known::Not(Why::Refused(format!("{error:#}"))),
    }
}

/// Whether the kernel hears such questions: its own socket is listed then, behind whatever sockets the namespace's owner
/// opens; nothing where those are too many.
fn is_there(root: &Path) -> std::io::Result<Option<bool>> {
    let (mut there, mut bytes) = (false, 0);
    let path = root.join("proc/thread-self/net/netlink");
    file::lines(&path, SOCKETS, |line| {
        bytes += line.len();
        let protocol = line.split_whitespace().nth(1);
        there |= protocol.and_then(|it| it.parse().ok()) == Some(NETLINK_XFRM);
    })?;
    Ok((there || bytes < SOCKETS).then_some(there))
}

fn listed(most: usize) -> Result<(Ipsec, End)> {
    let mut all = Ipsec::default();
    let request = request(XFRM_MSG_GETPOLICY, DUMP, ASKED);
    let end = netlink::until(NETLINK_XFRM, &request, |message| {
        if all.policies.len() >= most {
            return ControlFlow::Break(());
        }
        all.policies
            .extend(policy(message.get(HEADER..).unwrap_or_default()));
        ControlFlow::Continue(())
    })
    .context(mark!("listing IPsec's policies"))?;
    all.refuses_rest = refuses_rest();
    Ok((all, end))
}

/// Kernels before Linux 5.14 know no such thing, and refuse nothing.
fn refuses_rest() -> bool {
    let mut refuses = false;
    let request = request(XFRM_MSG_GETDEFAULT, REQUEST, 4);
    let asked = netlink::until(NETLINK_XFRM, &request, |message| {
        let defaults = message.get(HEADER..HEADER + 3).unwrap_or_default();
        refuses = defaults.contains(&XFRM_USERPOLICY_BLOCK);
        ControlFlow::Break(())
    });
    asked.is_ok() && refuses
}

fn request(kind: u16, flags: u16, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.resize(HEADER + length, 0);
    let length = (bytes.len() as u32).to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

/// `struct xfrm_userpolicy_info`, of which the first is `struct xfrm_selector`. Those of sockets alone are none of these.
fn policy(of: &[u8]) -> Option<IpsecPolicy> {
    let direction = match of.get(DIRECTION)? {
        0 => Direction::In,
        1 => Direction::Out,
        2 => Direction::Forward,
        _ => return None,
    };
    let port =
        |at: usize| -> Option<u16> { Some(u16::from_be_bytes([*of.get(at)?, *of.get(at + 1)?])) };
    let ports = |at: usize| -> Option<Ports> {
        Some(Ports {
            value: port(at)?,
            mask: port(at + 2)?,
        })
    };
    let ipv6 = i32::from(u16_at(of, 40)?) == libc::AF_INET6;
    let prefix = |at: usize, length: usize| -> Option<Prefix> {
        let address: IpAddr = netlink::address(of.get(at..at + if ipv6 { 16 } else { 4 })?)?;
        let length = *of.get(length)?;
        Some(Prefix { address, length })
    };
    Some(IpsecPolicy {
        direction,
        from: prefix(16, 43)?,
        to: prefix(0, 42)?,
        protocol: *of.get(44)?,
        sport: ports(36)?,
        dport: ports(32)?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// What a namespace of its own says after these.
    fn told(lines: &'static [&'static str]) -> Known<Ipsec> {
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            for line in lines {
                let words = line.split(' ');
                let done = Command::new("ip")
                    .args(["xfrm", "policy"])
                    .args(words)
                    .status();
                assert!(done.expect("ip").success(), "{line}");
            }
            read(Path::new("/"), 8)
        })
        .join()
        .expect("no panic")
    }

    fn cannot() -> bool {
        let has = Path::new("/proc/net/xfrm_stat").exists();
        if !has {
            netdiag_tests::require::say("policies of IPsec in the kernel");
        }
        !has || netdiag_tests::require::missing(&["ip"])
    }

    #[test]
    fn policies_as_ip_sets_them() {
        if cannot() {
            return;
        }
        assert_eq!(told(&[]), Known::Is(Ipsec::default()));
        let Known::Is(read) = told(&[
            "add src 10.1.0.0/16 dst 10.2.0.7/32 proto udp dport 53 dir fwd action block",
            "add src fd00::/8 dst ::/0 dir out action allow",
        ]) else {
            panic!("not read");
        };
        let prefix = |text: &str| text.parse::<Prefix>().expect("a prefix");
        let four = read
            .policies
            .iter()
            .find(|it| it.from == prefix("10.1.0.0/16"));
        let four = four.expect("the one of IPv4");
        assert_eq!((four.direction, four.protocol), (Direction::Forward, 17));
        assert_eq!(four.to, prefix("10.2.0.7/32"));
        assert_eq!(
            (four.dport.has(53), four.dport.has(54), four.sport.has(7)),
            (true, false, true)
        );
        let six = read
            .policies
            .iter()
            .find(|it| it.from == prefix("fd00::/8"));
        let six = six.expect("the one of IPv6");
        assert_eq!((six.direction, six.to), (Direction::Out, prefix("::/0")));
        assert_eq!(read.policies.len(), 2);
    }

    #[test]
    fn what_no_policy_is_about_may_be_refused() {
        if cannot() {
            return;
        }
        let told = told(&["setdefault in block"]);
        assert!(told.some().is_some_and(|it| it.refuses_rest), "{told:?}");
    }
}
