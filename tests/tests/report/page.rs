//! A page read by a browser's own parser (html5ever), held against what it promises.
use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use html5ever::{ParseOpts, parse_document, tendril::TendrilSink};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use sha2::{Digest, Sha256};

/// All that a page is made of.
const ELEMENTS: [&str; 42] = [
    "a",
    "article",
    "body",
    "circle",
    "code",
    "details",
    "div",
    "figcaption",
    "figure",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "head",
    "header",
    "html",
    "li",
    "line",
    "link",
    "main",
    "meta",
    "p",
    "path",
    "pre",
    "rect",
    "script",
    "section",
    "span",
    "strong",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
];

#[derive(Default)]
pub struct Read {
    /// Text outside of style and script.
    pub text: String,
    ids: Vec<String>,
    refers: Vec<String>,
    policy: String,
    style: Vec<String>,
    script: Vec<String>,
    elements: Vec<String>,
}

/// Panics where the page is not what it should be.
pub fn read(page: &str, what: &str) -> Read {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(page);
    let errors = dom.errors.borrow();
    assert!(errors.is_empty(), "{what}: {errors:?}");
    let mut read = Read::default();
    read.node(&dom.document, what);
    let ids: BTreeSet<&String> = read.ids.iter().collect();
    assert_eq!(ids.len(), read.ids.len(), "{what}: {:?}", read.ids);
    for id in &read.refers {
        assert!(ids.contains(id), "{what}: nothing is called {id}");
    }
    read.runs_its_own_alone(what);
    read
}

impl Read {
    fn node(&mut self, node: &Handle, what: &str) {
        let children = || {
            let all: Vec<Handle> = node.children.borrow().clone();
            all
        };
        match &node.data {
            NodeData::Element { name, attrs, .. } => {
                let tag = name.local.to_string();
                assert!(ELEMENTS.contains(&tag.as_str()), "{what}: <{tag}>");
                let mut is_policy = false;
                for attribute in attrs.borrow().iter() {
                    let (key, value) = (attribute.name.local.to_string(), &*attribute.value);
                    is_policy |= value == "Content-Security-Policy";
                    self.attribute(&tag, &key, value, what);
                    if key == "content" && is_policy {
                        self.policy = value.to_owned();
                    }
                }
                let own = match tag.as_str() {
                    "style" => Some(&mut self.style),
                    "script" => Some(&mut self.script),
                    _ => None,
                };
                if let Some(own) = own {
                    own.push(text(node));
                    return;
                }
                self.elements.push(tag);
            }
            NodeData::Text { contents } => self.text.push_str(&contents.borrow()),
            NodeData::Comment { contents } => panic!("{what}: a comment: {contents}"),
            _ => {}
        }
        children().iter().for_each(|it| self.node(it, what));
    }

    fn attribute(&mut self, tag: &str, key: &str, value: &str, what: &str) {
        assert!(!key.starts_with("on"), "{what}: {key}={value}");
        assert!(
            !["style", "src", "srcset", "action", "xlink:href"].contains(&key),
            "{what}: {key}"
        );
        match key {
            "id" => self.ids.push(value.to_owned()),
            "aria-labelledby" => self.refers.push(value.to_owned()),
            "href" if tag == "link" => assert_eq!(value, "data:,", "{what}"),
            "href" => {
                let id = value.strip_prefix('#');
                let id = id.unwrap_or_else(|| panic!("{what}: a link to {value}"));
                self.refers.push(id.to_owned());
            }
            _ => {}
        }
    }

    /// One style and one script, by the very hashes that the policy names.
    fn runs_its_own_alone(&self, what: &str) {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        let (style, script) = match (&self.style[..], &self.script[..]) {
            ([style], [script]) => (hash(style), hash(script)),
            _ => panic!(
                "{what}: {} styles, {} scripts",
                self.style.len(),
                self.script.len()
            ),
        };
        let promised = format!(
            "default-src 'none'; style-src {style}; script-src {script}; img-src data:; \
             base-uri 'none'; form-action 'none'"
        );
        assert_eq!(self.policy, promised, "{what}");
    }

    pub fn count(&self, element: &str) -> usize {
        self.elements.iter().filter(|it| *it == element).count()
    }
}

fn text(node: &Handle) -> String {
    let children = node.children.borrow();
    let texts = children.iter().map(|it| match &it.data {
        NodeData::Text { contents } => contents.borrow().to_string(),
        _ => String::new(),
    });
    texts.collect()
}
