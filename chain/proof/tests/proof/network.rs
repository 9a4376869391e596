//! A network whose key is in our hands, and a chain of four blocks with accounts, contracts, transactions and orders.
//!
//! A group signature of the threshold scheme is an ordinary BLS signature under the group key, so one secret key stands for
//! the committee.

use alloy_consensus::{
    EthereumTxEnvelope, Receipt as ConsensusReceipt, ReceiptEnvelope, ReceiptWithBloom, SignableTransaction as _,
    TxEip1559, TxLegacy, proofs::calculate_receipt_root,
};
use alloy_primitives::{Address, B256, Bloom, Bytes, KECCAK256_EMPTY, Log, Signature, TxKind, U256, keccak256};
use blst::min_sig::SecretKey;
use keystead_proof::{
    Bundle, Claim, LogPosition, MARKET_ADDRESS, Order, OrderReason, OrderStatus, Path, SlotValue, order_slots, prove,
};
use keystead_types::{Account, Block, BlockParts, Certificate, ConsensusContext, Header, Receipt, Seed, Transaction};
use std::collections::BTreeMap;

/// The development network.
pub(crate) const CHAIN_ID: u64 = 19_283;
/// Time of block 42, in Unix milliseconds.
pub(crate) const BLOCK_MS: u64 = 1_795_392_000_123;
/// A little later.
pub(crate) const NOW_MS: u64 = BLOCK_MS + 1_500;
/// Domain separation tag of every signature of the network.
pub(crate) const DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// A committee in one hand.
pub(crate) struct Network {
    secret: SecretKey,
}

impl Network {
    pub(crate) fn new(seed: u8) -> Self {
        Self { secret: SecretKey::key_gen(&[seed; 32], &[]).unwrap() }
    }

    pub(crate) fn key(&self) -> [u8; 96] {
        self.secret.sk_to_pk().compress()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 48] {
        self.secret.sign(message, DST, &[]).compress()
    }

    pub(crate) fn certify(&self, chain_id: u64, view: u64, header: &Header) -> Certificate {
        let block_hash = header.hash_slow();
        let mut certificate = Certificate { epoch: 3, view, parent_view: view - 2, block_hash, signature: [0; 48] };
        certificate.signature = self.sign(&certificate.message(chain_id));
        certificate
    }

    pub(crate) fn seed(&self, epoch: u64, view: u64) -> Seed {
        Seed(self.sign(&Seed::message(CHAIN_ID, epoch, view)))
    }
}

/// World state as plain tables.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<Address, Account>,
    pub(crate) storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    /// Leaves that are not accounts, to see that such a state proves nothing.
    pub(crate) garbage: BTreeMap<Address, Vec<u8>>,
}

impl World {
    /// Forty accounts, a contract with forty slots, and the market with orders 1 to 12, one per status.
    pub(crate) fn sample() -> Self {
        let mut world = Self::default();
        for n in 0u64..40 {
            let account = Account {
                nonce: n,
                balance: U256::from(1_000_000_000_000_000_000u64) * U256::from(n) + U256::from(n),
                code_hash: KECCAK256_EMPTY,
            };
            world.accounts.insert(address(n), account);
        }
        world.contract(contract());
        for n in 0u64..40 {
            world.put(contract(), U256::from(n), U256::from_be_bytes(keccak256([n as u8]).0) >> (n as usize * 5));
        }
        world.contract(MARKET_ADDRESS);
        for n in 1..=12 {
            for (slot, word) in order_slots(n).into_iter().zip(words(&order(n))) {
                world.put(MARKET_ADDRESS, slot.into(), word);
            }
        }
        world
    }

    /// The same with order 13, which is order 7 paid in a token.
    pub(crate) fn with_token() -> Self {
        let mut world = Self::sample();
        let paid = Order { token: address(77), ..order(7) };
        for (slot, word) in order_slots(13).into_iter().zip(words(&paid)) {
            world.put(MARKET_ADDRESS, slot.into(), word);
        }
        world
    }

    pub(crate) fn contract(&mut self, address: Address) {
        let account = Account { nonce: 1, balance: U256::from(7), code_hash: keccak256(address) };
        self.accounts.insert(address, account);
    }

    pub(crate) fn put(&mut self, address: Address, slot: U256, word: U256) {
        if !word.is_zero() {
            self.storage.entry(address).or_default().insert(slot, word);
        }
    }

    fn storage_entries(&self, address: Address) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let slots = self.storage.get(&address).into_iter().flatten();
        slots.map(|(slot, word)| (keccak256(B256::from(*slot)).to_vec(), alloy_rlp::encode(word))).collect()
    }

    fn account_entries(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let leaves = self.accounts.iter().map(|(address, account)| {
            let storage_root = prove(&self.storage_entries(*address), &[0; 32]).0;
            let leaf = alloy_trie::TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root,
                code_hash: account.code_hash,
            };
            (keccak256(address).to_vec(), alloy_rlp::encode(leaf))
        });
        let garbage = self.garbage.iter().map(|(address, leaf)| (keccak256(address).to_vec(), leaf.clone()));
        leaves.chain(garbage).collect()
    }

    pub(crate) fn root(&self) -> B256 {
        prove(&self.account_entries(), &[0; 32]).0
    }

    pub(crate) fn account_path(&self, address: Address) -> Path {
        prove(&self.account_entries(), keccak256(address).as_slice()).1
    }

    pub(crate) fn storage_path(&self, address: Address, slot: U256) -> Path {
        prove(&self.storage_entries(address), keccak256(B256::from(slot)).as_slice()).1
    }

    pub(crate) fn word(&self, address: Address, slot: U256) -> U256 {
        self.storage.get(&address).and_then(|slots| slots.get(&slot)).copied().unwrap_or_default()
    }

    pub(crate) fn account_claim(&self, block: u64, address: Address) -> Claim {
        let root = prove(&self.storage_entries(address), &[0; 32]).0;
        let account = self.accounts.get(&address).map(|account| (*account, root));
        Claim::account(block, address, account, self.account_path(address))
    }

    pub(crate) fn storage_claim(&self, block: u64, address: Address, slot: U256) -> Claim {
        let value = self.word(address, slot);
        let storage_path = self.storage_path(address, slot);
        Claim::storage(block, SlotValue { address, slot, value }, self.account_path(address), storage_path)
    }

    pub(crate) fn order_claim(&self, block: u64, number: u64) -> Claim {
        let slots = order_slots(number).map(|slot| {
            let slot = slot.into();
            (self.word(MARKET_ADDRESS, slot), self.storage_path(MARKET_ADDRESS, slot))
        });
        Claim::job_result(block, number, self.account_path(MARKET_ADDRESS), slots).unwrap()
    }
}

pub(crate) fn address(n: u64) -> Address {
    Address::from_slice(&keccak256(n.to_be_bytes())[12..])
}

/// The contract with forty slots.
pub(crate) fn contract() -> Address {
    address(1_000)
}

/// Order `n` in the status of number `n - 1`, with every field set that this status has.
pub(crate) fn order(n: u64) -> Order {
    use OrderStatus::{
        Abandoned, Accepted, Cancelled, Committed, Declined, Delivered, Expired, Leased, Ordered, Rejected, Settled,
    };
    let status = [
        OrderStatus::None,
        Ordered,
        Leased,
        Committed,
        Delivered,
        Accepted,
        Settled,
        Rejected,
        Expired,
        Declined,
        Cancelled,
        Abandoned,
    ][n as usize - 1];
    if status == OrderStatus::None {
        return Order { number: n, ..Order::default() };
    }
    let at = |seconds: u64, from: OrderStatus| {
        if status >= from && status < Declined { BLOCK_MS / 1_000 - seconds } else { 0 }
    };
    let word = |tag: &str| keccak256(format!("{tag} {n}"));
    let given = |tag: &str, from: OrderStatus| if at(1, from) == 0 { B256::ZERO } else { word(tag) };
    Order {
        number: n,
        status,
        reason: if status == Rejected { OrderReason::WrongResult } else { OrderReason::None },
        ordered_at: BLOCK_MS / 1_000 - 90,
        leased_at: at(80, Leased),
        committed_at: at(70, Committed),
        delivered_at: at(60, Delivered),
        closed_at: if status.is_final() { BLOCK_MS / 1_000 - 5 } else { 0 },
        units: 64,
        lease_seconds: 30,
        deliver_seconds: 600,
        check_seconds: 300,
        price_wei_per_unit: 1_000_000_000_000_000,
        job_hash: word("job"),
        commitment: given("commitment", Committed),
        result_root: given("result", Delivered),
        evidence_hash: if status == Rejected { word("evidence") } else { B256::ZERO },
        customer: address(1),
        provider: address(2),
        ..Order::default()
    }
}

/// The order's storage words, packed as the contract packs them.
pub(crate) fn words(order: &Order) -> [U256; 8] {
    let mut head = U256::from(order.status as u8) | (U256::from(order.reason as u8) << 8);
    let times = [order.ordered_at, order.leased_at, order.committed_at, order.delivered_at, order.closed_at];
    for (index, time) in times.into_iter().enumerate() {
        head |= U256::from(time) << (16 + 40 * index);
    }
    head |= U256::from(order.mode as u8) << 216;
    head |= U256::from(u8::from(order.stopped)) << 224;
    head |= U256::from(order.done_units) << 232;
    let mut terms = U256::from(order.price_wei_per_unit);
    let numbers = [order.units, order.lease_seconds, order.deliver_seconds, order.check_seconds];
    for (index, number) in numbers.into_iter().enumerate() {
        terms |= U256::from(number) << (128 + 32 * index);
    }
    let roots = [order.job_hash, order.commitment, order.result_root, order.evidence_hash]
        .map(|root| U256::from_be_bytes(root.0));
    let mut parties = [order.customer, order.provider].map(|party| U256::from_be_bytes(party.into_word().0));
    let token = U256::from_be_bytes(order.token.into_word().0);
    parties[0] |= (token >> 64) << 160;
    parties[1] |= (U256::from(order.paid_units) << 160) | (token << 192);
    [head, terms, roots[0], roots[1], roots[2], roots[3], parties[0], parties[1]]
}

/// Four blocks, 41 to 44; the world is the state after block 42.
pub(crate) struct Chain {
    pub(crate) network: Network,
    pub(crate) world: World,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) receipts: Vec<Receipt>,
    /// Headers 41, 42, 43, 44.
    pub(crate) headers: Vec<Header>,
}

impl Chain {
    pub(crate) fn sample() -> Self {
        Self::with(World::sample(), 10)
    }

    pub(crate) fn with(world: World, transaction_count: u64) -> Self {
        let transactions: Vec<Transaction> = (0..transaction_count).map(transaction).collect();
        let receipts: Vec<Receipt> = (0..transaction_count).map(receipt).collect();
        let parent = block(41, B256::ZERO, &World::default(), &[], &[]);
        let claimed = block(42, parent.hash(), &world, &transactions, &receipts);
        let child = block(43, claimed.hash(), &World::default(), &transactions[..1], &receipts[..1]);
        let grandchild = block(44, child.hash(), &World::default(), &[], &[]);
        let headers = [parent, claimed, child, grandchild].map(|block| block.header().clone()).to_vec();
        Self { network: Network::new(1), world, transactions, receipts, headers }
    }

    /// A bundle of a claim about block 42 with that block's own certificate.
    pub(crate) fn bundle(&self, claim: Claim) -> Bundle {
        let header = &self.headers[1];
        let certificate = self.network.certify(CHAIN_ID, 57, header);
        Bundle::new(CHAIN_ID, certificate, std::slice::from_ref(header), claim).unwrap()
    }

    /// The same with the certificate of block 44.
    pub(crate) fn bundle_by_descendant(&self, claim: Claim) -> Bundle {
        let certificate = self.network.certify(CHAIN_ID, 300, &self.headers[3]);
        let headers: Vec<Header> = self.headers[1..].iter().rev().cloned().collect();
        Bundle::new(CHAIN_ID, certificate, &headers, claim).unwrap()
    }

    pub(crate) fn transaction_claim(&self, index: u64) -> Claim {
        Claim::transaction(42, &self.transactions, index).unwrap()
    }

    pub(crate) fn receipt_claim(&self, index: u64) -> Claim {
        Claim::receipt(42, &self.transactions, &self.receipts, index).unwrap()
    }

    pub(crate) fn log_claim(&self, transaction_index: u64, receipt_log_index: u64) -> Claim {
        let at = LogPosition { transaction_index, receipt_log_index };
        Claim::log(42, &self.transactions, &self.receipts, at).unwrap()
    }
}

pub(crate) fn block(
    number: u64,
    parent: B256,
    world: &World,
    transactions: &[Transaction],
    receipts: &[Receipt],
) -> Block {
    let mut context =
        ConsensusContext { epoch: 3, view: number + 15, parent_view: number + 14, leader: [4; 32], seeds: vec![] };
    context.seeds = vec![Seed([9; 48]); context.seed_count()];
    Block::assemble(BlockParts {
        parent_hash: parent,
        number,
        timestamp_ms: BLOCK_MS + (number * 200) - 42 * 200,
        beneficiary: address(3),
        state_root: world.root(),
        receipts_root: calculate_receipt_root(receipts),
        logs_bloom: receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom()),
        gas_limit: 150_000_000,
        gas_used: receipts.last().map_or(0, Receipt::cumulative_gas_used),
        base_fee: 1_000_000_000,
        transactions: transactions.to_vec(),
        context,
        requests: vec![],
    })
}

/// Transaction `n`: legacy if even, type 2 if odd. The signature is none: whoever checks inclusion does not check it.
fn transaction(n: u64) -> Transaction {
    let signature = Signature::new(U256::from(n + 1), U256::from(n + 2), n.is_multiple_of(2));
    let (to, value) = (TxKind::Call(address(n)), U256::from(n));
    if n.is_multiple_of(2) {
        let legacy =
            TxLegacy { chain_id: Some(CHAIN_ID), nonce: n, gas_limit: 21_000, to, value, ..TxLegacy::default() };
        return EthereumTxEnvelope::Legacy(legacy.into_signed(signature));
    }
    let input = Bytes::from(vec![0xab; n as usize]);
    let dynamic =
        TxEip1559 { chain_id: CHAIN_ID, nonce: n, gas_limit: 90_000, to, value, input, ..TxEip1559::default() };
    EthereumTxEnvelope::Eip1559(dynamic.into_signed(signature))
}

/// Receipt `n`: every third failed, the others have two logs.
fn receipt(n: u64) -> Receipt {
    let failed = n.is_multiple_of(3);
    let logs: Vec<Log> = (0..if failed { 0 } else { 2 })
        .map(|index| {
            let topics = (0..=index).map(|topic| keccak256([n as u8, topic])).collect();
            Log::new_unchecked(contract(), topics, Bytes::from(vec![n as u8; 40]))
        })
        .collect();
    let receipt = ConsensusReceipt { status: (!failed).into(), cumulative_gas_used: 50_000 * (n + 1), logs };
    let receipt: ReceiptWithBloom<ConsensusReceipt> = receipt.into();
    if n.is_multiple_of(2) { ReceiptEnvelope::Legacy(receipt) } else { ReceiptEnvelope::Eip1559(receipt) }
}
