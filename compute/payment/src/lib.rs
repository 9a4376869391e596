//! Payment by vouchers over a channel: what is signed, what is accepted, what is claimed by when.
//!
//! # Design
//! - [`voucher`]: the bytes that are signed, and who signed them.
//! - [`Payer`]: the customer's side. It signs a window's voucher once, and the same one again whenever it is asked.
//! - [`Payee`]: the provider's side. It works on one window at a time without a voucher, keeps every voucher that may still
//!   be claimed, and says which one to claim.
//! - [`watch`]: which transaction a channel needs, and by when.
//!
//! Both sides are state machines without I/O. What they decide comes out as a [`Draft`]: a record for the disk and a message
//! that can be taken out only by saying that the record is there. Spec: specs/0009-channel.md sections 5, 6 and 11.
//!
//! # Invariants
//! - A payer never signs two different vouchers for one window, whatever is repeated, reordered or lost, and wherever it dies.
//! - A payee never has more than one window of work without a voucher, and never takes a voucher for less than it earned.
//!
//! # Not here
//! Keys (trait [`Sign`]), the disk, the network, the chain, the clock: they come in through parameters.

pub mod channel;
pub mod limits;
pub mod payee;
pub mod payer;
pub mod record;
pub mod voucher;
pub mod watch;
pub mod window;

pub use channel::{Budget, Standing, Terms};
pub use payee::{Claim, Payee, Policy, Release};
pub use payer::{Payer, Price};
pub use record::Draft;
pub use voucher::{Domain, Sign, Signature, Signed, Voucher};
pub use window::{Received, Report};
