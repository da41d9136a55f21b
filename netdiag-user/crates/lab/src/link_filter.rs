//! Programs of eBPF at a link that drop packets by one port: as a filter of tc's, at tcx, by XDP.
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context as _, Result};
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp};

use super::cgroup::filter::{Filter, Shown};
use super::cluster::Cluster;
use super::nft::End;
use crate::kernel::{
    rtnl::Rtnl,
    tc::{self, Side},
};
use netdiag_sys::bpf::{self, Kind, Way};

/// Where it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A clsact qdisc, with that preference and handle.
    Clsact { preference: u16, handle: u32 },
    /// tcx; before Linux 6.6 a clsact qdisc.
    Tcx,
    /// XDP on packets that the kernel has built already.
    XdpGeneric,
    /// XDP in the driver.
    XdpDriver,
}

/// A program on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFilter {
    pub netns: String,
    pub device: String,
    pub at: At,
    pub name: &'static str,
    /// What is dropped; its `egress` is the link's.
    pub drops: Filter,
}

/// `__sk_buff.data` and `data_end`; TC_ACT_UNSPEC lets others have their say, TC_ACT_SHOT is 2.
const TC: Shown = Shown {
    data: 76,
    end: 80,
    before: 14,
    pass: 0xffff_ffff,
    drop: 2,
};

/// `xdp_md.data` and `data_end`; XDP_PASS and XDP_DROP.
const XDP: Shown = Shown {
    data: 0,
    end: 4,
    before: 14,
    pass: 2,
    drop: 1,
};

/// XDP_FLAGS_SKB_MODE and XDP_FLAGS_DRV_MODE (include/uapi/linux/if_link.h).
const SKB_MODE: u32 = 2;
const DRV_MODE: u32 = 4;

/// Whether a program can be a filter of a link, tried on loopback of this thread's namespace.
pub fn available() -> bool {
    let filter = LinkFilter {
        netns: String::new(),
        device: String::new(),
        at: At::Tcx,
        name: "probe",
        drops: Filter {
            egress: false,
            ipv6: false,
            protocol: libc::IPPROTO_UDP as u8,
            end: End::To,
            port: 1,
        },
    };
    let program = filter.load(Kind::SchedCls, &TC);
    let index = nix::net::if_::if_nametoindex("lo");
    let (Ok(program), Ok(index)) = (program, index) else {
        return false;
    };
    filter.hang(index, &program, (1, 1)).is_ok()
}

impl LinkFilter {
    /// Loads and attaches it; it stays for as long as the link does.
    pub async fn attach(&self, cluster: &Cluster) -> Result<()> {
        let net = cluster.net(&self.netns)?;
        let index = net.index(&self.device).await?;
        match self.at {
            At::Clsact { preference, handle } => {
                let program = self.load(Kind::SchedCls, &TC)?;
                let netns = cluster.netns(&self.netns)?;
                netns.run(|| self.hang(index, &program, (preference, handle)))
            }
            At::Tcx => {
                let program = self.load(Kind::SchedCls, &TC)?;
                let way = match self.side() {
                    Side::Ingress => Way::TcxIngress,
                    Side::Egress => Way::TcxEgress,
                };
                let netns = cluster.netns(&self.netns)?;
                netns.run(|| match bpf::attach_to_link(index, &program, way) {
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                        self.hang(index, &program, (1, 1))
                    }
                    done => done.context("cannot attach the program to the link"),
                })
            }
            At::XdpGeneric => self.xdp(cluster, SKB_MODE).await,
            At::XdpDriver => self.xdp(cluster, DRV_MODE).await,
        }
    }

    /// On a clsact qdisc, made where there is none.
    fn hang(&self, index: u32, program: &OwnedFd, (priority, handle): (u16, u32)) -> Result<()> {
        let filter = tc::Filter {
            side: self.side(),
            priority,
            handle,
        };
        let mut rtnl = Rtnl::new();
        match tc::add_clsact(&mut rtnl, index) {
            Err(failure) if failure.is(&[libc::EEXIST]) => {}
            made => made?,
        }
        tc::add_filter(&mut rtnl, index, filter, program.as_raw_fd(), self.name)?;
        Ok(())
    }

    fn side(&self) -> Side {
        match self.drops.egress {
            true => Side::Egress,
            false => Side::Ingress,
        }
    }

    fn load(&self, kind: Kind, shown: &Shown) -> Result<OwnedFd> {
        let program = self.drops.program(shown);
        let loaded = bpf::load(self.name, &program, kind, Way::Ingress);
        loaded.context("cannot load the link's program")
    }

    async fn xdp(&self, cluster: &Cluster, mode: u32) -> Result<()> {
        let program = self.load(Kind::Xdp, &XDP)?;
        let words = vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(mode)];
        let change = |link: rtnetlink::LinkMessageBuilder<rtnetlink::LinkUnspec>| {
            link.append_extra_attribute(LinkAttribute::Xdp(words))
        };
        cluster.net(&self.netns)?.set(&self.device, change).await
    }
}
