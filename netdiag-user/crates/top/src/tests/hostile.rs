//! Names as a stranger may choose them.
use crossterm::event::KeyCode::{Char, Enter, Esc};

use super::*;
use crate::model::{
    observation::Observation,
    pod::{Pod, PodIndex},
    text::is_harmful,
};

/// Clears the screen, sets its title, turns text around, ends lines, and is wide.
const NASTY: &str = "\x1b[2J\x1b]0;t\x07\u{9b}31m\u{202e}\u{200b}\r\n\u{7f}漢字漢字X!q";

fn poisoned(scene: &mut Scene, _: &mut Observation) {
    let mut pods: Vec<Pod> = scene.pods.iter().cloned().collect();
    for pod in &mut pods {
        poison(&mut pod.name);
        poison(&mut pod.namespace);
    }
    scene.pods = PodIndex::new(pods);
    poison(&mut scene.node.name);
    poison(&mut scene.node.kernel);
    scene
        .node
        .links
        .iter_mut()
        .for_each(|link| poison(&mut link.name));
    for it in &mut scene.run.not_checked {
        poison(&mut it.why);
    }
}

fn poison(text: &mut String) {
    if !text.contains(NASTY) {
        text.insert_str(0, NASTY);
    }
}

#[test]
fn hostile_names_stay_text() {
    for recording in ["vxlan-mtu-too-large.ndr", "firewall-drop.ndr"] {
        let mut app = played(recording, poisoned);
        let pages = [
            &[][..],
            &[Enter],
            &[Enter, Enter],
            &[Char('2')],
            &[Enter],
            &[Char('3')],
            &[Enter],
            &[Char('4')],
            &[Enter],
            &[Char('n')],
        ];
        let mut seen = 0;
        for codes in pages {
            for size in [(80, 24), (200, 60)] {
                press(&mut app, size, codes);
                let shown = frame(&mut app, &PLAIN, size);
                let bad = shown.chars().find(|c| is_harmful(*c) && *c != '\n');
                assert_eq!(bad, None, "{shown}");
                seen += usize::from(shown.contains("X!q"));
            }
        }
        assert!(seen > 8, "{seen}");
        press(&mut app, (80, 24), &[Esc]);
    }
}

#[test]
fn wide_names_leave_columns_where_they_are() {
    let mut app = played("firewall-drop.ndr", poisoned);
    insta::assert_snapshot!("wide_names", press(&mut app, (120, 24), &[Char('2')]));
}
