//! The manuals in Chinese, `zh/STEM.md`: the same chapters and commands as the English ones.

/// The last line of a file begins so: it tells from which English manual it was translated.
const MARK: &str = "\n<!-- of: ";

/// A file without its last line.
pub fn shown(file: &str) -> &str {
    let text = file.rsplit_once(MARK).map_or(file, |(text, _)| text);
    text.trim_end()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ALL, Cause},
        *,
    };

    /// The chapters, and their headings in Chinese.
    const CHAPTERS: [(&str, &str); 6] = [
        ("Symptom", "现象"),
        ("Mechanism", "机理"),
        ("Signals", "信号"),
        ("Look-alikes", "易混淆的故障"),
        ("By hand", "手工排查"),
        ("Fix", "修复"),
    ];

    /// FNV-1a of 32 bits.
    fn hash(text: &str) -> String {
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        format!("{:08x}", text.bytes().fold(0x811c_9dc5, step))
    }

    fn headings(manual: &str) -> Vec<&str> {
        let lines = manual.lines();
        lines.filter_map(|line| line.strip_prefix("# ")).collect()
    }

    /// What stands between backticks, on one line.
    fn commands(manual: &str) -> Vec<String> {
        let spans = manual.split('`').skip(1).step_by(2);
        let words = spans.map(|span| span.split_whitespace().collect::<Vec<_>>());
        words.map(|words| words.join(" ")).collect()
    }

    #[test]
    fn the_chapters_are_the_same_in_the_same_order() {
        for cause in ALL {
            let manual = cause.manual();
            let chinese = |heading| CHAPTERS.iter().find(|it| it.0 == heading).map(|it| it.1);
            let wanted: Vec<_> = headings(&manual).into_iter().map(chinese).collect();
            let found = headings(cause.manual_zh()).into_iter().map(Some);
            assert_eq!(found.collect::<Vec<_>>(), wanted, "{}", cause.id);
        }
    }

    #[test]
    fn every_command_is_there_verbatim() {
        for cause in ALL {
            let found = commands(cause.manual_zh());
            for command in commands(&cause.manual()) {
                assert!(found.contains(&command), "{} lacks `{command}`", cause.id);
            }
        }
    }

    #[test]
    fn a_paragraph_is_one_line_because_no_space_joins_two() {
        for cause in ALL {
            let lines: Vec<&str> = cause.manual_zh().lines().collect();
            let text = |line: &str| !line.is_empty() && !line.starts_with("# ");
            let broken = lines.windows(2).find(|it| text(it[0]) && text(it[1]));
            assert_eq!(broken, None, "{}", cause.id);
        }
    }

    #[test]
    fn each_is_of_the_english_manual_as_it_stands() {
        let stale = |cause: &Cause| {
            let stem = cause.id.replace('-', "_");
            let mark = format!("{MARK}{} -->\n", hash(&cause.manual()));
            let told = format!(
                "the English manual of {} changed: look at zh/{stem}.md, then end it with {}",
                cause.id,
                mark.trim()
            );
            (!cause.zh.ends_with(&mark)).then_some(told)
        };
        let stale: Vec<_> = ALL.iter().filter_map(stale).collect();
        assert!(stale.is_empty(), "{}", stale.join("\n"));
    }

    #[test]
    fn the_last_line_is_not_shown() {
        let file = "# 现象\n失败。\n\n<!-- of: 0123abcd -->\n";
        assert_eq!(shown(file), "# 现象\n失败。");
        assert_eq!(hash(""), "811c9dc5");
        assert_eq!(hash("a"), "e40c292c");
    }
}
