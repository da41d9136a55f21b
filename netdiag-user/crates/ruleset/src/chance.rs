//! Expressions by which the kernel chooses one of several ways (net/netfilter/nft_numgen.c, nft_hash.c, xt_statistic.c): which
//! there are, and how often each is taken.
#[cfg(test)]
mod tests;

use netdiag_model::world::ruleset::{Element, Expression};

use crate::{
    Byte, Packet, Three,
    registers::Registers,
    rule::{Rules, has_effect},
    xt::Info,
};

/// Numbers that are tried, and ways that may come of them.
const MOST_NUMBERS: u32 = 1 << 12;
const MOST_WAYS: usize = 16;
/// All of them, of which a way has a share.
const WHOLE: u64 = 1 << 16;

/// A number that leads there, and how many times of `WHOLE` it does.
pub(crate) type Way = (u32, u32);

/// Where a number leads: whether it holds, what it finds, or wherever nobody looks at it.
#[derive(PartialEq)]
enum Leads {
    Holds(Three),
    To(Result<Option<*const Element>, Three>),
    Itself(u32),
}

impl<'r> Rules<'_, 'r> {
    /// The ways of an expression by which is chosen, with what follows it; nothing of another, and where it does not matter
    /// or nobody can tell.
    pub fn ways(
        &self,
        (expression, rest): (&'r Expression, &'r [Expression]),
        registers: &Registers,
        packet: &mut impl Packet,
    ) -> Option<Vec<Way>> {
        if !expression.chooses() || !rest.iter().any(|one| self.matters(one)) {
            return None;
        }
        match expression {
            Expression::Chooses { to, least, of } if *of <= MOST_NUMBERS => {
                let numbers = (0..*of).map(|number| least.wrapping_add(number));
                let mut ways: Vec<(Leads, u32, u32)> = Vec::new();
                for number in numbers {
                    let mut registers = registers.clone();
                    registers.word(*to, number);
                    let leads = self.leads_to(rest, number, &mut registers, packet);
                    match ways.iter_mut().find(|(known, ..)| *known == leads) {
                        Some((.., times)) => *times += 1,
                        None => ways.push((leads, number, 1)),
                    }
                    if ways.len() > MOST_WAYS {
                        return None;
                    }
                }
                let ways = ways.into_iter();
                Some(
                    ways.map(|(_, number, times)| (number, share(times, *of)))
                        .collect(),
                )
            }
            Expression::Xtables { info, .. } => statistic(Info(info)),
            _ => None,
        }
    }

    /// Whether something behind it does not hold, whichever way is taken, and nothing is done or counted before.
    pub fn ends_anyway(
        &self,
        (expression, rest): (&'r Expression, &'r [Expression]),
        registers: &Registers,
        packet: &mut impl Packet,
    ) -> bool {
        let mut registers = registers.clone();
        if let Expression::Chooses { to, .. } = expression {
            registers.put(*to, &[Byte::UNKNOWN; 4]);
        }
        let asks = |one: &&Expression| {
            let counts = matches!(one, Expression::Counter { .. });
            !(counts || one.chooses() || self.matters(one))
        };
        let mut asked = rest.iter().take_while(asks);
        asked.any(|one| self.holds(one, &mut registers, packet) == Three::No)
    }

    /// It does something, or leads somewhere.
    fn matters(&self, expression: &Expression) -> bool {
        let leads = matches!(expression, Expression::Lookup { to: None, .. });
        has_effect(expression) || leads && self.is_map(expression)
    }

    fn leads_to(
        &self,
        rest: &'r [Expression],
        number: u32,
        registers: &mut Registers,
        packet: &mut impl Packet,
    ) -> Leads {
        for expression in rest {
            match expression {
                Expression::Orders(_)
                | Expression::Masks { .. }
                | Expression::Calculates { .. } => {
                    self.holds(expression, registers, packet);
                }
                Expression::Compare { .. } | Expression::Range { .. } => {
                    return Leads::Holds(self.holds(expression, registers, packet));
                }
                Expression::Lookup { .. } => {
                    let found = self.found(expression, registers);
                    return Leads::To(found.map(|one| one.map(std::ptr::from_ref)));
                }
                _ => break,
            }
        }
        Leads::Itself(number)
    }
}

/// `xt_statistic_info`: by chance, in 31 bits, or every so many packets; 1 where it holds.
fn statistic(info: Info<'_>) -> Option<Vec<Way>> {
    const RANDOM: u16 = 0;
    const NTH: u16 = 1;
    const BITS: u32 = 31;
    let (mode, inverts) = (info.short(0)?, info.short(2)? & 1 != 0);
    let (times, of) = match mode {
        RANDOM => (info.word(4)?.min(1 << BITS), 1 << BITS),
        // As it counts, from nought on.
        NTH => (1, info.word(4)?.checked_add(1)?),
        _ => return None,
    };
    let (holds, not) = match inverts {
        true => (of - times, times),
        false => (times, of - times),
    };
    let both = [(1, holds), (0, not)].into_iter();
    let both = both.filter(|(_, times)| *times > 0);
    Some(
        both.map(|(holds, times)| (holds, share(times, of)))
            .collect(),
    )
}

fn share(times: u32, of: u32) -> u32 {
    let share = u64::from(times) * WHOLE / u64::from(of.max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}
