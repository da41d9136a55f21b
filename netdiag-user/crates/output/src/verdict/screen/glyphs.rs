//! What lines are drawn with.

/// Strokes of a tree and of a way.
#[derive(Clone, Copy, Debug)]
pub struct Glyphs {
    pub line: &'static str,
    pub dead: &'static str,
    pub more: &'static str,
    pub branch: &'static str,
    pub last: &'static str,
    /// Below a branch, beside what hangs on it.
    pub beside: &'static str,
    pub dot: &'static str,
}

impl Glyphs {
    pub const fn of(ascii: bool) -> Self {
        match ascii {
            true => Self {
                line: "-",
                dead: "X",
                more: "...",
                branch: "|-",
                last: "\u{60}-",
                beside: "|  ",
                dot: "-",
            },
            false => Self {
                line: "─",
                dead: "╳",
                more: "…",
                branch: "├─",
                last: "└─",
                beside: "│  ",
                dot: "·",
            },
        }
    }
}
