//! Hears which checkers ask for the input of a unit, and says on the chain where it is served.
//!
//! # Design
//! Checkers fetch from the provider first. One that got nothing asks on the chain, and who ordered must name a node that serves it, or the unit
//! is paid unchecked and counts against the customer. One filter hears the questions of many windows: those that were read least far come first.
//! What a customer says without a question, [`super::unasked`] decides.
//!
//! Spec: specs/0008-audit.md §10.

use super::unasked::Unasked;
use crate::compute::windows::{Case, Windows, event};
use alloy_primitives::B256;
use alloy_sol_types::SolEvent as _;
use eyre::{Report, Result};
use futures::future::join_all;
use keystead_contracts::bindings::{audit::Audit, referee::Referee};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks of events asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// Windows in one filter; nodes take 1,000.
const IDS_MAX: usize = 64;
/// Filters of one reading.
const FILTERS_MAX: u32 = 16;
/// Answers that are sent at once.
const SENT_MAX: usize = 16;
/// Reasons that a person reads while somebody waits for an answer.
const REASONS_MAX: usize = 8;

/// What was asked in some windows.
#[derive(Debug)]
pub(crate) struct Questions {
    windows: Windows,
    /// The windows, each with the first block whose events were not read.
    next_block: BTreeMap<B256, u64>,
    /// Units whose input was asked for and that are not answered, each with the slot that asked last; at most as many as the windows have.
    asked: BTreeMap<(B256, u32), u8>,
    unasked: Unasked,
    /// Why there is no answer, as a person read it.
    reasons: BTreeSet<String>,
}

/// One question to the node.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    ids: Vec<B256>,
    first: u64,
    /// Inclusive.
    last: u64,
}

impl Questions {
    /// Of no window yet.
    pub(crate) fn new(windows: Windows) -> Self {
        let (next_block, asked, reasons) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { windows, next_block, asked, unasked: Unasked::default(), reasons }
    }

    /// From now on exactly these windows, each with a block not after its opening.
    pub(crate) fn keep(&mut self, open: &BTreeMap<B256, u64>) {
        self.next_block.retain(|id, _| open.contains_key(id));
        self.asked.retain(|(id, _), _| open.contains_key(id));
        self.unasked.keep(|id| open.contains_key(id));
        for (id, since_block) in open {
            self.next_block.entry(*id).or_insert(*since_block);
        }
    }

    /// Reads what was asked and done since the last time; a bounded part of it, if that was long ago.
    ///
    /// # Errors
    /// The node's: what was read stays, the rest is read the next time.
    pub(crate) async fn read(&mut self) -> Result<()> {
        let Self { windows, next_block, asked, unasked, .. } = self;
        if next_block.is_empty() {
            return Ok(());
        }
        let (head, _) = windows.account.head().await?;
        let kinds = [
            Audit::InputAsked::SIGNATURE_HASH,
            Referee::RoundBegan::SIGNATURE_HASH,
            Referee::UnitOpened::SIGNATURE_HASH,
            Referee::KeyHanded::SIGNATURE_HASH,
        ];
        for _ in 0..FILTERS_MAX {
            let Some(Filter { ids, first, last }) = filter(next_block, head) else { break };
            let logs = windows.logs(first, last, json!([kinds, ids])).await?;
            for log in &logs {
                match event::<Audit::InputAsked>(log) {
                    Some(question) => _ = asked.insert((question.windowId, question.unit), question.slot),
                    None => unasked.hear(log),
                }
            }
            // A node that gives more than it was asked for changes nothing.
            asked.retain(|(id, _), _| next_block.contains_key(id));
            unasked.keep(|id| next_block.contains_key(id));
            for id in &ids {
                if let Some(next) = next_block.get_mut(id) {
                    *next = last.saturating_add(1).max(*next);
                }
            }
        }
        Ok(())
    }

    /// Whether somebody waits for an answer, or may need one without being able to ask.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty() || self.unasked.is_due()
    }

    /// Answers each with this node's address. What does not come into a block is tried again with the next call.
    pub(crate) async fn answer(&mut self, key: &[u8]) {
        let asked: Vec<((B256, u32), u8)> = self.asked.iter().map(|(unit, slot)| (*unit, *slot)).collect();
        for some in asked.chunks(SENT_MAX) {
            let answered = join_all(some.iter().map(|(unit, slot)| answer(&self.windows, *unit, *slot, key))).await;
            for ((question, _), answered) in some.iter().zip(answered) {
                match answered {
                    Ok(()) => _ = self.asked.remove(question),
                    Err(error) if is_news(&mut self.reasons, &error) => {
                        tracing::warn!(
                            "a checker got no input from the provider, and is not told where this node serves it; trying again. What it cannot check is \
                             paid, and counts against you: {error:#}"
                        );
                    }
                    Err(error) => {
                        tracing::debug!(error = format!("{error:#}"), unit = question.1, "answer: trying again");
                    }
                }
            }
        }
        if self.asked.is_empty() {
            self.reasons.clear();
        }
        if let Err(error) = self.unasked.say(&self.windows, key).await {
            tracing::debug!(error = format!("{error:#}"), "later checkers are not told of this node, trying again");
        }
    }
}

/// Whether a person has not read this reason yet. A number in it does not make it another one.
fn is_news(reasons: &mut BTreeSet<String>, error: &Report) -> bool {
    let reason = format!("{error:#}").replace(|letter: char| letter.is_ascii_digit(), "");
    reasons.len() < REASONS_MAX && reasons.insert(reason)
}

/// The next filter: the windows that were read least far, and the blocks after that; `None` if all are read to the head.
fn filter(next_block: &BTreeMap<B256, u64>, head: u64) -> Option<Filter> {
    let behind = next_block.iter().filter(|(_, next)| **next <= head);
    let mut behind: Vec<(u64, B256)> = behind.map(|(id, next)| (*next, *id)).collect();
    behind.sort_unstable();
    behind.truncate(IDS_MAX);
    let (first, _) = *behind.first()?;
    let last = head.min(first.saturating_add(BLOCKS_MAX.saturating_sub(1)));
    Some(Filter { ids: behind.into_iter().map(|(_, id)| id).collect(), first, last })
}

/// Says on the chain where a unit's input is, unless that is said, too late, or not asked any more.
async fn answer(windows: &Windows, (id, unit): (B256, u32), slot: u8, key: &[u8]) -> Result<()> {
    let window = windows.window(id).await?;
    let case = windows.case(id, unit).await?;
    let (_, now) = windows.account.head().await?;
    if window.is_over() || !is_open(&case, slot, window.check_seconds, now) {
        return Ok(());
    }
    windows.hand_key(id, unit, key).await?;
    tracing::info!(unit, "a checker got no input from the provider: this node serves it, which the chain now says");
    Ok(())
}

/// Whether the contract would still take an answer to what this slot asked. A node that has not heard the question yet says nothing about its time;
/// who committed took it back.
const fn is_open(case: &Case, slot: u8, check_seconds: u64, now: u64) -> bool {
    let is_late = case.asked_at != 0 && now > case.asked_at.saturating_add(check_seconds / 2);
    !case.handed && !case.stage.is_final() && !is_late && !case.has_committed(0, slot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::windows::Stage;

    #[test]
    fn the_windows_that_were_read_least_far_share_a_filter() {
        let id = B256::repeat_byte;
        let of = |windows: &[(u8, u64)], head| {
            let next: BTreeMap<B256, u64> = windows.iter().map(|(byte, next)| (id(*byte), *next)).collect();
            filter(&next, head)
        };
        assert_eq!(of(&[], 9), None);
        assert_eq!(of(&[(1, 10)], 9), None);
        assert_eq!(of(&[(1, 9)], 9), Some(Filter { ids: vec![id(1)], first: 9, last: 9 }));
        let two = of(&[(1, 8), (2, 10), (3, 5)], 9);
        assert_eq!(two, Some(Filter { ids: vec![id(3), id(1)], first: 5, last: 9 }));
        let far = of(&[(1, 1), (2, 2_000)], 5_000);
        assert_eq!(far, Some(Filter { ids: vec![id(1), id(2)], first: 1, last: 1_000 }));
        let many: Vec<(u8, u64)> = (0..=255).map(|byte| (byte, 1)).collect();
        assert_eq!(of(&many, 1).unwrap().ids.len(), IDS_MAX);
    }

    #[test]
    fn a_reason_for_no_answer_is_read_once() {
        let mut reasons = BTreeSet::new();
        let mut news = |words: &str| is_news(&mut reasons, &Report::msg(words.to_owned()));
        assert!(news("the account has 12 wei"));
        assert!(!news("the account has 7 wei"));
        assert!(news("the node is away"));
        let many = (0..20_usize).filter(|count| news(&"again ".repeat(*count))).count();
        assert_eq!(many, REASONS_MAX.saturating_sub(2));
    }

    #[test]
    fn an_answer_is_given_once_and_only_in_time() {
        let case = |asked_at, handed, stage| Case { asked_at, handed, ..Case::of(stage, 0) };
        let table = [
            // asked at, handed, stage, now: whether it is open
            (100, false, Stage::Checking, 110, true),
            (100, false, Stage::Checking, 111, false),
            (100, true, Stage::Checking, 101, false),
            (100, false, Stage::Unchecked, 101, false),
            (0, false, Stage::None, 500, true),
        ];
        for (asked_at, handed, stage, now, expected) in table {
            assert_eq!(is_open(&case(asked_at, handed, stage), 3, 20, now), expected, "{asked_at} {handed} {now}");
        }
    }

    #[test]
    fn a_question_that_its_asker_took_back_is_not_answered() {
        let taken_back = Case { extended: true, asked_by: 3, ..Case::of(Stage::Checking, 0) }.with_committed(0, 3);
        assert!(!is_open(&taken_back, 3, 20, 105), "also by a process that begins anew and reads it again");
        // Another slot's, or before a node knows of it, is as any other.
        assert!(is_open(&taken_back, 4, 20, 105));
        assert!(is_open(&Case { asked_at: 104, asked_by: 4, ..taken_back }, 4, 20, 105));
    }
}
