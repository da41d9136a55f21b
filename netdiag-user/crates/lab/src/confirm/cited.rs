//! Whether a command's output shows what a line of evidence says.
use crate::model::verdict::{Evidence, EvidenceKind};

/// Values that a sentence cites beside those of the command itself: what has a digit, a word of the
/// kernel's or of a program's. Where it has none, its words.
fn values(text: &str, command: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "()\"|→".contains(c));
    let edge = |c: char| !c.is_alphanumeric() && c != '/' && c != '-';
    let words = words.map(|word| word.trim_matches(edge));
    let words: Vec<&str> = words
        .filter(|word| !word.is_empty() && !given(command, word))
        .collect();
    let loud = |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase());
    let value = |word: &&str| {
        word.contains(|c: char| c.is_ascii_digit() || c == '_' || c == '/') || loud(word)
    };
    let values: Vec<_> = words.iter().copied().filter(value).collect();
    match values.is_empty() {
        true => words
            .iter()
            .filter(|word| word.len() > 2)
            .map(|word| (*word).to_owned())
            .collect(),
        false => values.into_iter().map(plain).collect(),
    }
}

/// Whether the command has it already; a number in a longer name is none.
fn given(command: &str, word: &str) -> bool {
    match word.chars().all(|c| c.is_ascii_digit()) {
        true => stands(command, word, |c| c.is_alphanumeric() || "-_./".contains(c)),
        false => has(command, word),
    }
}

/// `32Mi` as programs print it.
fn plain(word: &str) -> String {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let sized = units.iter().find_map(|(unit, shift)| {
        let number: u64 = word.strip_suffix(unit)?.parse().ok()?;
        Some((number << shift).to_string())
    });
    sized.unwrap_or_else(|| word.to_owned())
}

/// As a word of its own, not as a part of a longer number or name.
pub fn has(text: &str, word: &str) -> bool {
    let number = word.chars().all(|c| c.is_ascii_digit());
    stands(text, word, |c| match number {
        true => c.is_ascii_digit(),
        false => c.is_alphanumeric() || c == '_',
    })
}

/// With nothing beside it that is a part of such words.
pub fn stands(text: &str, word: &str, part: impl Fn(char) -> bool) -> bool {
    let open = |edge: Option<char>, beside: Option<char>| {
        edge.is_some_and(&part) && beside.is_some_and(&part)
    };
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !open(word.chars().next(), before) && !open(word.chars().next_back(), after)
    })
}

/// Nothing where it does.
pub fn missing(evidence: &Evidence, command: &str, output: &str) -> Option<String> {
    let cited = values(&evidence.text, command);
    // Programs disagree about the case of a link-layer address.
    let small = output.to_lowercase();
    let address = |value: &String| value.contains(':') && has(&small, value);
    let shown =
        |value: &String| has(output, value) || address(value) || moves(evidence, value, output);
    match cited.iter().any(shown) {
        true => None,
        false => Some(format!("prints none of {cited:?}")),
    }
}

/// A counter that moved by so much shows at least that much.
fn moves(evidence: &Evidence, value: &str, output: &str) -> bool {
    let Ok(moved) = value.parse::<u64>() else {
        return false;
    };
    let mut numbers = output.split(|c: char| !c.is_ascii_digit());
    let shows = |number: &str| number.parse().is_ok_and(|number: u64| number >= moved);
    let counts = matches!(evidence.kind, EvidenceKind::Counter | EvidenceKind::Link);
    counts && numbers.any(shows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::Origin;

    fn missing_of(kind: EvidenceKind, text: &str, command: &str, output: &str) -> bool {
        let evidence = Evidence::new(kind, Origin::Observed, text);
        missing(&evidence, command, output).is_some()
    }

    #[test]
    fn a_value_of_the_sentence_stands_in_the_output() {
        let kind = EvidenceKind::Sysctl;
        let sysctl = |output| missing_of(kind, "a.b is 0; 1 is strict", "sysctl a.b", output);
        assert!(!sysctl("a.b = 0"));
        assert!(sysctl("a.b = 10"));
        assert!(sysctl("a.b"));
        let mtu = "eth0 has MTU 1450: 1400 are left";
        assert!(!missing_of(
            kind,
            mtu,
            "ip link show eth0",
            "mtu 1450 qdisc"
        ));
        assert!(missing_of(
            kind,
            mtu,
            "ip link show eth0",
            "eth0: mtu 14500"
        ));
        assert!(!missing_of(
            kind,
            "limit 32Mi, peak 1Mi",
            "cat a",
            "33554432\n"
        ));
        assert!(!missing_of(
            kind,
            "/health says false",
            "curl h:1/health",
            "\"false\""
        ));
        assert!(missing_of(
            kind,
            "/health says false",
            "curl h:1/health",
            "\"true\""
        ));
    }

    #[test]
    fn a_counter_has_moved_on_since() {
        let text = "Tcp.InCsumErrors rose by 17";
        let of = |kind, output| missing_of(kind, text, "nstat TcpInCsumErrors", output);
        assert!(!of(EvidenceKind::Counter, "TcpInCsumErrors 25 0.0"));
        assert!(of(EvidenceKind::Counter, "TcpInCsumErrors 3 0.0"));
        assert!(of(EvidenceKind::Sysctl, "TcpInCsumErrors 25 0.0"));
    }
}
