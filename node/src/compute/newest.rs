//! The newest event of a kind in a window, however many there are.
//!
//! # Design
//! A node gives at most so many events at once, and a window may have more of them: a provider opens thousands of units, a customer may name its node as
//! often as it likes to pay for. So the newest blocks are read first, and half as many where a node says that there are too many.
//!
//! Spec: specs/0008-audit.md §10.

use super::{
    account::Log,
    windows::{Opened, Windows, event},
};
use crate::client::RpcFailure;
use alloy_primitives::B256;
use alloy_sol_types::SolEvent;
use eyre::{Report, Result, bail};
use keystead_contracts::bindings::referee::Referee;
use serde_json::json;

/// JSON-RPC's code of an answer that would be too long.
const TOO_MANY: i64 = -32_005;
/// Questions to the node for one event: more than the largest window takes.
const READS_MAX: u32 = 512;

/// Whether a node refuses to say so much at once.
pub(super) fn is_too_long(error: &Report) -> bool {
    error.downcast_ref::<RpcFailure>().is_some_and(|failure| failure.code == TOO_MANY)
}

/// Blocks that may hold it, inclusive, and what was not read before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// Where the window begins.
    from: u64,
    first: u64,
    last: u64,
}

impl Part {
    const fn all(from: u64, head: u64) -> Self {
        Self { from, first: from, last: head }
    }

    /// The newer half; `None` if it is one block.
    fn newer(self) -> Option<Self> {
        let half = self.last.checked_sub(self.first).filter(|blocks| *blocks > 0)? / 2;
        Some(Self { first: self.first.saturating_add(half).saturating_add(1), ..self })
    }

    /// What is before it; `None` if that is nothing.
    fn before(self) -> Option<Self> {
        let last = self.first.checked_sub(1).filter(|last| *last >= self.from)?;
        Some(Self { first: self.from, last, ..self })
    }
}

impl Windows {
    /// Where the customer says last, about any unit of a window, that its node is; hostile text. `None` if it said nothing. `from` is a block not after the
    /// window's.
    pub(crate) async fn handed(&self, id: B256, from: u64) -> Result<Option<String>> {
        let handed = self.newest::<Referee::KeyHanded>(id, from, |_| true).await?;
        Ok(handed.and_then(|(event, _)| String::from_utf8(event.key.to_vec()).ok()))
    }

    /// What the provider opened of a unit last; `None` if it did not. `from` is a block not after the window's.
    pub(crate) async fn opened(&self, id: B256, unit: u32, from: u64) -> Result<Option<Opened>> {
        let opened = self.newest::<Referee::UnitOpened>(id, from, move |event| event.unit == unit).await?;
        Ok(opened.map(|(event, log)| Opened {
            before: event.before,
            value: event.value,
            transaction: log.transaction_hash,
        }))
    }

    async fn newest<E: SolEvent>(&self, id: B256, from: u64, is_it: impl Fn(&E) -> bool) -> Result<Option<(E, Log)>> {
        let (head, _) = self.account.head().await?;
        let mut part = Part::all(from, head);
        for _ in 0..READS_MAX {
            match self.logs(part.first, part.last, json!([E::SIGNATURE_HASH, id])).await {
                Ok(logs) => {
                    let mut newest = logs.into_iter().rev().filter_map(|log| Some((event::<E>(&log)?, log)));
                    let found = newest.find(|(event, _)| is_it(event));
                    match part.before() {
                        Some(before) if found.is_none() => part = before,
                        _ => return Ok(found),
                    }
                }
                Err(error) => match part.newer() {
                    Some(newer) if is_too_long(&error) => part = newer,
                    _ => return Err(error),
                },
            }
        }
        bail!("a window has more events than can be read: window={id} reads_max={READS_MAX}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Reads blocks as [`Windows::newest`] does, of a node that gives `max` events at once and has one in each of these blocks.
    fn read(blocks: &[u64], wanted: u64, max: usize) -> (Option<u64>, u32) {
        let mut part = Part::all(1, 100_000);
        for reads in 1..READS_MAX {
            let within: Vec<u64> = blocks.iter().copied().filter(|at| (part.first..=part.last).contains(at)).collect();
            let next = if within.len() > max {
                part.newer()
            } else if within.contains(&wanted) {
                return (Some(wanted), reads);
            } else {
                part.before()
            };
            match next {
                Some(next) => part = next,
                None => return (None, reads),
            }
        }
        (None, READS_MAX)
    }

    #[test]
    fn every_event_is_found_however_many_there_are_and_the_newest_soon() {
        let few = [7, 50, 99_999];
        assert_eq!(read(&few, 7, 10), (Some(7), 1), "nothing is divided that need not be");
        assert_eq!(read(&few, 8, 10), (None, 1));
        let many: Vec<u64> = (1..=100_000).collect();
        let (newest, reads) = read(&many, 100_000, 100);
        assert!(newest == Some(100_000) && reads < 20, "{reads}");
        let (oldest, reads) = read(&many, 1, 10_000);
        assert!(oldest == Some(1) && reads < 100, "{reads}");
    }

    #[test]
    fn parts_end_at_the_windows_begin_and_at_one_block() {
        let one = Part { from: 5, first: 5, last: 5 };
        assert_eq!((one.newer(), one.before()), (None, None));
        let two = Part::all(5, 6);
        assert_eq!(two.newer(), Some(Part { first: 6, ..two }));
        assert_eq!(two.newer().unwrap().before(), Some(Part { last: 5, ..two }));
        assert_eq!(Part::all(0, 0).before(), None);
        // A node that is behind.
        assert_eq!(Part::all(9, 4).newer(), None);
    }
}
