//! The partials of all members for the heights whose values are not on chain yet, and what they combine to. No I/O, no clock.
//!
//! # Invariants
//! - Only heights of the window above the newest value on chain are kept, one partial per height and member.
//! - A value is combined from verified partials alone, and verified itself.
//!
//! Spec: specs/0007-beacon.md §3.

use super::{
    Committee, Signer, Standing,
    signer::{Partial, Statement, point},
    wire::{ENTRIES_MAX, Entry},
};
use commonware_codec::Encode as _;
use commonware_utils::Participant;
use keystead_types::{BeaconValue, SIGNATURE_BYTES};
use rand_core::CryptoRng;
use std::collections::{BTreeMap, BTreeSet};

/// Heights above the newest value on chain for which partials are kept: a minute and a half of heartbeats. Further ones come
/// again when it is their turn. Bounds the memory at 128 members by 10 MB.
pub(crate) const WINDOW: u64 = 256;

/// What one height has so far.
#[derive(Default)]
struct Collected {
    partials: BTreeMap<Participant, Kept>,
    /// Members that are not waited for any more: they sent a wrong partial.
    wrong: BTreeSet<Participant>,
    value: Option<BeaconValue>,
}

struct Kept {
    bytes: [u8; SIGNATURE_BYTES],
    partial: Partial,
    verified: bool,
}

/// What became of a partial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Not needed: outside of the window, known already, or the value is there.
    Ignored,
    /// Kept, to be verified with the others.
    Kept,
    /// It completed the value of its height.
    Combined,
}

/// The members that sent something wrong, and what became of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) taken: Taken,
    pub(crate) guilty: Vec<Participant>,
}

/// What came of a step along the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advance {
    /// This member's new partials, to be sent.
    pub(crate) fresh: Vec<Entry>,
    /// Members whose earlier partials turned out to be wrong.
    pub(crate) guilty: Vec<Participant>,
}

impl From<Taken> for Answer {
    fn from(taken: Taken) -> Self {
        Self { taken, guilty: Vec::new() }
    }
}

/// See the module.
pub(crate) struct State {
    committee: Committee,
    on_chain: u64,
    /// Highest height that this member has signed, or has no need to.
    signed: u64,
    heights: BTreeMap<u64, Collected>,
}

impl State {
    pub(crate) const fn new(committee: Committee, on_chain: u64) -> Self {
        Self { committee, on_chain, signed: on_chain, heights: BTreeMap::new() }
    }

    /// Goes on to where the chain is now and signs what may be signed since, at most one message full.
    pub(crate) fn advance(&mut self, rng: &mut impl CryptoRng, standing: Standing, signer: &Signer) -> Advance {
        if standing.on_chain > self.on_chain {
            self.on_chain = standing.on_chain;
            self.heights = self.heights.split_off(&standing.on_chain.saturating_add(1));
        }
        let mut advance = Advance::default();
        let first = self.signed.max(self.on_chain).saturating_add(1);
        for height in (first..=standing.committed.min(self.window_end())).take(ENTRIES_MAX) {
            let Some(partial) = signer.sign(&Statement::beacon(height)) else { break };
            self.signed = height;
            let Ok(bytes) = partial.value.encode().as_ref().try_into() else { continue };
            advance.fresh.push((height, bytes));
            let answer = self.insert(rng, height, Kept { bytes, partial, verified: true });
            advance.guilty.extend(answer.guilty);
        }
        advance
    }

    /// Takes a partial of a member. Trust: hostile.
    pub(crate) fn take(&mut self, rng: &mut impl CryptoRng, from: Participant, (height, bytes): Entry) -> Answer {
        if height <= self.on_chain || height > self.window_end() {
            return Taken::Ignored.into();
        }
        let guilty = || Answer { taken: Taken::Ignored, guilty: vec![from] };
        if let Some(collected) = self.heights.get(&height) {
            if let Some(kept) = collected.partials.get(&from) {
                // A member has one signature over a height: of two different ones, at least one is wrong.
                return if kept.bytes == bytes { Taken::Ignored.into() } else { guilty() };
            }
            if collected.value.is_some() || collected.wrong.contains(&from) {
                return Taken::Ignored.into();
            }
        }
        let Some(value) = point(&bytes) else { return guilty() };
        let partial = Partial { index: from, value };
        self.insert(rng, height, Kept { bytes, partial, verified: false })
    }

    /// This member's partials that are still needed up to a height, lowest first, at most one message full.
    pub(crate) fn again(&self, me: Participant, up_to: u64) -> Vec<Entry> {
        let own = self.heights.range(..=up_to).filter_map(|(height, collected)| {
            let kept = collected.partials.get(&me)?;
            Some((*height, kept.bytes))
        });
        own.take(ENTRIES_MAX).collect()
    }

    /// Highest height that this member has signed.
    pub(crate) const fn signed(&self) -> u64 {
        self.signed
    }

    /// The values that are there and not on chain yet, in the order of their heights.
    pub(crate) fn values(&self) -> Vec<(u64, BeaconValue)> {
        self.heights.iter().filter_map(|(height, collected)| Some((*height, collected.value?))).collect()
    }

    /// The value of a height that was combined here.
    pub(crate) fn value(&self, height: u64) -> Option<BeaconValue> {
        self.heights.get(&height)?.value
    }

    const fn window_end(&self) -> u64 {
        self.on_chain.saturating_add(WINDOW)
    }

    fn insert(&mut self, rng: &mut impl CryptoRng, height: u64, kept: Kept) -> Answer {
        let required = self.committee.required();
        let collected = self.heights.entry(height).or_default();
        collected.partials.insert(kept.partial.index, kept);
        if collected.value.is_some() || collected.partials.len() < required {
            return Taken::Kept.into();
        }
        let statement = Statement::beacon(height);
        let unverified: Vec<&Partial> =
            collected.partials.values().filter(|kept| !kept.verified).map(|kept| &kept.partial).collect();
        let guilty: Vec<Participant> =
            self.committee.wrong(rng, &statement, &unverified).into_iter().map(|partial| partial.index).collect();
        for member in &guilty {
            collected.partials.remove(member);
            collected.wrong.insert(*member);
        }
        collected.partials.values_mut().for_each(|kept| kept.verified = true);
        let partials = collected.partials.values().map(|kept| &kept.partial);
        collected.value = self.committee.combine(&statement, partials).map(BeaconValue);
        let taken = if collected.value.is_some() { Taken::Combined } else { Taken::Kept };
        Answer { taken, guilty }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::{
        super::signer::tests::{committee, keys, signer},
        *,
    };
    use crate::ValidatorKeys;
    use commonware_utils::rng::sys_rng;

    fn partial(keys: &ValidatorKeys, height: u64) -> Entry {
        let partial = signer(keys, height).sign(&Statement::beacon(height)).unwrap();
        (height, partial.value.encode().as_ref().try_into().unwrap())
    }

    fn index(keys: &ValidatorKeys) -> Participant {
        keys.share.index
    }

    /// The state of member 0 after it has committed some heights.
    fn state(keys: &[ValidatorKeys], standing: Standing) -> State {
        let mut state = State::new(committee(&keys[0]), standing.on_chain);
        state.advance(&mut sys_rng(), standing, &signer(&keys[0], standing.committed));
        state
    }

    fn take(state: &mut State, from: &ValidatorKeys, entry: Entry) -> Answer {
        state.take(&mut sys_rng(), index(from), entry)
    }

    #[test]
    fn three_of_four_make_a_value_and_one_that_withholds_does_not_matter() {
        let keys = keys(4);
        let mut state = state(&keys, Standing { committed: 3, on_chain: 1 });
        assert_eq!(take(&mut state, &keys[1], partial(&keys[1], 2)), Taken::Kept.into());
        assert_eq!(state.values(), []);
        assert_eq!(take(&mut state, &keys[3], partial(&keys[3], 2)), Taken::Combined.into());
        let [(2, value)] = state.values()[..] else { panic!() };
        assert!(committee(&keys[0]).holds(&Statement::beacon(2), &value.0));
        assert_eq!(take(&mut state, &keys[2], partial(&keys[2], 2)), Taken::Ignored.into(), "it comes too late");
        assert_eq!((state.value(2), state.value(3)), (Some(value), None));
    }

    #[test]
    fn partials_that_arrive_before_their_block_is_final_here_wait_for_it() {
        let keys = keys(4);
        let mut state = state(&keys, Standing { committed: 3, on_chain: 3 });
        for other in &keys[1..3] {
            assert_eq!(take(&mut state, other, partial(other, 4)), Taken::Kept.into());
        }
        assert_eq!(state.values(), [], "two of four are too few, and this member has not signed");
        let standing = Standing { committed: 4, on_chain: 3 };
        let fresh = state.advance(&mut sys_rng(), standing, &signer(&keys[0], 4)).fresh;
        assert_eq!(fresh, [partial(&keys[0], 4)]);
        assert_eq!(state.values().len(), 1);
    }

    #[test]
    fn garbage_that_waited_for_this_members_own_partial_names_its_sender() {
        let keys = keys(4);
        let mut state = state(&keys, Standing { committed: 4, on_chain: 0 });
        take(&mut state, &keys[1], (5, partial(&keys[1], 4).1));
        take(&mut state, &keys[2], partial(&keys[2], 5));
        let standing = Standing { committed: 5, on_chain: 0 };
        let advance = state.advance(&mut sys_rng(), standing, &signer(&keys[0], 5));
        assert_eq!((advance.fresh.len(), advance.guilty), (1, vec![index(&keys[1])]));
        assert_eq!(take(&mut state, &keys[3], partial(&keys[3], 5)), Taken::Combined.into());
    }

    #[test]
    fn garbage_names_its_sender_and_the_honest_still_make_the_value() {
        let keys = keys(4);
        let mut state = state(&keys, Standing { committed: 9, on_chain: 0 });
        // A partial over another height, a replay.
        let replayed = (5, partial(&keys[1], 4).1);
        assert_eq!(take(&mut state, &keys[1], replayed), Taken::Kept.into());
        let answer = take(&mut state, &keys[2], partial(&keys[2], 5));
        assert_eq!(answer, Answer { taken: Taken::Kept, guilty: vec![index(&keys[1])] });
        assert_eq!(take(&mut state, &keys[1], partial(&keys[1], 5)), Taken::Ignored.into(), "it had its turn");
        assert_eq!(take(&mut state, &keys[3], partial(&keys[3], 5)), Taken::Combined.into());
        // Bytes that are no point.
        let answer = take(&mut state, &keys[1], (6, [0xff; 48]));
        assert_eq!(answer.guilty, [index(&keys[1])]);
        // Another member's partial under one's own name.
        take(&mut state, &keys[1], (7, partial(&keys[3], 7).1));
        assert_eq!(take(&mut state, &keys[3], partial(&keys[3], 7)).guilty, [index(&keys[1])]);
    }

    #[test]
    fn two_different_partials_of_one_member_are_a_proof_against_it() {
        let keys = keys(4);
        let mut state = state(&keys, Standing { committed: 9, on_chain: 0 });
        take(&mut state, &keys[1], partial(&keys[1], 5));
        assert_eq!(take(&mut state, &keys[1], partial(&keys[1], 5)), Taken::Ignored.into(), "the same again is fine");
        assert_eq!(take(&mut state, &keys[1], (5, partial(&keys[1], 4).1)).guilty, [index(&keys[1])]);
    }

    #[test]
    fn only_heights_of_the_window_are_kept() {
        let keys = keys(4);
        let mut state = state(&keys, Standing { committed: 10, on_chain: 10 });
        for (height, kept) in [(10, false), (11, true), (10 + WINDOW, true), (11 + WINDOW, false), (u64::MAX, false)] {
            let answer = take(&mut state, &keys[1], (height, partial(&keys[1], 11).1));
            assert_eq!(answer.taken == Taken::Kept, kept, "{height}");
        }
        assert_eq!(state.heights.len(), 2);
        state.advance(&mut sys_rng(), Standing { committed: 11, on_chain: 11 }, &signer(&keys[0], 11));
        assert_eq!(state.heights.len(), 1, "what is on chain is forgotten");
    }

    #[test]
    fn a_member_that_is_far_ahead_of_the_chain_signs_the_window_and_sends_it_again() {
        let keys = keys(4);
        let standing = Standing { committed: 10_000, on_chain: 100 };
        let mut state = State::new(committee(&keys[0]), 100);
        let fresh: Vec<Entry> =
            (0..4).flat_map(|_| state.advance(&mut sys_rng(), standing, &signer(&keys[0], 10_000)).fresh).collect();
        assert_eq!((fresh.len() as u64, state.signed()), (WINDOW, 100 + WINDOW));
        let again = state.again(index(&keys[0]), state.signed());
        assert_eq!(again, fresh[..ENTRIES_MAX]);
        assert_eq!(state.again(index(&keys[0]), 103), fresh[..3]);
        assert_eq!(
            state.advance(&mut sys_rng(), standing, &signer(&keys[0], 10_000)),
            Advance::default(),
            "nothing new"
        );
        let standing = Standing { committed: 10_000, on_chain: 116 };
        let fresh = state.advance(&mut sys_rng(), standing, &signer(&keys[0], 10_000)).fresh;
        assert_eq!(fresh.iter().map(|it| it.0).collect::<Vec<_>>(), (101 + WINDOW..=116 + WINDOW).collect::<Vec<_>>());
    }

    #[test]
    fn a_restarted_member_gets_what_it_lacks_from_what_is_sent_again() {
        let keys = keys(4);
        let standing = Standing { committed: 5, on_chain: 3 };
        let others: Vec<State> = keys[1..3]
            .iter()
            .map(|it| {
                let mut state = State::new(committee(it), 3);
                state.advance(&mut sys_rng(), standing, &signer(it, 5));
                state
            })
            .collect();
        let mut restarted = state(&keys, standing);
        for (other, keys) in others.iter().zip(&keys[1..3]) {
            for entry in other.again(index(keys), other.signed()) {
                take(&mut restarted, keys, entry);
            }
        }
        assert_eq!(restarted.values().iter().map(|it| it.0).collect::<Vec<_>>(), [4, 5]);
    }
}
