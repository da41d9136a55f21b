//! What became of a verdict's commands that the lab tried, in words.
use crate::model::{shell::CommandKind, text, verdict::CheckedCommand};

/// How many ran, by kind, and of how many the objects alone were looked up; for behind a line's result.
pub fn counted(tried: &[CheckedCommand]) -> String {
    let of = |kind| {
        tried
            .iter()
            .filter(move |it| it.skipped.is_none() && it.kind == kind)
    };
    let kinds = [
        (CommandKind::Show, "show"),
        (CommandKind::Watch, "watch"),
        (CommandKind::Change, "change"),
    ];
    let counts = kinds.map(|(kind, word)| (of(kind).count(), word));
    let ran = counts.iter().filter(|(count, _)| *count > 0);
    let ran: Vec<_> = ran.map(|(count, word)| format!("{count} {word}")).collect();
    let mut told = String::new();
    if !ran.is_empty() {
        told.push_str(&format!(", commands run {}", ran.join(" + ")));
    }
    let elsewhere = of(CommandKind::Elsewhere).count();
    if elsewhere > 0 {
        told.push_str(&format!(
            ", {elsewhere} for elsewhere not run but looked up"
        ));
    }
    told
}

/// Those that could not be run, and why.
pub fn skipped(tried: &[CheckedCommand]) -> impl Iterator<Item = (&str, &str)> {
    tried
        .iter()
        .filter_map(|it| Some((it.command.as_str(), it.skipped.as_deref()?)))
}

/// A line for each that is of no use, and for each that was not run.
pub fn lines(tried: &[CheckedCommand]) -> impl Iterator<Item = String> {
    tried.iter().filter_map(|it| {
        let told = match (&it.failure, &it.skipped) {
            (Some(why), _) => format!("  failed: {}: {why}", it.command),
            (None, Some(why)) => format!("  not run: {}: {why}", it.command),
            (None, None) => return None,
        };
        Some(text::lines(&told))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kind: CommandKind, skipped: Option<&str>) -> CheckedCommand {
        CheckedCommand {
            cause: "a".into(),
            command: "b".into(),
            kind,
            took: 0.1,
            skipped: skipped.map(str::to_owned),
            failure: None,
        }
    }

    #[test]
    fn what_was_not_run_is_not_counted_as_run() {
        let all = [
            tried(CommandKind::Show, None),
            tried(CommandKind::Show, Some("no b")),
            tried(CommandKind::Change, None),
            tried(CommandKind::Elsewhere, None),
        ];
        let told = ", commands run 1 show + 1 change, 1 for elsewhere not run but looked up";
        assert_eq!(counted(&all), told);
        assert_eq!(skipped(&all).collect::<Vec<_>>(), [("b", "no b")]);
        assert_eq!(lines(&all).collect::<Vec<_>>(), ["  not run: b: no b"]);
        assert_eq!(counted(&[]), "");
    }
}
