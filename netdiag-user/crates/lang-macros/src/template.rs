//! The placeholders of a template, as std::fmt spells them.

/// `{name:spec}`; an argument without a name has its number.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub name: &'a str,
    pub spec: &'a str,
}

/// The numbers of arguments that are not named. A sentence with more is not one.
const NUMBERS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

impl Place<'_> {
    /// As a translation writes it.
    pub fn key(&self) -> String {
        match self.spec {
            "" => self.name.to_owned(),
            spec => format!("{}:{spec}", self.name),
        }
    }
}

/// Each once, in their order.
pub fn places(template: &str) -> Result<Vec<Place<'_>>, &'static str> {
    let mut found: Vec<Place<'_>> = Vec::new();
    let mut numbers = NUMBERS.iter();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (sign, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(sign) {
            rest = after;
            continue;
        }
        let inner = after.split_once('}').filter(|_| sign == "{");
        let (inner, after) = inner.ok_or("a brace stands alone")?;
        let (name, spec) = inner.split_once(':').unwrap_or((inner, ""));
        if spec.contains('$') || spec.contains('*') {
            return Err("a width that is an argument cannot be translated");
        }
        let name = match name.trim() {
            "" => numbers
                .next()
                .ok_or("a sentence has ten arguments at most")?,
            name => name,
        };
        let place = Place { name, spec };
        if !found.contains(&place) {
            found.push(place);
        }
        rest = after;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(template: &str) -> Vec<String> {
        let places = places(template).unwrap();
        places.iter().map(Place::key).collect()
    }

    #[test]
    fn placeholders_are_those_of_format() {
        assert_eq!(
            keys("{n} of {} and {:.1} on {link} {n}"),
            ["n", "0", "1:.1", "link"]
        );
        assert!(keys("{{literal}}").is_empty());
    }

    #[test]
    fn what_cannot_be_translated_is_refused() {
        assert!(places("{x:>width$}").is_err());
        assert!(places("{x").is_err());
        assert!(places("x}").is_err());
    }
}
