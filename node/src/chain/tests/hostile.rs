//! A proposer that lies in every way: no lie becomes final, nobody stops, and the log says which rule was broken.

use super::{
    super::Chain,
    ear,
    tamper::{TAMPERS, Tamper, parts},
    validators::{COUNT, Validators, call, sign, signer},
};
use futures::future::BoxFuture;
use keystead_consensus::{BuildRequest, Ledger, LedgerError, Verdict};
use keystead_types::{Address, B256, Block, Bytes, Certificate};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Place of the liar in the committee.
const LIAR: usize = 3;
/// Honest validators that must have refused each kind of lie.
const REFUSALS: usize = COUNT - 1;
/// The liar is honest up to here, so that each of its contexts carries a seed.
const HONEST_HEIGHT: u64 = 2;

/// A ledger that tampers with every block that it builds.
struct Liar {
    inner: Arc<Chain>,
    lies: Arc<Lies>,
}

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

impl Ledger for Liar {
    fn knows(&self, hash: &B256) -> bool {
        self.inner.knows(hash)
    }

    fn build(&self, mut request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
        if request.parent.number() < HONEST_HEIGHT {
            return self.inner.build(request);
        }
        let (index, tamper) = self.lies.next();
        (tamper.request)(&mut request);
        let mut parts = parts(&*self.inner.build(request)?);
        (tamper.parts)(&mut parts);
        let block = Block::assemble(parts);
        self.lies.told().push((index, block.hash()));
        Ok(Arc::new(block))
    }

    fn check(&self, block: &Arc<Block>, parent: &Arc<Block>) -> Result<Verdict, LedgerError> {
        self.inner.check(block, parent)
    }

    fn commit(&self, block: &Arc<Block>, certificate: Option<Certificate>) -> Result<(), LedgerError> {
        self.inner.commit(block, certificate)
    }

    fn demanded(&self) -> BoxFuture<'static, ()> {
        self.inner.demanded()
    }

    fn receive(&self, transactions: Vec<Bytes>) {
        self.inner.receive(transactions);
    }
}

#[test]
fn no_lie_of_a_proposer_becomes_final_and_each_refusal_names_the_rule_slow() {
    ear::listen();
    let lies = Arc::new(Lies::default());
    let validators =
        Validators::start(
            |index, inner| {
                if index == LIAR { Arc::new(Liar { inner, lies: Arc::clone(&lies) }) } else { inner }
            },
        );
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
