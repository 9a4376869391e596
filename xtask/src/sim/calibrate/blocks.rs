//! When blocks were made, and when a node had them.

use super::machine::Notes;
use crate::{
    network::{ask, block_number},
    parties::{Micros, now},
};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// How often a node is asked for its newest block.
const POLL: Duration = Duration::from_millis(4);
/// Blocks that are read at once.
const BLOCKS_MAX: u64 = 100_000;

/// Starts to note when a node first has each of its blocks.
pub(super) fn watch(node: SocketAddr) -> Notes<(u64, Micros)> {
    let mut newest = None;
    Notes::start(POLL, move || {
        let head = head(node)?;
        let is_new = newest.is_some_and(|newest| head > newest);
        newest = Some(head);
        // When the first one came is not known.
        Ok(is_new.then(|| (head, now())))
    })
}

/// The newest block's number.
pub(super) fn head(node: SocketAddr) -> Result<u64> {
    let digits = block_number(node).ok_or_else(|| eyre!("the node at {node} does not answer"))?;
    number(&digits)
}

/// When blocks were made by their headers, from one to another, both included.
pub(super) fn times(node: SocketAddr, first: u64, last: u64) -> Result<Vec<Micros>> {
    ensure!(last.saturating_sub(first) < BLOCKS_MAX, "too many blocks to read: {first} to {last}");
    (first..=last).map(|number| time(node, number)).collect()
}

/// When a block was made by its header. Spec: specs/0000-chain.md §3.
pub(super) fn time(node: SocketAddr, number: u64) -> Result<Micros> {
    let block = ask(node, "eth_getBlockByNumber", &json!([format!("{number:#x}"), false]));
    let extra = block.as_ref().and_then(|block| block.get("extraData")).and_then(Value::as_str);
    let digits = extra.ok_or_else(|| eyre!("the node at {node} does not show block {number}"))?;
    Ok(self::number(digits)?.saturating_mul(1_000))
}

/// A number in hex with its prefix.
fn number(digits: &str) -> Result<u64> {
    u64::from_str_radix(digits.trim_start_matches("0x"), 16).wrap_err_with(|| format!("odd number: {digits}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_headers_time_is_read() {
        assert_eq!(number("0x000001a2211f3bd8").unwrap(), 0x01a2_211f_3bd8);
        assert_eq!(number("0x0").unwrap(), 0);
        assert!(number("0xzz").is_err());
    }
}
