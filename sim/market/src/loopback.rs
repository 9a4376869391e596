//! One machine's market, as `cargo xtask sim --calibrate` runs it with real processes: what the simulator says of the same orders, kills and delays.
//!
//! # Design
//! A [`Plan`] is a function of its seed: orders arrive as a Poisson process, each for a provider drawn at random; some providers are wrong in one unit of
//! every order; now and then one is killed and started again. The real run takes it as it is. [`predict`] plays it many times ([`play`]) with what was
//! [`Measured`] of another network: of its blocks, of single orders on it, of starts of a provider, and of the machine itself. What orders do to each other
//! is the model's: they share cores ([`processors`]) and blocks ([`chain`]), and wait for their provider's machine. Verdicts come from the draw of
//! `keystead_audit::sample`.
//!
//! # Not here
//! Audited windows (`world`): a plain order is checked by its customer.

mod chain;
mod play;
mod processors;
mod work;

use crate::random::Random;
use play::{MARKS, Play, RUNS};
use serde::{Deserialize, Serialize};

/// Between the death of a provider and its next start, ms.
const GAP_MS: u64 = 1_000;
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

/// One step of an order, of single ones on the idle network.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Step {
    /// How long it took, ms, one number for each order.
    pub(crate) wall: Vec<f64>,
    /// Processor time meanwhile in the mean, beside what is used without orders, ms.
    pub(crate) usual_ms: f64,
    /// Of the system's idle class.
    pub(crate) idle_ms: f64,
}

/// The steps of an order between its transactions, and what a provider does beside orders.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Steps {
    /// Start of the command until the order's transaction is sent.
    pub(crate) begin: Step,
    /// From the order's number until the lease's transaction is sent: the customer brings the inputs.
    pub(crate) lease: Step,
    /// Lease to the first unit.
    pub(crate) open: Step,
    /// All units of an order.
    pub(crate) work: Step,
    /// Last unit until the commitment is sent.
    pub(crate) commit: Step,
    /// Commitment until the delivery is sent.
    pub(crate) deliver: Step,
    /// Commitment until the customer has the outputs.
    pub(crate) fetch: Step,
    /// The customer sees the delivery, until its decision is sent.
    pub(crate) check: Step,
    /// A rejection until the refund is asked for.
    pub(crate) refund: Step,
    /// The last transaction until the command ends.
    pub(crate) end: Step,
    /// The provider takes its pay home.
    pub(crate) payout: Step,
    /// Start of a provider until it takes orders.
    pub(crate) restart: Step,
}

/// What is known of the machine, of an idle network on it, and of single orders there.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Measured {
    pub(crate) cores: f64,
    /// Speed of a core while all are busy, as a share of its speed while the others rest.
    pub(crate) together: f64,
    /// Processors in use beside blocks while nothing is ordered.
    pub(crate) waiting_cores: f64,
    /// Between blocks at least, and at most, ms: rules of the chain.
    pub(crate) interval_ms: f64,
    pub(crate) heartbeat_ms: f64,
    /// Processor time of all validators for a block with transactions, and for one without, ms.
    pub(crate) block_cpu_ms: f64,
    pub(crate) empty_block_cpu_ms: f64,
    /// From a block's time until a node has it, ms, one number for each block.
    pub(crate) final_ms: Vec<f64>,
    /// Between two looks for a transaction, and for the delivery, ms.
    pub(crate) receipt_poll_ms: f64,
    pub(crate) record_poll_ms: f64,
    pub(crate) steps: Steps,
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
    /// Mean time from one block to the next, ms.
    pub(crate) between_blocks: f64,
    /// From each moment of an order to the next one, p50 and p99, ms.
    pub(crate) parts: [[f64; 2]; MARKS - 1],
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

impl Measured {
    fn check(&self) -> Result<(), String> {
        let Steps { begin, lease, open, work, commit, deliver, fetch, check, refund, end, payout, restart } =
            &self.steps;
        let steps = [
            ("begin", begin),
            ("lease", lease),
            ("open", open),
            ("work", work),
            ("commit", commit),
            ("deliver", deliver),
            ("fetch", fetch),
            ("check", check),
            ("refund", refund),
            ("end", end),
            ("payout", payout),
            ("restart", restart),
        ];
        let is_usable = |value: &f64| value.is_finite() && *value >= 0.0;
        let are_usable = |list: &[f64]| !list.is_empty() && list.iter().all(is_usable);
        for (name, step) in steps {
            if !are_usable(&step.wall) || !are_usable(&[step.usual_ms, step.idle_ms]) {
                return Err(format!("nothing usable was measured: {name}"));
            }
        }
        if !are_usable(&self.final_ms) {
            return Err("nothing usable was measured: finality".to_owned());
        }
        if !are_usable(&[self.cores, self.waiting_cores, self.block_cpu_ms, self.empty_block_cpu_ms]) {
            return Err("the machine's numbers are not usable".to_owned());
        }
        let is_share = self.together > 0.0 && self.together <= 1.0;
        if !is_share {
            return Err(format!(
                "a core beside busy ones has more than nothing and at most all of its speed: {}",
                self.together
            ));
        }
        // Steps of a play are milliseconds.
        let beats = [self.interval_ms, self.heartbeat_ms, self.receipt_poll_ms, self.record_poll_ms];
        if !are_usable(&beats) || beats.iter().any(|beat| *beat < 1.0) {
            return Err(format!("a beat is shorter than 1 ms: {beats:?}"));
        }
        Ok(())
    }
}

/// Plays the plan many times.
pub(crate) fn predict(plan: &Plan, measured: &Measured) -> Result<Prediction, String> {
    plan.shape.check()?;
    measured.check()?;
    if plan.orders.iter().chain(&plan.kills).any(|arrival| arrival.provider >= plan.shape.providers) {
        return Err("the plan names a provider that there is not".to_owned());
    }
    let (mut waits, mut wholes) = (Vec::new(), Vec::new());
    let mut parts: [Vec<f64>; MARKS - 1] = Default::default();
    let (mut wrong, mut caught, mut prediction) = (0_u64, 0_u64, Prediction { plays: PLAYS, ..Prediction::default() });
    for number in 0..PLAYS {
        let mut play = Play::new(plan, measured, plan.shape.seed ^ (number + 1).wrapping_mul(0x9e37_79b9));
        play.run();
        prediction.load += play.load / PLAYS as f64;
        prediction.between_blocks += play.between_blocks_ms / PLAYS as f64;
        for order in play.orders {
            let span = |from: usize, to: usize| Some((order.marks[to]? - order.marks[from]?) as f64);
            match (span(0, RUNS), span(0, MARKS - 1)) {
                (Some(wait), Some(whole)) => {
                    waits.push(wait);
                    wholes.push(whole);
                }
                _ => prediction.lost += 1,
            }
            for (number, part) in parts.iter_mut().enumerate() {
                part.extend(span(number, number + 1));
            }
            if order.arrival.provider < plan.shape.faulty {
                wrong += 1;
                caught += u64::from(order.caught);
            }
        }
    }
    [prediction.wait_p50, prediction.wait_p99] = quantiles(&mut waits);
    [prediction.whole_p50, prediction.whole_p99] = quantiles(&mut wholes);
    prediction.parts = parts.map(|mut part| quantiles(&mut part));
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

    pub(super) fn step(wall: f64, usual_ms: f64, idle_ms: f64) -> Step {
        Step { wall: vec![wall], usual_ms, idle_ms }
    }

    /// A machine that waits for everything and computes nothing.
    pub(super) fn measured() -> Measured {
        let waits = |wall| step(wall, 0.0, 0.0);
        Measured {
            cores: 2.0,
            together: 1.0,
            waiting_cores: 0.0,
            interval_ms: 200.0,
            heartbeat_ms: 600.0,
            block_cpu_ms: 0.0,
            empty_block_cpu_ms: 0.0,
            final_ms: vec![20.0],
            receipt_poll_ms: 100.0,
            record_poll_ms: 300.0,
            steps: Steps {
                begin: waits(100.0),
                lease: waits(60.0),
                open: waits(40.0),
                work: waits(500.0),
                commit: waits(10.0),
                deliver: waits(10.0),
                fetch: waits(30.0),
                check: waits(100.0),
                refund: waits(20.0),
                end: waits(50.0),
                payout: waits(5.0),
                restart: waits(2_000.0),
            },
        }
    }

    #[test]
    fn a_single_order_takes_the_sum_of_its_steps_and_waits_for_blocks_and_looks() {
        let plan = plan(Shape { orders: 1, faulty: 0, ..shape() }).unwrap();
        let prediction = predict(&plan, &measured()).unwrap();
        // 100 + 60 + 40, and for two transactions one to three looks each.
        assert!((400.0..=800.0).contains(&prediction.wait_p50), "{prediction:?}");
        // From the first unit 500 + 10, the commitment's looks, the customer's looks for the delivery (30, and one or two times 300), 100, the looks for
        // its decision, 50.
        let rest = prediction.whole_p99 - prediction.wait_p99;
        assert!((1_190.0..=1_890.0).contains(&rest), "{prediction:?}");
        assert_eq!(prediction.lost, 0);
        let sum: f64 = prediction.parts.iter().map(|[_, p99]| p99).sum();
        assert!((sum - prediction.whole_p99).abs() < 1e-9, "{prediction:?}");
    }

    #[test]
    fn what_computes_is_slowed_by_others_and_what_waits_is_not() {
        let single = Measured { cores: 1.0, ..measured() };
        let waits = predict(&plan(shape()).unwrap(), &single).unwrap();
        let mut busy = single;
        (busy.steps.work.idle_ms, busy.steps.check.usual_ms, busy.steps.begin.usual_ms) = (500.0, 100.0, 100.0);
        let computes = predict(&plan(shape()).unwrap(), &busy).unwrap();
        assert!(computes.whole_p50 > waits.whole_p50, "{waits:?} {computes:?}");
        // 0.7 seconds of each second are in use, for the time in which orders come.
        assert!(waits.load < 1e-9 && (0.5..0.95).contains(&computes.load), "{waits:?} {computes:?}");
        // Who only looks was there when the steps were measured, too, so it makes none of them longer; it takes its part of what else is free, 0.3 of the time.
        let fuller = predict(&plan(shape()).unwrap(), &Measured { waiting_cores: 0.2, ..busy }).unwrap();
        assert!((0.03..0.1).contains(&(fuller.load - computes.load)), "{computes:?} {fuller:?}");
    }

    #[test]
    fn many_orders_wait_for_each_others_blocks() {
        let few =
            predict(&plan(Shape { orders: 40, orders_per_second: 0.2, ..shape() }).unwrap(), &measured()).unwrap();
        let many = predict(&plan(Shape { orders_per_second: 2.0, ..shape() }).unwrap(), &measured()).unwrap();
        assert!(many.wait_p50 > few.wait_p50 + 20.0, "{few:?} {many:?}");
        assert!(few.between_blocks > many.between_blocks && many.between_blocks >= 200.0, "{few:?} {many:?}");
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
        let mut nothing = measured();
        nothing.steps.lease.wall.clear();
        assert!(predict(&plan, &nothing).unwrap_err().contains("lease"));
        let odd = |measured| predict(&plan, &measured).unwrap_err();
        assert!(odd(Measured { receipt_poll_ms: 0.0, ..measured() }).contains("1 ms"));
        assert!(odd(Measured { together: 0.0, ..measured() }).contains("speed"));
        assert!(odd(Measured { final_ms: vec![f64::NAN], ..measured() }).contains("finality"));
    }
}
