//! [`Ledger`] for [`Chain`]: build, check, commit.

use super::{Chain, Executed, beacon, broken};
use futures::future::BoxFuture;
use keystead_consensus::{BuildRequest, Ledger, LedgerError, Verdict};
use keystead_execution::{BlockEnv, BuildLimits, Error as ExecutionError, Outcome, build, execute};
use keystead_state::{Commit, Snapshot};
use keystead_types::{
    Account, Address, B256, BODY_BYTES_MAX, BeaconBatch, Block, BlockParts, Bytes, Certificate, ChangeSet,
    ConsensusContext, EthereumBody, Header, Recovered, Withdrawals,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes of a block that are not transactions: header, the longest context, framing.
const BLOCK_OVERHEAD_BYTES: usize = 256 * 1024;
/// Transactions in one block at most: the gas limit allows 7,142.
const TRANSACTIONS_MAX: usize = 8_192;
/// Candidates that are taken from the pool for each transaction that a block can hold: some are refused or do not fit.
const CANDIDATES_PER_TRANSACTION: usize = 2;
/// How long filling a block may take before it is closed as it is.
const BUILD_TIME_MAX: Duration = Duration::from_millis(400);

impl Ledger for Chain {
    fn knows(&self, hash: &B256) -> bool {
        self.snapshot(hash).is_some()
    }

    fn build(&self, request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
        let parent_hash = request.parent.hash();
        let state = self.snapshot(&parent_hash).ok_or(LedgerError::UnknownParent(parent_hash))?;
        let number = request.parent.number().saturating_add(1);
        let plan = Plan {
            context: request.context,
            timestamp_ms: request.timestamp_ms,
            beneficiary: self.fee_recipient,
            gas_limit: self.spec.gas_limit,
            base_fee: self.spec.next_base_fee(request.parent.header()),
            prev_randao: None,
            beacon: beacon::following(&state, number, |height| beacon::find(&request.beacon, height))?,
        };
        self.build_as(&request.parent, &plan)
    }

    fn check(&self, block: &Arc<Block>, parent: &Arc<Block>) -> Result<Verdict, LedgerError> {
        if self.pending().contains_key(&block.hash()) {
            return Ok(Verdict::Valid);
        }
        if block.number() <= self.store.head().number {
            return match self.check_old(block)? {
                Verdict::Valid => Ok(Verdict::Valid),
                // It may follow every rule and merely have lost its height to another block: that is no verdict on it,
                // and the state to judge it by is gone.
                Verdict::Invalid(_) => Err(LedgerError::UnknownParent(block.header().parent_hash)),
            };
        }
        if let Some(reason) = self.broken_header_rule(block.header(), parent) {
            return Ok(Verdict::Invalid(reason));
        }
        match self.execute(block)? {
            Ok(executed) => {
                self.keep(executed);
                Ok(Verdict::Valid)
            }
            Err(reason) => Ok(Verdict::Invalid(reason)),
        }
    }

    fn commit(&self, block: &Arc<Block>, certificate: Option<Certificate>) -> Result<(), LedgerError> {
        let head = self.store.head();
        if block.number() <= head.number {
            return match self.check_old(block)? {
                Verdict::Valid => Ok(()),
                Verdict::Invalid(reason) => Err(LedgerError::Broken(reason)),
            };
        }
        let known = self.pending().get(&block.hash()).cloned();
        let executed = match known {
            Some(executed) => executed,
            None => Arc::new(self.execute(block)?.map_err(|reason| {
                LedgerError::Broken(format!("a finalized block is invalid here: height={} {reason}", block.number()))
            })?),
        };
        let commit = Commit {
            // The same block as the one given, which the engine read from its files: this one knows its hashes already.
            block: Arc::clone(&executed.block),
            senders: executed.senders.clone(),
            receipts: executed.receipts.clone(),
            snapshot: Arc::clone(&executed.snapshot),
            certificate,
        };
        self.store.commit(commit).map_err(|error| broken("committing a block")(&error))?;
        self.pending().retain(|_, pending| pending.block.number() > block.number());
        self.pool().on_block(self.spec.next_base_fee(block.header()), executed.touched.iter().copied());
        if !block.transactions().is_empty() {
            tracing::info!(
                height = block.number(),
                transactions = block.transactions().len(),
                gas = block.header().gas_used,
                hash = %block.hash(),
                "finalized"
            );
        }
        Ok(())
    }

    fn beacon_newest(&self) -> Result<Option<u64>, LedgerError> {
        beacon::newest(&self.store.latest())
    }

    fn demanded(&self) -> BoxFuture<'static, ()> {
        let (pool, demand, store, spec) =
            (Arc::clone(&self.pool), Arc::clone(&self.demand), self.store.clone(), self.spec);
        Box::pin(async move {
            loop {
                let rung = demand.notified();
                let base_fee = match store.header(store.head().number) {
                    Ok(Some(header)) => spec.next_base_fee(&header),
                    // The next commit reports a broken store; until then there is nothing to hurry for.
                    _ => u64::MAX,
                };
                let waiting = pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner).has_executable(base_fee);
                if waiting {
                    return;
                }
                rung.await;
            }
        })
    }

    fn receive(&self, transactions: Vec<Bytes>) {
        self.submissions.receive(transactions);
    }
}

/// What a block is made with, beside its parent and what waits in the pool.
pub(crate) struct Plan {
    pub(crate) context: ConsensusContext,
    pub(crate) timestamp_ms: u64,
    pub(crate) beneficiary: Address,
    pub(crate) gas_limit: u64,
    pub(crate) base_fee: u64,
    /// What `PREVRANDAO` returns, if not what the context gives. No context gives a chosen value, so such a block is
    /// one of a foreign chain in the store; only development makes it.
    pub(crate) prev_randao: Option<B256>,
    /// Beacon values that may follow those in the parent's state; none with a chosen `PREVRANDAO`.
    pub(crate) beacon: Option<BeaconBatch>,
}

impl Plan {
    /// The block of these parts.
    fn assemble(&self, parts: BlockParts) -> Result<Block, LedgerError> {
        let block = Block::assemble(parts);
        let Some(mix_hash) = self.prev_randao else { return Ok(block) };
        let header = Header { mix_hash, ..block.header().clone() };
        let body = EthereumBody { ommers: Vec::new(), withdrawals: Some(Withdrawals::default()) };
        Block::ethereum(header, block.transactions().to_vec(), body).map_err(|error| broken("making a block")(&error))
    }

    /// A block without transactions and roots.
    fn shell(&self, parent: &Block) -> Result<Block, LedgerError> {
        self.assemble(BlockParts {
            parent_hash: parent.hash(),
            number: parent.number().saturating_add(1),
            timestamp_ms: self.timestamp_ms,
            beneficiary: self.beneficiary,
            state_root: B256::ZERO,
            receipts_root: B256::ZERO,
            logs_bloom: alloy_primitives::Bloom::ZERO,
            gas_limit: self.gas_limit,
            gas_used: 0,
            base_fee: self.base_fee,
            transactions: Vec::new(),
            context: self.context.clone(),
            requests: self.requests(),
        })
    }

    fn requests(&self) -> Vec<Bytes> {
        self.beacon.iter().map(BeaconBatch::request).collect()
    }

    /// What a transaction learns of the block.
    ///
    /// # Errors
    /// [`LedgerError::Broken`].
    pub(crate) fn env(&self, parent: &Block) -> Result<BlockEnv, LedgerError> {
        Ok(BlockEnv::from(&self.shell(parent)?))
    }
}

impl Chain {
    /// Builds a block as planned from what waits in the pool, and keeps its state.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(crate) fn build_as(&self, parent: &Block, plan: &Plan) -> Result<Arc<Block>, LedgerError> {
        let parent_hash = parent.hash();
        let snapshot = self.snapshot(&parent_hash).ok_or(LedgerError::UnknownParent(parent_hash))?;
        let shell = plan.shell(parent)?;
        let count_max = TRANSACTIONS_MAX.saturating_mul(CANDIDATES_PER_TRANSACTION);
        let count_max = count_max.saturating_add(self.unfinalized_transactions(parent_hash));
        let mut candidates = self.pool().best_of(plan.base_fee, count_max);
        let limits = BuildLimits {
            bytes_max: BODY_BYTES_MAX.saturating_sub(BLOCK_OVERHEAD_BYTES),
            transactions_max: TRANSACTIONS_MAX,
        };
        let start = Instant::now();
        let stop = || start.elapsed() > BUILD_TIME_MAX;
        let built = build(&*snapshot, &self.spec, &BlockEnv::from(&shell), &mut candidates, limits, &stop)
            .map_err(|error| LedgerError::Broken(format!("building a block: {error}")))?;
        self.drop_refused(&built.refused);
        let transactions: Vec<Recovered> = built.transactions.iter().map(|tx| (**tx).clone()).collect();
        self.seal(plan, &shell, &snapshot, built.outcome, transactions)
    }

    /// A block at or below the head is valid if it is the one that is there.
    fn check_old(&self, block: &Block) -> Result<Verdict, LedgerError> {
        let header = self.store.header(block.number()).map_err(|error| broken("reading a header")(&error))?;
        Ok(match header {
            Some(header) if header.hash_slow() == block.hash() => Verdict::Valid,
            _ => Verdict::Invalid(format!("another block is final: height={} hash={}", block.number(), block.hash())),
        })
    }

    /// Transactions of a block and its ancestors that are not final yet: they still stand in the pool.
    fn unfinalized_transactions(&self, hash: B256) -> usize {
        let pending = self.pending();
        let chain = std::iter::successors(pending.get(&hash), |it| pending.get(&it.block.header().parent_hash));
        chain.map(|it| it.block.transactions().len()).fold(0, usize::saturating_add)
    }

    /// The first header rule that a child of `parent` breaks. Time and context are the engine's to check.
    fn broken_header_rule(&self, header: &Header, parent: &Block) -> Option<String> {
        let base_fee = self.spec.next_base_fee(parent.header());
        let number = parent.number().saturating_add(1);
        if header.parent_hash != parent.hash() {
            return Some(format!("wrong parent: got={} want={}", header.parent_hash, parent.hash()));
        }
        if header.number != number {
            return Some(format!("wrong height: got={} want={number}", header.number));
        }
        if header.gas_limit != self.spec.gas_limit {
            return Some(format!("wrong gas limit: got={} want={}", header.gas_limit, self.spec.gas_limit));
        }
        if header.base_fee_per_gas != Some(base_fee) {
            return Some(format!("wrong base fee: got={:?} want={base_fee}", header.base_fee_per_gas));
        }
        None
    }

    /// Executes a block on its parent's state and compares what comes out with its header.
    ///
    /// The inner error is the rule that the block breaks.
    fn execute(&self, block: &Arc<Block>) -> Result<Result<Executed, String>, LedgerError> {
        let header = block.header();
        let snapshot = self.snapshot(&header.parent_hash).ok_or(LedgerError::UnknownParent(header.parent_hash))?;
        if let Some(reason) = beacon::broken_rule(&snapshot, block)? {
            return Ok(Err(reason));
        }
        let transactions = match self.submissions.recover(block.transactions()) {
            Ok(transactions) => transactions,
            Err(reason) => return Ok(Err(reason)),
        };
        let outcome = match execute(&*snapshot, &self.spec, &BlockEnv::from(&**block), &transactions) {
            Ok(outcome) => outcome,
            Err(error @ ExecutionError::Transaction { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(broken("executing a block")(&error)),
        };
        if outcome.gas_used != header.gas_used {
            return Ok(Err(format!("wrong gas used: got={} want={}", header.gas_used, outcome.gas_used)));
        }
        if outcome.receipts_root != header.receipts_root {
            return Ok(Err(format!(
                "wrong receipts root: got={} want={}",
                header.receipts_root, outcome.receipts_root
            )));
        }
        if outcome.logs_bloom != header.logs_bloom {
            return Ok(Err("wrong logs bloom".to_owned()));
        }
        let touched = touched(&outcome.changes);
        let child = snapshot.child(outcome.changes).map_err(|error| broken("computing a state root")(&error))?;
        if child.state_root() != header.state_root {
            return Ok(Err(format!("wrong state root: got={} want={}", header.state_root, child.state_root())));
        }
        Ok(Ok(Executed {
            block: Arc::clone(block),
            senders: transactions.iter().map(Recovered::signer).collect(),
            receipts: outcome.receipts,
            touched,
            snapshot: child.seal(block.hash()),
        }))
    }

    /// Turns the shell of a block and what execution made of it into the block, and keeps its state.
    fn seal(
        &self,
        plan: &Plan,
        shell: &Block,
        snapshot: &Arc<Snapshot>,
        outcome: Outcome,
        transactions: Vec<Recovered>,
    ) -> Result<Arc<Block>, LedgerError> {
        let touched = touched(&outcome.changes);
        let child = snapshot.child(outcome.changes).map_err(|error| broken("computing a state root")(&error))?;
        let header = shell.header();
        let senders = transactions.iter().map(Recovered::signer).collect();
        let block = Arc::new(plan.assemble(BlockParts {
            parent_hash: header.parent_hash,
            number: header.number,
            timestamp_ms: shell.timestamp_ms(),
            beneficiary: header.beneficiary,
            state_root: child.state_root(),
            receipts_root: outcome.receipts_root,
            logs_bloom: outcome.logs_bloom,
            gas_limit: header.gas_limit,
            gas_used: outcome.gas_used,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            transactions: transactions.into_iter().map(Recovered::into_inner).collect(),
            context: plan.context.clone(),
            requests: plan.requests(),
        })?);
        let snapshot = child.seal(block.hash());
        self.keep(Executed { block: Arc::clone(&block), senders, receipts: outcome.receipts, touched, snapshot });
        Ok(block)
    }

    fn drop_refused(&self, refused: &[(B256, keystead_execution::InvalidTransaction)]) {
        let mut pool = self.pool();
        for (hash, reason) in refused.iter().filter(|(_, reason)| reason.is_permanent()) {
            tracing::debug!(%hash, %reason, "dropped from the pool: it cannot be executed");
            pool.remove(hash);
        }
    }
}

/// The accounts that a block changed, as they are after it.
fn touched(changes: &ChangeSet) -> Vec<(Address, Account)> {
    changes.accounts.iter().map(|(address, change)| (*address, change.account.unwrap_or_default())).collect()
}
