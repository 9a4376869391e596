//! Fills a block with candidates that hold.

use crate::{
    block::{BlockRun, Outcome},
    env::BlockEnv,
    error::{Error, InvalidTransaction},
    evm::Stop,
    rules::Rules,
};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, map::AddressSet};
use keystead_types::{ChainSpec, Recovered, StateView};
use std::sync::Arc;

/// Gas below which no transaction can follow: the base price of every transaction.
const TRANSACTION_GAS_MIN: u64 = 21_000;

/// Bytes that the list in the block's encoding adds to each transaction, at most: an RLP header for a string under
/// 16 MiB.
const ENTRY_BYTES: usize = 4;

/// Candidates in a row that did not fit before the block counts as full. Each costs under a microsecond, so looking
/// further for a smaller one is cheap, but a pool of a million must not be walked to its end.
const MISFITS_MAX: usize = 1_000;

/// How much a block may hold besides its gas limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLimits {
    /// Bytes of all transactions as they stand in the encoded block. The caller leaves room for header and context.
    pub bytes_max: usize,
    /// Number of transactions.
    pub transactions_max: usize,
}

/// A block's content and what it gives.
#[derive(Clone, Debug)]
pub struct Built {
    /// The transactions taken, in order of execution.
    pub transactions: Vec<Arc<Recovered>>,
    /// The outcome that [`crate::execute`] gives for them, already computed.
    pub outcome: Outcome,
    /// Candidates that may not be executed now, with the reason; see [`InvalidTransaction::is_permanent`].
    ///
    /// Not listed: candidates that did not fit, later ones of a refused sender, and those whose nonce is already used
    /// in this view (the view may be a block that is not final, so they are left to the pool).
    pub refused: Vec<(B256, InvalidTransaction)>,
}

/// Executes candidates in the given order and keeps those that hold, until the block is full, `candidates` end, or
/// `stop` returns true (it is asked before each candidate).
///
/// A candidate that is refused or does not fit is skipped with all later ones of its sender, whose nonces would not
/// follow; one whose nonce was used before is skipped alone.
/// Trust: candidates may be hostile.
///
/// # Errors
/// [`Error::View`] or [`Error::Machine`]: no block can be built. A bad candidate is never an error.
pub fn build(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    candidates: &mut dyn Iterator<Item = Arc<Recovered>>,
    limits: BuildLimits,
    stop: &dyn Fn() -> bool,
) -> Result<Built, Error> {
    let mut run = BlockRun::start(view, Rules::of(spec, env), *env)?;
    let mut transactions = Vec::new();
    let mut refused = Vec::new();
    let mut barred = Barred::default();
    let mut bytes_left = limits.bytes_max;
    while transactions.len() < limits.transactions_max
        && run.gas_left() >= TRANSACTION_GAS_MIN
        && barred.misfits < MISFITS_MAX
        && !stop()
    {
        let Some(candidate) = candidates.next() else { break };
        let sender = candidate.signer();
        if barred.senders.contains(&sender) {
            continue;
        }
        let bytes = candidate.encode_2718_len().saturating_add(ENTRY_BYTES);
        if bytes > bytes_left {
            barred.misfit(sender);
            continue;
        }
        match run.push(&candidate) {
            Ok(()) => {
                bytes_left = bytes_left.saturating_sub(bytes);
                barred.misfits = 0;
                transactions.push(candidate);
            }
            Err(Stop::Refused(InvalidTransaction::GasAboveRemaining { .. })) => barred.misfit(sender),
            Err(Stop::Refused(InvalidTransaction::NonceTooLow { .. })) => (),
            Err(Stop::Refused(why)) => {
                barred.senders.insert(sender);
                refused.push((*candidate.tx_hash(), why));
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Ok(Built { transactions, outcome: run.finish(), refused })
}

/// Senders of whom nothing more can enter.
#[derive(Default)]
struct Barred {
    senders: AddressSet,
    misfits: usize,
}

impl Barred {
    fn misfit(&mut self, sender: Address) {
        self.senders.insert(sender);
        self.misfits = self.misfits.saturating_add(1);
    }
}
