//! Follows one kind of object for as long as somebody listens: lists it, watches it, and begins
//! anew where the API has forgotten what came since (410 Gone), and with smaller pages where one is
//! longer than is read.
use std::{
    hash::{BuildHasher, RandomState},
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use kube::{
    Api, Client, Error as ClientError,
    core::Status,
    runtime::watcher::{Config, Error, Event, InitialListStrategy, watcher},
};
use tokio::time::{sleep, timeout};

use super::{bounded::TooLong, cluster_store::ClusterStore, keep::Watched};
use crate::model::cluster::Trouble;

/// The API ends a watch after this long and is asked again: a connection that died unheard is
/// noticed then.
const WATCH: u32 = 120;
/// A page of a list, or the first word of a watch, is there by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is decoded at once.
const PAGE: u32 = 250;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What comes after a watch has ended.
enum Next {
    /// List it again.
    Anew,
    /// The same, page by page: this API server knows no streaming lists.
    Paged,
    /// The same, with so few objects a page.
    Smaller(u32),
    /// The same, after a while.
    Later,
}

pub async fn follow<K: Watched + Send + Sync + 'static>(
    client: Client,
    book: ClusterStore,
    fields: Option<String>,
    streaming: bool,
) where
    K::Kept: Send,
{
    let mut config = config(fields, streaming);
    let mut pause = Pause::default();
    loop {
        match once::<K>(&client, &book, &config, &mut pause).await {
            Next::Anew => pause.once().await,
            Next::Paged => config.initial_list_strategy = InitialListStrategy::ListWatch,
            Next::Smaller(page) => config.page_size = Some(page),
            Next::Later => sleep(LONGEST_PAUSE).await,
        }
    }
}

fn config(fields: Option<String>, streaming: bool) -> Config {
    let mut config = Config::default().timeout(WATCH).page_size(PAGE);
    if streaming {
        config = config.streaming_lists();
    }
    config.field_selector = fields;
    config
}

/// One list, and the watch after it.
async fn once<K: Watched + Send + Sync + 'static>(
    client: &Client,
    book: &ClusterStore,
    config: &Config,
    pause: &mut Pause,
) -> Next
where
    K::Kept: Send,
{
    let mut events = pin!(watcher(Api::<K>::all(client.clone()), config.clone()));
    let begun = Instant::now();
    let mut listing = true;
    loop {
        let event = match timeout(PATIENCE, events.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => return Next::Anew,
            Err(_) if silent::<K>(book, begun, listing) => {
                let (why, heard) = (format!("no answer within {} s", PATIENCE.as_secs()), None);
                book.trouble(K::TOPIC, Trouble::Failed { why, heard });
                return Next::Anew;
            }
            Err(_) => continue,
        };
        match event {
            Ok(event) => {
                listing = take(book, event, listing);
                if !listing {
                    pause.forget();
                }
            }
            Err(error) => match after(&error, config) {
                After::Next(next) => return next,
                After::Forbidden(verb) => {
                    book.trouble(K::TOPIC, Trouble::Forbidden(verb.into()));
                    return Next::Later;
                }
                After::Failed(why) => {
                    book.trouble(K::TOPIC, Trouble::Failed { why, heard: None });
                    pause.once().await;
                }
            },
        }
    }
}

/// Whether the API owes an answer for too long. A watch is asked for again and again, also where
/// nothing happens.
fn silent<K: Watched>(book: &ClusterStore, begun: Instant, listing: bool) -> bool {
    let since = book.silence(K::TOPIC).unwrap_or_else(|| begun.elapsed());
    let most = match listing {
        true => PATIENCE,
        false => PATIENCE + Duration::from_secs(WATCH.into()),
    };
    since >= most
}

/// Returns whether a list goes on.
fn take<K: Watched>(book: &ClusterStore, event: Event<K>, listing: bool) -> bool {
    match event {
        Event::Init => {
            book.begin::<K>();
            return true;
        }
        Event::InitApply(object) => {
            book.come(object);
            return true;
        }
        Event::InitDone => {
            book.complete::<K>();
            return false;
        }
        Event::Apply(object) => book.put(object),
        Event::Delete(object) => book.remove(&object),
    }
    listing
}

enum After {
    Next(Next),
    Forbidden(&'static str),
    Failed(String),
}

fn after(error: &Error, config: &Config) -> After {
    if let Some(page) = smaller(error, config) {
        return After::Next(Next::Smaller(page));
    }
    let (verb, status) = match error {
        Error::InitialListFailed(ClientError::Api(status)) => ("list", status),
        Error::WatchStartFailed(ClientError::Api(status))
        | Error::WatchFailed(ClientError::Api(status))
        | Error::WatchError(status) => ("watch", status),
        _ => return After::Failed(said(error)),
    };
    let streaming = config.initial_list_strategy == InitialListStrategy::StreamingList;
    match status.code {
        // The watcher knows it as an event of a watch only, and would ask the same for ever.
        410 => After::Next(Next::Anew),
        400 | 422 if streaming => After::Next(Next::Paged),
        403 => After::Forbidden(verb),
        _ => After::Failed(words(status)),
    }
}

/// Half a page, where a whole one is too long: objects are of any size up to etcd's limit. A page of
/// one is the last that is tried.
fn smaller(error: &Error, config: &Config) -> Option<u32> {
    let half = config.page_size.map(|page| page / 2);
    half.filter(|half| *half > 0 && TooLong::is_list(error))
}

/// Why a request failed.
pub fn why(error: &ClientError) -> String {
    match error {
        ClientError::Api(status) => words(status),
        other => said(other),
    }
}

fn words(status: &Status) -> String {
    match (status.code, status.message.as_str()) {
        (401, _) => "it does not know who is asking: the token or certificate is not valid".into(),
        (code, "") => format!("status {code}"),
        (code, message) => format!("status {code}: {message}"),
    }
}

/// The library's own words are "failed to perform initial object list"; the reason is at the
/// bottom.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Longer after each failure, and never the same for all nodes at once.
#[derive(Default)]
struct Pause {
    failures: u32,
    jitter: RandomState,
}

impl Pause {
    async fn once(&mut self) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6));
        self.failures += 1;
        let percent = 75 + self.jitter.hash_one(self.failures) % 50;
        sleep(doubled.min(LONGEST_PAUSE).mul_f64(percent as f64 / 100.0)).await;
    }

    fn forget(&mut self) {
        self.failures = 0;
    }
}
