//! Additions and multiplications of floats, in the order of the source or, for the false second vendor, as WGSL permits otherwise.

use super::{Error, Freedom, Writer};
use crate::program::{One, Op, Register, Three, Two};
use std::collections::HashMap;

/// Terms of a sum that may change their order.
#[cfg(feature = "perturbed")]
const TERMS_MAX: usize = 8;

/// What is known of registers that were computed once and never change afterwards.
#[derive(Debug, Default)]
pub(super) struct Sums {
    products: HashMap<Register, (Register, Register)>,
    terms: HashMap<Register, Vec<Register>>,
    sites: u64,
}

impl Sums {
    /// A new function: nothing is known.
    pub(super) fn clear(&mut self) {
        self.products.clear();
        self.terms.clear();
    }
}

impl Writer<'_> {
    /// `a * b` of floats.
    pub(super) fn multiply_f(&mut self, a: Register, b: Register) -> Result<Register, Error> {
        let to = self.registers(1)?;
        self.push(Op::Two { fun: Two::MultiplyF, to, a, b })?;
        if self.freedom != Freedom::None {
            self.sums.products.insert(to, (a, b));
        }
        Ok(to)
    }

    /// `a + b` of floats.
    pub(super) fn add_f(&mut self, a: Register, b: Register) -> Result<Register, Error> {
        match self.freedom {
            Freedom::None => self.two(Two::AddF, a, b),
            Freedom::Seeded { seed, contract, reassociate } => {
                let mut terms = self.sums.terms.get(&a).cloned().unwrap_or_else(|| vec![a]);
                terms.extend(self.sums.terms.get(&b).cloned().unwrap_or_else(|| vec![b]));
                if reassociate && terms.len() <= terms_max() {
                    self.sums.sites = self.sums.sites.wrapping_add(1);
                    shuffle(&mut terms, seed ^ self.sums.sites);
                } else {
                    terms = vec![a, b];
                }
                let mut sum = terms.first().copied().unwrap_or(a);
                for &term in terms.iter().skip(1) {
                    sum = self.fused_add(sum, term, contract)?;
                }
                self.sums.terms.insert(sum, terms);
                Ok(sum)
            }
        }
    }

    /// `a - b` of floats.
    pub(super) fn subtract_f(&mut self, a: Register, b: Register) -> Result<Register, Error> {
        let Freedom::Seeded { contract: true, .. } = self.freedom else {
            return self.two(Two::SubtractF, a, b);
        };
        if let Some(&(x, y)) = self.sums.products.get(&a) {
            let minus = self.one(One::NegateF, b)?;
            return self.three(Three::Fma, x, y, minus);
        }
        if let Some(&(x, y)) = self.sums.products.get(&b) {
            let minus = self.one(One::NegateF, x)?;
            return self.three(Three::Fma, minus, y, a);
        }
        self.two(Two::SubtractF, a, b)
    }

    fn fused_add(&mut self, a: Register, b: Register, contract: bool) -> Result<Register, Error> {
        if contract {
            for (product, other) in [(b, a), (a, b)] {
                if let Some(&(x, y)) = self.sums.products.get(&product) {
                    return self.three(Three::Fma, x, y, other);
                }
            }
        }
        self.two(Two::AddF, a, b)
    }
}

#[cfg(feature = "perturbed")]
const fn terms_max() -> usize {
    TERMS_MAX
}

#[cfg(not(feature = "perturbed"))]
const fn terms_max() -> usize {
    0
}

/// A permutation chosen by the seed (Fisher and Yates, by a mixing function).
fn shuffle(terms: &mut [Register], seed: u64) {
    let mut state = seed;
    for at in (1..terms.len()).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let below = (at as u64).wrapping_add(1);
        // LOSSY: the remainder is at most `at`.
        #[allow(clippy::cast_possible_truncation)]
        let other = ((state >> 33) % below) as usize;
        terms.swap(at, other);
    }
}
