//! The beacon over the real engine and the real ledger: values follow the heights, whoever withholds or lies.

use super::{
    super::{Chain, beacon::newest},
    proposer::Proposer,
    tamper,
    validators::{COUNT, Parts, Validators, genesis, parts},
};
use keystead_consensus::{BuildRequest, Ledger, LedgerError, Verdict};
use keystead_contracts::BEACON_ADDRESS;
use keystead_proof::{NetworkKey, verify_beacon};
use keystead_state::Store;
use keystead_types::{
    B256, BeaconBatch, BeaconValue, Block, ChainSpec, ConsensusContext, Seed, StateView as _, U256, beacon_slot,
};
use std::sync::Arc;

fn newest_of(validators: &Validators, index: usize) -> u64 {
    newest(&validators.store(index).latest()).unwrap().unwrap()
}

/// Checks every value in the final blocks of a validator, and that the ring holds what they give; the newest height.
fn audit(store: &Store, network_key: &[u8; 96]) -> u64 {
    let (key, state) = (NetworkKey::from_bytes(network_key).unwrap(), store.latest());
    let mut next = 1;
    for number in 1..=state.number() {
        let block = store.block(number).unwrap().unwrap();
        let Some(batch) = BeaconBatch::among(block.requests()).unwrap() else { continue };
        for (height, value) in batch.iter() {
            assert_eq!(height, next, "block {number}");
            assert!(height < number, "block {number} carries the value of height {height}");
            verify_beacon(value, ChainSpec::DEVELOPMENT_CHAIN_ID, height, &key).unwrap();
            let word = state.storage(&BEACON_ADDRESS, &beacon_slot(height)).unwrap();
            assert_eq!(word, U256::from_be_bytes(value.randomness().0), "height {height}");
            next += 1;
        }
    }
    assert_eq!(newest(&state).unwrap(), Some(next - 1));
    next - 1
}

#[test]
fn four_validators_put_the_value_of_every_height_on_chain() {
    let validators = Validators::start(|_, inner| inner);
    for index in 0..COUNT {
        validators.wait("thirty values", || newest_of(&validators, index) >= 30);
        audit(validators.store(index), &validators.network_key);
    }
    let lowest = validators.agree();
    let lag = lowest - newest_of(&validators, 0).min(lowest);
    println!("height={lowest} blocks behind={lag}");
}

/// A ledger that says that there is no beacon: the engine then signs no value and proposes none.
struct Withholding(Arc<Chain>);

impl Ledger for Withholding {
    fn knows(&self, hash: &B256) -> bool {
        self.0.knows(hash)
    }

    fn build(&self, request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
        self.0.build(BuildRequest { beacon: Vec::new(), ..request })
    }

    fn check(&self, block: &Arc<Block>, parent: &Arc<Block>) -> Result<Verdict, LedgerError> {
        self.0.check(block, parent)
    }

    fn commit(&self, block: &Arc<Block>, certificate: Option<keystead_types::Certificate>) -> Result<(), LedgerError> {
        self.0.commit(block, certificate)
    }

    fn beacon_newest(&self) -> Result<Option<u64>, LedgerError> {
        Ok(None)
    }

    fn demanded(&self) -> futures::future::BoxFuture<'static, ()> {
        self.0.demanded()
    }

    fn receive(&self, transactions: Vec<keystead_types::Bytes>) {
        self.0.receive(transactions);
    }
}

#[test]
fn partials_withheld_by_one_of_four_hold_nothing_up_and_by_two_only_the_beacon() {
    let one = Validators::start(|index, inner| if index == 2 { Arc::new(Withholding(inner)) } else { inner });
    (0..COUNT).for_each(|index| one.wait("values without one member", || newest_of(&one, index) >= 10));
    one.agree();
    audit(one.store(2), &one.network_key);
    drop(one);
    // More than a third of the committee withhold: there is no value, and the chain goes on.
    let two = Validators::start(|index, inner| if index < 2 { Arc::new(Withholding(inner)) } else { inner });
    (0..COUNT).for_each(|index| two.wait("blocks without values", || two.head(index) >= 20));
    two.agree();
    assert_eq!(newest_of(&two, 3), 0);
}

/// A proposer that takes the values of its honest block and puts the parent's in their place, or leaves the first out.
#[test]
fn values_that_are_repeated_or_leave_a_gap_do_not_become_final() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let validators = Validators::start(|index, inner| {
        let told = Arc::clone(&told);
        let propose = move |inner: &Chain, request: BuildRequest| {
            let before = BeaconBatch::among(request.parent.requests()).unwrap();
            let honest = inner.build(request)?;
            let Some(before) = before else { return Ok(honest) };
            let mut parts = tamper::parts(&honest);
            parts.requests = vec![before.request()];
            let block = Arc::new(Block::assemble(parts));
            told.lock().unwrap().push(block.hash());
            Ok(block)
        };
        if index == 1 { Proposer::new(inner, propose) } else { inner }
    });
    validators.wait("lies", || told.lock().unwrap().len() >= 5);
    let height = validators.head(0);
    (0..COUNT).for_each(|index| validators.wait("more blocks", || validators.head(index) >= height + 5));
    validators.agree();
    audit(validators.store(0), &validators.network_key);
    for hash in told.lock().unwrap().iter() {
        (0..COUNT)
            .for_each(|index| assert!(!validators.is_final(index, hash), "a repeated value became final: {hash}"));
    }
}

/// Blocks of a ledger without an engine: what the ledger alone says of them. Signatures are the engine's to check.
struct Alone {
    parts: Parts,
    head: Arc<Block>,
    _folder: tempfile::TempDir,
}

impl Alone {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parts = parts(folder.path(), &genesis(), 1);
        let head = parts.store.genesis();
        Self { parts, head, _folder: folder }
    }

    fn request(&self, beacon: Vec<(u64, BeaconValue)>) -> BuildRequest {
        let view = self.head.number() + 1;
        let parent_view = self.head.number();
        let mut context = ConsensusContext { epoch: 0, view, parent_view, leader: [1; 32], seeds: Vec::new() };
        context.seeds = vec![Seed([2; 48]); context.seed_count()];
        let timestamp_ms = self.head.timestamp_ms() + 1;
        BuildRequest { parent: Arc::clone(&self.head), context, timestamp_ms, beacon }
    }

    /// Makes and commits a block out of the values that there are.
    fn grow(&mut self, beacon: Vec<(u64, BeaconValue)>) -> Arc<Block> {
        let block = self.parts.chain.build(self.request(beacon)).unwrap();
        assert_eq!(self.parts.chain.check(&block, &self.head).unwrap(), Verdict::Valid);
        self.parts.chain.commit(&block, None).unwrap();
        self.head = Arc::clone(&block);
        block
    }

    /// What the ledger says of a block with these values in place of its own.
    fn verdict(&self, first: u64, count: usize) -> Verdict {
        let honest = self.parts.chain.build(self.request(Vec::new())).unwrap();
        let values = (first..).take(count).map(value).collect();
        let mut parts = tamper::parts(&honest);
        parts.requests = vec![BeaconBatch::new(first, values).unwrap().request()];
        self.parts.chain.check(&Arc::new(Block::assemble(parts)), &self.head).unwrap()
    }

    fn newest(&self) -> u64 {
        newest(&self.parts.store.latest()).unwrap().unwrap()
    }
}

fn value(height: u64) -> BeaconValue {
    BeaconValue([height as u8; 48])
}

fn values(heights: impl IntoIterator<Item = u64>) -> Vec<(u64, BeaconValue)> {
    heights.into_iter().map(|height| (height, value(height))).collect()
}

fn carried(block: &Block) -> Option<(u64, u64)> {
    BeaconBatch::among(block.requests()).unwrap().map(|batch| (batch.first(), batch.last()))
}

#[test]
fn a_proposer_takes_what_follows_and_late_values_follow_sixteen_at_a_time() {
    let mut chain = Alone::new();
    assert_eq!(carried(&chain.grow(values([1]))), None, "the value of the block itself");
    assert_eq!(carried(&chain.grow(values([2]))), None, "a gap");
    assert_eq!(carried(&chain.grow(values([1, 2, 4]))), Some((1, 2)));
    assert_eq!(carried(&chain.grow(values([1, 2]))), None, "they are on chain");
    (0..30).for_each(|_| drop(chain.grow(Vec::new())));
    assert_eq!(chain.newest(), 2);
    let all = || values(3..100);
    assert_eq!(carried(&chain.grow(all())), Some((3, 18)));
    assert_eq!(carried(&chain.grow(all())), Some((19, 34)));
    assert_eq!(carried(&chain.grow(all())), Some((35, 36)));
    assert_eq!(carried(&chain.grow(all())), Some((37, 37)));
    assert_eq!(chain.newest(), 37);
    let state = chain.parts.store.latest();
    for height in 1..=37 {
        let word = state.storage(&BEACON_ADDRESS, &beacon_slot(height)).unwrap();
        assert_eq!(word, U256::from_be_bytes(value(height).randomness().0));
    }
}

#[test]
fn gaps_repetitions_and_heights_that_are_not_final_are_refused() {
    let mut chain = Alone::new();
    (0..5).for_each(|_| drop(chain.grow(Vec::new())));
    chain.grow(values([1, 2]));
    let wrong = |first, count, words: &str| match chain.verdict(first, count) {
        Verdict::Invalid(reason) => assert!(reason.contains(words), "{reason}"),
        Verdict::Valid => panic!("first={first} count={count}"),
    };
    wrong(1, 1, "beacon values do not follow: first=1 want=3");
    wrong(2, 2, "beacon values do not follow: first=2 want=3");
    wrong(4, 1, "beacon values do not follow: first=4 want=3");
    wrong(3, 5, "beacon value of a height that is not final: height=7 block=7");
    wrong(u64::MAX - 1, 1, "do not follow");
    // The rules of the place hold; what is wrong is the state root of a block that was built without them.
    wrong(3, 4, "wrong state root");
}

#[test]
fn a_chain_without_the_contract_takes_no_values() {
    let folder = tempfile::tempdir().unwrap();
    let mut genesis = genesis();
    genesis.accounts.remove(&BEACON_ADDRESS);
    let parts = parts(folder.path(), &genesis, 1);
    let mut chain = Alone { head: parts.store.genesis(), parts, _folder: folder };
    assert_eq!(chain.parts.chain.beacon_newest().unwrap(), None);
    chain.grow(values([1]));
    assert_eq!(carried(&chain.grow(values([1]))), None);
    let Verdict::Invalid(reason) = chain.verdict(1, 1) else { panic!() };
    assert!(reason.contains("without a beacon"), "{reason}");
}
