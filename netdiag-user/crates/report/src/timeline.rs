//! What happened when on one node, in so many pieces of time however long it took.
use netdiag_lang::t;

use crate::model::total::add;

/// Pieces of time.
pub const PIECES: usize = 120;
/// The first pieces are as long as a quick reading takes.
const SHORTEST: f64 = 0.125;
/// Marks with a text of their own.
const MARKS: usize = 60;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dropped,
    /// On each link that they pass.
    Oversize,
    /// By this node's and its pods' sockets.
    Retransmitted,
    /// As links saw them: each on every link that it passes.
    RetransmittedOnLinks,
    DnsFailures,
    Unreachable,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Dropped,
        Self::Oversize,
        Self::Retransmitted,
        Self::RetransmittedOnLinks,
        Self::DnsFailures,
        Self::Unreachable,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Dropped => t!("dropped packets"),
            Self::Oversize => t!("oversize packets on links"),
            Self::Retransmitted => t!("retransmits of sockets"),
            Self::RetransmittedOnLinks => t!("retransmits on links"),
            Self::DnsFailures => t!("DNS failures"),
            Self::Unreachable => t!("ICMP errors"),
        }
    }
}

/// Something that happened once: a link went, a rule came, a cause was named.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Seconds since the beginning.
    pub at: f64,
    pub what: &'static str,
    pub text: String,
}

/// One node's.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    pub node: String,
    /// Seconds of one piece.
    width: f64,
    /// Of each kind so many in each piece.
    counts: Vec<[u64; Kind::ALL.len()]>,
    /// Seconds from the beginning to the last reading.
    pub seconds: f64,
    pub marks: Vec<Mark>,
    /// Marks that there is no room for.
    pub more: u64,
}

impl Timeline {
    pub fn new(node: String) -> Self {
        Self {
            node,
            width: SHORTEST,
            counts: Vec::new(),
            seconds: 0.0,
            marks: Vec::new(),
            more: 0,
        }
    }

    /// `at` is in seconds since the beginning; what a clock put before it counts at the beginning.
    pub fn count(&mut self, at: f64, kind: Kind, packets: u64) {
        let piece = self.piece(at);
        let needed = (piece + 1).saturating_sub(self.counts.len());
        self.counts
            .extend(std::iter::repeat_n([0; Kind::ALL.len()], needed));
        add(&mut self.counts[piece][kind as usize], packets);
    }

    pub fn mark(&mut self, mark: Mark) {
        match self.marks.len() < MARKS {
            true => self.marks.push(mark),
            false => self.more = self.more.saturating_add(1),
        }
    }

    /// It went on until then.
    pub fn reach(&mut self, at: f64) {
        if at.is_finite() {
            self.seconds = self.seconds.max(at);
            self.piece(self.seconds);
        }
    }

    /// Which piece that time is in; pieces become longer until it is in one.
    fn piece(&mut self, at: f64) -> usize {
        let at = match at.is_finite() {
            true => at.max(0.0),
            false => 0.0,
        };
        while at >= self.width * PIECES as f64 {
            let pairs = self.counts.chunks(2).map(|pair| {
                let mut sum = [0; Kind::ALL.len()];
                for one in pair {
                    sum.iter_mut().zip(one).for_each(|(all, n)| add(all, *n));
                }
                sum
            });
            self.counts = pairs.collect();
            self.width *= 2.0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is below PIECES"
        )]
        let piece = (at / self.width) as usize;
        piece.min(PIECES - 1)
    }

    /// Pieces from the beginning to the end.
    pub fn pieces(&self) -> usize {
        let mut copy = Self::new(String::new());
        copy.width = self.width;
        copy.piece(self.seconds)
            .max(self.counts.len().saturating_sub(1))
            + 1
    }

    /// From when to when a piece is.
    pub fn span(&self, piece: usize) -> (f64, f64) {
        let begins = piece as f64 * self.width;
        (begins, begins + self.width)
    }

    /// Seconds that the pieces are together.
    pub fn length(&self) -> f64 {
        self.pieces() as f64 * self.width
    }

    /// So many of that kind in each piece.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = u64> {
        self.counts.iter().map(move |piece| piece[kind as usize])
    }

    pub fn total(&self, kind: Kind) -> u64 {
        self.of(kind).fold(0, u64::saturating_add)
    }

    /// When most of that kind was counted; nothing where none was.
    pub fn busiest(&self, kind: Kind) -> Option<(f64, f64)> {
        let most = self.of(kind).enumerate().filter(|(_, n)| *n > 0);
        let (piece, _) = most.max_by_key(|(piece, n)| (*n, std::cmp::Reverse(*piece)))?;
        Some(self.span(piece))
    }

    /// Those that something was counted of; drops always, for there may have been none.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let shown = |kind: &Kind| *kind == Kind::Dropped || self.total(*kind) > 0;
        Kind::ALL.into_iter().filter(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_it_takes_nothing_is_lost() {
        let mut line = Timeline::new("a".into());
        for second in 0..100_000_u32 {
            line.count(f64::from(second), Kind::Dropped, 1);
        }
        line.reach(100_000.0);
        assert_eq!(line.total(Kind::Dropped), 100_000);
        assert!((60..=PIECES).contains(&line.pieces()), "{}", line.pieces());
        let (begins, ends) = line.span(line.pieces() - 1);
        assert!(begins <= 100_000.0 && 100_000.0 <= ends);
    }

    #[test]
    fn a_clock_that_lies_breaks_nothing() {
        let mut line = Timeline::new("a".into());
        for at in [-5.0, f64::NAN, f64::INFINITY, 0.1] {
            line.count(at, Kind::Dropped, 1);
            line.reach(at);
        }
        line.count(1e300, Kind::Oversize, 2);
        assert_eq!(
            (line.total(Kind::Dropped), line.total(Kind::Oversize)),
            (4, 2)
        );
        assert!(line.pieces() <= PIECES);
    }

    #[test]
    fn there_is_an_end_to_marks() {
        let mut line = Timeline::new("a".into());
        for _ in 0..MARKS + 3 {
            line.mark(Mark {
                at: 0.0,
                what: "link",
                text: "veth1 removed".into(),
            });
        }
        assert_eq!((line.marks.len(), line.more), (MARKS, 3));
    }
}
