//! How long one verification takes, without file I/O: `cargo run -p keystead-proof --example verify_time`.
//!
//! Reads `specs/vectors/proof-bundles.json` and prints the median and the spread per bundle in milliseconds.

#![allow(clippy::print_stdout, reason = "the numbers are the purpose")]
#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock; the library has none")]

use keystead_proof::{Verdict, verify};
use serde_json::Value;
use std::{hint::black_box, time::Instant};

const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/proof-bundles.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let key = file["networkKey"].as_str().ok_or("no network key")?;
    let key: [u8; 96] =
        alloy_primitives::hex::decode(key)?.try_into().map_err(|_| "the network key has no 96 bytes")?;
    let cases = file["cases"].as_array().ok_or("no cases")?;
    println!("proof::verify, {ROUNDS} rounds each, milliseconds: median (10 % .. 90 %)");
    for case in cases.iter().filter(|case| !case["mutants"].is_null()) {
        let bundle = case["bundle"].as_str().ok_or("no bundle")?.as_bytes();
        let now_ms = case["nowMs"].as_u64().ok_or("no time")?;
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let report = verify(black_box(bundle), &key, now_ms, None);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            if report.verdict != Verdict::Proved {
                return Err(format!("not proved: {report}").into());
            }
        }
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get(times.len().saturating_mul(percent) / 100).copied().unwrap_or_default();
        println!(
            "proof::verify/bundle={:<24} {:.2} ({:.2} .. {:.2}), {} bytes",
            case["name"].as_str().unwrap_or_default(),
            at(50),
            at(10),
            at(90),
            bundle.len(),
        );
    }
    Ok(())
}
