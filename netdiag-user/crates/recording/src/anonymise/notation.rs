//! Addresses as people and programs write them: with dots, dashes or underscores, with leading zeros,
//! with their length, in the forms of several vendors.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::Addresses;
use crate::model::address::Prefix;

/// The longest text of an address (INET6_ADDRSTRLEN).
const LONGEST: usize = 45;

/// An address or a prefix at the beginning of a text, mapped, and how long it was. `before` is what
/// stands before it.
pub fn address(before: Option<char>, text: &str, addresses: &Addresses) -> Option<(String, usize)> {
    let first = text.chars().next()?;
    let inside = before.is_some_and(char::is_alphanumeric);
    // `v10.1.2.3`: a number that begins behind a letter.
    let is_number = first.is_ascii_digit() && !before.is_some_and(|c| c.is_ascii_digit());
    if is_number && let Some(found) = v4(text, addresses) {
        return Some(found);
    }
    let begins = first.is_ascii_hexdigit() || first == ':';
    let joined = before.is_some_and(|c| c.is_ascii_hexdigit());
    if !begins || inside && (joined || first == ':') {
        return None;
    }
    mac(text, addresses).or_else(|| v6(text, addresses))
}

/// Four numbers, with the same between them: `10.1.2.3`, `010.001.002.003`, `10-1-2-3`, `10_1_2_3`.
fn v4(text: &str, addresses: &Addresses) -> Option<(String, usize)> {
    let (mut octets, mut groups) = ([0; 4], [""; 4]);
    let (mut at, mut between) = (0, None);
    for (n, octet) in octets.iter_mut().enumerate() {
        if n > 0 {
            let next = text[at..].chars().next().filter(|c| ".-_".contains(*c))?;
            if *between.get_or_insert(next) != next {
                return None;
            }
            at += 1;
        }
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit());
        groups[n] = &rest[..end.unwrap_or(rest.len())];
        *octet = groups[n].parse().ok().filter(|_| groups[n].len() < 4)?;
        at += groups[n].len();
    }
    let between = between?;
    if goes_on(&text[at..], between) {
        return None;
    }
    let old = Ipv4Addr::from(octets);
    if between == '.'
        && let Some(found) = prefix(text, at, old.into(), addresses)
    {
        return Some(found);
    }
    let IpAddr::V4(new) = addresses.address(old.into()) else {
        return None;
    };
    let is_padded = groups.iter().any(|it| it.len() > 1 && it.starts_with('0'));
    let one = |n: &u8| match is_padded {
        true => format!("{n:03}"),
        false => n.to_string(),
    };
    let new: Vec<String> = new.octets().iter().map(one).collect();
    Some((new.join(&between.to_string()), at))
}

/// Whether these four are part of something longer. A zone's name has them in the other order, and
/// is no address to be mapped as one (RFC 1035 3.5, RFC 3596 2.5).
fn goes_on(rest: &str, between: char) -> bool {
    let Some(rest) = rest.strip_prefix(between) else {
        return false;
    };
    let group = rest.split(|c: char| !c.is_alphanumeric()).next();
    let group = group.unwrap_or_default();
    let is_octet = group.len() < 4 && group.bytes().all(|b| b.is_ascii_digit());
    let is_zone = group == "ip6" || rest.to_ascii_lowercase().starts_with("in-addr");
    !group.is_empty() && (is_octet || group.len() == 1) || is_zone
}

/// The address with the length that follows it.
fn prefix(
    text: &str,
    end: usize,
    address: IpAddr,
    addresses: &Addresses,
) -> Option<(String, usize)> {
    let digits = text[end..].strip_prefix('/')?;
    let count = digits.find(|c: char| !c.is_ascii_digit());
    let digits = &digits[..count.unwrap_or(digits.len())];
    let prefix: Prefix = format!("{address}/{digits}").parse().ok()?;
    Some((addresses.prefix(prefix).to_string(), end + 1 + digits.len()))
}

/// `fd00::5`, `::ffff:10.1.2.3`, `fd00--5` as in names of hosts; each shorter end is tried too,
/// because a port may follow, or a full stop.
fn v6(text: &str, addresses: &Addresses) -> Option<(String, usize)> {
    let of_it = |c: char| c.is_ascii_hexdigit() || ".:-".contains(c);
    let end = text.find(|c| !of_it(c)).unwrap_or(text.len()).min(LONGEST);
    for end in (2..=end).rev().filter(|end| text.is_char_boundary(*end)) {
        if text[end..].starts_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let found = &text[..end];
        if let Ok(old) = found.parse::<Ipv6Addr>() {
            let plain = || Some((addresses.address(old.into()).to_string(), end));
            return prefix(text, end, old.into(), addresses).or_else(plain);
        }
        if !found.contains([':', '.'])
            && let Ok(old) = found.replace('-', ":").parse::<Ipv6Addr>()
        {
            let new = addresses.address(old.into()).to_string();
            return Some((new.replace(':', "-"), end));
        }
    }
    None
}

/// `02:f1:c5:f6:2a:01`, with dashes, and `02f1.c5f6.2a01`.
fn mac(text: &str, addresses: &Addresses) -> Option<(String, usize)> {
    let pairs = [':', '-', '_', '.'].map(|between| (between, 2));
    let mut forms = pairs.into_iter().chain([('.', 4), ('-', 4), (':', 4)]);
    forms.find_map(|(between, digits)| {
        let groups = 12 / digits;
        let length = 12 + groups - 1;
        let found = text.get(..length)?;
        let next = text[length..].chars().next();
        if next.is_some_and(|c| c.is_alphanumeric() || c == between) {
            let more = text[length..].chars().nth(1);
            // A full stop behind it is none of its own.
            if next != Some(between) || more.is_some_and(|c| c.is_ascii_hexdigit()) {
                return None;
            }
        }
        let mut all = found.split(between).map(|group| match group.len() {
            it if it == digits => u64::from_str_radix(group, 16).ok(),
            _ => None,
        });
        let is_hex = found.chars().all(|c| c.is_ascii_hexdigit() || c == between);
        let number = all.try_fold(0, |all, group| Some(all << (4 * digits) | group?))?;
        let [_, _, mac @ ..] = number.to_be_bytes();
        let new = addresses
            .mac(mac)
            .map(|byte| format!("{byte:02x}"))
            .concat();
        let new: Vec<&str> = (0..groups)
            .map(|n| &new[n * digits..(n + 1) * digits])
            .collect();
        is_hex.then(|| (new.join(&between.to_string()), length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(text: &str) -> Option<(String, usize)> {
        address(None, text, &Addresses::default())
    }

    #[test]
    fn an_address_is_found_in_every_form() {
        for (text, length) in [
            ("10.20.30.40", 11),
            ("10.20.30.40:80", 11),
            ("10.20.30.40/24", 14),
            ("10.20.30.40.", 11),
            ("10-20-30-40-eu", 11),
            ("10_20_30_40", 11),
            ("010.020.030.040", 15),
            ("10.20.30.40x", 11),
            ("2001:db8::7", 11),
            ("2001:db8::7/64,", 14),
            ("2001:db8::7.", 11),
            ("2001-db8--7", 11),
            ("2001-db8-0-0-0-0-0-7", 20),
            ("2001:db8::10.20.30.40", 21),
            ("fe80::f1:c5ff:fef6:2a01%eth0", 23),
            ("02:f1:c5:f6:2a:01", 17),
            ("02-F1-C5-F6-2A-01", 17),
            ("02_f1_c5_f6_2a_01", 17),
            ("02.f1.c5.f6.2a.01", 17),
            ("02f1.c5f6.2a01", 14),
            ("02f1.c5f6.2a01.", 14),
            ("02f1-c5f6-2a01", 14),
        ] {
            let (new, found) = mapped(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, length, "{text}: {new}");
            let old = text[..found].to_lowercase();
            assert!(!new.contains(&old[3..old.len() - 3]), "{text}: {new}");
        }
    }

    #[test]
    fn other_words_are_none() {
        for text in [
            "10.20.30",
            "10.20.30.400",
            "10.20-30.40",
            "40.30.20.10.in-addr.arpa",
            "1024-65535",
            "02:f1:c5:f6:2a",
            "02:f1:c5:f6:2a:01:07",
            "10:11:12",
            "cart-psst9cbl8-xlksm",
            "+1:+2:+3:+4:+5:+6",
        ] {
            assert_eq!(mapped(text), None, "{text}");
        }
        let inside = |before, text| address(Some(before), text, &Addresses::default());
        assert!(inside('v', "10.20.30.40").is_some());
        assert_eq!(inside('1', "0.20.30.40"), None);
        assert_eq!(inside('a', "2001:db8::7"), None);
    }
}
