//! The method table: every method that this server answers, with what its documentation needs.
//!
//! # Design
//! One row per method: name, sentence, parameters, result, lane, function. Dispatch, metrics and the OpenRPC
//! description all read these rows, so that they cannot disagree. A method is a plain function from the server's
//! state and its parameters to JSON.

pub(crate) mod blocks;
mod debug;
mod dev;
pub(crate) mod eth;
mod filter;
pub(crate) mod keystead;
mod net;
mod otterscan;
mod raw;
mod rpc;
pub(crate) mod subscribe;
mod testing;
mod trace;
mod tracing;
mod txpool;
mod web3;

use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};
use keystead_types::ChainSpec;
use std::{collections::HashMap, sync::LazyLock};

/// One method.
#[derive(Debug)]
pub(crate) struct Method {
    /// Name on the wire.
    pub(crate) name: &'static str,
    /// What it answers, in one sentence.
    pub(crate) about: &'static str,
    /// Its parameters in order; optional ones last.
    pub(crate) params: &'static [Param],
    /// Shape of the result.
    pub(crate) result: &'static str,
    /// Where it runs.
    pub(crate) work: Work,
    /// What it does.
    pub(crate) run: fn(&Service, &Params) -> Result<Json, RpcError>,
}

/// All methods, grouped by namespace.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    let groups = [
        blocks::METHODS,
        debug::METHODS,
        eth::METHODS,
        eth::FACTS_METHODS,
        eth::MORE_METHODS,
        eth::SIMULATE_METHODS,
        eth::TOOL_METHODS,
        filter::METHODS,
        keystead::METHODS,
        net::METHODS,
        otterscan::METHODS,
        raw::METHODS,
        rpc::METHODS,
        subscribe::METHODS,
        testing::METHODS,
        trace::METHODS,
        txpool::METHODS,
        web3::METHODS,
    ];
    groups.into_iter().flatten()
}

/// The methods that only a development node has. Their indices follow those of [`all`].
pub(crate) fn all_dev() -> impl Iterator<Item = &'static Method> {
    dev::all()
}

/// As [`find`], for a method of a development node.
pub(crate) fn find_dev(name: &str) -> Option<(usize, &'static Method)> {
    static TABLE: LazyLock<HashMap<&'static str, (usize, &'static Method)>> = LazyLock::new(|| {
        let rows = (all().count()..).zip(all_dev());
        rows.map(|(index, method)| (method.name, (index, method))).collect()
    });
    TABLE.get(name).copied()
}

/// A method by name, with its index in [`all`].
pub(crate) fn find(name: &str) -> Option<(usize, &'static Method)> {
    static TABLE: LazyLock<HashMap<&'static str, (usize, &'static Method)>> =
        LazyLock::new(|| all().enumerate().map(|(index, method)| (method.name, (index, method))).collect());
    TABLE.get(name).copied()
}

/// True if a server of this chain answers the method.
pub(crate) fn is_offered(method: &Method, spec: &ChainSpec) -> bool {
    spec.ethereum.is_some() || testing::METHODS.iter().all(|it| it.name != method.name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_method_is_documented_once() {
        let mut names = HashSet::new();
        for (index, method) in all().chain(all_dev()).enumerate() {
            assert!(names.insert(method.name), "{} twice", method.name);
            let known = if index < all().count() { find } else { find_dev };
            assert_eq!(known(method.name).unwrap().0, index);
            assert!(method.name.contains(['_', '.']) && !method.about.is_empty() && !method.result.is_empty());
            assert!(method.about.ends_with('.'), "{}", method.about);
            let required: Vec<_> = method.params.iter().map(|param| param.required).collect();
            assert!(required.is_sorted_by(|a, b| a >= b), "{}: optional parameters come last", method.name);
            assert!(method.params.iter().all(|param| !param.name.is_empty() && !param.about.is_empty()));
        }
    }
}
