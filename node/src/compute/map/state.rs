//! Everything that a map knows, as its journal tells it.
//!
//! # Design
//! [`State::apply`] is the only thing that changes it, while the process works and when one that starts again reads the journal.

use super::{
    journal::{Entry, Place, Settled},
    promise::Promise,
    window::{Verdict, Window},
};
use alloy_primitives::{Address, B256, Bytes};
use keystead_lease::{Convicted, Failing, Lease, Out, Provider, Rules, STEPS_MAX, Table};
use keystead_payment::Price;
use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU128},
    time::Duration,
};

/// Leases of one process: above 2^32 times the number of processes.
const LEASES_PER_PROCESS: u64 = 1 << 32;

/// A provider that takes part.
#[derive(Clone, Debug)]
pub(super) struct Partner {
    pub(super) account: Address,
    pub(super) node_id: B256,
    /// Price of a step.
    pub(super) price_wei: u128,
    /// A transaction that may open its channel.
    pub(super) opening: Option<Opening>,
    pub(super) channel: Option<B256>,
    /// The payer's newest record.
    pub(super) payer: Option<Bytes>,
    pub(super) steps: u64,
    pub(super) windows: u64,
    /// Steps that were checked.
    pub(super) checked: u32,
    /// Of these, the ones in windows without an audit of which something was thrown away with the state that it went on from.
    pub(super) checked_lost: u32,
    /// What was promised in channels that are final.
    pub(super) claimed_wei: u128,
    /// What was promised for results that were thrown away.
    pub(super) lost_wei: u128,
}

impl Partner {
    /// The price of steps as a payer counts it; none if it asks nothing.
    pub(super) fn price(&self) -> Option<Price> {
        Some(Price { per_unit: NonZeroU128::new(self.price_wei)?, units_max: NonZeroU32::new(STEPS_MAX)? })
    }
}

/// A signed transaction that opens a channel.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) raw: Bytes,
    pub(super) hash: B256,
    pub(super) nonce: u64,
}

/// What an entry led to, for the one who made it.
#[derive(Debug)]
pub(super) enum Effect {
    None,
    Ended(Lease),
    Failing(Failing),
    Convicted(Convicted),
}

/// A paid window that no audit knows.
#[derive(Clone, Debug)]
struct Unaudited {
    provider: Provider,
    checked: u32,
    /// The states with which it ended: unit, segments that lead there, and where it lies.
    ends: Vec<(u32, u32, u64)>,
}

/// The state of a job.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) table: Table,
    pub(super) partners: Vec<Partner>,
    /// States in the outputs by unit, in the order of their segments.
    places: Vec<BTreeMap<u32, Place>>,
    /// Root and seed of the check of a lease that was reported.
    pub(super) drawn: BTreeMap<u64, (B256, B256)>,
    /// The last settled lease of each provider: its report may come again.
    pub(super) settled: BTreeMap<Provider, u64>,
    /// Why units failed.
    pub(super) failures: BTreeMap<u32, Vec<String>>,
    /// Paid windows of audited channels, by the audit's id.
    pub(super) windows: BTreeMap<B256, Window>,
    /// Windows of other channels, as far as their checks count and what they hold may be thrown away: of units of several segments.
    unaudited: Vec<Unaudited>,
    pub(super) outputs_end: u64,
    pub(super) steps_unchecked: u64,
    /// What it may cost at most, once that was said. Older programs said nothing.
    pub(super) promise: Option<Promise>,
    pub(super) done: bool,
    processes: u64,
    segment_count: u32,
}

impl State {
    pub(super) fn new(unit_count: u32, segment_count: u32, rules: Rules) -> Self {
        Self {
            table: Table::new(unit_count, segment_count, rules, 1),
            partners: Vec::new(),
            places: (0..unit_count).map(|_| BTreeMap::new()).collect(),
            drawn: BTreeMap::new(),
            settled: BTreeMap::new(),
            failures: BTreeMap::new(),
            windows: BTreeMap::new(),
            unaudited: Vec::new(),
            outputs_end: 0,
            steps_unchecked: 0,
            promise: None,
            done: false,
            processes: 0,
            segment_count,
        }
    }

    /// Where the leases of the next process begin.
    pub(super) const fn next_process(&self) -> u64 {
        self.processes.saturating_add(1).saturating_mul(LEASES_PER_PROCESS)
    }

    /// The number of the process that works, from 1; 0 before the first one has begun.
    pub(super) const fn process(&self) -> u64 {
        self.processes
    }

    pub(super) fn partner(&self, provider: Provider) -> Option<&Partner> {
        self.partners.get(provider.0 as usize)
    }

    /// The providers, in order.
    pub(super) fn providers(&self) -> impl Iterator<Item = (Provider, &Partner)> {
        (0..).map(Provider).zip(&self.partners)
    }

    /// The newest state of a unit, if it has one.
    pub(super) fn newest(&self, unit: u32) -> Option<&Place> {
        self.place(unit, self.table.done(unit))
    }

    /// The state of a unit that so many segments led to, if it was paid for.
    pub(super) fn place(&self, unit: u32, done: u32) -> Option<&Place> {
        self.places.get(unit as usize)?.get(&done)
    }

    /// The windows of a provider.
    pub(super) fn windows_of(&self, provider: Provider) -> impl Iterator<Item = &Window> {
        self.windows.values().filter(move |window| window.provider == provider)
    }

    /// Windows whose audit is not over and may still take something back: all but those of providers that were caught already.
    pub(super) fn windows_awaited(&self) -> impl Iterator<Item = (&B256, &Window)> {
        let awaited =
            move |(_, window): &(&B256, &Window)| window.verdict.is_none() && !self.is_discarded(window.provider);
        self.windows.iter().filter(awaited)
    }

    /// Whether what a provider delivered counts for nothing.
    pub(super) fn is_discarded(&self, provider: Provider) -> bool {
        self.table.out(provider).is_some_and(Out::discards)
    }

    /// Steps that are done and stand, whoever made them.
    pub(super) fn steps_done(&self) -> u64 {
        (0..).take(self.places.len()).fold(0_u64, |sum, unit| sum.saturating_add(self.table.done(unit).into()))
    }

    /// Units that are done, and all.
    pub(super) fn units(&self) -> (u64, u64) {
        let all = u64::try_from(self.places.len()).unwrap_or(u64::MAX);
        (all.saturating_sub(self.table.units_left().into()), all)
    }

    /// Whether every unit is done and nothing can be taken back any more.
    pub(super) fn is_whole(&self) -> bool {
        self.table.units_left() == 0 && self.windows_awaited().next().is_none()
    }

    /// What checks cost, or may take from channels for what is paid and not over, in wei.
    pub(super) fn checks_wei(&self) -> u128 {
        self.windows.values().fold(0, |sum, window| sum.saturating_add(window.checks_wei()))
    }

    /// What will be taken from a channel for windows that are paid and were not announced yet, in wei.
    pub(super) fn unannounced_wei(&self, channel: B256, announced: u64) -> u128 {
        let waits = |window: &&Window| window.channel == channel && window.number > announced;
        self.windows.values().filter(waits).fold(0, |sum, window| sum.saturating_add(window.budget_wei))
    }

    /// All that was promised, in wei, for what was not thrown away and for what was.
    pub(super) fn promised_wei(&self) -> u128 {
        self.partners
            .iter()
            .fold(0, |sum, partner| sum.saturating_add(partner.price_wei.saturating_mul(u128::from(partner.steps))))
    }

    pub(super) fn lost_wei(&self) -> u128 {
        self.partners.iter().fold(0, |sum, partner| sum.saturating_add(partner.lost_wei))
    }

    /// Lets an event happen. One that cannot, because of what happened before, changes nothing.
    pub(super) fn apply(&mut self, entry: &Entry, now: Duration) -> Effect {
        match entry {
            Entry::Began { first_lease } => {
                self.processes = self.processes.saturating_add(1);
                self.table.number_from(*first_lease);
                self.table.forgive();
            }
            Entry::Joined { account, node_id, price_wei } => self.join(*account, *node_id, *price_wei),
            Entry::Promised(promise) => self.promise = Some(*promise),
            Entry::Opening { provider, raw, hash, nonce } => {
                let opening = Opening { raw: raw.clone(), hash: *hash, nonce: *nonce };
                self.with(*provider, |partner| partner.opening = Some(opening));
            }
            Entry::Opened { provider, channel } => self.with(*provider, |partner| {
                partner.opening = None;
                partner.channel = Some(*channel);
                partner.payer = None;
            }),
            Entry::NotOpened { provider } => self.with(*provider, |partner| partner.opening = None),
            Entry::Leased { lease } => self.table.adopt(lease.clone(), now),
            Entry::Drawn { lease, root, seed } => {
                self.drawn.insert(*lease, (*root, *seed));
            }
            Entry::Settled(settled) => self.settle(settled, now),
            Entry::Ended { lease, why } => {
                self.drawn.remove(lease);
                return self.table.end(*lease, *why, now).map_or(Effect::None, Effect::Ended);
            }
            Entry::Failed { provider, unit, reason } => {
                self.failures.entry(*unit).or_default().push(reason.clone());
                return Effect::Failing(self.table.failed(*unit, *provider));
            }
            Entry::LeftOut { provider, why } => self.table.leave_out(*provider, *why),
            Entry::Convicted { provider, payer, why } => return self.convict(*provider, payer, *why),
            Entry::WindowOver { id, verdict } => self.end_window(id, *verdict),
            Entry::Closed { provider, claimed_wei } => self.with(*provider, |partner| {
                partner.channel = None;
                partner.payer = None;
                partner.claimed_wei = partner.claimed_wei.saturating_add(*claimed_wei);
            }),
            Entry::Done => self.done = true,
        }
        Effect::None
    }

    fn join(&mut self, account: Address, node_id: B256, price_wei: u128) {
        let provider = Provider(u32::try_from(self.partners.len()).unwrap_or(u32::MAX));
        self.partners.push(Partner {
            account,
            node_id,
            price_wei,
            opening: None,
            channel: None,
            payer: None,
            steps: 0,
            windows: 0,
            checked: 0,
            checked_lost: 0,
            claimed_wei: 0,
            lost_wei: 0,
        });
        self.table.join(provider);
    }

    fn settle(&mut self, settled: &Settled, now: Duration) {
        let Settled { lease, provider, steps, checked, unchecked, states, payer, window } = settled;
        self.drawn.remove(lease);
        for place in states {
            self.outputs_end = self.outputs_end.max(place.offset.saturating_add(place.length));
        }
        if let Err(error) = self.table.settle(*lease, *provider, *steps, now) {
            tracing::error!(%error, "a settlement does not fit");
            return;
        }
        for place in states {
            if let Some(places) = self.places.get_mut(place.unit as usize) {
                places.insert(place.done, *place);
            }
        }
        self.settled.insert(*provider, *lease);
        if let Some(audited) = window {
            let window = Window { checked: *checked, ..Window::of(*provider, audited, states) };
            self.windows.insert(audited.id, window);
        } else if *checked > 0 && self.segment_count > 1 {
            let ends = states.iter().map(|place| (place.unit, place.done, place.offset)).collect();
            self.unaudited.push(Unaudited { provider: *provider, checked: *checked, ends });
        }
        if *unchecked {
            self.steps_unchecked = self.steps_unchecked.saturating_add(u64::from(*steps));
        }
        self.with(*provider, |partner| {
            partner.payer = Some(payer.clone());
            partner.steps = partner.steps.saturating_add(u64::from(*steps));
            partner.windows = partner.windows.saturating_add(1);
            partner.checked = partner.checked.saturating_add(*checked);
        });
    }

    fn end_window(&mut self, id: &B256, verdict: Verdict) {
        let Some(window) = self.windows.get_mut(id) else { return };
        window.verdict = Some(verdict);
        if self.segment_count <= 1 && window.is_over() {
            // A unit is then in one list at most: nothing of who was caught stays listed.
            window.forget();
            if self.table.out(window.provider).is_some_and(Out::discards) {
                window.unlist();
            }
        }
    }

    fn convict(&mut self, provider: Provider, payer: &Bytes, why: Out) -> Effect {
        let convicted = self.table.take_back(provider, why);
        for (unit, kept) in &convicted.units {
            if let Some(places) = self.places.get_mut(*unit as usize) {
                places.split_off(&kept.saturating_add(1));
            }
        }
        let stands =
            |place: &Place| self.places.get(place.unit as usize).is_some_and(|all| all.get(&place.done) == Some(place));
        for window in self.windows.values_mut() {
            if window.provider == provider {
                window.unlist();
            } else {
                window.lose(stands);
            }
        }
        self.lose_unaudited(provider);
        self.with(provider, |partner| {
            // It is empty if the channel was not looked at yet, or is over: then the record before it stays.
            if !payer.is_empty() {
                partner.payer = Some(payer.clone());
            }
            partner.lost_wei = partner.price_wei.saturating_mul(u128::from(partner.steps));
        });
        for lease in &convicted.ended {
            self.drawn.remove(&lease.number);
        }
        Effect::Convicted(convicted)
    }

    /// After a conviction: nothing of the convicted one counts, and no check of a window that went on from what it made.
    fn lose_unaudited(&mut self, convicted: Provider) {
        let others = std::mem::take(&mut self.unaudited).into_iter().filter(|window| window.provider != convicted);
        let stands = |(unit, done, offset): &(u32, u32, u64)| {
            self.place(*unit, *done).is_some_and(|place| place.offset == *offset)
        };
        let (whole, torn): (Vec<_>, Vec<_>) = others.partition(|window| window.ends.iter().all(stands));
        self.unaudited = whole;
        for Unaudited { provider, checked, .. } in torn {
            self.with(provider, |partner| partner.checked_lost = partner.checked_lost.saturating_add(checked));
        }
    }

    fn with(&mut self, provider: Provider, change: impl FnOnce(&mut Partner)) {
        if let Some(partner) = self.partners.get_mut(provider.0 as usize) {
            change(partner);
        }
    }
}

/// Why a provider was left out, in words.
pub(super) const fn words(why: Out) -> &'static str {
    match why {
        Out::Wrong => "delivered a wrong result",
        Out::Unreliable => "its leases came to nothing too often",
        Out::Unwilling => "takes no more work of this job",
        Out::Unaudited => "did not have its work audited",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::map::{
        journal::Audited,
        window::{WindowEnd, kept},
    };
    use keystead_lease::Item;

    const CHANNEL: B256 = B256::repeat_byte(7);

    const fn id(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    const fn verdict(end: WindowEnd) -> Verdict {
        Verdict {
            end,
            drawn: 1,
            verified: 1,
            rate_ppm: 30_000,
            checkers: 1,
            taken_wei: 8,
            cost_wei: 4,
            ..Verdict::UNANNOUNCED
        }
    }

    /// Two units, each in a window of its own, by two providers.
    fn entries() -> Vec<Entry> {
        let mut entries = vec![Entry::Began { first_lease: 1 }];
        for number in [0_u8, 1] {
            let provider = Provider(number.into());
            let (account, node_id) = (Address::repeat_byte(number), id(number));
            let items = vec![Item { unit: number.into(), first: 0, count: 2 }];
            let place = |done: u32| Place { unit: number.into(), done, offset: 0, length: 1, name: id(9) };
            let audited = Audited {
                id: id(number),
                channel: CHANNEL,
                number: u64::from(number).saturating_add(1),
                since_block: 3,
                budget_wei: 10,
                inputs: vec![id(8), id(9)],
                secret: Some(id(6)),
            };
            let lease = Lease { number: u64::from(number).saturating_add(1), provider, items, limit: Duration::ZERO };
            entries.push(Entry::Joined { account, node_id, price_wei: 1 });
            entries.push(Entry::Settled(Settled {
                lease: lease.number,
                provider,
                steps: 2,
                checked: 0,
                unchecked: false,
                states: vec![place(1), place(2)],
                payer: Bytes::from_static(b"record"),
                window: Some(audited),
            }));
            entries.insert(entries.len().saturating_sub(1), Entry::Leased { lease });
        }
        entries
    }

    /// As a process finds it that reads the journal again.
    fn replayed(more: &[Entry]) -> State {
        let mut state = State::new(2, 2, Rules::new(Duration::from_secs(1)));
        for entry in entries().iter().chain(more) {
            let line = serde_json::to_string(entry).unwrap();
            state.apply(&serde_json::from_str(&line).unwrap(), Duration::ZERO);
        }
        state
    }

    #[test]
    fn what_was_said_of_the_price_is_known_to_whoever_reads_the_journal_again() {
        let (said, asked) = (Promise { step_wei: 5, work_wei: 20, most_wei: 40, asked_wei: None }, Promise::asked(9));
        assert_eq!(replayed(&[]).promise, None, "of an older program");
        assert_eq!(replayed(&[Entry::Promised(said)]).promise, Some(said));
        assert_eq!(replayed(&[Entry::Promised(said), Entry::Promised(asked)]).promise, Some(asked));
    }

    #[test]
    fn a_map_is_whole_only_when_its_units_are_done_and_no_window_can_take_them_back() {
        let state = replayed(&[]);
        assert_eq!((state.table.units_left(), state.windows_awaited().count()), (0, 2));
        assert!(!state.is_whole());
        let window = state.windows.get(&id(1)).unwrap();
        assert_eq!((window.steps.len(), window.outputs.len(), window.number), (2, 2, 2));
        assert_eq!((window.steps[1].segment, window.steps[1].input), (1, id(9)));
        let over = |number, end| Entry::WindowOver { id: id(number), verdict: verdict(end) };
        assert!(!replayed(&[over(0, WindowEnd::Closed)]).is_whole());
        let state = replayed(&[over(0, WindowEnd::Closed), over(1, WindowEnd::Unannounced)]);
        assert!(state.is_whole());
        // Its states may be inputs of other windows' steps: their checkers ask for them.
        assert_eq!(state.windows.get(&id(0)).unwrap().outputs.len(), 2);
        // A conviction takes units back; other windows of who was caught are not waited for.
        let convicted = Entry::Convicted { provider: Provider(1), payer: Bytes::new(), why: Out::Wrong };
        let state = replayed(&[over(0, WindowEnd::Closed), convicted]);
        assert_eq!((state.table.units_left(), state.windows_awaited().count()), (1, 0));
        assert!(!state.is_whole());
        let record = state.partner(Provider(1)).and_then(|partner| partner.payer.clone());
        assert_eq!(record, Some(Bytes::from_static(b"record")));
    }

    #[test]
    fn what_is_not_announced_takes_everything_back_and_its_checkers_are_served_all_the_same() {
        let over = |number, end| Entry::WindowOver { id: id(number), verdict: verdict(end) };
        // What was not audited counts for nothing, and is not waited for.
        let given_up = [over(0, WindowEnd::Closed), over(1, WindowEnd::Unannounced)];
        assert!(replayed(&given_up).is_whole());
        let taken_back = Entry::Convicted { provider: Provider(1), payer: Bytes::new(), why: Out::Unaudited };
        let state = replayed(&[&given_up[..1], &[taken_back]].concat());
        assert!(!state.is_whole() && state.windows_awaited().next().is_none() && state.is_discarded(Provider(1)));
        // Of units of one segment states are forgotten, but not while somebody may ask for them.
        let mut short = State::new(2, 1, Rules::new(Duration::from_secs(1)));
        for number in [0, 1] {
            let place = Place { unit: 0, done: 1, offset: 0, length: 1, name: id(9) };
            let audited = Audited {
                id: id(number),
                channel: CHANNEL,
                number: 1,
                since_block: 3,
                budget_wei: 10,
                inputs: vec![id(8)],
                secret: None,
            };
            short.windows.insert(id(number), Window::of(Provider(0), &audited, &[place]));
        }
        for entry in &given_up {
            short.apply(entry, Duration::ZERO);
        }
        assert_eq!([0, 1].map(|number| short.windows.get(&id(number)).unwrap().steps.len()), [0, 1]);
    }

    #[test]
    fn steps_that_went_on_from_what_was_thrown_away_do_not_count_as_kept() {
        let mut state = State::new(1, 3, Rules::new(Duration::from_secs(1)));
        let place = |done: u32| Place { unit: 0, done, offset: done.into(), length: 1, name: id(9) };
        // The first segment by the first provider, the others in one window by the second.
        for (number, dones) in [(0_u8, vec![1]), (1, vec![2, 3])] {
            let (provider, lease) = (Provider(number.into()), u64::from(number).saturating_add(1));
            let steps = u32::try_from(dones.len()).unwrap();
            let items = vec![Item { unit: 0, first: u32::from(number), count: steps }];
            let audited = Audited {
                id: id(number),
                channel: CHANNEL,
                number: 1,
                since_block: 3,
                budget_wei: 10,
                inputs: dones.iter().map(|_| id(8)).collect(),
                secret: None,
            };
            let settled = Settled {
                lease,
                provider,
                steps,
                checked: 0,
                unchecked: false,
                states: dones.into_iter().map(place).collect(),
                payer: Bytes::new(),
                window: Some(audited),
            };
            let account = Address::repeat_byte(number);
            for entry in [
                Entry::Joined { account, node_id: id(number), price_wei: 1 },
                Entry::Leased { lease: Lease { number: lease, provider, items, limit: Duration::ZERO } },
                Entry::Settled(settled),
            ] {
                state.apply(&entry, Duration::ZERO);
            }
        }
        assert_eq!((state.steps_done(), kept(&state).windows, kept(&state).steps), (3, 2, 3));
        let convicted = Entry::Convicted { provider: Provider(0), payer: Bytes::new(), why: Out::Wrong };
        state.apply(&convicted, Duration::ZERO);
        // Nobody caught the second one: its window is waited for, but nothing in it is used.
        assert_eq!((state.steps_done(), kept(&state).windows, state.windows_awaited().count()), (0, 0, 1));
        assert_eq!(state.windows.get(&id(1)).map(|window| window.lost), Some(2));
    }

    #[test]
    fn what_checks_will_take_is_counted_until_it_is_announced() {
        let state = replayed(&[Entry::WindowOver { id: id(0), verdict: verdict(WindowEnd::Closed) }]);
        assert_eq!(state.checks_wei(), 14);
        let waiting = |announced| state.unannounced_wei(CHANNEL, announced);
        assert_eq!([waiting(0), waiting(1), waiting(2)], [20, 10, 0]);
        assert_eq!(state.unannounced_wei(B256::ZERO, 0), 0);
    }
}
