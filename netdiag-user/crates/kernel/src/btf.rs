//! A walker over the running kernel's BTF (include/uapi/linux/btf.h): struct offsets, enum
//! values, argument counts. aya-obj keeps members private, so this is our own; every index is
//! bounded, a damaged blob gives an error and never a panic.
#[cfg(test)]
pub(super) mod built;

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};

const MAGIC: u16 = 0xeb9f;

const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;
const LAST_KIND: u32 = 19;

/// Anonymous structs within structs are followed this deep.
const DEPTH: u32 = 8;

pub struct Btf {
    bytes: Arc<Vec<u8>>,
    strings: (usize, usize),
    /// Offset of each type by id; id 0 is void.
    types: Vec<usize>,
    /// Ids by a number for their name, in order: names would be tens of thousands of strings.
    by_name: Vec<(u64, u32)>,
}

fn number(name: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}

struct Type {
    kind: u32,
    /// Member count or such.
    vlen: usize,
    /// Bitfield flag of a struct.
    kind_flag: bool,
    /// Size or referenced type.
    size_or_type: u32,
    name: u32,
    /// Offset of what follows the common part.
    body: usize,
}

impl Btf {
    pub fn parse(bytes: impl Into<Arc<Vec<u8>>>) -> Result<Self> {
        let bytes = bytes.into();
        ensure!(bytes.len() >= 24, "BTF is shorter than its header");
        let magic = u16::from_le_bytes([bytes[0], bytes[1]]);
        ensure!(magic == MAGIC, "BTF has the wrong magic number {magic:#x}");
        let word = |at| read_u32(&bytes, at);
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32| -> Result<(usize, usize)> {
            let start = header
                .checked_add(offset as usize)
                .context("BTF offset overflows")?;
            let end = start
                .checked_add(length as usize)
                .context("BTF length overflows")?;
            ensure!(end <= bytes.len(), "BTF section reaches past its end");
            Ok((start, end))
        };
        let types = section(word(8)?, word(12)?)?;
        let strings = section(word(16)?, word(20)?)?;
        let mut btf = Self {
            bytes,
            strings,
            types: vec![0],
            by_name: Vec::new(),
        };
        btf.index(types)?;
        Ok(btf)
    }

    fn index(&mut self, (start, end): (usize, usize)) -> Result<()> {
        let mut at = start;
        while at < end {
            let t = self.type_at(at)?;
            let id = u32::try_from(self.types.len()).context("too many BTF types")?;
            self.types.push(at);
            if t.name != 0 && matches!(t.kind, STRUCT | UNION | ENUM | ENUM64 | TYPEDEF) {
                let name = number(self.bytes_of(t.name)?);
                self.by_name.push((name, id));
            }
            at = t.body + body_length(&t)?;
        }
        ensure!(at == end, "BTF's last type is cut off");
        self.by_name.sort_unstable();
        Ok(())
    }

    fn type_at(&self, at: usize) -> Result<Type> {
        let info = read_u32(&self.bytes, at + 4)?;
        Ok(Type {
            kind: (info >> 24) & 0x1f,
            vlen: (info & 0xffff) as usize,
            kind_flag: info >> 31 == 1,
            size_or_type: read_u32(&self.bytes, at + 8)?,
            name: read_u32(&self.bytes, at)?,
            body: at + 12,
        })
    }

    fn get(&self, id: u32) -> Result<Type> {
        let at = self.types.get(id as usize).copied();
        match at {
            Some(at) if id != 0 => self.type_at(at),
            _ => bail!("BTF has no type {id}"),
        }
    }

    fn string(&self, offset: u32) -> Result<String> {
        Ok(String::from_utf8_lossy(self.bytes_of(offset)?).into_owned())
    }

    fn bytes_of(&self, offset: u32) -> Result<&[u8]> {
        let (start, end) = self.strings;
        let from = start + offset as usize;
        ensure!(from < end, "BTF string reaches past its section");
        let bytes = &self.bytes[from..end];
        let length = bytes
            .iter()
            .position(|b| *b == 0)
            .context("BTF string has no end")?;
        Ok(&bytes[..length])
    }

    fn find(&self, name: &str, kinds: &[u32]) -> Option<Type> {
        let wanted = number(name.as_bytes());
        let from = self.by_name.partition_point(|(it, _)| *it < wanted);
        let same = self.by_name[from..]
            .iter()
            .take_while(|(it, _)| *it == wanted);
        same.filter_map(|(_, id)| self.get(*id).ok()).find_map(|t| {
            if self.bytes_of(t.name).ok()? != name.as_bytes() {
                return None;
            }
            (kinds.contains(&t.kind) && t.vlen > 0 || t.kind == TYPEDEF && kinds.contains(&TYPEDEF))
                .then_some(t)
        })
    }

    /// Offset in bytes of `path` (`member` or `member.member`) in `struct name`.
    pub fn offset(&self, name: &str, path: &str) -> Option<u32> {
        let mut t = self.find(name, &[STRUCT, UNION])?;
        let mut bits = 0;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let (at, id) = self.member(&t, part, DEPTH)?;
            bits += at;
            if parts.peek().is_some() {
                t = self.resolve(id)?;
            }
        }
        Some(bits / 8)
    }

    /// Offset in bits and type of a member, through anonymous structs and unions.
    fn member(&self, t: &Type, name: &str, depth: u32) -> Option<(u32, u32)> {
        if depth == 0 || !matches!(t.kind, STRUCT | UNION) {
            return None;
        }
        for i in 0..t.vlen {
            let at = t.body + i * 12;
            let member = read_u32(&self.bytes, at).ok()?;
            let id = read_u32(&self.bytes, at + 4).ok()?;
            let raw = read_u32(&self.bytes, at + 8).ok()?;
            let bits = if t.kind_flag { raw & 0x00ff_ffff } else { raw };
            let label = self.string(member).ok()?;
            if label == name {
                return Some((bits, id));
            }
            if label.is_empty()
                && let Some(inner) = self.resolve(id)
                && let Some((at, id)) = self.member(&inner, name, depth - 1)
            {
                return Some((bits + at, id));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let t = self.get(id).ok()?;
            if !matches!(t.kind, TYPEDEF | VOLATILE | CONST | RESTRICT) {
                return Some(t);
            }
            id = t.size_or_type;
        }
        None
    }

    /// Members of an enum with their values (the low 32 bits of an enum64).
    pub fn enumeration(&self, name: &str) -> Option<Vec<(u32, String)>> {
        let t = self.find(name, &[ENUM, ENUM64])?;
        let size = if t.kind == ENUM { 8 } else { 12 };
        (0..t.vlen)
            .map(|i| {
                let at = t.body + i * size;
                let label = self.string(read_u32(&self.bytes, at).ok()?).ok()?;
                Some((read_u32(&self.bytes, at + 4).ok()?, label))
            })
            .collect()
    }

    /// Arguments of a BTF tracepoint, its own context pointer not counted.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = self.find(&format!("btf_trace_{name}"), &[TYPEDEF])?;
        let pointer = self.resolve(typedef.size_or_type)?;
        let proto = self.get(pointer.size_or_type).ok()?;
        (proto.kind == FUNC_PROTO).then(|| proto.vlen.saturating_sub(1))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    let slice = at.checked_add(4).and_then(|end| bytes.get(at..end));
    let word: [u8; 4] = slice.context("BTF is cut off")?.try_into()?;
    Ok(u32::from_le_bytes(word))
}

/// Bytes after the common part of a type.
fn body_length(t: &Type) -> Result<usize> {
    Ok(match t.kind {
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION => t.vlen * 12,
        ENUM => t.vlen * 8,
        FUNC_PROTO => t.vlen * 8,
        DATASEC | ENUM64 => t.vlen * 12,
        kind if kind <= LAST_KIND => 0,
        kind => bail!("BTF has a type of the unknown kind {kind}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{built::Built, *};

    /// One struct `s { int a; }`.
    fn small() -> Vec<u8> {
        let mut built = Built::new();
        built.structure("s", &[("a", 1)]);
        built.bytes()
    }

    #[test]
    fn finds_a_member() {
        let btf = Btf::parse(small()).expect("well formed");
        assert_eq!(btf.offset("s", "a"), Some(0));
        assert_eq!(btf.offset("s", "b"), None);
        assert_eq!(btf.offset("t", "a"), None);
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..80, value: u8, cut in 0usize..90) {
            let mut bytes = small();
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(cut.max(1));
            if let Ok(btf) = Btf::parse(bytes) {
                let _ = btf.offset("s", "a");
                let _ = btf.enumeration("s");
                let _ = btf.tracepoint_arguments("s");
            }
        }
    }
}
