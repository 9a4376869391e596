//! One round on this machine's devices: work, record, work, record, open.
//!
//! # Design
//! Each device works in a worker of its own, all at the same time. A worker holds its matrices until the rows are opened; when the round ends, however it
//! ends, the workers are dropped and the memory is free. The chain is asked for every height anew, so the round needs no clock of its own.

use super::{
    chain::Chain,
    measure::{Device, Workshop},
    words,
};
use alloy_primitives::{Address, B256};
use alloy_rlp::Encodable as _;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_market::touchstone::{
    Answer, Challenge, Commitment, Published,
    challenge::{OPENED, Round, deadline_ms},
    prover::vectors_root,
    round::{PublishedDevice, rows_height, vectors_height},
};
use keystead_runner::{Task, Touchstone};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);

/// A device that holds what it computed.
pub(crate) struct Holding {
    device: Device,
    touchstone: Touchstone,
    commitment: Commitment,
}

/// A device whose vectors are recorded.
struct Answering {
    holding: Holding,
    vectors: Vec<Vec<u32>>,
    /// The block of the record.
    block: u64,
}

/// A round that was recorded and opened.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) published: Published,
    /// The block of the last vectors, on which the draw of checkers depends.
    pub(crate) vectors_block: u64,
}

/// Proves with these devices for the challenge of a height.
///
/// # Errors
/// A device fails or is late, the owner stops it, or the chain does not take what is recorded. Nothing is published then.
pub(crate) async fn prove(chain: &Chain, workshop: &Workshop, devices: &[Device], height: u64) -> Result<Finished> {
    let (round, _) = chain.round(height).await?;
    let provider = chain.account.address();
    let mut working = JoinSet::new();
    for device in devices {
        let (chain, workshop, device) = (chain.clone(), workshop.clone(), device.clone());
        let challenge = challenge(&device, provider, round)?;
        working.spawn(async move {
            let holding = within_deadline(&chain, &workshop, device, challenge).await?;
            let root_block = chain.record_root(challenge.id(), holding.commitment.root()).await?;
            let blocks = (challenge.height, root_block);
            recorded_in_time(&chain, &holding.device, blocks, challenge.deadline_ms).await?;
            tracing::info!(device = holding.device.number, block = root_block, "proof of hardware: root recorded");
            Ok::<(Holding, u64), eyre::Report>((holding, root_block))
        });
    }
    let mut holding = Vec::new();
    let mut root_blocks = Vec::new();
    while let Some(ended) = working.join_next().await {
        let (held, block) = ended.wrap_err("a device's task ended")??;
        holding.push(held);
        root_blocks.push(block);
    }
    let no_device = || eyre!("this machine has no device that could prove anything");
    let vectors_from = vectors_height(root_blocks).ok_or_else(no_device)?;
    let vector_beacon = chain.await_randomness(vectors_from).await?;
    let mut making = JoinSet::new();
    for held in holding {
        let chain = chain.clone();
        making.spawn(async move {
            let answering = held.record_vectors(&chain, vector_beacon).await?;
            let (device, blocks) = (&answering.holding.device, (vectors_from, answering.block));
            recorded_in_time(&chain, device, blocks, device.shape()?.vectors_deadline_ms()).await?;
            Ok::<Answering, eyre::Report>(answering)
        });
    }
    let mut answering = Vec::new();
    while let Some(ended) = making.join_next().await {
        answering.push(ended.wrap_err("a device's task ended")??);
    }
    answering.sort_by_key(|answering| answering.holding.device.number);
    let blocks: Vec<u64> = answering.iter().map(|answering| answering.block).collect();
    let vectors_block = blocks.iter().copied().max().ok_or_else(no_device)?;
    let rows_from = rows_height(blocks).ok_or_else(no_device)?;
    tracing::info!(block = vectors_block, "proof of hardware: vectors recorded");
    let rows_beacon = chain.await_randomness(rows_from).await?;
    let mut published = Vec::new();
    for Answering { holding, vectors, .. } in &mut answering {
        published.push(holding.open(vectors, rows_beacon).await?);
    }
    Ok(Finished {
        published: Published { provider, height, devices: published, statements: Vec::new() },
        vectors_block,
    })
}

/// The challenge of a device in a round.
pub(crate) fn challenge(device: &Device, provider: Address, round: Round) -> Result<Challenge> {
    let shape = device.shape()?;
    let Round { chain_id, height, time_s, beacon } = round;
    let deadline_ms = deadline_ms(shape, device.mop_per_s);
    let device = device.number;
    Ok(Challenge { chain_id, height, time_s, beacon, provider, device, shape, opened: OPENED, deadline_ms })
}

async fn within_deadline(chain: &Chain, workshop: &Workshop, device: Device, challenge: Challenge) -> Result<Holding> {
    let challenged = chain.moment(challenge.height).await?;
    let head = chain.moment(chain.account.head().await?.0).await?;
    let gone = Duration::from_millis(head.ms.saturating_sub(challenged.ms));
    let left = Duration::from_millis(challenge.deadline_ms).saturating_sub(gone);
    let (number, claimed) = (device.number, words::speed(device.mop_per_s));
    let held = tokio::time::timeout(left, Holding::compute(workshop, device, challenge)).await;
    held.map_err(|_| {
        eyre!(
            "device {number} is too late: it has {} ms for what it claims ({claimed}); something else may have used it",
            challenge.deadline_ms
        )
    })?
}

/// Fails if what a device had to record by a deadline came late: by the blocks' own clock, at which whoever checks the round looks. What would prove
/// nothing is not published, and the round is begun anew.
async fn recorded_in_time(chain: &Chain, device: &Device, (from, to): (u64, u64), deadline_ms: u64) -> Result<()> {
    let (from, to) = (chain.moment(from).await?.ms, chain.moment(to).await?.ms);
    let took_ms = to.saturating_sub(from);
    ensure!(
        took_ms <= deadline_ms,
        "device {} was recorded too late: took_ms={took_ms} deadline_ms={deadline_ms}; the network took its time",
        device.number
    );
    Ok(())
}

impl Holding {
    /// Computes the whole chain of one device.
    pub(crate) async fn compute(workshop: &Workshop, device: Device, challenge: Challenge) -> Result<Self> {
        let Device { number, for_workers, side, links, threads, .. } = device;
        let task = Task { device: for_workers, key: challenge.key(), side, links, threads };
        let failed = || format!("device {number} ({}) failed", device.name);
        let mut touchstone = workshop.begin(task).await.wrap_err_with(failed)?;
        let mut contents: Vec<B256> = Vec::new();
        let rows = challenge.shape.rows();
        let mut told = Instant::now();
        while let Some(hashes) = touchstone.step().await.wrap_err_with(failed)? {
            contents.extend(hashes.into_iter().map(B256::from));
            if told.elapsed() > TELL {
                told = Instant::now();
                let percent = (contents.len() as u64).saturating_mul(100).checked_div(u64::from(rows));
                tracing::info!(device = number, percent, "proof of hardware: working");
            }
        }
        // Hashing the tree takes seconds for the largest memories.
        let commitment = tokio::task::spawn_blocking(move || Commitment::new(challenge, &contents)).await?;
        let commitment = commitment.ok_or_else(|| eyre!("device {number} gave another number of rows than {rows}"))?;
        Ok(Self { device, touchstone, commitment })
    }

    /// What it committed to.
    pub(crate) const fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// The worker that holds the matrices.
    pub(crate) const fn touchstone(&mut self) -> &mut Touchstone {
        &mut self.touchstone
    }

    /// Makes the vectors of a beacon value and records them.
    async fn record_vectors(mut self, chain: &Chain, beacon: B256) -> Result<Answering> {
        let key = self.commitment.vector_key(beacon);
        let vectors = self.touchstone.vectors(key).await.wrap_err_with(|| self.device.name.clone())?;
        let block = chain.record_vectors(self.commitment.challenge().id(), vectors_root(&vectors)).await?;
        Ok(Answering { holding: self, vectors, block })
    }

    /// Opens what is drawn.
    pub(crate) async fn open(&mut self, vectors: &[Vec<u32>], rows_beacon: B256) -> Result<PublishedDevice> {
        let drawn = self.commitment.drawn_rows(vectors_root(vectors), rows_beacon);
        let words = self.touchstone.rows(&drawn).await.wrap_err_with(|| self.device.name.clone())?;
        ensure!(words.len() == drawn.len(), "the device gave {} rows of {}", words.len(), drawn.len());
        let rows: BTreeMap<u32, Vec<u32>> = drawn.into_iter().zip(words).collect();
        let answer: Answer = self.commitment.open(vectors, rows_beacon, |row| rows.get(&row).map(Vec::as_slice));
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let Device { number, memory_mib, mop_per_s, side, links, .. } = self.device;
        Ok(PublishedDevice { device: number, memory_mib, mop_per_s, side, links, answer: bytes.into() })
    }
}
