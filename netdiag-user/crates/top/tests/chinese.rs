//! The full screen in Chinese: a process speaks one language, so this is one of its own.
mod playing;

use netdiag_lang::{Lang, choose};
use netdiag_top::{Action, App};
use playing::{PLAIN, recorded, without_samples};
use unicode_width::UnicodeWidthStr;

fn frame(app: &mut App) -> String {
    playing::frame(app, &PLAIN, (80, 24))
}

#[test]
fn tables_and_help_are_chinese() {
    choose(Lang::Chinese);
    let mut app = recorded("firewall-drop.ndr");
    app.apply(Action::Beside { on: true });
    insta::assert_snapshot!("pods", frame(&mut app));
    app.apply(Action::Beside { on: true });
    insta::assert_snapshot!("hops", frame(&mut app));
    app.apply(Action::Help);
    let help = frame(&mut app);
    insta::assert_snapshot!("help", help);
    let crowd = frame(&mut without_samples("firewall-drop.ndr", 73_512));
    insta::assert_snapshot!("samples_not_kept", crowd);
    for shown in [frame(&mut app), help, crowd] {
        assert!(shown.lines().all(|line| line.width() <= 80), "{shown}");
    }
}
