//! Blocks of foreign chains: stock Ethereum blocks of every fork, with ommers and withdrawals.
//!
//! # Design
//! Such a block is encoded as Ethereum's wire protocol has it: `[header, [transaction...], [ommer...], [withdrawal...]]`,
//! the last list from Shanghai on. The third item tells it from a block of ours, where a string stands, so one store
//! holds either.

use super::{Block, BlockError, put_list};
use crate::{context::ConsensusContext, spec::ETHEREUM_BLOCK_BYTES_MAX, transaction::Transaction};
use alloy_consensus::{
    Header,
    proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_rlp::{Decodable, Encodable as _, Header as RlpHeader};

/// Ommers that a block may have. Spec: Ethereum yellow paper §11.1.
const OMMERS_MAX: usize = 2;

/// What a foreign block holds beside header and transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EthereumBody {
    /// Headers of stale blocks, which earn a part of the reward before the merge.
    pub ommers: Vec<Header>,
    /// Payments from the consensus layer; `None` before Shanghai.
    pub withdrawals: Option<Withdrawals>,
}

impl Block {
    /// A foreign block from its parts.
    ///
    /// # Errors
    /// [`BlockError::Mismatch`] if the header does not commit to the body.
    pub fn ethereum(header: Header, transactions: Vec<Transaction>, body: EthereumBody) -> Result<Self, BlockError> {
        let withdrawals = body.withdrawals.as_ref().map(|it| calculate_withdrawals_root(it));
        let fields = [
            ("transactionsRoot", header.transactions_root == calculate_transaction_root(&transactions)),
            ("sha3Uncles", header.ommers_hash == calculate_ommers_root(&body.ommers)),
            ("withdrawalsRoot", header.withdrawals_root == withdrawals),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, holds)| !holds) {
            return Err(BlockError::Mismatch { field });
        }
        let hash = header.hash_slow();
        let context = ConsensusContext::genesis();
        Ok(Self { header, hash, transactions, context, requests: Vec::new(), ethereum: Some(body) })
    }

    /// What a foreign block holds beside header and transactions; `None` for a block of ours.
    #[must_use]
    pub const fn ethereum_body(&self) -> Option<&EthereumBody> {
        self.ethereum.as_ref()
    }

    /// Reads exactly one foreign block and checks that the header commits to the body.
    ///
    /// Trust: hostile input. Only what [`Self::ethereum`] compares is checked here.
    ///
    /// # Errors
    /// [`BlockError`]: whoever wrote it was wrong.
    pub fn decode_ethereum(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() > ETHEREUM_BLOCK_BYTES_MAX {
            return Err(BlockError::TooLarge { got_bytes: bytes.len(), max_bytes: ETHEREUM_BLOCK_BYTES_MAX });
        }
        let malformed = |error: alloy_rlp::Error| BlockError::Malformed(error.to_string());
        let mut rest = bytes;
        let mut items = RlpHeader::decode_bytes(&mut rest, true).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(BlockError::Malformed(format!("{} bytes left over", rest.len())));
        }
        let header = Header::decode(&mut items).map_err(malformed)?;
        let transactions = list(&mut items, usize::MAX).map_err(malformed)?;
        let ommers = list(&mut items, OMMERS_MAX).map_err(malformed)?;
        let withdrawals = match items.is_empty() {
            true => None,
            false => Some(Withdrawals::new(list::<Withdrawal>(&mut items, usize::MAX).map_err(malformed)?)),
        };
        if !items.is_empty() {
            return Err(BlockError::Malformed("trailing items".to_owned()));
        }
        let block = Self::ethereum(header, transactions, EthereumBody { ommers, withdrawals })?;
        if block.encode() == bytes {
            Ok(block)
        } else {
            Err(BlockError::Malformed("not the canonical encoding".to_owned()))
        }
    }

    /// Reads a block of either kind, as a store holds it.
    ///
    /// # Errors
    /// As [`Self::decode`] and [`Self::decode_ethereum`].
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, BlockError> {
        if is_ethereum(bytes) { Self::decode_ethereum(bytes) } else { Self::decode(bytes) }
    }

    /// The block as Ethereum's tools read it: a foreign one as it came, one of ours without context and requests, which its
    /// header binds.
    #[must_use]
    pub fn encode_as_ethereum(&self) -> Vec<u8> {
        let ours = || EthereumBody { ommers: Vec::new(), withdrawals: Some(Withdrawals::default()) };
        self.ethereum.as_ref().map_or_else(|| self.encode_ethereum(&ours()), |body| self.encode_ethereum(body))
    }

    /// The encoding of a foreign block.
    pub(super) fn encode_ethereum(&self, body: &EthereumBody) -> Vec<u8> {
        let mut items = Vec::new();
        self.header.encode(&mut items);
        alloy_rlp::encode_list(&self.transactions, &mut items);
        alloy_rlp::encode_list(&body.ommers, &mut items);
        if let Some(withdrawals) = &body.withdrawals {
            withdrawals.encode(&mut items);
        }
        let mut out = Vec::with_capacity(items.len().saturating_add(8));
        put_list(&mut out, &items);
        out
    }
}

/// Reads a list of at most `count_max` items. Nothing is allocated ahead of what was read.
fn list<T: Decodable>(items: &mut &[u8], count_max: usize) -> Result<Vec<T>, alloy_rlp::Error> {
    let mut rest = RlpHeader::decode_bytes(items, true)?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        if out.len() == count_max {
            return Err(alloy_rlp::Error::Custom("too many items in a list"));
        }
        out.push(T::decode(&mut rest)?);
    }
    Ok(out)
}

/// True if a list stands where our blocks have the consensus context.
fn is_ethereum(bytes: &[u8]) -> bool {
    let third = || -> Result<bool, alloy_rlp::Error> {
        let mut rest = bytes;
        let mut items = RlpHeader::decode_bytes(&mut rest, true)?;
        for _ in ["header", "transactions"] {
            RlpHeader::decode_bytes(&mut items, true)?;
        }
        Ok(RlpHeader::decode(&mut items)?.list)
    };
    third().unwrap_or(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction as _, TxEip1559, TxLegacy, constants::EMPTY_WITHDRAWALS};
    use alloy_primitives::{Address, B256, Signature, TxKind};

    fn transactions() -> Vec<Transaction> {
        let to = TxKind::Call(Address::repeat_byte(1));
        let legacy = TxLegacy { gas_limit: 21_000, to, ..TxLegacy::default() };
        let dynamic = TxEip1559 { gas_limit: 21_000, to, ..TxEip1559::default() };
        let signature = Signature::test_signature();
        vec![legacy.into_signed(signature).into(), dynamic.into_signed(signature).into()]
    }

    fn block(withdrawals: Option<Vec<Withdrawal>>) -> Block {
        let ommers = vec![Header { number: 4, ..Header::default() }];
        let withdrawals = withdrawals.map(Withdrawals::new);
        let header = Header {
            number: 5,
            transactions_root: calculate_transaction_root(&transactions()),
            ommers_hash: calculate_ommers_root(&ommers),
            base_fee_per_gas: withdrawals.as_ref().map(|_| 7),
            withdrawals_root: withdrawals.as_ref().map(|it| calculate_withdrawals_root(it)),
            ..Header::default()
        };
        Block::ethereum(header, transactions(), EthereumBody { ommers, withdrawals }).unwrap()
    }

    #[test]
    fn foreign_blocks_of_both_shapes_survive_their_encoding_and_the_store_tells_them_from_ours() {
        let withdrawal = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(3), amount: 4 };
        for block in [block(None), block(Some(vec![withdrawal])), block(Some(Vec::new()))] {
            let bytes = block.encode();
            assert_eq!(Block::decode_ethereum(&bytes).unwrap(), block);
            assert_eq!(Block::decode_stored(&bytes).unwrap(), block);
            assert!(Block::decode(&bytes).is_err(), "the network takes blocks of ours only");
            assert_eq!(block.timestamp_ms(), 0);
        }
        let ours =
            crate::Genesis::from_json(r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#);
        let ours = ours.unwrap().block(B256::ZERO);
        assert_eq!(Block::decode_stored(&ours.encode()).unwrap(), ours);
        let as_ethereum = Block::decode_ethereum(&ours.encode_as_ethereum()).unwrap();
        assert_eq!((as_ethereum.hash(), as_ethereum.transactions()), (ours.hash(), ours.transactions()));
        assert!(Block::decode_ethereum(&ours.encode()).is_err());
    }

    #[test]
    fn a_foreign_body_that_is_not_the_headers_is_refused_and_the_field_named() {
        let good = block(Some(Vec::new()));
        let body = good.ethereum_body().unwrap().clone();
        let mismatch = |header: Header, body: EthereumBody| {
            let Err(BlockError::Mismatch { field }) = Block::ethereum(header, transactions(), body) else {
                panic!("accepted")
            };
            field
        };
        let header = |change: fn(&mut Header)| {
            let mut header = good.header().clone();
            change(&mut header);
            header
        };
        assert_eq!(mismatch(header(|it| it.transactions_root = B256::ZERO), body.clone()), "transactionsRoot");
        assert_eq!(mismatch(header(|it| it.ommers_hash = B256::ZERO), body.clone()), "sha3Uncles");
        assert_eq!(mismatch(header(|it| it.withdrawals_root = None), body.clone()), "withdrawalsRoot");
        let none = EthereumBody { withdrawals: None, ..body };
        assert_eq!(mismatch(header(|it| it.withdrawals_root = Some(EMPTY_WITHDRAWALS)), none), "withdrawalsRoot");
    }

    #[test]
    fn truncated_or_longer_foreign_blocks_and_a_third_ommer_are_refused() {
        let bytes = block(Some(Vec::new())).encode();
        for end in 0..bytes.len() {
            assert!(Block::decode_ethereum(&bytes[..end]).is_err(), "truncated at {end}");
        }
        assert!(Block::decode_ethereum(&[bytes, vec![0]].concat()).is_err());
        let ommers = vec![Header::default(); 3];
        let header = Header { ommers_hash: calculate_ommers_root(&ommers), ..Header::default() };
        let body = EthereumBody { ommers, withdrawals: None };
        let block = Block::ethereum(header, Vec::new(), body).unwrap();
        assert!(matches!(Block::decode_ethereum(&block.encode()), Err(BlockError::Malformed(_))));
        let large = vec![0xf9; ETHEREUM_BLOCK_BYTES_MAX + 1];
        assert!(matches!(Block::decode_ethereum(&large), Err(BlockError::TooLarge { .. })));
    }
}
