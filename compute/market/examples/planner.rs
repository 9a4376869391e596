//! Measures one plan, one explanation and one change of the table, beside a scan over whole offers in an array.
//!
//! `cargo run -p keystead-market --example planner [OFFERS..]`; one thread, processor time.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    dead_code,
    reason = "a measurement that prints, reads the clock of its thread, and shares the tests' offers"
)]

#[path = "../tests/market/oracle.rs"]
mod oracle;
#[path = "../tests/market/sample.rs"]
mod sample;

use oracle::Known;
use sample::{NOW_MS, Numbers, need, offer, table};
use std::{env, fs, time::Duration};

/// Processor time of this process, from the kernel's own count (nanoseconds of run time).
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Median of the processor times of several turns.
fn measured(turns: usize, mut work: impl FnMut(usize)) -> Duration {
    let mut times: Vec<Duration> = (0..turns)
        .map(|turn| {
            let start = cpu_time();
            work(turn);
            cpu_time() - start
        })
        .collect();
    times.sort();
    times[turns / 2]
}

fn main() {
    let counts: Vec<usize> = env::args().skip(1).map(|count| count.parse().unwrap()).collect();
    for count in if counts.is_empty() { vec![100_000, 1_000_000] } else { counts } {
        run(count);
    }
}

fn run(count: usize) {
    let mut numbers = Numbers(1);
    let seeds: Vec<u64> = (0..count).map(|_| numbers.next()).collect();
    let start = cpu_time();
    let mut table = table(&seeds);
    println!("{} offers, built in {:?} of processor time", table.len(), cpu_time() - start);
    let known: Vec<Known> =
        seeds.iter().map(|seed| offer(*seed)).map(|(offer, probe)| Known { offer, probe }).collect();
    // From everything asked to nothing asked: needs 7, 3 and 5 of the generator, whose matches are printed.
    for (name, seed, strict) in [("strict", 7, 5), ("usual", 3, 2), ("open", 5, 0)] {
        let need = need(seed, strict);
        let mut matched = 0;
        let plan = measured(31, |_| matched = keystead_market::plan(&table, &need, NOW_MS, 32).unwrap().matched);
        let naive = measured(3, |_| {
            let mut fits: Vec<_> = known
                .iter()
                .map(|known| (known.judge(&need), known.key()))
                .filter(|(judged, _)| judged.failed.is_empty())
                .map(|(judged, key)| (judged.cost, key))
                .collect();
            fits.sort();
            fits.truncate(32);
            assert!(fits.len() <= 32);
        });
        println!(
            "  {name}: {matched} match; plan {plan:?} ({:.1} ns an offer); naive {naive:?}, {:.0} times as long",
            plan.as_nanos() as f64 / count as f64,
            naive.as_secs_f64() / plan.as_secs_f64()
        );
    }
    let change = measured(3, |turn| {
        for seed in &seeds[..1_000] {
            let (mut offer, _) = offer(*seed);
            offer.per_unit_min += turn as u128;
            table.join(&offer).unwrap();
        }
    });
    println!("  a change of one offer: {:?}", change / 1_000);
}
