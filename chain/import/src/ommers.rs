//! Whether the stale headers that a block pays for are such. Spec: Ethereum yellow paper §11.1.

use crate::error::{Error, OmmerFault, Refusal};
use alloy_primitives::B256;
use keystead_state::Store;
use keystead_types::{Block, ChainSpec, Forks, Header, check_header};
use std::sync::Arc;

/// Generations before a block in which an ommer may be.
const GENERATIONS: u64 = 6;

/// Checks the ommers of a block whose parent is the head of the store.
pub(crate) fn check(store: &Store, block: &Block, spec: &ChainSpec, forks: &Forks) -> Result<(), Error> {
    let ommers = block.ethereum_body().map(|body| body.ommers.as_slice()).unwrap_or_default();
    if ommers.is_empty() {
        return Ok(());
    }
    // One more: the oldest ommer's parent.
    let oldest = block.number().saturating_sub(GENERATIONS).saturating_sub(1);
    let mut ancestors = Vec::new();
    for number in oldest..block.number() {
        ancestors.push(store.block(number)?.ok_or(Error::Missing { number })?);
    }
    for (index, ommer) in ommers.iter().enumerate() {
        let hash = ommer.hash_slow();
        let before = ommers.get(..index).unwrap_or_default();
        let repeated = before.iter().any(|other| other.hash_slow() == hash);
        let fault = if repeated {
            Err(OmmerFault::Repeated { number: block.number() })
        } else {
            check_one(ommer, hash, block.number(), &ancestors, spec, forks)
        };
        fault.map_err(|fault| Error::Refused(Box::new(Refusal::Ommer { hash, fault: Box::new(fault) })))?;
    }
    Ok(())
}

fn check_one(
    ommer: &Header,
    hash: B256,
    block: u64,
    ancestors: &[Arc<Block>],
    spec: &ChainSpec,
    forks: &Forks,
) -> Result<(), OmmerFault> {
    let number = ommer.number;
    if number >= block || block.saturating_sub(number) > GENERATIONS {
        return Err(OmmerFault::Distance { number, block });
    }
    if ancestors.iter().any(|ancestor| ancestor.hash() == hash) {
        return Err(OmmerFault::Ancestor);
    }
    let has = |ancestor: &&Arc<Block>| {
        ancestor.ethereum_body().is_some_and(|body| body.ommers.iter().any(|it| it.hash_slow() == hash))
    };
    if let Some(ancestor) = ancestors.iter().find(has) {
        return Err(OmmerFault::Repeated { number: ancestor.number() });
    }
    let parent = ancestors.iter().find(|ancestor| ancestor.hash() == ommer.parent_hash);
    let parent = parent.ok_or(OmmerFault::Stranger { parent: ommer.parent_hash })?;
    Ok(check_header(ommer, parent.header(), parent.hash(), spec, forks)?)
}
