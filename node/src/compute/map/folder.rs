//! The folder of a map, under way and after: nothing in it is a lie, whenever the process ends.
//!
//! ```text
//! DIR/map.lock       held by the process that works
//! DIR/job.json       what is computed, for whom, on which chain; written before anything else
//! DIR/signer.key     signs the vouchers; can give deposits to their providers, and nothing else
//! DIR/node.*         this node's identity and port towards providers and checkers
//! DIR/journal        what happened
//! DIR/outputs        states that were paid for
//! DIR/provider.log   what providers said of their side (provider_log), and provider.log.1
//! DIR/map.json       how it ended: units, providers, money
//! DIR/certificate.json  of an audited map: what strangers checked, for whoever was not there
//! DIR/<the result's files>
//! ```

use crate::compute::{
    files::{self, Lock},
    money::paid_in,
    own_node::Node,
};
use alloy_primitives::{Address, B256, hex};
use alloy_signer_local::PrivateKeySigner;
use eyre::{Context as _, Result, ensure, eyre};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

const LOCK_FILE: &str = "map.lock";
const IDENTITY_FILE: &str = "job.json";
const KEY_FILE: &str = "signer.key";
/// What a process that was killed at once may leave.
const LEFTOVERS: [&str; 2] = [LOCK_FILE, "job.json.new"];

/// What a folder belongs to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) chain_id: u64,
    pub(super) genesis: B256,
    pub(super) customer: Address,
    pub(super) recipe: String,
    pub(super) job: B256,
    /// The token that it is paid in; KST, if there is none: older programs knew no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Address>,
}

/// The folder, held by this process.
#[derive(Debug)]
pub(super) struct Folder {
    out: PathBuf,
    _lock: Lock,
}

impl Folder {
    /// Makes the folder, or takes up the map that it holds.
    ///
    /// # Errors
    /// It holds something else, or another process works on it.
    pub(super) fn open(out: &Path) -> Result<Self> {
        refuse_others(out)?;
        files::private_folder(out)?;
        let lock = Lock::take(&out.join(LOCK_FILE))?;
        let lock = lock.ok_or_else(|| {
            eyre!("another `keystead map` works in {}: wait for it, or choose another --out", out.display())
        })?;
        refuse_others(out)?;
        Ok(Self { out: out.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Whether a map is begun in it.
    pub(super) fn is_begun(&self) -> bool {
        self.path(IDENTITY_FILE).exists()
    }

    /// Whether it held a map before.
    ///
    /// # Errors
    /// Of another job, customer or chain, or paid in something else.
    pub(super) fn belongs_to(&self, identity: &Identity) -> Result<bool> {
        let path = self.path(IDENTITY_FILE);
        let Some(text) = files::read(&path)? else {
            files::replace(&path, &serde_json::to_vec_pretty(identity)?)?;
            return Ok(false);
        };
        let stored: Identity =
            serde_json::from_str(&text).wrap_err_with(|| format!("{} is damaged", path.display()))?;
        let folder = self.out.display();
        ensure!(
            stored.job == identity.job,
            "{folder} holds another job ({}): give the same recipe, inputs and parameters as at first, or choose another --out",
            stored.recipe
        );
        ensure!(
            stored.customer == identity.customer,
            "{folder} belongs to account {}: use its wallet",
            stored.customer
        );
        ensure!(
            stored.token == identity.token,
            "the map in {folder} is paid in {}, not in {}: give the same --token to go on with it, or choose another --out",
            paid_in(stored.token),
            paid_in(identity.token)
        );
        ensure!(
            stored.chain_id == identity.chain_id && stored.genesis == identity.genesis,
            "{folder} belongs to another network: check --rpc"
        );
        Ok(true)
    }

    /// The key that signs this map's vouchers.
    pub(super) fn signer(&self) -> Result<PrivateKeySigner> {
        let path = self.path(KEY_FILE);
        if let Some(text) = files::read_secret(&path)? {
            let bytes = crate::digits::hex_array::<32>(&text, &format!("the key in {}", path.display()))?;
            return PrivateKeySigner::from_slice(&bytes)
                .wrap_err_with(|| format!("{} does not hold a private key", path.display()));
        }
        let signer = PrivateKeySigner::random();
        files::create_secret(&path, &format!("{}\n", hex::encode_prefixed(signer.to_bytes())))?;
        files::sync_folder(&self.out)?;
        Ok(signer)
    }

    /// This node towards providers and checkers.
    pub(super) fn node(&self) -> Result<Node> {
        Node::of(&self.out)
    }
}

/// A folder that is somebody else's is not touched.
fn refuse_others(out: &Path) -> Result<()> {
    if !out.exists() || out.join(IDENTITY_FILE).exists() && out.join(LOCK_FILE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(out).wrap_err_with(|| format!("cannot read {}", out.display()))? {
        let name = entry?.file_name();
        ensure!(
            LEFTOVERS.iter().any(|leftover| name == *leftover),
            "{} is not empty and holds no map: choose another --out",
            out.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn identity() -> Identity {
        let (genesis, customer, job) = (B256::repeat_byte(1), Address::repeat_byte(2), B256::repeat_byte(3));
        Identity { chain_id: 5, genesis, customer, recipe: "r".to_owned(), job, token: None }
    }

    #[test]
    fn a_folder_belongs_to_one_job_customer_and_chain_and_to_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let held = Folder::open(&out).unwrap();
        assert!(!held.is_begun() && !held.belongs_to(&identity()).unwrap());
        assert!(held.is_begun() && held.belongs_to(&identity()).unwrap());
        let key = held.signer().unwrap();
        assert_eq!(held.signer().unwrap().address(), key.address());
        let node = held.node().unwrap();
        assert!(Folder::open(&out).unwrap_err().to_string().contains("another `keystead map`"));
        let others = [
            Identity { job: B256::ZERO, ..identity() },
            Identity { customer: Address::ZERO, ..identity() },
            Identity { genesis: B256::ZERO, ..identity() },
            Identity { chain_id: 6, ..identity() },
            Identity { token: Some(Address::repeat_byte(4)), ..identity() },
        ];
        assert!(others.iter().all(|other| held.belongs_to(other).is_err()));
        drop(held);
        let again = Folder::open(&out).unwrap().node().unwrap();
        assert_eq!(again.secret.id(), node.secret.id());
        let precious = folder.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("letter.txt"), "x").unwrap();
        assert!(Folder::open(&precious).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn a_folder_without_a_token_is_one_in_kst_and_other_money_is_another_map() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        // As a program that knew no tokens left it.
        let held = Folder::open(&old).unwrap();
        let written = serde_json::to_string(&identity()).unwrap();
        assert!(!written.contains("token"), "{written}");
        fs::write(old.join(IDENTITY_FILE), written).unwrap();
        assert!(held.belongs_to(&identity()).unwrap());
        let token = Address::repeat_byte(4);
        let paid = Identity { token: Some(token), ..identity() };
        let said = held.belongs_to(&paid).unwrap_err().to_string();
        assert!(
            said.contains(&format!("is paid in KST, not in the token {token}")) && said.contains("--token"),
            "{said}"
        );
        let held = Folder::open(&new).unwrap();
        assert!(!held.belongs_to(&paid).unwrap() && held.belongs_to(&paid).unwrap());
        for other in [identity(), Identity { token: Some(Address::repeat_byte(5)), ..identity() }] {
            let said = held.belongs_to(&other).unwrap_err().to_string();
            assert!(said.contains(&format!("is paid in the token {token}")), "{said}");
        }
    }
}
