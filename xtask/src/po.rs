//! The catalogues of what netdiag says: every sentence that the code marks stands in each of them.
use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use polib::{catalog::Catalog, message::Message, metadata::CatalogMetadata};
use proc_macro2::{TokenStream, TokenTree};

use crate::{
    check::source::{self, Source, untested},
    paths,
};

/// Chinese is the one language beside the code's own.
const FOLDER: &str = "netdiag-user/crates/lang/zh";

/// What mark a sentence, and how it is said.
const MACROS: [&str; 3] = ["t", "mark", "english"];

/// The sentences of a crate in the order in which its files have them, and the first file of each.
type Sentences = Vec<(String, String)>;

/// Writes each catalogue anew: what the code no longer says goes, what is new is still to be said,
/// but for what another catalogue says already.
pub fn write() -> Result<()> {
    let all = by_crate()?;
    let read_all = all.keys().map(|name| read(&file(name)));
    let known = read_all.collect::<Result<Vec<_>>>()?;
    for ((name, sentences), own) in all.into_iter().zip(&known) {
        let path = file(&name);
        let mut new = Catalog::new(metadata());
        for (text, place) in sentences {
            let mut said = iter::once(own).chain(&known).filter_map(|catalogue| {
                let message = catalogue.find_message(None, &text, None)?;
                message.msgstr().ok().filter(|said| !said.is_empty())
            });
            let said = said.next().unwrap_or_default();
            let mut message = Message::build_singular();
            message.with_source(place).with_msgstr(said.to_owned());
            new.append_or_update(message.with_msgid(text).done());
        }
        polib::po_file::write_to_file(&new, &path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Fails where a sentence has no translation, or one with other placeholders.
pub fn check() -> Result<()> {
    let mut problems = Vec::new();
    for (name, sentences) in by_crate()? {
        let catalogue = read(&file(&name))?;
        ensure!(
            catalogue.count() == sentences.len(),
            "{FOLDER}/{name}.po is stale: run `cargo xtask gen`"
        );
        for (text, place) in sentences {
            let said = catalogue.find_message(None, &text, None);
            let said = said.and_then(|it| it.msgstr().ok()).unwrap_or_default();
            problems.extend(problem(&text, said).map(|why| format!("{place}: {text:?} {why}")));
        }
    }
    let more = problems.len().saturating_sub(10);
    problems.truncate(10);
    ensure!(
        problems.is_empty(),
        "{}{}",
        problems.join("; "),
        match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        }
    );
    Ok(())
}

fn problem(text: &str, said: &str) -> Option<String> {
    if said.trim().is_empty() {
        return Some("is not translated".to_owned());
    }
    // The sentence's are numbered where they stand, and these where another order is as good.
    if bare(said).contains("{}") || bare(said).contains("{:") {
        return Some(format!("has a placeholder without a number in {said:?}"));
    }
    (places(text) != places(said)).then(|| format!("has other placeholders than {said:?}"))
}

/// Without braces that are printed.
fn bare(template: &str) -> String {
    template.replace("{{", "").replace("}}", "")
}

/// What is filled in: `{}` by its number, as the macro counts it.
fn places(template: &str) -> BTreeSet<String> {
    let bare = bare(template);
    let mut number = 0;
    let all = bare.split('{').skip(1);
    let all = all.map(|rest| rest.split('}').next().unwrap_or_default());
    all.map(|place| {
        if !place.is_empty() && !place.starts_with(':') {
            return place.to_owned();
        }
        number += 1;
        format!("{}{place}", number - 1)
    })
    .collect()
}

fn file(name: &str) -> PathBuf {
    paths::root().join(FOLDER).join(format!("{name}.po"))
}

fn read(path: &Path) -> Result<Catalog> {
    match path.exists() {
        true => polib::po_file::parse(path).map_err(|e| anyhow!("{}: {e}", path.display())),
        false => Ok(Catalog::new(metadata())),
    }
}

fn metadata() -> CatalogMetadata {
    let mut all = CatalogMetadata::new();
    all.language = "zh_CN".to_owned();
    all.content_type = "text/plain; charset=UTF-8".to_owned();
    all.content_transfer_encoding = "8bit".to_owned();
    all.mime_version = "1.0".to_owned();
    all
}

fn by_crate() -> Result<BTreeMap<String, Sentences>> {
    let mut sources = source::all(&paths::root())?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let mut all: BTreeMap<String, Sentences> = BTreeMap::new();
    for source in &sources {
        let Some(name) = crate_of(&source.path) else {
            continue;
        };
        for text in marked(source)? {
            let sentences = all.entry(name.to_owned()).or_default();
            if !sentences.iter().any(|(known, _)| *known == text) {
                sentences.push((text, source.path.clone()));
            }
        }
    }
    Ok(all)
}

/// `netdiag-user/crates/CRATE/src/…`; what puts them together is `user`.
fn crate_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("netdiag-user/")?;
    if path.contains("/tests") || path.contains("/testing") || !path.ends_with(".rs") {
        return None;
    }
    if rest.starts_with("src/") {
        return Some("user");
    }
    let (name, rest) = rest.strip_prefix("crates/")?.split_once('/')?;
    let speaks = !["lang", "lang-macros"].contains(&name);
    (speaks && rest.starts_with("src/")).then_some(name)
}

fn marked(source: &Source) -> Result<Vec<String>> {
    let text = untested(&source.text);
    let Ok(tokens) = text.parse::<TokenStream>() else {
        return Err(anyhow!("{} cannot be read as Rust", source.path));
    };
    let mut found = Vec::new();
    collect(tokens, &mut found);
    Ok(found)
}

fn collect(tokens: TokenStream, found: &mut Vec<String>) {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in all.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        if is_call(&all[..at]) {
            let first = group.stream().into_iter().next();
            let text = first.and_then(|it| syn::parse2::<syn::LitStr>(it.into()).ok());
            found.extend(text.map(|it| it.value()));
        }
        collect(group.stream(), found);
    }
}

/// Whether what stands before a group is one of our macros.
fn is_call(before: &[TokenTree]) -> bool {
    let [.., TokenTree::Ident(name), TokenTree::Punct(sign)] = before else {
        return false;
    };
    sign.as_char() == '!' && MACROS.iter().any(|it| name == it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            path: "netdiag-user/crates/output/src/x.rs".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn sentences_are_found_wherever_they_stand() {
        let text = "fn f() { vec![t!(\"{n} packets \\\n   left\", n = t!(\"no\"))]; }\n\
                    const A: &str = mark!(\"a title\");\n// t!(\"not this\")\n\
                    #[cfg(test)]\nmod tests { fn g() { t!(\"nor this\") } }\n";
        let found = marked(&source(text)).unwrap();
        assert_eq!(found, ["{n} packets left", "no", "a title"]);
    }

    #[test]
    fn a_translation_fills_in_the_same() {
        assert_eq!(problem("{} of {n:.1}", "{n:.1} 中的 {0}"), None);
        assert!(problem("{} of {n:.1}", "{n:.1} 中的 {}").is_some());
        assert_eq!(problem("{} of {}", "{1}、{0}"), None);
        assert!(problem("{} of {n}", "{} 个").is_some());
        assert!(problem("none", " ").is_some());
        assert_eq!(problem("{{x}}", "{{x}}"), None);
    }

    #[test]
    fn a_crate_has_its_own_catalogue() {
        assert_eq!(crate_of("netdiag-user/crates/top/src/a/b.rs"), Some("top"));
        assert_eq!(crate_of("netdiag-user/src/cli/a.rs"), Some("user"));
        assert_eq!(crate_of("netdiag-user/crates/top/src/tests/a.rs"), None);
        assert_eq!(crate_of("xtask/src/po.rs"), None);
    }
}
