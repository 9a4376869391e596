//! The block as the engine sees it: a digest, a height, a parent, and bytes.

use commonware_codec::{Buf, EncodeSize, Error as CodecError, RangeCfg, Read, Write};
use commonware_consensus::{Block as EngineBlock, BoundedBlock, Heightable, types::Height};
use commonware_cryptography::{Digested, Digestible, keccak256};
use commonware_runtime::BufMut;
use keystead_types::{BODY_BYTES_MAX, Block};
use std::sync::Arc;

/// The engine's name for a block: keccak256 of the RLP header.
pub(crate) type Digest = keccak256::Digest;

/// Bytes that the engine's length prefix takes at most.
const LENGTH_BYTES_MAX: usize = 5;

/// A block and its encoding, both shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainBlock {
    block: Arc<Block>,
    encoded: Arc<Vec<u8>>,
}

impl ChainBlock {
    pub(crate) fn new(block: Arc<Block>) -> Self {
        let encoded = Arc::new(block.encode());
        Self { block, encoded }
    }

    pub(crate) const fn block(&self) -> &Arc<Block> {
        &self.block
    }

    pub(crate) fn digested(self) -> Digested<Self> {
        let digest = self.digest();
        Digested::precomputed(self, digest)
    }
}

impl Write for ChainBlock {
    fn write(&self, buf: &mut impl BufMut) {
        self.encoded.write(buf);
    }
}

impl EncodeSize for ChainBlock {
    fn encode_size(&self) -> usize {
        self.encoded.encode_size()
    }
}

impl Read for ChainBlock {
    type Cfg = ();

    /// Recomputes every root that binds the body, so no cache ever sees a body that its digest does not commit to.
    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, CodecError> {
        let encoded = Vec::<u8>::read_cfg(buf, &(RangeCfg::new(0..=BODY_BYTES_MAX), ()))?;
        let block = Block::decode(&encoded).map_err(|error| CodecError::Wrapped("block", Box::new(error)))?;
        Ok(Self { block: Arc::new(block), encoded: Arc::new(encoded) })
    }
}

impl Digestible for ChainBlock {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        keccak256::Digest(self.block.hash().0)
    }
}

impl Heightable for ChainBlock {
    fn height(&self) -> Height {
        Height::new(self.block.number())
    }
}

impl EngineBlock for ChainBlock {
    fn parent(&self) -> Digest {
        keccak256::Digest(self.block.header().parent_hash.0)
    }
}

impl BoundedBlock for ChainBlock {
    fn max_encode_size((): &()) -> usize {
        BODY_BYTES_MAX.saturating_add(LENGTH_BYTES_MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use commonware_codec::{Copying, DecodeExt as _, Encode as _};
    use keystead_types::{Address, B256, BlockParts, Bytes, ConsensusContext};

    /// A block whose body is one request, filled with a byte.
    fn sample(number: u64, filling: u8) -> Block {
        Block::assemble(BlockParts {
            parent_hash: B256::ZERO,
            number,
            timestamp_ms: number,
            beneficiary: Address::ZERO,
            state_root: B256::ZERO,
            receipts_root: B256::ZERO,
            logs_bloom: Default::default(),
            gas_limit: 0,
            gas_used: 0,
            base_fee: 0,
            transactions: Vec::new(),
            context: ConsensusContext::genesis(),
            requests: vec![Bytes::from([vec![0xd1], vec![filling; 64]].concat())],
        })
    }

    fn decode(bytes: &[u8]) -> Result<ChainBlock, String> {
        ChainBlock::decode(Copying(bytes)).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_body_under_a_foreign_header_is_refused_while_it_is_decoded() {
        let block = ChainBlock::new(Arc::new(sample(3, 0x5a)));
        let bytes = block.encode().to_vec();
        assert_eq!(decode(&bytes).unwrap().digest(), block.digest());
        let mut forged = bytes;
        let at = forged.windows(8).position(|window| window == [0x5a; 8]).unwrap();
        forged[at] = 0x5b;
        let refused = decode(&forged).unwrap_err();
        assert!(refused.contains("requestsHash"), "{refused}");
    }

    #[test]
    fn a_block_beyond_the_limit_is_refused_by_its_length_alone() {
        let oversized = vec![0u8; BODY_BYTES_MAX + 1].encode();
        let refused = decode(&oversized).unwrap_err();
        assert!(refused.contains("InvalidLength"), "{refused}");
        let refused = decode(&vec![0u8; BODY_BYTES_MAX].encode()).unwrap_err();
        assert!(refused.contains("Malformed"), "{refused}");
    }
}
