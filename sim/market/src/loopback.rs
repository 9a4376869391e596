//! One machine's market, as `cargo xtask sim --calibrate` runs it with real processes: what the simulator says of the same orders, kills and delays.
//!
//! # Design
//! A [`Plan`] is a function of its seed: orders arrive as a Poisson process, each for a provider drawn at random; some providers are wrong in one unit of
//! every order; now and then one is killed and started again. The real run takes it as it is. [`predict`] plays it in steps of a millisecond with what was
//! [`Measured`] of single orders on the idle network: delays until the order's block, the lease, the warm worker, the commitment, the delivery and the end
//! are drawn from those that were seen. A process computes or waits, a burst at a time, and those that compute at once share the processors; units run in
//! the system's idle class, so they have what the rest leaves. Verdicts come from the draw of `keystead_audit::sample`.
//!
//! # Not here
//! Audited windows (`world`): a plain order is checked by its customer.

use crate::random::Random;
use keystead_audit::sample::{Seed, draw};
use serde::{Deserialize, Serialize};

/// A customer tries to reach a provider again after this, ms.
const RETRY_MS: f64 = 1_000.0;
/// A run's state is on the disk at most so long after a unit, ms.
const SAVE_MS: f64 = 1_000.0;
/// How long a process computes, or waits for something else, before that may change, ms.
const BURST_MS: u64 = 20;
/// Processes that use the processors without orders: the validators.
const BACKGROUND: u32 = 4;
/// What the idle class gets at least, as a share of a processor.
const IDLE_MIN: f64 = 0.01;
/// Between the death of a provider and its next start, ms.
const GAP_MS: u64 = 1_000;
/// A prediction ends after this, ms of simulated time: the real run does too.
const END_MS: u64 = 1_200_000;
/// How often the plan is played.
const PLAYS: u64 = 50;
/// Bounds of a plan, so that a wrong number ends in a message.
const PROVIDERS_MAX: u32 = 1_000;
const ORDERS_MAX: u32 = 100_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) providers: u32,
    /// Of these, the first so many are wrong in a unit of every order.
    pub(crate) faulty: u32,
    pub(crate) orders: u32,
    pub(crate) orders_per_second: f64,
    pub(crate) kills: u32,
    /// Orders under way at once.
    pub(crate) customers: u32,
    /// Of an order.
    pub(crate) units: u32,
    /// Units that the customer runs again.
    pub(crate) sample: u32,
}

/// When what happens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) gap_ms: u64,
    pub(crate) orders: Vec<Arrival>,
    pub(crate) kills: Vec<Arrival>,
}

/// An order for a provider, or the death of one.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Arrival {
    pub(crate) at_ms: u64,
    pub(crate) provider: u32,
}

/// What single orders took on the idle network, ms, one number for each order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Measured {
    pub(crate) cores: f64,
    /// Processors in use while nothing is ordered: validators and waiting providers.
    pub(crate) background_cores: f64,
    /// Processor time of an order beyond its units.
    pub(crate) order_cpu_ms: f64,
    /// Start of the command to the order's block.
    pub(crate) place: Vec<f64>,
    pub(crate) lease: Vec<f64>,
    /// Lease to the first unit.
    pub(crate) open: Vec<f64>,
    /// All units of an order.
    pub(crate) work: Vec<f64>,
    /// Last unit to the commitment.
    pub(crate) commit: Vec<f64>,
    pub(crate) deliver: Vec<f64>,
    /// Delivery to the end of the command: fetch, check, accept.
    pub(crate) finish: Vec<f64>,
    /// Start of a provider until it takes orders.
    pub(crate) restart: Vec<f64>,
}

/// What comes out, of all plays together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prediction {
    pub(crate) plays: u64,
    /// Start of the command to the first unit, ms.
    pub(crate) wait_p50: f64,
    pub(crate) wait_p99: f64,
    /// Start of the command to its end, ms.
    pub(crate) whole_p50: f64,
    pub(crate) whole_p99: f64,
    /// Of orders to providers that are wrong, those that were rejected.
    pub(crate) caught: f64,
    /// Orders that did not end.
    pub(crate) lost: u64,
    /// Mean share of the processors in use.
    pub(crate) load: f64,
}

impl Shape {
    fn check(&self) -> Result<(), String> {
        let within = |name: &str, got: u32, most: u32| {
            let ok = got >= 1 && got <= most;
            if ok { Ok(()) } else { Err(format!("{name} must lie between 1 and {most}: {got}")) }
        };
        within("providers", self.providers, PROVIDERS_MAX)?;
        within("orders", self.orders, ORDERS_MAX)?;
        within("customers", self.customers, PROVIDERS_MAX)?;
        within("units", self.units, 65_536)?;
        within("sample", self.sample, self.units)?;
        if self.faulty > self.providers || self.kills > ORDERS_MAX {
            return Err("more faulty providers than providers, or too many kills".to_owned());
        }
        let rate = self.orders_per_second;
        if rate.is_finite() && rate > 0.0 { Ok(()) } else { Err(format!("no rate of orders: {rate}")) }
    }
}

/// The plan of a shape.
pub(crate) fn plan(shape: Shape) -> Result<Plan, String> {
    shape.check()?;
    let mut random = Random::new(shape.seed);
    let mut at = 0.0;
    let mut orders = Vec::new();
    for _ in 0..shape.orders {
        at += random.exponential(1_000.0 / shape.orders_per_second);
        orders.push(Arrival { at_ms: at as u64, provider: random.below(shape.providers) });
    }
    let mut kills: Vec<Arrival> = (0..shape.kills)
        .map(|_| Arrival { at_ms: (random.unit() * at) as u64, provider: random.below(shape.providers) })
        .collect();
    kills.sort_by_key(|kill| kill.at_ms);
    Ok(Plan { shape, gap_ms: GAP_MS, orders, kills })
}

/// Plays the plan many times.
pub(crate) fn predict(plan: &Plan, measured: &Measured) -> Result<Prediction, String> {
    plan.shape.check()?;
    let lists = [
        ("place", &measured.place),
        ("lease", &measured.lease),
        ("open", &measured.open),
        ("work", &measured.work),
        ("commit", &measured.commit),
        ("deliver", &measured.deliver),
        ("finish", &measured.finish),
        ("restart", &measured.restart),
    ];
    for (name, list) in lists {
        if list.is_empty() || list.iter().any(|value| !value.is_finite() || *value < 0.0) {
            return Err(format!("nothing usable was measured: {name}"));
        }
    }
    if plan.orders.iter().chain(&plan.kills).any(|arrival| arrival.provider >= plan.shape.providers) {
        return Err("the plan names a provider that there is not".to_owned());
    }
    let (mut waits, mut wholes) = (Vec::new(), Vec::new());
    let (mut wrong, mut caught, mut prediction) = (0_u64, 0_u64, Prediction { plays: PLAYS, ..Prediction::default() });
    for number in 0..PLAYS {
        let mut play = Play::new(plan, measured, plan.shape.seed ^ (number + 1).wrapping_mul(0x9e37_79b9));
        play.run();
        prediction.load += play.load / PLAYS as f64;
        for order in core::mem::take(&mut play.orders) {
            match (order.runs_ms, order.ended_ms) {
                (Some(runs), Some(ended)) => {
                    waits.push((runs - order.begun_ms) as f64);
                    wholes.push((ended - order.begun_ms) as f64);
                }
                _ => prediction.lost += 1,
            }
            if order.arrival.provider < plan.shape.faulty {
                wrong += 1;
                caught += u64::from(play.catches());
            }
        }
    }
    [prediction.wait_p50, prediction.wait_p99] = quantiles(&mut waits);
    [prediction.whole_p50, prediction.whole_p99] = quantiles(&mut wholes);
    prediction.caught = caught as f64 / wrong.max(1) as f64;
    Ok(prediction)
}

fn quantiles(values: &mut [f64]) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| {
        let last = values.len().saturating_sub(1) as f64;
        values.get((last * share).round() as usize).copied().unwrap_or_default()
    })
}

/// Where an order is; the number is what is left of it, ms.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Not asked for yet, or no customer is free.
    Coming,
    Place(f64),
    Lease(f64),
    /// Waits for the provider's machine.
    Queue,
    Open(f64),
    Run(f64),
    Commit(f64),
    Deliver(f64),
    Finish(f64),
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Order {
    arrival: Arrival,
    phase: Phase,
    begun_ms: u64,
    runs_ms: Option<u64>,
    ended_ms: Option<u64>,
    /// Work that is left by what is on the disk.
    saved: Option<f64>,
    saved_ms: f64,
    /// Whether it needs a processor in this burst, while it waits for something.
    computes: bool,
}

/// One play.
struct Play<'p> {
    plan: &'p Plan,
    measured: &'p Measured,
    random: Random,
    orders: Vec<Order>,
    /// The first order that has not been asked for yet.
    next: usize,
    /// Those that were and have not ended, oldest first.
    active: Vec<usize>,
    /// Until when each provider is away.
    back_ms: Vec<u64>,
    /// The order that has each provider's machine.
    machine: Vec<Option<usize>>,
    free_customers: u32,
    /// Share of the time in which an order needs a core while it waits for something.
    waiting_cores: f64,
    /// Cores that the rest needs in this burst.
    background: f64,
    load: f64,
}

impl<'p> Play<'p> {
    fn new(plan: &'p Plan, measured: &'p Measured, seed: u64) -> Self {
        let order = |arrival: &Arrival| Order {
            arrival: *arrival,
            phase: Phase::Coming,
            begun_ms: 0,
            runs_ms: None,
            ended_ms: None,
            saved: None,
            saved_ms: 0.0,
            computes: false,
        };
        let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
        let delays =
            [&measured.place, &measured.lease, &measured.open, &measured.commit, &measured.deliver, &measured.finish];
        let delay: f64 = delays.into_iter().map(|list| mean(list)).sum();
        let providers = plan.shape.providers as usize;
        Self {
            plan,
            measured,
            random: Random::new(seed),
            orders: plan.orders.iter().map(order).collect(),
            next: 0,
            active: Vec::new(),
            back_ms: vec![0; providers],
            machine: vec![None; providers],
            free_customers: plan.shape.customers,
            waiting_cores: (measured.order_cpu_ms / delay.max(1.0)).min(1.0),
            background: 0.0,
            load: 0.0,
        }
    }

    fn drawn(&mut self, list: &[f64]) -> f64 {
        list[self.random.below(list.len() as u32) as usize]
    }

    /// Whether a wrong unit is in the customer's sample.
    fn catches(&mut self) -> bool {
        let (units, sample) = (self.plan.shape.units, self.plan.shape.sample);
        let mut seed = [0; 32];
        seed.iter_mut().for_each(|byte| *byte = self.random.below(256) as u8);
        let wrong = self.random.below(units);
        draw(Seed(seed), units, sample).contains(&wrong)
    }

    fn run(&mut self) {
        let mut kills = self.plan.kills.iter().peekable();
        let (mut busy, mut now) = (0.0, 0);
        while now < END_MS && (self.next < self.orders.len() || !self.active.is_empty()) {
            while self.orders.get(self.next).is_some_and(|order| order.arrival.at_ms <= now) {
                self.active.push(self.next);
                self.next += 1;
            }
            while kills.peek().is_some_and(|kill| kill.at_ms <= now) {
                if let Some(kill) = kills.next() {
                    self.kill(kill.provider as usize, now);
                }
            }
            busy += self.step(now);
            now += 1;
        }
        self.load = busy / now.max(1) as f64 / self.measured.cores.max(1.0);
    }

    /// What was not on the disk is lost; what the provider was about to do waits until it is back.
    fn kill(&mut self, provider: usize, now: u64) {
        // One that is away already dies no second time.
        if self.back_ms[provider] > now {
            return;
        }
        let measured = self.measured;
        let restart = self.drawn(&measured.restart);
        self.back_ms[provider] = now + self.plan.gap_ms + restart as u64;
        self.machine[provider] = None;
        for at in self.active.clone() {
            if self.orders[at].arrival.provider as usize != provider {
                continue;
            }
            let again = self.random.unit() * RETRY_MS;
            let phase = match self.orders[at].phase {
                Phase::Lease(_) => Phase::Lease(self.drawn(&measured.lease) + again),
                Phase::Open(_) | Phase::Run(_) => Phase::Queue,
                Phase::Commit(_) => Phase::Commit(self.drawn(&measured.commit)),
                Phase::Deliver(_) => Phase::Deliver(self.drawn(&measured.deliver)),
                Phase::Finish(left) => Phase::Finish(left + again),
                other => other,
            };
            self.orders[at].phase = phase;
        }
    }

    /// Who needs a processor from here on.
    fn begin_burst(&mut self) {
        let share = self.measured.background_cores / f64::from(BACKGROUND);
        self.background = f64::from((0..BACKGROUND).filter(|_| self.random.unit() < share).count() as u32);
        for at in self.active.clone() {
            self.orders[at].computes = self.random.unit() < self.waiting_cores;
        }
    }

    /// One millisecond; how many processors were in use.
    fn step(&mut self, now: u64) -> f64 {
        if now.is_multiple_of(BURST_MS) {
            self.begin_burst();
        }
        let (mut usual, mut running) = (self.background, 0.0);
        for at in &self.active {
            match self.orders[*at].phase {
                Phase::Coming | Phase::Queue | Phase::Done => {}
                Phase::Run(_) => running += 1.0,
                _ if self.orders[*at].computes => usual += 1.0,
                _ => {}
            }
        }
        let cores = self.measured.cores.max(1.0);
        let fair = (cores / usual.max(1.0)).min(1.0);
        let left = (cores - usual).max(0.0) / f64::max(running, 1.0);
        let run = left.clamp(IDLE_MIN, 1.0);
        for at in self.active.clone() {
            // Of a delay only the part that computes is slowed.
            let wait = if self.orders[at].computes { fair } else { 1.0 };
            self.advance(at, now, run, wait);
        }
        let demand = usual + running;
        self.active.retain(|at| self.orders[*at].phase != Phase::Done);
        demand.min(cores)
    }

    fn advance(&mut self, at: usize, now: u64, run: f64, wait: f64) {
        let measured = self.measured;
        let order = self.orders[at];
        let provider = order.arrival.provider as usize;
        let away = self.back_ms[provider] > now;
        // A delay goes on, or its end is the begin of the next phase.
        let phase = match order.phase {
            Phase::Done => return,
            Phase::Coming if self.free_customers > 0 => {
                self.free_customers -= 1;
                self.orders[at].begun_ms = now;
                Phase::Place(self.drawn(&measured.place))
            }
            Phase::Coming => Phase::Coming,
            Phase::Place(left) if left > wait => Phase::Place(left - wait),
            Phase::Place(_) => Phase::Lease(self.drawn(&measured.lease)),
            waiting if away => waiting,
            Phase::Lease(left) if left > wait => Phase::Lease(left - wait),
            Phase::Lease(_) => Phase::Queue,
            Phase::Queue if self.machine[provider].is_none() => {
                self.machine[provider] = Some(at);
                Phase::Open(self.drawn(&measured.open))
            }
            Phase::Queue => Phase::Queue,
            Phase::Open(left) if left > wait => Phase::Open(left - wait),
            Phase::Open(_) => {
                self.orders[at].runs_ms.get_or_insert(now);
                let left = order.saved.unwrap_or_else(|| self.drawn(&measured.work));
                (self.orders[at].saved, self.orders[at].saved_ms) = (Some(left), 0.0);
                Phase::Run(left)
            }
            Phase::Run(left) if left > run => {
                self.saves(at, left - run);
                Phase::Run(left - run)
            }
            Phase::Run(_) => {
                self.machine[provider] = None;
                Phase::Commit(self.drawn(&measured.commit))
            }
            Phase::Commit(left) if left > wait => Phase::Commit(left - wait),
            Phase::Commit(_) => Phase::Deliver(self.drawn(&measured.deliver)),
            Phase::Deliver(left) if left > wait => Phase::Deliver(left - wait),
            Phase::Deliver(_) => Phase::Finish(self.drawn(&measured.finish)),
            Phase::Finish(left) if left > wait => Phase::Finish(left - wait),
            Phase::Finish(_) => {
                self.free_customers += 1;
                self.orders[at].ended_ms = Some(now);
                Phase::Done
            }
        };
        self.orders[at].phase = phase;
    }

    fn saves(&mut self, at: usize, left: f64) {
        let order = &mut self.orders[at];
        order.saved_ms += 1.0;
        if order.saved_ms >= SAVE_MS {
            (order.saved, order.saved_ms) = (Some(left), 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn shape() -> Shape {
        Shape {
            seed: 1,
            providers: 24,
            faulty: 6,
            orders: 100,
            orders_per_second: 1.0,
            kills: 0,
            customers: 10,
            units: 40,
            sample: 10,
        }
    }

    fn measured() -> Measured {
        let one = |value: f64| vec![value];
        Measured {
            cores: 2.0,
            background_cores: 0.0,
            order_cpu_ms: 0.0,
            place: one(200.0),
            lease: one(300.0),
            open: one(100.0),
            work: one(500.0),
            commit: one(200.0),
            deliver: one(200.0),
            finish: one(500.0),
            restart: one(2_000.0),
        }
    }

    #[test]
    fn a_single_order_takes_the_sum_of_its_delays_and_its_work() {
        let plan = plan(Shape { orders: 1, ..shape() }).unwrap();
        let prediction = predict(&plan, &measured()).unwrap();
        assert!((prediction.wait_p50 - 600.0).abs() <= 5.0, "{prediction:?}");
        assert!((prediction.whole_p99 - 2_000.0).abs() <= 10.0, "{prediction:?}");
        assert_eq!(prediction.lost, 0);
    }

    #[test]
    fn processors_are_shared_and_a_queue_makes_waiting() {
        // One provider, so that orders wait for each other: work of 500 ms and 100 ms of opening at 1 order a second is a load of 0.6.
        let one = plan(Shape { providers: 1, faulty: 0, ..shape() }).unwrap();
        let queue = predict(&one, &measured()).unwrap();
        assert!(queue.wait_p50 > 605.0 && queue.wait_p99 > 1_500.0, "{queue:?}");
        // Half of a core is left: work takes twice as long.
        let slow = Measured { cores: 1.0, background_cores: 0.64, ..measured() };
        let single = plan(Shape { orders: 1, ..shape() }).unwrap();
        let prediction = predict(&single, &slow).unwrap();
        assert!((prediction.whole_p50 - 2_500.0).abs() <= 100.0, "{prediction:?}");
    }

    #[test]
    fn a_killed_provider_delays_and_loses_nothing() {
        let calm = plan(shape()).unwrap();
        let killed = Plan {
            kills: (0..60).map(|n| Arrival { at_ms: n * 1_500, provider: n as u32 % 24 }).collect(),
            ..calm.clone()
        };
        let (calm, killed) = (predict(&calm, &measured()).unwrap(), predict(&killed, &measured()).unwrap());
        assert_eq!((calm.lost, killed.lost), (0, 0));
        assert!(killed.whole_p99 > calm.whole_p99 + 1_000.0, "{calm:?} {killed:?}");
    }

    #[test]
    fn wrong_units_are_caught_as_often_as_the_sample_holds_them() {
        let plan = plan(Shape { orders: 400, ..shape() }).unwrap();
        let prediction = predict(&plan, &measured()).unwrap();
        // 10 of 40, of about 5,000 orders: sigma 0.006.
        assert!((prediction.caught - 0.25).abs() < 0.02, "{prediction:?}");
    }

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_wrong_numbers_are_named() {
        let text = |seed| serde_json::to_string(&plan(Shape { seed, ..shape() }).unwrap()).unwrap();
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert!(plan(Shape { sample: 41, ..shape() }).unwrap_err().contains("sample"));
        assert!(plan(Shape { orders_per_second: 0.0, ..shape() }).unwrap_err().contains("rate"));
        let plan = plan(shape()).unwrap();
        let nothing = Measured { lease: Vec::new(), ..measured() };
        assert!(predict(&plan, &nothing).unwrap_err().contains("lease"));
    }
}
