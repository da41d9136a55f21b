//! Names of counters. A kernel has some hundred, and each pod's namespace has them all: in memory they
//! stand once.
use std::{borrow::Borrow, collections::BTreeSet, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub struct CounterName(Arc<str>);

impl From<String> for CounterName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&str> for CounterName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for CounterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Deref for CounterName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for CounterName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Names that were met.
#[derive(Debug, Default)]
pub struct CounterNames(BTreeSet<CounterName>);

impl CounterNames {
    /// The one that all share who have it.
    pub fn shared(&mut self, name: &str) -> CounterName {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let new = CounterName::from(name);
        self.0.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once() {
        let mut names = CounterNames::default();
        let both = ["TcpExt.A", "TcpExt.A"].map(|name| names.shared(name));
        assert!(Arc::ptr_eq(&both[0].0, &both[1].0));
        assert_ne!(names.shared("TcpExt.B"), both[0]);
    }

    #[test]
    fn it_is_written_as_text() {
        let values = std::collections::BTreeMap::from([(CounterName::from("a\"b"), 7)]);
        let text = serde_json::to_string(&values).expect("written");
        assert_eq!(text, r#"{"a\"b":7}"#);
        assert_eq!(
            serde_json::from_str::<std::collections::BTreeMap<CounterName, u64>>(&text).ok(),
            Some(values)
        );
    }
}
