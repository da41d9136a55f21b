//! Types as a compiler lays them out, for tests: structs, enums, tracepoints.
use super::{ENUM, FUNC_PROTO, INT, MAGIC, STRUCT, TYPEDEF};

const POINTER: u32 = 2;

/// Types by their number, from 1 on.
pub struct Built {
    words: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl Built {
    /// With an `int`, which is number 1.
    pub fn new() -> Self {
        let mut built = Self {
            words: Vec::new(),
            strings: vec![0],
            count: 0,
        };
        built.add("int", INT, 0, 4, &[32]);
        built
    }

    fn add(&mut self, name: &str, kind: u32, members: usize, size: u32, body: &[u32]) -> u32 {
        let name = self.string(name);
        let members = u32::try_from(members).expect("few members");
        self.words.extend([name, (kind << 24) | members, size]);
        self.words.extend(body);
        self.count += 1;
        self.count
    }

    fn string(&mut self, text: &str) -> u32 {
        let at = self.strings.len();
        self.strings.extend(text.bytes().chain([0]));
        u32::try_from(at).expect("few strings")
    }

    /// Members with their types, eight bytes apart.
    pub fn structure(&mut self, name: &str, members: &[(&str, u32)]) -> u32 {
        let mut body = Vec::new();
        for (at, (member, of)) in (0..).zip(members) {
            body.extend([self.string(member), *of, at * 64]);
        }
        self.add(name, STRUCT, members.len(), 0, &body)
    }

    /// Names with the numbers from 0 on.
    pub fn enumeration(&mut self, name: &str, members: &[&str]) -> u32 {
        let mut body = Vec::new();
        for (number, member) in (0..).zip(members) {
            body.extend([self.string(member), number]);
        }
        self.add(name, ENUM, members.len(), 4, &body)
    }

    /// As `DEFINE_TRACE` has it: a pointer to a function whose first argument is the probe's own.
    pub fn tracepoint(&mut self, name: &str, arguments: usize) {
        let all = arguments + 1;
        let body = [0, 1].repeat(all);
        let function = self.add("", FUNC_PROTO, all, 0, &body);
        let pointer = self.add("", POINTER, 0, function, &[]);
        self.add(&format!("btf_trace_{name}"), TYPEDEF, 0, pointer, &[]);
    }

    pub fn bytes(self) -> Vec<u8> {
        let length = |n: usize| u32::try_from(n).expect("a small blob");
        let types = length(self.words.len() * 4);
        let header = [24, 0, types, types, length(self.strings.len())];
        let words = header.iter().chain(&self.words);
        let [low, high] = MAGIC.to_le_bytes();
        let first = [low, high, 1, 0].into_iter();
        let rest = words.flat_map(|word| word.to_le_bytes());
        first.chain(rest).chain(self.strings).collect()
    }
}
