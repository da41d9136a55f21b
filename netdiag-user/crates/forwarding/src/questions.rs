//! What came of questions for neighbours: everybody on a link hears each, and many ways lead to one neighbour.
use std::{cell::RefCell, collections::HashMap, net::IpAddr, rc::Rc};

use netdiag_model::world::End;

use crate::{learned::Learned, way::Outcome};

/// Who asks, for whom, and by which address of its own.
pub(crate) type Question = (End, IpAddr, IpAddr);

/// Questions that are kept, and with how much known before each.
const MOST: usize = 4_096;
const OF_ONE: usize = 8;

/// By what was known when it was asked.
type Came = Vec<(Learned, Rc<[Outcome]>)>;

#[derive(Default)]
pub(crate) struct Questions(RefCell<HashMap<Question, Came>>);

impl Questions {
    pub fn came_of(&self, question: &Question, known: &Learned) -> Option<Rc<[Outcome]>> {
        let all = self.0.borrow();
        let mut came = all.get(question)?.iter();
        let found = came.find(|(before, _)| before == known);
        found.map(|(_, outcomes)| Rc::clone(outcomes))
    }

    pub fn keep(&self, question: Question, known: &Learned, outcomes: &[Outcome]) {
        let mut all = self.0.borrow_mut();
        if all.len() >= MOST && !all.contains_key(&question) {
            return;
        }
        let came = all.entry(question).or_default();
        if came.len() < OF_ONE {
            came.push((known.clone(), outcomes.into()));
        }
    }
}
