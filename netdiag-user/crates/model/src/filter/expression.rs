//! An expression as it was understood.
use crate::address::Prefix;

/// Which end of a packet a primitive speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Either,
    Both,
    Source,
    Destination,
}

impl Side {
    fn mirrored(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
            other => other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    Address(Side, Prefix),
    /// First and last port.
    Port(Side, u16, u16),
    Protocol(u8),
    /// 4 or 6.
    Family(u8),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

impl Expression {
    pub fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    pub fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    pub fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Itself or the other direction of it; nothing where that is the same.
    pub fn with_answers(&self) -> Option<Self> {
        let mirrored = self.mirrored();
        (mirrored != *self).then(|| self.clone().or(mirrored))
    }

    fn mirrored(&self) -> Self {
        match self {
            Self::Address(side, prefix) => Self::Address(side.mirrored(), *prefix),
            Self::Port(side, low, high) => Self::Port(side.mirrored(), *low, *high),
            Self::Protocol(_) | Self::Family(_) => self.clone(),
            Self::Not(inner) => inner.mirrored().not(),
            Self::And(a, b) => a.mirrored().and(b.mirrored()),
            Self::Or(a, b) => a.mirrored().or(b.mirrored()),
        }
    }
}
