//! One block after another: checked, executed, compared, committed.

use crate::{
    error::{ChainError, Error, Refusal},
    file::ChainFile,
    ommers,
};
use alloy_eips::eip7685::Requests;
use alloy_primitives::B256;
use keystead_execution::{BlockEnv, Error as ExecutionError, EthereumBlock, Outcome, execute_ethereum};
use keystead_state::{Commit, Snapshot, Store};
use keystead_types::{
    Block, ChainSpec, Fork, Forks, Genesis, Header, Receipt, Recovered, check_header, recover_all, recover_all_any_s,
};
use std::{io::Read, sync::Arc};

/// Longest encoding of a block from Osaka on: 10 MiB less 2 MiB for the consensus layer's part (EIP-7934).
const OSAKA_BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Imports blocks into a store that holds a foreign chain.
#[derive(Clone, Debug)]
pub struct Importer {
    store: Store,
    spec: ChainSpec,
    forks: Forks,
}

impl Importer {
    /// An importer into `store`, which was opened with `genesis`.
    ///
    /// # Errors
    /// [`Error::NotForeign`] for a chain of ours.
    pub fn new(store: Store, genesis: &Genesis) -> Result<Self, Error> {
        let spec = genesis.spec;
        let Some(forks) = spec.ethereum else { return Err(Error::NotForeign { chain_id: spec.chain_id }) };
        Ok(Self { store, spec, forks })
    }

    /// Imports one block from its encoding: the child of the head, which it becomes. A block that is there already is
    /// accepted and changes nothing.
    ///
    /// Cost: executes the block; the commit waits for the disk.
    /// Trust: hostile input, but for seals.
    ///
    /// # Errors
    /// [`Error::Refused`]: the block is wrong. Everything else: we could not tell.
    pub fn import(&self, bytes: &[u8]) -> Result<Arc<Block>, Error> {
        let block = Arc::new(Block::decode_ethereum(bytes).map_err(|error| refused(error.into()))?);
        if self.store.number_of(&block.hash())? == Some(block.number()) {
            return Ok(block);
        }
        let head = self.store.head();
        let parent = self.store.header(head.number)?.ok_or(Error::Missing { number: head.number })?;
        let header = block.header();
        check_header(header, &parent, head.hash, &self.spec, &self.forks).map_err(|fault| refused(fault.into()))?;
        let fork = self.forks.fork(header.number, header.timestamp, header.difficulty);
        if fork >= Fork::Osaka && bytes.len() > OSAKA_BLOCK_BYTES_MAX {
            let (got_bytes, max_bytes) = (bytes.len(), OSAKA_BLOCK_BYTES_MAX);
            return Err(refused(Refusal::TooLarge { got_bytes, max_bytes }));
        }
        ommers::check(&self.store, &block, &self.spec, &self.forks)?;
        let transactions = recover(&block, fork).map_err(refused)?;
        let before = self.store.latest();
        let outcome = self.execute(&before, &block, &transactions)?;
        check_outcome(header, &outcome).map_err(refused)?;
        let child = before.child(outcome.changes)?;
        compare("stateRoot", header.state_root, child.state_root()).map_err(refused)?;
        self.commit(Arc::clone(&block), &transactions, outcome.receipts, child.seal(block.hash()))?;
        Ok(block)
    }

    /// Imports all blocks of a file, as Ethereum's clients export them; `progress` sees each. Block 0 may stand first.
    /// Blocks that are there already are skipped, so an import that was cut off goes on where it stopped.
    ///
    /// # Errors
    /// [`ChainError`]: the blocks before the one that it names are imported.
    pub fn import_file(&self, file: impl Read, mut progress: impl FnMut(&Block)) -> Result<(), ChainError> {
        for (bytes, index) in ChainFile::new(file).zip(0_u64..) {
            let bytes = bytes.map_err(|source| ChainError::File { index, source })?;
            match self.import(&bytes) {
                Ok(block) => progress(&block),
                Err(error) => {
                    let (head, source) = (self.store.head().number, Box::new(error));
                    return Err(ChainError::Block { index, head, source });
                }
            }
        }
        Ok(())
    }

    fn execute(&self, before: &Arc<Snapshot>, block: &Block, transactions: &[Recovered]) -> Result<Outcome, Error> {
        let body = block.ethereum_body();
        let content = EthereumBlock {
            transactions,
            ommers: body.map(|body| body.ommers.as_slice()).unwrap_or_default(),
            withdrawals: body.and_then(|body| body.withdrawals.as_ref()).map(|it| it.as_slice()).unwrap_or_default(),
            state_root: &|changes| Ok(before.child(changes)?.state_root()),
        };
        let env = BlockEnv::from(block.header());
        execute_ethereum(&**before, &self.spec, &env, &content).map_err(|error| match error {
            ExecutionError::Transaction { index, hash, source } => {
                refused(Refusal::Transaction { index, hash, source })
            }
            ExecutionError::Block(fault) => refused(fault.into()),
            broken => Error::Execution(broken),
        })
    }

    fn commit(
        &self,
        block: Arc<Block>,
        transactions: &[Recovered],
        receipts: Vec<Receipt>,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), Error> {
        let senders = transactions.iter().map(Recovered::signer).collect();
        Ok(self.store.commit(Commit { block, senders, receipts, snapshot, certificate: None })?)
    }
}

fn refused(refusal: Refusal) -> Error {
    Error::Refused(Box::new(refusal))
}

fn recover(block: &Block, fork: Fork) -> Result<Vec<Recovered>, Refusal> {
    let transactions = block.transactions().to_vec();
    let recovered = if fork < Fork::Homestead { recover_all_any_s(transactions) } else { recover_all(transactions) };
    Ok(recovered?)
}

/// Compares what the header states with what execution gave, but for the state root.
fn check_outcome(header: &Header, outcome: &Outcome) -> Result<(), Refusal> {
    compare("gasUsed", header.gas_used, outcome.gas_used)?;
    compare("receiptsRoot", header.receipts_root, outcome.receipts_root)?;
    compare("logsBloom", header.logs_bloom, outcome.logs_bloom)?;
    if let Some(blob_gas_used) = header.blob_gas_used {
        compare("blobGasUsed", blob_gas_used, outcome.blob_gas_used)?;
    }
    let requests = |hash: B256| compare("requestsHash", hash, Requests::new(outcome.requests.clone()).requests_hash());
    header.requests_hash.map_or(Ok(()), requests)
}

fn compare<T: PartialEq + ToString>(field: &'static str, got: T, want: T) -> Result<(), Refusal> {
    if got == want {
        return Ok(());
    }
    Err(Refusal::Mismatch { field, got: got.to_string(), want: want.to_string() })
}
