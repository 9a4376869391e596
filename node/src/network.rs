//! The files of a network and of a validator: what `keystead init` writes and everything else reads.
//!
//! ```text
//! DIR/network.json             chain id, network key, public polynomial, validators (public)
//! DIR/genesis.json             genesis state (public)
//! DIR/validator-0/config.toml  addresses and policy of one validator
//! DIR/validator-0/keys.json    its secrets (mode 0600): never copy them, never run them twice
//! DIR/validator-0/data/        made by the node
//! DIR/validator-0/votes        made by the node: whether it knows all of its votes; keep it with the keys
//! ```

use eyre::{Context as _, Result, ensure};
use keystead_types::{Address, Genesis};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Name of the file beside the keys that says whether all votes are known.
pub(crate) const VOTE_RECORD: &str = "votes";
/// Version of the file formats below.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// `network.json`: what everybody may know.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkFile {
    pub(crate) version: u32,
    pub(crate) chain_id: u64,
    /// Compressed G2 point, hex.
    pub(crate) network_key: String,
    /// Public polynomial of the committee, hex.
    pub(crate) sharing: String,
    pub(crate) validators: Vec<ValidatorEntry>,
}

/// A validator in `network.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidatorEntry {
    /// ed25519 public key, hex.
    pub(crate) public_key: String,
    pub(crate) p2p_address: SocketAddr,
}

/// `config.toml`: one validator's policy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub(crate) version: u32,
    /// Relative to the folder of this file.
    pub(crate) network: PathBuf,
    pub(crate) genesis: PathBuf,
    pub(crate) p2p_listen: SocketAddr,
    pub(crate) rpc_listen: SocketAddr,
    /// Account that gets the priority fees of this validator's blocks.
    pub(crate) fee_recipient: Address,
    pub(crate) block_interval_ms: u64,
}

/// `keys.json`: one validator's secrets.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysFile {
    pub(crate) version: u32,
    pub(crate) private_key: String,
    pub(crate) share: String,
}

/// Everything that a node reads at start.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    pub(crate) config: ConfigFile,
    pub(crate) network: NetworkFile,
    pub(crate) genesis: Genesis,
    pub(crate) keys: KeysFile,
}

impl Folder {
    /// Reads a validator's folder.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        ensure!(
            root.join("config.toml").is_file(),
            "{} is not a validator's folder: it has no config.toml (make one with `keystead init`)",
            root.display()
        );
        let text = read_text(&root.join("config.toml"))?;
        let config: ConfigFile =
            toml::from_str(&text).wrap_err_with(|| format!("cannot read {}", root.join("config.toml").display()))?;
        let network: NetworkFile = read_json(&root.join(&config.network))?;
        let keys: KeysFile = read_json(&root.join("keys.json"))?;
        for (name, version) in
            [("config.toml", config.version), ("network.json", network.version), ("keys.json", keys.version)]
        {
            ensure!(version == FORMAT_VERSION, "{name} has version {version}, this program reads {FORMAT_VERSION}");
        }
        let path = root.join(&config.genesis);
        let genesis =
            Genesis::from_json(&read_text(&path)?).wrap_err_with(|| format!("cannot read {}", path.display()))?;
        ensure!(
            genesis.spec.chain_id == network.chain_id,
            "genesis.json is for chain {}, network.json for chain {}",
            genesis.spec.chain_id,
            network.chain_id
        );
        Ok(Self { root: root.to_owned(), config, network, genesis, keys })
    }
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?).wrap_err_with(|| format!("cannot read {}", path.display()))
}
