//! Blocks of foreign chains: what Ethereum does around the transactions of a block, in every fork.
//!
//! # Design
//! The rules of the fork say what is due (`rules.rs`); a block run does it in Ethereum's order: system calls,
//! transactions, withdrawals or rewards, requests. Receipts from before Byzantium hold state roots, which this crate
//! does not know: whoever executes such a block lends a function that does.

use crate::{
    block::{BlockRun, Outcome},
    deposits,
    env::BlockEnv,
    error::{BlockFault, Error},
    rules::Rules,
};
use alloy_eips::{
    eip6110::DEPOSIT_REQUEST_TYPE,
    eip7002::{WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, WITHDRAWAL_REQUEST_TYPE},
    eip7251::{CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_TYPE},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use keystead_types::{ChainSpec, ChangeSet, Header, Recovered, StateView, ViewError, Withdrawal};
use std::fmt;

/// The root of the state that a change of the block's parent state gives.
pub type StateRoot<'a> = dyn Fn(ChangeSet) -> Result<B256, ViewError> + 'a;

/// A foreign block's content, for execution.
#[derive(Clone, Copy)]
pub struct EthereumBlock<'a> {
    /// Transactions in order.
    pub transactions: &'a [Recovered],
    /// Headers of stale blocks.
    pub ommers: &'a [Header],
    /// Payments from the consensus layer.
    pub withdrawals: &'a [Withdrawal],
    /// Asked after each transaction before Byzantium, never later.
    pub state_root: &'a StateRoot<'a>,
}

impl fmt::Debug for EthereumBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EthereumBlock")
            .field("transactions", &self.transactions.len())
            .field("ommers", &self.ommers.len())
            .field("withdrawals", &self.withdrawals.len())
            .finish_non_exhaustive()
    }
}

/// Executes a block of a foreign chain on top of `view`, the state after its parent, under Ethereum's own rules.
///
/// Trust: the block may be hostile, but its header was checked against the parent; `view` is taken as true.
///
/// # Errors
/// [`Error::Transaction`], [`Error::Block`]: refuse the block. [`Error::View`], [`Error::Machine`]: we could not execute.
pub fn execute_ethereum(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    block: &EthereumBlock<'_>,
) -> Result<Outcome, Error> {
    let rules = Rules::of(spec, env);
    let mut run = BlockRun::start(view, rules, *env)?;
    if rules.receipts_have_roots {
        run = run.with_roots(block.state_root);
    }
    run.push_all(block.transactions)?;
    if rules.withdrawals {
        withdraw(&mut run, block.withdrawals)?;
    }
    if rules.block_reward > 0 {
        reward(&mut run, rules.block_reward, env, block.ommers)?;
    }
    if let Some(contract) = rules.deposit_contract {
        let deposits = deposits::requests(contract, run.receipts())?;
        request(&mut run, DEPOSIT_REQUEST_TYPE, &deposits);
        for (kind, contract) in [
            (WITHDRAWAL_REQUEST_TYPE, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
            (CONSOLIDATION_REQUEST_TYPE, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
        ] {
            let data = run.call_contract(contract)?;
            request(&mut run, kind, &data);
        }
    }
    Ok(run.finish())
}

/// Executes transactions without anything that a block adds: no system calls, rewards, withdrawals or requests. This is
/// what Ethereum's state tests ask for.
///
/// # Errors
/// As [`execute_ethereum`].
pub fn execute_transactions(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    transactions: &[Recovered],
) -> Result<Outcome, Error> {
    let mut run = BlockRun::bare(view, Rules::of(spec, env), *env);
    run.push_all(transactions)?;
    Ok(run.finish())
}

fn withdraw(run: &mut BlockRun<'_>, withdrawals: &[Withdrawal]) -> Result<(), Error> {
    withdrawals.iter().try_for_each(|withdrawal| run.credit(withdrawal.address, withdrawal.amount_wei()))
}

/// Spec: yellow paper §11.3: an ommer's beneficiary gets an eighth less per block of distance, the block's own a
/// thirty-second more per ommer.
fn reward(run: &mut BlockRun<'_>, reward_wei: u128, env: &BlockEnv, ommers: &[Header]) -> Result<(), Error> {
    let mut own = reward_wei;
    for ommer in ommers {
        let eighths = 8_u64.saturating_sub(env.number.saturating_sub(ommer.number));
        let share = reward_wei.saturating_mul(u128::from(eighths)) / 8;
        run.credit(ommer.beneficiary, U256::from(share))?;
        own = own.saturating_add(reward_wei / 32);
    }
    run.credit(env.beneficiary, U256::from(own))
}

/// Adds a request; one without data is left out (EIP-7685).
fn request(run: &mut BlockRun<'_>, kind: u8, data: &[u8]) {
    if !data.is_empty() {
        run.add_request(Bytes::from([&[kind], data].concat()));
    }
}

/// The fault of a contract that the block must be able to call.
pub(crate) const fn contract_failed(contract: Address, reason: String) -> Error {
    Error::Block(BlockFault::ContractFailed { contract, reason })
}
