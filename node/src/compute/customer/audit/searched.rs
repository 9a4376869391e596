//! A search in public for the segment that is wrong, when the provider keeps the states between segments to itself: a pure rule, and what must not be forgotten.
//!
//! # Design
//! The customer runs the unit itself and keeps the names of its own states ([`Memo`]). Where its own output differs from the provider's it accuses, and asks for
//! states by halving ([`next`]): before the first segment both agree, at the output they differ, and each answer moves one of the two ends. What is named at last
//! is a segment that begins as the customer's own and ends otherwise. The rule looks at nothing but the chain's answers and the own names, so a step that was
//! lost is simply due again.
//!
//! # Invariants
//! - Nothing is named whose end was not shown to differ: what is delivered may be another output than the one that is committed to, and that is no segment's fault.
//! - At most `ceil(log2(segments)) + 1` questions, which are no more than `ASKS_MAX`: the last one only if no answer showed the output.
//!
//! Spec: specs/0008-audit.md §9.2.

use crate::compute::{files, searches::Asked};
use alloy_primitives::{B256, U256};
use eyre::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the file format.
const VERSION: u32 = 1;

/// What to do about a search that waits for its accuser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute::customer) enum Next {
    /// Ask for the state after this segment.
    Ask(u32),
    /// This is the one that is wrong.
    Name(u32),
    /// What is committed to is right: nothing can be named.
    Nothing,
}

/// The rule. `own`: names of the customer's own states, one a segment, the output last.
pub(in crate::compute::customer) fn next(own: &[B256], asked: &Asked) -> Next {
    let Some(last) = own.len().checked_sub(1).and_then(|last| u32::try_from(last).ok()) else { return Next::Nothing };
    let is_own = |segment: u32, state: &B256| own.get(segment as usize) == Some(state);
    let committed = asked.states.get(&last).copied().or(asked.output);
    if committed.is_some_and(|output| is_own(last, &output)) {
        return Next::Nothing;
    }
    // Up to the segment before it both agree, and at `end` they differ.
    let same = asked.states.iter().filter(|(segment, state)| is_own(**segment, state));
    let begin = same.map(|(segment, _)| segment.saturating_add(1)).max().unwrap_or(0);
    let others = asked.states.iter().filter(|(segment, state)| **segment >= begin && !is_own(**segment, state));
    let end = others.map(|(segment, _)| *segment).min().unwrap_or(last);
    match end.saturating_sub(begin) {
        0 if end == last && committed.is_none() => Next::Ask(last),
        0 => Next::Name(end),
        apart => Next::Ask(begin.saturating_add(apart / 2)),
    }
}

/// A search, as its file holds it: on the disk before the transaction that it is about.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::compute::customer) struct Memo {
    version: u32,
    pub(in crate::compute::customer) order: U256,
    pub(in crate::compute::customer) unit: u32,
    /// Names of this machine's own states so far, one a segment.
    pub(in crate::compute::customer) states: Vec<B256>,
    /// The question that was or will be sent last.
    pub(in crate::compute::customer) asking: Option<u32>,
    /// The segment that was or will be named.
    pub(in crate::compute::customer) naming: Option<u32>,
}

impl Memo {
    pub(in crate::compute::customer) const fn new(order: U256, unit: u32) -> Self {
        Self { version: VERSION, order, unit, states: Vec::new(), asking: None, naming: None }
    }

    /// What an earlier process knew of this unit; none if it was another unit, or nothing.
    pub(in crate::compute::customer) fn load(path: &Path, order: U256, unit: u32) -> Result<Option<Self>> {
        let memo: Option<Self> = files::read_versioned(path, VERSION)?;
        Ok(memo.filter(|memo| (memo.order, memo.unit) == (order, unit)))
    }

    /// On the disk when it returns.
    pub(in crate::compute::customer) fn save(&self, path: &Path) -> Result<()> {
        files::replace(path, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use keystead_contracts::limits::ASKS_MAX;

    fn state(who: u8, segment: u32) -> B256 {
        let mut name = B256::repeat_byte(who);
        name[..4].copy_from_slice(&segment.to_be_bytes());
        name
    }

    fn own(segments: u32) -> Vec<B256> {
        (0..segments).map(|segment| state(1, segment)).collect()
    }

    /// A provider that is wrong from a segment on; what is named, after how many questions.
    fn search(own: &[B256], wrong: u32, shows_output: bool) -> (u32, u32) {
        let theirs = |segment: u32| state(if segment < wrong { 1 } else { 2 }, segment);
        let last = u32::try_from(own.len() - 1).unwrap();
        let mut asked = Asked::default();
        loop {
            match next(own, &asked) {
                Next::Ask(segment) => {
                    assert!(!asked.states.contains_key(&segment), "nothing is asked twice");
                    asked.asks += 1;
                    asked.states.insert(segment, theirs(segment));
                    asked.output = shows_output.then(|| theirs(last));
                }
                Next::Name(segment) => return (segment, asked.asks),
                Next::Nothing => panic!("it is wrong from {wrong} on"),
            }
        }
    }

    #[test]
    fn every_search_ends_at_the_first_wrong_segment_within_the_logarithm() {
        for segments in 2..=1_024_u32 {
            let own = own(segments);
            let most = segments.next_power_of_two().ilog2();
            for wrong in 0..segments {
                let (named, asks) = search(&own, wrong, true);
                assert_eq!(named, wrong, "segments={segments}");
                assert!(asks <= most, "segments={segments} wrong={wrong} asks={asks}");
            }
        }
    }

    #[test]
    fn the_longest_search_fits_also_if_no_answer_shows_the_output() {
        for segments in [2, 3, 1_000, 65_535, 65_536] {
            let own = own(segments);
            for wrong in [0, 1, segments / 2, segments - 2, segments - 1] {
                let (named, asks) = search(&own, wrong, false);
                assert_eq!(named, wrong);
                assert!(asks <= ASKS_MAX, "segments={segments} wrong={wrong} asks={asks}");
            }
        }
    }

    /// Whatever a provider answers: what is named begins as the own trace and ends otherwise, or nothing is named.
    #[test]
    fn what_is_named_of_any_answers_begins_right_and_ends_wrong() {
        let own = own(37);
        for seed in 0..2_000_u32 {
            let theirs = |segment: u32| {
                let same = segment < 36 && (seed.wrapping_mul(2_654_435_761) >> (segment % 27)) & 1 == 1;
                state(if same { 1 } else { 2 }, segment)
            };
            let mut asked = Asked::default();
            let named = loop {
                match next(&own, &asked) {
                    Next::Ask(segment) => {
                        asked.states.insert(segment, theirs(segment));
                        asked.output = Some(theirs(36));
                    }
                    Next::Name(segment) => break segment,
                    Next::Nothing => panic!("the output differs"),
                }
            };
            assert_ne!(theirs(named), own[named as usize]);
            assert!(named == 0 || theirs(named - 1) == own[named as usize - 1], "seed={seed}");
        }
    }

    #[test]
    fn nothing_is_named_where_the_output_that_is_committed_to_is_right() {
        let own = own(8);
        assert_eq!(next(&own, &Asked::default()), Next::Ask(3));
        let shown = Asked { output: Some(own[7]), ..Asked::default() };
        assert_eq!(next(&own, &shown), Next::Nothing);
        let opened = Asked { states: [(7, own[7])].into(), output: Some(state(2, 7)), ..Asked::default() };
        assert_eq!(next(&own, &opened), Next::Nothing);
        assert_eq!(next(&[], &Asked::default()), Next::Nothing);
    }

    #[test]
    fn a_search_is_taken_up_from_its_file_and_only_of_its_own_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search.json");
        assert_eq!(Memo::load(&path, U256::from(1), 3).unwrap(), None);
        let memo = Memo { states: own(3), asking: Some(1), ..Memo::new(U256::from(1), 3) };
        memo.save(&path).unwrap();
        assert_eq!(Memo::load(&path, U256::from(1), 3).unwrap(), Some(memo));
        assert_eq!(Memo::load(&path, U256::from(1), 4).unwrap(), None);
        assert_eq!(Memo::load(&path, U256::from(2), 3).unwrap(), None);
        std::fs::write(&path, "{").unwrap();
        assert!(Memo::load(&path, U256::from(1), 3).is_err());
    }
}
