//! The state after an old block: read through the history, proved by undoing the blocks above it.

use super::undone::{Target, UndoneStates};
use crate::{error::Error, snapshot::Snapshot, state::State};
use std::sync::{Arc, OnceLock};

/// An old state.
pub(crate) struct Past {
    /// Reads values; its trie is not the one of this state and is never asked.
    pub(crate) reads: State,
    target: Target,
    /// The oldest state that memory held when this one was asked for.
    above: Arc<Snapshot>,
    undone: Arc<UndoneStates>,
    proving: OnceLock<Arc<State>>,
}

impl Past {
    /// The target's state, which lies below the state `above`.
    pub(crate) fn new(above: Arc<Snapshot>, undone: Arc<UndoneStates>, target: Target) -> Self {
        let reads = above.reads();
        let base = Arc::new(reads.base.past(target.number, target.hash));
        let reads = State { base, layers: Vec::new(), ..reads.clone() };
        Self { reads, target, above, undone, proving: OnceLock::new() }
    }

    /// The same state with its trie.
    ///
    /// # Errors
    /// [`Error::TooDeep`], or damage.
    pub(crate) fn proving(&self) -> Result<&Arc<State>, Error> {
        if let Some(state) = self.proving.get() {
            return Ok(state);
        }
        let state = self.undone.reach(self.above.proving()?, &self.target)?;
        Ok(self.proving.get_or_init(|| state))
    }
}
