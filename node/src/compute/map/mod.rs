//! One job on many machines: leases, windows, vouchers, until every unit is done.
//!
//! # Design
//! [`conduct`] is the one loop that owns what is known ([`state`]); everything else sends it events. A [`line`] per provider keeps a
//! connection and carries messages; [`examine`] fetches what a window gave and checks it in this machine's own worker; [`bank`] opens, fills
//! and looks at channels; [`closing`] ends them. Windows of audited channels ([`window`]) are looked at until they are over ([`watch`]), and the customer
//! does its part for their checkers ([`tend`]). What must outlive the process is in the [`folder`]: a [`journal`] and the [`outputs`].
//! [`choose`] says whom to take on, [`promise`] what all of it may cost at most. [`reduce`] makes the result, [`record`] says how it ended, [`certificate`] what shows others how it was checked; [`kept`] finds the outputs again.
//! What a program is told on the way is in [`happened`]. Spec: specs/0011-stream.md.
//!
//! # Invariants
//! - What a voucher pays for is on the disk, and the voucher's record too, before the voucher leaves.
//! - Whatever changes the state is a line of the journal first; a process that starts again reads the same state from it.

mod bank;
mod certificate;
mod choose;
mod closing;
mod conduct;
mod events;
mod examine;
mod farewell;
mod folder;
mod happened;
mod journal;
pub(crate) mod kept;
mod line;
mod outputs;
mod promise;
mod record;
mod reduce;
mod setup;
mod show;
mod state;
mod stored;
mod tend;
mod watch;
mod window;

pub(crate) use setup::run;
