//! Finding things out beside the watching: each want on a thread of its own, asked again while it
//! is wanted, the less often the more it costs.
//!
//! A thread that hangs, in the kernel or because of what somebody else made, keeps nobody from
//! finding out the rest: its place is given to another, and what it was to find out is told as not
//! checked until it answers.
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use netdiag_lang::english;
use tokio::{sync::mpsc, time::timeout_at};

use crate::{
    host::gather::{Places, gather},
    model::{
        gather::{Cost, Gathered, Piece, Want},
        verdict::NotChecked,
    },
    sys::cost,
};

/// What could not be found out is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Threads at once; what is wanted beyond that waits for the next tick.
const AT_ONCE: usize = 4;
/// What has not answered by then is not waited for any more: each program that it runs ends before.
const LONGEST: Duration = Duration::from_secs(60);
/// Who waits longer than this wants to know what for.
const SLOW: Duration = Duration::from_secs(5);
/// Threads that hang; beyond that nothing is begun any more.
const HANGING: usize = 8;

/// How long an audit waits for answers.
const PATIENCE: Duration = Duration::from_secs(10);

type Gatherer = dyn Fn(&Want) -> Result<Piece, String> + Send + Sync;

struct Answer {
    want: Want,
    piece: Result<Piece, String>,
    cost: Cost,
}

/// What a want's thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It finds out, since then.
    Running(Instant),
    /// It was not waited for any longer, and may never answer.
    Hanging,
    /// It answered; the answer is good until then.
    Answered(Instant),
}

pub struct Gathering {
    gatherer: Arc<Gatherer>,
    longest: Duration,
    patience: Duration,
    asked: BTreeMap<Want, State>,
    /// Whose last answer was a refusal that has not been believed yet.
    doubted: BTreeSet<Want>,
    sender: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Gathering {
    pub fn new(places: Places) -> Self {
        Self::with(Arc::new(move |want| gather(want, &places)))
    }

    fn with(gatherer: Arc<Gatherer>) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        Self {
            gatherer,
            longest: LONGEST,
            patience: PATIENCE,
            asked: BTreeMap::new(),
            doubted: BTreeSet::new(),
            sender,
            answers,
        }
    }

    /// Starts finding out what was not found out lately.
    pub fn start(&mut self, wants: BTreeSet<Want>) {
        for want in wants {
            let due = match self.asked.get(&want) {
                None => true,
                Some(State::Answered(until)) => Instant::now() >= *until,
                Some(State::Running(_) | State::Hanging) => false,
            };
            if due && self.running() < AT_ONCE {
                self.begin(want);
            }
        }
    }

    /// Forgets the answers to all others.
    pub fn keep(&mut self, wants: &BTreeSet<Want>) {
        let answered = |state: &State| matches!(state, State::Answered(_));
        self.asked
            .retain(|want, state| wants.contains(want) || !answered(state));
        self.doubted.retain(|want| wants.contains(want));
    }

    /// Finds all of it out, and comes back when it is answered or has taken too long.
    pub async fn settle(&mut self, wants: BTreeSet<Want>, gathered: &mut Gathered) {
        let until = Instant::now() + self.patience;
        let mut open = wants.clone();
        loop {
            self.start(open.clone());
            // What was begun is not begun again: an audit asks once.
            open.retain(|want| !self.asked.contains_key(want));
            if self.running() == 0 {
                break;
            }
            let Some(answer) = self.answer(until).await else {
                break;
            };
            self.take(answer, gathered);
        }
        self.give_up(self.patience, Duration::ZERO, gathered);
        self.collect(gathered);
        for want in open {
            if !gathered.has(&want) {
                let why = english!("others took all of the {} s", self.patience.as_secs());
                gathered.insert(want, Err(why));
            }
        }
    }

    /// Finds these out once more, however lately they were, and waits for it: for those who judge
    /// once and need what holds now. What cannot be found out any more stays as it was.
    pub async fn anew(&mut self, wants: BTreeSet<Want>, gathered: &mut Gathered) {
        for want in wants {
            let until = Instant::now() + self.patience;
            // What was begun before may tell what held before.
            self.wait(&want, until, gathered).await;
            if matches!(self.asked.get(&want), None | Some(State::Answered(_))) {
                self.begin(want.clone());
                self.wait(&want, until, gathered).await;
            }
        }
    }

    async fn wait(&mut self, want: &Want, until: Instant, gathered: &mut Gathered) {
        while matches!(self.asked.get(want), Some(State::Running(_))) {
            let Some(answer) = self.answer(until).await else {
                return;
            };
            let mut kept = Gathered::default();
            let worse = answer.want == *want && answer.piece.is_err() && gathered.has(want);
            self.take(answer, if worse { &mut kept } else { gathered });
        }
    }

    /// Whether there is something to take.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Takes what has been answered, and gives up what hangs.
    pub fn collect(&mut self, gathered: &mut Gathered) {
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer, gathered);
        }
        self.give_up(self.longest, self.longest, gathered);
    }

    fn begin(&mut self, want: Want) {
        let now = Instant::now();
        let hanging = self.asked.values().filter(|s| **s == State::Hanging);
        let begun = match hanging.count() >= HANGING {
            true => Err(english!("{HANGING} others hang, nothing more is begun")),
            false => self.spawn(want.clone()),
        };
        let state = match begun {
            Ok(()) => State::Running(now),
            Err(why) => {
                let (piece, cost) = (Err(why), Cost::default());
                let answer = Answer {
                    want: want.clone(),
                    piece,
                    cost,
                };
                let _ = self.sender.send(answer);
                State::Answered(now + RETRY)
            }
        };
        self.asked.insert(want, state);
    }

    /// On none of tokio's threads: there is an end to those, and one that hangs is never given back.
    fn spawn(&self, want: Want) -> Result<(), String> {
        let (gatherer, sender) = (self.gatherer.clone(), self.sender.clone());
        let thread = std::thread::Builder::new().name("gatherer".into());
        let begun = thread.spawn(move || {
            // Nobody waits for it any more when the run has ended.
            let _ = sender.send(ask(&*gatherer, want));
        });
        begun.map_or_else(|e| Err(format!("starting a thread: {e}")), |_| Ok(()))
    }

    /// One answer, if it comes until then.
    async fn answer(&mut self, until: Instant) -> Option<Answer> {
        let answer = timeout_at(until.into(), self.answers.recv()).await;
        answer.ok().flatten()
    }

    fn take(&mut self, answer: Answer, gathered: &mut Gathered) {
        let Answer { want, piece, cost } = answer;
        log::debug!("{}: {cost:?}", want.name());
        let good = match &piece {
            Ok(piece) => want.again(piece, cost),
            Err(_) => RETRY.max(cost.rest()),
        };
        let until = Instant::now() + good;
        self.asked.insert(want.clone(), State::Answered(until));
        if !self.doubts(&want, &piece, gathered) {
            gathered.insert(want, piece);
        }
    }

    /// What was known a moment ago is not given up for one program that failed on a busy machine:
    /// a second refusal in a row is believed.
    fn doubts(&mut self, want: &Want, piece: &Result<Piece, String>, gathered: &Gathered) -> bool {
        if !gathered.would_lose(want, piece) {
            self.doubted.remove(want);
            return false;
        }
        self.doubted.insert(want.clone())
    }

    /// Does not wait any longer for what began that long ago.
    fn give_up(&mut self, told: Duration, longest: Duration, gathered: &mut Gathered) {
        for (want, state) in &mut self.asked {
            if matches!(state, State::Running(since) if since.elapsed() >= longest) {
                *state = State::Hanging;
                gathered.insert(want.clone(), Err(no_answer(told)));
            }
        }
    }

    /// What is still being found out for the first time, and takes long.
    pub fn not_answered(&self, gathered: &Gathered) -> Vec<NotChecked> {
        let slow = |(want, state): (&Want, &State)| match state {
            State::Running(since) if since.elapsed() >= SLOW && !gathered.has(want) => {
                let why = english!("no answer yet after {} s", since.elapsed().as_secs());
                Some(NotChecked::new(want.name(), why))
            }
            _ => None,
        };
        self.asked.iter().filter_map(slow).collect()
    }

    fn running(&self) -> usize {
        let running = |state: &&State| matches!(state, State::Running(_));
        self.asked.values().filter(running).count()
    }
}

fn no_answer(within: Duration) -> String {
    english!("no answer within {} s", within.as_secs())
}

fn ask(gatherer: &Gatherer, want: Want) -> Answer {
    let begun = Instant::now();
    let found = || catch_unwind(AssertUnwindSafe(|| gatherer(&want)));
    let (piece, work) = cost::of(found);
    let time = begun.elapsed();
    Answer {
        piece: piece.unwrap_or_else(|_| Err("netdiag failed while it looked (a panic)".into())),
        cost: Cost { work, time },
        want,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc as plain,
    };

    use super::*;

    fn all(wants: impl IntoIterator<Item = Want>) -> BTreeSet<Want> {
        wants.into_iter().collect()
    }

    fn why(gathered: &Gathered) -> Vec<String> {
        let rows = gathered.not_checked().into_iter();
        rows.map(|row| row.why).collect()
    }

    /// Rules hang until they are let go, Qdiscs panic, and all else is answered at once.
    struct Hanging {
        begun: Arc<AtomicUsize>,
        go: plain::Sender<()>,
        gathering: Gathering,
    }

    fn hanging() -> Hanging {
        let begun = Arc::new(AtomicUsize::new(0));
        let (go, waits) = plain::channel();
        let (count, waits) = (begun.clone(), Mutex::new(waits));
        let mut gathering = Gathering::with(Arc::new(move |want| match want {
            Want::Rules(_) => {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = waits.lock().expect("no panic").recv();
                Ok(Piece::Rules(Vec::new()))
            }
            Want::Qdiscs => panic!("on purpose"),
            _ => Ok(Piece::Listeners(Vec::new())),
        }));
        gathering.longest = Duration::ZERO;
        Hanging {
            begun,
            go,
            gathering,
        }
    }

    async fn next(gathering: &mut Gathering, gathered: &mut Gathered) {
        let soon = Instant::now() + Duration::from_secs(20);
        let answer = gathering.answer(soon).await.expect("an answer");
        gathering.take(answer, gathered);
    }

    #[tokio::test]
    async fn what_hangs_gives_its_place_and_is_never_begun_twice() {
        let mut it = hanging();
        let mut gathered = Gathered::default();
        let rules = || all((0..AT_ONCE as u32).map(Want::Rules));
        it.gathering.start(rules());
        it.gathering.start(all([Want::Listeners(1)]));
        assert_eq!(it.gathering.running(), AT_ONCE, "no place for another");
        it.gathering.collect(&mut gathered);
        assert_eq!(why(&gathered), ["no answer within 0 s"; AT_ONCE]);
        it.gathering.start(rules());
        it.gathering.start(all([Want::Listeners(1)]));
        next(&mut it.gathering, &mut gathered).await;
        assert!(gathered.listeners(1).is_some());
        // Once they are let go they answer, late as it is.
        for _ in 0..AT_ONCE {
            it.go.send(()).expect("they wait");
            next(&mut it.gathering, &mut gathered).await;
        }
        assert_eq!(it.begun.load(Ordering::SeqCst), AT_ONCE, "each once");
        assert_eq!(why(&gathered), [""; 0]);
    }

    #[tokio::test]
    async fn what_was_known_is_lost_by_the_second_refusal() {
        let refuse = || Err::<Piece, _>("exit code 1".to_owned());
        let known = || Ok(Piece::Listeners(Vec::new()));
        let mut gathering = Gathering::with(Arc::new(|_| panic!("nobody asks")));
        let mut gathered = Gathered::default();
        let mut take = |piece| {
            let (want, cost) = (Want::Listeners(1), Cost::default());
            gathering.take(Answer { want, piece, cost }, &mut gathered);
            why(&gathered).len()
        };
        assert_eq!(take(refuse()), 1, "nothing was known");
        assert_eq!(take(known()), 0);
        assert_eq!(take(refuse()), 0);
        assert_eq!(take(known()), 0);
        assert_eq!(take(refuse()), 0, "those before were not in a row");
        assert_eq!(take(refuse()), 1);
        assert_eq!(take(refuse()), 1);
    }

    #[tokio::test]
    async fn there_is_an_end_to_what_hangs() {
        let mut it = hanging();
        let mut gathered = Gathered::default();
        for netns in 0..20 {
            it.gathering.start(all([Want::Rules(netns)]));
            it.gathering.collect(&mut gathered);
        }
        let told = why(&gathered);
        let begun = told.iter().filter(|why| why.starts_with("no answer"));
        assert_eq!((begun.count(), told.len()), (HANGING, 20), "{told:?}");
        assert!(told.iter().any(|why| why.starts_with("8 others hang")));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let mut it = hanging();
        let mut gathered = Gathered::default();
        it.gathering.start(all([Want::Qdiscs]));
        next(&mut it.gathering, &mut gathered).await;
        assert!(why(&gathered)[0].contains("panic"));
        assert_eq!(it.gathering.running(), 0);
    }

    #[tokio::test]
    async fn an_audit_tells_what_hangs_and_finds_out_the_rest() {
        let mut it = hanging();
        it.gathering.patience = Duration::from_secs(2);
        let mut gathered = Gathered::default();
        let mut wants = all((0..20).map(Want::Listeners));
        wants.insert(Want::Rules(1));
        it.gathering.settle(wants, &mut gathered).await;
        assert_eq!(why(&gathered), ["no answer within 2 s"]);
        assert!((0..20).all(|netns| gathered.listeners(netns).is_some()));
        it.gathering
            .anew(all([Want::Rules(1)]), &mut gathered)
            .await;
        assert_eq!(it.begun.load(Ordering::SeqCst), 1, "it still hangs");
    }
}
