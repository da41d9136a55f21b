//! Samples as a capture file: pcapng (draft-ietf-opsawg-pcapng), with what netdiag knows of each
//! packet as its comment.
//!
//! Every interface is an Ethernet one here: libpcap reads no file whose interfaces have different
//! link types. Packets that were seen without a frame have one with addresses of zeros.
use std::{fs::File, io::Write, path::Path};

use anyhow::{Context, Result};

use super::style::clean;
use crate::{pipeline::samples::Sample, sys::output_file};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Says in which order the writer has its bytes.
const ORDER: u32 = 0x1a2b_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// Options of blocks.
const END: u16 = 0;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const FLAGS: u16 = 2;
const PROGRAM: u16 = 4;
const RESOLUTION: u16 = 9;
/// 10^-9 s.
const NANOSECONDS: u8 = 9;

pub struct Pcapng<W: Write = File> {
    to: W,
    /// In the order of their blocks.
    interfaces: Vec<String>,
}

impl Pcapng<File> {
    pub fn create(path: &Path) -> Result<Self> {
        let file = output_file::create(path);
        let written = file.and_then(Self::to);
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

impl<W: Write> Pcapng<W> {
    pub fn to(mut to: W) -> std::io::Result<Self> {
        let mut body = Body::default();
        body.word(ORDER);
        body.half(1);
        body.half(0);
        // The section's length is not known yet.
        body.word(u32::MAX);
        body.word(u32::MAX);
        body.option(
            PROGRAM,
            concat!("netdiag ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        to.write_all(&body.block(SECTION))?;
        Ok(Self {
            to,
            interfaces: Vec::new(),
        })
    }

    /// Writes packets in one piece: whoever reads meanwhile sees whole ones.
    pub fn put(&mut self, samples: &[Sample]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for sample in samples {
            let interface = self.interface(sample, &mut bytes);
            bytes.extend(packet(sample, interface));
        }
        self.to.write_all(&bytes)?;
        self.to.flush()
    }

    fn interface(&mut self, sample: &Sample, to: &mut Vec<u8>) -> u32 {
        let known = self.interfaces.iter().position(|i| *i == sample.interface);
        let index = known.unwrap_or_else(|| {
            let mut body = Body::default();
            body.half(ETHERNET);
            body.half(0);
            body.word(0);
            body.option(NAME, clean(&sample.interface).as_bytes());
            if let Some(role) = sample.role {
                body.option(DESCRIPTION, role.name().as_bytes());
            }
            body.option(RESOLUTION, &[NANOSECONDS]);
            to.extend(body.block(INTERFACE));
            self.interfaces.push(sample.interface.clone());
            self.interfaces.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

fn packet(sample: &Sample, interface: u32) -> Vec<u8> {
    let mut body = Body::default();
    body.word(interface);
    body.word((sample.time >> 32) as u32);
    body.word(sample.time as u32);
    body.word(u32::try_from(sample.bytes.len()).unwrap_or(0));
    body.word(sample.length);
    body.padded(&sample.bytes);
    body.option(COMMENT, clean(&sample.comment).as_bytes());
    if let Some(egress) = sample.egress {
        let way: u32 = if egress { 2 } else { 1 };
        body.option(FLAGS, &way.to_le_bytes());
    }
    body.block(PACKET)
}

/// What stands between a block's type and its end.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn half(&mut self, n: u16) {
        self.0.extend(n.to_le_bytes());
    }

    fn word(&mut self, n: u32) {
        self.0.extend(n.to_le_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, kind: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.half(kind);
        self.half(u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.padded(value);
    }

    /// With its type, the end of its options, and its length before and behind.
    fn block(mut self, kind: u32) -> Vec<u8> {
        self.half(END);
        self.half(0);
        let length = u32::try_from(self.0.len() + 12).unwrap_or(u32::MAX);
        let mut block = kind.to_le_bytes().to_vec();
        block.extend(length.to_le_bytes());
        block.extend(self.0);
        block.extend(length.to_le_bytes());
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types and bodies of the blocks.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
            let length = word(4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(length - 4) as usize, length);
            blocks.push((word(0), bytes[8..length - 4].to_vec()));
            bytes = &bytes[length..];
        }
        blocks
    }

    #[test]
    fn each_interface_is_told_once_before_its_packets() {
        let sample = |interface: &str, length: usize| Sample {
            time: 0x1_0000_0002,
            interface: interface.into(),
            role: None,
            egress: Some(true),
            bytes: vec![0x45; length],
            length: 1500,
            comment: "drop: \u{1b}".into(),
        };
        let mut bytes = Vec::new();
        let mut file = Pcapng::to(&mut bytes).expect("begun");
        file.put(&[sample("a", 5), sample("b", 8), sample("a", 128)])
            .expect("written");
        let blocks = blocks(&bytes);
        let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [SECTION, INTERFACE, PACKET, INTERFACE, PACKET, PACKET]
        );
        let (_, packet) = &blocks[4];
        assert_eq!(packet[..12], [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(packet[12..20], [8, 0, 0, 0, 0xdc, 5, 0, 0]);
        let text = String::from_utf8_lossy(packet).into_owned();
        assert!(text.contains("drop: \\u{1b}"), "{text}");
    }
}
