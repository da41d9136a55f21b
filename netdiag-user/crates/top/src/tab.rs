//! The four tables.
use netdiag_lang::t;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Causes,
    Pods,
    Hops,
    Reasons,
}

impl Tab {
    pub const ALL: [Self; 4] = [Self::Causes, Self::Pods, Self::Hops, Self::Reasons];

    pub fn title(self) -> &'static str {
        match self {
            Self::Causes => t!("Causes"),
            Self::Pods => t!("Pods"),
            Self::Hops => t!("Hops"),
            Self::Reasons => t!("Drop reasons"),
        }
    }

    pub const fn number(self) -> usize {
        match self {
            Self::Causes => 0,
            Self::Pods => 1,
            Self::Hops => 2,
            Self::Reasons => 3,
        }
    }

    /// The one beside it, round and round.
    pub fn beside(self, on: bool) -> Self {
        let all = Self::ALL.len();
        let step = if on { 1 } else { all - 1 };
        Self::ALL[(self.number() + step) % all]
    }
}
