//! A validator's ledger that proposes in its own way and is honest in all else.

use crate::chain::Chain;
use futures::future::BoxFuture;
use keystead_consensus::{BuildRequest, Ledger, LedgerError, Verdict};
use keystead_types::{B256, Block, Bytes, Certificate};
use std::sync::Arc;

/// How a block is proposed, given the honest ledger.
pub(super) type Propose = dyn Fn(&Chain, BuildRequest) -> Result<Arc<Block>, LedgerError> + Send + Sync;

/// See the module.
pub(super) struct Proposer {
    inner: Arc<Chain>,
    propose: Box<Propose>,
}

impl Proposer {
    pub(super) fn new(
        inner: Arc<Chain>,
        propose: impl Fn(&Chain, BuildRequest) -> Result<Arc<Block>, LedgerError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner, propose: Box::new(propose) })
    }
}

impl Ledger for Proposer {
    fn knows(&self, hash: &B256) -> bool {
        self.inner.knows(hash)
    }

    fn build(&self, request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
        (self.propose)(&self.inner, request)
    }

    fn check(&self, block: &Arc<Block>, parent: &Arc<Block>) -> Result<Verdict, LedgerError> {
        self.inner.check(block, parent)
    }

    fn commit(&self, block: &Arc<Block>, certificate: Option<Certificate>) -> Result<(), LedgerError> {
        self.inner.commit(block, certificate)
    }

    fn beacon_newest(&self) -> Result<Option<u64>, LedgerError> {
        self.inner.beacon_newest()
    }

    fn demanded(&self) -> BoxFuture<'static, ()> {
        self.inner.demanded()
    }

    fn receive(&self, transactions: Vec<Bytes>) {
        self.inner.receive(transactions);
    }
}
