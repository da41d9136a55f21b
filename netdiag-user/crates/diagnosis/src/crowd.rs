//! Readings of very many rows: the rules walk all of them, which is most of what a reading costs, and
//! what they say of ten thousand flows changes less from second to second than the flows do.
use super::Evaluated;
use crate::pipeline::facts::Facts;

/// So many rows are judged once a second, twice as many every two seconds.
const ROWS: u64 = 4096;
const SECOND: u64 = 1_000_000_000;
/// An incident that begins beside a storm still has three judgements within 15 s.
const LONGEST: u64 = 5 * SECOND;

/// What the rules said, when, and what they knew by then.
pub struct Crowd {
    at: u64,
    answered: usize,
    pub evaluated: Evaluated,
}

impl Crowd {
    /// Nothing where the rows are few enough to judge each reading.
    pub fn of(facts: &Facts<'_>, evaluated: &Evaluated) -> Option<Self> {
        (rest(rows(facts)) > 0).then(|| Self {
            at: facts.now,
            answered: facts.gathered.answered(),
            evaluated: evaluated.clone(),
        })
    }

    /// Whether it still stands for this reading.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.stands(facts.now, rows(facts), facts.gathered.answered())
    }

    /// Who asked something goes on as soon as it is answered, with a question of the next depth, perhaps.
    fn stands(&self, now: u64, rows: u64, answered: usize) -> bool {
        // Readings come a little early and late.
        let young = now.saturating_sub(self.at) + SECOND / 4 < rest(rows);
        young && answered == self.answered
    }
}

fn rows(facts: &Facts<'_>) -> u64 {
    (facts.flows.len() + facts.losses.len()) as u64
}

/// How long a judgement of so many rows stands.
fn rest(rows: u64) -> u64 {
    match rows / ROWS {
        0 => 0,
        times => (times * SECOND).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_judged_each_time_and_many_every_few_seconds() {
        assert_eq!(rest(ROWS - 1), 0);
        assert_eq!(rest(ROWS), SECOND);
        assert_eq!(rest(2 * ROWS + 5), 2 * SECOND);
        assert_eq!(rest(100 * ROWS), LONGEST);
    }

    #[test]
    fn a_judgement_stands_until_its_time_is_over_or_an_answer_came() {
        let crowd = Crowd {
            at: 7 * SECOND,
            answered: 3,
            evaluated: Evaluated {
                findings: Vec::new(),
                cannot_tell: Vec::new(),
                wants: Default::default(),
            },
        };
        assert!(crowd.stands(8 * SECOND, 2 * ROWS, 3));
        assert!(!crowd.stands(9 * SECOND, 2 * ROWS, 3), "its time is over");
        assert!(!crowd.stands(8 * SECOND, 2 * ROWS, 4), "an answer came");
        assert!(!crowd.stands(8 * SECOND, ROWS - 1, 3), "few are left");
    }
}
