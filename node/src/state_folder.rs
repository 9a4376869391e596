//! The state of a stopped node, be it a validator's or a follower's.

use crate::{follow, network};
use eyre::{Context as _, Result};
use keystead_state::{History, Options, Store};
use keystead_types::Genesis;
use std::path::{Path, PathBuf};

/// Where a state lies, and what it began with.
pub(crate) struct StateFolder {
    pub(crate) genesis: Genesis,
    pub(crate) genesis_json: String,
    pub(crate) state: PathBuf,
}

impl StateFolder {
    /// Reads the folder of a validator or of a follower.
    ///
    /// # Errors
    /// It is neither, or a file of it cannot be read.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        if follow::Folder::is_one(root) {
            let folder = follow::Folder::read(root)?;
            let (genesis_json, state) = (network::read_text(&folder.root.join("genesis.json"))?, folder.state());
            return Ok(Self { genesis: folder.genesis, genesis_json, state });
        }
        let folder = network::Folder::read(root)?;
        let genesis_json = network::read_text(&folder.root.join(&folder.config.genesis))?;
        Ok(Self { genesis: folder.genesis, genesis_json, state: folder.root.join("data").join("state") })
    }

    /// Opens the store.
    ///
    /// # Errors
    /// Says what a person can do.
    pub(crate) fn open(&self) -> Result<Store> {
        // Nothing is dropped that was not asked for.
        let history = Options { history: History::Archive, ..Options::default() };
        Store::open(&self.state, &self.genesis, history).wrap_err_with(|| {
            format!(
                "cannot open the state in {}: stop the node, or see what `keystead db verify` says",
                self.state.display()
            )
        })
    }
}
