//! Free texts: sentences, rules, paths, arguments.
//!
//! Nothing stays in them but words of netdiag's and the kernel's own, and numbers that stand alone:
//! what is written with several numbers, hexadecimal groups or single characters in a row is an
//! address, an id, an account or a date, in whatever notation.
use super::{
    tokens::{Token, signs, tokens},
    words::{Words, is_everybodys, is_link, is_number},
};

/// Digits of a number that stays: the shortest one of eight digits is an address of IPv4, the day
/// of a date, or somebody's account.
const DIGITS: usize = 7;
/// Digits of a port.
const PORT: usize = 5;
/// Groups in a row that make an address or an id.
const GROUPS: usize = 3;
/// What rules count: these numbers are as long as they are.
const COUNTED: [&str; 2] = ["packets", "bytes"];

impl Words {
    /// A sentence, a rule, a path, an argument: addresses in it are mapped as they are elsewhere.
    pub fn text(&mut self, text: &str) -> String {
        let all = tokens(text, &self.addresses, |rest| self.known_name(rest));
        let mut out = String::with_capacity(text.len());
        let (mut at, mut before) = (0, "");
        while let Some(token) = all.get(at) {
            at += 1;
            match token {
                Token::Mapped(new) => out.push_str(new),
                Token::Known(name) => out.push_str(&self.name(name)),
                Token::Gap(gap) => out.push_str(&signs(gap)),
                Token::Word(first) => {
                    let mut clump = Clump::of(first);
                    while let [Token::Gap(gap), Token::Word(word), ..] = &all[at..]
                        && joins(gap)
                    {
                        clump.gaps.push(gap);
                        clump.words.push(word);
                        at += 2;
                    }
                    out.push_str(&self.clump(&clump, before));
                    before = clump.words.last().copied().unwrap_or_default();
                }
            }
        }
        out
    }

    fn clump(&mut self, clump: &Clump<'_>, before: &str) -> String {
        let mut out = String::new();
        let mut at = 0;
        while at < clump.words.len() {
            let bare = clump.words[at..].iter().take_while(|it| self.is_bare(it));
            let end = at + bare.count();
            if end - at >= GROUPS || end - at == 2 && clump.is_long(at) {
                out.push_str(&self.word(&clump.whole(at, end)));
                at = end;
            } else {
                let word = clump.words[at];
                let last = if at > 0 { clump.words[at - 1] } else { before };
                out.push_str(&match clump.is_mail() {
                    true => self.of_mail(word),
                    false => self.of_text(word, last),
                });
                at += 1;
            }
            out.push_str(&signs(clump.gaps.get(at - 1).copied().unwrap_or_default()));
        }
        out
    }

    fn of_text(&mut self, word: &str, before: &str) -> String {
        let lower = word.to_lowercase();
        let stays = match is_number(word) {
            true => word.len() <= DIGITS || COUNTED.contains(&before),
            false => word.len() == 1 || is_everybodys(word) || self.is_usual(&lower),
        };
        match stays {
            true => word.to_owned(),
            false => self.word(word),
        }
    }

    /// A part of somebody's address: even netdiag's words are names there.
    fn of_mail(&mut self, word: &str) -> String {
        match is_number(word) && word.len() < PORT || is_link(word) {
            true => word.to_owned(),
            false => self.word(word),
        }
    }

    /// It can be part of an address or an id.
    fn is_bare(&self, word: &str) -> bool {
        let hex = word.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = word.bytes().any(|b| b.is_ascii_digit());
        let usual = || is_everybodys(word) || self.is_usual(&word.to_lowercase());
        word.len() == 1 || hex || digits && !usual()
    }
}

/// Words with nothing between them but signs that join.
struct Clump<'t> {
    words: Vec<&'t str>,
    gaps: Vec<&'t str>,
}

impl<'t> Clump<'t> {
    fn of(word: &'t str) -> Self {
        Self {
            words: vec![word],
            gaps: Vec::new(),
        }
    }

    fn whole(&self, from: usize, to: usize) -> String {
        let mut whole = self.words[from].to_owned();
        for at in from + 1..to {
            whole.push_str(&signs(self.gaps[at - 1]));
            whole.push_str(self.words[at]);
        }
        whole
    }

    fn is_mail(&self) -> bool {
        self.gaps.iter().any(|gap| gap.contains('@'))
    }

    /// `0171-1234567`; a range of ports is shorter, and `262144/262144` counts something.
    fn is_long(&self, at: usize) -> bool {
        let two = [self.words[at], self.words[at + 1]];
        let digits: usize = two.iter().map(|it| it.len()).sum();
        let counts = self.gaps[at].contains(['/', ':']);
        let longer = two.iter().any(|it| it.len() > PORT) && digits > DIGITS;
        longer && !counts && two.iter().all(|it| is_number(it))
    }
}

/// Signs that addresses, ids and names are joined with; lists and sentences are not.
fn joins(gap: &str) -> bool {
    let parts =
        |c: char| c.is_whitespace() || c.is_control() || c == '`' || ",;=\"'(){}<>".contains(c);
    gap.chars().count() < 4 && !gap.contains(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anonymise::address::Addresses;

    fn words() -> Words {
        let names = [
            "bridge-of-mine",
            "web",
            "node-44-55",
            "3f2504e0-4f89-1103-9a0c-0305e82c3301",
        ];
        Words::new(names, Addresses::default())
    }

    #[test]
    fn texts_keep_what_rules_look_for() {
        let mut words = words();
        let mut text = |text: &str| words.text(text);
        for kept in [
            "tcp dport 8081 counter packets 16 bytes 960 drop",
            "counter packets 1234567890 bytes 98765432109 drop",
            "-p tcp --dports 80,443,8080 -j DROP",
            "udp sport 32768-60999 accept",
            "262144/262144 entries",
            "net.ipv4.conf.eth0.rp_filter",
            "/proc/4242/ns/net",
            "ip daddr 127.0.0.1 tcp dport 80-90 reject",
        ] {
            assert_eq!(text(kept), kept);
        }
        let new = text("the bridge at 10.1.2.3:80, [fd00::5]:443 and 10.0.0.0/8 of acme.example.");
        assert!(
            new.starts_with("the ") && new.contains("10.0.0.0/8 of "),
            "{new}"
        );
        for gone in ["bridge", "10.1.2.3", "fd00::5", "acme", "example"] {
            assert!(!new.contains(gone), "{new}");
        }
        assert!(new.contains(":80, [fd") && new.contains("]:443"), "{new}");
        let new = text(
            "/var/lib/cni/networks/cbr0/10.42.39.230 02:f1:c5:f6:2a:01 10.42.39.230-10.42.39.232",
        );
        assert!(!new.contains("42.39") && !new.contains("f1:c5"), "{new}");
        assert!(new.contains(".230-10."), "{new}");
        let new = text("on ip-10-1-2-3 and node-44-55");
        assert!(!new.contains("10-1-2-3") && !new.contains("44-55"), "{new}");
        assert_eq!(
            text("WEB_SERVICE_HOST of 127.0.0.1"),
            text("WEB_SERVICE_HOST of 127.0.0.1")
        );
        assert!(!text("WEB_SERVICE_HOST").contains("WEB"));
    }

    /// Each with what must not be left of it.
    #[test]
    fn nothing_telling_stays_in_odd_notation() {
        let mut words = words();
        for (odd, telling) in [
            ("v10.20.30.40", "20.30"),
            ("10_20_30_40", "20_30"),
            ("010.020.030.040", "020.030"),
            ("x.10.20.30.40", "20.30"),
            ("eth0.10.20.30.40", "20.30"),
            ("1.10.20.30.40", "20.30"),
            ("10.20.30.40.50", "20.30"),
            ("node10-20-30-40", "20-30"),
            ("ip-10-20-30-40.eu-west-1", "20-30"),
            ("ip-10-20-30-40.eu-west-1", "eu-west"),
            ("net 10.20.30", "20.30"),
            ("10.20.30/24", "20.30"),
            ("10:20:30:40", "20:30"),
            ("10[.]20[.]30[.]40", "20[.]30"),
            ("10|20|30|40", "20|30"),
            ("40.30.20.10.in-addr.arpa", "30.20"),
            ("8.8.8.8.in-addr.arpa", "8.8.8.8"),
            ("7.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "8.b.d.0"),
            ("[2001:db8:1::7]:443", "db8"),
            ("fe80::f1:c5ff:fef6:2a01%eth0", "c5ff"),
            ("2001-db8-1--7", "db8"),
            ("::10.20.30.40", "20.30"),
            ("::ffff:10.20.30.40", "20.30"),
            ("02-f1-c5-f6-2a-01", "f1-c5"),
            ("2:f1:c5:f6:2a:1", "f1:c5"),
            ("02f1.c5f6.2a01", "c5f6"),
            ("02f1c5f62a01", "f1c5"),
            ("de-ad-be-ef-ca-fe", "ad-be"),
            ("mac02:f1:c5:f6:2a:01", "f1:c5"),
            ("02:f1:c5:f6:2a:01:44:55", "f1:c5"),
            ("169090600", "169090600"),
            ("16909060", "16909060"),
            ("0x0a141e28", "0a141e28"),
            ("+49-30-1234567", "1234567"),
            ("0171-1234567", "1234567"),
            ("DE89370400440532013000", "8937040044"),
            ("2026-11-20T18:51:21", "11-20"),
            ("root@node.local", "node"),
            ("table@10.bridge.io", "bridge"),
            ("3f2504e0-4f89-1103-9a0c-0305e82c3301", "1103"),
            ("pod3f2504e0_4f89_1103_9a0c_0305e82c3301.slice", "1103"),
            ("a/c/m/e", "a/c/m/e"),
            ("ünïcode", "code"),
            ("🦄", "🦄"),
            ("acme\u{200b}-payroll", "payroll"),
            ("YWNtZS1wYXlyb2xs", "YWNt"),
        ] {
            // By chance a key may draw it again.
            let left = (0..3).all(|_| {
                let new = self::words().text(odd).to_lowercase();
                new.contains(&telling.to_lowercase())
            });
            assert!(!left, "{odd} became {}", words.text(odd));
            assert_eq!(words.text(odd), words.text(odd), "always the same");
        }
        let uid = "3f2504e0-4f89-1103-9a0c-0305e82c3301";
        assert_eq!(words.text(uid), words.name(uid));
    }
}
