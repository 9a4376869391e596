//! The section of docs/SIMULATION.md about the comparison.

use super::{PARTS, Plan, Prediction, Real, Shape, VALIDATORS, at, error, measure::Measured};

/// How the figures came about, for the page.
const HOW: &str = "\
The simulator is given what was measured on one network (below), and predicts another one, with other providers, of which it knows the plan alone: when which order comes and which provider \
dies. An order is a row of steps that compute and wait, with transactions between them. All that compute share the cores evenly; units run in the idle class and have what is left; a core is slower while \
all are busy. A transaction is in the next block, which comes with the first transaction once the interval has passed, so that orders wait for the interval of each other's blocks; making a \
block is work for all validators. Who sent a transaction looks for it every 100 ms, and a customer for its delivery every 300 ms. Not in the model: which core a process is on, disks that are \
waited for, the longer interval of a machine whose blocks take long.
";

pub(super) fn section(plan: &Plan, measured: &Measured, real: &Real, prediction: &Prediction) -> String {
    let Shape { seed, providers, faulty, orders, orders_per_second, units, sample, .. } = plan.shape;
    let share = f64::from(real.caught) / f64::from(real.wrong.max(1));
    let sigma = (prediction.caught * (1.0 - prediction.caught) / f64::from(real.wrong.max(1))).sqrt();
    let rows = [
        ("start of the command to the first unit, p50, ms", at(&real.waits, 0.5), prediction.wait_p50),
        ("start of the command to the first unit, p99, ms", at(&real.waits, 0.99), prediction.wait_p99),
        ("start of the command to its end, p50, ms", at(&real.wholes, 0.5), prediction.whole_p50),
        ("start of the command to its end, p99, ms", at(&real.wholes, 0.99), prediction.whole_p99),
        ("share of the processors in use, %", real.load * 100.0, prediction.load * 100.0),
        ("from one block to the next, mean, ms", real.between_blocks, prediction.between_blocks),
        ("wrong units caught, % of orders", share * 100.0, prediction.caught * 100.0),
    ];
    let mut text = format!(
        "{orders} orders of {units} units at {orders_per_second} a second to {providers} real providers on {} cores, {faulty} of them wrong in one unit of every order, \
         of which a sample of {sample} is run again; {} kills (kill -9, a second, a new start); {VALIDATORS} validators. Seed {seed}; the prediction is of {} plays. \
         Orders lost: 0 and {}.\n\n{HOW}\n",
        measured.cores, real.kills, prediction.plays, prediction.lost
    );
    text.push_str("| | real | simulated | error |\n|---|---|---|---|\n");
    for (name, real, predicted) in rows {
        text.push_str(&format!("| {name} | {real:.1} | {predicted:.1} | {:+.1} % |\n", error(real, predicted)));
    }
    text.push_str(&format!(
        "\nOf {} wrong orders, one sigma of the share caught is {:.1} points.\n",
        real.wrong,
        sigma * 100.0
    ));
    text.push_str("\n| part of an order, p50 and p99, ms | real | simulated |\n|---|---|---|\n");
    for ((name, real), [p50, p99]) in PARTS.into_iter().zip(&real.parts).zip(&prediction.parts) {
        let [real_p50, real_p99] = [0.5, 0.99].map(|share| at(real, share));
        text.push_str(&format!("| {name} | {real_p50:.0}, {real_p99:.0} | {p50:.0}, {p99:.0} |\n"));
    }
    text.push_str(&given(measured));
    text
}

/// What the simulator was given.
fn given(measured: &Measured) -> String {
    let mut text = "\nGiven to the simulator, of single orders on an idle network: how long it took (p50, p95), and the processor time meanwhile, of the usual and of the idle class, ms\n\n\
        | step | took | usual | idle |\n|---|---|---|---|\n"
        .to_owned();
    let steps = &measured.steps;
    let rows = [
        ("start of the command until the order is sent", &steps.begin),
        ("the order's number until the lease is sent", &steps.lease),
        ("lease to the warm worker", &steps.open),
        ("all units", &steps.work),
        ("last unit until the commitment is sent", &steps.commit),
        ("commitment until the delivery is sent", &steps.deliver),
        ("commitment until the customer has the outputs", &steps.fetch),
        ("the delivery is seen until the decision is sent", &steps.check),
        ("a rejection until the refund is asked for", &steps.refund),
        ("last transaction to the end of the command", &steps.end),
        ("a provider takes its pay home", &steps.payout),
        ("start of a provider", &steps.restart),
    ];
    for (name, step) in rows {
        let (p50, p95) = (at(&step.wall, 0.5), at(&step.wall, 0.95));
        text.push_str(&format!("| {name} | {p50:.0}, {p95:.0} | {:.0} | {:.0} |\n", step.usual_ms, step.idle_ms));
    }
    let [final_p50, final_p95] = [0.5, 0.95].map(|share| at(&measured.final_ms, share));
    text.push_str(&format!(
        "\n| of the machine and the chain | |\n|---|---|\n\
         | a block's time until a node has it, ms (p50, p95) | {final_p50:.0}, {final_p95:.0} |\n\
         | processor time of a block with transactions, and without, ms | {:.0}, {:.0} |\n\
         | from one look for a transaction to the next, and for the delivery, ms | {:.0}, {:.0} |\n\
         | processors in use without orders and blocks | {:.2} of {} |\n\
         | speed of a core while all are busy (a random walk over a MiB each) | {:.0} % |\n",
        measured.block_cpu_ms,
        measured.empty_block_cpu_ms,
        measured.receipt_poll_ms,
        measured.record_poll_ms,
        measured.waiting_cores,
        measured.cores,
        measured.together * 100.0
    ));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::FULL, *};

    #[test]
    fn the_page_has_a_row_for_each_figure_and_each_part() {
        let plan = Plan { shape: FULL, gap_ms: 1_000, orders: Vec::new(), kills: Vec::new() };
        let mut real = Real { waits: vec![500.0], wholes: vec![2_000.0], load: 0.5, ..Real::default() };
        real.parts.iter_mut().for_each(|part| part.push(70.0));
        let prediction = Prediction {
            plays: 50,
            wait_p50: 450.0,
            wait_p99: 900.0,
            whole_p50: 1_800.0,
            whole_p99: 3_000.0,
            caught: 0.5,
            lost: 0,
            load: 0.45,
            between_blocks: 250.0,
            parts: vec![[60.0, 90.0]; PARTS.len()],
        };
        let text = section(&plan, &Measured::default(), &real, &prediction);
        for row in [
            "| start of the command to the first unit, p50, ms | 500.0 | 450.0 | -10.0 % |",
            "| share of the processors in use, % | 50.0 | 45.0 | -10.0 % |",
            "| until the lease is seen | 70, 70 | 60, 90 |",
            "| start of a provider | 0, 0 | 0 | 0 |",
            "| processors in use without orders and blocks | 0.00 of 0 |",
        ] {
            assert!(text.lines().any(|line| line == row), "{row}\n{text}");
        }
        // It is one section of the page, and stays one.
        assert!(!text.contains("## "), "{text}");
    }
}
