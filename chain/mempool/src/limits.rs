//! How much may wait, and for how long a way.

/// Bounds of a pool. Bytes are encoded bytes plus [`Limits::OVERHEAD_BYTES`] for each transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all transactions. Default 64 MiB: about 100,000 transfers, 14 full blocks.
    pub bytes_max: usize,
    /// Bytes of one sender's transactions. Default 4 MiB, so that one account cannot fill more than a sixteenth.
    pub bytes_per_sender_max: usize,
    /// Transactions of one sender. Default 4,096: more than half a block from one account.
    pub transactions_per_sender_max: usize,
    /// How far a nonce may lie beyond the first one that is missing. Default 1,024: batches sent over several
    /// connections overtake each other.
    pub nonce_gap_max: u64,
    /// Least priority fee in wei per gas. Default 0: the base fee alone is a price.
    pub priority_fee_min: u128,
    /// Whether transactions without a chain id are taken, which anybody may send again on other chains. Default no; a
    /// development chain takes them, because contracts that have one address on all chains are made by them.
    pub takes_any_chain: bool,
}

impl Limits {
    /// What a transaction costs in memory besides its encoding: decoded fields, entry, and its place in the indexes.
    pub const OVERHEAD_BYTES: usize = 512;

    /// Authorizations of one transaction of type 4. Each costs a recovery, as much as a whole transfer, and 25,000 gas: a
    /// wallet sends one, a service that sets accounts up a few dozen.
    pub const AUTHORIZATIONS_MAX: usize = 64;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1024 * 1024,
            bytes_per_sender_max: 4 * 1024 * 1024,
            transactions_per_sender_max: 4_096,
            nonce_gap_max: 1_024,
            priority_fee_min: 0,
            takes_any_chain: false,
        }
    }
}
