//! The end of a trace's counting: programs are taken off, and what they counted must add up.
//!
//! While packets pass, no two numbers are of the same moment. So the tracepoints are let go, the kernel
//! is waited for until no program runs any more, and then everything is read once more.
use std::{
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use aya::programs::Program;
use netdiag_common::{
    config::counter,
    loss::{DropKey, Dropped},
};

use super::{
    load::{Programs, Set},
    read,
};
use crate::model::{
    own::{DropEvents, Events, LostDrops, LostRecords, RecordEvents},
    total::Total,
};

/// The program whose events are accounted for.
const DROPS: &str = "kfree_skb";
/// Hops go on and may send a record between two looks: then one looks again.
const LOOKS: u32 = 20;
/// A grace period of RCU, inside which every program runs (include/uapi/linux/membarrier.h).
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
/// Where the kernel does not say when all that ran has ended.
const UNTOLD: Duration = Duration::from_millis(100);

impl Programs {
    /// Takes the tracepoints' programs off, and tells what became of each event. Nothing where drops
    /// are not traced.
    pub fn settle(&mut self) -> Result<Option<Events>> {
        if self.set != Set::Tracing || self.descriptor(DROPS).is_none() {
            return Ok(None);
        }
        let drops = self.descriptor(DROPS).context("no descriptor")?;
        self.let_go();
        wait_for_programs();
        self.flush()?;
        let records = self.records()?;
        let counters = self.counters()?;
        let of = |index: u32| counters[index as usize];
        let mut rows: Vec<(DropKey, Dropped)> = self.entries("DROPS")?;
        let forgot = of(counter::DROPS_ADDED) > rows.len() as u64;
        self.unread
            .drops
            .add_to(&mut rows, of(counter::DROPS_ADDED));
        let drops = DropEvents {
            aggregated: rows.iter().map(|(_, row)| row.packets).total(),
            ignored: of(counter::DROPS_IGNORED),
            foreign: of(counter::FOREIGN).saturating_sub(of(counter::RETRANSMITS_FOREIGN)),
            left_out: [counter::DROPS_LEFT, counter::DROPS_UNJUDGED]
                .map(of)
                .iter()
                .total(),
            lost: LostDrops {
                no_room: of(counter::DROPS_UNSTORED),
                evicted: 0,
                interrupted: read::misses(drops.as_fd()).unwrap_or(0),
            },
            ..DropEvents::default()
        };
        let drops = drops.close(of(counter::DROPS), forgot);
        Ok(Some(Events { drops, records }))
    }

    fn descriptor(&self, name: &str) -> Option<OwnedFd> {
        let fd = self.ebpf.program(name)?.fd().ok()?;
        fd.as_fd().try_clone_to_owned().ok()
    }

    fn let_go(&mut self) {
        for (name, program) in self.ebpf.programs_mut() {
            if let Program::BtfTracePoint(tracepoint) = program
                && tracepoint.fd().is_ok()
                && let Err(e) = tracepoint.unload()
            {
                log::debug!("letting {name} go: {e}");
            }
        }
    }

    /// What was due, and what came: counters and ring of one moment.
    fn records(&mut self) -> Result<RecordEvents> {
        let delivered = self.delivered;
        let mut records = RecordEvents::default();
        for _ in 0..LOOKS {
            let seen = self.counters()?[counter::RECORDS as usize];
            self.drain()?;
            let after = self.counters()?;
            records = RecordEvents {
                seen: after[counter::RECORDS as usize],
                delivered,
                late: self.delivered - delivered,
                lost: LostRecords {
                    ring_full: after[counter::RING_FULL as usize],
                },
                unaccounted: 0,
            }
            .close();
            if seen == records.seen && records.unaccounted == 0 {
                break;
            }
        }
        Ok(records)
    }
}

/// Returns when every program that ran has ended (membarrier(2)).
#[expect(unsafe_code, reason = "libc has no function for membarrier")]
fn wait_for_programs() {
    // SAFETY: takes numbers alone.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        thread::sleep(UNTOLD);
    }
}
