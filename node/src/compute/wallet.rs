//! The key that pays and is paid.

use crate::{
    cli::WalletOptions,
    client::Client,
    compute::{account::Account, files},
    digits::hex_array,
};
use alloy_primitives::hex;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_types::ChainSpec;
use std::path::Path;

/// The mnemonic whose accounts every Ethereum tool knows. Their keys are public.
pub(crate) const TEST_MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Name of the key file in a folder.
pub(crate) const KEY_FILE: &str = "wallet.key";
/// What lies in the folders that `keystead init` makes.
const NETWORK_FILES: [&str; 2] = ["network.json", "keys.json"];

/// A wallet and where it came from.
pub(crate) struct Wallet {
    pub(crate) signer: PrivateKeySigner,
    /// Made just now: it has no money yet.
    pub(crate) is_new: bool,
}

impl Wallet {
    /// Its account on the chain of a node.
    ///
    /// # Errors
    /// The node does not answer, has no market, or is on a chain that the options are not for.
    pub(crate) async fn connect(self, options: &WalletOptions, rpc: &str) -> Result<Account> {
        let account = Account::open(Client::new(rpc)?, self.signer).await?;
        check_chain(options, account.chain_id())?;
        Ok(account)
    }
}

/// Opens a customer's wallet and its account; `say` hears of one that was made just now.
///
/// # Errors
/// As [`open`] and [`Wallet::connect`].
pub(crate) async fn of_customer(
    options: &WalletOptions,
    folder: Option<&Path>,
    rpc: &str,
    say: impl FnOnce(&str),
) -> Result<Account> {
    let wallet = open(options, folder)?;
    let is_new = wallet.is_new;
    let account = wallet.connect(options, rpc).await?;
    if is_new {
        say(&format!("A new wallet: {}. It has no KST yet: send it some, then run this again.", account.address()));
    }
    Ok(account)
}

/// Opens what the options name: a key file, a test account, or the key of `folder`, which is made on the first start.
pub(crate) fn open(options: &WalletOptions, folder: Option<&Path>) -> Result<Wallet> {
    let found = |signer| Wallet { signer, is_new: false };
    if let Some(path) = &options.key {
        let text = files::read_secret(path)?;
        let text = text.ok_or_else(|| eyre!("there is no key file {}", path.display()))?;
        return parse(&text, path).map(found);
    }
    if let Some(index) = options.dev_account {
        let account = MnemonicBuilder::<English>::default().phrase(TEST_MNEMONIC).index(index);
        let signer = account.and_then(|builder| builder.build()).wrap_err("cannot derive the test accounts")?;
        return Ok(found(signer));
    }
    let folder = folder.ok_or_else(|| eyre!("name the wallet: --dir DIR, --key FILE or --dev-account N"))?;
    own_folder(folder)?;
    let path = folder.join(KEY_FILE);
    if let Some(text) = files::read_secret(&path)? {
        return parse(&text, &path).map(found);
    }
    let signer = PrivateKeySigner::random();
    files::create_secret(&path, &format!("{}\n", hex::encode_prefixed(signer.to_bytes())))
        .wrap_err_with(|| format!("cannot keep a wallet in {}: {ELSEWHERE}", folder.display()))?;
    Ok(Wallet { signer, is_new: true })
}

/// As [`open`], but makes nothing: for what only somebody with a wallet can ask.
pub(crate) fn existing(options: &WalletOptions, folder: Option<&Path>) -> Result<Wallet> {
    if let (Some(folder), None, None) = (folder, &options.key, options.dev_account) {
        ensure!(
            folder.join(KEY_FILE).exists(),
            "there is no wallet in {}: give the folder of `keystead provide --dir`, or name the key with --key FILE",
            folder.display()
        );
    }
    open(options, folder)
}

/// The step after a folder that cannot be written.
const ELSEWHERE: &str = "choose another folder or change its rights";

/// Makes a folder for a wallet, and what else its owner keeps there, unless it is there.
///
/// # Errors
/// It is a file, belongs to a network, or cannot be made.
pub(crate) fn own_folder(folder: &Path) -> Result<()> {
    let name = folder.display();
    ensure!(!folder.is_file(), "{name} is a file: give a folder with --dir");
    if !folder.join(KEY_FILE).exists() {
        let network = NETWORK_FILES.iter().find(|file| folder.join(file).exists());
        ensure!(
            network.is_none(),
            "{name} is the folder of a network ({} is in it): give a folder of your own, such as --dir wallet",
            network.unwrap_or(&"")
        );
    }
    files::private_folder(folder).wrap_err_with(|| format!("cannot use {name}: {ELSEWHERE}"))
}

/// Everybody knows the test accounts' keys, so they are used on a development network only.
fn check_chain(options: &WalletOptions, chain_id: u64) -> Result<()> {
    ensure!(
        options.dev_account.is_none() || chain_id == ChainSpec::DEVELOPMENT_CHAIN_ID,
        "--dev-account is for development networks (chain {}), this is chain {chain_id}: anybody could take the money",
        ChainSpec::DEVELOPMENT_CHAIN_ID
    );
    ensure!(
        options.chain_id.is_none_or(|expected| expected == chain_id),
        "the node is on chain {chain_id}, not on chain {}: check --rpc and --chain-id",
        options.chain_id.unwrap_or_default()
    );
    Ok(())
}

fn parse(text: &str, path: &Path) -> Result<PrivateKeySigner> {
    let name = path.display().to_string();
    let bytes = hex_array::<32>(text, &format!("the private key in {name}"))?;
    PrivateKeySigner::from_slice(&bytes).wrap_err_with(|| format!("{name} does not hold a private key"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn options() -> WalletOptions {
        WalletOptions { key: None, dev_account: None, chain_id: None }
    }

    #[test]
    fn a_folder_keeps_the_key_that_it_made() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(&options(), Some(folder.path())).unwrap();
        let second = open(&options(), Some(folder.path())).unwrap();
        assert!(first.is_new && !second.is_new);
        assert_eq!(first.signer.address(), second.signer.address());
        let file = WalletOptions { key: Some(folder.path().join(KEY_FILE)), ..options() };
        assert_eq!(open(&file, None).unwrap().signer.address(), first.signer.address());
    }

    #[test]
    fn no_wallet_is_made_where_one_must_be_nor_in_a_file_or_a_networks_folder() {
        let folder = tempfile::tempdir().unwrap();
        let said = |made: Result<Wallet>| made.err().unwrap().to_string();
        let none = folder.path().join("none");
        assert!(said(existing(&options(), Some(&none))).contains("there is no wallet in") && !none.exists());
        let test = WalletOptions { dev_account: Some(0), ..options() };
        assert!(existing(&test, Some(&none)).is_ok() && !none.exists());
        open(&options(), Some(&none)).unwrap();
        assert!(existing(&options(), Some(&none)).is_ok());
        let file = folder.path().join("network.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(said(open(&options(), Some(&file))).contains("is a file"));
        assert!(said(open(&options(), Some(folder.path()))).contains("(network.json is in it)"));
    }

    #[test]
    fn test_accounts_are_the_known_ones_and_stay_on_the_development_chain() {
        let first = WalletOptions { dev_account: Some(0), ..options() };
        let address = open(&first, None).unwrap().signer.address();
        assert_eq!(address.to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        check_chain(&first, ChainSpec::DEVELOPMENT_CHAIN_ID).unwrap();
        assert!(check_chain(&first, 1).is_err());
        let expected = WalletOptions { chain_id: Some(5), ..options() };
        assert!(check_chain(&expected, 5).is_ok() && check_chain(&expected, 6).is_err());
        assert!(open(&options(), None).is_err());
    }
}
