//! Recomputes what a closed store can prove about itself, and names every place that is wrong.
//!
//! # Design
//! One walk over each table in order, so that nothing is sought twice: accounts beside their slots, then blocks from the
//! genesis up, each with everything that hangs on it, then the history from the head down, and the sealed files. What
//! one check finds does not keep the others from running. Damage that the tables report as an error counts as found.
//!
//! # Not here
//! Senders are not recovered from signatures, and certificates are not verified: that needs minutes, or a key.

mod blocks;
mod history;
mod world;

use crate::{
    error::{Corruption, Error},
    genesis,
    history::View,
    mark::Mark,
    open,
    segment::Segments,
    tables::{Base, Expect, Tables, guarded},
};
use keystead_types::Genesis;
use std::path::Path;

/// Findings after which the rest is only counted: a broken disk has more than anybody reads.
const FINDINGS_MAX: usize = 100;
/// Entries after which progress is told.
const PROGRESS_STEP: u64 = 1 << 14;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is looked at: `accounts`, `blocks`, `history`, `segments`.
    pub part: &'static str,
    /// How many were looked at.
    pub done: u64,
    /// Of how many, if that is known.
    pub total: Option<u64>,
}

/// What a verification looked at and found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Height of the head; `None` if the tables do not say.
    pub head: Option<u64>,
    /// Accounts whose leaf went into the state root.
    pub accounts: u64,
    /// Slots whose leaf went into a storage root.
    pub slots: u64,
    /// Blocks whose header, body, receipts and indices were compared.
    pub blocks: u64,
    /// Old states whose root was computed from the history.
    pub states: u64,
    /// Sealed files that were read in full.
    pub segments: u64,
    /// What is wrong; the first hundred.
    pub findings: Vec<Corruption>,
    /// Findings that were left out.
    pub more: u64,
}

/// A verification under way.
struct Check<'c> {
    tables: &'c Tables,
    base: Base,
    head: u64,
    progress: &'c mut dyn FnMut(Progress),
    out: Verified,
}

impl Check<'_> {
    fn found(&mut self, corruption: Corruption) {
        if self.out.findings.len() < FINDINGS_MAX {
            self.out.findings.push(corruption);
        } else {
            self.out.more = self.out.more.saturating_add(1);
        }
    }

    /// Takes damage as a finding; passes on what is no damage.
    fn note<T>(&mut self, place: &str, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => return Ok(Some(value)),
            Err(Error::Corrupt(corruption)) => self.found(corruption),
            Err(Error::Store(error)) => self.found(Corruption::Files(format!("{place}: {error}"))),
            Err(other) => return Err(other),
        }
        Ok(None)
    }

    fn tell(&mut self, part: &'static str, done: u64, total: Option<u64>) {
        if done.is_multiple_of(PROGRESS_STEP) {
            (self.progress)(Progress { part, done, total });
        }
    }
}

/// Verifies the store in a folder that no process has open.
///
/// Cost: reads everything; some 5 us of CPU per account, 10 us per slot, 100 us per transaction.
///
/// # Errors
/// [`Error::Locked`], [`Error::WrongGenesis`], [`Error::Version`], [`Error::Io`]: could not look. Damage is no error: it is in [`Verified::findings`].
pub fn verify(dir: &Path, genesis: &Genesis, progress: &mut dyn FnMut(Progress)) -> Result<Verified, Error> {
    let _lock = open::lock(dir)?;
    let mut out = Verified::default();
    let opened = (|| -> Result<_, Error> {
        let marked = Mark::read(dir)?;
        let tables = Tables::open(&dir.join("tables"), CACHE_BYTES, Expect::All)?;
        genesis::check_known(&tables, genesis)?;
        let head = guarded(|| tables.tip())??;
        Ok((marked, tables, head))
    })();
    let (marked, tables, head) = match opened {
        Ok(opened) => opened,
        Err(Error::Corrupt(corruption)) => {
            out.findings.push(corruption);
            return Ok(out);
        }
        Err(Error::Store(error)) => {
            out.findings.push(Corruption::Files(error.to_string()));
            return Ok(out);
        }
        Err(other) => return Err(other),
    };
    out.head = Some(head);
    let base = tables.base(head, alloy_primitives::B256::ZERO, View::default());
    let mut check = Check { tables: &tables, base, head, progress, out };
    if let Some(marked) = marked.filter(|marked| marked.number > head) {
        check.found(Corruption::LostBlocks { found: head, committed: marked.number });
    }
    let segments = Segments::open(dir.join("segments"), &tables);
    let segments = check.note("segments", segments)?;
    let world = guarded(|| world::check(&mut check)).and_then(|result| result);
    check.note("accounts", world)?;
    let blocks = guarded(|| blocks::check(&mut check, segments.as_ref())).and_then(|result| result);
    check.note("blocks", blocks)?;
    let history = guarded(|| history::check(&mut check)).and_then(|result| result);
    check.note("history", history)?;
    Ok(check.out)
}

/// Recomputes the state root of tables, which the header at a height must have: nothing else is looked at.
pub(crate) fn world(tables: &Tables, head: u64, progress: &mut dyn FnMut(Progress)) -> Result<Verified, Error> {
    let base = tables.base(head, alloy_primitives::B256::ZERO, View::default());
    let mut check = Check { tables, base, head, progress, out: Verified::default() };
    let world = guarded(|| world::check(&mut check)).and_then(|result| result);
    check.note("accounts", world)?;
    Ok(check.out)
}

/// Cache for the tables: everything is read once, in order.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test stops where an assumption fails")]

    use super::*;
    use crate::{Commit, LogQuery, Options, Store, receipts, record};
    use alloy_consensus::{
        Receipt as PlainReceipt, ReceiptWithBloom, SignableTransaction as _, TxLegacy, proofs::calculate_receipt_root,
    };
    use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
    use keystead_types::{
        Account, AccountChange, Block, BlockParts, ChangeSet, ConsensusContext, Log, Receipt, Transaction,
    };
    use std::sync::Arc;

    const ADDRESS: Address = Address::repeat_byte(1);
    const BLOCKS: u64 = 4;

    fn genesis() -> Genesis {
        Genesis::from_json(r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#).unwrap()
    }

    /// Commits a block with one transaction, one log, code, and a changed account and slot.
    fn grow(store: &Store) {
        let number = store.head().number + 1;
        let code = Bytes::from_static(&[1, 2, 3]);
        let account = Account { nonce: number, balance: U256::from(number), code_hash: keccak256(&code) };
        let storage = [(U256::from(7), U256::from(number))].into();
        let change = AccountChange { account: Some(account), storage_cleared: false, storage };
        let code = [(keccak256(&code), code)].into();
        let child = store.latest().child(ChangeSet { accounts: [(ADDRESS, change)].into(), code }).unwrap();
        let log = Log::new_unchecked(ADDRESS, vec![B256::repeat_byte(2)], Bytes::new());
        let receipt = PlainReceipt { status: true.into(), cumulative_gas_used: 1, logs: vec![log] };
        let logs_bloom = receipt.bloom_slow();
        let receipts = vec![Receipt::Legacy(ReceiptWithBloom { receipt, logs_bloom })];
        let plain = TxLegacy { nonce: number, ..TxLegacy::default() };
        let signature = Signature::new(U256::from(1), U256::from(2), false);
        let block = Block::assemble(BlockParts {
            parent_hash: store.head().hash,
            number,
            timestamp_ms: store.head().timestamp_ms + 1,
            beneficiary: Address::ZERO,
            state_root: child.state_root(),
            receipts_root: calculate_receipt_root(&receipts),
            logs_bloom,
            gas_limit: 1,
            gas_used: 0,
            base_fee: 7,
            transactions: vec![Transaction::Legacy(plain.into_signed(signature))],
            context: ConsensusContext::genesis(),
            requests: Vec::new(),
        });
        let snapshot = child.seal(block.hash());
        let (block, senders) = (Arc::new(block), vec![ADDRESS]);
        store.commit(Commit { block, senders, receipts, snapshot, certificate: None }).unwrap();
    }

    /// What is found in a store to whose tables `change` was made.
    fn findings(change: impl FnOnce(&Tables)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        (0..BLOCKS).for_each(|_| grow(&store));
        store.upkeep().unwrap();
        drop(store);
        let tables = Tables::open(&dir.path().join("tables"), 0, Expect::All).unwrap();
        change(&tables);
        drop(tables);
        let verified = verify(dir.path(), &genesis(), &mut |_| {}).unwrap();
        assert_eq!(verified.head, Some(BLOCKS));
        verified.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn receipts_of_the_older_format_are_read_searched_sealed_and_verified_alike() {
        const MANY: u64 = 24;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        (0..MANY).for_each(|_| grow(&store));
        let query = LogQuery { addresses: vec![ADDRESS], ..LogQuery::default() };
        let all = |store: &Store| {
            let receipts: Vec<_> = (1..=MANY).map(|number| store.receipts(number).unwrap().unwrap()).collect();
            (receipts, store.logs(&query, 0..=MANY, 100).unwrap())
        };
        let want = all(&store);
        assert_eq!(want.1.len() as u64, MANY);
        drop(store);
        let tables = Tables::open(&dir.path().join("tables"), 0, Expect::All).unwrap();
        for number in 1..=MANY {
            let bytes = tables.receipts.get(number.to_be_bytes()).unwrap().unwrap();
            let old = record::encode_receipts(&receipts::decode(&bytes).unwrap());
            tables.receipts.insert(number.to_be_bytes(), old).unwrap();
        }
        drop(tables);
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        assert_eq!(all(&store), want);
        drop(store);
        let options = Options { segment_blocks: 4, ..Options::default() };
        let store = Store::open(dir.path(), &genesis(), options).unwrap();
        assert_eq!(store.stats().unwrap().segments, 2, "a start seals what it can");
        assert_eq!(all(&store), want);
        drop(store);
        let verified = verify(dir.path(), &genesis(), &mut |_| {}).unwrap();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    }

    #[test]
    fn an_untouched_store_has_no_findings() {
        assert_eq!(findings(|_| {}), [""; 0]);
    }

    #[test]
    fn whatever_is_changed_in_a_table_is_named_with_its_place() {
        let address = keccak256(ADDRESS);
        let slot = keccak256(U256::from(7).to_be_bytes::<32>());
        let flat = record::slot_key(&address, &slot);
        let at = |number: u64| number.to_be_bytes();
        let swap = |table: &fjall::Keyspace| {
            let (two, three) = (table.get(at(2)).unwrap().unwrap(), table.get(at(3)).unwrap().unwrap());
            table.insert(at(2), three).unwrap();
            table.insert(at(3), two).unwrap();
        };
        type Change<'c> = Box<dyn Fn(&Tables) + 'c>;
        let cases: Vec<(&str, Change<'_>)> = vec![
            (
                "accounts do not match the head block: number=4",
                Box::new(|t| t.accounts.insert([9; 32], [0, 0, 0]).unwrap()),
            ),
            ("malformed record: table=accounts key=0x0909", Box::new(|t| t.accounts.insert([9; 32], [9]).unwrap())),
            ("storage does not match its account", Box::new(|t| t.storage.insert(flat, [77]).unwrap())),
            ("table=storage key=0x0808", Box::new(|t| t.storage.insert([8; 64], [1]).unwrap())),
            (
                "malformed record: table=code",
                Box::new(|t| t.code.insert(keccak256([1, 2, 3]).as_slice(), [9]).unwrap()),
            ),
            ("missing record: table=code", Box::new(|t| t.code.remove(keccak256([1, 2, 3]).as_slice()).unwrap())),
            ("table=headers key=2", Box::new(|t| swap(&t.headers))),
            ("missing record: table=headers key=3", Box::new(|t| t.headers.remove(at(3)).unwrap())),
            ("table=blocks key=2", Box::new(|t| swap(&t.blocks))),
            ("missing record: table=senders key=1", Box::new(|t| t.senders.remove(at(1)).unwrap())),
            ("table=senders key=1: not one for each", Box::new(|t| t.senders.insert(at(1), []).unwrap())),
            ("malformed record: table=receipts key=2", Box::new(|t| t.receipts.insert(at(2), [0]).unwrap())),
            (
                "table=receipts key=2: not one for each",
                Box::new(|t| t.receipts.insert(at(2), [0, 0, 0, 0, 0]).unwrap()),
            ),
            (
                "table=receipts key=2: another root",
                Box::new(|t| {
                    let mut bytes = t.receipts.get(at(2)).unwrap().unwrap().to_vec();
                    // The lowest byte of the gas: head, end, type, status, gas.
                    bytes[5 + 4 + 2 + 7] ^= 1;
                    t.receipts.insert(at(2), bytes).unwrap();
                }),
            ),
            (
                "table=numbers key=2",
                Box::new(|t| {
                    let hash = keccak256(t.headers.get(at(2)).unwrap().unwrap());
                    t.numbers.insert(hash.as_slice(), at(3)).unwrap();
                }),
            ),
            (
                "table=transactions key=1",
                Box::new(|t| {
                    let first = t.transactions.iter().find_map(|entry| {
                        let (key, value) = entry.into_inner().unwrap();
                        (value[..] == record::encode_location(1, 0)[..]).then_some(key)
                    });
                    t.transactions.remove(first.unwrap()).unwrap();
                }),
            ),
            ("missing record: table=undo key=2", Box::new(|t| t.undo.remove(at(2)).unwrap())),
            (
                "history does not match an old block: number=1",
                Box::new(|t| t.undo.insert(at(2), crate::history::Undo::default().encode()).unwrap()),
            ),
            (
                "table=account_history",
                Box::new(|t| t.account_history.insert(record::history_key(address.as_slice(), 2), []).unwrap()),
            ),
            (
                "table=slot_history key=all",
                Box::new(|t| t.slot_history.insert(record::history_key(&[5; 64], 2), []).unwrap()),
            ),
            ("missing record: table=meta key=history", Box::new(|t| t.meta.remove("history").unwrap())),
        ];
        for (want, change) in cases {
            let found = findings(|tables| change(tables));
            let named = found.iter().any(|finding| finding.replace("0x686973746f7279", "history").contains(want));
            assert!(named, "{want}: {found:#?}");
        }
    }
}
