//! The accounts whose keys everybody knows.

use alloy_primitives::{Address, B256};
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use eyre::{Context as _, Result};

/// Accounts in the order of their derivation. Their keys are public.
#[derive(Clone, Debug)]
pub(crate) struct Accounts(Vec<PrivateKeySigner>);

impl Accounts {
    /// The first `count` accounts of a mnemonic, on the path that Ethereum's wallets use.
    ///
    /// Cost: milliseconds for each.
    pub(crate) fn derive(mnemonic: &str, count: u32) -> Result<Self> {
        let signer = |index| -> Result<PrivateKeySigner> {
            let builder = MnemonicBuilder::<English>::default().phrase(mnemonic).index(index);
            builder.and_then(|builder| builder.build()).wrap_err("--mnemonic is not a list of words of BIP 39")
        };
        Ok(Self((0..count).map(signer).collect::<Result<_>>()?))
    }

    /// Their addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.0.iter().map(PrivateKeySigner::address)
    }

    /// Their private keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = B256> {
        self.0.iter().map(PrivateKeySigner::to_bytes)
    }

    /// The one with an address.
    pub(crate) fn find(&self, address: &Address) -> Option<&PrivateKeySigner> {
        self.0.iter().find(|signer| signer.address() == *address)
    }
}
