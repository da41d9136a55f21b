//! nft's JSON (libnftables-json(5)), an object at a time: nothing of it is kept here but the one
//! that is read, and of that no more than a rule that somebody wrote by hand has.
use std::{fmt, io::Read};

use anyhow::{Context, Result};
use netdiag_lang::mark;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Values within one rule, or within one element of a map; what is beyond that is left out. kube-proxy
/// writes a Service of some thousand endpoints into one rule.
const MOST: usize = 16_384;
/// Values deep within each other.
const DEEPEST: usize = 24;

/// Who is told of the objects. By default nobody wants them.
pub trait Reader {
    fn table(&mut self, _family: &str, _name: &str) {}
    fn chain(&mut self, _chain: &Chain) {}
    fn rule(&mut self, _rule: &Rule) -> Result<()> {
        Ok(())
    }
    /// An element of a map, whose name comes behind its last one.
    fn element(&mut self, _element: &Value) {}
    fn map(&mut self, _family: &str, _table: &str) {}
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    family: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
    pub hook: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub family: String,
    pub table: String,
    pub chain: String,
    expr: Small,
}

impl Rule {
    pub fn expressions(&self) -> &[Value] {
        self.expr.0.as_array().map_or(&[], Vec::as_slice)
    }

    /// One of iptables' matches or targets.
    fn has_xt(&self) -> bool {
        self.expressions().iter().any(|e| e.get("xt").is_some())
    }
}

/// True where iptables' matches and targets are among the rules.
pub fn read(from: impl Read, reader: &mut dyn Reader) -> Result<bool> {
    let mut from = serde_json::Deserializer::from_reader(from);
    let mut all = All {
        reader,
        xt: false,
        listed: false,
    };
    from.deserialize_map(&mut all).context(mark!("no JSON"))?;
    let (listed, xt) = (all.listed, all.xt);
    from.end().context(mark!("no JSON"))?;
    listed.then_some(xt).context(mark!("no list of rules"))
}

struct All<'a> {
    reader: &'a mut dyn Reader,
    xt: bool,
    listed: bool,
}

impl<'de> Visitor<'de> for &mut All<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what nft lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "nftables" {
                self.listed = true;
                map.next_value_seed(Objects(self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Objects<'a, 'b>(&'a mut All<'b>);

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Object(self.0))?.is_some() {}
        Ok(())
    }
}

struct Object<'a, 'b>(&'a mut All<'b>);

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(all) = self;
        while let Some(kind) = map.next_key::<String>()? {
            match kind.as_str() {
                "table" => {
                    let table: Table = map.next_value()?;
                    all.reader.table(&table.family, &table.name);
                }
                "chain" => all.reader.chain(&map.next_value()?),
                "rule" => {
                    let rule: Rule = map.next_value()?;
                    all.xt |= rule.has_xt();
                    all.reader.rule(&rule).map_err(A::Error::custom)?;
                }
                "map" => map.next_value_seed(Elements(all.reader))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A map, whose elements may be many thousands: they are handed over one by one.
struct Elements<'a>(&'a mut dyn Reader);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut family, mut table) = (String::new(), String::new());
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "family" => family = map.next_value()?,
                "table" => table = map.next_value()?,
                "elem" => map.next_value_seed(Each(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.0.map(&family, &table);
        Ok(())
    }
}

struct Each<'a>(&'a mut dyn Reader);

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(Small(element)) = list.next_element()? {
            self.0.element(&element);
        }
        Ok(())
    }
}

/// A value of which no more than so much is kept.
#[derive(Debug, Default)]
struct Small(Value);

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut left = MOST;
        let whole = Cut {
            left: &mut left,
            depth: DEEPEST,
        };
        whole.deserialize(from).map(Self)
    }
}

struct Cut<'a> {
    left: &'a mut usize,
    depth: usize,
}

impl Cut<'_> {
    /// What stands within this one.
    fn inner(&mut self) -> Option<Cut<'_>> {
        *self.left = self.left.checked_sub(1)?;
        Some(Cut {
            depth: self.depth.checked_sub(1)?,
            left: self.left,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Cut<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cut<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(inner) = self.inner() {
            match list.next_element_seed(inner)? {
                Some(value) => kept.push(value),
                None => return Ok(kept.into()),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(inner) = self.inner() {
            let Some(key) = map.next_key::<String>()? else {
                return Ok(kept.into());
            };
            kept.insert(key, map.next_value_seed(inner)?);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(kept.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told {
        rules: Vec<(String, Vec<Value>)>,
        elements: Vec<Value>,
        maps: Vec<String>,
        chains: Vec<(String, Option<String>)>,
    }

    impl Reader for Told {
        fn chain(&mut self, chain: &Chain) {
            self.chains.push((chain.name.clone(), chain.hook.clone()));
        }
        fn rule(&mut self, rule: &Rule) -> Result<()> {
            anyhow::ensure!(rule.chain != "stop", "enough");
            self.rules
                .push((rule.chain.clone(), rule.expressions().to_vec()));
            Ok(())
        }
        fn element(&mut self, element: &Value) {
            self.elements.push(element.clone());
        }
        fn map(&mut self, family: &str, table: &str) {
            self.maps.push(format!("{family} {table}"));
        }
    }

    fn told(text: &str) -> Result<(Told, bool)> {
        let mut told = Told::default();
        let xt = read(text.as_bytes(), &mut told)?;
        Ok((told, xt))
    }

    #[test]
    fn objects_come_one_by_one() {
        let text = r#"{"nftables": [
          {"metainfo": {"version": "1.0.6"}},
          {"chain": {"family": "ip", "table": "t", "name": "c } drop # handle 7\n", "hook": "input", "prio": 0}},
          {"map": {"family": "ip", "name": "m", "table": "t", "elem": [[1, {"drop": null}], 2]}},
          {"set": {"elem": [1, 2, 3]}},
          {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 3, "comment": "\"xt\"",
            "expr": [{"counter": {"packets": 5, "bytes": -1.5}}, {"drop": null}]}}]}"#;
        let (all, xt) = told(text).expect("rules");
        let hook = Some("input".to_owned());
        assert_eq!(all.chains, [("c } drop # handle 7\n".to_owned(), hook)]);
        assert_eq!((all.maps, all.elements.len()), (vec!["ip t".to_owned()], 2));
        let (chain, expressions) = &all.rules[0];
        assert_eq!((chain.as_str(), expressions.len(), xt), ("c", 2, false));
        let xt = text.replace("drop", "xt");
        assert!(told(&xt).expect("rules").1);
    }

    #[test]
    fn a_rule_of_any_length_is_cut() {
        let many = vec!["1"; 100_000].join(",");
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let rule = |expr: &str| {
            let text = format!(r#"{{"nftables": [{{"rule": {{"expr": [{expr}]}}}}]}}"#);
            told(&text).expect("a rule").0.rules.remove(0).1
        };
        assert!(rule(&many).len() <= MOST);
        let found = rule(&format!(
            r#"{{"drop": null}},{{"set": [{many}]}},{{"late": 1}}"#
        ));
        assert!(found[0].get("drop").is_some());
        assert!(found.len() == 2 && found[1]["set"][MOST].is_null());
        assert!(rule(&deep)[0].to_string().len() < 100);
    }

    #[test]
    fn what_is_no_ruleset_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"nftables\": 1}",
            "{\"nftables\": [",
            "{\"nftables\": []} x",
        ] {
            assert!(told(text).is_err(), "{text}");
        }
        let stop = r#"{"nftables": [{"rule": {"chain": "stop"}}]}"#;
        let why = format!("{:#}", told(stop).err().expect("refused"));
        assert!(why.contains("enough"), "{why}");
    }
}
