//! The language that the environment asks for, by locale(7).
use std::env;

use super::Lang;

/// The first of these that is set and not empty decides.
const NAMED_BY: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

pub fn from_environment() -> Lang {
    let set = NAMED_BY.iter().filter_map(|name| env::var(name).ok());
    let mut set = set.filter(|value| !value.is_empty());
    set.next().map_or(Lang::English, |locale| named(&locale))
}

/// Chinese needs characters that a locale without UTF-8 does not show.
fn named(locale: &str) -> Lang {
    let locale = locale.to_ascii_lowercase();
    let rest = locale.strip_prefix("zh");
    let chinese = rest.is_some_and(|it| it.is_empty() || it.starts_with(['_', '.', '@', '-']));
    let shown = locale.contains("utf-8") || locale.contains("utf8");
    match chinese && shown {
        true => Lang::Chinese,
        false => Lang::English,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_names_its_language() {
        assert_eq!(named("zh_CN.UTF-8"), Lang::Chinese);
        assert_eq!(named("zh_TW.utf8"), Lang::Chinese);
        for other in [
            "zh_CN.GB18030",
            "C.UTF-8",
            "zho.UTF-8",
            "",
            "z",
            "en_US.UTF-8",
        ] {
            assert_eq!(named(other), Lang::English, "{other}");
        }
    }
}
