//! Forms in which somebody may look for an address or a name.
use std::net::IpAddr;

use serde_json::Value;

/// What a recording says: its lines, the names in its tables, and its packets.
pub struct Said {
    lines: String,
    lower: String,
    packets: Vec<String>,
}

pub fn said(lines: &str) -> Said {
    let mut said = Said {
        lines: lines.to_owned(),
        lower: String::new(),
        packets: Vec::new(),
    };
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let tick = &line["tick"];
        // A name of DNS and of a task is eight bytes a number.
        for (table, columns) in [("dns", 4..12), ("oom_kills", 0..16)] {
            let rows = ["new", "rows"].map(|of| tick["tables"][table][of].as_array().cloned());
            for row in rows.into_iter().flatten().flatten() {
                let Some(row) = row.as_array() else { continue };
                let words = columns.clone().filter_map(|at| row.get(at)?.as_u64());
                let bytes: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
                said.lines += &format!("{}\n", String::from_utf8_lossy(&bytes));
            }
        }
        let samples = tick["samples"].as_array().into_iter().flatten();
        let packets = samples.filter_map(|it| it["packet"].as_str().map(str::to_owned));
        said.packets.extend(packets);
    }
    said.lower = said.lines.to_lowercase();
    said
}

impl Said {
    /// As it stands, not within a longer word or number.
    fn alone(&self, form: &str) -> bool {
        super::has(&self.lower, &form.to_lowercase())
    }

    fn anywhere(&self, form: &str) -> bool {
        self.lower.contains(&form.to_lowercase())
    }

    /// Among the bytes of a packet.
    fn sent(&self, bytes: &[u8]) -> bool {
        let form = hex(bytes);
        let at = |packet: &String| packet.match_indices(&form).any(|(at, _)| at % 2 == 0);
        self.packets.iter().any(at)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The characters of it that stay the same whatever stands before and behind (RFC 4648 4).
fn base64(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1))
        .collect();
    let skip = (6 - before * 8 % 6) % 6;
    let whole = bits[skip..].chunks_exact(6);
    let digit = |six: &[bool]| six.iter().fold(0, |all, bit| all << 1 | usize::from(*bit));
    whole.map(|six| char::from(DIGITS[digit(six)])).collect()
}

pub fn words_left<'a>(said: &Said, words: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut left = Vec::new();
    for word in words {
        let reversed: String = word.chars().rev().collect();
        let packed = (0..3).map(|before| base64(word.as_bytes(), before));
        let packed = packed.filter(|it| it.len() > 4);
        let in_packed = packed.filter(|it| said.lines.contains(it));
        let forms = [word.clone(), reversed];
        let plain = forms.into_iter().filter(|it| match it.len() {
            ..8 if !it.starts_with("acme") && !it.ends_with("emca") => said.alone(it),
            _ => said.anywhere(it),
        });
        let bytes = [word.as_bytes().to_vec(), word.bytes().rev().collect()];
        let in_hex = bytes
            .into_iter()
            .filter(|it| it.len() > 3 && said.anywhere(&hex(it)));
        left.extend(plain.chain(in_packed).chain(in_hex.map(|it| hex(&it))));
    }
    left
}

pub fn addresses_left<'a>(said: &Said, addresses: impl Iterator<Item = &'a IpAddr>) -> Vec<String> {
    let mut left = Vec::new();
    for address in addresses {
        let (forms, bytes) = match address {
            IpAddr::V4(v4) => (forms_v4(v4.octets()), v4.octets().to_vec()),
            IpAddr::V6(v6) => (forms_v6(v6.octets()), v6.octets().to_vec()),
        };
        left.extend(forms.into_iter().filter(|it| said.alone(it)));
        let back: Vec<u8> = bytes.iter().rev().copied().collect();
        let sent = [bytes, back].into_iter().filter(|it| said.sent(it));
        left.extend(sent.map(|it| format!("{address} as {}", hex(&it))));
    }
    left
}

fn forms_v4(octets: [u8; 4]) -> Vec<String> {
    let [a, b, c, d] = octets;
    let (big, little) = (u32::from_be_bytes(octets), u32::from_le_bytes(octets));
    let mapped = 0xffff << 32 | u64::from(big);
    let mut forms = vec![
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("{a},{b},{c},{d}"),
        format!("{d},{c},{b},{a}"),
        format!("{d}.{c}.{b}.{a}.in-addr"),
        big.to_string(),
        little.to_string(),
        mapped.to_string(),
        mapped.swap_bytes().to_string(),
        format!("{big:08x}"),
        format!("{little:08x}"),
        format!("0x{big:08x}"),
        format!("0x{little:08x}"),
    ];
    let joined =
        [".", "-", "_", ":"].map(|between| [a, b, c, d].map(|n| n.to_string()).join(between));
    // Behind any letter.
    forms.extend(joined.iter().map(|it| format!("v{it}")));
    forms.extend(joined);
    forms
}

fn forms_v6(octets: [u8; 16]) -> Vec<String> {
    let v6 = std::net::Ipv6Addr::from(octets);
    let all = hex(&octets);
    let nibbles: Vec<String> = all.chars().rev().map(String::from).collect();
    let groups: Vec<String> = v6.segments().iter().map(|it| format!("{it:04x}")).collect();
    let (halves, _) = octets.as_chunks::<8>();
    // A short interface id is everybody's, and so is the network of all links.
    let halves = halves.iter().map(|it| u64::from_be_bytes(*it));
    let telling = halves.filter(|it| *it > 0xffff && *it != 0xfe80 << 48);
    let numbers = telling.flat_map(|it| [it, it.swap_bytes()]);
    let mut forms = vec![
        v6.to_string(),
        v6.to_string().replace(':', "-"),
        nibbles.join("."),
        groups.join(":"),
        groups.join("-"),
        all,
        u128::from(v6).to_string(),
        u128::from(v6).swap_bytes().to_string(),
    ];
    forms.extend(numbers.map(|it| it.to_string()));
    forms
}

pub fn macs_left<'a>(said: &Said, macs: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut left = Vec::new();
    for mac in macs {
        let bytes: Vec<u8> = serde_json::from_str(mac).expect("bytes");
        let all = hex(&bytes);
        let pairs: Vec<&str> = (0..6).map(|n| &all[n * 2..n * 2 + 2]).collect();
        let number = bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
        let mut forms = vec![
            mac.clone(),
            format!("{}.{}.{}", &all[..4], &all[4..8], &all[8..]),
            number.to_string(),
            number.swap_bytes().to_string(),
            (number.swap_bytes() >> 16).to_string(),
            all.clone(),
        ];
        forms.extend([":", "-", "_", "."].map(|between| pairs.join(between)));
        // What an interface id is made of (RFC 4291 appendix A).
        let id = [
            bytes[0] ^ 2,
            bytes[1],
            bytes[2],
            0xff,
            0xfe,
            bytes[3],
            bytes[4],
            bytes[5],
        ];
        forms.push(u64::from_be_bytes(id).to_string());
        left.extend(forms.into_iter().filter(|it| said.alone(it)));
        if said.sent(&bytes) {
            left.push(format!("{all} in a packet"));
        }
    }
    left
}

#[test]
fn base64_is_found_wherever_it_begins() {
    // "acme" alone, behind one byte, and behind two.
    assert_eq!(base64(b"acme", 0), "YWNtZ");
    assert!("eGFjbWU=".contains(&base64(b"acme", 1)));
    assert!("eHhhY21l".contains(&base64(b"acme", 2)));
}
