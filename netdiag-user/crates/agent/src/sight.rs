//! Whether netdiag still sees: of each packet that it drops itself it must see the drop.

/// Rounds in a row without sight that make it blind: one may be late on a busy machine.
const BLIND: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Blind,
    Sees,
}

/// The rounds until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    pub seen: u64,
    pub unseen: u64,
    in_a_row: u32,
}

impl Sight {
    pub fn round(&mut self, seen: bool) -> Option<Change> {
        let before = self.is_blind();
        if seen {
            self.seen += 1;
            self.in_a_row = 0;
        } else {
            self.unseen += 1;
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        match (before, self.is_blind()) {
            (false, true) => Some(Change::Blind),
            (true, false) => Some(Change::Sees),
            _ => None,
        }
    }

    pub fn is_blind(&self) -> bool {
        self.in_a_row >= BLIND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rounds_in_a_row_make_it_blind_and_one_heals_it() {
        let mut sight = Sight::default();
        assert_eq!(sight.round(false), None);
        assert_eq!(sight.round(true), None);
        assert_eq!(sight.round(false), None);
        assert_eq!(sight.round(false), Some(Change::Blind));
        assert_eq!(sight.round(false), None, "said once");
        assert!(sight.is_blind());
        assert_eq!(sight.round(true), Some(Change::Sees));
        assert_eq!((sight.seen, sight.unseen), (2, 4));
    }
}
