//! Frames as they are: every table, page and size.
use crossterm::event::KeyCode::{Char, Down, Enter, Esc, Home, Left, Right, Tab};

use super::*;

const SMALL: (u16, u16) = (80, 24);
const MIDDLE: (u16, u16) = (120, 40);
const LARGE: (u16, u16) = (200, 60);

const TUNNEL: &str = "vxlan-mtu-too-large.ndr";
const FIREWALL: &str = "firewall-drop.ndr";

#[test]
fn causes_at_each_size() {
    for size in [SMALL, MIDDLE, LARGE] {
        let name = format!("causes_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name, frame(&mut recorded(TUNNEL), &PLAIN, size));
    }
}

#[test]
fn what_follows_from_a_consequence_stands_below_it() {
    let shown = frame(&mut recorded("sidecar-without-dns.ndr"), &PLAIN, SMALL);
    insta::assert_snapshot!("causes_chain", shown);
}

#[test]
fn each_table() {
    for (key, name) in [('2', "pods"), ('3', "hops"), ('4', "reasons")] {
        for size in [SMALL, MIDDLE, LARGE] {
            let shown = press(&mut recorded(FIREWALL), size, &[Char(key)]);
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), shown);
        }
    }
}

#[test]
fn from_a_cause_to_its_flow_and_back() {
    let mut app = recorded(TUNNEL);
    insta::assert_snapshot!("cause", press(&mut app, SMALL, &[Enter]));
    insta::assert_snapshot!("cause_200x60", press(&mut app, LARGE, &[]));
    let flow = press(&mut app, SMALL, &[Enter, Enter]);
    insta::assert_snapshot!("way", flow);
    insta::assert_snapshot!("way_120x40", press(&mut app, MIDDLE, &[]));
    assert_eq!(press(&mut app, SMALL, &[Esc, Enter]), flow, "the same flow");
    let table = press(&mut app, SMALL, &[Esc, Esc]);
    assert_eq!(table, frame(&mut recorded(TUNNEL), &PLAIN, SMALL));
}

#[test]
fn rows_have_pages() {
    for (key, name) in [('2', "pod"), ('3', "hop"), ('4', "reason")] {
        let mut app = recorded(FIREWALL);
        let shown = press(&mut app, SMALL, &[Char(key), Enter]);
        insta::assert_snapshot!(format!("row_{name}"), shown);
        let cause = press(&mut app, SMALL, &[Enter, Enter]);
        assert!(cause.contains("firewall-drop"), "{cause}");
    }
}

#[test]
fn help_and_what_is_not_seen() {
    let mut app = recorded(TUNNEL);
    insta::assert_snapshot!("help", press(&mut app, SMALL, &[Char('?')]));
    insta::assert_snapshot!("unseen", press(&mut app, SMALL, &[Char('?'), Char('n')]));
    assert_eq!(
        press(&mut app, SMALL, &[Char('n')]),
        frame(&mut recorded(TUNNEL), &PLAIN, SMALL)
    );
}

#[test]
fn filters_are_typed_kept_and_cleared() {
    let mut app = recorded(FIREWALL);
    let all = press(&mut app, SMALL, &[Char('3')]);
    let typed = press(
        &mut app,
        SMALL,
        &[Char('/'), Char('c'), Char('N'), Char('i')],
    );
    insta::assert_snapshot!("filter_typed", typed);
    insta::assert_snapshot!("filter_kept", press(&mut app, SMALL, &[Enter]));
    let none = press(&mut app, SMALL, &[Char('/'), Char('q'), Enter]);
    assert!(none.contains("no row contains the text"), "{none}");
    assert_eq!(press(&mut app, SMALL, &[Esc]), all);
}

#[test]
fn time_goes_back_and_forth() {
    let mut app = recorded(TUNNEL);
    let end = frame(&mut app, &PLAIN, SMALL);
    insta::assert_snapshot!("first_reading", press(&mut app, SMALL, &[Home]));
    let second = press(&mut app, SMALL, &[Right]);
    assert!(second.contains(" reading 2 of "), "{second}");
    insta::assert_snapshot!("tenth_reading", press(&mut app, SMALL, &[Right; 8]));
    assert_eq!(press(&mut app, SMALL, &[Left; 8]), second);
    assert_eq!(press(&mut app, SMALL, &[KeyCode::End]), end);
}

/// A page is of the reading that is looked at.
#[test]
fn a_cause_is_not_named_before_it_was() {
    let mut app = recorded(FIREWALL);
    let page = press(&mut app, SMALL, &[Enter, Home]);
    assert!(page.contains("not named at this reading"), "{page}");
    assert!(press(&mut app, SMALL, &[KeyCode::End]).contains("Evidence"));
}

#[test]
fn order_is_by_the_column_that_is_chosen() {
    let mut app = recorded(FIREWALL);
    insta::assert_snapshot!(
        "sorted",
        press(&mut app, SMALL, &[Char('3'), Char('s'), Char('s')])
    );
    insta::assert_snapshot!("reversed", press(&mut app, SMALL, &[Char('r')]));
    // All the way round.
    let mut seen = Vec::new();
    for _ in 0..9 {
        seen.push(app.list().order.column);
        press(&mut app, SMALL, &[Char('s')]);
    }
    assert_eq!(seen.first(), Some(&app.list().order.column));
}

#[test]
fn the_row_at_hand_stays_when_the_order_changes() {
    let mut app = recorded(FIREWALL);
    press(&mut app, SMALL, &[Char('3'), Down, Down]);
    let selected = app.list().selected.clone();
    assert!(selected.is_some());
    press(
        &mut app,
        SMALL,
        &[Char('s'), Char('r'), Left, Tab, KeyCode::BackTab],
    );
    assert_eq!(app.list().selected, selected);
}

#[test]
fn healthy_nodes_have_no_cause() {
    let shown = frame(&mut recorded("healthy.ndr"), &PLAIN, SMALL);
    insta::assert_snapshot!("healthy", shown);
}

/// Packets whose records had no room are counted: nothing of them is lost.
#[test]
fn samples_that_were_not_kept_do_not_frighten() {
    let mut app = without_samples(FIREWALL, 73_512);
    let shown = frame(&mut app, &PLAIN, SMALL);
    insta::assert_snapshot!("samples_not_kept", shown);
    let whole = frame(&mut recorded(FIREWALL), &PLAIN, SMALL);
    assert!(whole.contains("no event missed"), "{whole}");
    let rest = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rest(&shown), rest(&whole), "every figure is the same");
}

/// What a table had no room for is lost all the same, beside them.
#[test]
fn what_is_lost_is_told_beside_samples() {
    use netdiag_common::config::counter;
    let mut app = played(FIREWALL, |_, reading| {
        reading.counters[counter::RING_FULL as usize] = 5;
        reading.counters[counter::DROPS_REFUSED as usize] = 7;
    });
    let shown = frame(&mut app, &PLAIN, MIDDLE);
    let told = "7 events LOST · samples not kept: 5, counts are exact";
    assert!(shown.contains(told), "{shown}");
}

#[test]
fn in_ascii_there_is_nothing_else() {
    fn ascii(text: &str) -> String {
        text.chars()
            .map(|c| if c.is_ascii() { c } else { '?' })
            .collect()
    }
    let ink = Ink {
        colour: false,
        ascii: Some(ascii),
    };
    let mut app = recorded(TUNNEL);
    for codes in [
        &[][..],
        &[Char('2')],
        &[Char('1'), Enter],
        &[Enter, Enter],
        &[Char('?')],
    ] {
        press(&mut app, SMALL, codes);
        let shown = frame(&mut app, &ink, SMALL);
        assert!(shown.is_ascii(), "{shown}");
    }
    insta::assert_snapshot!("ascii", {
        press(&mut app, SMALL, &[Esc, Esc, Esc, Char('1')]);
        frame(&mut app, &ink, SMALL)
    });
}
