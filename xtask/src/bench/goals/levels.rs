//! Which of netdiag's levels a goal is for.
use serde_json::Value;

use crate::bench::lines::NETDIAG;

/// The names of levels, as what was attached has them.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    pub light: Option<String>,
    /// A netdiag without levels counts every flow.
    pub flows: Option<String>,
    /// Shown without goals.
    pub others: Vec<String>,
}

pub const NO_LEVEL: &str = "this netdiag has no such level";

impl Levels {
    pub fn of(document: &Value) -> Self {
        let mut levels = Self::default();
        let names = document.get("levels").and_then(Value::as_array);
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            let level = name.strip_prefix(NETDIAG).unwrap_or(name).trim_start();
            match level {
                "light" => levels.light = Some(name.to_owned()),
                "flows" | "" => levels.flows = Some(name.to_owned()),
                _ => levels.others.push(name.to_owned()),
            }
        }
        levels
    }

    /// Those that there are, with whether they have goals; light before flows.
    pub fn all(&self) -> Vec<(&str, bool)> {
        let judged = self.light.iter().chain(&self.flows);
        let judged = judged.map(|name| (name.as_str(), true));
        let others = self.others.iter().map(|name| (name.as_str(), false));
        judged.chain(others).collect()
    }

    pub fn is_light(&self, name: &str) -> bool {
        self.light.as_deref() == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_are_told_apart() {
        let one = Levels::of(&json!({"levels": ["netdiag"]}));
        assert_eq!(one.all(), [("netdiag", true)]);
        assert!(one.light.is_none());
        let names = ["netdiag full", "netdiag flows", "netdiag light"];
        let three = Levels::of(&json!({"levels": names}));
        let wanted = [
            ("netdiag light", true),
            ("netdiag flows", true),
            ("netdiag full", false),
        ];
        assert_eq!(three.all(), wanted);
        assert!(three.is_light("netdiag light") && !three.is_light("netdiag flows"));
    }
}
