//! Label selectors as kubectl takes them: `app=cart,tier!=db,stage in (a,b),!legacy`.
use std::collections::BTreeMap;

/// All of its requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// One of these; none where the key alone counts.
    values: Option<Vec<String>>,
    /// It must not be so; a key that is not there is so.
    not: bool,
}

impl std::str::FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let requirements = parts(text).into_iter().map(|part| {
            requirement(part.trim()).ok_or_else(|| {
                let part = part.trim();
                format!(
                    "'{part}' is no label selector: known are key=value, key!=value, key in (a,b), \
                     key notin (a,b), key and !key, joined by ','"
                )
            })
        });
        Ok(Self {
            text: text.to_owned(),
            requirements: requirements.collect::<Result<_, _>>()?,
        })
    }
}

/// Splits at commas that are in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut inside = false;
    let split = |c: char| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    };
    text.split(split).collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let (key, values, not): (&str, Option<Vec<&str>>, bool) =
        if let Some(list) = part.strip_suffix(')') {
            let (head, list) = list.split_once('(')?;
            let (key, word) = head.trim().split_once(char::is_whitespace)?;
            let not = match word.trim() {
                "in" => false,
                "notin" => true,
                _ => return None,
            };
            (key, Some(list.split(',').map(str::trim).collect()), not)
        } else if let Some((key, value)) = part.split_once("!=") {
            (key, Some(vec![value.trim()]), true)
        } else if let Some((key, value)) = part.split_once("==").or(part.split_once('=')) {
            (key, Some(vec![value.trim()]), false)
        } else if let Some(key) = part.strip_prefix('!') {
            (key, None, true)
        } else {
            (part, None, false)
        };
    let key = key.trim();
    let fine = is_key(key) && values.iter().flatten().all(|v| is_value(v));
    fine.then(|| Requirement {
        key: key.to_owned(),
        values: values.map(|all| all.into_iter().map(str::to_owned).collect()),
        not,
    })
}

/// A key may have a prefix that is a DNS name.
fn is_key(text: &str) -> bool {
    let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
    !name.is_empty()
        && text.matches('/').count() <= 1
        && text.chars().all(|c| c == '/' || is_part(c))
}

fn is_value(text: &str) -> bool {
    text.chars().all(is_part)
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

impl Labels {
    pub fn hold(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |r: &Requirement| {
            let value = labels.get(&r.key);
            let so = match &r.values {
                Some(wanted) => value.is_some_and(|v| wanted.contains(v)),
                None => value.is_some(),
            };
            so != r.not
        };
        self.requirements.iter().all(holds)
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
