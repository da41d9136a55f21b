//! Links and headings of a Markdown page.
use std::{collections::BTreeMap, ops::Range};

use pulldown_cmark::{BrokenLink, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// As it is written; of a reference that is nowhere defined, none.
    pub to: Option<String>,
    /// All of it, and what a reader sees of it.
    pub all: Range<usize>,
    pub text: Range<usize>,
}

pub fn links(page: &str) -> Vec<Link> {
    const UNDEFINED: &str = "\0";
    // A word in brackets is a word; two pairs of them can only mean a link.
    let mut undefined = |link: BrokenLink<'_>| {
        let meant = matches!(link.link_type, LinkType::Reference | LinkType::Collapsed);
        meant.then(|| (CowStr::from(UNDEFINED), CowStr::from("")))
    };
    let parser =
        Parser::new_with_broken_link_callback(page, Options::ENABLE_TABLES, Some(&mut undefined));
    let mut links: Vec<Link> = Vec::new();
    // An image may stand within a link.
    let mut open = Vec::new();
    for (event, range) in parser.into_offset_iter() {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                open.push(links.len());
                links.push(Link {
                    to: Some(dest_url.into_string()).filter(|to| to != UNDEFINED),
                    text: range.end..range.end,
                    all: range,
                });
            }
            Event::End(TagEnd::Link | TagEnd::Image) => _ = open.pop(),
            _ => {
                for at in &open {
                    let text: &mut Range<usize> = &mut links[*at].text;
                    *text = text.start.min(range.start)..range.end;
                }
            }
        }
    }
    links
}

/// By what its headings are linked to, as GitHub and GitLab name them.
pub fn anchors(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let again = seen.entry(slug.clone()).or_default();
                anchors.push(match *again {
                    0 => slug,
                    n => format!("{slug}-{n}"),
                });
                *again += 1;
            }
            _ => {}
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_link_is_one() {
        let page = "[a](x.md) ![b *c*](y.svg)\n\n| [d](z) |\n|---|\n\n[e][f] [g][h] [src|dst] <https://i>\n\n\
                    `[j](k)`\n\n```\n[l](m)\n```\n\n[f]: n.md\n";
        let links = links(page);
        let to: Vec<Option<&str>> = links.iter().map(|it| it.to.as_deref()).collect();
        let wanted = [
            Some("x.md"),
            Some("y.svg"),
            Some("z"),
            Some("n.md"),
            None,
            Some("https://i"),
        ];
        assert_eq!(to, wanted);
        assert_eq!(&page[links[0].all.clone()], "[a](x.md)");
        assert_eq!(&page[links[1].text.clone()], "b *c*");
    }

    #[test]
    fn headings_are_named_as_forges_name_them() {
        let page = "# The `two` commands\n## What others do: better?\n## What_is\n\n# What_is\n\n```\n# no\n```\n";
        let wanted = [
            "the-two-commands",
            "what-others-do-better",
            "what_is",
            "what_is-1",
        ];
        assert_eq!(anchors(page), wanted);
    }
}
