//! Proof that it can fail: what a walker that had misread the kernel would say of the same packets.
//! Each is a world in which one thing counts for nothing, or for too much, held against what was
//! seen in the real one; or a walk that does so, where no world would show it.
use netdiag_forwarding::Wrong;
use netdiag_model::{
    node::{LOCAL, MAIN},
    world::{
        Known, Stack, World,
        conf::{Conf4, Settings},
        device::{
            Bridge, Device, IpTunnel, Kind as DeviceKind, Mac, MacvlanMode, Port, PortState,
            VlanRange, Vxlan,
        },
        neighbour::{FdbEntry, State},
        route::{Kind, Metrics, Route},
        rule::{Action, Rule},
    },
};

pub struct Mistake {
    pub name: &'static str,
    pub make: Make,
}

pub enum Make {
    World(fn(&mut World)),
    Walk(Wrong),
}

pub const MISTAKES: [Mistake; 54] = [
    mistake("the reverse path by the link alone", |w| {
        settings(w, |s| s.all4.rp_filter = 0);
    }),
    mistake("the reverse path never", |w| {
        settings(w, |s| s.all4.rp_filter = 0);
        confs(w, |c| c.rp_filter = 0);
    }),
    mistake("a loose reverse path as a strict one", |w| {
        settings(w, |s| s.all4.rp_filter = s.all4.rp_filter.min(1));
        confs(w, |c| c.rp_filter = c.rp_filter.min(1));
    }),
    mistake("accept_local ignored", |w| {
        settings(w, |s| s.all4.accept_local = false);
        confs(w, |c| c.accept_local = false);
    }),
    mistake("route_localnet ignored", |w| {
        settings(w, |s| s.all4.route_localnet = false);
        confs(w, |c| c.route_localnet = false);
    }),
    mistake("forwarding of a link ignored", |w| {
        confs(w, |c| c.forwarding = true);
    }),
    mistake("arp_ignore ignored", |w| {
        settings(w, |s| s.all4.arp_ignore = 0);
        confs(w, |c| c.arp_ignore = 0);
    }),
    mistake("proxy_arp ignored", |w| {
        settings(w, |s| s.all4.proxy_arp = false);
        confs(w, |c| c.proxy_arp = false);
    }),
    mistake("proxy_ndp ignored", |w| {
        settings(w, |s| s.all6.proxy_ndp = false);
        devices(w, |device| {
            if let Some(conf) = &mut device.conf6 {
                conf.proxy_ndp = false;
            }
        });
    }),
    mistake("proxied neighbours ignored", |w| {
        stacks(w, |stack| stack.proxied = Known::Is(Vec::new()));
    }),
    mistake("a static neighbour asked for", |w| {
        stacks(w, |stack| {
            if let Known::Is(all) = &mut stack.neighbours {
                all.retain(|n| n.state != State::Permanent);
            }
        });
    }),
    mistake("throw ends", |w| {
        routes(w, |r| {
            if r.kind == Kind::Throw {
                r.kind = Kind::Unreachable;
            }
        });
    }),
    mistake("blackhole told as unreachable", |w| {
        routes(w, |r| {
            if r.kind == Kind::Blackhole {
                r.kind = Kind::Unreachable;
            }
        });
    }),
    mistake("nexthop objects ignored", |w| {
        routes(w, |route| {
            if route.nexthop.is_some() {
                route.hops.clear();
            }
        });
    }),
    mistake("a route's MTU ignored", |w| {
        routes(w, |r| r.metrics = Metrics::default());
    }),
    mistake("a route's class ignored", |w| routes(w, |r| r.tos = 0)),
    mistake("metrics the wrong way round", |w| {
        routes(w, |r| r.priority = u32::MAX - r.priority);
    }),
    mistake("one table for all", |w| {
        routes(w, |r| {
            if r.table < 200 {
                r.table = MAIN;
            }
        });
    }),
    mistake("local asked before main always", |w| {
        settings(w, |s| s.one_trie = false)
    }),
    mistake("suppress_prefixlength ignored", |w| {
        rules(w, |r| r.suppress_prefix_length = None);
    }),
    mistake("goto ignored", |w| {
        rules(w, |r| {
            if let Action::Goto(_) = r.action {
                r.action = Action::Nop;
            }
        });
    }),
    mistake("not ignored", |w| rules(w, |r| r.invert = false)),
    mistake("marks ignored", |w| rules(w, |r| r.mark = None)),
    mistake("users ignored", |w| rules(w, |r| r.uids = None)),
    mistake("ports ignored", |w| rules(w, |r| r.dports = None)),
    mistake("the peer's MTU ignored", peers),
    mistake("local addresses before all rules always", |w| {
        rules(w, |r| {
            if r.action == Action::Table(LOCAL) {
                r.priority = 0;
            }
        });
        stacks(w, |stack| {
            if let Known::Is(rules) = &mut stack.rules {
                rules.sort_by_key(|rule| rule.priority);
            }
        });
    }),
    mistake("IPv6 led on by the device", |w| {
        settings(w, |s| s.all6.forwarding = false);
        devices(w, |device| {
            if let Some(conf) = &mut device.conf6 {
                conf.force_forwarding = conf.forwarding;
            }
        });
    }),
    mistake("onlink ignored", |w| {
        routes(w, |r| r.hops.retain(|hop| !hop.onlink));
    }),
    misread("the outer packet without the mark", Wrong::OuterWithoutMark),
    misread("a mark kept over namespaces", Wrong::MarkKept),
    misread("the reverse path before the route", Wrong::ReversePathFirst),
    misread("errors from whoever was asked", Wrong::ErrorsFromAsked),
    misread("errors with the mark of their cause", Wrong::ErrorsMarked),
    misread(
        "the source chosen anew where it is led on",
        Wrong::SourceChosenAnew,
    ),
    misread("learned sizes when led on", Wrong::LearnedWhenLedOn),
    misread("never cut into fragments", Wrong::NeverCut),
    misread(
        "superpackets whole against the peer's MTU",
        Wrong::SuperpacketWhole,
    ),
    mistake("isolation ignored", |w| ports(w, |p| p.isolated = false)),
    mistake("hairpin ignored", |w| ports(w, |p| p.hairpin = false)),
    mistake("isolation and hairpin swapped", |w| {
        ports(w, |p| std::mem::swap(&mut p.isolated, &mut p.hairpin));
    }),
    mistake("a locked port open", |w| ports(w, |p| p.locked = false)),
    mistake("a port's state ignored", |w| {
        ports(w, |p| p.state = PortState::Forwarding);
    }),
    mistake("flooded to all", |w| {
        ports(w, |p| {
            (p.unicast_flood, p.multicast_flood, p.broadcast_flood) = (true, true, true);
        });
    }),
    mistake("learning ignored", |w| ports(w, |p| p.learning = true)),
    mistake("learning never", |w| ports(w, |p| p.learning = false)),
    mistake("static entries of a bridge ignored", |w| {
        entries(w, |all| all.retain(|entry| !entry.is_static));
    }),
    mistake("entries stick to their ports always", |w| {
        entries(w, |all| {
            all.iter_mut().for_each(|entry| entry.sticky = true)
        });
    }),
    mistake("a tunnel's table ignored", |w| {
        entries(w, |all| {
            all.retain(|entry| entry.master.is_some() || entry.mac == Mac([0; 6]));
        });
    }),
    mistake("a tunnel's fixed entries move", |w| {
        entries(w, |all| {
            let own = all.iter_mut().filter(|entry| entry.master.is_none());
            own.for_each(|entry| entry.is_static = false);
        });
    }),
    mistake("a tunnel that learns of none", |w| {
        tunnels(w, |t| t.learning = false)
    }),
    mistake("a tunnel's network ignored", |w| tunnels(w, |t| t.vni = 7)),
    mistake("a tunnel's hops ignored", |w| {
        tunnels(w, |t| (t.ttl, t.ttl_inherit) = (0, false));
    }),
    mistake("entries never stick", |w| {
        entries(w, |all| {
            all.iter_mut().for_each(|entry| entry.sticky = false)
        });
    }),
];

pub const fn mistake(name: &'static str, make: fn(&mut World)) -> Mistake {
    let make = Make::World(make);
    Mistake { name, make }
}

const fn misread(name: &'static str, wrong: Wrong) -> Mistake {
    let make = Make::Walk(wrong);
    Mistake { name, make }
}

pub fn stacks(world: &mut World, of: impl Fn(&mut Stack)) {
    world.stacks.values_mut().for_each(of);
}

pub fn settings(world: &mut World, of: impl Fn(&mut Settings)) {
    stacks(world, |stack| {
        if let Known::Is(settings) = &mut stack.settings {
            of(settings);
        }
    });
}

pub fn devices(world: &mut World, of: impl Fn(&mut Device)) {
    stacks(world, |stack| {
        if let Known::Is(devices) = &mut stack.devices {
            devices.values_mut().for_each(&of);
        }
    });
}

fn ports(world: &mut World, of: impl Fn(&mut Port)) {
    devices(world, |device| {
        if let Some(port) = &mut device.port {
            of(port);
        }
    });
}

fn tunnels(world: &mut World, of: impl Fn(&mut Vxlan)) {
    devices(world, |device| {
        if let DeviceKind::Vxlan(own) = &mut device.kind {
            of(own);
        }
    });
}

pub fn ip_tunnels(world: &mut World, of: impl Fn(&mut IpTunnel)) {
    devices(world, |device| {
        if let DeviceKind::IpTunnel(own) = &mut device.kind {
            of(own);
        }
    });
}

pub fn macvlans(world: &mut World, of: impl Fn(&mut MacvlanMode)) {
    devices(world, |device| {
        if let DeviceKind::Macvlan(mode) = &mut device.kind {
            of(mode);
        }
    });
}

pub fn bridges(world: &mut World, of: impl Fn(&mut Bridge)) {
    devices(world, |device| {
        if let DeviceKind::Bridge(own) = &mut device.kind {
            of(own);
        }
    });
}

/// Of ports, and of bridges themselves.
pub fn vlans(world: &mut World, of: impl Fn(&mut Vec<VlanRange>)) {
    devices(world, |device| device.vlans.iter_mut().for_each(&of));
}

pub fn entries(world: &mut World, of: impl Fn(&mut Vec<FdbEntry>)) {
    stacks(world, |stack| {
        if let Known::Is(all) = &mut stack.fdb {
            of(all);
        }
    });
}

pub fn confs(world: &mut World, of: impl Fn(&mut Conf4)) {
    devices(world, |device| {
        if let Some(conf) = &mut device.conf4 {
            of(conf);
        }
    });
}

fn routes(world: &mut World, of: impl Fn(&mut Route)) {
    stacks(world, |stack| {
        if let Known::Is(routes) = &mut stack.routes {
            routes.iter_mut().for_each(&of);
        }
    });
}

fn rules(world: &mut World, of: impl Fn(&mut Rule)) {
    stacks(world, |stack| {
        if let Known::Is(rules) = &mut stack.rules {
            rules.iter_mut().for_each(&of);
        }
    });
}

/// Both ends of a pair as large as the larger.
fn peers(world: &mut World) {
    for (own, peer) in world.wires.clone() {
        let larger = world.device(peer).map_or(0, |device| device.mtu);
        let stack = world.stacks.get_mut(&own.netns);
        if let Some(Known::Is(devices)) = stack.map(|stack| &mut stack.devices)
            && let Some(device) = devices.get_mut(&own.index)
        {
            device.mtu = device.mtu.max(larger);
        }
    }
}
