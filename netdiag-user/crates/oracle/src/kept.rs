//! Worlds that once went otherwise than computed, with the packet that showed it: as they were printed, and
//! kept for ever.
use std::{net::IpAddr, str::FromStr};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command::{Command, Line},
    iptables,
    traffic::{Shot, Wire},
    wireguards,
};

pub struct Kept {
    pub name: &'static str,
    text: &'static str,
}

macro_rules! kept {
    ($($name:literal),* $(,)?) => {
        [$(Kept {
            name: $name,
            text: include_str!(concat!("../worlds/", $name, ".txt")),
        }),*]
    };
}

pub const KEPT: [Kept; 86] = kept![
    "a-bridge-cuts-a-tunnels-superpackets",
    "a-bridge-makes-a-tunnels-sum",
    "a-bridge-that-takes-all-forgets-connections",
    "a-bridged-packet-keeps-whom-it-was-for",
    "a-bridges-hooks-tell-by-no-device",
    "a-copy-teaches-whom-another-waits-for",
    "a-flow-label-chooses-anew",
    "a-host-keeps-off-who-does-not-answer",
    "a-list-of-who-came-tracks-nothing",
    "a-local-route-is-no-address-to-answer-for",
    "a-loop-is-refused-by-its-own-address",
    "a-macvlan-on-a-bridge-hears-all",
    "a-policy-takes-neighbours-questions",
    "a-port-that-the-kernel-chooses",
    "a-question-by-whom-is-given-up-is-lost",
    "a-second-copy-is-of-the-same-connection",
    "a-size-is-noted-in-the-tunnels-table",
    "a-size-is-noted-without-ports",
    "a-tag-of-the-other-kind-is-among-a-bridges-bytes",
    "a-tunnel-by-a-prefix-of-loopbacks",
    "a-tunnel-by-loopback",
    "a-tunnel-to-itself",
    "a-tunnels-fragments-had-cut-it",
    "an-answer-that-is-led-away-teaches-nothing",
    "an-error-about-what-a-prefix-makes-its-own",
    "an-error-about-what-loopback-had",
    "an-error-about-what-was-led-elsewhere",
    "an-error-by-the-way-that-a-bridge-chose",
    "an-error-led-back-to-loopbacks-address",
    "an-error-teaches-whom-a-question-waits-for",
    "an-ipvlan-tells-of-no-way",
    "an-ipvlan-tells-of-no-way-anew",
    "an-object-of-no-use-ends-its-network",
    "an-object-that-leads-nowhere",
    "an-own-address-after-its-route",
    "an-own-address-by-another-device",
    "answers-of-a-fixed-entry-elsewhere",
    "beyond-the-scope-of-its-source",
    "both-in-another-network-of-the-device",
    "copies-of-which-some-may-not-arrive",
    "each-flow-of-a-tunnel-is-a-connection",
    "errors-about-errors",
    "errors-by-the-failing-neighbour",
    "errors-for-what-a-local-route-takes",
    "errors-of-a-tunnel-that-bypasses",
    "fragments-of-what-is-not-tracked",
    "groups-meet-no-refusing-route",
    "its-own-question-comes-back",
    "its-own-question-teaches-it-where-it-is",
    "link-local-by-its-own-device",
    "loopback-out-of-a-tunnel",
    "loopbacks-address-by-a-device",
    "no-error-about-a-frame-for-others",
    "no-error-to-another-links-address",
    "no-forwarding-through-a-tunnel-to-itself",
    "no-ports-of-fragments-on-the-way-back",
    "no-size-is-learned-where-a-rule-refuses",
    "no-tunnel-at-the-other-end",
    "nothing-is-told-where-no-way-leads-back",
    "one-next-hop-alone-takes-loopbacks-source",
    "one-next-hop-in-circles",
    "one-way-back-of-several",
    "questions-revive-failed-neighbours",
    "redirected-within-the-scope-that-was-asked-for",
    "rejected-with-the-way-that-it-was-sent-by",
    "rules-before-the-own-addresses",
    "somebody-asks-already",
    "the-default-routes-of-two-classes",
    "the-last-of-two-answers-is-kept",
    "the-last-part-in-a-tunnel-is-refused",
    "the-limits-on-errors-look-for-a-way",
    "the-own-address-as-gateway",
    "too-big-before-nowhere",
    "too-big-for-loopback-before-nowhere",
    "too-large-for-a-tunnel-a-second-time",
    "two-answer-for-one-address",
    "what-is-led-anew-has-no-ports",
    "what-is-of-a-link-is-led-anew-by-its-device",
    "what-is-rejected-is-told-by-its-routes-device",
    "what-leads-nowhere-has-no-size",
    "what-no-socket-took-is-of-no-connection",
    "what-the-kernel-chooses-anew-is-another",
    "what-waits-leaves-with-the-first-answer",
    "what-waits-together-goes-together",
    "whatever-leads-to-loopback-answers-itself",
    "who-answers-for-others-needs-an-address",
];

impl Kept {
    pub fn read(&self) -> Result<(Shot, Vec<Command>)> {
        let mut lines = self.text.lines();
        let first = lines.next().context("an empty world")?;
        let shot = shot(first).with_context(|| format!("{first:?} is no packet"))?;
        let commands: Result<_> = lines.map(command).collect();
        Ok((shot, commands?))
    }
}

/// As [`Command`] is shown.
pub fn command(line: &str) -> Result<Command> {
    let line = line.trim();
    let parts = |prefix: &str| -> Option<(usize, &str)> {
        let (space, words) = line.strip_prefix(prefix)?.split_once(' ')?;
        Some((space.parse().ok()?, words))
    };
    if let Some((space, words)) = parts("ip -n s") {
        return Ok(Command::ip(space, words));
    }
    if let Some((space, words)) = parts("bridge -n s") {
        return Ok(Command::bridge(space, words));
    }
    if let Some((space, words)) = parts("ip -6 -n s") {
        let line = Line::Ip6(words.to_owned());
        return Ok(Command { space, line });
    }
    if line.starts_with("echo ") {
        return wireguards::parse(line);
    }
    if let Some((space, words)) = parts("ip netns exec s") {
        if let Some(line) = words
            .strip_prefix("nft '")
            .and_then(|it| it.strip_suffix('\''))
        {
            return Ok(Command::nft(space, line));
        }
        if let Some(words) = words.strip_prefix("ipset ") {
            let line = Line::Ipset(words.to_owned());
            return Ok(Command { space, line });
        }
        if let Some(words) = words.strip_prefix("ipvsadm ") {
            let line = Line::Ipvs(words.to_owned());
            return Ok(Command { space, line });
        }
        for (legacy, ipv6) in [(false, false), (false, true), (true, false), (true, true)] {
            let rest = words.strip_prefix(&iptables::program(legacy, ipv6));
            let rest = rest.and_then(|rest| rest.strip_prefix(" -t "));
            if let Some((table, words)) = rest.and_then(|rest| rest.split_once(' ')) {
                let (table, words) = (table.to_owned(), words.to_owned());
                let line = Line::Iptables {
                    legacy,
                    ipv6,
                    table,
                    words,
                };
                return Ok(Command { space, line });
            }
        }
        let setting = words.strip_prefix("sysctl -qw net/");
        let (name, value) = setting
            .and_then(|it| it.split_once('='))
            .context("no sysctl")?;
        return Ok(Command::sysctl(space, name, value));
    }
    bail!("{line:?} is no line of a world")
}

/// As [`Shot`] is shown.
fn shot(line: &str) -> Result<Shot> {
    let mut words = line.split_whitespace();
    let space = number(after(&mut words, "from")?.trim_start_matches('s'))?;
    let source = words.next().and_then(|word| word.rsplit_once(':'));
    let (source, sport) = source.context("no source")?;
    let destination = after(&mut words, "to")?.rsplit_once(':');
    let (destination, dport) = destination.context("no destination")?;
    let mut shot = Shot {
        space,
        source: match source {
            "any" => None,
            address => Some(address.parse::<IpAddr>()?),
        },
        destination: destination.parse()?,
        sport: number(sport)?,
        dport: number(dport)?,
        mark: hex(after(&mut words, "mark")?)?,
        tos: u8::try_from(hex(after(&mut words, "tos")?)?)?,
        ttl: number(after(&mut words, "ttl")?)?,
        size: number(after(&mut words, "size")?)?,
        count: 1,
        cut: false,
        bound: None,
        wire: None,
        talks: false,
    };
    let rest: Vec<&str> = words.collect();
    let rest = match rest.as_slice() {
        ["×", count, rest @ ..] => {
            shot.count = number(count)?;
            rest
        }
        rest => rest,
    };
    let rest = match rest {
        ["cut", rest @ ..] => {
            shot.cut = true;
            rest
        }
        rest => rest,
    };
    let device = |name: &str| number(name.trim_start_matches('e'));
    let rest = match rest {
        ["bound", "to", name, rest @ ..] => {
            shot.bound = Some(device(name)?);
            rest
        }
        rest => rest,
    };
    let rest = match rest {
        ["answered", rest @ ..] => {
            shot.talks = true;
            rest
        }
        rest => rest,
    };
    match rest {
        [] => {}
        ["as", "a", "frame", "out", "of", name, macs @ ..] => {
            let named = |word: &str| -> Result<_> {
                let at = macs.iter().position(|it| *it == word);
                let mac = at.and_then(|at| macs.get(at + 1));
                let parsed = mac.map(|mac| mac.parse().map_err(anyhow::Error::msg));
                parsed.transpose()
            };
            let (from, to) = (named("from")?, named("to")?);
            let by = device(name)?;
            shot.wire = Some(Wire { by, from, to });
        }
        other => bail!("what is {other:?}?"),
    }
    Ok(shot)
}

fn after<'a>(words: &mut impl Iterator<Item = &'a str>, wanted: &str) -> Result<&'a str> {
    let word = words.next().context("it ends too soon")?;
    ensure!(word == wanted, "{word} in place of {wanted}");
    words.next().context("it ends too soon")
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    let parsed = text.parse().ok();
    parsed.with_context(|| format!("{text} is no number"))
}

fn hex(text: &str) -> Result<u32> {
    let digits = text.strip_prefix("0x").context("no hexadecimal number")?;
    Ok(u32::from_str_radix(digits, 16)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_was_printed() {
        for kept in &KEPT {
            let (shot, commands) = kept.read().expect(kept.name);
            let commands = commands.iter().map(|command| format!("  {command}\n"));
            let text = format!("{shot}\n{}", commands.collect::<String>());
            assert_eq!(text, kept.text, "{}", kept.name);
        }
    }

    #[test]
    fn a_frame_with_its_addresses_is_read() {
        let line = "from s1 10.0.0.1:5 to 10.0.0.2:9998 mark 0x0 tos 0x10 ttl 3 size 80 as a frame out of \
                    e2 from 02:00:00:00:01:02 to 02:00:00:00:02:99";
        assert_eq!(shot(line).expect("a packet").to_string(), line);
    }
}
