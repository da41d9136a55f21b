//! A value as it is written today, or the text that earlier recordings have in its place. No more
//! of it is held than is wanted; serde's untagged enums keep all of it first, which takes many times
//! its text.
use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

pub fn either<'de, D, T, U>(
    from: D,
    now: impl FnOnce(T) -> U,
    earlier: impl FnOnce(&str) -> U,
) -> Result<U, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_any(Either {
        now,
        earlier,
        of: PhantomData,
    })
}

struct Either<T, N, E> {
    now: N,
    earlier: E,
    of: PhantomData<T>,
}

impl<'de, T, U, N, E> Visitor<'de> for Either<T, N, E>
where
    T: Deserialize<'de>,
    N: FnOnce(T) -> U,
    E: FnOnce(&str) -> U,
{
    type Value = U;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a variant or a text")
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<U, F> {
        // Variants that hold nothing are texts too.
        match T::deserialize(StrDeserializer::<F>::new(text)) {
            Ok(value) => Ok((self.now)(value)),
            Err(_) => Ok((self.earlier)(text)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<U, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Now {
        Holds(u8),
        Nothing,
    }

    fn read(text: &str) -> Result<String, serde_json::Error> {
        let mut from = serde_json::Deserializer::from_str(text);
        either(&mut from, |now: Now| format!("{now:?}"), str::to_uppercase)
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read(r#"{"Holds":7}"#).ok().as_deref(), Some("Holds(7)"));
        assert_eq!(read(r#""Nothing""#).ok().as_deref(), Some("Nothing"));
        assert_eq!(read(r#""a text""#).ok().as_deref(), Some("A TEXT"));
        for other in ["[0,0]", "7", "null", r#"{"Other":1}"#] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
