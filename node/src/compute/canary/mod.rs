//! Canaries of audited orders: a unit that is wrong on purpose, to see which checkers look. What both sides must do alike is here.
//!
//! # Design
//! Customer and provider have the same small [`file`]: the customer is, or pays, the provider. From its secret and from what belongs to one order alone
//! both derive, without a word to each other, which unit comes out wrong and where ([`choice`]), and how ([`wrong`]). The customer puts the hash of it
//! into the order's terms, where every other order has random bytes; the provider alters nothing unless its own hash is that one. So a file in the wrong
//! hands, or an order that only looks like one, makes no unit wrong. [`keep`] has them ordered at a rate.
//!
//! # Not here
//! What the customer does with it, and when it is told: [`crate::compute::customer`]. Which output is altered, and when: [`crate::compute::provider`].
//!
//! Spec: specs/0008-audit.md §12.1.

pub(crate) mod choice;
pub(crate) mod file;
pub(crate) mod keep;
pub(crate) mod wrong;

pub(crate) use choice::{Chosen, Deal};
pub(crate) use file::CanaryFile;
