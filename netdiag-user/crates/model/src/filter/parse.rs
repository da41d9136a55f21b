//! pcap-filter(7), as far as a flow can tell: `and` and `or` bind alike, from the left; a value
//! without qualifiers takes those of the one before (`host a or b`).
use super::{
    expression::{Expression, Side},
    values,
    words::{Word, words},
};

type Result<T> = std::result::Result<T, String>;

pub const KNOWN: &str = "known are: [src|dst] host ADDRESS, [src|dst] net PREFIX, [src|dst] port \
                         PORT, [src|dst] portrange A-B, tcp, udp, sctp, icmp, icmp6, ip, ip6, \
                         proto NUMBER, and, or, not, ( )";

/// Levels of parentheses and nots; people need three.
const DEEPEST: usize = 32;

/// pcap's words that say nothing about a flow.
const OTHERS: [&str; 19] = [
    "ether",
    "gateway",
    "broadcast",
    "multicast",
    "less",
    "greater",
    "len",
    "inbound",
    "outbound",
    "ifname",
    "on",
    "link",
    "mpls",
    "pppoes",
    "geneve",
    "llc",
    "wlan",
    "protochain",
    "iso",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
}

/// What stands before a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Qualifiers {
    pub side: Option<Side>,
    pub kind: Option<Kind>,
}

/// The expression with the protocol that its qualifiers name, if any.
struct Head {
    protocol: Option<Expression>,
    qualifiers: Qualifiers,
}

pub fn expression(text: &str) -> Result<Expression> {
    let words = words(text);
    let mut parser = Parser {
        words: &words,
        depth: 0,
        last: None,
    };
    let expression = parser.expression()?;
    match parser.words.first() {
        None => Ok(expression),
        Some(word) => Err(format!("{} closes nothing", named(word))),
    }
}

pub fn named(word: &Word<'_>) -> String {
    format!("'{}' at character {}", word.text, word.at)
}

struct Parser<'a> {
    words: &'a [Word<'a>],
    depth: usize,
    /// What a value takes that has no qualifiers of its own.
    last: Option<(Option<Expression>, Qualifiers)>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.first().map(|w| w.text)
    }

    fn next(&mut self, wanted: &str) -> Result<Word<'a>> {
        let (first, rest) = self
            .words
            .split_first()
            .ok_or_else(|| format!("it ends where {wanted} should be"))?;
        self.words = rest;
        Ok(*first)
    }

    fn takes(&mut self, any: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| any.contains(&word));
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn expression(&mut self) -> Result<Expression> {
        let mut left = self.term()?;
        loop {
            if self.takes(&["and", "&&"]) {
                left = left.and(self.term()?);
            } else if self.takes(&["or", "||"]) {
                left = left.or(self.term()?);
            } else {
                match self.words.first() {
                    None => return Ok(left),
                    Some(word) if word.text == ")" => return Ok(left),
                    Some(word) => {
                        return Err(format!("{} follows without 'and' or 'or'", named(word)));
                    }
                }
            }
        }
    }

    fn term(&mut self) -> Result<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!(
                "more than {DEEPEST} parentheses and nots in one another"
            ));
        }
        let term = self.term_within();
        self.depth -= 1;
        term
    }

    fn term_within(&mut self) -> Result<Expression> {
        if self.takes(&["not", "!"]) {
            return Ok(self.term()?.not());
        }
        if self.takes(&["("]) {
            return self.group();
        }
        if let Some(head) = self.head()? {
            return self.after(head);
        }
        let word = self
            .next("a term")
            .map_err(|why| format!("{why}; {KNOWN}"))?;
        let known = self.last.clone();
        let (protocol, qualifiers) = known.unwrap_or_default();
        let value = self.value(&qualifiers, word)?;
        Ok(with(protocol, value))
    }

    /// What follows an opening parenthesis, up to the closing one.
    fn group(&mut self) -> Result<Expression> {
        let inside = self.expression()?;
        let wanted = "a closing parenthesis";
        self.next(wanted).map(|_| inside)
    }

    /// Qualifiers, nothing where there are none.
    fn head(&mut self) -> Result<Option<Head>> {
        let before = self.words.len();
        let protocol = self.protocol();
        let side = self.side();
        let kind = self.kind();
        let qualifiers = Qualifiers { side, kind };
        if self.words.len() < before {
            return Ok(Some(Head {
                protocol,
                qualifiers,
            }));
        }
        match self.words.first() {
            Some(word) => foreign(word).map(|()| None),
            None => Ok(None),
        }
    }

    fn protocol(&mut self) -> Option<Expression> {
        let protocol = values::protocol_word(self.peek()?)?;
        self.words = &self.words[1..];
        Some(protocol)
    }

    fn side(&mut self) -> Option<Side> {
        let (one, other) = match self.peek()? {
            "src" => (Side::Source, "dst"),
            "dst" => (Side::Destination, "src"),
            _ => return None,
        };
        self.words = &self.words[1..];
        let joined = self.words.get(1).is_some_and(|w| w.text == other);
        let both = match self.peek() {
            Some("or" | "||") if joined => Side::Either,
            Some("and" | "&&") if joined => Side::Both,
            _ => return Some(one),
        };
        self.words = &self.words[2..];
        Some(both)
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.peek()? {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::PortRange,
            "proto" => Kind::Protocol,
            _ => return None,
        };
        self.words = &self.words[1..];
        Some(kind)
    }

    /// The value or the values of qualifiers; a protocol can stand alone.
    fn after(&mut self, head: Head) -> Result<Expression> {
        let Head {
            protocol,
            qualifiers,
        } = head;
        if qualifiers.side.is_none() && qualifiers.kind.is_none() {
            let follows = self.words.first().filter(|w| values::is_value(w.text));
            if let Some(word) = follows {
                return Err(values::bare(word));
            }
            self.last = None;
            return protocol.ok_or_else(|| KNOWN.to_owned());
        }
        self.last = Some((protocol.clone(), qualifiers));
        if self.takes(&["("]) {
            return self.group();
        }
        let word = self.next(values::wanted(qualifiers.kind))?;
        let value = self.value(&qualifiers, word)?;
        Ok(with(protocol, value))
    }

    fn value(&mut self, qualifiers: &Qualifiers, word: Word<'a>) -> Result<Expression> {
        let side = qualifiers.side.unwrap_or(Side::Either);
        match qualifiers.kind {
            None | Some(Kind::Host) => values::host(side, &word, qualifiers.kind.is_some()),
            Some(Kind::Net) => {
                let mask = if self.takes(&["mask"]) {
                    Some(self.next("a netmask")?)
                } else {
                    None
                };
                values::net(side, &word, mask.as_ref())
            }
            Some(Kind::Port) => values::port(side, &word),
            Some(Kind::PortRange) => values::port_range(side, &word),
            Some(Kind::Protocol) => values::protocol(qualifiers.side, &word),
        }
    }
}

fn with(protocol: Option<Expression>, value: Expression) -> Expression {
    match protocol {
        Some(protocol) => protocol.and(value),
        None => value,
    }
}

/// Refuses what tcpdump knows and a flow does not.
fn foreign(word: &Word<'_>) -> Result<()> {
    let named = named(word);
    match word.text {
        "arp" | "rarp" => Err(format!(
            "{named}: ARP belongs to no flow; what it tells is watched with any filter"
        )),
        "vlan" => Err(format!(
            "{named}: flows are counted without their VLAN tag; --iface takes the VLAN's device"
        )),
        text if text.contains('[') => Err(format!(
            "{named}: bytes of a packet cannot be tested; {KNOWN}"
        )),
        text if OTHERS.contains(&text) => {
            Err(format!("{named} is pcap's, but not known here; {KNOWN}"))
        }
        _ => Ok(()),
    }
}
