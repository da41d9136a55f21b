//! Packets through the hops' programs without a hook (BPF_PROG_TEST_RUN): what they count of each,
//! and what one costs where nothing else happens.
use std::time::Duration;

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
    programs::{Program, SchedClassifier, TestRun, TestRunOptions},
};
use netdiag_common::{
    config::{HopSettings, MAX_VXLAN_PORTS},
    hop::{FlowHop, FlowHopKey, Outer, OuterKey},
};

use super::{flush, load};
use crate::model::{
    flow::{TCP, UDP},
    level::Level,
};

/// Where `struct __sk_buff` has them (include/uapi/linux/bpf.h); the kernel wants zeros elsewhere.
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;
const CONTEXT: usize = 192;

/// A packet as a hook sees it, from its link header on.
pub struct Frame<'a> {
    pub bytes: &'a [u8],
    /// Payload bytes of each segment of a superpacket, 0 for a packet of its own.
    pub gso_size: u32,
    pub segments: u32,
}

/// The programs of the hops, loaded and attached nowhere.
pub struct Trial(Ebpf);

impl Trial {
    /// `ports` are those of VXLAN devices.
    pub fn load(smallest_limit: u32, ports: [u16; MAX_VXLAN_PORTS]) -> Result<Self> {
        let mut ebpf = load::load_object(None, None, &load::Asked::quietly(0))?;
        let mut settings: Array<_, HopSettings> =
            Array::try_from(ebpf.map_mut("HOP_SETTINGS").context("no settings")?)?;
        let of = HopSettings {
            smallest_limit,
            vxlan_ports: ports,
            ..HopSettings::default()
        };
        settings.set(0, of, 0)?;
        Ok(Self(ebpf))
    }

    /// Runs `program` on a frame so many times; the mean time of one.
    pub fn pass(&mut self, program: &str, frame: &Frame<'_>, times: u32) -> Result<Duration> {
        let mut context = [0; CONTEXT];
        context[GSO_SEGS..GSO_SEGS + 4].copy_from_slice(&frame.segments.to_ne_bytes());
        context[GSO_SIZE..GSO_SIZE + 4].copy_from_slice(&frame.gso_size.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame.bytes),
            ctx_in: Some(&context),
            repeat: times,
            ..TestRunOptions::default()
        };
        let ran = loaded(&mut self.0, program)?.test_run(options)?;
        Ok(ran.duration)
    }

    /// How much is kept from here on.
    pub fn keep(&mut self, level: Level) -> Result<()> {
        let map = self.0.map_mut("HOP_SETTINGS").context("no settings")?;
        let mut settings: Array<_, HopSettings> = Array::try_from(map)?;
        let mut of = settings.get(&0, 0)?;
        of.level = level.wire();
        Ok(settings.set(0, of, 0)?)
    }

    /// What was counted of flows, which is then forgotten.
    pub fn take_flows(&mut self) -> Result<Vec<(FlowHopKey, FlowHop)>> {
        flush::all(&mut self.0);
        let flows = take(&mut self.0, "FLOWS")?;
        self.next_reading()?;
        Ok(flows)
    }

    /// From here on there is room for new flows again.
    fn next_reading(&mut self) -> Result<()> {
        let map = self.0.map_mut("READINGS").context("no readings")?;
        let mut readings: Array<_, u64> = Array::try_from(map)?;
        let before = readings.get(&0, 0)?;
        Ok(readings.set(0, before + 1, 0)?)
    }

    /// The same of pairs of outer addresses.
    pub fn take_outers(&mut self) -> Result<Vec<(OuterKey, Outer)>> {
        flush::all(&mut self.0);
        take(&mut self.0, "OUTERS")
    }
}

/// Runs of one packet that make a mean.
const RUNS: u32 = 50_000;

/// What a packet costs at one hop here, at each level: UDP, and TCP that carries data.
pub fn costs() -> Result<Vec<(Level, [Duration; 2])>> {
    let mut trial = Trial::load(1450, [0; MAX_VXLAN_PORTS])?;
    let frames = [(UDP, 8), (TCP, 20)].map(|(protocol, header)| frame(protocol, header));
    let mut all = Vec::new();
    for level in Level::ALL {
        trial.keep(level)?;
        let mut of = |bytes: &[u8]| {
            let frame = Frame {
                bytes,
                gso_size: 0,
                segments: 0,
            };
            trial.pass("hop_ingress", &frame, RUNS)
        };
        all.push((level, [of(&frames[0])?, of(&frames[1])?]));
    }
    Ok(all)
}

/// A packet between two addresses for documentation (RFC 5737).
fn frame(protocol: u8, header: usize) -> Vec<u8> {
    const PAYLOAD: usize = 64;
    let length = 20 + header + PAYLOAD;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    // Ports above those that mean something; of TCP, a header of five words that acknowledges.
    frame.extend([0xc0, 0, 0xc0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10]);
    frame.resize(14 + length, 0);
    frame
}

fn loaded<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => {
            if program.fd().is_err() {
                program.load().with_context(|| format!("loading {name}"))?;
            }
            Ok(program)
        }
        _ => anyhow::bail!("no program {name} for hops"),
    }
}

fn take<K: aya::Pod, V: aya::Pod>(ebpf: &mut Ebpf, name: &str) -> Result<Vec<(K, V)>> {
    let map = ebpf
        .map_mut(name)
        .with_context(|| format!("no map {name}"))?;
    let mut map: HashMap<&mut MapData, K, V> = HashMap::try_from(map)?;
    let rows = map.iter().collect::<Result<Vec<_>, _>>()?;
    for (key, _) in &rows {
        map.remove(key)?;
    }
    Ok(rows)
}
