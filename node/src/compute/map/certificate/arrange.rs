//! Which windows a certificate shows, and which it lists empty; pure.
//!
//! # Design
//! A verifier follows each unit from its input: it takes the first step of the file that begins with the state before, and goes on from what that step gave.
//! The order of channels and windows is given. So a step that was done again must not be shown before the one that took its place, unless both gave the
//! same. What a provider that was caught delivered is done again as a whole: nothing of it is shown. What others made of its states may have been thrown
//! away with them: a window of which nothing stands is not shown, nor one that would lead away from the map's states.
//!
//! # Invariants
//! Of all listed steps that begin with a state of the map, the first for each such state gives the map's next state.

use crate::compute::map::{
    state::State,
    window::{Window, WindowEnd},
};
use alloy_primitives::B256;
use keystead_audit::SampleRule;
use keystead_job::{Class, JobSpec, Step};
use keystead_proof::{CustomerStatement, MapChannel, MapStep, MapWindow, OwnCheck, OwnFinding};
use std::collections::{BTreeMap, BTreeSet};

/// The share of a checker program, which looks at every unit.
const PPM: u32 = 1_000_000;

/// A channel as the chain has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) channel: B256,
    /// Its number, from 1.
    pub(super) number: u64,
    /// Windows that it announced.
    pub(super) windows: u64,
}

/// The channels with paid windows, in the order of the file: ascending.
pub(super) fn channels(state: &State) -> BTreeSet<B256> {
    state.windows.values().map(|window| window.channel).collect()
}

/// The channels with all windows that they announced; those that must not be shown, or of which too little is known, are empty. `announced`: in the
/// order of the file.
pub(super) fn arrange(state: &State, inputs: &[B256], announced: &[Announced]) -> Vec<MapChannel> {
    let windows: BTreeMap<(B256, u64), &Window> =
        state.windows.values().map(|window| ((window.channel, window.number), window)).collect();
    let mut followed = BTreeSet::new();
    let mut listed = |channel: B256, number: u64| {
        let window = windows.get(&(channel, number))?;
        list(window, state, inputs, &mut followed)
    };
    let mut channels = Vec::new();
    for Announced { channel, windows, .. } in announced.iter().filter(|announced| announced.windows > 0) {
        let windows = (1..=*windows).map(|number| listed(*channel, number).unwrap_or_default()).collect();
        channels.push(MapChannel { id: *channel, windows });
    }
    channels
}

/// Whether a certificate would show anything.
pub(super) fn is_empty(channels: &[MapChannel]) -> bool {
    channels.iter().flat_map(|channel| &channel.windows).all(|window| window.steps.is_empty())
}

/// A window, unless it leads away; then its steps that lead on are in `followed`.
fn list(window: &Window, state: &State, inputs: &[B256], followed: &mut BTreeSet<(u32, u32)>) -> Option<MapWindow> {
    let is_closed = window.verdict.is_some_and(|verdict| verdict.end == WindowEnd::Closed);
    let stands = window.lost < window.units && !state.is_discarded(window.provider);
    let secret = window.secret.filter(|_| is_closed && stands)?;
    let results = window.results();
    if window.steps.is_empty() || window.steps.len() != results.len() {
        return None;
    }
    let mut leads_on = Vec::new();
    for (step, result) in window.steps.iter().zip(&results) {
        let place = (step.unit, step.segment);
        match way(state, inputs, step, *result) {
            Way::Apart => {}
            Way::On => leads_on.push(place),
            Way::Away if followed.contains(&place) => {}
            Way::Away => return None,
        }
    }
    followed.extend(leads_on);
    let step = |step: &Step| MapStep { unit: step.unit, segment: step.segment, input: step.input };
    Some(MapWindow { steps: window.steps.iter().map(step).collect(), results, secret })
}

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It began with no state that the map has there: who follows the map's states never meets it.
    Apart,
    /// From a state of the map to the next one.
    On,
    /// From a state of the map to another one.
    Away,
}

fn way(state: &State, inputs: &[B256], step: &Step, result: B256) -> Way {
    let named = |done: u32| state.place(step.unit, done).map(|place| place.name);
    let before = if step.segment == 0 { inputs.get(step.unit as usize).copied() } else { named(step.segment) };
    match named(step.segment.saturating_add(1)) {
        _ if before != Some(step.input) => Way::Apart,
        Some(after) if after == result => Way::On,
        _ => Way::Away,
    }
}

/// The names of the unit outputs, in unit order; `None` while one is not there.
pub(super) fn results(state: &State, spec: &JobSpec) -> Option<Vec<B256>> {
    (0..spec.unit_count).map(|unit| state.place(unit, spec.segment_count).map(|place| place.name)).collect()
}

/// Steps of a job.
pub(super) fn steps(spec: &JobSpec) -> u64 {
    u64::from(spec.unit_count).saturating_mul(spec.segment_count.into())
}

/// What the customer says about its own check, of what is kept.
pub(super) fn statement(state: &State, spec: &JobSpec, rule: SampleRule) -> CustomerStatement {
    let standing = state.providers().filter(|(provider, _)| !state.is_discarded(*provider));
    let checked = standing.fold(0_u64, |sum, (_, partner)| {
        sum.saturating_add(partner.checked.saturating_sub(partner.checked_lost).into())
    });
    // Which steps of a window were looked at is not kept: of one that does not stand as a whole, none count.
    let torn = state.windows.values().filter(|window| window.lost > 0 && !state.is_discarded(window.provider));
    let lost = torn.fold(0_u64, |sum, window| sum.saturating_add(window.checked.into()));
    let checked = checked.saturating_sub(lost).min(steps(spec));
    if checked == 0 && state.steps_unchecked == 0 {
        return CustomerStatement::default();
    }
    let checked = u32::try_from(checked).unwrap_or(u32::MAX);
    let (check, rate_ppm) = match spec.class {
        Class::SelfChecking => (OwnCheck::Program, PPM),
        _ => (OwnCheck::Sample, rule.rate_ppm),
    };
    // Whoever was found wrong is not kept.
    let finding = if state.steps_unchecked == 0 { OwnFinding::Right } else { OwnFinding::Unknown };
    CustomerStatement { check, finding, checked, right: checked, rate_ppm }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::map::{
        journal::{Audited, Entry, Place, Settled},
        window::Verdict,
    };
    use alloy_primitives::{Address, Bytes, U256};
    use keystead_job::{
        Limits, Runtime, hash_list,
        spec::{Draft, RecipeName},
    };
    use keystead_lease::{Item, Lease, Out, Provider, Rules};
    use std::time::Duration;

    const RULE: SampleRule = SampleRule { rate_ppm: 30_000, units_min: 10 };
    const INPUTS: [B256; 2] = [name(100), name(101)];

    const fn name(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    pub(in super::super) fn job(unit_count: u32, segment_count: u32) -> JobSpec {
        let zero = B256::ZERO;
        let limits = Limits {
            wall_ms_max: 1_000,
            fuel_max: 1_000_000,
            memory_bytes_max: 1 << 20,
            output_bytes_max: 1 << 10,
            loop_iterations_max: 0,
            workgroups: [0; 3],
        };
        JobSpec::new(Draft {
            recipe: RecipeName::new("test").unwrap(),
            runtime: Runtime::Wasm1,
            class: Class::Exact,
            program_hash: zero,
            common_hash: zero,
            units_hash: hash_list(&INPUTS),
            unit_count,
            segment_count,
            limits,
            checker: None,
            tolerance: None,
        })
        .unwrap()
    }

    /// The state after each of a run of steps of a unit, which begins behind so many segments.
    #[derive(Clone, Copy)]
    struct Part<'a> {
        unit: u32,
        first: u32,
        states: &'a [B256],
    }

    /// A window that is paid, and checked by strangers. Each provider has one channel, of its own number.
    #[derive(Clone, Copy)]
    struct Paid<'a> {
        provider: u8,
        number: u64,
        parts: &'a [Part<'a>],
        secret: Option<B256>,
        checked: u32,
        /// Whether its channel is.
        audited: bool,
    }

    const PAID: Paid<'static> =
        Paid { provider: 0, number: 1, parts: &[], secret: Some(name(50)), checked: 1, audited: true };

    impl Paid<'_> {
        fn happen(&self, state: &mut State) {
            let Paid { provider, number, parts, secret, checked, audited } = *self;
            let id = U256::from(provider).saturating_mul(U256::from(1_000)).saturating_add(U256::from(number)).into();
            let lease = state.partners.iter().fold(1_u64, |sum, partner| sum.saturating_add(partner.windows));
            let (mut inputs, mut places, mut items) = (Vec::new(), Vec::new(), Vec::new());
            for Part { unit, first, states } in parts {
                let mut input = match first {
                    0 => INPUTS.get(*unit as usize).copied().unwrap(),
                    done => state.place(*unit, *done).unwrap().name,
                };
                for (done, name) in (first.saturating_add(1)..).zip(*states) {
                    inputs.push(std::mem::replace(&mut input, *name));
                    places.push(Place { unit: *unit, done, offset: lease, length: 1, name: *name });
                }
                items.push(Item { unit: *unit, first: *first, count: u32::try_from(states.len()).unwrap() });
            }
            let steps = u32::try_from(places.len()).unwrap();
            let channel = name(provider);
            let window = Audited { id, channel, number, since_block: 1, budget_wei: 1, inputs, secret };
            let provider = Provider(provider.into());
            let closed = Verdict { end: WindowEnd::Closed, ..Verdict::UNANNOUNCED };
            for entry in [
                Entry::Leased { lease: Lease { number: lease, provider, items, limit: Duration::ZERO } },
                Entry::Settled(Settled {
                    lease,
                    provider,
                    steps,
                    checked,
                    unchecked: false,
                    states: places,
                    payer: Bytes::new(),
                    window: audited.then_some(window),
                }),
                Entry::WindowOver { id, verdict: closed },
            ] {
                state.apply(&entry, Duration::ZERO);
            }
        }
    }

    /// One step of a unit of one.
    fn one(unit: u32, state: &B256) -> Part<'_> {
        Part { unit, first: 0, states: std::slice::from_ref(state) }
    }

    fn begun(units: u32, segments: u32) -> State {
        let mut state = State::new(units, segments, Rules::new(Duration::from_secs(1)));
        for number in 0..3 {
            let (account, node_id) = (Address::repeat_byte(number), name(number));
            state.apply(&Entry::Joined { account, node_id, price_wei: 1 }, Duration::ZERO);
        }
        state
    }

    fn convict(state: &mut State, provider: u32, why: Out) {
        let entry = Entry::Convicted { provider: Provider(provider), payer: Bytes::new(), why };
        state.apply(&entry, Duration::ZERO);
    }

    /// As the chain has it if all windows are announced.
    fn announced(order: &[(u8, u64)]) -> Vec<Announced> {
        let of = |(channel, windows): &(u8, u64)| Announced { channel: name(*channel), number: 9, windows: *windows };
        order.iter().map(of).collect()
    }

    /// How far a verifier gets with a unit, and to which state: specs/0002-proof-bundle.md §12.
    fn follow(channels: &[MapChannel], unit: u32, segments: u32) -> (u32, B256) {
        let mut now = INPUTS.get(unit as usize).copied().unwrap();
        for segment in 0..segments {
            let steps = channels.iter().flat_map(|it| &it.windows).flat_map(|it| it.steps.iter().zip(&it.results));
            let mut fit = steps.filter(move |(it, _)| (it.unit, it.segment, it.input) == (unit, segment, now));
            match fit.next() {
                Some((_, result)) => now = *result,
                None => return (segment, now),
            }
        }
        (segments, now)
    }

    fn lengths(channels: &[MapChannel]) -> Vec<Vec<usize>> {
        let of = |channel: &MapChannel| channel.windows.iter().map(|window| window.steps.len()).collect();
        channels.iter().map(of).collect()
    }

    #[test]
    fn every_announced_window_is_listed_and_those_of_which_too_little_is_known_are_empty() {
        let mut state = begun(2, 1);
        Paid { parts: &[one(0, &name(1))], ..PAID }.happen(&mut state);
        // As an older program left it.
        Paid { provider: 1, parts: &[one(1, &name(2))], secret: None, ..PAID }.happen(&mut state);
        assert_eq!(channels(&state).into_iter().collect::<Vec<_>>(), [name(0), name(1)]);
        let listed = arrange(&state, &INPUTS, &announced(&[(0, 2), (1, 1)]));
        assert_eq!(lengths(&listed), [vec![1, 0], vec![0]]);
        let first = listed.first().and_then(|channel| channel.windows.first()).unwrap();
        let step = first.steps.first().unwrap();
        assert_eq!((step.unit, step.segment, step.input), (0, 0, name(100)));
        assert_eq!((&first.results, first.secret), (&vec![name(1)], name(50)));
        assert_eq!([0, 1].map(|unit| follow(&listed, unit, 1)), [(1, name(1)), (0, name(101))]);
        assert_eq!(results(&state, &job(2, 1)), Some(vec![name(1), name(2)]));
        // A channel that announced nothing is left out.
        let second = arrange(&state, &INPUTS, &announced(&[(0, 0), (1, 1)]));
        assert_eq!(lengths(&second), [vec![0]]);
        assert!(is_empty(&second) && !is_empty(&listed));
    }

    #[test]
    fn nothing_of_a_provider_that_was_caught_is_shown() {
        for why in [Out::Wrong, Out::Unaudited] {
            let mut state = begun(1, 1);
            Paid { parts: &[one(0, &name(1))], ..PAID }.happen(&mut state);
            convict(&mut state, 0, why);
            assert_eq!(results(&state, &job(1, 1)), None);
            Paid { provider: 1, parts: &[one(0, &name(1))], checked: 0, ..PAID }.happen(&mut state);
            assert_eq!(lengths(&arrange(&state, &INPUTS, &announced(&[(0, 1), (1, 1)]))), [[0], [1]]);
            // Nor does it count what was checked of that.
            assert_eq!(statement(&state, &job(1, 1), RULE), CustomerStatement::default());
        }
    }

    /// The first provider makes the first state of unit 0; another goes on from it, with unit 1 beside it; the first is caught, and what went with it is done
    /// again by a third, whose channel stands before the other's in the file or behind it.
    fn torn(again: &[B256], (other, third): (u8, u8)) -> State {
        let mut state = begun(2, 3);
        let other_unit = Part { unit: 1, first: 0, states: &[name(31), name(32), name(33)] };
        let went_on = Part { unit: 0, first: 1, states: &[name(2), name(3)] };
        Paid { parts: &[Part { unit: 0, first: 0, states: &[name(1)] }], ..PAID }.happen(&mut state);
        Paid { provider: other, parts: &[went_on, other_unit], ..PAID }.happen(&mut state);
        convict(&mut state, 0, Out::Wrong);
        Paid { provider: third, parts: &[Part { unit: 0, first: 0, states: again }], ..PAID }.happen(&mut state);
        state
    }

    const SAME: [B256; 3] = [name(1), name(2), name(3)];
    /// The step that was done again gave another state.
    const ANOTHER: [B256; 3] = [name(1), name(12), name(13)];
    /// Nobody went on from what the caught one gave.
    const ELSEWHERE: [B256; 3] = [name(11), name(2), name(3)];

    #[test]
    fn a_step_that_was_thrown_away_leads_nobody_away_from_what_the_map_used() {
        let all = announced(&[(0, 1), (1, 1), (2, 1)]);
        // Of each case, how many steps are shown of the second and of the third channel, and how far unit 1 is followed.
        let behind = [(SAME, [5, 3], 3), (ANOTHER, [0, 3], 0), (ELSEWHERE, [5, 3], 3)];
        let before = [(SAME, [3, 5], 3), (ANOTHER, [3, 5], 3), (ELSEWHERE, [3, 5], 3)];
        for (providers, cases) in [((1, 2), behind), ((2, 1), before)] {
            for (again, [second, third], far) in cases {
                let state = torn(&again, providers);
                let listed = arrange(&state, &INPUTS, &all);
                assert_eq!(lengths(&listed), [[0], [second], [third]], "{providers:?} {again:?}");
                assert_eq!(follow(&listed, 0, 3), (3, *again.last().unwrap()), "{providers:?} {again:?}");
                assert_eq!(follow(&listed, 1, 3).0, far, "{providers:?} {again:?}");
            }
        }
    }

    #[test]
    fn a_window_of_which_nothing_stands_is_not_shown() {
        let mut state = begun(1, 2);
        Paid { parts: &[Part { unit: 0, first: 0, states: &[name(1)] }], ..PAID }.happen(&mut state);
        Paid { provider: 1, parts: &[Part { unit: 0, first: 1, states: &[name(2)] }], ..PAID }.happen(&mut state);
        convict(&mut state, 0, Out::Wrong);
        let again = Part { unit: 0, first: 0, states: &[name(1), name(2)] };
        Paid { provider: 2, parts: &[again], ..PAID }.happen(&mut state);
        let listed = arrange(&state, &INPUTS, &announced(&[(0, 1), (1, 1), (2, 1)]));
        assert_eq!(lengths(&listed), [[0], [0], [2]]);
    }

    #[test]
    fn the_customer_says_what_it_checked_of_what_stands() {
        // Which steps of the torn window it looked at is not known: the third provider's one counts.
        let right = statement(&torn(&SAME, (1, 2)), &job(2, 3), RULE);
        assert_eq!((right.check, right.finding), (OwnCheck::Sample, OwnFinding::Right));
        assert_eq!((right.checked, right.right, right.rate_ppm), (1, 1, 30_000));
        let mut unsure = torn(&SAME, (1, 2));
        unsure.steps_unchecked = 2;
        assert_eq!(statement(&unsure, &job(2, 3), RULE).finding, OwnFinding::Unknown);
    }

    #[test]
    fn what_was_checked_before_the_map_was_audited_counts_as_far_as_it_stands() {
        let plain = Paid { audited: false, ..PAID };
        let mut state = begun(2, 2);
        let checked = |state: &State| statement(state, &job(2, 2), RULE).checked;
        Paid { parts: &[Part { unit: 0, first: 0, states: &[name(1)] }], ..plain }.happen(&mut state);
        Paid { provider: 1, parts: &[Part { unit: 0, first: 1, states: &[name(2)] }], ..plain }.happen(&mut state);
        let beside = Part { unit: 1, first: 0, states: &[name(3), name(4)] };
        Paid { provider: 1, checked: 2, parts: &[beside], ..plain }.happen(&mut state);
        assert_eq!((state.windows.len(), checked(&state)), (0, 4));
        // With the first state goes what the second provider made of it, and not what it made beside.
        convict(&mut state, 0, Out::Wrong);
        assert_eq!(checked(&state), 2);
        let again = Part { unit: 0, first: 0, states: &[name(1), name(2)] };
        Paid { provider: 2, parts: &[again], ..PAID }.happen(&mut state);
        assert_eq!((state.windows.len(), checked(&state)), (1, 3));
        // Nothing is taken off twice.
        convict(&mut state, 1, Out::Wrong);
        assert_eq!(checked(&state), 1);
    }
}
