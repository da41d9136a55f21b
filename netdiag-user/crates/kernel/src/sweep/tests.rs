use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use super::*;
use crate::rtnl::{Request, Wire, word};

const LO: u32 = 1;
const OURS: u32 = (HANDLE_MARK as u32) << 16 | 7;
const PROGRAM: u32 = 42;
const DONE: u16 = 3;
const ERROR: u16 = 2;

/// A filter of the pretended kernel.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    parent: u32,
    handle: u32,
    priority: u32,
    kind: &'static str,
    program: (u32, &'static str),
}

fn ours(parent: u32) -> Held {
    Held {
        parent,
        handle: OURS,
        priority: 1,
        kind: "bpf",
        program: (PROGRAM, "hop_ingress"),
    }
}

/// What may be wrong with the answer to a dump.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Ends,
    Cut,
    Overrun,
    Lost,
    Interrupted,
    FailedAtItsEnd,
    Failed,
    Forbidden,
}

const FAULTS: [Fault; 8] = [
    Fault::Ends,
    Fault::Cut,
    Fault::Overrun,
    Fault::Lost,
    Fault::Interrupted,
    Fault::FailedAtItsEnd,
    Fault::Failed,
    Fault::Forbidden,
];

/// A kernel with one link, whose dumps fail as told and whose deletions are final.
#[derive(Default)]
struct Pretended {
    clsact: bool,
    shared: bool,
    filters: Vec<Held>,
    chain: bool,
    answers: VecDeque<io::Result<Vec<u8>>>,
    /// Percentage of dumps that fail, and what they are chosen by.
    faulty: u64,
    random: u64,
    notes: VecDeque<Vec<u8>>,
    deaf: bool,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Pretended>>);

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn tcmsg(parent: u32, handle: u32, info: u32) -> Vec<u8> {
    [0, LO, handle, parent, info].map(u32::to_ne_bytes).concat()
}

impl Held {
    fn body(&self) -> Vec<u8> {
        let name = format!("{}\0", self.program.1);
        let options = Request::new(0, Vec::new())
            .attribute(11, &self.program.0.to_ne_bytes())
            .attribute(7, name.as_bytes());
        let body = tcmsg(self.parent, self.handle, self.priority << 16);
        let kind = format!("{}\0", self.kind);
        let request = Request::new(0, body).attribute(1, kind.as_bytes());
        request.attribute(2, options.body()).body().to_vec()
    }
}

impl Pretended {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn ask(&mut self, request: &[u8]) {
        let kind = u16::from_ne_bytes([request[4], request[5]]);
        let flags = u16::from_ne_bytes([request[6], request[7]]);
        let sequence = word(request, 8).expect("a sequence");
        let at = |n: usize| word(request, 16 + n).expect("a tcmsg");
        let (handle, parent, priority) = (at(8), at(12), at(16) >> 16);
        let named = |f: &Held| {
            (f.handle, f.parent, f.priority) == (handle, parent, priority) && f.kind == "bpf"
        };
        if flags & 0x300 == 0x300 {
            return self.dump(kind, parent, sequence);
        }
        let done = match kind {
            37 if self.clsact => {
                self.clsact = false;
                self.filters.clear();
                0
            }
            46 => match self.filters.iter().find(|f| named(f)) {
                Some(found) => {
                    let told = message(44, 0, sequence, &found.body());
                    self.answers.push_back(Ok(told));
                    0
                }
                None => -libc::ENOENT,
            },
            45 => {
                self.filters.retain(|f| !named(f));
                0
            }
            _ => -libc::ENOENT,
        };
        let end = [&done.to_ne_bytes()[..], &[0; 16]].concat();
        self.answers
            .push_back(Ok(message(ERROR, 0, sequence, &end)));
    }

    fn dump(&mut self, kind: u16, parent: u32, sequence: u32) {
        let fault = match self.random() % 100 < self.faulty {
            true => Some(FAULTS[(self.random() >> 20) as usize % FAULTS.len()]),
            false => None,
        };
        let body = match kind {
            38 if self.clsact => {
                let qdisc = Request::new(0, tcmsg(0xffff_fff1, 0xffff_0000, 0));
                let qdisc = qdisc.attribute(1, b"clsact\0");
                let block = u32::from(self.shared).to_ne_bytes();
                vec![qdisc.attribute(13, &block).body().to_vec()]
            }
            46 => {
                let here = self.filters.iter().filter(|f| f.parent == parent);
                here.map(Held::body).collect()
            }
            102 if self.chain => vec![tcmsg(parent, 0, 0)],
            _ => Vec::new(),
        };
        let flags = match fault {
            Some(Fault::Interrupted) => 2 | 0x10,
            _ => 2,
        };
        let all = body.iter().map(|b| message(kind - 2, flags, sequence, b));
        let mut all: Vec<u8> = all.flatten().collect();
        let end = |error: i32| message(DONE, flags, sequence, &error.to_ne_bytes());
        match fault {
            None | Some(Fault::Interrupted) => all.extend(end(0)),
            // The list without what was in it.
            Some(Fault::Ends) => all.clear(),
            Some(Fault::Cut) => {
                all.extend(end(0));
                all.truncate((all.len() / 2) | 1);
            }
            Some(Fault::Overrun) => all = message(4, 0, sequence, &[]),
            Some(Fault::FailedAtItsEnd) => all = end(-libc::EMSGSIZE),
            Some(Fault::Failed) => {
                all = message(ERROR, 0, sequence, &(-libc::ENOMEM).to_ne_bytes());
            }
            Some(Fault::Forbidden) => {
                all = message(ERROR, 0, sequence, &(-libc::EPERM).to_ne_bytes());
            }
            Some(Fault::Lost) => {
                let lost = io::Error::from_raw_os_error(libc::ENOBUFS);
                return self.answers.push_back(Err(lost));
            }
        }
        self.answers.push_back(Ok(all));
    }
}

impl Wire for Fake {
    fn port(&self) -> u32 {
        1
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.0.lock().expect("alone").ask(request);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let answer = self.0.lock().expect("alone").answers.pop_front();
        answer.unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// Hears what is told of others.
struct Ear(Arc<Mutex<Pretended>>);

impl Wire for Ear {
    fn port(&self) -> u32 {
        2
    }

    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut kernel = self.0.lock().expect("alone");
        if std::mem::take(&mut kernel.deaf) {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let note = kernel.notes.pop_front();
        note.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

/// A qdisc of ours with our filters, and how the sweep went.
fn sweep(prepare: impl FnOnce(&mut Pretended), others: bool) -> (Swept, Pretended) {
    let kernel = Arc::new(Mutex::new(Pretended {
        clsact: true,
        filters: vec![ours(0xffff_fff2), ours(0xffff_fff3)],
        random: 1,
        ..Pretended::default()
    }));
    prepare(&mut kernel.lock().expect("alone"));
    let open = kernel.clone();
    let mut rtnl = Rtnl::over(Box::new(move || {
        open.lock().expect("alone").answers.clear();
        Ok(Box::new(Fake(open.clone())))
    }));
    let mut watch = Watch::over(Box::new(Ear(kernel.clone())));
    let mut ledger = Ledger::open(1, OURS, vec![PROGRAM]).expect("this process");
    ledger.entries.push(Entry {
        ifindex: LO,
        interface: "lo".into(),
        qdisc_ours: true,
        others,
    });
    let swept = links(&mut rtnl, &mut watch, &ledger);
    drop((rtnl, watch));
    let kernel = Arc::into_inner(kernel).expect("nobody else has it");
    (swept, kernel.into_inner().expect("alone"))
}

fn foreign(n: u64) -> Held {
    let theirs = ours(if n.is_multiple_of(2) {
        0xffff_fff2
    } else {
        0xffff_fff3
    });
    let (handle, priority, kind, program) = match n % 5 {
        0 => (0x8000_0800, 7, "u32", (0, "")),
        1 => (1, 49152, "bpf", (99, "cil_from_container")),
        // Our handle, by chance or on purpose.
        2 => (OURS, u32::from(HANDLE_MARK), "bpf", (99, "hop_ingress")),
        3 => (OURS, 7, "bpf", (PROGRAM, "hop_ingress")),
        _ => (OURS, 9, "flower", (PROGRAM, "hop_ingress")),
    };
    Held {
        handle,
        priority,
        kind,
        program,
        ..theirs
    }
}

#[test]
fn nothing_of_ours_stays_where_all_is_certain() {
    let (swept, kernel) = sweep(|_| {}, false);
    let wanted = Swept {
        filters: 2,
        qdiscs: 1,
        ..Swept::default()
    };
    assert_eq!((swept, kernel.clsact), (wanted, false));
}

/// 1,000 of 1,000, however dumps fail.
#[test]
fn a_foreign_filter_stays_when_dumps_fail() {
    for n in 0..1000 {
        let theirs = foreign(n);
        let (swept, kernel) = sweep(
            |kernel| {
                kernel.filters.push(theirs.clone());
                kernel.faulty = [0, 50, 90, 100][n as usize % 4];
                kernel.random = n * 2 + 1;
            },
            false,
        );
        assert_eq!(kernel.filters, [theirs], "{n}: {swept:?}");
        assert!(kernel.clsact && swept.qdiscs == 0, "{n}: {swept:?}");
        // Ours go by their names, which needs no list.
        assert_eq!(swept.filters, 2);
        assert_eq!(swept.kept + swept.troubles.len() as u64, 1, "{swept:?}");
    }
}

/// With nobody else's filter there, a dump that fails is a doubt and never a deletion.
#[test]
fn an_empty_qdisc_stays_on_any_doubt() {
    for n in 0..500 {
        let (swept, kernel) = sweep(
            |kernel| {
                kernel.faulty = 100;
                kernel.random = n * 2 + 1;
            },
            false,
        );
        assert!(kernel.clsact && swept.qdiscs == 0, "{swept:?}");
        assert_eq!(swept.troubles.len(), 1, "{swept:?}");
    }
}

#[test]
fn signs_of_others_keep_it() {
    let kept = |prepare: fn(&mut Pretended), others| {
        let (swept, kernel) = sweep(prepare, others);
        assert!(kernel.clsact, "{swept:?}");
        (swept.kept, swept.troubles.len())
    };
    assert_eq!(kept(|_| {}, true), (1, 0), "seen during the run");
    assert_eq!(kept(|k| k.shared = true, false), (1, 0), "a shared block");
    assert_eq!(kept(|k| k.chain = true, false), (1, 0), "a chain");
    assert_eq!(kept(|k| k.deaf = true, false), (0, 1), "not all was heard");
    // `tc qdisc replace`, which comes before its filter does.
    let replaced = |k: &mut Pretended| {
        let body = tcmsg(0xffff_fff1, 0xffff_0000, 0);
        k.notes.push_back(message(36, 0, 0, &body));
    };
    assert_eq!(kept(replaced, false), (1, 0));
}

#[test]
fn filters_of_another_run_are_no_sign() {
    let (swept, _) = sweep(
        |k| {
            k.notes
                .push_back(message(45, 0, 0, &ours(0xffff_fff2).body()))
        },
        false,
    );
    assert_eq!(swept.qdiscs, 1);
    let (swept, _) = sweep(
        |k| k.notes.push_back(message(45, 0, 0, &foreign(0).body())),
        false,
    );
    assert_eq!((swept.qdiscs, swept.kept), (0, 1));
}

/// The real kernel: filters of u32 that come while the sweep goes on, and before it.
#[test]
fn the_kernel_keeps_what_others_add() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    std::thread::spawn(real).join().expect("no panic");
}

fn real() {
    let flags = nix::sched::CloneFlags::CLONE_NEWNET;
    nix::sched::unshare(flags).expect("a namespace of its own");
    let mut rtnl = Rtnl::new();
    for n in 0..100 {
        tc::add_clsact(&mut rtnl, LO).expect("a qdisc");
        assert!(
            tc::add_clsact(&mut rtnl, LO)
                .expect_err("there")
                .is(&[libc::EEXIST])
        );
        let mut watch = Watch::new();
        let mut ledger = Ledger::open(1, OURS, vec![PROGRAM]).expect("this process");
        ledger.entries.push(Entry {
            ifindex: LO,
            interface: "lo".into(),
            qdisc_ours: true,
            others: false,
        });
        if n % 2 == 0 {
            let swept = links(&mut rtnl, &mut watch, &ledger);
            assert_eq!((swept.qdiscs, swept.kept), (1, 0), "{swept:?}");
            continue;
        }
        // A chain needs no classifier of this kernel's.
        let chain = |kind| {
            let request = Request::new(kind, tcmsg(0xffff_fff2, 0, 0));
            request.attribute(11, &5_u32.to_ne_bytes())
        };
        rtnl.make(&chain(100)).expect("a chain");
        let swept = links(&mut rtnl, &mut watch, &ledger);
        assert_eq!((swept.qdiscs, swept.kept), (0, 1), "{swept:?}");
        assert!(!tc::is_bare(&mut rtnl, LO).expect("told"));
        // Heard, though nothing is there any more.
        rtnl.act(&chain(101)).expect("deleted");
        assert!(tc::is_bare(&mut rtnl, LO).expect("told"));
        let swept = links(&mut rtnl, &mut watch, &ledger);
        assert_eq!((swept.qdiscs, swept.kept), (0, 1), "{swept:?}");
        let swept = links(&mut rtnl, &mut Watch::new(), &ledger);
        assert_eq!(swept.qdiscs, 1, "{swept:?}");
    }
}
