//! Blocks from somebody who is not trusted: which of them a certificate makes final, and who lied if they do not fit.
//!
//! # Design
//! A [`Stretch`] is what one source gave: consecutive blocks, some with certificates, every certificate checked. A block is
//! final if a certified block at or above it leads down to it by parent hashes. A [`Line`] joins stretches above the last
//! block that is known to be final and hands blocks on in order as soon as they are proven; those above the last
//! certificate wait, within bounds, for the next stretch. It remembers who gave what, because a block that waits is found
//! to be false only when somebody else's certificate comes.
//!
//! # Invariants
//! - [`Line::push`] returns a block only if its hash is certified, or is the parent hash of a block that it returns or
//!   returned as final.
//! - Heights are consecutive, from the one after the start.

use crate::signature::{NetworkKey, SignatureError, verify_certificate, verify_certificates};
use keystead_types::{B256, Block, Certificate};
use std::{collections::VecDeque, sync::Arc};

/// Blocks that may wait for a certificate. A validator lacks certificates of what it fetched after being away; empty blocks
/// have about a KiB.
pub const LINE_BLOCKS_MAX: usize = 65_536;
/// Bytes of blocks that may wait for a certificate: sixteen of the largest, or an hour of ordinary ones.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A block whose body is the one that its header commits to, and its certificate if the source has one.
#[derive(Clone, Debug)]
pub struct BlockWithCertificate {
    /// The block.
    pub block: Arc<Block>,
    /// Length of its encoding in bytes.
    pub bytes: usize,
    /// A certificate of this very block.
    pub certificate: Option<Certificate>,
}

/// Blocks that do not fit together: whoever gave them was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StretchError {
    /// A block of another height than its place says.
    #[error("field=number: another height: got={got} want={want}")]
    Number {
        /// The block's height.
        got: u64,
        /// The height of its place.
        want: u64,
    },
    /// A block that does not name the one before as its parent.
    #[error("field=parentHash: not a child of the block before: number={number} got={got} want={want}")]
    Parent {
        /// The block's height.
        number: u64,
        /// The parent that it names.
        got: B256,
        /// Hash of the block before.
        want: B256,
    },
    /// A certificate of another block.
    #[error(
        "field=certificate.blockHash: not the block's certificate: number={number} certified={certified} block={block}"
    )]
    Certified {
        /// The block's height.
        number: u64,
        /// Hash that the certificate names.
        certified: B256,
        /// The block's hash.
        block: B256,
    },
    /// A certificate that the network did not sign: its epoch, views or signature are wrong.
    #[error("field=certificate: number={number}: {source}")]
    Signature {
        /// The block's height.
        number: u64,
        /// What is wrong.
        source: SignatureError,
    },
}

/// Consecutive blocks that one source gave: heights, parents and certificates are right.
#[derive(Clone, Debug)]
pub struct Stretch {
    blocks: Vec<BlockWithCertificate>,
    /// How many of the first blocks are proven: those up to the last certificate.
    proven: usize,
}

impl Stretch {
    /// Checks blocks that should begin at height `first`. Cost: about half a millisecond per certificate.
    ///
    /// Trust: everything is hostile, but each body is that of its header ([`Block::decode`]).
    ///
    /// # Errors
    /// [`StretchError`]: the source was wrong.
    pub fn new(
        blocks: Vec<BlockWithCertificate>,
        first: u64,
        chain_id: u64,
        key: &NetworkKey,
    ) -> Result<Self, StretchError> {
        for (want, it) in (first..).zip(&blocks) {
            let got = it.block.number();
            if got != want {
                return Err(StretchError::Number { got, want });
            }
            let (block, number) = (it.block.hash(), got);
            if let Some(certified) = it.certificate.map(|it| it.block_hash).filter(|hash| *hash != block) {
                return Err(StretchError::Certified { number, certified, block });
            }
        }
        for (below, above) in blocks.iter().zip(blocks.iter().skip(1)) {
            let (got, want) = (above.block.header().parent_hash, below.block.hash());
            if got != want {
                return Err(StretchError::Parent { number: above.block.number(), got, want });
            }
        }
        let certificates = || blocks.iter().filter_map(|it| it.certificate.as_ref().map(|found| (it, found)));
        if verify_certificates(certificates().map(|(_, found)| found), chain_id, key).is_err() {
            for (it, certificate) in certificates() {
                let number = it.block.number();
                verify_certificate(certificate, chain_id, key)
                    .map_err(|source| StretchError::Signature { number, source })?;
            }
        }
        let proven = blocks.iter().rposition(|it| it.certificate.is_some()).map_or(0, |last| last.saturating_add(1));
        Ok(Self { blocks, proven })
    }

    /// Its blocks.
    #[must_use]
    pub fn blocks(&self) -> &[BlockWithCertificate] {
        &self.blocks
    }

    /// True if it has blocks and none of them has a certificate.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.proven == 0 && !self.blocks.is_empty()
    }
}

/// A block that is final.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The block.
    pub block: Arc<Block>,
    /// Its own certificate, checked, if its source had one.
    pub certificate: Option<Certificate>,
}

/// A stretch that does not continue the line. `S` names sources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError<S> {
    /// It does not begin where the line ends: ask for another.
    #[error("another height than the next: got={got} want={want}")]
    Gap {
        /// Height of its first block.
        got: u64,
        /// The next height.
        want: u64,
    },
    /// Blocks of these sources, which waited for a certificate, are not below a certified block: they were false, and are
    /// dropped. The new stretch is dropped, too, but was right.
    #[error("field=hash: blocks from height {from} on are not those that the network made final")]
    Waiting {
        /// Height of the first dropped block.
        from: u64,
        /// Who gave them.
        sources: Vec<S>,
    },
    /// The new stretch does not descend from the last final block and has no certificate: its source was wrong. It is dropped.
    #[error("field=parentHash: not a child of the last final block: number={number} got={parent} want={last}")]
    Foreign {
        /// Height of its first block.
        number: u64,
        /// The parent that it names.
        parent: B256,
        /// The block that is final here at the parent's height.
        last: B256,
    },
    /// The new stretch contradicts blocks that wait, and neither has a certificate: nobody knows who was wrong. All are dropped.
    #[error("blocks from height {from} on contradict each other, and none has a certificate")]
    Unclear {
        /// Height of the first dropped block.
        from: u64,
    },
    /// A certified block does not descend from the last final one: the network made two chains final, or its key is not ours.
    /// Stop.
    #[error("two final chains: number={number} parent={parent} final={last}")]
    Split {
        /// Height of the certified chain's first block.
        number: u64,
        /// Its parent.
        parent: B256,
        /// The block that is final here at the parent's height.
        last: B256,
    },
    /// Too many blocks wait for a certificate. The waiting ones are dropped.
    #[error("no certificate above height {after}: blocks={blocks} bytes={bytes}")]
    TooLong {
        /// Height of the last final block.
        after: u64,
        /// Blocks that waited.
        blocks: usize,
        /// Their bytes.
        bytes: usize,
        /// Who gave them.
        sources: Vec<S>,
    },
}

/// The line of blocks above a final one.
#[derive(Clone, Debug)]
pub struct Line<S> {
    number: u64,
    hash: B256,
    waiting: VecDeque<(BlockWithCertificate, S)>,
    bytes: usize,
}

impl<S: Clone + PartialEq> Line<S> {
    /// A line above the final block with this height and hash.
    #[must_use]
    pub const fn new(number: u64, hash: B256) -> Self {
        Self { number, hash, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Height of the last final block.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Height of the next block to ask for.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.number.saturating_add(self.waiting.len() as u64).saturating_add(1)
    }

    /// True if blocks wait for a certificate.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Drops the blocks that wait for a certificate, because nobody has one; says who gave them.
    pub fn abandon(&mut self) -> Vec<S> {
        let sources = self.sources();
        self.clear();
        sources
    }

    /// Adds a stretch of `source` and takes out what is proven now, in order of height.
    ///
    /// # Errors
    /// [`LineError`]: says what is dropped, and who was wrong if that is known.
    pub fn push(&mut self, stretch: Stretch, source: &S) -> Result<Vec<Proven>, LineError<S>> {
        let want = self.next();
        let Some(first) = stretch.blocks.first() else { return Ok(Vec::new()) };
        let (number, parent) = (first.block.number(), first.block.header().parent_hash);
        if number != want {
            return Err(LineError::Gap { got: number, want });
        }
        let last = self.waiting.back().map_or(self.hash, |(it, _)| it.block.hash());
        if parent != last {
            return Err(self.contradicted(number, parent, &stretch));
        }
        let proven = if stretch.proven == 0 { 0 } else { self.waiting.len().saturating_add(stretch.proven) };
        for it in stretch.blocks {
            self.bytes = self.bytes.saturating_add(it.bytes);
            self.waiting.push_back((it, source.clone()));
        }
        let released: Vec<_> = self.waiting.drain(..proven).collect();
        let mut out = Vec::with_capacity(released.len());
        for (it, _) in released {
            self.bytes = self.bytes.saturating_sub(it.bytes);
            out.push(Proven { block: it.block, certificate: it.certificate });
        }
        if let Some(last) = out.last() {
            (self.number, self.hash) = (last.block.number(), last.block.hash());
        }
        if self.waiting.len() > LINE_BLOCKS_MAX || self.bytes > LINE_BYTES_MAX {
            let (after, blocks, bytes) = (self.number, self.waiting.len(), self.bytes);
            let error = LineError::TooLong { after, blocks, bytes, sources: self.sources() };
            self.clear();
            return if out.is_empty() { Err(error) } else { Ok(out) };
        }
        Ok(out)
    }

    /// Who is wrong if a stretch does not continue the line.
    fn contradicted(&mut self, number: u64, parent: B256, stretch: &Stretch) -> LineError<S> {
        let from = self.number.saturating_add(1);
        let error = match (stretch.proven > 0, self.waiting.is_empty()) {
            (true, true) => LineError::Split { number, parent, last: self.hash },
            (false, true) => LineError::Foreign { number, parent, last: self.hash },
            (true, false) => LineError::Waiting { from, sources: self.sources() },
            (false, false) => LineError::Unclear { from },
        };
        self.clear();
        error
    }

    /// Who gave the blocks that wait, each once.
    fn sources(&self) -> Vec<S> {
        let mut sources: Vec<S> = Vec::new();
        for (_, source) in &self.waiting {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        sources
    }

    /// Drops what waits.
    fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}
