//! Netfilter's hooks (include/linux/netfilter.h, `nf_hook_slow`): each base chain in its turn, as long as the one before
//! accepts.
use netdiag_model::world::{
    Known, Why,
    device::Device,
    ruleset::{BaseChain, ChainKind, Hook, Reject},
};
use netdiag_ruleset::{Said, run};

use super::{
    Next, Walker,
    track::{self, begins_at, ends_at},
};
use crate::{
    hooked::Hooked,
    packet::{Packet, Sender},
    prepared::{Space, Wrong},
    route::decision::{Decision, No},
    way::{Does, Filter, How, Rejected, Station, Step, Subject, Unknown, Walk},
};

/// Where a packet is asked about: the hook, and by which devices it came and goes.
pub(super) type Place<'w> = (Hook, Option<&'w Device>, Option<&'w Device>);

impl<'w> Walker<'w> {
    /// What the chains say: where it ends, or nothing where it goes on, as they have changed it.
    pub(super) fn at_hook(
        &self,
        walk: &mut Walk<'w>,
        space: &'w Space<'w>,
        (hook, input, output): Place<'w>,
        packet: &mut Packet,
    ) -> Result<Option<Next<'w>>, Unknown> {
        let chains = match &space.stack.ruleset {
            // Nobody wanted them to be read.
            Known::Not(Why::NotAsked) => return Ok(None),
            Known::Not(why) | Known::Partly(_, why) => {
                return Err(Unknown::NotRead("netfilter's rules", why.clone()));
            }
            Known::Is(_) => space.chains(hook, packet.is_ipv6()),
        };
        let tracks = space.tracks(packet.is_ipv6());
        if chains.is_empty() && !tracks {
            return Ok(None);
        }
        if packet.is_cut() {
            return Err(Unknown::NotModelled("what a hook sees of that".into()));
        }
        let before = *packet;
        let own = || match hook {
            Hook::Input => Ok(true),
            Hook::Prerouting => is_from_here(space, &before),
            _ => Ok(output.is_some_and(|device| device.flags.loopback)),
        };
        let mut looks = tracks && begins_at(hook);
        for (table, chain, base) in chains {
            if looks && base.priority > track::PRIORITY {
                self.tracks(walk, space, packet);
                looks = false;
            }
            let mut hooked = Hooked {
                packet,
                walks: self.prepared,
                input,
                output,
            };
            let ran = run(table, chain, &mut hooked, self.prepared.wrong_rules());
            let of = |rule| Filter { table, chain, rule };
            let counted = ran
                .counted
                .iter()
                .map(|rule| (space.netns, of(Some(*rule))));
            walk.counted.extend(counted);
            let by = Subject::Filter(of(ran.by));
            let how = match ran.said {
                Said::Accepts if ran.by.is_some() && self.prepared.is(Wrong::AcceptEndsTheHook) => {
                    break;
                }
                Said::Accepts if is_rerouted(base, *packet, before) => {
                    return Err(Unknown::NotModelled("what a chain leads elsewhere".into()));
                }
                Said::Accepts => continue,
                Said::Drops => How::Dropped,
                Said::Rejects(reject) => How::Rejected(rejected(reject, packet.is_ipv6(), own()?)),
                Said::Queues => return Err(Unknown::NotModelled("a queue to a program".into())),
                Said::Nat(_) => return Err(Unknown::NotModelled("translations".into())),
                Said::Maybe => return Err(Unknown::Undecided),
                Said::TooLong => return Err(Unknown::TooLong),
            };
            let no = No {
                station: Station::Hook,
                how,
                by: Some(by),
            };
            let ended = match how {
                How::Rejected(_) => self.refuses(walk, space, no, *packet)?,
                _ => self.refuse(walk, space, no, *packet)?,
            };
            return Ok(Some(ended));
        }
        if looks {
            self.tracks(walk, space, packet);
        }
        if tracks && ends_at(hook) {
            self.confirms(walk, space, packet);
        }
        if packet.mark != before.mark {
            let step = Step {
                netns: space.netns,
                station: Station::Hook,
                by: None,
                does: Does::Passes,
                packet: *packet,
            };
            self.push(walk, step)?;
        }
        Ok(None)
    }
}

/// Whether its way back ends here: where it goes itself is not asked for yet (`nf_reject_fill_skb_dst`).
fn is_from_here(space: &Space<'_>, packet: &Packet) -> Result<bool, Unknown> {
    if packet.is_ipv6() {
        return Ok(false);
    }
    let back = Packet {
        source: packet.any(),
        destination: packet.source,
        protocol: 0,
        sport: 0,
        dport: 0,
        tos: 0,
        mark: 0,
        ..*packet
    };
    let sender = Sender {
        netns: space.netns,
        device: None,
        uid: 0,
        any_source: false,
    };
    let (decision, _) = space.route_out(&back, &sender)?;
    Ok(matches!(decision, Decision::Local(_)))
}

/// What a chain of that kind marks anew at the output is routed once more (`nf_route_table_hook4`).
fn is_rerouted(base: &BaseChain, now: Packet, before: Packet) -> bool {
    let routes = base.kind == ChainKind::Route && base.hook == Hook::Output;
    routes && now.mark != before.mark
}

/// What its sender is told (`nft_reject_icmp_code`, `nft_reject_icmpv6_code`).
fn rejected(reject: Reject, ipv6: bool, own: bool) -> Rejected {
    /// NFT_REJECT_ICMPX_…: no route, the port, the host, prohibited.
    const OF_EITHER: [(u8, u8); 4] = [(0, 0), (3, 4), (1, 3), (13, 1)];
    match reject {
        Reject::Reset => Rejected::Reset,
        Reject::Unreachable(code) => Rejected::Unreachable { code, own },
        Reject::UnreachableOfEither(code) => {
            let codes = OF_EITHER.get(usize::from(code)).copied();
            let (four, six) = codes.unwrap_or((0, 0));
            let code = if ipv6 { six } else { four };
            Rejected::Unreachable { code, own }
        }
    }
}
