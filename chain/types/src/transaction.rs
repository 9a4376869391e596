//! Transactions and receipts: which types the chain takes, how large they may be, and who sent them.

use crate::spec::ETHEREUM_BLOCK_BYTES_MAX;
use alloy_consensus::{
    EthereumTxEnvelope, Transaction as _, TxEip4844, Typed2718 as _,
    transaction::{Recovered as AlloyRecovered, SignerRecoverable as _},
};
use alloy_eips::{
    eip2718::{Decodable2718 as _, Encodable2718 as _},
    eip7702::SignedAuthorization,
};
use alloy_primitives::{Address, B256};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// A signed transaction. Type 3 is a variant because foreign chains have it; Keystead's chain refuses it.
pub type Transaction = EthereumTxEnvelope<TxEip4844>;

/// A transaction with its verified sender.
pub type Recovered = AlloyRecovered<Transaction>;

/// A receipt in its EIP-2718 envelope, with its bloom.
pub type Receipt = alloy_consensus::ReceiptEnvelope;

/// Largest encoded transaction in bytes, as geth's pool has it; contracts of 48 KiB init code fit twice.
pub const TRANSACTION_BYTES_MAX: usize = 128 * 1024;

/// Bytes that are no transaction of this chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Longer than [`TRANSACTION_BYTES_MAX`].
    #[error("transaction too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Bytes given.
        got_bytes: usize,
        /// Largest size accepted.
        max_bytes: usize,
    },
    /// Not an EIP-2718 encoding, or bytes are left over.
    #[error("malformed transaction: {0}")]
    Malformed(String),
    /// A type that this chain does not run.
    #[error("transaction type {0} is not supported on this chain: send type 0, 1, 2 or 4")]
    UnsupportedType(u8),
}

/// The signature of a transaction does not give a sender (invalid point, or `s` in the upper half).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signature: transaction={0}")]
pub struct RecoverError(pub B256);

/// Reads one transaction from its EIP-2718 bytes, as `eth_sendRawTransaction` gets it.
///
/// Trust: hostile input; the signature is not checked here.
///
/// # Errors
/// [`TransactionError`]; the sender must change the transaction.
pub fn decode_transaction(bytes: &[u8]) -> Result<Transaction, TransactionError> {
    if bytes.len() > TRANSACTION_BYTES_MAX {
        return Err(TransactionError::TooLarge { got_bytes: bytes.len(), max_bytes: TRANSACTION_BYTES_MAX });
    }
    if bytes.first() == Some(&3) {
        return Err(TransactionError::UnsupportedType(3));
    }
    let mut rest = bytes;
    let transaction =
        Transaction::decode_2718(&mut rest).map_err(|error| TransactionError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(TransactionError::Malformed(format!("{} bytes left over", rest.len())));
    }
    match transaction.ty() {
        0..=2 | 4 => Ok(transaction),
        kind => Err(TransactionError::UnsupportedType(kind)),
    }
}

/// Reads one transaction of a foreign chain from its EIP-2718 bytes: any type up to 4, as blocks hold them.
///
/// Trust: hostile input; the signature is not checked here, nor whether the chain's fork has the type.
///
/// # Errors
/// [`TransactionError`]: malformed, or longer than a foreign block.
pub fn decode_ethereum_transaction(bytes: &[u8]) -> Result<Transaction, TransactionError> {
    if bytes.len() > ETHEREUM_BLOCK_BYTES_MAX {
        return Err(TransactionError::TooLarge { got_bytes: bytes.len(), max_bytes: ETHEREUM_BLOCK_BYTES_MAX });
    }
    let malformed = |reason: String| TransactionError::Malformed(reason);
    let mut rest = bytes;
    let transaction = Transaction::decode_2718(&mut rest).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes left over", rest.len())));
    }
    if transaction.encoded_2718() == bytes { Ok(transaction) } else { Err(malformed("not canonical".to_owned())) }
}

/// Verifies the signature of one transaction and names its sender.
///
/// # Errors
/// [`RecoverError`] if the signature is not valid under EIP-2 (low `s`).
pub fn recover(transaction: Transaction) -> Result<Recovered, RecoverError> {
    let hash = *transaction.tx_hash();
    transaction.try_into_recovered().map_err(|_| RecoverError(hash))
}

/// Whose accounts a transaction of type 4 may change the code of (EIP-7702): the signers of its authorizations, ascending,
/// each once, with the highest nonce that they signed for. Authorizations that can never take effect are left out: for
/// another chain than the transaction's, with the last nonce of all, or with a signature that is not valid.
///
/// Cost: one recovery of a signer, about 40 us, for each authorization; the caller bounds their number.
#[must_use]
pub fn authorities(transaction: &Transaction) -> Vec<(Address, u64)> {
    let chain_id = transaction.chain_id().unwrap_or_default();
    let signed = transaction.authorization_list().unwrap_or_default();
    let may_take_effect =
        |it: &&SignedAuthorization| (it.chain_id().is_zero() || *it.chain_id() == chain_id) && it.nonce() < u64::MAX;
    let named = signed.iter().filter(may_take_effect).filter_map(|it| Some((authority(it)?, it.nonce())));
    // A map keeps the last value of a key.
    let mut named: Vec<(Address, u64)> = named.collect();
    named.sort_unstable();
    named.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// The signer of an authorization; `None` if the signature is not valid under EIP-2 (low `s`).
fn authority(authorization: &SignedAuthorization) -> Option<Address> {
    let signature = authorization.signature().ok().filter(|signature| signature.normalize_s().is_none())?;
    signature.recover_address_from_prehash(&authorization.signature_hash()).ok()
}

/// As [`recover`] for many, on all cores; order is kept.
///
/// # Errors
/// The first failure in order of completion; then none is returned.
pub fn recover_all(transactions: Vec<Transaction>) -> Result<Vec<Recovered>, RecoverError> {
    transactions.into_par_iter().map(recover).collect()
}

/// As [`recover_all`] under Frontier's rule, which takes any `s`.
///
/// # Errors
/// As [`recover_all`].
pub fn recover_all_any_s(transactions: Vec<Transaction>) -> Result<Vec<Recovered>, RecoverError> {
    let recover = |transaction: Transaction| {
        let hash = *transaction.tx_hash();
        transaction.try_into_recovered_unchecked().map_err(|_| RecoverError(hash))
    };
    transactions.into_par_iter().map(recover).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction as _, TxLegacy};
    use alloy_primitives::{Signature, U256, uint};

    /// Order of secp256k1.
    const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

    #[test]
    fn a_high_s_is_taken_under_frontiers_rule_only_and_names_the_same_sender() {
        let low = Signature::test_signature();
        let high = Signature::new(low.r(), ORDER.wrapping_sub(low.s()), !low.v());
        let signed = |signature| vec![Transaction::from(TxLegacy::default().into_signed(signature))];
        let sender = |recovered: Vec<Recovered>| recovered.first().unwrap().signer();
        let want = sender(recover_all(signed(low)).unwrap());
        assert!(recover_all(signed(high)).is_err());
        assert_eq!(sender(recover_all_any_s(signed(high)).unwrap()), want);
        assert_eq!(sender(recover_all_any_s(signed(low)).unwrap()), want);
    }

    #[test]
    fn foreign_transactions_of_any_type_are_read_in_one_encoding_only() {
        let bytes = Transaction::from(TxLegacy::default().into_signed(Signature::test_signature())).encoded_2718();
        assert!(decode_ethereum_transaction(&bytes).is_ok());
        assert!(decode_ethereum_transaction(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(decode_ethereum_transaction(&[5, 0xc0]).is_err());
        let large = vec![0; ETHEREUM_BLOCK_BYTES_MAX + 1];
        assert!(matches!(decode_ethereum_transaction(&large), Err(TransactionError::TooLarge { .. })));
    }
}
