//! Which of several ways was taken where a rule chooses by chance: a station is gone through once more for each.
use std::cell::{Cell, RefCell};

#[derive(Debug, Default)]
pub(crate) struct Chances {
    taken: RefCell<Vec<usize>>,
    /// How many of them were asked for.
    asked: Cell<usize>,
}

impl Chances {
    /// The next of so many ways, where it is said.
    pub fn next(&self, ways: usize) -> Option<usize> {
        let taken = self.taken.borrow().get(self.asked.get()).copied();
        self.asked.set(self.asked.get() + 1);
        taken.filter(|way| *way < ways)
    }

    /// How many were asked for so far.
    pub fn asked(&self) -> usize {
        self.asked.get()
    }

    /// These from now on, from the first one on; those of before.
    pub fn begin(&self, taken: Vec<usize>) -> (Vec<usize>, usize) {
        (self.taken.replace(taken), self.asked.replace(0))
    }

    pub fn go_back(&self, (taken, asked): (Vec<usize>, usize)) {
        self.taken.replace(taken);
        self.asked.set(asked);
    }
}
