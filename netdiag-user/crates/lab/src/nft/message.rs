//! The bytes of an nftables batch.
use super::{Action, Chain, Hook, Rule, Test};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// NFNL_SUBSYS_NFTABLES: the upper half of each message's type.
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = NFTABLES << 8;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const INET: u8 = 1;
const NETDEV: u8 = 5;
const NESTED: u16 = 0x8000;
const CHAIN: &str = "lab";
const REGISTER: u32 = 1;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const META_PROTOCOL: u32 = 1;
const META_L4PROTO: u32 = 16;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// A batch that is ready to be sent, and how many answers it will get.
pub struct Batch {
    pub bytes: Vec<u8>,
    pub requests: usize,
}

impl Batch {
    pub fn of(chain: &Chain) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            requests: 0,
        };
        let family = match chain.hook {
            Hook::Forward => INET,
            Hook::Ingress(_) => NETDEV,
        };
        batch.message(BATCH_BEGIN, 0, 0, NFTABLES, &[]);
        batch.request(NEW_TABLE, family, 0, &text(1, &chain.table));
        batch.request(NEW_CHAIN, family, 0, &new_chain(chain));
        for rule in &chain.rules {
            batch.request(NEW_RULE, family, NLM_F_APPEND, &new_rule(chain, rule));
        }
        batch.message(BATCH_END, 0, 0, NFTABLES, &[]);
        batch
    }

    fn request(&mut self, kind: u16, family: u8, flags: u16, body: &[u8]) {
        self.requests += 1;
        self.message(kind, family, flags | NLM_F_ACK | NLM_F_CREATE, 0, body);
    }

    /// nlmsghdr, nfgenmsg and the attributes.
    fn message(&mut self, kind: u16, family: u8, flags: u16, resource: u16, body: &[u8]) {
        let length = 20 + body.len() as u32;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend((self.requests as u32).to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(body);
    }
}

/// The errno of each acknowledgement in what the kernel answered; 0 means done.
pub fn acknowledgements(mut answer: &[u8]) -> Vec<i32> {
    let mut errors = Vec::new();
    while let Some((header, _)) = answer.split_first_chunk::<16>() {
        let [a, b, c, d, e, f, ..] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        if u16::from_ne_bytes([e, f]) == NLMSG_ERROR
            && let Some(Ok(code)) = answer.get(16..20).map(<[u8; 4]>::try_from)
        {
            errors.push(i32::from_ne_bytes(code).abs());
        }
        answer = answer
            .get(length.next_multiple_of(4).max(16)..)
            .unwrap_or_default();
    }
    errors
}

fn new_chain(chain: &Chain) -> Vec<u8> {
    let (number, priority, device) = match &chain.hook {
        Hook::Forward => (2_u32, 0_i32, None),
        Hook::Ingress(device) => (0, 0, Some(device)),
    };
    let mut hook = [word(1, number), word(2, priority as u32)].concat();
    if let Some(device) = device {
        hook.extend(text(3, device));
    }
    let accept = word(5, 1);
    let parts = [
        text(1, &chain.table),
        text(3, CHAIN),
        nested(4, &hook),
        accept,
        text(7, "filter"),
    ];
    parts.concat()
}

fn new_rule(chain: &Chain, rule: &Rule) -> Vec<u8> {
    let mut expressions: Vec<u8> = rule.tests.iter().flat_map(test).collect();
    // A counter, so that a person sees with nft(8) that the rule was met.
    expressions.extend(expression("counter", &[]));
    let verdict = word(1, u32::from(rule.action == Action::Accept));
    let verdict = [word(1, 0), nested(2, &nested(2, &verdict))].concat();
    expressions.extend(expression("immediate", &verdict));
    [
        text(1, &chain.table),
        text(2, CHAIN),
        nested(4, &expressions),
    ]
    .concat()
}

/// Loads what the test looks at into a register and compares it.
fn test(test: &Test) -> Vec<u8> {
    let (load, operator, value) = match test {
        Test::Ethertype(number) => (meta(META_PROTOCOL), EQUAL, number.to_be_bytes().to_vec()),
        Test::Transport(number) => (meta(META_L4PROTO), EQUAL, vec![*number]),
        Test::Network { offset, value } => (
            payload(BASE_NETWORK, *offset, value.len()),
            EQUAL,
            value.clone(),
        ),
        Test::Payload { offset, value } => (
            payload(BASE_TRANSPORT, *offset, value.len()),
            EQUAL,
            value.clone(),
        ),
        Test::NetworkBits { offset, mask } => {
            let load = [payload(BASE_NETWORK, *offset, mask.len()), and(mask)].concat();
            (load, NOT_EQUAL, vec![0; mask.len()])
        }
    };
    let compare = [
        word(1, REGISTER),
        word(2, operator),
        nested(3, &bytes(1, &value)),
    ]
    .concat();
    [load, expression("cmp", &compare)].concat()
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[word(1, REGISTER), word(2, key)].concat())
}

fn payload(base: u32, offset: u32, length: usize) -> Vec<u8> {
    let parts = [
        word(1, REGISTER),
        word(2, base),
        word(3, offset),
        word(4, length as u32),
    ];
    expression("payload", &parts.concat())
}

fn and(mask: &[u8]) -> Vec<u8> {
    let zeroes = vec![0; mask.len()];
    let parts = [
        word(1, REGISTER),
        word(2, REGISTER),
        word(3, mask.len() as u32),
        nested(4, &bytes(1, mask)),
        nested(5, &bytes(1, &zeroes)),
    ];
    expression("bitwise", &parts.concat())
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)].concat())
}

fn word(kind: u16, value: u32) -> Vec<u8> {
    bytes(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    bytes(kind, &[value.as_bytes(), &[0]].concat())
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    bytes(kind | NESTED, value)
}

fn bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut attribute = Vec::with_capacity(length.next_multiple_of(4));
    attribute.extend((length as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(length.next_multiple_of(4), 0);
    attribute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes() {
        assert_eq!(text(7, "ab"), [7, 0, 7, 0, b'a', b'b', 0, 0]);
    }

    #[test]
    fn every_message_of_a_batch_has_its_length() {
        let rule = Rule {
            tests: vec![Test::Transport(6)],
            action: Action::Drop,
        };
        let hook = Hook::Ingress("p1".to_owned());
        let batch = Batch::of(&Chain {
            table: "t".to_owned(),
            hook,
            rules: vec![rule],
        });
        let (mut rest, mut messages) = (batch.bytes.as_slice(), 0);
        while let Some((length, _)) = rest.split_first_chunk::<4>() {
            rest = &rest[u32::from_ne_bytes(*length) as usize..];
            messages += 1;
        }
        assert_eq!((messages, batch.requests), (5, 3));
    }

    #[test]
    fn an_answer_cut_short_is_no_error() {
        assert!(acknowledgements(&[0; 15]).is_empty());
        assert!(acknowledgements(&[16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
    }
}
