//! Where a value or a variable is: registers side by side, registers anywhere, or an address in some memory.

use crate::program::{Memory, Register};
use std::rc::Rc;

/// Components up to which a value may lie scattered: those of the largest matrix.
pub(super) const SCATTERED_WORDS_MAX: u32 = 16;

/// A value while code is written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `words` registers from `base`.
    Span { base: Register, words: u32 },
    /// At most [`SCATTERED_WORDS_MAX`] registers, in order.
    Parts(Rc<[Register]>),
    /// A pointer.
    Place(Place),
}

impl Value {
    pub(super) const fn word(register: Register) -> Self {
        Self::Span { base: register, words: 1 }
    }

    pub(super) fn words(&self) -> u32 {
        match self {
            Self::Span { words, .. } => *words,
            // LOSSY: at most 16.
            #[allow(clippy::cast_possible_truncation)]
            Self::Parts(parts) => parts.len() as u32,
            Self::Place(_) => 1,
        }
    }

    /// Register of component `index`, or of the last one.
    pub(super) fn part(&self, index: u32) -> Register {
        match self {
            Self::Span { base, words } => base.saturating_add(index.min(words.saturating_sub(1))),
            Self::Parts(parts) => parts.get(index as usize).or_else(|| parts.last()).copied().unwrap_or_default(),
            Self::Place(place) => place.offset,
        }
    }

    /// Components `first .. first + words`.
    pub(super) fn slice(&self, first: u32, words: u32) -> Self {
        match self {
            Self::Span { base, .. } => Self::Span { base: base.saturating_add(first), words },
            _ => Self::Parts((0..words).map(|index| self.part(first.saturating_add(index))).collect()),
        }
    }
}

/// The memory in which a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Registers,
    Outside(Memory),
}

/// An address: `base` plus what the register `offset` holds. The register `zero` holds 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) space: Space,
    pub(super) base: u32,
    pub(super) offset: Register,
}
