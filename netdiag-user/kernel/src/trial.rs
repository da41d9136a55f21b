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

use super::load;

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

    /// What was counted of flows, which is then forgotten.
    pub fn take_flows(&mut self) -> Result<Vec<(FlowHopKey, FlowHop)>> {
        take(&mut self.0, "FLOWS")
    }

    /// The same of pairs of outer addresses.
    pub fn take_outers(&mut self) -> Result<Vec<(OuterKey, Outer)>> {
        take(&mut self.0, "OUTERS")
    }
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
