//! The tables of a recording as they are read, by the columns that its header names.
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    dns::{Dns, DnsKey},
    event::{CAPTURE, Event},
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};

use super::{
    cells::{Cells, columns},
    entry::Header,
    limits::{self, Fault, rows},
    lines::{Members, SampleText, each, plain},
    table::{Read, ordered, places},
};
use crate::model::observation::Observation;

#[derive(Default)]
pub struct Tables {
    flows: Read<FlowHopKey, FlowHop>,
    outers: Read<OuterKey, Outer>,
    icmp_errors: Read<IcmpErrorKey, IcmpError>,
    dns: Read<DnsKey, Dns>,
    claims: Read<NeighbourAnnouncementKey, NeighbourAnnouncement>,
    drops: Read<DropKey, Dropped>,
    retransmits: Read<RetransmitKey, Retransmitted>,
    oom_kills: Read<u32, OomKill>,
    sample: Vec<Option<usize>>,
}

impl Tables {
    pub fn new(header: &Header) -> Result<Self, Fault> {
        let none = Default::default();
        let of = |table: &str| header.columns.get(table).unwrap_or(&none);
        let (_, sample) = of("samples");
        Ok(Self {
            flows: Read::new(of("flows"), rows::FLOWS)?,
            outers: Read::new(of("outers"), rows::OUTERS)?,
            icmp_errors: Read::new(of("icmp_errors"), rows::ICMP_ERRORS)?,
            dns: Read::new(of("dns"), rows::DNS)?,
            claims: Read::new(of("claims"), rows::CLAIMS)?,
            drops: Read::new(of("drops"), rows::DROPS)?,
            retransmits: Read::new(of("retransmits"), rows::RETRANSMITS)?,
            oom_kills: Read::new(of("oom_kills"), rows::OOM_KILLS)?,
            sample: places(&columns::<Event>(), sample)?,
        })
    }

    pub fn apply(&mut self, tables: &Members<'_>) -> Result<(), Fault> {
        for (name, changes) in &tables.0 {
            let changes = plain(changes.get())?;
            match name.as_str() {
                "flows" => self.flows.apply(&changes)?,
                "outers" => self.outers.apply(&changes)?,
                "icmp_errors" => self.icmp_errors.apply(&changes)?,
                "dns" => self.dns.apply(&changes)?,
                "claims" => self.claims.apply(&changes)?,
                "drops" => self.drops.apply(&changes)?,
                "retransmits" => self.retransmits.apply(&changes)?,
                "oom_kills" => self.oom_kills.apply(&changes)?,
                // Of a later netdiag.
                _ => {}
            }
        }
        Ok(())
    }

    pub fn observation(&self) -> Observation {
        Observation {
            flows: self.flows.rows(),
            outers: self.outers.rows(),
            icmp_errors: self.icmp_errors.rows(),
            dns: self.dns.rows(),
            claims: self.claims.rows(),
            drops: self.drops.rows(),
            retransmits: self.retransmits.rows(),
            oom_kills: self.oom_kills.rows(),
            ..Observation::default()
        }
    }

    pub fn events(
        &self,
        samples: Option<&serde_json::value::RawValue>,
    ) -> Result<Vec<Event>, Fault> {
        let mut events = Vec::new();
        each(samples, |sample: SampleText<'_>| {
            events.push(self.event(&sample));
            Fault::above(
                events.len(),
                limits::SAMPLES,
                "a reading in it has more samples of packets than netdiag takes",
            )
        })?;
        Ok(events)
    }

    fn event(&self, sample: &SampleText<'_>) -> Event {
        let mut event = Event::take(&mut ordered(&sample.row, &self.sample));
        let digits = sample.packet.as_bytes().chunks_exact(2).take(CAPTURE);
        let bytes = digits.map_while(|two| {
            let two = std::str::from_utf8(two).ok()?;
            u8::from_str_radix(two, 16).ok()
        });
        let mut captured = 0;
        for (to, byte) in event.packet.iter_mut().zip(bytes) {
            *to = byte;
            captured += 1;
        }
        event.captured = event.captured.min(captured);
        event
    }
}
