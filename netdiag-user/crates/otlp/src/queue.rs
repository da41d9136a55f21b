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
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord},
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
pub struct Worker<E> {
    from: Receiver<Queued>,
    exporter: E,
    sending: Arc<Sending>,
    reach: Reach,
}

pub fn queue<E>(exporter: E, sending: Arc<Sending>, reach: Reach) -> (Queue, Worker<E>) {
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

impl<E: LogExporter> Worker<E> {
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
            let again = went.as_ref().is_err_and(was_not_taken);
            if self.reach.went(&self.sending, went) {
                return count(&self.sending.records.sent, number);
            }
            match pauses.next().filter(|_| again) {
                Some(pause) => sleep(*pause).await,
                None => return count(&self.sending.records.failed, number),
            }
        }
    }
}

/// The collector was not reached, or says that it cannot take it now. After a timeout nobody knows,
/// and what is refused is refused another time as well.
fn was_not_taken(error: &OTelSdkError) -> bool {
    code(error) == Some("Unavailable")
}

/// The status that was answered: the SDK has it in its text alone.
pub fn code(error: &OTelSdkError) -> Option<&str> {
    let OTelSdkError::InternalFailure(text) = error else {
        return None;
    };
    let (_, code) = text.split_once("gRPC code: ")?;
    code.split(':').next()
}

/// What is sent: a collector may take the one and not the other.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Records,
    Metrics,
}

/// Whether the collector takes what is sent; that it does not is told once.
#[derive(Debug)]
pub struct Reach {
    target: Target,
    signal: Signal,
    lost: AtomicBool,
}

impl Reach {
    pub fn new(target: Target, signal: Signal) -> Self {
        Self {
            target,
            signal,
            lost: AtomicBool::new(false),
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// Counts a request, and tells whether it was taken.
    pub fn went(&self, sending: &Sending, result: OTelSdkResult) -> bool {
        let counter = match result {
            Ok(()) => &sending.requests.sent,
            Err(_) => &sending.requests.failed,
        };
        count(counter, 1);
        if let Some(news) = self.news(&result) {
            log::warn!("{news}");
        }
        result.is_ok()
    }

    /// What is to be said of it, where it is another than before.
    fn news(&self, result: &OTelSdkResult) -> Option<String> {
        let (target, lost) = (&self.target, result.is_err());
        if self.lost.swap(lost, Relaxed) == lost {
            return None;
        }
        let (what, counter) = match self.signal {
            Signal::Records => ("records", "netdiag_otlp_records_total"),
            Signal::Metrics => ("metrics", "netdiag_otlp_requests_total"),
        };
        Some(match result {
            Ok(()) => format!("the collector {target} takes {what} again"),
            Err(error) => format!(
                "the collector {target} takes no {what} ({error}): {counter} counts what is not sent"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        path::Path,
        sync::{Mutex, atomic::AtomicU64},
        time::Instant,
    };

    use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
    use opentelemetry_otlp::{LogExporter as Grpc, RetryPolicy, WithTonicConfig};
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    use super::*;

    fn target() -> Target {
        Target::parse("http://192.0.2.1:4317").expect("an address")
    }

    fn refused(code: &str) -> OTelSdkResult {
        let text = format!("TonicLogsClient export failed with gRPC code: {code}");
        Err(OTelSdkError::InternalFailure(text))
    }

    /// Answers so, in turn; and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Fake {
        answers: Mutex<VecDeque<OTelSdkResult>>,
        asked: Arc<AtomicU64>,
    }

    impl LogExporter for Fake {
        async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
            count(&self.asked, 1);
            let mut answers = self.answers.lock().expect("nobody panics");
            answers.pop_front().unwrap_or(Ok(()))
        }
    }

    /// How often one record is sent to who answers so, and what became of it.
    async fn send(answers: impl IntoIterator<Item = OTelSdkResult>) -> (u64, u64, u64) {
        let fake = Fake {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Fake::default()
        };
        let (asked, sending) = (fake.asked.clone(), Arc::new(Sending::default()));
        let reach = Reach::new(target(), Signal::Records);
        let (queue, worker) = queue(fake, sending.clone(), reach);
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(queue)
            .build();
        let logger = provider.logger("test");
        logger.emit(logger.create_log_record());
        drop((logger, provider));
        worker.run().await;
        let records = &sending.records;
        (
            asked.load(Relaxed),
            records.sent.load(Relaxed),
            records.failed.load(Relaxed),
        )
    }

    #[tokio::test]
    async fn only_what_was_not_taken_is_sent_again() {
        assert_eq!(send([refused("Unavailable")]).await, (2, 1, 0));
        for code in [
            "Unauthenticated",
            "InvalidArgument",
            "Unimplemented",
            "Cancelled: transport error: Timeout expired",
            "DeadlineExceeded",
        ] {
            assert_eq!(send([refused(code)]).await, (1, 0, 1), "{code}");
        }
        let slow = Err(OTelSdkError::Timeout(GATHER));
        assert_eq!(send([slow]).await, (1, 0, 1));
    }

    #[test]
    fn a_signal_that_is_not_taken_is_told_of_once_whatever_the_other_does() {
        let [records, metrics] =
            [Signal::Records, Signal::Metrics].map(|it| Reach::new(target(), it));
        let told = metrics.news(&refused("Unimplemented"));
        let told = told.expect("it was taken before");
        assert!(told.contains("takes no metrics"), "{told}");
        assert_eq!(records.news(&Ok(())), None);
        assert_eq!(metrics.news(&refused("Unimplemented")), None);
        let told = metrics.news(&Ok(())).expect("it is another");
        assert!(told.ends_with("takes metrics again"), "{told}");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_collector_that_is_gone_and_what_is_not_sent_is_counted() {
        // Taken and given back: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let target = Target::parse(&format!("http://{address}")).expect("an address");
        let builder = Grpc::builder().with_tonic();
        let builder = builder.with_retry_policy(RetryPolicy::disabled());
        let exporter = target.reach(builder, Path::new("/"));
        let exporter = exporter.expect("reached").build().expect("built");
        let went = exporter.export(LogBatch::new(&[])).await;
        let error = went.expect_err("nobody is there");
        assert!(was_not_taken(&error), "{error}");
        let (sending, reach) = (
            Arc::new(Sending::default()),
            Reach::new(target, Signal::Records),
        );
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
