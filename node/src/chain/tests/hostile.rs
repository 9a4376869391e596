//! A proposer that lies in every way: no lie becomes final, nobody stops, and the log says which rule was broken.

use super::{
    super::Chain,
    ear,
    proposer::Proposer,
    tamper::{TAMPERS, Tamper, parts},
    validators::{COUNT, Validators, call, sign, signer},
};
use keystead_consensus::{BuildRequest, Ledger as _, LedgerError};
use keystead_types::{Address, B256, Block};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Place of the liar in the committee.
const LIAR: usize = 3;
/// Honest validators that must have refused each kind of lie.
const REFUSALS: usize = COUNT - 1;
/// The liar is honest up to here, so that each of its contexts carries a seed.
const HONEST_HEIGHT: u64 = 2;

/// The lies told so far: index of the tamper, and hash of the block.
#[derive(Default)]
struct Lies(Mutex<Vec<(usize, B256)>>);

impl Lies {
    fn told(&self) -> MutexGuard<'_, Vec<(usize, B256)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often honest validators refused lies of this kind, saying the right rule.
    fn refusals(&self, index: usize, tamper: &Tamper) -> usize {
        if !tamper.names_hash {
            return ear::heard(tamper.words);
        }
        let hashes: Vec<String> =
            self.told().iter().filter(|(kind, _)| *kind == index).map(|(_, hash)| hash.to_string()).collect();
        hashes.iter().map(|hash| ear::heard(&[tamper.words, &[hash.as_str()]].concat())).sum()
    }

    /// The next lie: the first that has not been refused by everybody yet.
    fn next(&self) -> (usize, &'static Tamper) {
        let open = TAMPERS.iter().enumerate().find(|(index, tamper)| self.refusals(*index, tamper) < REFUSALS);
        open.unwrap_or((0, &TAMPERS[0]))
    }
}

/// Tampers with every block that it builds.
fn lie(lies: &Lies, inner: &Chain, mut request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
    if request.parent.number() < HONEST_HEIGHT {
        return inner.build(request);
    }
    let (index, tamper) = lies.next();
    (tamper.request)(&mut request);
    let mut parts = parts(&*inner.build(request)?);
    (tamper.parts)(&mut parts);
    let block = Block::assemble(parts);
    lies.told().push((index, block.hash()));
    Ok(Arc::new(block))
}

#[test]
fn no_lie_of_a_proposer_becomes_final_and_each_refusal_names_the_rule_slow() {
    ear::listen();
    let lies = Arc::new(Lies::default());
    let validators = Validators::start(|index, inner| {
        let lies = Arc::clone(&lies);
        let liar = move |inner: &Chain, request| lie(&lies, inner, request);
        if index == LIAR { Proposer::new(inner, liar) } else { inner }
    });
    let sent: Vec<B256> = (0..40)
        .map(|nonce| validators.submit(0, sign(&signer(1), call(nonce, Address::repeat_byte(9), 21_000))))
        .collect();
    for (index, tamper) in TAMPERS.iter().enumerate() {
        validators.wait(tamper.name, || lies.refusals(index, tamper) >= REFUSALS);
    }
    // The liar goes on lying, the others go on making blocks.
    let height = validators.head(0);
    (0..COUNT).for_each(|index| validators.wait("more blocks", || validators.head(index) >= height + 5));
    (0..COUNT).for_each(|index| validators.wait("the transfers", || validators.holds(index, &sent)));
    let lowest = validators.agree();
    let told = lies.told().clone();
    println!("lies={} kinds={} height={lowest}", told.len(), TAMPERS.len());
    for (kind, hash) in told {
        for index in 0..COUNT {
            assert!(!validators.is_final(index, &hash), "{} became final at {index}: {hash}", TAMPERS[kind].name);
        }
    }
}
