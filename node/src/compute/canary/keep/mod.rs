//! `keystead canary keep`: sees to it that a share of all checks are of canaries.
//!
//! # Design
//! [`follow`] counts, in the chain's final blocks, the checks of everybody and the canaries that anybody told; [`state`] says by a pure rule whether one is
//! owed and what it may cost, and is kept in the folder; [`jobs`] are the orders to draw from, split into words by [`words`]. [`course`] is the loop: it runs
//! one `keystead run --canary` at a time as a child, so that such an order is like every other one of its account, down to the program that orders it.
//!
//! ```text
//! DIR/wallet.key      who orders, unless --key or --dev-account says who
//! DIR/keep.json       what was counted and spent, and the order under way (state)
//! DIR/keep.lock       held by the process that keeps
//! DIR/order.lock      held by it, and by its child until that ends
//! DIR/orders/N        what `keystead run` makes of order N
//! DIR/orders/N.jsonl  its events
//! ```
//!
//! # Invariants
//! There is one order at a time, and none twice: it is written down before its child begins, no second child begins while the first one may live, and
//! whatever is not over goes on in its own folder with its own words, where `keystead run` places one order and pays once.
//!
//! Spec: specs/0008-audit.md §12.2.

mod course;
mod follow;
mod jobs;
mod state;
mod words;

pub(crate) use course::run;
