//! What a walker would say that had misread how rules are run.
use std::sync::Arc;

use netdiag_forwarding::Wrong;
use netdiag_model::{
    netfilter::Family,
    world::{
        Known, World,
        ruleset::{
            BaseChain, Bytes, ChainKind, Data, Expression, Meta, NatKind, Reg, Rule, Ruleset,
            Store, Verdict,
        },
    },
};
use netdiag_ruleset::Wrong as WrongRules;

use crate::mistakes::{Make, Mistake, bridges, mistake, settings};

/// Those that no world without rules shows.
pub const MISTAKES: &[Mistake] = &[
    walked("accept ends the hook", Wrong::AcceptEndsTheHook),
    walked("goto that returns", Wrong::Rules(WrongRules::GotoReturns)),
    walked(
        "an interval's end included",
        Wrong::Rules(WrongRules::EndsIncluded),
    ),
    walked(
        "a concatenation without padding",
        Wrong::Rules(WrongRules::Unpadded),
    ),
    walked("a map's default lost", Wrong::Rules(WrongRules::NoDefaults)),
    walked("tracked over a pair of devices", Wrong::TrackedOverLinks),
    walked("answers of a connection as new", Wrong::AnswersAreNew),
    walked("new without tracking", Wrong::UntrackedIsNew),
    walked("errors of no connection", Wrong::ErrorsUnrelated),
    walked(
        "neighbours' questions past the rules",
        Wrong::QuestionsUnasked,
    ),
    walked("NAT for later packets", Wrong::EachPacketAsked),
    walked("a NAT port as asked though taken", Wrong::TakenPorts),
    walked("answers not translated back", Wrong::AnswersUntranslated),
    walked("errors not translated back", Wrong::ErrorsUntranslated),
    walked(
        "sent elsewhere by the old way",
        Wrong::TranslatedNotRerouted,
    ),
    walked("ct reply as ct original", Wrong::AnswersAsAsked),
    walked("raw before defrag", Wrong::GatheredLate),
    walked("the first of several ways always", Wrong::FirstOfSeveral),
    walked("prerouting twice behind a bridge", Wrong::PreroutingTwice),
    walked("DNAT on a bridge not routed again", Wrong::BridgedNotRouted),
    mistake("a bridge's packets past the hooks", |w| {
        settings(w, |s| {
            (s.bridge_calls_iptables, s.bridge_calls_ip6tables) = (false, false);
        });
    }),
    mistake("a bridge's own wish for hooks ignored", |w| {
        bridges(w, |b| {
            (b.nf_call_iptables, b.nf_call_ip6tables) = (false, false)
        });
    }),
    mistake("marks of connections ignored", |w| {
        rules(w, |rule| {
            rule.expressions
                .retain(|one| !matches!(one, Expression::Store(Store::Ct(_), _)));
        });
    }),
    mistake("no translation of ports", |w| {
        expressions(w, |one| {
            if let Expression::Nat(nat) = one {
                nat.ports = None;
            }
        });
    }),
    mistake("masquerade as nothing", |w| {
        rules(w, |rule| {
            let kind = |one: &Expression| matches!(one, Expression::Nat(nat) if nat.kind == NatKind::Masquerade);
            rule.expressions.retain(|one| !kind(one));
        });
    }),
    mistake("what chains of routes mark not routed anew", |w| {
        chains(w, |base| {
            if base.kind == ChainKind::Route {
                base.kind = ChainKind::Filter;
            }
        });
    }),
    mistake("matches of iptables ignored", |w| {
        rules(w, |rule| {
            let is = |one: &Expression| matches!(one, Expression::Xtables { target: false, .. });
            rule.expressions.retain(|one| !is(one));
        });
    }),
    mistake("targets of iptables ignored", |w| {
        rules(w, |rule| {
            let is = |one: &Expression| matches!(one, Expression::Xtables { target: true, .. });
            rule.expressions.retain(|one| !is(one));
        });
    }),
    mistake("notrack ignored", |w| {
        rules(w, |rule| {
            rule.expressions.retain(|one| *one != Expression::NoTrack);
        });
    }),
    mistake("policies ignored", |w| {
        chains(w, |base| base.accepts = true);
    }),
    mistake("priorities of chains ignored", |w| {
        chains(w, |base| base.priority = 0);
    }),
    mistake("of one priority the first made is the first", |w| {
        rulesets(w, |ruleset| {
            ruleset.tables.reverse();
            let all = ruleset.tables.iter_mut();
            all.for_each(|table| table.chains.reverse());
        });
    }),
    mistake("inet's rules for one family alone", |w| {
        rulesets(w, |ruleset| {
            for table in &mut ruleset.tables {
                if table.family == Family::Inet {
                    table.family = Family::Ip6;
                }
            }
        });
    }),
    mistake("a dormant table asked", |w| {
        rulesets(w, |ruleset| {
            let all = ruleset.tables.iter_mut();
            all.for_each(|table| table.dormant = false);
        });
    }),
    mistake("marks that rules set ignored", |w| {
        rules(w, |rule| {
            rule.expressions
                .retain(|one| !matches!(one, Expression::Store(Store::Meta(Meta::Mark), _)));
        });
    }),
    mistake("masks ignored", |w| {
        expressions(w, |one| {
            if let Expression::Masks { mask, .. } = one {
                *mask = Bytes::from(vec![0xff; mask.len()]);
            }
        });
    }),
    mistake("not in a set as in it", |w| {
        expressions(w, |one| {
            if let Expression::Lookup { invert, .. } = one {
                *invert = false;
            }
        });
    }),
    mistake("a jump that does not come back", |w| {
        expressions(w, |one| {
            if let Expression::Sets(Data::Verdict(verdict), _) = one
                && let Verdict::Jump(to) = verdict
            {
                *verdict = Verdict::Goto(std::mem::take(to));
            }
        });
    }),
    mistake("tables of iptables' own as none", |w| {
        rulesets(w, |ruleset| ruleset.tables.retain(|table| !table.legacy));
    }),
    mistake("sets of ipset as empty", |w| {
        rulesets(w, |ruleset| {
            ruleset
                .ipsets
                .iter_mut()
                .for_each(|set| set.entries.clear());
        });
    }),
    mistake("what nobody can tell as never", |w| {
        expressions(w, |one| {
            if perhaps(one) {
                *one = Expression::Sets(Data::Verdict(Verdict::Break), Reg(0));
            }
        });
    }),
    mistake("what is rejected as dropped", |w| {
        expressions(w, |one| {
            if matches!(one, Expression::Reject(_)) {
                *one = Expression::Sets(Data::Verdict(Verdict::Drop), Reg(0));
            }
        });
    }),
];

/// A match of whose word nobody knows.
fn perhaps(expression: &Expression) -> bool {
    match expression {
        Expression::Opaque(name) => ["limit", "quota", "connlimit"].contains(&name.as_str()),
        Expression::Xtables { target, name, .. } => {
            !target && ["limit", "hashlimit", "recent"].contains(&name.as_str())
        }
        _ => false,
    }
}

const fn walked(name: &'static str, wrong: Wrong) -> Mistake {
    let make = Make::Walk(wrong);
    Mistake { name, make }
}

fn rulesets(world: &mut World, of: impl Fn(&mut Ruleset)) {
    for stack in world.stacks.values_mut() {
        if let Known::Is(ruleset) = &mut stack.ruleset {
            of(Arc::make_mut(ruleset));
        }
    }
}

fn chains(world: &mut World, of: impl Fn(&mut BaseChain)) {
    rulesets(world, |ruleset| {
        let all = ruleset
            .tables
            .iter_mut()
            .flat_map(|table| &mut table.chains);
        all.filter_map(|chain| chain.base.as_mut()).for_each(&of);
    });
}

fn rules(world: &mut World, of: impl Fn(&mut Rule)) {
    rulesets(world, |ruleset| {
        let all = ruleset
            .tables
            .iter_mut()
            .flat_map(|table| &mut table.chains);
        all.flat_map(|chain| &mut chain.rules).for_each(&of);
    });
}

fn expressions(world: &mut World, of: impl Fn(&mut Expression)) {
    rules(world, |rule| rule.expressions.iter_mut().for_each(&of));
}
