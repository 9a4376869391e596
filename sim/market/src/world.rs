//! The market with many honest providers who come and go: what the audit costs, how long people wait, and that nothing is lost or paid twice.
//!
//! # Design
//! One queue of events in simulated milliseconds. Windows of 64 units arrive as a Poisson process that keeps most online machines busy; each
//! goes to the fastest of eight idle providers drawn at random. A provider's session is Weibull with shape 0.6: most are short, some last for
//! days. Of those who leave in the middle of a window most drain (the owner came back: what is done is committed and paid, the rest is
//! issued again), the others vanish (all of it is issued again after the lease's heartbeat). A straggler's window is issued a second time; who
//! commits first is paid. Every committed window is audited by the rules of `keystead_audit`, with checkers that may be offline, find nothing,
//! or be broken themselves.
//!
//! A scenario may have cheats among the providers and a ring among the seats ([`cast`], [`mixed`]); else every conviction is a false one. It may have
//! latency of messages and blocks ([`latency`]), and customers that cheat ([`customers`]).
//!
//! # Not here
//! What cheats do on a stage without churn and latency (`attacks`); money ([`crate::money`]).

mod cast;
mod customers;
mod latency;
mod mixed;
mod scenario;

pub(crate) use cast::CheatRow;
pub(crate) use customers::CrookRow;
pub(crate) use scenario::{Outcome, Scenario};

use crate::{
    random::Random,
    seats::{Ended, Ring, Seats, Unit, recorded},
};
use cast::Cast;
use customers::Crooks;
use keystead_audit::draw::effective_rate_ppm;
use latency::Latency;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// A load that machines cannot bear. A load of 1 is all machines' time if each were as fast as the mean; as fast ones do more in theirs, they bear
/// 1.28.
pub(crate) const OVERLOAD: f64 = 1.6;
const UNITS: u32 = 64;
const RATE_PPM: u32 = 30_000;
/// Commitment to draw: two blocks and the beacon; draw to close: commitments, reveals and the closing call, of a few blocks each.
const DRAW_MS: u64 = 900;
const REVEAL_MS: u64 = 2_000;
/// A lease without a heartbeat ends after this.
const HEARTBEAT_MS: u64 = 10_000;
const HOUR_MS: f64 = 3_600_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Arrive,
    /// Of a lease, by its number.
    Commit(u32),
    Overdue(u32),
    Heartbeat(u32),
    Leave(u32),
    Return(u32),
    /// Of a convicted window, by its number.
    Refund(u32),
    /// Of the touchstone.
    Epoch,
    /// A window's order is final.
    Placed(u32),
    /// A customer that cheats orders.
    Crook,
    /// The inputs of such an order are over, or its time is: by its number.
    Vain(u32),
}

#[derive(Clone, Copy, Debug)]
struct Provider {
    online: bool,
    unit_ms: u32,
    verified: u64,
    /// The lease in progress.
    lease: Option<u32>,
    /// Place in the list of idle providers.
    idle_at: Option<u32>,
    /// Windows paid; a bond is there from the fourth on.
    windows: u32,
}

/// What a customer ordered: which of its units are paid.
#[derive(Clone, Copy, Debug)]
struct Window {
    ordered_ms: u64,
    started: bool,
    /// A bit for each unit.
    paid: u64,
    /// Bits of units that nobody works on.
    open: u64,
    alone_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    window: u32,
    provider: u32,
    units: u64,
    begun_ms: u64,
    unit_ms: u32,
    over: bool,
}

struct World {
    scenario: Scenario,
    random: Random,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, Kind)>>,
    /// Breaks ties in the order of scheduling, so that a run is a function of its seed.
    scheduled: u64,
    providers: Vec<Provider>,
    idle: Vec<u32>,
    windows: Vec<Window>,
    /// A bit for each unit of each window that money went out for. Decides nothing: it shows what the rule of `settle` missed.
    payments: Vec<u64>,
    leases: Vec<Lease>,
    waiting: VecDeque<u32>,
    seats: Seats,
    outcome: Outcome,
    waits: Vec<u64>,
    /// From each window's order until its first provider computes.
    runs: Vec<u64>,
    holds: Vec<u64>,
    stretches: Vec<f64>,
    settled: (u64, u64),
    cast: Option<Box<Cast>>,
    latency: Option<Box<Latency>>,
    crooks: Option<Box<Crooks>>,
}

/// Runs a scenario. A function of its argument.
pub(crate) fn run(scenario: Scenario) -> Outcome {
    let mut world = World::new(scenario);
    // LOSSY: hours of simulated time.
    let end_ms = (scenario.hours * HOUR_MS) as u64;
    while let Some(Reverse((at, _, kind))) = world.events.pop() {
        // After the end nothing new is ordered; what was ordered is brought to its end.
        let orders = matches!(kind, Kind::Arrive | Kind::Crook);
        if at > end_ms && (orders || world.outcome.windows_complete == world.outcome.windows_ordered) {
            if orders {
                continue;
            }
            break;
        }
        world.now_ms = at;
        world.outcome.events = world.outcome.events.saturating_add(1);
        world.happen(kind);
    }
    world.finish()
}

const fn millis(value: f64) -> u64 {
    // LOSSY: simulated times are far below 2^53 ms.
    value.max(1.0) as u64
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let provider = |random: &mut Random| Provider {
            online: false,
            unit_ms: u32::try_from(millis(random.log_normal(15_000.0, 0.5).clamp(2_000.0, 60_000.0)))
                .unwrap_or(u32::MAX),
            // Half of them have been there for long.
            verified: if random.chance(0.5) { 1_000 } else { 0 },
            lease: None,
            idle_at: None,
            windows: 0,
        };
        let providers = (0..scenario.providers).map(|_| provider(&mut random)).collect();
        let seats = Seats {
            count: (scenario.providers / 10).max(64),
            colluding: 0,
            checkers: 1,
            flip: scenario.flip,
            nothing: scenario.nothing,
            power: 1.0,
        };
        let mut world = Self {
            scenario,
            random,
            now_ms: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            providers,
            idle: Vec::new(),
            windows: Vec::new(),
            payments: Vec::new(),
            leases: Vec::new(),
            waiting: VecDeque::new(),
            seats,
            outcome: Outcome::default(),
            waits: Vec::new(),
            runs: Vec::new(),
            holds: Vec::new(),
            stretches: Vec::new(),
            settled: (0, 0),
            cast: None,
            latency: scenario.latency.then(|| Box::new(Latency::new(scenario.seed))),
            crooks: scenario.crooked.then(|| Box::new(Crooks::new(scenario.seed, &seats))),
        };
        world.invite();
        let online = scenario.session_hours / (scenario.session_hours + scenario.away_hours);
        for provider in 0..scenario.providers {
            if world.random.chance(online) {
                world.come(provider);
            } else {
                let away = world.random.exponential(scenario.away_hours * HOUR_MS);
                world.at(millis(away), Kind::Return(provider));
            }
        }
        world.at(1, Kind::Arrive);
        if world.crooks.is_some() {
            world.at(customers::EVERY_MS, Kind::Crook);
        }
        world
    }

    fn at(&mut self, after_ms: u64, kind: Kind) {
        self.scheduled = self.scheduled.saturating_add(1);
        self.events.push(Reverse((self.now_ms.saturating_add(after_ms), self.scheduled, kind)));
    }

    fn happen(&mut self, kind: Kind) {
        match kind {
            Kind::Arrive => self.arrive(),
            Kind::Commit(lease) => self.commit(lease),
            Kind::Overdue(lease) => self.overdue(lease),
            Kind::Heartbeat(lease) => self.heartbeat(lease),
            Kind::Leave(provider) => self.leave(provider),
            Kind::Return(provider) => self.come(provider),
            Kind::Refund(number) => self.refund(number),
            Kind::Epoch => self.epoch(),
            Kind::Placed(window) => self.placed(window),
            Kind::Crook => self.crook(),
            Kind::Vain(number) => self.vain(number),
        }
    }

    fn arrive(&mut self) {
        let scenario = self.scenario;
        let online = scenario.session_hours / (scenario.session_hours + scenario.away_hours);
        // Mean of the clamped log-normal is near 16.9 s; one window needs 64 of them.
        let capacity = f64::from(scenario.providers) * online / (16_900.0 * f64::from(UNITS));
        let next = self.random.exponential(1.0 / (capacity * scenario.load));
        self.at(millis(next), Kind::Arrive);
        let window = u32::try_from(self.windows.len()).unwrap_or(u32::MAX);
        self.windows.push(Window { ordered_ms: self.now_ms, started: false, paid: 0, open: u64::MAX, alone_ms: 0 });
        self.payments.push(0);
        self.outcome.windows_ordered = self.outcome.windows_ordered.saturating_add(1);
        match self.latency.as_mut().map(|latency| latency.placing_ms(window)) {
            Some(after_ms) => self.at(after_ms, Kind::Placed(window)),
            None => self.placed(window),
        }
    }

    /// Providers see a window's order.
    fn placed(&mut self, window: u32) {
        self.waiting.push_back(window);
        self.assign();
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.outcome.waiting_max = self.outcome.waiting_max.max(waiting);
    }

    /// Gives waiting windows to idle providers.
    fn assign(&mut self) {
        while !self.waiting.is_empty() {
            let Some(provider) = self.choose() else { return };
            let Some(window) = self.waiting.pop_front() else { return };
            let Some(entry) = self.windows.get_mut(window as usize) else { continue };
            let units = core::mem::take(&mut entry.open);
            if units == 0 {
                continue;
            }
            let unit_ms = self.providers[provider as usize].unit_ms;
            if !entry.started {
                entry.started = true;
                entry.alone_ms = u64::from(unit_ms).saturating_mul(u64::from(UNITS));
                let wait_ms = self.now_ms.saturating_sub(entry.ordered_ms);
                self.waits.push(wait_ms);
                let begins_ms = self.lease(window, provider, units, unit_ms);
                self.runs.push(wait_ms.saturating_add(begins_ms));
            } else {
                self.lease(window, provider, units, unit_ms);
            }
        }
    }

    /// Gives units to a provider; after how long it computes.
    fn lease(&mut self, window: u32, provider: u32, units: u64, unit_ms: u32) -> u64 {
        self.unlist(provider);
        let ways = self.latency.as_mut().map(|latency| latency.ways(window, provider)).unwrap_or_default();
        let straggles = self.random.chance(self.scenario.straggle);
        let slow_ms = if straggles { unit_ms.saturating_mul(8) } else { unit_ms };
        let slow_ms = slow_ms.saturating_mul(self.begin(provider));
        let number = u32::try_from(self.leases.len()).unwrap_or(u32::MAX);
        let begun_ms = self.now_ms.saturating_add(ways.begin_ms);
        self.leases.push(Lease { window, provider, units, begun_ms, unit_ms: slow_ms, over: false });
        self.providers[provider as usize].lease = Some(number);
        self.outcome.leases = self.outcome.leases.saturating_add(1);
        self.outcome.leases_straggled = self.outcome.leases_straggled.saturating_add(u64::from(straggles));
        let count = u64::from(units.count_ones());
        let around_ms = ways.begin_ms.saturating_add(ways.commit_ms);
        self.at(count.saturating_mul(u64::from(slow_ms)).saturating_add(around_ms), Kind::Commit(number));
        let overdue_ms = count.saturating_mul(u64::from(unit_ms)).saturating_mul(3);
        self.at(overdue_ms.saturating_add(around_ms), Kind::Overdue(number));
        ways.begin_ms
    }

    /// The fastest of eight idle providers, drawn with repetition.
    fn choose(&mut self) -> Option<u32> {
        let count = u32::try_from(self.idle.len()).unwrap_or(u32::MAX);
        let Self { random, idle, providers, .. } = self;
        let draws = (0..8).filter_map(|_| idle.get(random.below(count) as usize).copied());
        draws.min_by_key(|&one| providers[one as usize].unit_ms)
    }

    fn list(&mut self, provider: u32) {
        if self.cast.as_ref().is_some_and(|cast| cast.is_gone(provider)) {
            return;
        }
        self.providers[provider as usize].idle_at = u32::try_from(self.idle.len()).ok();
        self.idle.push(provider);
    }

    fn unlist(&mut self, provider: u32) {
        if let Some(at) = self.providers[provider as usize].idle_at.take() {
            self.idle.swap_remove(at as usize);
            if let Some(&moved) = self.idle.get(at as usize) {
                self.providers[moved as usize].idle_at = Some(at);
            }
        }
    }

    fn come(&mut self, provider: u32) {
        self.providers[provider as usize].online = true;
        self.list(provider);
        // Shape 0.6: the mean is 1.504 scales.
        let stay = self.random.weibull(0.6, self.scenario.session_hours * HOUR_MS / 1.504_6);
        self.at(millis(stay), Kind::Leave(provider));
        self.assign();
    }

    fn leave(&mut self, provider: u32) {
        self.providers[provider as usize].online = false;
        self.unlist(provider);
        let away = self.random.exponential(self.scenario.away_hours * HOUR_MS);
        self.at(millis(away), Kind::Return(provider));
        let Some(number) = self.providers[provider as usize].lease.take() else { return };
        let lease = self.leases[number as usize];
        if lease.over {
            return;
        }
        self.leases[number as usize].over = true;
        let done = self.done(&lease);
        self.outcome.units_run = self.outcome.units_run.saturating_add(u64::from(done.count_ones()));
        if self.random.chance(self.scenario.vanish) {
            self.outcome.leases_vanished = self.outcome.leases_vanished.saturating_add(1);
            if let Some(cast) = &mut self.cast {
                cast.worked(provider, done);
            }
            self.at(HEARTBEAT_MS, Kind::Heartbeat(number));
        } else {
            self.outcome.leases_drained = self.outcome.leases_drained.saturating_add(1);
            self.settle(&lease, done);
            self.again(lease.window, lease.units & !done);
        }
    }

    /// The units that a lease has finished by now, lowest first.
    fn done(&self, lease: &Lease) -> u64 {
        let elapsed = self.now_ms.saturating_sub(lease.begun_ms);
        let mut count = elapsed.checked_div(u64::from(lease.unit_ms)).unwrap_or_default();
        let mut done = 0;
        for bit in (0..UNITS).map(|unit| 1_u64 << unit).filter(|bit| lease.units & bit != 0) {
            if count == 0 {
                break;
            }
            count = count.saturating_sub(1);
            done |= bit;
        }
        done
    }

    fn heartbeat(&mut self, number: u32) {
        let lease = self.leases[number as usize];
        self.again(lease.window, lease.units);
    }

    /// A straggler keeps working; whoever commits a unit first is paid for it.
    fn overdue(&mut self, number: u32) {
        let lease = self.leases[number as usize];
        if !lease.over {
            self.again(lease.window, lease.units);
        }
    }

    /// Units are issued again, but those that are paid.
    fn again(&mut self, window: u32, units: u64) {
        let entry = &mut self.windows[window as usize];
        let missing = units & !entry.paid;
        if missing != 0 {
            entry.open |= missing;
            self.waiting.push_front(window);
            self.assign();
        }
    }

    fn commit(&mut self, number: u32) {
        let lease = self.leases[number as usize];
        if lease.over {
            return;
        }
        self.leases[number as usize].over = true;
        let provider = &mut self.providers[lease.provider as usize];
        provider.lease = None;
        if provider.online {
            self.list(lease.provider);
        }
        self.outcome.units_run = self.outcome.units_run.saturating_add(u64::from(lease.units.count_ones()));
        self.settle(&lease, lease.units);
        self.assign();
    }

    /// A commitment to these units: audit, pay what nobody was paid for.
    fn settle(&mut self, lease: &Lease, units: u64) {
        if units == 0 {
            return;
        }
        if self.cast.is_some() {
            self.settle_among_cheats(lease, units);
            return;
        }
        let fresh = self.take(lease.window, units);
        self.audit(lease, fresh);
    }

    /// Pays for those of these units that nobody was paid for; which they are.
    fn take(&mut self, window: u32, units: u64) -> u64 {
        let entry = &mut self.windows[window as usize];
        let fresh = units & !entry.paid;
        // What was paid before is the straggler's loss.
        entry.paid |= fresh;
        let complete = entry.paid == u64::MAX && fresh != 0;
        let (ordered_ms, alone_ms) = (entry.ordered_ms, entry.alone_ms);
        self.pay(window, fresh);
        if complete {
            self.refuse(window);
            self.outcome.windows_complete = self.outcome.windows_complete.saturating_add(1);
            self.stretches.push(self.now_ms.saturating_sub(ordered_ms) as f64 / alone_ms.max(1) as f64);
        }
        fresh
    }

    /// Pays for units, and counts it beside the marks by which it was decided.
    fn pay(&mut self, window: u32, units: u64) {
        let before = &mut self.payments[window as usize];
        let twice = u64::from((units & *before).count_ones());
        *before |= units;
        let outcome = &mut self.outcome;
        outcome.units_paid = outcome.units_paid.saturating_add(u64::from(units.count_ones()));
        outcome.units_paid_twice = outcome.units_paid_twice.saturating_add(twice);
    }

    fn audit(&mut self, lease: &Lease, units: u64) {
        if units == 0 {
            return;
        }
        let provider = self.providers[lease.provider as usize];
        let (settled, bonded) = (provider.verified >= 1_000, provider.verified >= 1_000 || provider.windows >= 3);
        let rate = effective_rate_ppm(RATE_PPM, provider.verified, bonded);
        self.outcome.commitments = self.outcome.commitments.saturating_add(1);
        // A commitment is audited under its own number.
        let window = self.scheduled;
        let draw = Seats::draw(self.scenario.seed, window);
        let (mut checks, mut slowest, mut verified) = (0_u64, 0_u64, 0_u64);
        let mut faulted = false;
        for unit in (0..UNITS).filter(|&unit| units & (1 << unit) != 0) {
            if !draw.draws(unit, rate) {
                continue;
            }
            self.outcome.units_drawn = self.outcome.units_drawn.saturating_add(1);
            // The checker on duty may be away; then a reserve answers in the second half of the time.
            let away = self.random.chance(0.15);
            self.outcome.seats_offline = self.outcome.seats_offline.saturating_add(u64::from(away));
            let checker_ms = u64::from(provider.unit_ms).saturating_mul(if away { 3 } else { 1 });
            let audited = self.seats.audit(draw, unit, Unit::Right, true, Ring::Covers, &mut self.random);
            checks = checks.saturating_add(u64::from(audited.runs));
            slowest = slowest.max(checker_ms);
            let outcome = &mut self.outcome;
            outcome.voted(audited.ballots);
            match audited.ended {
                Ended::Verified => verified = verified.saturating_add(1),
                Ended::Unchecked => outcome.inconclusive = outcome.inconclusive.saturating_add(1),
                Ended::AccuserLost => {
                    verified = verified.saturating_add(1);
                    outcome.broken_checkers = outcome.broken_checkers.saturating_add(1);
                }
                Ended::Convicted | Ended::Unpaid => {
                    outcome.false_slashes = outcome.false_slashes.saturating_add(1);
                    faulted = true;
                }
            }
        }
        self.outcome.checks_run = self.outcome.checks_run.saturating_add(checks);
        if settled {
            self.settled.0 = self.settled.0.saturating_add(checks);
            self.settled.1 = self.settled.1.saturating_add(u64::from(units.count_ones()));
        }
        self.holds.push(DRAW_MS.saturating_add(slowest).saturating_add(REVEAL_MS));
        // What the contract counts on the average: each unit that was found right stands for those among which it was drawn.
        let provider = &mut self.providers[lease.provider as usize];
        let more = recorded(rate, verified);
        provider.verified = if faulted { 0 } else { provider.verified.saturating_add(more) };
        provider.windows = provider.windows.saturating_add(1);
    }

    fn finish(mut self) -> Outcome {
        let outcome = &mut self.outcome;
        let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        outcome.units_lost = self.windows.iter().map(|window| u64::from(window.paid.count_zeros())).sum();
        outcome.churn = ratio(outcome.leases_drained.saturating_add(outcome.leases_vanished), outcome.leases);
        outcome.overhead = ratio(outcome.checks_run, outcome.units_paid);
        outcome.overhead_settled = ratio(self.settled.0, self.settled.1);
        [outcome.wait_ms_p50, outcome.wait_ms_p95, _] = quantiles(&mut self.waits);
        [outcome.run_ms_p50, outcome.run_ms_p95, outcome.run_ms_p99] = quantiles(&mut self.runs);
        [outcome.hold_ms_p50, outcome.hold_ms_p95, _] = quantiles(&mut self.holds);
        outcome.crooks = self.crooks.as_ref().map(|crooks| crooks.rows()).unwrap_or_default();
        outcome.cheats = self.cast.as_ref().map(|cast| cast.rows()).unwrap_or_default();
        self.stretches.sort_by(f64::total_cmp);
        let at = |part: usize| self.stretches.get(self.stretches.len().saturating_mul(part) / 100).copied();
        [outcome.stretch_p50, outcome.stretch_p95] = [50, 95].map(|part| at(part).unwrap_or_default());
        self.outcome
    }
}

/// The 50th, 95th and 99th hundredth.
fn quantiles(values: &mut [u64]) -> [u64; 3] {
    values.sort_unstable();
    [50, 95, 99].map(|part| values.get(values.len().saturating_mul(part) / 100).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_heavy_churn_nothing_is_lost_and_nothing_paid_twice() {
        let scenario = Scenario { session_hours: 0.4, away_hours: 0.2, ..Scenario::new(1, 2_000, 3.0) };
        let outcome = run(scenario);
        assert!(outcome.churn >= 0.3, "{outcome:?}");
        assert_eq!((outcome.units_lost, outcome.units_paid_twice, outcome.false_slashes), (0, 0, 0), "{outcome:?}");
        assert_eq!(outcome.units_paid, outcome.windows_ordered * u64::from(UNITS));
        assert!(outcome.windows_ordered > 1_000);
    }

    #[test]
    fn a_unit_that_is_paid_again_is_counted() {
        let twice_after = |forgotten: u64| {
            let mut world = World::new(Scenario::new(4, 100, 1.0));
            world.arrive();
            let lease = Lease { window: 0, provider: 0, units: 0b1110, begun_ms: 0, unit_ms: 1, over: true };
            world.settle(&lease, lease.units);
            // The rule of payment loses its memory of these units.
            world.windows[0].paid &= !forgotten;
            world.settle(&lease, lease.units);
            (world.outcome.units_paid, world.outcome.units_paid_twice)
        };
        assert_eq!(twice_after(0), (3, 0), "a straggler's units are not paid again");
        assert_eq!(twice_after(0b0110), (5, 2));
    }

    #[test]
    fn the_audit_of_settled_providers_costs_what_the_rate_says() {
        let outcome = run(Scenario::new(2, 5_000, 2.0));
        assert!((0.028..0.034).contains(&outcome.overhead_settled), "{outcome:?}");
        assert!(outcome.overhead > outcome.overhead_settled, "newcomers are checked more");
        // 15 % of duties fall on machines that are away.
        let away = outcome.seats_offline as f64 / outcome.units_drawn as f64;
        assert!((0.13..0.17).contains(&away));
    }

    #[test]
    fn above_the_capacity_windows_wait_and_all_are_done_in_the_end() {
        let usual = run(Scenario::new(5, 1_000, 1.0));
        let outcome = run(Scenario { load: OVERLOAD, ..Scenario::new(5, 1_000, 1.0) });
        assert!(outcome.wait_ms_p50 > 60_000 && outcome.wait_ms_p95 > outcome.wait_ms_p50, "{outcome:?}");
        assert!(outcome.waiting_max > 10 * usual.waiting_max.max(1), "{usual:?} {outcome:?}");
        assert_eq!((outcome.units_lost, outcome.units_paid_twice, outcome.false_slashes), (0, 0, 0), "{outcome:?}");
        assert_eq!(outcome.windows_complete, outcome.windows_ordered);
    }

    #[test]
    fn the_same_scenario_gives_the_same_world() {
        let text = |seed| serde_json::to_string(&run(Scenario::new(seed, 500, 1.0))).unwrap_or_default();
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }

    #[test]
    fn with_latency_work_begins_later_by_blocks_messages_and_inputs_and_nothing_is_lost() {
        let scenario = Scenario::new(6, 2_000, 1.0);
        let (without, with) = (run(scenario), run(Scenario { latency: true, ..scenario }));
        assert_eq!(without.run_ms_p50, without.wait_ms_p50);
        // Two transactions of more than a quarter of a second each, four ways and the inputs.
        assert!((800..4_000).contains(&(with.run_ms_p50 - without.run_ms_p50)), "{without:?} {with:?}");
        assert!(with.run_ms_p50 < with.run_ms_p95 && with.run_ms_p95 < with.run_ms_p99, "{with:?}");
        assert_eq!((with.units_lost, with.units_paid_twice, with.false_slashes), (0, 0, 0), "{with:?}");
        assert_eq!(with.windows_complete, with.windows_ordered);
    }

    #[test]
    fn a_scenario_with_latency_and_crooked_customers_gives_the_same_hash_twice() {
        let hash = |seed| {
            let scenario = Scenario { latency: true, crooked: true, ..Scenario::new(seed, 500, 0.5) };
            alloy_primitives::keccak256(serde_json::to_string(&run(scenario)).unwrap_or_default())
        };
        assert_eq!(hash(3), hash(3));
        assert_ne!(hash(3), hash(4));
    }
}
