use std::net::IpAddr;

use super::*;

const ENOUGH: usize = 1000;

fn to(destination: &str, length: u8, ends: (u8, u16)) -> IpsetEntry {
    let address: IpAddr = destination.parse().expect("an address");
    IpsetEntry {
        networks: vec![(address, length)],
        protocol: Some(ends.0),
        port: Some(ends.1),
        nomatch: false,
    }
}

fn set(entries: Vec<IpsetEntry>) -> Ipset {
    Ipset {
        index: 3,
        name: "vips".into(),
        ipv6: Some(true),
        parts: vec![IpsetPart::Address, IpsetPart::Port],
        netmask: None,
        entries,
        partly: false,
    }
}

fn asked(flags: u8, set: &Ipset, packets: Packets) -> Vec<Packets> {
    let info = [3, 0, 2, flags];
    holds((&info, 1), std::slice::from_ref(set), packets, &mut {
        ENOUGH
    })
}

#[test]
fn each_entry_tells_whom_a_rule_is_for() {
    let vips = set(vec![
        to("fd60::200", 128, (TCP, 80)),
        to("fd61::", 64, (UDP, 53)),
    ]);
    let all = asked(0, &vips, Packets::default());
    let told = |one: &Packets| (one.destination(), one.protocol, one.port());
    let own = "fd60::200".parse().ok();
    let expected = [(own, Some(TCP), Some(80)), (None, Some(UDP), Some(53))];
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(
        all.iter()
            .all(|one| one.ipv6 == Some(true) && !one.some_sources)
    );
    let of_tcp = Packets::default().of_protocol(TCP).expect("some");
    assert_eq!(asked(0, &vips, of_tcp).len(), 1);
}

#[test]
fn what_says_nothing_of_destinations_narrows_none() {
    let vips = set(vec![to("fd60::200", 128, (TCP, 80))]);
    assert_eq!(
        asked(1, &vips, Packets::default()),
        [Packets::default()],
        "not in it"
    );
    let sources = asked(2 | 4, &vips, Packets::default());
    assert!(
        sources
            .iter()
            .all(|one| one.some_sources && one.destination().is_none())
    );
    let partly = Ipset {
        partly: true,
        ..vips.clone()
    };
    assert_eq!(asked(0, &partly, Packets::default()), [Packets::default()]);
    let many = set((0..300)
        .map(|port| to("fd60::200", 128, (TCP, port)))
        .collect());
    assert_eq!(asked(0, &many, Packets::default()), [Packets::default()]);
    let four = Packets::default().of(false).expect("some");
    assert!(
        asked(0, &vips, four).is_empty(),
        "a set of the other family"
    );
    let strange = Ipset {
        parts: vec![IpsetPart::Port; 300],
        ..vips.clone()
    };
    let six = Packets::default().of(true).expect("some");
    assert!(asked(2, &strange, six).is_empty(), "more parts than it has");
    assert_eq!(asked(2, &strange, Packets::default()).len(), 1);
    let other = Ipset { index: 4, ..vips };
    assert_eq!(
        asked(0, &other, Packets::default()),
        [Packets::default()],
        "gone"
    );
}
