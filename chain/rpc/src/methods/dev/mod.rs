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
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};

const NULL: &str = "null";
const DONE: &str = "true";

/// A row that changes something: all of them wait for the one who makes blocks.
const fn row(
    name: &'static str,
    about: &'static str,
    params: &'static [Param],
    result: &'static str,
    run: fn(&Service, &Params) -> Result<Json, RpcError>,
) -> Method {
    Method { name, about, params, result, work: Work::Submit, run }
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    let groups = [control::METHODS, node::METHODS, sending::METHODS, signing::METHODS, state::METHODS];
    groups.into_iter().flatten()
}
