//! Measures one plan, one explanation and one change of the table, beside a scan over whole offers in an array.
//!
//! `cargo run -p keystead-market --example planner [OFFERS..]`; one thread, processor time. Lines that begin with `row` are for
//! `cargo xtask bench --market`.
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

use alloy_primitives::U256;
use keystead_job::{Class, Runtime};
use keystead_market::{
    Currency,
    need::{Blob, BlobPlace, Need, Probation, StakeRule},
    record::sets::{Kernel, Kind, Layer, Set},
};
use oracle::Known;
use sample::{NOW_MS, Numbers, need, offer_of, table_of};
use std::{env, fs, time::Duration};

/// So many that hardly two offers have one name.
const PROVIDERS: u64 = 1 << 40;

/// Processor time of this process, from the kernel's own count (nanoseconds of run time).
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Processor times of several turns of `repeated` runs each, for one run, in order: the kernel counts in ticks of milliseconds.
fn measured(turns: usize, repeated: u32, mut work: impl FnMut(usize)) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..turns)
        .map(|turn| {
            let start = cpu_time();
            for _ in 0..repeated {
                work(turn);
            }
            (cpu_time() - start) / repeated
        })
        .collect();
    times.sort();
    times
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

/// What a job asks that asks little: about a third of the offers fit.
fn open() -> Need {
    Need {
        runtime: Runtime::Wgsl1,
        kernel: Kernel::Integer,
        class: Class::Exact,
        currency: Currency::KST,
        isolation: Set::EMPTY,
        memory_bytes: 0,
        binding_bytes: 0,
        loop_iterations: 0,
        blobs: vec![Blob { name: sample::blob(0), bytes: 1 << 30, place: BlobPlace::Anywhere }],
        stake: StakeRule { min_wei: 1_000_000, probation: Probation::Allowed },
        ..need(5, 0)
    }
}

/// The same with a GPU, memory, a system call filter, two countries, a price cap and a deadline.
fn usual() -> Need {
    Need {
        kinds: Set::of(&[Kind::Discrete, Kind::Integrated]),
        memory_bytes: 4 << 30,
        isolation: Set::of(&[Layer::Process, Layer::Seccomp]),
        countries: [*b"DE", *b"FR"].into(),
        price_per_unit_max: Some(U256::from(10u64).pow(U256::from(18u8))),
        deadline_us: 3_600_000_000,
        ..open()
    }
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
    let mut table = table_of(&seeds, PROVIDERS);
    println!("{} offers, built in {:?} of processor time", table.len(), cpu_time() - start);
    let known: Vec<Known> =
        seeds.iter().map(|seed| offer_of(*seed, PROVIDERS)).map(|(offer, probe)| Known { offer, probe }).collect();
    for (name, need) in [("open", open()), ("usual", usual())] {
        let repeated = (10_000_000 / count).clamp(1, 200) as u32;
        let mut matched = 0;
        let times =
            measured(15, repeated, |_| matched = keystead_market::plan(&table, &need, NOW_MS, 32).unwrap().matched);
        let plan = median(&times);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "row\tplan of one job over {count} offers, {name}\t{:.3}\tms\t{:.3} .. {:.3}, n={}; {matched} match; one core, processor time\t{}\tless",
            ms(plan),
            ms(times[0]),
            ms(times[times.len() - 1]),
            times.len(),
            if count == 100_000 { "<= 1" } else { "-" }
        );
        let naive = median(&measured(3, 1, |_| {
            let mut fits: Vec<_> = known
                .iter()
                .map(|known| (known.judge(&need), known.key()))
                .filter(|(judged, _)| judged.failed.is_empty())
                .map(|(judged, key)| (judged.cost, key))
                .collect();
            fits.sort();
            fits.truncate(32);
            assert!(fits.len() <= 32);
        }));
        println!(
            "  {name}: {matched} match; plan {plan:?} ({:.1} ns an offer); naive {naive:?}, {:.0} times as long",
            plan.as_nanos() as f64 / count as f64,
            naive.as_secs_f64() / plan.as_secs_f64()
        );
    }
    let need = usual();
    let why = median(&measured(3, 1, |_| {
        keystead_market::why_not(&table, &need, NOW_MS).unwrap();
    }));
    println!("  usual, why not: {why:?} ({:.1} ns an offer)", why.as_nanos() as f64 / count as f64);
    let change = median(&measured(3, 1, |turn| {
        for seed in &seeds[..1_000] {
            let (mut offer, _) = offer_of(*seed, PROVIDERS);
            offer.per_unit_min += turn as u128;
            table.join(&offer).unwrap();
        }
    }));
    println!("  a change of one offer: {:?}", change / 1_000);
}
