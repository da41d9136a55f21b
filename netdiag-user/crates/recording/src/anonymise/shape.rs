//! What a value says, with its texts given to whoever maps or collects them, and nothing else touched.
//!
//! Serde tells a text from the name of a struct's member or of an enum's variant: those are netdiag's
//! own and stay, whatever people call their pods. It tells bytes from numbers too, and of each text in
//! whose member it stands.
use serde::ser::{self, Error as _, Serialize};
use serde_json::{Error, Map, Value};

use crate::model::address::Prefix;

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The struct or enum.
    pub of: &'static str,
    /// Its member or variant.
    pub member: &'static str,
    /// The number in a tuple.
    pub at: usize,
}

pub trait Texts {
    fn text(&mut self, text: &str, place: Place) -> String;
    fn prefix(&mut self, prefix: Prefix) -> Prefix;
    /// A list of bytes, as link-layer addresses are.
    fn bytes(&mut self, bytes: &[u8]) -> Vec<u8>;
}

pub fn value<T: Serialize + ?Sized>(it: &T, with: &mut dyn Texts) -> Result<Value, Error> {
    let place = Place::default();
    Ok(it.serialize(Shape { with, place })?.into())
}

pub struct Shape<'a> {
    with: &'a mut dyn Texts,
    place: Place,
}

/// Bytes are told from other numbers until their list is whole.
pub enum Out {
    Byte(u8),
    Value(Value),
}

impl From<Out> for Value {
    fn from(out: Out) -> Self {
        match out {
            Out::Byte(byte) => byte.into(),
            Out::Value(value) => value,
        }
    }
}

type Done = Result<Out, Error>;

fn done(value: impl Into<Value>) -> Done {
    Ok(Out::Value(value.into()))
}

fn tagged(variant: &str, value: Value) -> Done {
    done(Map::from_iter([(variant.to_owned(), value)]))
}

impl<'a> Shape<'a> {
    fn inside(&mut self, place: Place) -> Shape<'_> {
        let with = &mut *self.with;
        Shape { with, place }
    }

    fn list(self, variant: Option<&'static str>) -> List<'a> {
        let items = Vec::new();
        List {
            shape: self,
            items,
            variant,
            is_tuple: false,
        }
    }

    fn tuple(self, variant: Option<&'static str>) -> List<'a> {
        let is_tuple = true;
        List {
            is_tuple,
            ..self.list(variant)
        }
    }

    fn members(self, of: &'static str, variant: Option<&'static str>) -> Members<'a> {
        Members {
            shape: self,
            of,
            variant,
            members: Map::new(),
            key: None,
        }
    }

    fn at(self, of: &'static str, member: &'static str) -> Self {
        let place = Place { of, member, at: 0 };
        Self { place, ..self }
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty,)+) => {$(
        fn $method(self, number: $type) -> Done {
            done(number)
        }
    )+};
}

impl<'a> ser::Serializer for Shape<'a> {
    type Ok = Out;
    type Error = Error;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    numbers! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_f32: f32,
        serialize_f64: f64,
    }

    fn serialize_u8(self, byte: u8) -> Done {
        Ok(Out::Byte(byte))
    }

    fn serialize_char(self, c: char) -> Done {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Done {
        done(self.with.text(text, self.place))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        done(self.with.bytes(bytes))
    }

    fn serialize_none(self) -> Done {
        done(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Done {
        it.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        done(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        done(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        done(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, of: &'static str, it: &T) -> Done {
        match of {
            // As many bytes as every one has: serde calls them a tuple, of numbers.
            "Mac" => {
                let bytes: Vec<u8> = serde_json::from_value(serde_json::to_value(it)?)?;
                done(self.with.bytes(&bytes))
            }
            _ => it.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        of: &'static str,
        _: u32,
        variant: &'static str,
        it: &T,
    ) -> Done {
        let inside = match of {
            // An error is of what it was asked for.
            "Result" => self,
            _ => self.at(of, variant),
        };
        tagged(variant, it.serialize(inside)?.into())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, Error> {
        Ok(self.list(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, Error> {
        Ok(self.tuple(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'a>, Error> {
        Ok(self.tuple(None))
    }

    fn serialize_tuple_variant(
        self,
        of: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'a>, Error> {
        Ok(self.at(of, variant).tuple(Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.members("", None))
    }

    fn serialize_struct(self, of: &'static str, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.members(of, None))
    }

    fn serialize_struct_variant(
        self,
        of: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>, Error> {
        Ok(self.members(of, Some(variant)))
    }
}

pub struct List<'a> {
    shape: Shape<'a>,
    items: Vec<Out>,
    variant: Option<&'static str>,
    is_tuple: bool,
}

impl List<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), Error> {
        let mut place = self.shape.place;
        if self.is_tuple {
            place.at = self.items.len();
        }
        self.items.push(it.serialize(self.shape.inside(place))?);
        Ok(())
    }

    fn all(self) -> Done {
        let byte = |it: &Out| match it {
            Out::Byte(byte) => Some(*byte),
            Out::Value(_) => None,
        };
        let bytes: Option<Vec<u8>> = self.items.iter().map(byte).collect();
        let list: Value = match bytes.filter(|_| !self.is_tuple) {
            Some(bytes) => self.shape.with.bytes(&bytes).into(),
            None => self.items.into_iter().map(Value::from).collect(),
        };
        match self.variant {
            Some(variant) => tagged(variant, list),
            None => done(list),
        }
    }
}

macro_rules! lists {
    ($($of:ident: $add:ident,)+) => {$(
        impl ser::$of for List<'_> {
            type Ok = Out;
            type Error = Error;

            fn $add<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), Error> {
                self.add(it)
            }

            fn end(self) -> Done {
                self.all()
            }
        }
    )+};
}
lists! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

pub struct Members<'a> {
    shape: Shape<'a>,
    of: &'static str,
    variant: Option<&'static str>,
    members: Map<String, Value>,
    /// Of a map.
    key: Option<String>,
}

impl Members<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, member: &'static str, it: &T) -> Result<(), Error> {
        let place = Place {
            of: self.of,
            member,
            at: 0,
        };
        // An address with its length is one thing, and is seen to at its end.
        let value = match self.of {
            PREFIX => serde_json::to_value(it)?,
            _ => it.serialize(self.shape.inside(place))?.into(),
        };
        self.members.insert(member.to_owned(), value);
        Ok(())
    }

    fn all(self) -> Done {
        let members = Value::Object(self.members);
        match self.variant {
            Some(variant) => tagged(variant, members),
            None if self.of == PREFIX => {
                let prefix = self.shape.with.prefix(serde_json::from_value(members)?);
                done(serde_json::to_value(prefix)?)
            }
            None => done(members),
        }
    }
}

/// How serde calls [`Prefix`].
const PREFIX: &str = "Prefix";

impl ser::SerializeStruct for Members<'_> {
    type Ok = Out;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        member: &'static str,
        it: &T,
    ) -> Result<(), Error> {
        self.add(member, it)
    }

    fn end(self) -> Done {
        self.all()
    }
}

impl ser::SerializeStructVariant for Members<'_> {
    type Ok = Out;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        member: &'static str,
        it: &T,
    ) -> Result<(), Error> {
        self.add(member, it)
    }

    fn end(self) -> Done {
        self.all()
    }
}

/// Of a map both sides are of the member that it is.
impl ser::SerializeMap for Members<'_> {
    type Ok = Out;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let place = self.shape.place;
        let key: Value = key.serialize(self.shape.inside(place))?.into();
        self.key = Some(match key {
            Value::String(key) => key,
            Value::Number(key) => key.to_string(),
            _ => return Err(Error::custom("a map's key is no text")),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), Error> {
        let place = Place {
            at: 1,
            ..self.shape.place
        };
        let value = it.serialize(self.shape.inside(place))?.into();
        let key = self.key.take().unwrap_or_default();
        self.members.insert(key, value);
        Ok(())
    }

    fn end(self) -> Done {
        self.all()
    }
}
