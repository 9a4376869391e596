//! The machine's owner comes first: what the machine is, what its owner allows, whether work may run now and why not.
//!
//! # Design
//! [`preferences`] and [`decide`] are pure. [`probe`] reads files below a root folder, so that a fixture tree stands for a laptop, a desktop or a
//! server. [`watch`] drives both with an injected clock. [`priority`] and [`service`] keep work out of the owner's way; [`control`] carries the
//! owner's commands from one process to another; [`traffic`] remembers how much was moved over the network.

mod reading;
mod system;

pub mod control;
pub mod decide;
pub mod preferences;
pub mod priority;
pub mod probe;
pub mod report;
pub mod service;
pub mod traffic;
pub mod watch;

pub use reading::{Reading, Unknown};
