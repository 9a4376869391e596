//! Work in leases over a payment channel: the provider's side of `keystead map`.
//!
//! # Design
//! Every channel that a customer came with has one [`actor`]: a task that owns what is on the disk about it ([`record`]) and the newest
//! connection, if there is one. It hands a lease to a task that runs it ([`work`]), reports, takes the voucher, and claims and closes
//! when the work is over. [`desk`] knows all channels and decides who may come, [`places`] for whom there is room. Spec: specs/0011-stream.md.
//!
//! # Invariants
//! - A report is on the disk before it leaves, and a voucher before the next lease begins.
//! - At most one window of a channel is without a voucher.
//! - The machine runs one lease, or one order, at a time.

mod actor;
mod chain;
mod desk;
mod held;
mod places;
mod record;
mod work;

pub(super) use desk::{Desk, Door, Terms};
