//! A block: a stock Ethereum header, and the body that it binds.
//!
//! # Design
//! [`Block::assemble`] computes the header's body roots; every other way to make a [`Block`] recomputes and compares them.
//! So a `Block` in memory never has a body that its hash does not commit to, and caches may be keyed by the hash alone.
//! A block of an imported chain ([`Block::ethereum`]) has ommers and withdrawals where ours have context and requests.
//!
//! Spec: specs/0000-chain.md §2.

mod ethereum;

pub use ethereum::EthereumBody;

use crate::{
    context::{ConsensusContext, ContextError},
    spec::{BODY_BYTES_MAX, EXTRA_DATA_BYTES, MILLIS_PER_SECOND},
    transaction::{Transaction, TransactionError, decode_transaction},
};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS, proofs::calculate_transaction_root,
};
use alloy_eips::{eip2718::Encodable2718 as _, eip7685::Requests};
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use alloy_rlp::{Decodable as _, Encodable as _, Header as RlpHeader};

/// Shortest transaction that can exist, in bytes: bounds the count before anything is allocated.
const TRANSACTION_BYTES_MIN: usize = 80;
/// Requests that a block may carry: one per type.
const REQUESTS_MAX: usize = 16;

/// What a proposer decides or computes; every other header field follows.
#[derive(Clone, Debug)]
pub struct BlockParts {
    /// Hash of the parent.
    pub parent_hash: B256,
    /// Height.
    pub number: u64,
    /// Unix time in milliseconds.
    pub timestamp_ms: u64,
    /// Account that gets the priority fees.
    pub beneficiary: Address,
    /// Root of the state after this block.
    pub state_root: B256,
    /// Root of the receipts of this block.
    pub receipts_root: B256,
    /// Bloom of all logs of this block.
    pub logs_bloom: Bloom,
    /// Gas limit of this block.
    pub gas_limit: u64,
    /// Gas that the transactions used.
    pub gas_used: u64,
    /// Base fee in wei per gas.
    pub base_fee: u64,
    /// Transactions in order.
    pub transactions: Vec<Transaction>,
    /// The engine's context.
    pub context: ConsensusContext,
    /// EIP-7685 requests of our own: type byte and data, in ascending order of type.
    pub requests: Vec<Bytes>,
}

/// A block whose body is the one that its header commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: Header,
    hash: B256,
    transactions: Vec<Transaction>,
    context: ConsensusContext,
    requests: Vec<Bytes>,
    ethereum: Option<EthereumBody>,
}

/// Bytes that are no block, or a body that is not the header's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Longer than [`BODY_BYTES_MAX`].
    #[error("block too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Bytes given.
        got_bytes: usize,
        /// Largest size accepted.
        max_bytes: usize,
    },
    /// Not the encoding of a block.
    #[error("malformed block: {0}")]
    Malformed(String),
    /// A transaction is malformed or of a foreign type.
    #[error("block with a bad transaction: index={index}: {source}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// What is wrong with it.
        source: TransactionError,
    },
    /// The consensus context is malformed.
    #[error("block with a bad consensus context: {0}")]
    Context(#[from] ContextError),
    /// A header field is not what the body asks for.
    #[error("header field does not match the body: field={field}")]
    Mismatch {
        /// Name of the header field as in JSON-RPC.
        field: &'static str,
    },
}

impl Block {
    /// Makes a block; the header is computed from the parts.
    #[must_use]
    pub fn assemble(parts: BlockParts) -> Self {
        let header = Header {
            parent_hash: parts.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: parts.beneficiary,
            state_root: parts.state_root,
            transactions_root: calculate_transaction_root(&parts.transactions),
            receipts_root: parts.receipts_root,
            logs_bloom: parts.logs_bloom,
            difficulty: U256::ZERO,
            number: parts.number,
            gas_limit: parts.gas_limit,
            gas_used: parts.gas_used,
            timestamp: parts.timestamp_ms / MILLIS_PER_SECOND,
            extra_data: Bytes::copy_from_slice(&parts.timestamp_ms.to_be_bytes()),
            mix_hash: parts.context.mix_hash(),
            nonce: B64::ZERO,
            base_fee_per_gas: Some(parts.base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(parts.context.hash()),
            requests_hash: Some(Requests::new(parts.requests.clone()).requests_hash()),
            ..Header::default()
        };
        let hash = header.hash_slow();
        let BlockParts { transactions, context, requests, .. } = parts;
        Self { header, hash, transactions, context, requests, ethereum: None }
    }

    /// keccak256 of the RLP header: what the certificate signs and JSON-RPC shows.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Height.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// Unix time in milliseconds.
    #[must_use]
    pub fn timestamp_ms(&self) -> u64 {
        match self.ethereum {
            Some(_) => self.header.timestamp.saturating_mul(MILLIS_PER_SECOND),
            None => timestamp_ms(&self.header).unwrap_or_default(),
        }
    }

    /// Transactions in order.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// The engine's context; that of a genesis block for a block of a foreign chain.
    #[must_use]
    pub const fn context(&self) -> &ConsensusContext {
        &self.context
    }

    /// EIP-7685 requests: type byte and data.
    #[must_use]
    pub fn requests(&self) -> &[Bytes] {
        &self.requests
    }

    /// RLP of `[header, [transaction...], context, [request...]]`; transactions in EIP-2718 bytes as strings. A foreign
    /// block has Ethereum's own encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if let Some(body) = &self.ethereum {
            return self.encode_ethereum(body);
        }
        let mut transactions = Vec::new();
        for transaction in &self.transactions {
            transaction.encoded_2718().as_slice().encode(&mut transactions);
        }
        let mut requests = Vec::new();
        self.requests.iter().for_each(|request| request.encode(&mut requests));
        let mut payload = Vec::with_capacity(transactions.len().saturating_add(1024));
        self.header.encode(&mut payload);
        put_list(&mut payload, &transactions);
        self.context.encode().as_slice().encode(&mut payload);
        put_list(&mut payload, &requests);
        let mut out = Vec::with_capacity(payload.len().saturating_add(8));
        put_list(&mut out, &payload);
        out
    }

    /// Reads exactly one block and checks that the header commits to the body.
    ///
    /// Trust: hostile input. State root, receipts root, gas, fee, time, signatures and seeds are not checked here.
    ///
    /// # Errors
    /// [`BlockError`]: the peer that sent it was wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() > BODY_BYTES_MAX {
            return Err(BlockError::TooLarge { got_bytes: bytes.len(), max_bytes: BODY_BYTES_MAX });
        }
        let malformed = |error: alloy_rlp::Error| BlockError::Malformed(error.to_string());
        let mut rest = bytes;
        let mut body = RlpHeader::decode_bytes(&mut rest, true).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(BlockError::Malformed(format!("{} bytes left over", rest.len())));
        }
        let header = Header::decode(&mut body).map_err(malformed)?;
        let mut list = RlpHeader::decode_bytes(&mut body, true).map_err(malformed)?;
        let mut transactions = Vec::with_capacity(list.len() / TRANSACTION_BYTES_MIN);
        while !list.is_empty() {
            let encoded = RlpHeader::decode_bytes(&mut list, false).map_err(malformed)?;
            let index = transactions.len();
            transactions.push(decode_transaction(encoded).map_err(|source| BlockError::Transaction { index, source })?);
        }
        let context = RlpHeader::decode_bytes(&mut body, false).map_err(malformed)?;
        let context = ConsensusContext::decode(context)?;
        let mut list = RlpHeader::decode_bytes(&mut body, true).map_err(malformed)?;
        let mut requests = Vec::new();
        while !list.is_empty() && requests.len() < REQUESTS_MAX {
            requests.push(Bytes::copy_from_slice(RlpHeader::decode_bytes(&mut list, false).map_err(malformed)?));
        }
        if !list.is_empty() || !body.is_empty() {
            return Err(BlockError::Malformed("trailing items".to_owned()));
        }
        check_binding(&header, &transactions, &context, &requests)?;
        let hash = header.hash_slow();
        let block = Self { header, hash, transactions, context, requests, ethereum: None };
        // A second encoding of the same block would let peers disagree about its bytes.
        if block.encode() != bytes {
            return Err(BlockError::Malformed("not the canonical encoding".to_owned()));
        }
        Ok(block)
    }
}

/// Unix milliseconds of a header; `None` unless `extraData` has eight bytes.
pub(crate) fn timestamp_ms(header: &Header) -> Option<u64> {
    let bytes: &[u8; EXTRA_DATA_BYTES] = header.extra_data.as_ref().try_into().ok()?;
    Some(u64::from_be_bytes(*bytes))
}

/// Compares every header field that the body or the chain's rules determine without executing.
fn check_binding(
    header: &Header,
    transactions: &[Transaction],
    context: &ConsensusContext,
    requests: &[Bytes],
) -> Result<(), BlockError> {
    let ascending = requests.iter().map(|request| request.first()).is_sorted_by(|a, b| a < b);
    let filled = requests.iter().all(|request| request.len() > 1);
    let millis = timestamp_ms(header);
    let fields = [
        ("extraData", millis.is_some()),
        ("timestamp", millis.is_some_and(|millis| header.timestamp == millis / MILLIS_PER_SECOND)),
        ("sha3Uncles", header.ommers_hash == EMPTY_OMMER_ROOT_HASH),
        ("difficulty", header.difficulty.is_zero()),
        ("nonce", header.nonce == B64::ZERO),
        ("baseFeePerGas", header.base_fee_per_gas.is_some()),
        ("withdrawalsRoot", header.withdrawals_root == Some(EMPTY_WITHDRAWALS)),
        ("blobGasUsed", header.blob_gas_used == Some(0)),
        ("excessBlobGas", header.excess_blob_gas == Some(0)),
        ("mixHash", header.mix_hash == context.mix_hash()),
        ("parentBeaconBlockRoot", header.parent_beacon_block_root == Some(context.hash())),
        (
            "requestsHash",
            ascending && filled && header.requests_hash == Some(Requests::new(requests.to_vec()).requests_hash()),
        ),
        ("transactionsRoot", header.transactions_root == calculate_transaction_root(transactions)),
    ];
    match fields.into_iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(BlockError::Mismatch { field }),
        None => Ok(()),
    }
}

fn put_list(out: &mut Vec<u8>, payload: &[u8]) {
    RlpHeader { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction as _, TxEip1559};
    use alloy_primitives::{Signature, TxKind};

    fn transaction(nonce: u64) -> Transaction {
        let body =
            TxEip1559 { chain_id: 1, nonce, gas_limit: 21_000, to: TxKind::Call(Address::ZERO), ..Default::default() };
        body.into_signed(Signature::test_signature()).into()
    }

    fn parts() -> BlockParts {
        let context = ConsensusContext {
            epoch: 0,
            view: 7,
            parent_view: 5,
            leader: [9; 32],
            seeds: vec![crate::Seed([1; 48]), crate::Seed([2; 48])],
        };
        BlockParts {
            parent_hash: B256::repeat_byte(1),
            number: 3,
            timestamp_ms: 1_700_000_000_123,
            beneficiary: Address::repeat_byte(2),
            state_root: B256::repeat_byte(3),
            receipts_root: B256::repeat_byte(4),
            logs_bloom: Bloom::ZERO,
            gas_limit: 150_000_000,
            gas_used: 42_000,
            base_fee: 7,
            transactions: vec![transaction(0), transaction(1)],
            context,
            requests: vec![Bytes::from_static(&[0xd1, 1, 2, 3])],
        }
    }

    /// Encodes a block with another header than its own.
    fn with_header(block: &Block, change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let mut forged = block.clone();
        change(&mut forged.header);
        forged.encode()
    }

    #[test]
    fn a_block_survives_its_encoding() {
        let block = Block::assemble(parts());
        let decoded = Block::decode(&block.encode()).unwrap();
        assert_eq!(decoded, block);
        assert_eq!(decoded.hash(), block.header().hash_slow());
        assert_eq!(decoded.timestamp_ms(), 1_700_000_000_123);
        assert_eq!(decoded.header().timestamp, 1_700_000_000);
    }

    #[test]
    fn a_body_that_is_not_the_headers_is_refused_and_the_field_named() {
        let block = Block::assemble(parts());
        let wrong = B256::repeat_byte(0xee);
        let cases: [(&str, Vec<u8>); 11] = [
            ("transactionsRoot", with_header(&block, |header| header.transactions_root = wrong)),
            ("mixHash", with_header(&block, |header| header.mix_hash = wrong)),
            ("parentBeaconBlockRoot", with_header(&block, |header| header.parent_beacon_block_root = Some(wrong))),
            ("requestsHash", with_header(&block, |header| header.requests_hash = Some(wrong))),
            ("withdrawalsRoot", with_header(&block, |header| header.withdrawals_root = Some(wrong))),
            ("sha3Uncles", with_header(&block, |header| header.ommers_hash = wrong)),
            ("timestamp", with_header(&block, |header| header.timestamp += 1)),
            ("extraData", with_header(&block, |header| header.extra_data = Bytes::new())),
            ("nonce", with_header(&block, |header| header.nonce = B64::with_last_byte(1))),
            ("difficulty", with_header(&block, |header| header.difficulty = U256::from(1))),
            ("blobGasUsed", with_header(&block, |header| header.blob_gas_used = Some(1))),
        ];
        for (field, bytes) in cases {
            assert_eq!(Block::decode(&bytes), Err(BlockError::Mismatch { field }), "{field}");
        }
        let mut swapped = block.clone();
        swapped.transactions.swap(0, 1);
        assert_eq!(Block::decode(&swapped.encode()), Err(BlockError::Mismatch { field: "transactionsRoot" }));
        let mut reseeded = block;
        reseeded.context.seeds.swap(0, 1);
        assert_eq!(Block::decode(&reseeded.encode()), Err(BlockError::Mismatch { field: "mixHash" }));
    }

    #[test]
    fn requests_must_ascend_and_hold_data() {
        for requests in [vec![[2u8, 1], [1, 1]], vec![[1, 1], [1, 2]]] {
            let requests = requests.into_iter().map(|request| Bytes::copy_from_slice(&request)).collect();
            let block = Block::assemble(BlockParts { requests, ..parts() });
            assert_eq!(Block::decode(&block.encode()), Err(BlockError::Mismatch { field: "requestsHash" }));
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused_or_another_block() {
        let block = Block::assemble(parts());
        let bytes = block.encode();
        for end in 0..bytes.len() {
            assert!(Block::decode(&bytes[..end]).is_err(), "truncated at {end}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x01;
            if let Ok(other) = Block::decode(&flipped) {
                assert_ne!(other.hash(), block.hash(), "byte {at} is not bound by the hash");
            }
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Block::decode(&longer).is_err());
    }

    #[test]
    fn oversized_bytes_are_refused_before_they_are_read() {
        let bytes = vec![0xf9; BODY_BYTES_MAX + 1];
        assert!(matches!(Block::decode(&bytes), Err(BlockError::TooLarge { .. })));
    }

    #[test]
    fn blob_transactions_are_refused_with_their_type_and_set_code_transactions_are_read() {
        assert_eq!(decode_transaction(&[3, 0xc0]), Err(TransactionError::UnsupportedType(3)));
        assert!(matches!(decode_transaction(&[4, 0xc0]), Err(TransactionError::Malformed(_))));
        let body = alloy_consensus::TxEip7702 { chain_id: 1, ..alloy_consensus::TxEip7702::default() };
        let transaction: Transaction = body.into_signed(Signature::test_signature()).into();
        let bytes = transaction.encoded_2718();
        assert_eq!((bytes[0], decode_transaction(&bytes)), (4, Ok(transaction)));
    }
}
