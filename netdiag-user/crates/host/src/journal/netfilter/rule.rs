//! What a rule that is told of does.
use crate::{
    gather::netlink::{attribute, attributes},
    model::{
        journal::Translates,
        world::ruleset::{Expression, NatKind},
    },
    stack::ruleset::expression,
};

/// NFTA_EXPR_NAME.
const NAME: u16 = 1;
/// Expressions that may translate: whole tables are written at once, and no other is looked into.
const TRANSLATING: [&[u8]; 4] = [b"nat\0", b"masq\0", b"redir\0", b"target\0"];

/// Whose address it changes; of its expressions the first one that says so.
pub fn translates(expressions: &[u8]) -> Option<Translates> {
    let may = |one: &&[u8]| attribute(one, NAME).is_some_and(|name| TRANSLATING.contains(&name));
    let mut all = attributes(expressions).map(|(_, one)| one).filter(may);
    all.find_map(|one| match expression::one(one) {
        Expression::Nat(nat) => Some(match nat.kind {
            NatKind::Source | NatKind::Masquerade => Translates::Source,
            NatKind::Destination | NatKind::Redirect => Translates::Destination,
        }),
        Expression::Xtables { name, .. } => match &*name {
            "SNAT" | "MASQUERADE" => Some(Translates::Source),
            "DNAT" | "REDIRECT" => Some(Translates::Destination),
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    /// As in a list of them.
    fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
        nla(1, &[nla(NAME, name), nla(2, &data.concat())].concat())
    }

    #[test]
    fn what_translates_says_whose_address() {
        let number = |kind, value: u32| nla(kind, &value.to_be_bytes());
        let counter = || expression(b"counter\0", &[]);
        let masquerade = [counter(), expression(b"masq\0", &[])].concat();
        let to = expression(b"nat\0", &[number(1, 1), number(2, 2)]);
        let xt = expression(
            b"target\0",
            &[nla(1, b"SNAT\0"), number(2, 1), nla(3, &[0; 24])],
        );
        assert_eq!(translates(&masquerade), Some(Translates::Source));
        assert_eq!(translates(&to), Some(Translates::Destination));
        assert_eq!(translates(&xt), Some(Translates::Source));
        assert_eq!(translates(&counter()), None);
        for cut in 0..to.len() {
            translates(&to[..cut]);
        }
    }
}
