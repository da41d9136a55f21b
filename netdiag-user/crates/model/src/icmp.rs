//! ICMP and ICMPv6 errors by name (RFC 792, RFC 1191, RFC 1812, RFC 4443).

use netdiag_lang::t;

/// What an error says, for IP version 4 or 6.
pub fn name(family: u8, kind: u8, code: u8) -> String {
    let known = match (family, kind, code) {
        (4, 3, 0) => t!("network unreachable"),
        (4, 3, 1) => t!("host unreachable"),
        (4, 3, 2) => t!("protocol unreachable"),
        (4, 3, 3) => t!("port unreachable"),
        (4, 3, 4) => t!("fragmentation needed"),
        (4, 3, 9 | 10 | 13) | (6, 1, 1) => t!("administratively prohibited"),
        (4, 11, 0) | (6, 3, 0) => t!("time to live exceeded"),
        (4, 11, 1) | (6, 3, 1) => t!("reassembly time exceeded"),
        (6, 1, 0) => t!("no route"),
        (6, 1, 3) => t!("address unreachable"),
        (6, 1, 4) => t!("port unreachable"),
        (6, 1, 5) => t!("source address failed the policy"),
        (6, 1, 6) => t!("route rejects"),
        (6, 2, 0) => t!("packet too big"),
        _ => return t!("ICMP type {kind} code {code}"),
    };
    known.to_owned()
}

/// Whether it only tells the sender to send smaller packets.
pub fn too_big(family: u8, kind: u8, code: u8) -> bool {
    matches!((family, kind, code), (4, 3, 4) | (6, 2, 0))
}

/// Whether nobody on the last link answered for the address (RFC 1812, 4.3.2.7; RFC 4443, 3.1).
pub fn is_host_unreachable(family: u8, kind: u8, code: u8) -> bool {
    matches!((family, kind, code), (4, 3, 1) | (6, 1, 3))
}

/// Whether it was to be handed on no more often: who looks for a way sends it so.
pub fn expired(family: u8, kind: u8, code: u8) -> bool {
    matches!((family, kind, code), (4, 11, 0) | (6, 3, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_other_things_in_the_other_version() {
        assert_eq!(name(4, 3, 3), "port unreachable");
        assert_eq!(name(6, 3, 0), "time to live exceeded");
        assert_eq!(name(4, 200, 7), "ICMP type 200 code 7");
        assert!(too_big(4, 3, 4) && too_big(6, 2, 0) && !too_big(4, 2, 0));
        assert!(expired(4, 11, 0) && expired(6, 3, 0) && !expired(4, 3, 0));
    }
}
