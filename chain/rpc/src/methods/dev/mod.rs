//! Methods that only a development node has, named as in the tools that developers know: `evm_*`, `hardhat_*`, `anvil_*`,
//! and those of `eth_*` and `personal_*` that sign.

mod control;
mod node;
mod number;
mod sending;
mod signing;
mod state;
mod typed;

use super::Method;

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    let groups = [control::METHODS, node::METHODS, sending::METHODS, signing::METHODS, state::METHODS];
    groups.into_iter().flatten()
}
