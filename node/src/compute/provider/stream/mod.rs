//! Work in leases over a payment channel: the provider's side of `keystead map`.
//!
//! # Design
//! Every channel that a customer came with has one [`actor`]: a task that owns what is on the disk about it ([`record`]) and the newest
//! connection, if there is one. It hands a lease to a task that runs it ([`work`]), reports, takes the voucher, and claims and closes
//! when the work is over. [`desk`] knows all channels and decides who may come, [`places`] for whom there is room. Spec: specs/0011-stream.md.
//!
//! In an audited channel a paid window is announced to the audit and attended to until it is closed ([`window`]). What that takes is kept in a file for each
//! ([`shelf`]), a bond for each is counted before its work begins ([`bond`]), and checkers are served from the channel's store ([`blobs`]).
//!
//! # Invariants
//! - A report is on the disk before it leaves, and a voucher before the next lease begins.
//! - At most one window of a channel is without a voucher.
//! - What a window in the audit needs is on the disk before the window is announced, and stays until its audit is over, whatever becomes of the channel.
//! - The machine runs one lease, or one order, at a time.

mod actor;
mod blobs;
mod bond;
mod chain;
mod desk;
mod held;
mod places;
mod record;
mod shelf;
mod terms;
mod window;
mod work;

pub(super) use blobs::Blobs;
pub(super) use desk::{Desk, Door};
pub(super) use terms::Terms;
