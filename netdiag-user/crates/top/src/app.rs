//! What is looked at: which table or page, which row, which reading.
use std::sync::Arc;

use super::{
    causes::{Ends, Ways},
    history::{History, Moment},
    items::{self, Id, Order, columns, items},
    keys::Action,
    reading::Reading,
    tab::Tab,
};
use crate::model::verdict::NotChecked;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Live,
    Recording,
}

/// What a page is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Cause(String),
    /// A flow of a cause.
    Way(String, Ends),
    Row(Tab, u64),
    /// What is not seen.
    Unseen,
    Help,
}

/// A page on top of the table or of another page.
#[derive(Clone, Debug)]
pub struct Page {
    pub target: Target,
    pub scroll: Scroll,
    /// Where its lines lead, as it was drawn last.
    pub leads: Vec<Option<Target>>,
}

/// The line at hand and the first one that is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scroll {
    pub at: usize,
    pub top: usize,
}

impl Scroll {
    fn go(&mut self, by: isize, all: usize) {
        let last = all.saturating_sub(1);
        self.at = self.at.saturating_add_signed(by).min(last);
    }

    /// Makes the line at hand one of the `height` that are shown.
    pub fn show(&mut self, height: usize, all: usize) {
        self.at = self.at.min(all.saturating_sub(1));
        let lowest = (self.at + 1).saturating_sub(height);
        let highest = self.at.min(all.saturating_sub(height));
        self.top = self.top.clamp(lowest.min(highest), highest.max(lowest));
    }
}

#[derive(Clone, Debug)]
pub struct List {
    pub order: Order,
    pub selected: Option<Id>,
    pub scroll: Scroll,
}

pub struct App {
    pub history: History,
    pub source: Source,
    /// The reading that is looked at, by its number since the beginning; the newest where none is.
    at: Option<usize>,
    pub tab: Tab,
    lists: [List; 4],
    pub filter: String,
    pub typing: bool,
    pub pages: Vec<Page>,
    /// Lines of the body as it was drawn last.
    pub height: usize,
    /// What of a recording is not shown.
    pub not_shown: Vec<NotChecked>,
    /// The last thing that netdiag had to say about itself.
    pub notice: Option<String>,
    pub ended: bool,
}

/// Letters of a filter.
const LONGEST: usize = 64;
/// Pages on top of each other.
const DEEPEST: usize = 16;

impl App {
    pub fn new(history: History, source: Source) -> Self {
        let list = |tab| List {
            order: Order {
                column: items::first_order(tab),
                reverse: false,
            },
            selected: None,
            scroll: Scroll::default(),
        };
        Self {
            history,
            source,
            at: None,
            tab: Tab::Causes,
            lists: Tab::ALL.map(list),
            filter: String::new(),
            typing: false,
            pages: Vec::new(),
            height: 1,
            not_shown: Vec::new(),
            notice: None,
            ended: false,
        }
    }

    pub fn push(&mut self, reading: Reading) {
        self.history.push(Arc::new(reading));
        if let Some(at) = &mut self.at {
            // What was looked at may be among those that went.
            *at = (*at).max(self.history.gone());
        }
    }

    /// The place of the reading that is looked at, among those that are kept.
    pub fn position(&self) -> usize {
        let last = self.history.len().saturating_sub(1);
        let at = self.at.map(|at| at.saturating_sub(self.history.gone()));
        at.map_or(last, |at| at.min(last))
    }

    pub fn moment(&self) -> Option<Moment<'_>> {
        self.history.moment(self.position())
    }

    pub const fn is_paused(&self) -> bool {
        self.at.is_some()
    }

    /// Which flow's way is to be followed in the next reading: the one that is looked at.
    pub fn ways(&self) -> Ways {
        match self.pages.last().map(|page| &page.target) {
            Some(Target::Way(id, flow)) => Ways::Of(id.clone(), flow.clone()),
            _ => Ways::None,
        }
    }

    pub fn list(&self) -> &List {
        &self.lists[self.tab.number()]
    }

    pub fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.tab.number()]
    }

    /// What the table at hand lists, and the place of the row that is selected.
    pub fn listed(&self) -> (Vec<items::Item<'_>>, usize) {
        let Some(moment) = self.moment() else {
            return (Vec::new(), 0);
        };
        let list = self.list();
        let items = items(&moment, self.tab, list.order, &self.filter);
        let own = |id: &Id| items.iter().position(|item| item.is(id));
        let found = list.selected.as_ref().and_then(own);
        let at = found.unwrap_or(list.scroll.at);
        let at = at.min(items.len().saturating_sub(1));
        (items, at)
    }

    /// Whether the next key can only be understood once what this one does was drawn.
    pub const fn needs_a_look(&self, action: Action) -> bool {
        matches!(
            action,
            Action::Open | Action::Back | Action::Help | Action::Unseen
        )
    }

    pub fn apply(&mut self, action: Action) {
        self.notice = None;
        match action {
            Action::Quit => self.ended = true,
            Action::Move(by) => self.go(by),
            Action::Page(by) => {
                let lines = isize::try_from(self.height.max(2) - 1).unwrap_or(1);
                self.go(by * lines);
            }
            Action::First => self.go(isize::MIN),
            Action::Last => self.go(isize::MAX),
            Action::Open => self.open(),
            Action::Back => self.back(),
            Action::Show(tab) => self.show(tab),
            Action::Beside { on } => self.show(self.tab.beside(on)),
            Action::Sort { on } => self.sort(on),
            Action::Reverse => {
                let order = &mut self.list_mut().order;
                order.reverse = !order.reverse;
            }
            Action::Filter => {
                self.pages.clear();
                self.typing = true;
            }
            Action::Type(c) => {
                if self.filter.chars().count() < LONGEST {
                    self.filter.push(c);
                }
            }
            Action::Erase => drop(self.filter.pop()),
            Action::Take => self.typing = false,
            Action::Clear => {
                self.filter.clear();
                self.typing = false;
            }
            Action::Help => self.toggle(Target::Help),
            Action::Unseen => self.toggle(Target::Unseen),
            Action::Pause => self.pause(),
            Action::Step(by) => self.step(by),
            Action::Begin => self.at = Some(self.history.gone()),
            Action::End => self.end(),
        }
    }

    fn go(&mut self, by: isize) {
        if let Some(page) = self.pages.last_mut() {
            page.scroll.go(by, page.leads.len());
            return;
        }
        let (items, at) = self.listed();
        let mut scroll = Scroll { at, top: 0 };
        scroll.go(by, items.len());
        let selected = items.get(scroll.at).map(items::Item::id);
        let list = self.list_mut();
        list.selected = selected;
        list.scroll.at = scroll.at;
    }

    fn open(&mut self) {
        let target = match self.pages.last_mut() {
            Some(page) => {
                let own = page.leads.get(page.scroll.at).cloned().flatten();
                let first = || page.leads.iter().position(Option::is_some);
                if own.is_none()
                    && let Some(first) = first()
                {
                    // There is something to open: this is where.
                    page.scroll.at = first;
                }
                own
            }
            None => {
                let (items, at) = self.listed();
                items.get(at).map(|item| match item.id() {
                    Id::Cause(id) => Target::Cause(id),
                    Id::Row(key) => Target::Row(self.tab, key),
                })
            }
        };
        if let Some(target) = target {
            self.put(target);
        }
    }

    fn put(&mut self, target: Target) {
        if self.pages.len() < DEEPEST {
            self.pages.push(Page {
                target,
                scroll: Scroll::default(),
                leads: Vec::new(),
            });
        }
    }

    fn back(&mut self) {
        if self.pages.pop().is_none() {
            self.filter.clear();
        }
    }

    fn toggle(&mut self, target: Target) {
        match self.pages.last().is_some_and(|page| page.target == target) {
            true => self.back(),
            false => self.put(target),
        }
    }

    fn show(&mut self, tab: Tab) {
        self.pages.clear();
        self.tab = tab;
    }

    fn sort(&mut self, on: bool) {
        let columns = columns(self.tab);
        let all = columns.len();
        let step = if on { 1 } else { all - 1 };
        let order = &mut self.list_mut().order;
        order.reverse = false;
        let mut next = (order.column + step) % all;
        while !columns[next].sorts() {
            next = (next + step) % all;
        }
        order.column = next;
    }

    fn pause(&mut self) {
        self.at = match self.at {
            Some(_) => None,
            None => Some(self.history.gone() + self.position()),
        };
    }

    fn step(&mut self, by: isize) {
        let last = self.history.len().saturating_sub(1);
        let to = self.position().saturating_add_signed(by).min(last);
        self.at = Some(self.history.gone() + to);
    }

    fn end(&mut self) {
        self.at = None;
    }
}
