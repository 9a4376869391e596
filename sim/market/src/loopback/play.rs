//! One play of a plan, millisecond by millisecond: every order on its way through processes that share a machine and a chain.
//!
//! # Design
//! An order is a row of steps, each of which computes and waits ([`Work`]), and of transactions between them: one is in the next block that is made, and who
//! sent it looks for it now and then. From the commitment on two things go on at once: the provider sends the delivery, and the customer fetches the
//! outputs and looks for the delivery. What providers do beside orders, coming back after a kill and taking their pay home, computes as well.

use super::{
    Arrival, Measured, Plan,
    chain::{Beat, Blocks, Cost, VALIDATORS},
    processors::{Processors, Threads},
    work::Work,
};
use crate::random::Random;
use keystead_audit::sample::{Seed, draw};

/// A customer tries to reach a provider again after this, ms.
const RETRY_MS: f64 = 1_000.0;
/// A provider looks for its customer's decision so often, ms.
const DECISION_POLL_MS: f64 = 500.0;
/// A run's state is on the disk at most so long after a unit, ms.
const SAVE_MS: u32 = 1_000;
/// Moments of an order: its command starts, its number is seen, it is leased, the first unit runs, the last one has run, the commitment is seen, the customer
/// sees the delivery, its command ends.
pub(super) const MARKS: usize = 8;
/// Which of them is the first unit.
pub(super) const RUNS: usize = 3;
/// A prediction ends after this, ms of simulated time: the real run does too.
const END_MS: u64 = 1_200_000;

/// A transaction that was sent, and its sender's next look for it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    block: u64,
    look_ms: f64,
}

/// From the commitment to the moment at which the customer has everything.
#[derive(Clone, Copy, Debug)]
struct Handover {
    deliver: Work,
    /// The block of the delivery.
    block: Option<u64>,
    fetch: Work,
    /// The customer's next look for the delivery, once it has the outputs.
    look_ms: Option<f64>,
}

/// Where an order is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Not asked for yet, or no customer is free.
    Coming,
    Begin(Work),
    Placing(Sent),
    Lease(Work),
    Leasing(Sent),
    /// Waits for the provider's machine.
    Queue,
    Open(Work),
    Run(Work),
    Commit(Work),
    Committing(Sent),
    Handover(Handover),
    Check(Work),
    /// Accepts or rejects.
    Deciding(Sent),
    Refund(Work),
    Refunding(Sent),
    End(Work),
    Done,
}

/// An order of the play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) arrival: Arrival,
    phase: Phase,
    /// When each of its moments came first, ms.
    pub(super) marks: [Option<u64>; MARKS],
    pub(super) caught: bool,
    /// Work that is left by what is on the disk.
    saved: Option<Work>,
    saved_ms: u32,
}

/// What a provider does beside orders.
#[derive(Clone, Copy, Debug)]
struct Chore {
    from_ms: u64,
    work: Work,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// The provider is back.
    Back(usize),
    /// It sends the transaction that takes its pay home.
    Paid,
}

/// One play.
pub(super) struct Play<'p> {
    plan: &'p Plan,
    measured: &'p Measured,
    random: Random,
    pub(super) orders: Vec<Order>,
    /// All orders before this one are done.
    first: usize,
    /// The first order that has not been asked for yet.
    next: usize,
    away: Vec<bool>,
    /// The order that has each provider's machine.
    machine: Vec<Option<usize>>,
    free_customers: u32,
    chores: Vec<Chore>,
    blocks: Blocks,
    processors: Processors,
    /// Mean share of the processors in use.
    pub(super) load: f64,
    /// Mean time between two blocks, ms.
    pub(super) between_blocks_ms: f64,
}

impl Phase {
    /// Whether nothing happens while the provider is away.
    const fn needs_provider(&self) -> bool {
        match self {
            Self::Handover(handover) => handover.block.is_none() || handover.look_ms.is_none(),
            Self::Lease(_) | Self::Leasing(_) | Self::Queue | Self::Open(_) | Self::Run(_) => true,
            Self::Commit(_) | Self::Committing(_) => true,
            _ => false,
        }
    }

    /// What is being done.
    const fn works(&mut self) -> [Option<&mut Work>; 2] {
        match self {
            Self::Begin(work) | Self::Lease(work) | Self::Open(work) | Self::Run(work) => [Some(work), None],
            Self::Commit(work) | Self::Check(work) | Self::Refund(work) | Self::End(work) => [Some(work), None],
            Self::Handover(Handover { deliver, fetch, .. }) => [Some(deliver), Some(fetch)],
            _ => [None, None],
        }
    }
}

impl<'p> Play<'p> {
    pub(super) fn new(plan: &'p Plan, measured: &'p Measured, seed: u64) -> Self {
        let order = |arrival: &Arrival| Order {
            arrival: *arrival,
            phase: Phase::Coming,
            marks: [None; MARKS],
            caught: false,
            saved: None,
            saved_ms: 0,
        };
        let providers = plan.shape.providers as usize;
        let processors =
            Processors { cores: measured.cores.max(1.0), waiting: measured.waiting_cores, together: measured.together };
        // A block is measured in processor time; alone it is done so many times as fast.
        let fast = VALIDATORS.min(processors.free());
        let cost = Cost { full_ms: measured.block_cpu_ms / fast, empty_ms: measured.empty_block_cpu_ms / fast };
        let beat = Beat { interval_ms: measured.interval_ms, heartbeat_ms: measured.heartbeat_ms };
        Self {
            plan,
            measured,
            random: Random::new(seed),
            orders: plan.orders.iter().map(order).collect(),
            first: 0,
            next: 0,
            away: vec![false; providers],
            machine: vec![None; providers],
            free_customers: plan.shape.customers,
            chores: Vec::new(),
            blocks: Blocks::new(beat, cost),
            processors,
            load: 0.0,
            between_blocks_ms: 0.0,
        }
    }

    pub(super) fn run(&mut self) {
        let mut kills = self.plan.kills.iter().peekable();
        let (mut busy, mut now) = (0.0, 0);
        while now < END_MS && self.first < self.orders.len() {
            while self.orders.get(self.next).is_some_and(|order| order.arrival.at_ms <= now) {
                self.next += 1;
            }
            while kills.peek().is_some_and(|kill| kill.at_ms <= now) {
                if let Some(kill) = kills.next() {
                    self.kill(kill.provider as usize, now);
                }
            }
            self.settle(now);
            busy += self.step(now);
            now += 1;
        }
        self.load = busy / now.max(1) as f64 / self.processors.cores;
        self.between_blocks_ms = now as f64 / self.blocks.proposed.max(1) as f64;
    }

    /// What was not on the disk is lost; what the provider was about to do waits until it is back.
    fn kill(&mut self, provider: usize, now: u64) {
        // One that is away already dies no second time.
        if self.away[provider] {
            return;
        }
        let steps = &self.measured.steps;
        self.away[provider] = true;
        self.machine[provider] = None;
        let work = Work::drawn(&steps.restart, &mut self.random);
        self.chores.push(Chore { from_ms: now + self.plan.gap_ms, work, then: Then::Back(provider) });
        for order in &mut self.orders[self.first..self.next] {
            if order.arrival.provider as usize != provider {
                continue;
            }
            order.phase = match order.phase {
                Phase::Lease(_) => Phase::Lease(Work::drawn(&steps.lease, &mut self.random)),
                Phase::Open(_) | Phase::Run(_) => Phase::Queue,
                Phase::Commit(_) => Phase::Commit(Work::drawn(&steps.commit, &mut self.random)),
                Phase::Handover(mut handover) => {
                    if handover.block.is_none() {
                        handover.deliver = Work::drawn(&steps.deliver, &mut self.random);
                    }
                    if handover.look_ms.is_none() {
                        handover.fetch = Work::drawn(&steps.fetch, &mut self.random);
                    }
                    Phase::Handover(handover)
                }
                other => other,
            };
        }
    }

    /// Everything that ends now is followed by what comes next.
    fn settle(&mut self, now: u64) {
        for chore in core::mem::take(&mut self.chores) {
            match chore.then {
                _ if !chore.work.is_done() || chore.from_ms > now => self.chores.push(chore),
                Then::Paid => {
                    self.blocks.send();
                }
                Then::Back(provider) => self.is_back(provider),
            }
        }
        for at in self.first..self.next {
            while let Some(phase) = self.follows(at, now) {
                self.orders[at].enter(phase, now);
            }
        }
        while self.orders.get(self.first).is_some_and(|order| matches!(order.phase, Phase::Done)) {
            self.first += 1;
        }
        if self.blocks.is_due(now) {
            let list = &self.measured.final_ms;
            let final_ms = list[self.random.below(list.len() as u32) as usize];
            self.blocks.propose(now, final_ms);
        }
    }

    /// Customers who lost it notice at some moment of their pause.
    fn is_back(&mut self, provider: usize) {
        self.away[provider] = false;
        for order in &mut self.orders[self.first..self.next] {
            if order.arrival.provider as usize != provider {
                continue;
            }
            match &mut order.phase {
                Phase::Lease(work) | Phase::Handover(Handover { fetch: work, look_ms: None, .. }) => {
                    work.wait(self.random.unit() * RETRY_MS);
                }
                _ => {}
            }
        }
    }

    /// What an order's phase is followed by now; `None` if it goes on.
    fn follows(&mut self, at: usize, now: u64) -> Option<Phase> {
        let (order, steps) = (self.orders[at], &self.measured.steps);
        let provider = order.arrival.provider as usize;
        if order.phase.needs_provider() && self.away[provider] {
            return None;
        }
        match order.phase {
            Phase::Coming if self.free_customers > 0 => {
                self.free_customers -= 1;
                Some(Phase::Begin(Work::drawn(&steps.begin, &mut self.random)))
            }
            Phase::Begin(work) if work.is_done() => Some(Phase::Placing(self.send(now))),
            Phase::Placing(sent) => {
                self.seen(sent, now, Phase::Placing, |play| Phase::Lease(Work::drawn(&steps.lease, &mut play.random)))
            }
            Phase::Lease(work) if work.is_done() => Some(Phase::Leasing(self.send(now))),
            Phase::Leasing(sent) => self.seen(sent, now, Phase::Leasing, |_| Phase::Queue),
            Phase::Queue if self.machine[provider].is_none() => {
                self.machine[provider] = Some(at);
                Some(Phase::Open(Work::drawn(&steps.open, &mut self.random)))
            }
            Phase::Open(work) if work.is_done() => {
                let work = order.saved.unwrap_or_else(|| Work::drawn(&steps.work, &mut self.random));
                (self.orders[at].saved, self.orders[at].saved_ms) = (Some(work), 0);
                Some(Phase::Run(work))
            }
            Phase::Run(work) if work.is_done() => {
                self.machine[provider] = None;
                Some(Phase::Commit(Work::drawn(&steps.commit, &mut self.random)))
            }
            Phase::Commit(work) if work.is_done() => Some(Phase::Committing(self.send(now))),
            Phase::Committing(sent) => self.seen(sent, now, Phase::Committing, |play| {
                let deliver = Work::drawn(&steps.deliver, &mut play.random);
                let fetch = Work::drawn(&steps.fetch, &mut play.random);
                Phase::Handover(Handover { deliver, block: None, fetch, look_ms: None })
            }),
            Phase::Handover(handover) => self.hands_over(handover, now),
            _ => self.concludes(at, now),
        }
    }

    /// The same from the check on, which needs nobody but the customer.
    fn concludes(&mut self, at: usize, now: u64) -> Option<Phase> {
        let (order, steps) = (self.orders[at], &self.measured.steps);
        match order.phase {
            Phase::Check(work) if work.is_done() => {
                self.orders[at].caught = order.arrival.provider < self.plan.shape.faulty && self.catches();
                Some(Phase::Deciding(self.send(now)))
            }
            Phase::Deciding(sent) => self.seen(sent, now, Phase::Deciding, |play| {
                if order.caught {
                    return Phase::Refund(Work::drawn(&steps.refund, &mut play.random));
                }
                let from_ms = now + (play.random.unit() * DECISION_POLL_MS) as u64;
                let work = Work::drawn(&steps.payout, &mut play.random);
                play.chores.push(Chore { from_ms, work, then: Then::Paid });
                Phase::End(Work::drawn(&steps.end, &mut play.random))
            }),
            Phase::Refund(work) if work.is_done() => Some(Phase::Refunding(self.send(now))),
            Phase::Refunding(sent) => {
                self.seen(sent, now, Phase::Refunding, |play| Phase::End(Work::drawn(&steps.end, &mut play.random)))
            }
            Phase::End(work) if work.is_done() => {
                self.free_customers += 1;
                Some(Phase::Done)
            }
            _ => None,
        }
    }

    fn hands_over(&mut self, handover: Handover, now: u64) -> Option<Phase> {
        if handover.block.is_none() && handover.deliver.is_done() {
            return Some(Phase::Handover(Handover { block: Some(self.blocks.send()), ..handover }));
        }
        let look_ms = match handover.look_ms {
            None if handover.fetch.is_done() => now as f64,
            Some(look_ms) if look_ms <= now as f64 => {
                if handover.block.is_some_and(|block| self.blocks.is_final(block)) {
                    return Some(Phase::Check(Work::drawn(&self.measured.steps.check, &mut self.random)));
                }
                look_ms + self.measured.record_poll_ms
            }
            _ => return None,
        };
        Some(Phase::Handover(Handover { look_ms: Some(look_ms), ..handover }))
    }

    /// Sends a transaction, for which its sender looks at once, in vain, and then at a beat.
    fn send(&mut self, now: u64) -> Sent {
        Sent { block: self.blocks.send(), look_ms: now as f64 + self.measured.receipt_poll_ms }
    }

    /// What follows once the sender sees its transaction in a block.
    fn seen(
        &mut self,
        sent: Sent,
        now: u64,
        still: fn(Sent) -> Phase,
        then: impl FnOnce(&mut Self) -> Phase,
    ) -> Option<Phase> {
        if sent.look_ms > now as f64 {
            return None;
        }
        if self.blocks.is_final(sent.block) {
            return Some(then(self));
        }
        Some(still(Sent { look_ms: sent.look_ms + self.measured.receipt_poll_ms, ..sent }))
    }

    /// Whether a wrong unit is in the customer's sample.
    fn catches(&mut self) -> bool {
        let (units, sample) = (self.plan.shape.units, self.plan.shape.sample);
        let mut seed = [0; 32];
        seed.iter_mut().for_each(|byte| *byte = self.random.below(256) as u8);
        let wrong = self.random.below(units);
        draw(Seed(seed), units, sample).contains(&wrong)
    }

    /// One millisecond; how many processors were in use.
    fn step(&mut self, now: u64) -> f64 {
        let mut threads = Threads { usual: self.blocks.threads(), idle: 0.0 };
        let mut works: Vec<&mut Work> = Vec::new();
        for order in &mut self.orders[self.first..self.next] {
            if !order.phase.needs_provider() || !self.away[order.arrival.provider as usize] {
                works.extend(order.phase.works().into_iter().flatten());
            }
        }
        let chores = self.chores.iter_mut().filter(|chore| chore.from_ms <= now);
        works.extend(chores.map(|chore| &mut chore.work));
        for work in &mut works {
            work.choose(&mut self.random);
            let own = work.threads();
            threads = Threads { usual: threads.usual + own.usual, idle: threads.idle + own.idle };
        }
        let rates = self.processors.rates(threads);
        for work in works {
            work.advance(&self.processors, rates);
        }
        self.blocks.advance(rates.usual / self.processors.alone(VALIDATORS));
        for order in &mut self.orders[self.first..self.next] {
            order.save();
        }
        self.processors.used(threads)
    }
}

impl Order {
    /// Its next phase begins.
    fn enter(&mut self, phase: Phase, now: u64) {
        self.phase = phase;
        let mark = match phase {
            Phase::Begin(_) => 0,
            Phase::Lease(_) => 1,
            Phase::Queue => 2,
            Phase::Run(_) => RUNS,
            Phase::Commit(_) => 4,
            Phase::Handover(_) => 5,
            Phase::Check(_) => 6,
            Phase::Done => 7,
            _ => return,
        };
        self.marks[mark].get_or_insert(now);
    }

    /// A run that goes on is on the disk now and then.
    const fn save(&mut self) {
        if let Phase::Run(work) = self.phase {
            self.saved_ms += 1;
            if self.saved_ms >= SAVE_MS {
                (self.saved, self.saved_ms) = (Some(work), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{
        super::{
            Shape, plan,
            tests::{measured, step},
        },
        *,
    };

    /// The mean time from the start of the command to the first unit, ms.
    fn wait(plan: &Plan, measured: &Measured) -> f64 {
        let mut play = Play::new(plan, measured, 11);
        play.run();
        let waits = play.orders.iter().map(|order| (order.marks[RUNS].unwrap() - order.marks[0].unwrap()) as f64);
        waits.sum::<f64>() / play.orders.len() as f64
    }

    #[test]
    fn orders_wait_for_their_providers_machine_as_long_as_the_formula_says() {
        // One provider, whose machine each order has for 500 ms; blocks come at once, and nothing else takes time: M/D/1 with a load of 0.5, whose wait is
        // load * service / (2 * (1 - load)).
        let mut fast = measured();
        (fast.interval_ms, fast.receipt_poll_ms, fast.final_ms) = (1.0, 1.0, vec![0.0]);
        for part in [&mut fast.steps.begin, &mut fast.steps.lease, &mut fast.steps.open] {
            *part = step(0.0, 0.0, 0.0);
        }
        let shape = Shape {
            seed: 4,
            providers: 1,
            faulty: 0,
            orders: 1_000,
            orders_per_second: 1.0,
            kills: 0,
            customers: 1_000,
            units: 40,
            sample: 10,
        };
        let alone = wait(&plan(Shape { orders: 1, ..shape }).unwrap(), &fast);
        let mut wait_ms = 0.0;
        for seed in 0..8 {
            wait_ms += (wait(&plan(Shape { seed, ..shape }).unwrap(), &fast) - alone) / 8.0;
        }
        assert!((wait_ms / 250.0 - 1.0).abs() < 0.12, "{wait_ms} {alone}");
    }

    #[test]
    fn a_play_is_a_function_of_its_seed() {
        let shape = Shape {
            seed: 9,
            providers: 3,
            faulty: 1,
            orders: 40,
            orders_per_second: 1.0,
            kills: 4,
            customers: 4,
            units: 40,
            sample: 10,
        };
        let (plan, mut busy) = (plan(shape).unwrap(), measured());
        (busy.steps.work.idle_ms, busy.block_cpu_ms) = (400.0, 80.0);
        let ends = |seed| {
            let mut play = Play::new(&plan, &busy, seed);
            play.run();
            play.orders.iter().map(|order| order.marks[MARKS - 1].unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(ends(1), ends(1));
        assert_ne!(ends(1), ends(2));
    }
}
