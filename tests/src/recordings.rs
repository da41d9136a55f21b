//! The recordings that the tests keep, and the blocks that a recording is made of.
use std::path::PathBuf;

/// Bytes before which the packed text of a block begins: its length, and its checksum.
const HEAD: usize = 8;

pub fn folder() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recordings").into()
}

pub fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.ndr"))
}

pub fn bytes(name: &str) -> Vec<u8> {
    let file = file(name);
    std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Their names, without the suffix.
pub fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of recordings");
    let names = files.filter_map(|file| {
        let name = file.expect("a file").file_name().into_string();
        Some(name.expect("a name in ASCII").strip_suffix(".ndr")?.into())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The same recording with other text in its blocks.
pub fn rewritten(recording: &[u8], mut with: impl FnMut(&str) -> String) -> Vec<u8> {
    let head = recording.iter().position(|b| *b == b'\n').expect("a head") + 1;
    let mut out = recording[..head].to_vec();
    let mut rest = &recording[head..];
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let packed = &more[HEAD - 4..HEAD - 4 + length];
        rest = &more[HEAD - 4 + length..];
        let text = miniz_oxide::inflate::decompress_to_vec(packed).expect("a block");
        let text = with(std::str::from_utf8(&text).expect("text"));
        let packed = packed_within_limits(text.as_bytes());
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(&packed).to_le_bytes());
        out.extend(packed);
    }
    out
}

/// A reader refuses what is packed better than any node's readings are.
fn packed_within_limits(text: &[u8]) -> Vec<u8> {
    const RATIO: usize = 64;
    let packed = miniz_oxide::deflate::compress_to_vec(text, 4);
    match text.len() > packed.len() * RATIO {
        true => miniz_oxide::deflate::compress_to_vec(text, 0),
        false => packed,
    }
}
