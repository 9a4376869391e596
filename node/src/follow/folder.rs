//! The folder of a follower: which network it follows, and what that network began with.
//!
//! ```text
//! DIR/follow.json    chain id and network key
//! DIR/genesis.json   genesis state, a copy
//! DIR/state/         made by the node
//! ```

use crate::{
    digits::hex_array,
    network::{FORMAT_VERSION, read_json, read_text},
};
use eyre::{Context as _, Result, ensure};
use keystead_proof::NetworkKey;
use keystead_types::Genesis;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// `follow.json`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FollowFile {
    version: u32,
    chain_id: u64,
    /// Compressed G2 point, hex.
    network_key: String,
}

/// An opened folder.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    pub(crate) genesis: Genesis,
}

impl Folder {
    /// True if a folder is a follower's.
    pub(crate) fn is_one(root: &Path) -> bool {
        root.join("follow.json").is_file()
    }

    /// True if the folder has a whole store: one that began, or a snapshot that was loaded to its end.
    pub(crate) fn has_state(root: &Path) -> bool {
        root.join("state").join("mark").is_file()
    }

    /// Reads the folder of a follower that has run before.
    ///
    /// # Errors
    /// A file is not there or not readable.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let (folder, _) = Self::read_all(root)?;
        Ok(folder)
    }

    fn read_all(root: &Path) -> Result<(Self, [u8; NetworkKey::BYTES])> {
        let file: FollowFile = read_json(&root.join("follow.json"))?;
        let version = file.version;
        ensure!(version == FORMAT_VERSION, "follow.json has version {version}, this program reads {FORMAT_VERSION}");
        let genesis = parse(&read_text(&root.join("genesis.json"))?, &root.join("genesis.json"))?;
        let (of_genesis, of_file) = (genesis.spec.chain_id, file.chain_id);
        ensure!(of_genesis == of_file, "genesis.json is for chain {of_genesis}, follow.json for chain {of_file}");
        let key = hex_array(&file.network_key, "network_key in follow.json")?;
        Ok((Self { root: root.to_owned(), genesis }, key))
    }

    /// Opens the folder for a network, or makes it from a genesis file.
    ///
    /// # Errors
    /// It belongs to another network, or there is neither folder nor genesis file.
    pub(crate) fn open(root: &Path, key: &NetworkKey, genesis: Option<&Path>) -> Result<Self> {
        if Self::is_one(root) {
            let (folder, known) = Self::read_all(root)?;
            ensure!(
                known == *key.as_bytes(),
                "{} follows a network with another key: name another --data, or its own --network-key",
                root.display()
            );
            // The store compares it with what it began with.
            return match genesis {
                Some(path) => Ok(Self { genesis: parse(&read_text(path)?, path)?, ..folder }),
                None => Ok(folder),
            };
        }
        let Some(path) = genesis else {
            eyre::bail!("{} is new: name the network's genesis file with --genesis", root.display())
        };
        Self::make(root, key, &read_text(path)?, path)
    }

    /// Makes the folder. `from` says in errors where the genesis comes from.
    ///
    /// # Errors
    /// The genesis is not one of ours; the folder cannot be written.
    pub(crate) fn make(root: &Path, key: &NetworkKey, genesis_json: &str, from: &Path) -> Result<Self> {
        let genesis = parse(genesis_json, from)?;
        fs::create_dir_all(root).wrap_err_with(|| format!("cannot make {}", root.display()))?;
        let network_key = hex::encode(key.as_bytes());
        let file = FollowFile { version: FORMAT_VERSION, chain_id: genesis.spec.chain_id, network_key };
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::write(&path, text).wrap_err_with(|| format!("cannot write {}", path.display()))
        };
        // In this order: a folder with follow.json has the other file, too.
        write("genesis.json", genesis_json)?;
        write("follow.json", &serde_json::to_string_pretty(&file)?)?;
        Ok(Self { root: root.to_owned(), genesis })
    }

    /// Where the store is.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }
}

fn parse(json: &str, path: &Path) -> Result<Genesis> {
    Genesis::from_json(json).wrap_err_with(|| format!("cannot read {}", path.display()))
}
