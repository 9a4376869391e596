//! Brings blocks from the sources into order: many at once while this node is behind, one request that waits once it is not.
//!
//! # Design
//! A range of heights is one task, which goes from source to source until it has all blocks, each answer checked by itself. The
//! ranges are taken in order, so what is ahead waits for what is behind; how much that may be is bounded by the number of tasks.
//! Whatever goes wrong between ranges drops what runs and starts again above the last final block.

use super::source::{Fault, Range, Source, Sources};
use keystead_proof::{Line, LineError, NetworkKey, Proven, Stretch};
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};

/// Ranges that are fetched at once. With the largest blocks each holds some 30 MiB while its answer is read.
const FETCHES_MAX: usize = 4;
/// Blocks in one range: a few tens of milliseconds of execution if they are empty, seconds if they are full.
const RANGE_BLOCKS: u64 = 128;
/// Answers without use after which a range is given back as far as it is.
const TRIES_MAX: usize = 16;
/// How far behind the best source this node must be to fetch many ranges at once.
const BEHIND_BLOCKS: u64 = 32;
/// Blocks to ask for when this node is not behind.
const LIVE_BLOCKS: u64 = 64;
/// How long a source may make us wait for the next block before the next source is asked: an idle network makes one each 0.6 s.
const LIVE_WAIT: Duration = Duration::from_secs(3);

/// What decides whether a block is final.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust {
    pub(crate) chain_id: u64,
    pub(crate) key: NetworkKey,
}

/// Why fetching ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Nobody takes blocks any more.
    #[error("the node stops")]
    Stopped,
    /// The network made two chains final.
    #[error("{0}")]
    Split(String),
}

/// Fetches blocks above a final one.
pub(crate) struct Fetcher {
    sources: Sources,
    trust: Trust,
    line: Line<usize>,
    out: mpsc::Sender<Vec<Proven>>,
}

/// A range under way. It is given up when nobody waits for it any more.
struct Task(JoinHandle<Vec<(Stretch, usize)>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fetcher {
    /// Hands blocks above the one that `line` stands on to `out`, in order.
    pub(crate) const fn new(sources: Sources, trust: Trust, line: Line<usize>, out: mpsc::Sender<Vec<Proven>>) -> Self {
        Self { sources, trust, line, out }
    }

    /// Fetches until nobody takes blocks any more, or the network contradicts itself.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            let behind = self.sources.head().saturating_sub(self.line.number());
            let step = if behind > BEHIND_BLOCKS { self.catch_up().await } else { self.live().await };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Fetches many ranges at once, up to the height that the sources name.
    async fn catch_up(&mut self) -> Result<(), Ended> {
        let (mut next, mut running) = (self.line.next(), VecDeque::new());
        loop {
            let head = self.sources.head();
            while running.len() < FETCHES_MAX && next <= head {
                let count = head.saturating_sub(next).saturating_add(1).min(RANGE_BLOCKS);
                let range = Range { from: next, count };
                let task = tokio::spawn(fetch(self.sources.clone(), self.trust, range));
                running.push_back((range, Task(task)));
                next = next.saturating_add(count);
            }
            let Some((range, mut task)) = running.pop_front() else { return Ok(()) };
            // A task that panicked gave nothing: the range is asked for again.
            let stretches = (&mut task.0).await.unwrap_or_default();
            let mut got = 0_u64;
            for (stretch, source) in stretches {
                got = got.saturating_add(stretch.blocks().len() as u64);
                if !self.take(stretch, source).await? {
                    return Ok(());
                }
            }
            if got < range.count {
                self.abandon();
                return Ok(());
            }
        }
    }

    /// Asks one source for what comes next, and waits for it.
    async fn live(&mut self) -> Result<(), Ended> {
        let (index, source) = match self.sources.choose() {
            Ok(chosen) => chosen,
            Err(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => return Ok(()),
                    () = self.out.closed() => return Err(Ended::Stopped),
                }
            }
        };
        let range = Range { from: self.line.next(), count: LIVE_BLOCKS };
        // Blocks that wait for a certificate are not worth waiting for: nobody knows whether they are true.
        let wait = if self.line.waits() { Duration::ZERO } else { LIVE_WAIT };
        let asked = tokio::select! {
            asked = ask(&source, self.trust, range, wait) => asked,
            () = self.out.closed() => return Err(Ended::Stopped),
        };
        match asked {
            Ok((head, stretch)) => {
                note(&self.sources, index, head, &stretch);
                if stretch.blocks().is_empty() {
                    self.abandon();
                }
                self.take(stretch, index).await.map(|_| ())
            }
            Err(fault) => {
                self.sources.blame(index, &fault);
                Ok(())
            }
        }
    }

    /// Drops blocks that wait for a certificate which nobody gives, so that they hold up nobody.
    fn abandon(&mut self) {
        let (after, next) = (self.line.number(), self.line.next());
        let fault = Fault::Uncertified(format!("after={after} up_to={}", next.saturating_sub(1)));
        self.line.abandon().into_iter().for_each(|source| self.sources.blame(source, &fault));
    }

    /// Adds blocks to the line and hands on what is final; false if blocks were dropped.
    async fn take(&mut self, stretch: Stretch, source: usize) -> Result<bool, Ended> {
        match self.line.push(stretch, &source) {
            Ok(proven) if proven.is_empty() => return Ok(true),
            Ok(proven) => return self.out.send(proven).await.map(|()| true).map_err(|_closed| Ended::Stopped),
            Err(error @ LineError::Split { .. }) => return Err(Ended::Split(error.to_string())),
            Err(LineError::Waiting { from, sources }) => {
                sources.into_iter().for_each(|source| self.sources.blame(source, &Fault::False(from)));
            }
            Err(error @ LineError::Foreign { .. }) => {
                self.sources.blame(source, &Fault::Foreign(error.to_string()));
            }
            Err(LineError::TooLong { after, blocks, bytes, sources }) => {
                let fault = Fault::Uncertified(format!("after={after} blocks={blocks} bytes={bytes}"));
                sources.into_iter().for_each(|source| self.sources.blame(source, &fault));
            }
            Err(error @ (LineError::Gap { .. } | LineError::Unclear { .. })) => {
                tracing::warn!(%error, "blocks of several sources do not fit together: asking again");
            }
        }
        Ok(false)
    }
}

/// Asks one source, and checks what needs the key.
pub(crate) async fn ask(source: &Source, trust: Trust, range: Range, wait: Duration) -> Result<(u64, Stretch), Fault> {
    let answer = source.blocks(range, wait, trust.chain_id).await?;
    let check = move || Stretch::new(answer.blocks, range.from, trust.chain_id, &trust.key);
    let checked = tokio::task::spawn_blocking(check).await.map_err(|error| Fault::Malformed(error.to_string()))?;
    Ok((answer.head, checked?))
}

/// Takes note of an answer. One without any certificate is no reason to think better of its source.
fn note(sources: &Sources, index: usize, head: u64, stretch: &Stretch) {
    if stretch.is_bare() { sources.heard(index, head) } else { sources.praise(index, head) }
}

/// Fetches a range, from one source after the other; less of it if nobody has the rest.
async fn fetch(sources: Sources, trust: Trust, range: Range) -> Vec<(Stretch, usize)> {
    let end = range.from.saturating_add(range.count);
    let (mut out, mut from, mut tries) = (Vec::new(), range.from, 0_usize);
    while from < end && tries < TRIES_MAX {
        let (index, source) = match sources.choose() {
            Ok(chosen) => chosen,
            Err(pause) => {
                tries = tries.saturating_add(1);
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        let rest = Range { from, count: end.saturating_sub(from) };
        match ask(&source, trust, rest, Duration::ZERO).await {
            Ok((head, stretch)) => {
                note(&sources, index, head, &stretch);
                let got = stretch.blocks().len() as u64;
                // Nothing: this source is behind. The next one may have it.
                tries = tries.saturating_add(usize::from(got == 0));
                from = from.saturating_add(got);
                out.push((stretch, index));
            }
            Err(fault) => {
                tries = tries.saturating_add(1);
                sources.blame(index, &fault);
            }
        }
    }
    out
}
