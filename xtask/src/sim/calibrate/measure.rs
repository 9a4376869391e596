//! What the simulator is given: the machine, blocks, single orders and starts of a provider, measured on a network of their own.
//!
//! # Design
//! An order is cut where its processes say so in their logs: into steps, which compute and wait by themselves, and into waits for a transaction's block.
//! Processor time is the whole machine's between two moments, less what is used without orders; what is used while a transaction is waited for is the
//! blocks'. Nothing of it comes from orders beside each other, which is what the simulator is to predict.

use super::{
    INTERVAL_MS, ORDER_MAX, Stage, at, blocks,
    machine::{Samples, sample},
};
use crate::parties::{Line, Micros, Ran, cpu_of_machine, ms, must_say, now, said};
use eyre::{Result, eyre};
use serde::Serialize;
use std::{thread, time::Duration};

/// Between two blocks at most: a rule of the chain (specs/0000-chain.md §5).
const HEARTBEAT_MS: u32 = 600;
/// How often a process looks for its transaction's receipt, and a customer for its delivery, ms, beside the time of a look.
const RECEIPT_POLL_MS: f64 = 100.0;
const RECORD_POLL_MS: f64 = 300.0;
/// Single orders begin so much later in the interval, one after the other; it has no common divisor with it.
const PHASE_MS: u64 = 77;
/// The machine without orders is measured over this.
const STILL: Duration = Duration::from_secs(10);
/// After an order its provider takes its pay home.
const AFTER: Duration = Duration::from_millis(1_500);
/// Orders during which it is watched when blocks are final; nothing else is taken from them.
const WATCHED: u32 = 5;
/// Providers that are started again.
const STARTED: usize = 8;
/// What processes say at the cuts.
const SENT: &str = "transaction sent";
const FOUND: &str = "transaction in a block";

/// What the simulator is given. The words are those of `keystead-sim-market predict`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    pub(super) cores: f64,
    pub(super) together: f64,
    pub(super) waiting_cores: f64,
    interval_ms: f64,
    heartbeat_ms: f64,
    pub(super) block_cpu_ms: f64,
    pub(super) empty_block_cpu_ms: f64,
    pub(super) final_ms: Vec<f64>,
    pub(super) receipt_poll_ms: f64,
    pub(super) record_poll_ms: f64,
    pub(super) steps: Steps,
}

/// A step: how long it took, ms, one number for each order, and its mean processor time of the usual class and of workers.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) wall: Vec<f64>,
    pub(super) usual_ms: f64,
    pub(super) idle_ms: f64,
}

/// The steps between transactions, and what a provider does beside orders.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Steps {
    pub(super) begin: Step,
    pub(super) lease: Step,
    pub(super) open: Step,
    pub(super) work: Step,
    pub(super) commit: Step,
    pub(super) deliver: Step,
    pub(super) fetch: Step,
    pub(super) check: Step,
    pub(super) refund: Step,
    pub(super) end: Step,
    pub(super) payout: Step,
    pub(super) restart: Step,
}

/// A span of time.
type Span = (Micros, Micros);

/// The moments of a single order.
#[derive(Clone, Copy, Debug)]
struct Moments {
    begun: Micros,
    /// From a transaction's sending to the moment at which its sender sees it in a block.
    placing: Span,
    leasing: Span,
    runs: Micros,
    finished: Micros,
    committing: Span,
    delivering: Span,
    /// The customer has the outputs, and sees the delivery.
    arrived: Micros,
    checks: Micros,
    deciding: Span,
    /// Of a rejected order.
    refunding: Option<Span>,
    ended: Micros,
}

impl Stage {
    /// Measures everything but what cores do to each other, which is given. The network has no providers yet.
    pub(super) fn measure(&mut self, orders: u32, together: f64) -> Result<Measured> {
        let cores = thread::available_parallelism()?.get() as f64;
        let empty_block_cpu_ms = self.empty_block()?;
        self.start_all()?;
        let (interval_ms, heartbeat_ms) = (INTERVAL_MS as f64, f64::from(HEARTBEAT_MS));
        let mut measured = Measured {
            cores,
            together,
            empty_block_cpu_ms,
            interval_ms,
            heartbeat_ms,
            final_ms: self.finality()?,
            ..Measured::default()
        };
        // The last order's provider takes its pay home.
        thread::sleep(AFTER);
        let noted = sample();
        let first = blocks::head(self.node()?)?;
        let still = self.still()?;
        let mut singles = Vec::new();
        for number in 0..orders {
            // Blocks come at a beat, and an order begins at any moment of it: not always just after the last one's end.
            let phase = u64::from(number).wrapping_mul(PHASE_MS).checked_rem(INTERVAL_MS).unwrap_or_default();
            thread::sleep(Duration::from_millis(phase));
            singles.push(self.single(number)?);
            thread::sleep(AFTER);
        }
        let starts = self.starts()?;
        let samples = Samples(noted.finish()?);
        let blocks = blocks::times(self.node()?, first, blocks::head(self.node()?)?)?;
        Accounts { samples, blocks }.close(&mut measured, still, &singles, &starts);
        println!("measured: {}", serde_json::to_string(&measured)?);
        Ok(measured)
    }

    /// Processor time of a block without transactions, ms: nothing but validators runs.
    fn empty_block(&self) -> Result<f64> {
        let (before, first) = (cpu_of_machine()?, blocks::head(self.node()?)?);
        // The measurement itself is a span of time.
        thread::sleep(STILL);
        let (used, last) = (cpu_of_machine()? - before, blocks::head(self.node()?)?);
        Ok(used * 1_000.0 / last.saturating_sub(first).max(1) as f64)
    }

    /// A span in which providers wait for orders.
    fn still(&self) -> Result<Span> {
        let begun = now();
        // The measurement itself is a span of time.
        thread::sleep(STILL);
        Ok((begun, now()))
    }

    /// From the times of blocks until the customers' node has them, ms, during single orders.
    fn finality(&mut self) -> Result<Vec<f64>> {
        let node = self.node()?;
        let watch = blocks::watch(node);
        for number in 0..WATCHED {
            self.order_of(number, "watched")?;
        }
        let seen = watch.finish()?;
        seen.into_iter().map(|(number, at)| Ok(ms(blocks::time(node, number)?, at))).collect()
    }

    /// An order for the next provider in turn.
    fn order_of(&mut self, number: u32, name: &str) -> Result<(usize, Ran)> {
        let provider = usize::try_from(number.checked_rem(self.shape.providers).unwrap_or_default())?;
        let customer = self.order(provider, 0, &format!("{name}-{number}"))?;
        Ok((provider, customer.finish(ORDER_MAX)?))
    }

    /// When what happened to a single order.
    fn single(&mut self, number: u32) -> Result<Moments> {
        let (provider, ran) = self.order_of(number, "single")?;
        let ((placed, order), log) = (ran.placed()?, self.process(provider)?.log()?);
        let of = |words: &str| must_say(&log, words, order);
        let (leased, runs, finished) = (of("order leased")?, of("run begins")?, of("run finished")?);
        let (committed, delivered) = (of("result committed")?, of("result delivered")?);
        let sent = |until: Micros| last(&log, SENT, until);
        let mut own = ran.lines.iter().filter(|line| line.text.contains(SENT)).map(|line| line.at);
        let mut found = ran.lines.iter().filter(|line| line.text.contains(FOUND)).map(|line| line.at);
        let mut next = || own.next().ok_or_else(|| eyre!("a customer sent too few transactions:\n{}", ran.text()));
        let (place, decide) = (next()?, next()?);
        let decided = found.next().ok_or_else(|| eyre!("a customer's decision is in no block:\n{}", ran.text()))?;
        Ok(Moments {
            begun: ran.begun,
            placing: (place, placed),
            leasing: (sent(leased)?, leased),
            runs,
            finished,
            committing: (sent(committed)?, committed),
            delivering: (sent(delivered)?, delivered),
            arrived: customer_says(&ran, "outputs arrived")?,
            checks: customer_says(&ran, "check begins")?,
            deciding: (decide, decided),
            refunding: next().ok().zip(found.next()),
            ended: ran.ended,
        })
    }

    /// Starts of providers that were killed, until they take orders.
    fn starts(&mut self) -> Result<Vec<Span>> {
        let mut starts = Vec::new();
        for number in 0..self.places.len().min(STARTED) {
            self.process(number)?.kill();
            let begun = now();
            self.start(number)?;
            self.process(number)?.ready()?;
            starts.push((begun, now()));
        }
        Ok(starts)
    }
}

impl Moments {
    /// Transactions, until their senders saw them in blocks.
    fn transactions(&self) -> impl Iterator<Item = Span> + use<> {
        let Self { placing, leasing, committing, delivering, deciding, refunding, .. } = *self;
        [placing, leasing, committing, delivering, deciding].into_iter().chain(refunding)
    }

    /// What is left of an order beside its steps: waits for transactions, and the customer's for the delivery. No two are at once.
    fn waits(&self) -> impl Iterator<Item = Span> + use<> {
        let Self { placing, leasing, committing, arrived, checks, deciding, refunding, .. } = *self;
        [placing, leasing, committing, (arrived, checks), deciding].into_iter().chain(refunding)
    }

    /// The last transaction is in a block.
    fn closed(&self) -> Micros {
        self.refunding.unwrap_or(self.deciding).1
    }
}

/// The machine's processor time and the chain's blocks all along.
struct Accounts {
    samples: Samples,
    blocks: Vec<Micros>,
}

impl Accounts {
    /// Says what each thing took, the simple things first: each further one is what those do not explain.
    fn close(&self, measured: &mut Measured, still: Span, singles: &[Moments], starts: &[Span]) {
        let still_ms = ms(still.0, still.1).max(f64::MIN_POSITIVE);
        let of_blocks = measured.empty_block_cpu_ms * self.count(still);
        measured.waiting_cores = ((self.used(still) - of_blocks) / still_ms).max(0.0);
        let waits: Vec<Span> = singles.iter().flat_map(Moments::waits).collect();
        let used: f64 = waits.iter().map(|span| self.beyond(measured, *span).iter().sum::<f64>()).sum();
        let count: f64 = waits.iter().map(|span| self.count(*span)).sum();
        measured.block_cpu_ms = (used / count.max(1.0)).max(0.0);
        let step = |spans: &dyn Fn(&Moments) -> Span| {
            let spans: Vec<Span> = singles.iter().map(spans).collect();
            self.step(measured, &spans, &spans)
        };
        // Beside the fetch the delivery is made; what that takes is its own.
        let fetches: Vec<Span> = singles.iter().map(|one| (one.committing.1, one.arrived)).collect();
        let after: Vec<Span> = singles.iter().map(|one| (one.delivering.0, one.arrived)).collect();
        let refunded: Vec<Span> = singles.iter().filter_map(|one| Some((one.deciding.1, one.refunding?.0))).collect();
        let deliver = step(&|one| (one.committing.1, one.delivering.0));
        // A short measurement may have met no rejection: then it is a transaction after another, as a delivery is.
        let refund = if refunded.is_empty() { deliver.clone() } else { self.step(measured, &refunded, &refunded) };
        measured.steps = Steps {
            begin: step(&|one| (one.begun, one.placing.0)),
            lease: step(&|one| (one.placing.1, one.leasing.0)),
            open: step(&|one| (one.leasing.1, one.runs)),
            work: step(&|one| (one.runs, one.finished)),
            commit: step(&|one| (one.finished, one.committing.0)),
            deliver,
            fetch: self.step(measured, &fetches, &after),
            check: step(&|one| (one.checks, one.deciding.0)),
            refund,
            end: step(&|one| (one.closed(), one.ended)),
            payout: self.payout(measured, singles),
            restart: self.step(measured, starts, starts),
        };
        let looks: Vec<Span> = singles.iter().flat_map(Moments::transactions).collect();
        let records: Vec<Span> = singles.iter().map(|one| (one.arrived, one.checks)).collect();
        measured.receipt_poll_ms = period(&looks, RECEIPT_POLL_MS);
        measured.record_poll_ms = period(&records, RECORD_POLL_MS);
    }

    /// Processor time in a span, ms.
    fn used(&self, (from, to): Span) -> f64 {
        self.samples.between(from, to).iter().sum()
    }

    /// The same of both classes, beyond what is used without orders and blocks.
    fn beyond(&self, measured: &Measured, (from, to): Span) -> [f64; 2] {
        let [usual, idle] = self.samples.between(from, to);
        [usual - measured.waiting_cores * ms(from, to), idle]
    }

    /// Blocks that were made in a span.
    fn count(&self, (from, to): Span) -> f64 {
        self.blocks.iter().filter(|block| (from..to).contains(*block)).count() as f64
    }

    /// A step by how long it took, and by the spans in which its processor time was used. No transaction is under way in them: their blocks are heartbeats.
    fn step(&self, measured: &Measured, took: &[Span], used: &[Span]) -> Step {
        let (mut usual_ms, mut idle_ms) = (0.0, 0.0);
        for span in used {
            let [usual, idle] = self.beyond(measured, *span);
            let of_steps = usual - measured.empty_block_cpu_ms * self.count(*span);
            usual_ms += of_steps / used.len().max(1) as f64;
            idle_ms += idle / used.len().max(1) as f64;
        }
        let wall = took.iter().map(|(from, to)| ms(*from, *to)).collect();
        Step { wall, usual_ms: usual_ms.max(0.0), idle_ms: idle_ms.max(0.0) }
    }

    /// What is used after a paid order, beside blocks: one with the withdrawal, and heartbeats.
    fn payout(&self, measured: &Measured, singles: &[Moments]) -> Step {
        let after = u64::try_from(AFTER.as_micros()).unwrap_or(u64::MAX);
        let paid: Vec<Span> = singles
            .iter()
            .filter(|one| one.refunding.is_none())
            .map(|one| (one.ended, one.ended.saturating_add(after)))
            .collect();
        let mut cpu_ms = 0.0;
        for span in &paid {
            let heartbeats = (self.count(*span) - 1.0).max(0.0);
            let of_blocks = measured.block_cpu_ms + heartbeats * measured.empty_block_cpu_ms;
            let used: f64 = self.beyond(measured, *span).iter().sum();
            cpu_ms += (used - of_blocks) / paid.len() as f64;
        }
        let cpu_ms = cpu_ms.max(0.0);
        Step { wall: vec![cpu_ms], usual_ms: cpu_ms, idle_ms: 0.0 }
    }
}

/// The time from one look to the next, from spans that ended with a look that found something; the first look is at once, in vain.
fn period(spans: &[Span], least_ms: f64) -> f64 {
    let looks = spans.iter().filter_map(|(from, to)| {
        let span_ms = ms(*from, *to);
        let count = (span_ms / least_ms).floor();
        (count >= 1.0).then_some(span_ms / count)
    });
    let looks: Vec<f64> = looks.collect();
    if looks.is_empty() { least_ms } else { at(&looks, 0.5) }
}

/// When a log says these words last, up to a moment.
fn last(log: &[Line], words: &str, until: Micros) -> Result<Micros> {
    let lines = log.iter().filter(|line| line.at <= until && line.text.contains(words));
    lines.map(|line| line.at).next_back().ok_or_else(|| eyre!("a provider's log does not say {words:?}"))
}

/// When a customer says these words of its order, first.
fn customer_says(ran: &Ran, words: &str) -> Result<Micros> {
    let (_, order) = ran.placed()?;
    said(&ran.lines, words, order).ok_or_else(|| eyre!("a customer does not say {words:?}:\n{}", ran.text()))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_from_what_they_ended() {
        // One look after 104 ms, three of 103 ms each; a span that is too short for one says nothing.
        let spans = [(0, 104_000), (1_000_000, 1_309_000), (2_000_000, 2_050_000)];
        assert!((period(&spans, 100.0) - 104.0).abs() < 1.5, "{}", period(&spans, 100.0));
        assert!((period(&spans[2..], 100.0) - 100.0).abs() < f64::EPSILON);
    }

    /// An order whose steps take 10 ms each and whose waits take 105 ms, but for the delivery's.
    fn order(begun: Micros) -> Moments {
        let at = |ms: u64| begun + ms * 1_000;
        Moments {
            begun,
            placing: (at(10), at(115)),
            leasing: (at(125), at(230)),
            runs: at(240),
            finished: at(250),
            committing: (at(260), at(365)),
            delivering: (at(375), at(580)),
            arrived: at(385),
            checks: at(690),
            deciding: (at(700), at(805)),
            refunding: None,
            ended: at(815),
        }
    }

    #[test]
    fn what_is_used_goes_to_steps_blocks_and_waiting() {
        // A tenth of a second is used in each, all along: by what waits, and by five steps of 10 ms and four blocks of 40 ms of an order.
        let order = order(20_000_000);
        let (mut used, mut samples) = (0.0, Vec::new());
        let blocks: Vec<Micros> = [20, 135, 270, 420, 710].map(|ms| 20_000_000 + ms * 1_000).into();
        let steps = [(0, 10), (115, 125), (230, 250), (690, 700)];
        for ms in 0..30_000_u64 {
            let (at, own) = (ms * 1_000, ms.saturating_sub(20_000));
            samples.push((at, [used, 0.0]));
            used += 0.000_1;
            if ms >= 20_000 && steps.iter().any(|(from, to)| (*from..*to).contains(&own)) {
                used += 0.001;
            }
            // A block takes 40 ms of processor time within 40 ms.
            if blocks.iter().any(|block| (*block..*block + 40_000).contains(&at)) {
                used += 0.001;
            }
        }
        let mut measured = Measured { cores: 2.0, ..Measured::default() };
        let accounts = Accounts { samples: Samples(samples), blocks };
        accounts.close(&mut measured, (1_000_000, 11_000_000), &[order], &[(25_000_000, 25_900_000)]);
        assert!((measured.waiting_cores - 0.1).abs() < 1e-6, "{measured:?}");
        assert!((measured.block_cpu_ms - 40.0).abs() < 0.5, "{measured:?}");
        let Steps { begin, lease, open, check, end, restart, .. } = &measured.steps;
        for (step, cpu_ms) in [(begin, 10.0), (lease, 10.0), (open, 10.0), (check, 10.0), (end, 0.0)] {
            assert!((step.usual_ms - cpu_ms).abs() < 0.5 && step.wall == [10.0], "{step:?}");
        }
        assert!(restart.usual_ms.abs() < 1e-3 && restart.wall == [900.0], "{restart:?}");
        assert!((measured.receipt_poll_ms - 105.0).abs() < 0.1 && (measured.record_poll_ms - 305.0).abs() < 0.1);
    }
}
