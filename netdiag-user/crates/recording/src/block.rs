//! Blocks with length and checksum.
use std::{
    io::{self, Read, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Result, bail};
use miniz_oxide::inflate::{self, TINFLStatus};

use super::limits;

/// The first line up to the number of the form.
const MAGIC: &str = "netdiag.recording/";
const FORM: u32 = 1;
/// The first line's end is looked for in so many bytes.
const LONGEST_LINE: usize = 32;
/// deflate's level: twice the speed of the usual one for a tenth more bytes.
const LEVEL: u8 = 4;

pub struct BlockWriter<W> {
    to: W,
    ratio: Ratio,
}

impl<W: Write> BlockWriter<W> {
    pub fn begin(mut to: W) -> io::Result<Self> {
        to.write_all(format!("{MAGIC}{FORM}\n").as_bytes())?;
        let ratio = Ratio::default();
        Ok(Self { to, ratio })
    }

    /// In one piece, so that a kill leaves all of it or a block that is seen to be cut.
    pub fn put(&mut self, text: &[u8]) -> io::Result<()> {
        if text.len() > limits::TEXT {
            return Err(io::Error::other("the node is too large for a recording"));
        }
        let mut packed = miniz_oxide::deflate::compress_to_vec(text, LEVEL);
        if text.len() > self.ratio.most(packed.len()) {
            // Nobody reads what is packed that well: it stands there as it is.
            packed = miniz_oxide::deflate::compress_to_vec(text, 0);
        }
        self.ratio.add(packed.len(), text.len());
        let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        let mut block = length.to_le_bytes().to_vec();
        block.extend(crc32fast::hash(&packed).to_le_bytes());
        block.extend(packed);
        self.to.write_all(&block)?;
        self.to.flush()
    }
}

/// Why no further block can be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    Cut,
    Damaged,
    /// It unpacks to more than blocks do.
    Bomb,
}

/// All bytes of the blocks so far. Many small blocks may unpack to no more than a large one.
#[derive(Default)]
struct Ratio {
    packed: usize,
    text: usize,
}

impl Ratio {
    /// Bytes that the next block of so many packed bytes may unpack to.
    fn most(&self, packed: usize) -> usize {
        let packed = self.packed.saturating_add(packed);
        let all = packed.saturating_mul(limits::RATIO);
        let left = all.saturating_add(limits::FREE).saturating_sub(self.text);
        left.min(limits::TEXT)
    }

    fn add(&mut self, packed: usize, text: usize) {
        self.packed = self.packed.saturating_add(packed);
        self.text = self.text.saturating_add(text);
    }
}

/// Bytes of the blocks that this process has unpacked, of all recordings.
static READ: AtomicU64 = AtomicU64::new(0);

pub fn bytes_read() -> u64 {
    READ.load(Ordering::Relaxed)
}

pub struct BlockReader<R> {
    from: R,
    ratio: Ratio,
    /// Bytes of the whole blocks so far.
    pub offset: u64,
}

impl<R: Read> BlockReader<R> {
    /// Refuses what is no recording, or one of a form that is not known yet.
    pub fn open(mut from: R) -> Result<Self> {
        let line = first_line(&mut from);
        let form = std::str::from_utf8(&line).ok();
        let form = form.and_then(|line| line.strip_prefix(MAGIC));
        match form.and_then(|form| form.parse::<u32>().ok()) {
            Some(FORM) => Ok(Self {
                from,
                ratio: Ratio::default(),
                offset: line.len() as u64 + 1,
            }),
            Some(form) => bail!(
                "it is a recording of form {form}, and this netdiag reads form {FORM}: use a \
                 newer netdiag"
            ),
            None => bail!("it is no recording of netdiag's"),
        }
    }

    /// The next block's text; nothing at the end.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let mut head = Vec::new();
        let read = (&mut self.from).take(8).read_to_end(&mut head);
        if matches!(read, Ok(0)) {
            return Ok(None);
        }
        let head: [u8; 8] = head.try_into().map_err(|_| Broken::Cut)?;
        let (length, checksum) = (word(&head, 0), word(&head, 4));
        if length as usize > limits::PACKED {
            return Err(Broken::Damaged);
        }
        let mut packed = Vec::new();
        let read = (&mut self.from)
            .take(u64::from(length))
            .read_to_end(&mut packed);
        if read.ok() != Some(length as usize) {
            return Err(Broken::Cut);
        }
        if crc32fast::hash(&packed) != checksum {
            return Err(Broken::Damaged);
        }
        let text = inflate::decompress_to_vec_with_limit(&packed, self.ratio.most(packed.len()));
        let text = text.map_err(|error| match error.status {
            TINFLStatus::HasMoreOutput => Broken::Bomb,
            _ => Broken::Damaged,
        })?;
        self.ratio.add(packed.len(), text.len());
        self.offset += 8 + u64::from(length);
        READ.fetch_add(8 + u64::from(length), Ordering::Relaxed);
        Ok(Some(text))
    }
}

fn word(bytes: &[u8; 8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Byte by byte: what follows it belongs to the blocks.
fn first_line(from: &mut impl Read) -> Vec<u8> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < LONGEST_LINE && from.read_exact(&mut byte).is_ok() && byte != *b"\n" {
        line.extend(byte);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_wherever_it_comes_from() {
        let mut bytes = Vec::new();
        let mut blocks = BlockWriter::begin(&mut bytes).expect("begun");
        blocks.put(b"{}\n").expect("written");
        let before = bytes_read();
        let mut blocks = BlockReader::open(bytes.as_slice()).expect("a recording");
        assert!(matches!(blocks.next(), Ok(Some(_))));
        let block = bytes.len() as u64 - (MAGIC.len() as u64 + 2);
        // Other tests read too.
        assert!(bytes_read() >= before + block);
    }

    #[test]
    fn small_blocks_unpack_to_no_more_than_a_large_one() {
        let mut ratio = Ratio::default();
        assert_eq!(ratio.most(10), limits::FREE + 10 * limits::RATIO);
        ratio.add(10, limits::FREE);
        assert_eq!(ratio.most(10), 20 * limits::RATIO);
        assert_eq!(ratio.most(limits::TEXT), limits::TEXT);
    }
}
