//! The other side: an account with seats checks the proofs for which it was drawn, and signs what holds.
//!
//! # Design
//! Vectors of others on the chain say that a round may be complete. The beacon says who checks it. A few rounds at once are fetched, checked and signed, so
//! that a provider that gives its round slowly holds up nobody; what cannot be fetched is tried again for a while, since a provider publishes a few
//! blocks after its vectors. Whatever does not hold gets no signature and no accusation.

use super::{
    answers::{bring, fetch},
    chain::{Chain, Vectors},
    words,
};
use crate::compute::place::Place;
use alloy_primitives::FixedBytes;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_blobs::Endpoint;
use keystead_market::{
    record::{Attested, Proved},
    touchstone::round::{check, rows_height},
};
use std::{collections::VecDeque, path::Path, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How often the chain is asked for new vectors.
const POLL: Duration = Duration::from_secs(1);
/// The same for an account without a seat, which looks whether it has one: a seat counts from the next epoch on, and what lies between two looks is read then.
const SEATLESS_POLL: Duration = Duration::from_secs(5);
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// Rounds that wait to be checked; more are forgotten, oldest first: a missing statement accuses nobody.
const WAITING_MAX: usize = 256;
/// Rounds that are checked at once: each may be 64 MiB.
const AT_ONCE: usize = 4;
/// How long one try may take: a round of the largest rows comes in this time over 1 MiB a second.
const TRY_MAX: Duration = Duration::from_secs(90);
/// How long a round is tried.
const TRIED_MAX: Duration = Duration::from_secs(300);
/// How long after a failed try the next one comes.
const AGAIN: Duration = Duration::from_secs(3);
/// Vectors older than this many blocks are not looked for after a pause: their randomness may be gone.
const BEHIND_MAX: u64 = 4_096;

/// The checker of one account.
#[derive(Debug)]
pub(crate) struct Checker {
    chain: Chain,
    endpoint: Endpoint,
    place: Place,
    waiting: VecDeque<Task>,
    working: JoinSet<(Task, Result<Checked>)>,
    /// The rounds that are being checked.
    under_way: Vec<Vectors>,
}

/// What a check takes.
#[derive(Clone, Debug)]
struct Bench {
    chain: Chain,
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    vectors: Vectors,
    since: Instant,
    not_before: Instant,
}

impl Checker {
    /// Goes on where the last process of this folder stopped, or at the head.
    pub(crate) async fn open(chain: Chain, endpoint: Endpoint, folder: &Path) -> Result<Self> {
        let head = chain.account.height().await?;
        let mut place = Place::open(folder.join("next-proof-block"), head)?;
        place.skip_to(head.saturating_sub(BEHIND_MAX));
        let (waiting, working, under_way) = (VecDeque::new(), JoinSet::new(), Vec::new());
        Ok(Self { chain, endpoint, place, waiting, working, under_way })
    }

    /// Checks for ever. Costs two questions in five seconds while the account has no seat.
    pub(crate) async fn run(mut self) {
        let mut blind = false;
        loop {
            let mut pause = POLL;
            match self.look().await {
                Ok(is_seated) => {
                    blind = false;
                    // What was begun with a seat is ended without one.
                    let rests = !is_seated && self.waiting.is_empty() && self.under_way.is_empty();
                    pause = if rests { SEATLESS_POLL } else { POLL };
                }
                // Said once: a checker that sees nothing must not look like one that has nothing to do.
                Err(error) if !std::mem::replace(&mut blind, true) => {
                    tracing::warn!("cannot look for proofs of hardware to check, trying again: {error:#}");
                }
                Err(error) => tracing::debug!("cannot look for proofs of hardware to check: {error:#}"),
            }
            while let Some(ended) = self.working.try_join_next() {
                match ended {
                    Ok((task, checked)) => self.ended(task, checked),
                    Err(error) => tracing::error!(%error, "a check of a proof ended abnormally"),
                }
            }
            self.begin();
            sleep(pause).await;
        }
    }

    /// Notes the rounds for which this account was drawn. Whether it has a seat.
    async fn look(&mut self) -> Result<bool> {
        let seated = self.chain.is_seated().await?;
        // The checkers are drawn by the randomness of the block after.
        let known = self.chain.newest_random().await?.saturating_sub(1);
        while self.place.next() <= known {
            let next = self.place.next();
            let last = known.min(next.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let found = if seated { self.chain.vectors_recorded(next, last).await? } else { Vec::new() };
            let is_news = !found.is_empty();
            for vectors in found {
                if self.is_drawn(vectors).await? {
                    self.note(vectors);
                }
            }
            self.place.pass(last, is_news)?;
        }
        Ok(seated)
    }

    async fn is_drawn(&self, vectors: Vectors) -> Result<bool> {
        let me = self.chain.account.address();
        if vectors.provider == me {
            return Ok(false);
        }
        Ok(self.chain.checkers(vectors.provider, vectors.block).await?.contains(&me))
    }

    fn note(&mut self, vectors: Vectors) {
        // Several devices in one block are one round.
        if self.waiting.iter().map(|task| &task.vectors).chain(&self.under_way).any(|known| *known == vectors) {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        tracing::info!(provider = %vectors.provider, block = vectors.block, "drawn to check a proof of hardware");
        let now = Instant::now();
        self.waiting.push_back(Task { vectors, since: now, not_before: now });
    }

    /// Begins to check rounds that wait, as many as may be checked at once.
    fn begin(&mut self) {
        for _ in 0..self.waiting.len() {
            if self.working.len() >= AT_ONCE {
                return;
            }
            let Some(task) = self.waiting.pop_front() else { return };
            if Instant::now() < task.not_before {
                self.waiting.push_back(task);
                continue;
            }
            self.under_way.push(task.vectors);
            let bench = Bench { chain: self.chain.clone(), endpoint: self.endpoint.clone() };
            self.working.spawn(async move {
                let tried = timeout(TRY_MAX, bench.check(task.vectors)).await;
                (task, tried.unwrap_or_else(|_| Err(eyre!("it takes longer than {} s", TRY_MAX.as_secs()))))
            });
        }
    }

    fn ended(&mut self, mut task: Task, checked: Result<Checked>) {
        self.under_way.retain(|vectors| *vectors != task.vectors);
        let Vectors { provider, .. } = task.vectors;
        match checked {
            Ok(Checked::Stated(proved, taken)) => {
                for one in &proved {
                    let statement = one.statement();
                    let shown = words::bands(statement.bands);
                    tracing::info!(%provider, device = statement.device, height = statement.height, taken, "proof of hardware checked: {shown}");
                }
            }
            Ok(Checked::Superseded) => {}
            Ok(Checked::Refused(why)) => {
                tracing::info!(%provider, "proof of hardware does not hold, nothing is signed: {why}");
            }
            Err(error) if task.since.elapsed() < TRIED_MAX => {
                tracing::debug!(%provider, error = format!("{error:#}"), "a proof cannot be checked yet");
                task.not_before = Instant::now().checked_add(AGAIN).unwrap_or(task.not_before);
                self.waiting.push_back(task);
            }
            Err(error) => {
                tracing::info!(%provider, error = format!("{error:#}"), "proof of hardware was not checked");
            }
        }
    }
}

impl Bench {
    /// Checks one round. An error means: not now.
    async fn check(&self, vectors: Vectors) -> Result<Checked> {
        let Vectors { provider, block } = vectors;
        let endpoint = self.chain.listing(provider).await?;
        let address = endpoint.parse().map_err(|error| eyre!("the provider's endpoint is none: {error}"))?;
        let (published, answer_ms) = fetch(&self.endpoint, &address).await?;
        ensure!(published.provider == provider, "what is published there is of {}", published.provider);
        let (round, _) = self.chain.round(published.height).await?;
        // What is claimed beyond the work is seen before the chain is asked any more.
        if let Err(why) = published.challenges(round) {
            return Ok(Checked::Refused(why.to_string()));
        }
        let facts = self.chain.facts(&published, answer_ms).await?;
        let rows = rows_height(facts.recorded.iter().map(|entry| entry.vectors_block));
        match rows.and_then(|rows| rows.checked_sub(1)) {
            Some(last) if last == block => {}
            // The events of a round's other devices draw nobody, and an older round was replaced.
            Some(last) if last > block => return Ok(Checked::Superseded),
            last => return Err(eyre!("what is published there is older: last={last:?} expected={block}")),
        }
        let me = self.chain.account.address();
        let checked = tokio::task::spawn_blocking(move || check(&published, &facts, me)).await?;
        let proved = match checked {
            Ok(proved) => proved,
            Err(why) => return Ok(Checked::Refused(why.to_string())),
        };
        let statements = proved.iter().map(|proved| self.sign(proved)).collect::<Result<Vec<Attested>>>()?;
        let taken = bring(&self.endpoint, &address, &statements).await?;
        Ok(Checked::Stated(proved, taken))
    }

    fn sign(&self, proved: &Proved) -> Result<Attested> {
        let account = &self.chain.account;
        ensure!(proved.statement().checker == account.address(), "a statement of somebody else");
        let signature = account.sign(proved.statement().signing_hash(account.chain_id())).wrap_err("cannot state")?;
        Ok(Attested::new(proved, FixedBytes::from(signature)))
    }
}

/// What became of a round.
#[derive(Debug)]
enum Checked {
    /// It holds, and the provider took so many statements.
    Stated(Vec<Proved>, u8),
    /// Another event is the one that counts.
    Superseded,
    /// It does not hold.
    Refused(String),
}
