//! A world state as plain maps, its root by two foreign implementations, and chains of blocks over it.

use alloy_consensus::{
    Receipt as PlainReceipt, ReceiptWithBloom, SignableTransaction as _, TxLegacy, proofs::calculate_receipt_root,
};
use alloy_primitives::{Bloom, KECCAK256_EMPTY, Signature, TxKind, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount, proof::verify_proof};
use eth_trie::{EthTrie, MemoryDB, Trie as _};
use keystead_state::{Commit, Error, Snapshot, Store};
use keystead_types::{
    Account, AccountChange, Address, B256, Block, BlockParts, Bytes, Certificate, ChangeSet, ConsensusContext, Genesis,
    Log, Receipt, Seed, StateView as _, Transaction, U256,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

pub(crate) type Storage = BTreeMap<U256, U256>;

/// A world state.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Model {
    pub(crate) accounts: BTreeMap<Address, (Account, Storage)>,
    pub(crate) code: BTreeMap<B256, Bytes>,
}

impl Model {
    pub(crate) fn of(genesis: &Genesis) -> Self {
        let mut model = Self::default();
        model.apply(&genesis.changes());
        model
    }

    pub(crate) fn apply(&mut self, changes: &ChangeSet) {
        for (address, change) in &changes.accounts {
            let Some(account) = change.account else {
                self.accounts.remove(address);
                continue;
            };
            let entry = self.accounts.entry(*address).or_default();
            entry.0 = account;
            if change.storage_cleared {
                entry.1.clear();
            }
            for (slot, value) in &change.storage {
                if value.is_zero() {
                    entry.1.remove(slot)
                } else {
                    entry.1.insert(*slot, *value)
                };
            }
        }
        self.code.extend(changes.code.clone());
    }

    /// Leaves of the account trie in order, storage roots by `root`.
    fn leaves(&self, root: fn(&BTreeMap<B256, Vec<u8>>) -> B256) -> BTreeMap<B256, Vec<u8>> {
        let leaf = |(address, (account, storage)): (&Address, &(Account, Storage))| {
            let leaf = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: root(&storage_leaves(storage)),
                code_hash: account.code_hash,
            };
            (keccak256(address), alloy_rlp::encode(leaf))
        };
        self.accounts.iter().map(leaf).collect()
    }

    /// The state root by alloy's `HashBuilder`.
    pub(crate) fn root(&self) -> B256 {
        builder_root(&self.leaves(builder_root))
    }

    /// The state root by `eth_trie`.
    pub(crate) fn eth_root(&self) -> B256 {
        eth_root(&self.leaves(eth_root))
    }

    /// Compares every account, slot and code, and some that are absent, with what a snapshot says.
    pub(crate) fn compare(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let broken = |error: keystead_types::ViewError| Error::Io(std::io::Error::other(error.to_string()));
        for address in addresses().iter().chain(self.accounts.keys()) {
            let want = self.accounts.get(address);
            assert_eq!(snapshot.account(address).map_err(broken)?, want.map(|(account, _)| *account), "{address}");
            let empty = Storage::new();
            let storage = want.map_or(&empty, |(_, storage)| storage);
            for slot in slots().iter().chain(storage.keys()) {
                let value = storage.get(slot).copied().unwrap_or_default();
                assert_eq!(snapshot.storage(address, slot).map_err(broken)?, value, "{address} {slot}");
            }
        }
        for (hash, code) in &self.code {
            assert_eq!(&snapshot.code(hash).map_err(broken)?, code);
        }
        Ok(())
    }

    /// Asks a snapshot for proofs of some accounts and slots, present and absent, and verifies them with alloy-trie.
    pub(crate) fn prove(&self, snapshot: &Snapshot, rng: &mut StdRng) {
        for _ in 0..6 {
            let address = addresses().choose(rng).unwrap();
            let proof = snapshot.account_proof(address).unwrap();
            let want = self.accounts.get(address);
            let storage_root = want.map_or(EMPTY_ROOT_HASH, |(_, storage)| builder_root(&storage_leaves(storage)));
            assert_eq!(proof.account, want.map(|(account, _)| (*account, storage_root)));
            let leaf = want.map(|(account, _)| {
                alloy_rlp::encode(TrieAccount {
                    nonce: account.nonce,
                    balance: account.balance,
                    storage_root,
                    code_hash: account.code_hash,
                })
            });
            verify_proof(snapshot.state_root(), Nibbles::unpack(keccak256(address)), leaf, &proof.nodes).unwrap();
            let slot = slots().choose(rng).unwrap();
            let proof = snapshot.storage_proof(address, slot).unwrap();
            let value = want.and_then(|(_, storage)| storage.get(slot).copied()).unwrap_or_default();
            assert_eq!(proof.value, value);
            let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
            let leaf = (!value.is_zero()).then(|| alloy_rlp::encode(value));
            verify_proof(storage_root, key, leaf, &proof.nodes).unwrap();
            let forged = Some(alloy_rlp::encode(value + U256::from(1)));
            assert!(verify_proof(storage_root, key, forged, &proof.nodes).is_err(), "a wrong value verifies");
        }
    }
}

fn storage_leaves(storage: &Storage) -> BTreeMap<B256, Vec<u8>> {
    storage.iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), alloy_rlp::encode(value))).collect()
}

fn builder_root(leaves: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    leaves.iter().for_each(|(key, value)| builder.add_leaf(Nibbles::unpack(key), value));
    builder.root()
}

fn eth_root(leaves: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut trie = EthTrie::new(Arc::new(MemoryDB::new(true)));
    leaves.iter().for_each(|(key, value)| trie.insert(key.as_slice(), value).unwrap());
    B256::new(trie.root_hash().unwrap().0)
}

/// Candidates from which clusters of close hashes are picked: neighbours among 60,000 share three to four nibbles, so
/// that extensions, splits and collapses happen with few keys.
const CANDIDATES: u64 = 60_000;

fn clustered<T: Copy>(make: impl Fn(u64) -> (B256, T)) -> Vec<T> {
    let mut all: Vec<(B256, T)> = (0..CANDIDATES).map(make).collect();
    all.sort_by_key(|(hash, _)| *hash);
    let clusters = [100, 9_000, 31_000, 31_040];
    clusters.into_iter().flat_map(|at| all[at..at + 9].iter().map(|(_, item)| *item).collect::<Vec<_>>()).collect()
}

/// 36 addresses in four clusters.
pub(crate) fn addresses() -> &'static [Address] {
    static ADDRESSES: OnceLock<Vec<Address>> = OnceLock::new();
    ADDRESSES.get_or_init(|| {
        clustered(|number| {
            let address = Address::left_padding_from(&number.to_be_bytes());
            (keccak256(address), address)
        })
    })
}

/// 36 slots in four clusters.
pub(crate) fn slots() -> &'static [U256] {
    static SLOTS: OnceLock<Vec<U256>> = OnceLock::new();
    SLOTS.get_or_init(|| {
        clustered(|number| {
            let slot = U256::from(number);
            (keccak256(slot.to_be_bytes::<32>()), slot)
        })
    })
}

/// A change of up to `accounts` accounts: new ones, changed ones, deleted ones, and storage that is wiped first.
pub(crate) fn changes(rng: &mut StdRng, accounts: usize) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for _ in 0..rng.random_range(0..=accounts) {
        let mut change = AccountChange::default();
        let kind = rng.random_range(0..10);
        if kind > 1 {
            let code = Bytes::from(vec![rng.random_range(1..4); 5]);
            let code_hash = if rng.random_range(0..3) == 0 { keccak256(&code) } else { KECCAK256_EMPTY };
            if code_hash != KECCAK256_EMPTY {
                changes.code.insert(code_hash, code);
            }
            let balance = U256::from(rng.random::<u64>()) << rng.random_range(0..100);
            change.account = Some(Account { nonce: rng.random_range(0..300), balance, code_hash });
            change.storage_cleared = kind == 2;
        }
        if kind < 8 {
            for _ in 0..rng.random_range(0..8) {
                let value =
                    if rng.random_range(0..3) == 0 { 0 } else { rng.random::<u64>() >> rng.random_range(0..60) };
                change.storage.insert(*slots().choose(rng).unwrap(), U256::from(value));
            }
        }
        changes.accounts.insert(*addresses().choose(rng).unwrap(), change);
    }
    changes
}

/// A genesis with some accounts, code and storage.
pub(crate) fn genesis(seed: u64) -> Genesis {
    let mut rng = StdRng::seed_from_u64(seed);
    let json = r#"{"config":{"chainId":19283},"timestamp":"0x10","gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#;
    let mut genesis = Genesis::from_json(json).unwrap();
    for _ in 0..6 {
        let account = genesis.accounts.entry(*addresses().choose(&mut rng).unwrap()).or_default();
        account.balance = U256::from(rng.random::<u64>());
        account.code = Bytes::from(vec![rng.random(); 3]);
        account.nonce = 1;
        account.storage.insert(*slots().choose(&mut rng).unwrap(), U256::from(rng.random::<u32>()) + U256::from(1));
    }
    genesis
}

/// A block with everything that is committed with it, and the state after it.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) block: Arc<Block>,
    pub(crate) senders: Vec<Address>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) model: Model,
}

impl Step {
    /// The head of a store whose state is `model`.
    pub(crate) fn head(store: &Store, model: Model) -> Self {
        let block = store.block(store.head().number).unwrap().unwrap();
        Self { snapshot: store.latest(), block, senders: Vec::new(), receipts: Vec::new(), model }
    }

    /// A child block with these changes. `salt` tells siblings apart whose changes are equal.
    pub(crate) fn child(&self, changes: &ChangeSet, salt: u64) -> Self {
        let number = self.block.number() + 1;
        let receipts = (0..salt % 4).map(|index| receipt(number + index)).collect();
        self.child_with(changes, salt, receipts)
    }

    /// As [`Self::child`], with a transaction for each of these receipts.
    pub(crate) fn child_with(&self, changes: &ChangeSet, salt: u64, receipts: Vec<Receipt>) -> Self {
        let mut model = self.model.clone();
        model.apply(changes);
        let child = self.snapshot.child(changes.clone()).unwrap();
        let number = self.block.number() + 1;
        let transactions: Vec<Transaction> =
            (0..receipts.len() as u64).map(|index| transaction(number * 10_000 + salt * 7 + index)).collect();
        let senders = (0..transactions.len()).map(|index| addresses()[index]).collect();
        let block = Block::assemble(BlockParts {
            parent_hash: self.block.hash(),
            number,
            timestamp_ms: self.block.timestamp_ms() + 100 + salt % 1_000,
            beneficiary: Address::ZERO,
            state_root: child.state_root(),
            receipts_root: calculate_receipt_root(&receipts),
            logs_bloom: receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.logs_bloom()),
            gas_limit: 150_000_000,
            gas_used: 0,
            base_fee: 7,
            transactions,
            context: context(number),
            requests: Vec::new(),
        });
        let snapshot = child.seal(block.hash());
        Self { snapshot, block: Arc::new(block), senders, receipts, model }
    }

    pub(crate) fn commit(&self) -> Commit {
        Commit {
            block: Arc::clone(&self.block),
            senders: self.senders.clone(),
            receipts: self.receipts.clone(),
            snapshot: Arc::clone(&self.snapshot),
            certificate: None,
        }
    }

    pub(crate) fn certificate(&self, view: u64) -> Certificate {
        Certificate {
            epoch: 0,
            view,
            parent_view: view - 1,
            block_hash: self.block.hash(),
            signature: [view as u8; 48],
        }
    }
}

fn context(number: u64) -> ConsensusContext {
    let mut context =
        ConsensusContext { epoch: 0, view: number, parent_view: number - 1, leader: [1; 32], seeds: Vec::new() };
    context.seeds = vec![Seed([number as u8; 48]); context.seed_count()];
    context
}

fn transaction(nonce: u64) -> Transaction {
    let plain = TxLegacy {
        chain_id: Some(19_283),
        nonce,
        gas_price: 9,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(1)),
        value: U256::from(nonce),
        input: Bytes::new(),
    };
    let signature = Signature::new(U256::from(nonce + 1), U256::from(2), false);
    Transaction::Legacy(plain.into_signed(signature))
}

fn receipt(gas: u64) -> Receipt {
    let log = Log::new_unchecked(Address::repeat_byte(3), vec![B256::repeat_byte(4)], Bytes::from_static(b"data"));
    let plain = PlainReceipt { status: true.into(), cumulative_gas_used: gas, logs: vec![log] };
    let logs_bloom = plain.bloom_slow();
    Receipt::Eip1559(ReceiptWithBloom { receipt: plain, logs_bloom })
}
