//! Why a transaction is not taken, in the words that wallets and libraries already match.

use alloy_primitives::{Address, B256, U256};

/// A transaction was refused and the pool is unchanged.
///
/// The messages begin with geth's phrases, because tools match them; the numbers say what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The very same transaction is in the pool.
    #[error("already known: {hash}")]
    AlreadyKnown {
        /// Its hash.
        hash: B256,
    },
    /// The chain does not run this EIP-2718 type.
    #[error("transaction type not supported: type {kind}, send type 0, 1, 2 or 4")]
    TypeNotSupported {
        /// The type byte.
        kind: u8,
    },
    /// Longer than any transaction may be.
    #[error("oversized data: transaction size {got_bytes}, limit {max_bytes}")]
    Oversized {
        /// Encoded bytes.
        got_bytes: usize,
        /// Largest size.
        max_bytes: usize,
    },
    /// A legacy signature without chain id (from before EIP-155): it could be replayed on other chains.
    #[error("only replay-protected (EIP-155) transactions allowed: sign for chain id {want}")]
    ChainIdMissing {
        /// Chain id of this chain.
        want: u64,
    },
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {got} want {want}")]
    WrongChainId {
        /// Chain id of the transaction.
        got: u64,
        /// Chain id of this chain.
        want: u64,
    },
    /// The account already used this nonce.
    #[error("nonce too low: next nonce {expected}, tx nonce {nonce}")]
    NonceTooLow {
        /// Nonce of the transaction.
        nonce: u64,
        /// Next nonce of the account.
        expected: u64,
    },
    /// Too many nonces are missing before this one.
    #[error("nonce too high: next nonce {expected}, tx nonce {nonce}, at most {gap_max} ahead")]
    NonceGap {
        /// Nonce of the transaction.
        nonce: u64,
        /// First nonce that is missing.
        expected: u64,
        /// Largest distance.
        gap_max: u64,
    },
    /// The last possible nonce cannot be used (EIP-2681).
    #[error("nonce has max value: {nonce}")]
    NonceMax {
        /// Nonce of the transaction.
        nonce: u64,
    },
    /// The priority fee is above the fee cap.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas {priority_fee}, maxFeePerGas {max_fee}"
    )]
    TipAboveFee {
        /// Priority fee in wei per gas.
        priority_fee: u128,
        /// Fee cap in wei per gas.
        max_fee: u128,
    },
    /// It pays less than the pool asks for.
    #[error("transaction underpriced: gas tip cap {priority_fee}, minimum needed {needed}")]
    Underpriced {
        /// Priority fee that it pays, in wei per gas.
        priority_fee: u128,
        /// Least priority fee.
        needed: u128,
    },
    /// The pool is full of transactions that pay as much or more.
    #[error(
        "transaction underpriced: the pool is full (bytes {pool_bytes} of {max_bytes}) and nothing in it pays less than \
         this: gas tip cap {priority_fee}, gas fee cap {max_fee}"
    )]
    Full {
        /// Bytes in the pool.
        pool_bytes: usize,
        /// Largest size of the pool.
        max_bytes: usize,
        /// Priority fee of the transaction, in wei per gas.
        priority_fee: u128,
        /// Fee cap of the transaction, in wei per gas.
        max_fee: u128,
    },
    /// The pool is full and this one could not be executed next anyway.
    #[error(
        "txpool is full: bytes {pool_bytes} of {max_bytes}, tx nonce {nonce} is not executable yet, next nonce {expected}"
    )]
    FullForQueued {
        /// Bytes in the pool.
        pool_bytes: usize,
        /// Largest size of the pool.
        max_bytes: usize,
        /// Nonce of the transaction.
        nonce: u64,
        /// First nonce that is missing.
        expected: u64,
    },
    /// One account has as many transactions waiting as it may.
    #[error("account limit exceeded: transactions {count} of {count_max}, bytes {bytes} of {bytes_max}")]
    SenderFull {
        /// Transactions of the sender in the pool.
        count: usize,
        /// Most transactions of a sender.
        count_max: usize,
        /// Their bytes.
        bytes: usize,
        /// Most bytes of a sender.
        bytes_max: usize,
    },
    /// Another transaction with this nonce waits and does not pay enough less.
    #[error(
        "replacement transaction underpriced: gas tip cap {priority_fee}, needed {priority_fee_needed}; \
         gas fee cap {max_fee}, needed {max_fee_needed}"
    )]
    ReplacementUnderpriced {
        /// Priority fee of the new transaction, in wei per gas.
        priority_fee: u128,
        /// Least priority fee that replaces.
        priority_fee_needed: u128,
        /// Fee cap of the new transaction, in wei per gas.
        max_fee: u128,
        /// Least fee cap that replaces.
        max_fee_needed: u128,
    },
    /// The balance does not cover this and what already waits.
    #[error(
        "insufficient funds for gas * price + value: balance {balance}, queued cost {queued}, tx cost {cost}, \
         overshot {}",
        queued.saturating_add(*cost).saturating_sub(*balance)
    )]
    InsufficientFunds {
        /// Balance of the sender in wei.
        balance: U256,
        /// Cost of the sender's executable transactions in the pool, in wei.
        queued: U256,
        /// Cost of this transaction in wei.
        cost: U256,
    },
    /// The gas limit is above that of a whole block.
    #[error("exceeds block gas limit: tx gas {gas_limit}, limit {max}")]
    GasAboveBlock {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas limit of a block.
        max: u64,
    },
    /// The gas limit is above the cap for one transaction (EIP-7825).
    #[error("transaction gas limit too high: tx gas {gas_limit}, cap {max}")]
    GasAboveCap {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Largest gas limit of a transaction.
        max: u64,
    },
    /// The gas limit does not pay for what such a transaction costs before its first instruction.
    #[error("intrinsic gas too low: gas {gas_limit}, minimum needed {needed}")]
    IntrinsicGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Least gas limit.
        needed: u64,
    },
    /// The gas limit is below the floor price of its calldata (EIP-7623).
    #[error("insufficient gas for floor data gas cost: gas {gas_limit}, minimum needed {needed}")]
    FloorGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Least gas limit.
        needed: u64,
    },
    /// A transaction of type 4 without authorizations (EIP-7702).
    #[error("set code tx must have at least one authorization tuple: send type 2 instead")]
    AuthorizationsMissing,
    /// A transaction of type 4 with more authorizations than the pool checks.
    #[error("too many authorizations: {got}, limit {max}")]
    AuthorizationsTooMany {
        /// Authorizations of the transaction.
        got: usize,
        /// Most authorizations.
        max: usize,
    },
    /// The sender has code, or a waiting transaction may give it code: others can use up its balance and its nonces.
    #[error(
        "in-flight transaction limit reached for delegated accounts: {sender} has {waiting}, one may wait at a time; \
         replace it, or send the next when it is in a block"
    )]
    DelegatedLimit {
        /// Sender of the transaction.
        sender: Address,
        /// Its transactions in the pool.
        waiting: usize,
    },
    /// As above, and the transaction could not be executed next.
    #[error("gapped-nonce tx from delegated accounts: next nonce {expected}, tx nonce {nonce}")]
    DelegatedGap {
        /// Nonce of the transaction.
        nonce: u64,
        /// Next nonce of the sender.
        expected: u64,
    },
    /// An authorization names an account with several waiting transactions, which it could make invalid all at once.
    #[error(
        "authority already reserved: {authority} has {waiting} transactions waiting, send this when at most one is left"
    )]
    AuthorityReserved {
        /// The account.
        authority: Address,
        /// Its transactions in the pool.
        waiting: usize,
    },
    /// Init code of a creation is too long (EIP-3860).
    #[error("max initcode size exceeded: code size {got_bytes}, limit {max_bytes}")]
    InitCodeTooLarge {
        /// Bytes of init code.
        got_bytes: usize,
        /// Largest size.
        max_bytes: usize,
    },
}
