//! Ten thousand worlds, and 64 others each time, in which providers come, die, drain, are late, repeat themselves and lie: nothing is lost, nothing is paid twice.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation, reason = "tests")]

use keystead_lease::{Convicted, End, Lease, Provider, Refused, Rules, Table};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    thread,
    time::Duration,
};

/// Worlds that are the same each time.
const WORLDS: u64 = 10_000;

/// A small generator: a failing case is its seed.
struct Dice(u64);

impl Dice {
    const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    const fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a provider believes: it may hold a lease that ended long ago, and report it.
#[derive(Default)]
struct Machine {
    holding: Option<Lease>,
    away_until: u64,
}

/// A second bookkeeping, by single steps.
#[derive(Default)]
struct Ledger {
    /// Who was paid for a step that counts.
    paid: BTreeMap<(u32, u32), Provider>,
    /// Steps that are leased, as the grants and ends said.
    leased: BTreeMap<(u32, u32), u64>,
    lost_steps: u32,
}

impl Ledger {
    fn granted(&mut self, lease: &Lease) {
        for step in lease.each() {
            assert!(!self.paid.contains_key(&step), "step {step:?} was paid and is granted again");
            assert_eq!(self.leased.insert(step, lease.number), None, "step {step:?} is in two live leases");
        }
    }

    fn ended(&mut self, lease: &Lease) {
        for step in lease.each() {
            assert_eq!(self.leased.remove(&step), Some(lease.number));
        }
    }

    fn settled(&mut self, lease: &Lease, done: u32) {
        self.ended(lease);
        for step in lease.each().take(done as usize) {
            assert_eq!(self.paid.insert(step, lease.provider), None, "step {step:?} is paid twice");
        }
    }

    fn convicted(&mut self, convicted: &Convicted, liar: Provider) {
        convicted.ended.iter().for_each(|lease| self.ended(lease));
        for (unit, kept) in &convicted.units {
            let dropped: Vec<_> = self.paid.keys().copied().filter(|(u, s)| u == unit && s >= kept).collect();
            assert!(dropped.iter().any(|step| self.paid[step] == liar));
            self.lost_steps += u32::try_from(dropped.len()).unwrap();
            dropped.iter().for_each(|step| {
                self.paid.remove(step);
            });
        }
        assert!(self.paid.values().all(|by| *by != liar), "nothing of the liar stays");
    }
}

struct World {
    dice: Dice,
    table: Table,
    ledger: Ledger,
    machines: Vec<Machine>,
    now: Duration,
    refused: u32,
}

impl World {
    fn new(seed: u64) -> (Self, u32, u32) {
        let mut dice = Dice(seed);
        let (units, segments) =
            (1 + dice.below(40) as u32, if dice.percent(50) { 1 } else { 1 + dice.below(9) as u32 });
        let mut table = Table::new(units, segments, Rules::new(Duration::from_secs(1)), 1);
        let machines: Vec<Machine> = (0..2 + dice.below(6)).map(|_| Machine::default()).collect();
        for index in 0..machines.len() {
            table.join(Provider(index as u32));
            table.ready(Provider(index as u32), Duration::ZERO);
        }
        (Self { dice, table, ledger: Ledger::default(), machines, now: Duration::ZERO, refused: 0 }, units, segments)
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(200 + self.dice.below(2_000));
        for (number, why) in self.table.overdue(self.now) {
            let lease = self.table.end(number, why, self.now).unwrap();
            self.ledger.ended(&lease);
        }
        for index in 0..self.machines.len() {
            self.one(index);
        }
    }

    fn one(&mut self, index: usize) {
        let provider = Provider(index as u32);
        if self.machines[index].away_until > self.now.as_secs() {
            return;
        }
        self.table.heard(provider, self.now);
        // Providers whose strikes left them out come back under another account in real life; here one stays to end the job.
        if self.table.out(provider).is_none() {
            self.table.ready(provider, self.now);
        }
        if self.dice.percent(30) {
            self.churn(index);
        } else if let Some(lease) = self.machines[index].holding.clone() {
            self.report(provider, &lease);
        } else if let Some(lease) = self.table.grant(provider, self.now) {
            assert!((1..=64).contains(&lease.steps()));
            self.ledger.granted(&lease);
            self.machines[index].holding = Some(lease);
        }
    }

    fn churn(&mut self, index: usize) {
        let provider = Provider(index as u32);
        match self.dice.below(5) {
            // Dies and comes back after any time, with or without its memory.
            0 => {
                self.table.away(provider);
                self.machines[index].away_until = self.now.as_secs() + self.dice.below(40);
                if self.dice.percent(50) {
                    self.machines[index].holding = None;
                }
            }
            1 => self.table.draining(provider),
            2 => {
                if let Some(lease) = self.machines[index].holding.take()
                    && self.table.end(lease.number, End::GivenBack, self.now).is_some()
                {
                    self.ledger.ended(&lease);
                }
            }
            // Reports a lease that never was, and somebody else's.
            3 => {
                let live: Vec<u64> = self.table.live().filter(|l| l.provider != provider).map(|l| l.number).collect();
                for number in live.into_iter().chain([u64::MAX]) {
                    assert!(self.table.settle(number, provider, 1, self.now).is_err());
                    self.refused += 1;
                }
            }
            _ => {
                if self.dice.percent(5) && index > 0 && self.table.out(provider).is_none() {
                    let convicted = self.table.convict(provider);
                    self.ledger.convicted(&convicted, provider);
                    self.machines[index].holding = None;
                }
            }
        }
    }

    /// Reports any prefix; now and then a second time.
    fn report(&mut self, provider: Provider, lease: &Lease) {
        let done = 1 + self.dice.below(u64::from(lease.steps())) as u32;
        let live = self.table.lease_of(provider).map(|live| live.number) == Some(lease.number);
        match self.table.settle(lease.number, provider, done, self.now) {
            Ok(settled) => {
                assert!(live);
                self.ledger.settled(&settled, done);
            }
            Err(Refused::Ended { .. }) => {
                assert!(!live, "a live lease is not refused");
                self.refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        if self.dice.percent(80) {
            self.machines[provider.0 as usize].holding = None;
        }
    }
}

fn live(seed: u64) -> (u32, u32) {
    let (mut world, units, segments) = World::new(seed);
    for _ in 0..20_000 {
        if world.table.units_left() == 0 {
            break;
        }
        // When everybody is left out a new provider joins, as a customer would look for one.
        if !world.table.has_providers() {
            let provider = Provider(world.machines.len() as u32);
            world.machines.push(Machine::default());
            world.table.join(provider);
            world.table.ready(provider, world.now);
        }
        world.step();
    }
    assert_eq!(world.table.units_left(), 0, "seed {seed}: the job does not end");
    let all: BTreeSet<(u32, u32)> = (0..units).flat_map(|unit| (0..segments).map(move |s| (unit, s))).collect();
    assert_eq!(world.ledger.paid.keys().copied().collect::<BTreeSet<_>>(), all, "seed {seed}");
    assert!(world.ledger.leased.is_empty() && world.table.live().next().is_none(), "seed {seed}");
    assert_eq!(world.table.steps_waiting(), 0, "seed {seed}");
    (world.refused, world.ledger.lost_steps)
}

#[test]
fn under_thirty_percent_churn_every_step_is_paid_once_and_none_is_lost() {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let add = |(refused, lost): (u32, u32), (more, again): (u32, u32)| (refused + more, lost + again);
    // Each thread has every so-manieth world.
    let some = |first: usize| (first as u64..WORLDS).step_by(threads).map(live).fold((0, 0), add);
    let (refused, lost) = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(move || some(first))).collect();
        parts.into_iter().map(|part| part.join().unwrap()).fold((0, 0), add)
    });
    // The worlds were not harmless.
    assert!(refused > 5_000 && lost > 500, "refused {refused}, lost to liars {lost}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_other_world_holds_as_well(seed in any::<u64>()) {
        live(seed);
    }
}
