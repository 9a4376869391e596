//! Blocks of strangers: only what a certificate proves comes out, and whoever lied is named.

use crate::network::{CHAIN_ID, Network};
use alloy_primitives::{Address, B256, Bloom};
use keystead_proof::{
    BlockWithCertificate, Line, LineError, NetworkKey, Proven, SignatureError, Stretch, StretchError,
};
use keystead_types::{Block, BlockParts, Certificate, ConsensusContext};
use std::sync::Arc;

/// Blocks from height 1 on, above a block 0 with hash `parent`; `salt` makes another chain of it.
fn chain(parent: B256, count: u64, salt: u8) -> Vec<Arc<Block>> {
    let mut parent = parent;
    (1..=count)
        .map(|number| {
            let block = Block::assemble(BlockParts {
                parent_hash: parent,
                number,
                timestamp_ms: 1_000 * number,
                beneficiary: Address::repeat_byte(salt),
                state_root: B256::repeat_byte(1),
                receipts_root: B256::repeat_byte(2),
                logs_bloom: Bloom::ZERO,
                gas_limit: 1,
                gas_used: 0,
                base_fee: 7,
                transactions: Vec::new(),
                context: ConsensusContext::genesis(),
                requests: Vec::new(),
            });
            parent = block.hash();
            Arc::new(block)
        })
        .collect()
}

struct Sample {
    network: Network,
    key: NetworkKey,
    start: B256,
    blocks: Vec<Arc<Block>>,
}

fn sample() -> Sample {
    let network = Network::new(7);
    let key = NetworkKey::from_bytes(&network.key()).unwrap();
    let start = B256::repeat_byte(0x55);
    Sample { network, key, start, blocks: chain(start, 12, 0) }
}

impl Sample {
    fn certify(&self, block: &Block) -> Certificate {
        self.network.certify(CHAIN_ID, block.number() + 2, block.header())
    }

    /// The blocks of these heights as a source gives them, with certificates at those of `certified`.
    fn give(&self, blocks: &[Arc<Block>], certified: &[u64]) -> Vec<BlockWithCertificate> {
        let with = |block: &Arc<Block>| BlockWithCertificate {
            block: Arc::clone(block),
            bytes: block.encode().len(),
            certificate: certified.contains(&block.number()).then(|| self.certify(block)),
        };
        blocks.iter().map(with).collect()
    }

    fn stretch(&self, blocks: &[Arc<Block>], certified: &[u64]) -> Stretch {
        let first = blocks[0].number();
        Stretch::new(self.give(blocks, certified), first, CHAIN_ID, &self.key).unwrap()
    }

    const fn line(&self) -> Line<&'static str> {
        Line::new(0, self.start)
    }
}

fn heights(proven: &[Proven]) -> Vec<u64> {
    proven.iter().map(|it| it.block.number()).collect()
}

#[test]
fn a_certificate_proves_its_block_and_all_below_and_those_above_wait() {
    let it = sample();
    let mut line = it.line();
    let out = line.push(it.stretch(&it.blocks[0..5], &[1, 3]), &"a").unwrap();
    assert_eq!(heights(&out), [1, 2, 3]);
    assert!(out[0].certificate.is_some() && out[1].certificate.is_none() && out[2].certificate.is_some());
    assert_eq!((line.number(), line.next()), (3, 6));
    assert!(line.push(it.stretch(&it.blocks[5..8], &[]), &"b").unwrap().is_empty());
    assert_eq!(heights(&line.push(it.stretch(&it.blocks[8..10], &[9]), &"c").unwrap()), [4, 5, 6, 7, 8, 9]);
    assert_eq!((line.number(), line.next()), (9, 11));
    let gap = line.push(it.stretch(&it.blocks[11..12], &[12]), &"c").unwrap_err();
    assert_eq!(gap, LineError::Gap { got: 12, want: 11 });
    let out = line.push(it.stretch(&it.blocks[10..12], &[11, 12]), &"c").unwrap();
    assert_eq!(heights(&out), [10, 11, 12]);
}

#[test]
fn every_field_of_a_certificate_is_bound() {
    let it = sample();
    let good = it.certify(&it.blocks[2]);
    let refuse = |certificate: Certificate| {
        let mut blocks = it.give(&it.blocks[0..5], &[1, 2, 3, 4, 5]);
        blocks[2].certificate = Some(certificate);
        Stretch::new(blocks, 1, CHAIN_ID, &it.key).unwrap_err()
    };
    let mut signature = good.signature;
    signature[20] ^= 1;
    let forged = [
        Certificate { epoch: good.epoch + 1, ..good },
        Certificate { view: good.view + 1, ..good },
        Certificate { parent_view: good.parent_view + 1, ..good },
        Certificate { signature: it.certify(&it.blocks[3]).signature, ..good },
    ];
    for certificate in forged {
        assert_eq!(refuse(certificate), StretchError::Signature { number: 3, source: SignatureError::Mismatch });
    }
    let flipped = refuse(Certificate { signature, ..good });
    assert!(matches!(flipped, StretchError::Signature { number: 3, .. }), "{flipped}");
    let other = refuse(Certificate { block_hash: B256::ZERO, ..good });
    assert!(matches!(other, StretchError::Certified { number: 3, certified: B256::ZERO, .. }), "{other}");
    let blocks = it.give(&it.blocks[0..5], &[1, 2, 3, 4, 5]);
    let foreign = Stretch::new(blocks.clone(), 1, CHAIN_ID + 1, &it.key).unwrap_err();
    assert!(matches!(foreign, StretchError::Signature { number: 1, .. }), "{foreign}");
    let key = NetworkKey::from_bytes(&Network::new(8).key()).unwrap();
    assert!(matches!(Stretch::new(blocks.clone(), 1, CHAIN_ID, &key), Err(StretchError::Signature { number: 1, .. })));
    Stretch::new(blocks, 1, CHAIN_ID, &it.key).unwrap();
}

#[test]
fn two_wrong_signatures_whose_errors_cancel_are_refused() {
    let it = sample();
    let mut blocks = it.give(&it.blocks[0..2], &[1, 2]);
    let (first, second) = (it.certify(&it.blocks[0]), it.certify(&it.blocks[1]));
    blocks[0].certificate = Some(Certificate { signature: second.signature, ..first });
    blocks[1].certificate = Some(Certificate { signature: first.signature, ..second });
    let error = Stretch::new(blocks, 1, CHAIN_ID, &it.key).unwrap_err();
    assert_eq!(error, StretchError::Signature { number: 1, source: SignatureError::Mismatch });
}

#[test]
fn heights_and_parents_inside_of_a_stretch_are_checked() {
    let it = sample();
    let foreign = chain(it.start, 12, 1);
    let mixed = [it.blocks[0].clone(), foreign[1].clone()];
    let error = Stretch::new(it.give(&mixed, &[]), 1, CHAIN_ID, &it.key).unwrap_err();
    assert!(matches!(error, StretchError::Parent { number: 2, .. }), "{error}");
    let error = Stretch::new(it.give(&it.blocks[3..5], &[5]), 1, CHAIN_ID, &it.key).unwrap_err();
    assert_eq!(error, StretchError::Number { got: 4, want: 1 });
    let hole = [it.blocks[0].clone(), it.blocks[2].clone()];
    let error = Stretch::new(it.give(&hole, &[3]), 1, CHAIN_ID, &it.key).unwrap_err();
    assert_eq!(error, StretchError::Number { got: 3, want: 2 });
}

#[test]
fn false_blocks_that_wait_are_found_by_the_certificate_above_and_their_sources_named() {
    let it = sample();
    let foreign = chain(it.start, 12, 1);
    let mut line = it.line();
    assert!(line.push(it.stretch(&foreign[0..3], &[]), &"liar").unwrap().is_empty());
    assert!(line.push(it.stretch(&foreign[3..4], &[]), &"other").unwrap().is_empty());
    assert!(line.push(it.stretch(&foreign[4..5], &[]), &"liar").unwrap().is_empty());
    let error = line.push(it.stretch(&it.blocks[5..7], &[7]), &"honest").unwrap_err();
    assert_eq!(error, LineError::Waiting { from: 1, sources: vec!["liar", "other"] });
    assert_eq!(line.next(), 1, "nothing false stays");
    assert_eq!(heights(&line.push(it.stretch(&it.blocks[0..7], &[7]), &"honest").unwrap()), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn blocks_that_nobody_certifies_are_given_up_with_their_sources_named() {
    let it = sample();
    let mut line = it.line();
    let bare = it.stretch(&it.blocks[0..3], &[]);
    assert!(bare.is_bare() && !it.stretch(&it.blocks[0..3], &[1]).is_bare());
    assert!(line.push(bare, &"a").unwrap().is_empty());
    assert!(line.waits());
    assert_eq!(line.abandon(), ["a"]);
    assert!(!line.waits() && line.abandon().is_empty());
    assert_eq!(heights(&line.push(it.stretch(&it.blocks[0..2], &[2]), &"b").unwrap()), [1, 2]);
}

#[test]
fn blocks_without_any_certificate_that_contradict_each_other_are_all_dropped() {
    let it = sample();
    let foreign = chain(it.start, 12, 1);
    let mut line = it.line();
    assert!(line.push(it.stretch(&it.blocks[0..2], &[]), &"a").unwrap().is_empty());
    let error = line.push(it.stretch(&foreign[2..4], &[]), &"b").unwrap_err();
    assert_eq!(error, LineError::Unclear { from: 1 });
    assert_eq!(line.next(), 1);
}

#[test]
fn a_certified_chain_beside_the_final_block_stops_the_line() {
    let it = sample();
    let mut line: Line<&str> = Line::new(0, B256::repeat_byte(0x66));
    let error = line.push(it.stretch(&it.blocks[0..2], &[2]), &"a").unwrap_err();
    let (parent, last) = (it.start, B256::repeat_byte(0x66));
    assert_eq!(error, LineError::Split { number: 1, parent, last });
    let mut line: Line<&str> = Line::new(0, B256::repeat_byte(0x66));
    let error = line.push(it.stretch(&it.blocks[0..2], &[]), &"a").unwrap_err();
    assert_eq!(error, LineError::Foreign { number: 1, parent, last }, "without a certificate it is a lie, not a split");
}
