//! Measures the check of a voucher: `cargo run -p keystead-payment --example verify [COUNT]`. Goal: at most 100 us each.
//!
//! On Linux it prints the processor's time too, which a loaded machine does not change much. The line that begins with `row` is for
//! `cargo xtask bench --market`.
// A measurement: it needs a clock, an argument and an answer.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use alloy_primitives::{Address, B256, FixedBytes, keccak256};
use keystead_payment::{Domain, Sign, Signature, Voucher};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{
    convert::Infallible,
    error::Error,
    time::{Duration, Instant},
};

struct Key(SecretKey);

impl Sign for Key {
    type Error = Infallible;

    fn sign(&self, digest: B256) -> Result<Signature, Infallible> {
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.0);
        let (recovery, compact) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = if i32::from(recovery) == 0 { 27 } else { 28 };
        Ok(Signature(FixedBytes(bytes)))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(20_000), |text| text.parse())?;
    let key = Key(SecretKey::from_byte_array([7; 32])?);
    let signer = Address::from_secp256k1_public_key(&key.0.public_key(SECP256K1));
    let domain = Domain::of_chain(19_283);
    let vouchers: Vec<_> = (1..=count)
        .map(|window| {
            let voucher = Voucher {
                channel_id: keccak256("channel"),
                window: window.into(),
                units: 64,
                cumulative: window.into(),
                held_back: 1,
                root: keccak256(window.to_be_bytes()),
                history: B256::ZERO,
            };
            voucher.sign(&domain, &key)
        })
        .collect::<Result<_, _>>()?;
    let (start, start_cpu) = (Instant::now(), on_cpu_ns());
    let mut each_us = Vec::with_capacity(vouchers.len());
    for signed in &vouchers {
        let one = Instant::now();
        signed.verify(&domain, signer)?;
        each_us.push(one.elapsed().as_secs_f64() * 1e6);
    }
    each_us.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        each_us.get(each_us.len().saturating_mul(percent).checked_div(100).unwrap_or(0)).copied().unwrap_or_default()
    };
    println!(
        "row\tverification of a voucher\t{:.1}\tus\tp95 {:.1}, p99 {:.1}, n={count}; one thread\t<= 100\tless",
        at(50),
        at(95),
        at(99)
    );
    let each = 1e6 / f64::from(count.max(1));
    let wall = start.elapsed().as_secs_f64() * each;
    println!("voucher::verify/count={count}  {wall:.1} us each (one thread; goal 100 us)");
    if let Some((before, after)) = start_cpu.zip(on_cpu_ns()) {
        let cpu = Duration::from_nanos(after.saturating_sub(before)).as_secs_f64() * each;
        println!("voucher::verify/count={count}  {cpu:.1} us of processor each");
    }
    Ok(())
}

/// How long this thread has been running on a processor, where the system says so.
fn on_cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}
