//! Between the agent, which never waits, and a collector that may be slow or gone: a bounded queue,
//! and one task that empties it. What does not get through is counted.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter as _, LogProcessor, SdkLogRecord},
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{sleep, timeout},
};

use crate::{
    agent::sending::{Sending, count},
    target::Target,
};

/// Records that wait at most; some of them have 3 kB.
const ROOM: usize = 2048;
/// Records of one request at most.
const BATCH: usize = 512;
/// What belongs together comes within this.
const GATHER: Duration = Duration::from_secs(1);
/// How often a request is made again; a collector that is restarted is back by then.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

type Queued = (SdkLogRecord, InstrumentationScope);

/// The SDK's end of the queue.
#[derive(Debug)]
pub struct Queue {
    to: Sender<Queued>,
    sending: Arc<Sending>,
}

/// The collector's end of it.
pub struct Worker {
    from: Receiver<Queued>,
    exporter: LogExporter,
    sending: Arc<Sending>,
    reach: Arc<Reach>,
}

pub fn queue(exporter: LogExporter, sending: Arc<Sending>, reach: Arc<Reach>) -> (Queue, Worker) {
    let (to, from) = channel(ROOM);
    let worker = Worker {
        from,
        exporter,
        sending: sending.clone(),
        reach,
    };
    (Queue { to, sending }, worker)
}

impl LogProcessor for Queue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.to.try_send((record.clone(), scope.clone())).is_err() {
            count(&self.sending.records.unqueued, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Worker {
    /// Until the SDK's end is dropped and the queue is empty.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        while self.from.recv_many(&mut batch, BATCH).await > 0 {
            self.gather(&mut batch).await;
            self.send(&batch).await;
            batch.clear();
        }
    }

    async fn gather(&mut self, batch: &mut Vec<Queued>) {
        let more = async {
            while batch.len() < BATCH {
                let left = BATCH - batch.len();
                if self.from.recv_many(batch, left).await == 0 {
                    return;
                }
            }
        };
        // What came until then is in the batch.
        let _ = timeout(GATHER, more).await;
    }

    async fn send(&self, batch: &[Queued]) {
        let rows: Vec<_> = batch
            .iter()
            .map(|(record, scope)| (record, scope))
            .collect();
        let number = rows.len() as u64;
        // Who was gone is asked once: the queue is to move on.
        let patience = match self.reach.is_lost() {
            true => &[][..],
            false => &PAUSES[..],
        };
        let mut pauses = patience.iter();
        loop {
            let went = self.exporter.export(LogBatch::new(&rows)).await;
            match (self.reach.went(&self.sending, went), pauses.next()) {
                (true, _) => return count(&self.sending.records.sent, number),
                (false, Some(pause)) => sleep(*pause).await,
                (false, None) => return count(&self.sending.records.failed, number),
            }
        }
    }
}

/// Whether the collector takes what is sent; that it does not is told once.
#[derive(Debug)]
pub struct Reach {
    target: Target,
    lost: AtomicBool,
}

impl Reach {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            lost: AtomicBool::new(false),
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// Counts a request, and tells whether it was taken.
    pub fn went(&self, sending: &Sending, result: OTelSdkResult) -> bool {
        let target = &self.target;
        match result {
            Ok(()) => {
                count(&sending.requests.sent, 1);
                if self.lost.swap(false, Relaxed) {
                    log::warn!("the collector {target} is reached again");
                }
                true
            }
            Err(error) => {
                count(&sending.requests.failed, 1);
                if !self.lost.swap(true, Relaxed) {
                    log::warn!(
                        "the collector {target} takes nothing ({error}): netdiag_otlp_records_total counts what is not sent"
                    );
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_collector_that_is_gone_and_what_is_not_sent_is_counted() {
        // Taken and given back: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let target = Target::parse(&format!("http://{address}")).expect("an address");
        let exporter = target.reach(LogExporter::builder().with_tonic());
        let exporter = exporter.expect("reached").build().expect("built");
        let (sending, reach) = (Arc::new(Sending::default()), Arc::new(Reach::new(target)));
        // It was known before that nobody is there.
        reach.lost.store(true, Relaxed);
        let (queue, worker) = queue(exporter, sending.clone(), reach);
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(queue)
            .build();
        let logger = provider.logger("test");
        let began = Instant::now();
        for _ in 0..ROOM + 5 {
            let mut record = logger.create_log_record();
            record.set_body("a".into());
            logger.emit(record);
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        drop((logger, provider));
        worker.run().await;
        let counts = sending.records.each();
        assert_eq!(
            counts,
            [("sent", 0), ("queue-full", 5), ("failed", ROOM as u64)]
        );
        assert_eq!(sending.requests.failed.load(Relaxed), 4);
    }
}
