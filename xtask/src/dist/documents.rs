//! The pages that a package holds, with links that lead to each other there: the repository keeps them
//! where its code is, a package beside each other.
use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{check::links, markdown, paths};

/// The folder of the pages, here and in a package.
const DOCS: &str = "netdiag-user/docs";
const SHIPPED: &str = "docs";

/// What the pages lead to elsewhere.
const BESIDE: [&str; 3] = [
    "netdiag-ebpf/COST.md",
    "netdiag-ebpf/cost.svg",
    "netdiag-user/crates/otlp/SCALE.md",
];

/// About the repository's folders, which a package does not have.
const STAYS: [&str; 1] = ["code.md"];

#[derive(Debug)]
struct Place {
    here: String,
    shipped: String,
}

/// Path in the package and text of each.
pub fn all() -> Result<Vec<(String, Vec<u8>)>> {
    let places = places()?;
    let document = |place: &Place| {
        let bytes = fs::read(paths::root().join(&place.here)).context(place.here.clone())?;
        let bytes = match place.here.ends_with(".md") {
            true => relinked(&String::from_utf8(bytes)?, place, &places).into_bytes(),
            false => bytes,
        };
        Ok((place.shipped.clone(), bytes))
    };
    places.iter().map(document).collect()
}

fn places() -> Result<Vec<Place>> {
    let mut here = BESIDE.map(str::to_owned).to_vec();
    let folder = paths::root().join(DOCS);
    for entry in fs::read_dir(&folder).with_context(|| DOCS.to_owned())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !STAYS.contains(&name.as_str()) {
            here.push(format!("{DOCS}/{name}"));
        }
    }
    here.sort();
    let beside = |here: String| {
        let name = here.rsplit('/').next().unwrap_or_default();
        let shipped = format!("{SHIPPED}/{name}");
        Place { here, shipped }
    };
    let readme = Place {
        here: "README.md".to_owned(),
        shipped: "README.md".to_owned(),
    };
    let rest = here.into_iter().map(beside);
    Ok(std::iter::once(readme).chain(rest).collect())
}

/// A link to what is not shipped becomes its text.
fn relinked(page: &str, place: &Place, places: &[Place]) -> String {
    let mut text = page.to_owned();
    let own = |to: &str| !to.contains(':') && !to.starts_with('#');
    // From the end, so that what is before stays where it is.
    for link in markdown::links(page).into_iter().rev() {
        let Some(to) = link.to.filter(|to| own(to)) else {
            continue;
        };
        let (path, anchor) = match to.split_once('#') {
            Some((path, anchor)) => (path, format!("#{anchor}")),
            None => (to.as_str(), String::new()),
        };
        let target = links::resolve(&place.here, path);
        let there = places.iter().find(|it| Some(&it.here) == target.as_ref());
        let (range, new) = match there {
            Some(there) => {
                let new = format!("{}{anchor}", way(&place.shipped, &there.shipped));
                (
                    link.all.clone(),
                    page[link.all].replace(&format!("]({to})"), &format!("]({new})")),
                )
            }
            None => (link.all, page[link.text].to_owned()),
        };
        text.replace_range(range, &new);
    }
    text
}

/// Between the package's folder and the one below it.
fn way(from: &str, to: &str) -> String {
    match (Path::new(from).parent(), Path::new(to).parent()) {
        (one, other) if one == other => to.rsplit('/').next().unwrap_or_default().to_owned(),
        (Some(folder), _) if folder == Path::new("") => to.to_owned(),
        _ => format!("../{to}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::check::{links::broken, source::Source};

    #[test]
    fn links_lead_to_what_is_shipped_and_others_are_text() {
        let place = |here: &str, shipped: &str| Place {
            here: here.into(),
            shipped: shipped.into(),
        };
        let places = [
            place("README.md", "README.md"),
            place("a/docs/x.md", "docs/x.md"),
            place("b/cost.svg", "docs/cost.svg"),
        ];
        let page = "[up](../../README.md#a) ![cost](../../b/cost.svg) [own](#c) [not](../src) [web](https://x.y)";
        let shipped = "[up](../README.md#a) ![cost](cost.svg) [own](#c) not [web](https://x.y)";
        assert_eq!(relinked(page, &places[1], &places), shipped);
        let readme = relinked("[x](a/docs/x.md) [`y`](Cargo.toml)", &places[0], &places);
        assert_eq!(readme, "[x](docs/x.md) `y`");
    }

    #[test]
    fn a_package_has_no_broken_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let shipped: BTreeMap<String, Vec<u8>> = all().expect("read").into_iter().collect();
        let mut pages = Vec::new();
        for (path, bytes) in &shipped {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, bytes).expect("written");
            if let Some(text) = String::from_utf8(bytes.clone())
                .ok()
                .filter(|_| path.ends_with(".md"))
            {
                let path = path.clone();
                pages.push(Source { path, text });
            }
        }
        assert!(pages.len() > 5, "{:?}", shipped.keys());
        assert_eq!(broken(folder.path(), &pages), [""; 0]);
    }
}
