//! What gas costs: suggested tips and the history of fees.
//!
//! # Design
//! The suggestion follows geth's oracle: the lowest tips that recent blocks accepted, and of those a percentile. It is
//! computed once per head and remembered.

use crate::{
    error::RpcError,
    message::Json,
    params::{BlockId, BlockNumber, Count, Params, Percentile},
    service::Service,
};
use alloy_consensus::Transaction as _;
use alloy_eips::eip4844::BLOB_TX_MIN_BLOB_GASPRICE;
use alloy_primitives::{B256, U128};
use alloy_rpc_types_eth::FeeHistory;
use keystead_types::{ChainSpec, Header, Transaction};
use std::sync::{Mutex, PoisonError};

/// Blocks that the suggestion looks at: four seconds at five blocks a second.
const TIP_BLOCKS: u64 = 20;
/// Lowest tips taken from each of them, as in geth: more would let one full block outvote the others.
const TIPS_PER_BLOCK: usize = 3;
/// Which of the sorted tips is suggested, as in geth.
const TIP_PERCENTILE: usize = 60;
/// The suggestion if no recent block had a transaction, and its floor: 0.001 gwei, a thousandth of the first base fee.
const TIP_MIN: u128 = 1_000_000;
/// Percentiles in one request, as in geth.
const PERCENTILES_MAX: usize = 100;

/// The last suggestion and the head it was made at.
#[derive(Debug, Default)]
pub(crate) struct TipCache(Mutex<Option<(B256, u128)>>);

pub(super) fn max_priority_fee_per_gas(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&U128::from(suggested_tip(service)?))
}

pub(super) fn gas_price(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let chain = service.chain();
    let base_fee = service.next_base_fee(&chain.header(chain.head())?)?;
    Json::of(&U128::from(suggested_tip(service)?.saturating_add(base_fee.into())))
}

pub(in crate::methods) fn suggested_tip(service: &Service) -> Result<u128, RpcError> {
    let head = service.context.store.head();
    let cached = *service.tip.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((hash, tip)) = cached
        && hash == head.hash
    {
        return Ok(tip);
    }
    let mut lowest = Vec::new();
    // A node that began with a snapshot, or dropped old blocks, looks at those that it has.
    let oldest = head.number.saturating_sub(TIP_BLOCKS.saturating_sub(1)).max(service.context.store.oldest_block());
    for number in oldest..=head.number {
        let Some(block) = service.chain().block(BlockId::Number(number))? else { continue };
        let base_fee = block.header().base_fee_per_gas.unwrap_or_default();
        let mut tips: Vec<u128> = block.transactions().iter().map(|it| tip(it, base_fee)).collect();
        tips.sort_unstable();
        lowest.extend(tips.into_iter().take(TIPS_PER_BLOCK));
    }
    lowest.sort_unstable();
    let last = lowest.len().saturating_sub(1);
    let tip = lowest.get(last.saturating_mul(TIP_PERCENTILE) / 100).copied().unwrap_or_default().max(TIP_MIN);
    *service.tip.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((head.hash, tip));
    Ok(tip)
}

/// What a transaction of a block paid above the base fee, in wei per gas.
fn tip(transaction: &Transaction, base_fee: u64) -> u128 {
    transaction.effective_tip_per_gas(base_fee).unwrap_or_default()
}

pub(super) fn fee_history(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Count(count) = params.get(0)?;
    let BlockNumber(newest) = params.get(1)?;
    let percentiles = percentiles(params)?;
    let chain = service.chain();
    let newest = match newest {
        BlockId::Number(number) if number > chain.head() => {
            let head = chain.head();
            return Err(RpcError::server(format!("request beyond head block: requested {number}, head {head}")));
        }
        BlockId::Number(number) => number,
        _ => chain.head(),
    };
    let count = count.min(service.limits.fee_history_blocks_max).min(newest.saturating_add(1));
    if count == 0 {
        return Json::of(&FeeHistory { reward: percentiles.map(|_| Vec::new()), ..FeeHistory::default() });
    }
    let oldest = newest.saturating_add(1).saturating_sub(count);
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    for number in oldest..=newest {
        let header = chain.header(number)?;
        history.base_fee_per_gas.push(header.base_fee_per_gas.unwrap_or_default().into());
        history.gas_used_ratio.push(ratio(header.gas_used, header.gas_limit));
        if let Some(percentiles) = &percentiles {
            rewards.push(rewards_of(service, number, percentiles)?);
        }
        push_blobs(&mut history, &service.context.spec, &header);
        if number == newest {
            let next = if number == chain.head() {
                service.next_base_fee(&header)?
            } else {
                service.context.spec.next_base_fee(&header)
            };
            history.base_fee_per_gas.push(next.into());
            history.base_fee_per_blob_gas.push(next_blob_price(&service.context.spec, &header));
        }
    }
    history.reward = percentiles.map(|_| rewards);
    Json::of(&history)
}

/// Blocks of our chains hold no blobs, so the price stands at its minimum; before Cancun there is none.
fn push_blobs(history: &mut FeeHistory, spec: &ChainSpec, header: &Header) {
    let absent = if spec.ethereum.is_some() { 0 } else { BLOB_TX_MIN_BLOB_GASPRICE };
    let max = spec.blob_params(header).map_or(0, |params| params.max_blob_gas_per_block());
    history.base_fee_per_blob_gas.push(spec.blob_price(header).unwrap_or(absent));
    history.blob_gas_used_ratio.push(ratio(header.blob_gas_used.unwrap_or_default(), max));
}

/// The price of blob gas after a block, if the next one is of the same fork.
fn next_blob_price(spec: &ChainSpec, header: &Header) -> u128 {
    let absent = if spec.ethereum.is_some() { 0 } else { BLOB_TX_MIN_BLOB_GASPRICE };
    spec.blob_params(header).and_then(|params| header.next_block_blob_fee(params)).unwrap_or(absent)
}

fn percentiles(params: &Params) -> Result<Option<Vec<f64>>, RpcError> {
    let Some(given) = params.find::<Vec<Percentile>>(2)? else { return Ok(None) };
    let percentiles: Vec<f64> = given.into_iter().map(|Percentile(number)| number).collect();
    if percentiles.len() > PERCENTILES_MAX {
        let got = percentiles.len();
        return Err(params.wrong(2, &format!("expected at most {PERCENTILES_MAX} percentiles, got {got}")));
    }
    if !percentiles.is_sorted() {
        return Err(params.wrong(2, "expected percentiles in ascending order"));
    }
    Ok(Some(percentiles))
}

#[allow(clippy::cast_precision_loss, reason = "LOSSY: a ratio for display; gas is far below 2^53")]
fn ratio(gas_used: u64, gas_limit: u64) -> f64 {
    if gas_limit == 0 { 0.0 } else { gas_used as f64 / gas_limit as f64 }
}

/// The tip at each percentile of a block's gas; zeros for a block without transactions.
fn rewards_of(service: &Service, number: u64, percentiles: &[f64]) -> Result<Vec<u128>, RpcError> {
    let executed = service.chain().executed(BlockId::Number(number))?;
    let Some(executed) = executed.filter(|executed| !executed.block.transactions().is_empty()) else {
        return Ok(vec![0; percentiles.len()]);
    };
    let base_fee = executed.block.header().base_fee_per_gas.unwrap_or_default();
    let mut gas_before = 0;
    let mut tips: Vec<(u128, u64)> = Vec::with_capacity(executed.receipts.len());
    for (transaction, receipt) in executed.block.transactions().iter().zip(executed.receipts.iter()) {
        let gas_used = receipt.cumulative_gas_used().saturating_sub(gas_before);
        gas_before = receipt.cumulative_gas_used();
        tips.push((tip(transaction, base_fee), gas_used));
    }
    tips.sort_unstable();
    Ok(percentiles.iter().map(|percentile| tip_at(&tips, gas_before, *percentile)).collect())
}

/// The tip of the transaction in which the share `percentile` of the block's gas is reached, tips ascending.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "LOSSY: gas is far below 2^53, the percentile is within 0 and 100, and the result only picks a row"
)]
fn tip_at(tips: &[(u128, u64)], gas_total: u64, percentile: f64) -> u128 {
    let threshold = (gas_total as f64 * percentile / 100.0) as u64;
    let mut sum = 0u64;
    for (tip, gas_used) in tips {
        sum = sum.saturating_add(*gas_used);
        if sum >= threshold {
            return *tip;
        }
    }
    tips.last().map_or(0, |(tip, _)| *tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_weighted_by_gas() {
        let tips = [(1, 10), (5, 80), (9, 10)];
        for (percentile, tip) in [(0.0, 1), (10.0, 1), (11.0, 5), (50.0, 5), (90.0, 5), (91.0, 9), (100.0, 9)] {
            assert_eq!(tip_at(&tips, 100, percentile), tip, "{percentile}");
        }
    }
}
