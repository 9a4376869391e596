//! The blocks that all orders share: when the next one is made, and when it is final.
//!
//! # Design
//! The rule of specs/0000-chain.md §5: a block is made as soon as there is a transaction for it and the interval has passed since the last one, or at the
//! heartbeat. So a single order meets a chain that waits for it, and many orders wait for the interval of each other's blocks. Making one is work for all
//! validators at once; when it is final after its time is drawn from what was seen on the idle network, and as far as that is work it takes longer where
//! others compute as well.
//!
//! # Not here
//! Views without a block, and the longer interval of a machine that needs more than 50 ms for a block.

/// Validators, who all compute at once.
pub(crate) const VALIDATORS: f64 = 4.0;

/// When blocks are made, ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    /// Between two blocks at least.
    pub(crate) interval_ms: f64,
    /// Between two blocks at most.
    pub(crate) heartbeat_ms: f64,
}

/// What a block takes the validators on the idle machine, ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) full_ms: f64,
    /// Without a transaction.
    pub(crate) empty_ms: f64,
}

/// The chain.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    beat: Beat,
    cost: Cost,
    /// Blocks so far.
    pub(crate) proposed: u64,
    proposed_ms: f64,
    finished: u64,
    /// Whether a transaction waits for a block.
    waiting: bool,
    /// What the validators still have to do.
    busy_ms: f64,
    pending: Option<Pending>,
}

/// What is left until the newest block is final, ms on the idle machine.
#[derive(Clone, Copy, Debug)]
struct Pending {
    busy_ms: f64,
    /// Waiting for disks and timers.
    rest_ms: f64,
}

impl Blocks {
    pub(crate) const fn new(beat: Beat, cost: Cost) -> Self {
        Self { beat, cost, proposed: 0, proposed_ms: 0.0, finished: 0, waiting: false, busy_ms: 0.0, pending: None }
    }

    /// A transaction is sent; the number of the block that will have it.
    pub(crate) const fn send(&mut self) -> u64 {
        self.waiting = true;
        self.proposed + 1
    }

    pub(crate) const fn is_final(&self, block: u64) -> bool {
        block <= self.finished
    }

    /// Whether the next block is to be made now.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let since = now as f64 - self.proposed_ms;
        let wait = if self.waiting { self.beat.interval_ms } else { self.beat.heartbeat_ms };
        self.pending.is_none() && since >= wait
    }

    /// Makes a block, which would be final after this time on the idle machine.
    pub(crate) fn propose(&mut self, now: u64, final_ms: f64) {
        let busy_ms = if self.waiting { self.cost.full_ms } else { self.cost.empty_ms };
        let until_final = busy_ms.min(final_ms);
        self.pending = Some(Pending { busy_ms: until_final, rest_ms: final_ms - until_final });
        self.busy_ms += busy_ms;
        self.proposed += 1;
        (self.proposed_ms, self.waiting) = (now as f64, false);
    }

    /// Threads that compute for blocks.
    pub(crate) fn threads(&self) -> f64 {
        if self.busy_ms > 0.0 { VALIDATORS } else { 0.0 }
    }

    /// One millisecond, in which the validators do this part of what they would do alone.
    pub(crate) fn advance(&mut self, share: f64) {
        self.busy_ms = (self.busy_ms - share).max(0.0);
        let Some(pending) = &mut self.pending else { return };
        if pending.busy_ms > 0.0 {
            pending.busy_ms -= share;
        } else {
            pending.rest_ms -= 1.0;
        }
        if pending.busy_ms <= 0.0 && pending.rest_ms <= 0.0 {
            self.finished = self.proposed;
            self.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const BEAT: Beat = Beat { interval_ms: 200.0, heartbeat_ms: 600.0 };
    const COST: Cost = Cost { full_ms: 40.0, empty_ms: 10.0 };

    #[test]
    fn a_block_comes_with_the_first_transaction_and_not_before_the_interval() {
        let mut blocks = Blocks::new(BEAT, COST);
        assert!(!blocks.is_due(599) && blocks.is_due(600));
        blocks.propose(600, 30.0);
        assert_eq!((blocks.send(), blocks.is_due(700)), (2, false));
        for _ in 0..30 {
            assert!(!blocks.is_final(1));
            blocks.advance(1.0);
        }
        assert!(blocks.is_final(1) && !blocks.is_final(2));
        assert!(!blocks.is_due(799) && blocks.is_due(800));
        blocks.propose(800, 30.0);
        // Half of the cores belong to others: the same work takes twice as long. What is left after that is done as well.
        for _ in 0..59 {
            blocks.advance(0.5);
        }
        assert!(!blocks.is_final(2) && blocks.threads() > 0.0);
        blocks.advance(0.5);
        assert!(blocks.is_final(2) && blocks.threads() > 0.0);
        (0..20).for_each(|_| blocks.advance(0.5));
        assert!(blocks.threads() == 0.0 && !blocks.is_due(1_399) && blocks.is_due(1_400));
    }

    #[test]
    fn transactions_of_many_wait_for_the_interval_as_the_formula_says() {
        // A cycle is an interval T, in which the transactions of a rate r come and wait T/2 in the mean, and with the probability exp(-rT) that none does
        // the time until one comes, which waits for nothing: rT^2/2 of waiting in a cycle, for rT + exp(-rT) transactions.
        let beat = Beat { heartbeat_ms: 1e12, ..BEAT };
        let mut blocks = Blocks::new(beat, Cost { full_ms: 0.0, empty_ms: 0.0 });
        let mut random = Random::new(3);
        let (mut next, mut sent, mut waited, mut count) = (1_000.0, Vec::new(), 0.0, 0.0);
        for now in 0..4_000_000_u64 {
            while next <= now as f64 {
                sent.push((now, blocks.send()));
                next += random.exponential(200.0);
            }
            if blocks.is_due(now) {
                blocks.propose(now, 0.0);
            }
            blocks.advance(1.0);
            for (at, _) in sent.extract_if(.., |(_, block)| blocks.is_final(*block)) {
                waited += (now - at) as f64;
                count += 1.0;
            }
        }
        let formula = 100.0 / (1.0 + (-1.0_f64).exp());
        assert!((waited / count / formula - 1.0).abs() < 0.03, "{} {formula}", waited / count);
    }
}
