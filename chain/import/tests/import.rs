//! A small foreign chain, made here: blocks that hold are imported and survive a restart, others are refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test stops at the first surprise and computes with small numbers"
)]

use alloy_consensus::{
    Header, SignableTransaction as _, TxLegacy,
    proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use keystead_execution::{BlockEnv, EthereumBlock, execute_ethereum};
use keystead_import::{ChainError, Error, FileError, Importer, OmmerFault, Refusal};
use keystead_state::{Options, Store};
use keystead_types::{
    Block, BlockError, ChainSpec, EthereumBody, Fork, Forks, Genesis, GenesisAccount, HeaderFault, StateView as _,
    Transaction, Withdrawal, Withdrawals, check_header, recover_all,
};
use std::path::Path;
use tempfile::TempDir;

/// A transaction of the legacy type with a signature that gives some sender; who that is does not matter.
fn transaction(nonce: u64) -> Transaction {
    let to = TxKind::Call(Address::repeat_byte(0xdd));
    let body = TxLegacy {
        nonce,
        gas_price: 2_000_000_000,
        gas_limit: 21_000,
        to,
        value: U256::from(5),
        ..TxLegacy::default()
    };
    body.into_signed(Signature::test_signature()).into()
}

fn genesis(fork: Fork) -> Genesis {
    let senders = recover_all(vec![transaction(0), transaction(1)]).unwrap();
    let rich = GenesisAccount { balance: U256::from(10).pow(U256::from(18)), ..GenesisAccount::default() };
    let difficulty = if fork < Fork::Paris { U256::from(131_072) } else { U256::ZERO };
    let header = Header {
        gas_limit: 30_000_000,
        difficulty,
        base_fee_per_gas: (fork >= Fork::London).then_some(1_000_000_000),
        withdrawals_root: (fork >= Fork::Shanghai).then_some(calculate_withdrawals_root(&[])),
        ..Header::default()
    };
    Genesis {
        spec: ChainSpec::ethereum(1, 30_000_000, Forks::always(fork)),
        timestamp: 0,
        accounts: senders.iter().map(|it| (it.signer(), rich.clone())).collect(),
        header: Some(Box::new(header)),
    }
}

struct Chain {
    folder: TempDir,
    genesis: Genesis,
    store: Store,
    importer: Importer,
}

fn open(folder: &Path, genesis: &Genesis) -> Store {
    Store::open(folder, genesis, Options { cache_bytes: 1 << 20, ..Options::default() }).unwrap()
}

impl Chain {
    fn new(fork: Fork) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let genesis = genesis(fork);
        let store = open(folder.path(), &genesis);
        let importer = Importer::new(store.clone(), &genesis).unwrap();
        Self { folder, genesis, store, importer }
    }

    /// A child of the head that holds, but for what `change` makes of its header.
    fn block(&self, transactions: Vec<Transaction>, ommers: Vec<Header>, change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let (spec, forks) = (self.genesis.spec, self.genesis.spec.ethereum.unwrap());
        let head = self.store.head();
        let parent = self.store.header(head.number).unwrap().unwrap();
        let fork = forks.fork(1, 1, U256::ZERO);
        let withdrawal = Withdrawal { index: 0, validator_index: 0, address: Address::repeat_byte(7), amount: 1 };
        let withdrawals = (fork >= Fork::Shanghai).then(|| Withdrawals::new(vec![withdrawal]));
        let mut header = Header {
            parent_hash: head.hash,
            number: head.number + 1,
            timestamp: parent.timestamp + 13,
            gas_limit: parent.gas_limit,
            beneficiary: Address::repeat_byte(0xbe),
            base_fee_per_gas: parent.base_fee_per_gas.map(|_| spec.next_base_fee(&parent)),
            transactions_root: calculate_transaction_root(&transactions),
            ommers_hash: calculate_ommers_root(&ommers),
            withdrawals_root: withdrawals.as_ref().map(|it| calculate_withdrawals_root(it)),
            ..Header::default()
        };
        if fork < Fork::Paris
            && let Err(HeaderFault::Difficulty { want, .. }) = check_header(&header, &parent, head.hash, &spec, &forks)
        {
            header.difficulty = want;
        }
        let recovered = recover_all(transactions.clone()).unwrap();
        let before = self.store.latest();
        let content = EthereumBlock {
            transactions: &recovered,
            ommers: &ommers,
            withdrawals: withdrawals.as_ref().map(|it| it.as_slice()).unwrap_or_default(),
            state_root: &|changes| Ok(before.child(changes)?.state_root()),
        };
        if let Ok(outcome) = execute_ethereum(&*before, &spec, &BlockEnv::from(&header), &content) {
            header.gas_used = outcome.gas_used;
            header.receipts_root = outcome.receipts_root;
            header.logs_bloom = outcome.logs_bloom;
            header.state_root = before.child(outcome.changes).unwrap().state_root();
        }
        change(&mut header);
        Block::ethereum(header, transactions, EthereumBody { ommers, withdrawals }).unwrap().encode()
    }

    fn refusal(&self, bytes: &[u8]) -> Refusal {
        let head = self.store.head();
        match self.importer.import(bytes) {
            Err(Error::Refused(refusal)) => {
                assert_eq!(self.store.head(), head, "a refused block changed the store");
                *refusal
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn blocks_of_every_kind_of_fork_are_imported_once_and_survive_a_restart() {
    for fork in [Fork::Frontier, Fork::Byzantium, Fork::London, Fork::Paris, Fork::Shanghai] {
        let chain = Chain::new(fork);
        let first = chain.block(vec![transaction(0)], Vec::new(), |_| ());
        for _ in 0..2 {
            assert_eq!(chain.importer.import(&first).unwrap().number(), 1, "{fork:?}");
        }
        let second = chain.block(Vec::new(), Vec::new(), |_| ());
        let block = chain.importer.import(&second).unwrap();
        let head = chain.store.head();
        assert_eq!((head.number, head.hash), (2, block.hash()), "{fork:?}");
        let receipts = chain.store.receipts(1).unwrap().unwrap();
        assert_eq!(receipts[0].cumulative_gas_used(), 21_000);
        let Chain { folder, genesis, store, importer } = chain;
        drop((store, importer));
        let again = open(folder.path(), &genesis);
        assert_eq!(again.head(), head, "{fork:?}");
        assert_eq!(again.block(2).unwrap().unwrap(), block);
        let got = again.latest().account(&Address::repeat_byte(0xdd)).unwrap().unwrap();
        assert_eq!(got.balance, U256::from(5));
    }
}

#[test]
fn every_field_that_execution_gives_is_compared() {
    let chain = Chain::new(Fork::Shanghai);
    let field = |change: fn(&mut Header)| {
        let refusal = chain.refusal(&chain.block(vec![transaction(0)], Vec::new(), change));
        let Refusal::Mismatch { field, .. } = refusal else { panic!("{refusal}") };
        field
    };
    assert_eq!(field(|it| it.state_root = B256::ZERO), "stateRoot");
    assert_eq!(field(|it| it.receipts_root = B256::ZERO), "receiptsRoot");
    assert_eq!(field(|it| it.gas_used += 1), "gasUsed");
    assert_eq!(field(|it| it.logs_bloom.0[0] = 1), "logsBloom");
}

#[test]
fn a_wrong_header_body_transaction_or_place_is_refused_by_name() {
    let chain = Chain::new(Fork::Shanghai);
    let header = |change: fn(&mut Header)| chain.refusal(&chain.block(Vec::new(), Vec::new(), change));
    assert!(matches!(header(|it| it.timestamp = 0), Refusal::Header(HeaderFault::Timestamp { .. })));
    assert!(matches!(header(|it| it.number = 7), Refusal::Header(HeaderFault::NotChild { .. })));
    assert!(matches!(header(|it| it.parent_hash = B256::ZERO), Refusal::Header(HeaderFault::NotChild { .. })));
    let presence = header(|it| it.requests_hash = Some(EMPTY_REQUESTS_HASH));
    assert!(matches!(
        presence,
        Refusal::Block(BlockError::Malformed(_)) | Refusal::Header(HeaderFault::Presence { .. })
    ));
    let early = chain.block(vec![transaction(3)], Vec::new(), |_| ());
    assert!(matches!(chain.refusal(&early), Refusal::Transaction { index: 0, .. }));
    assert!(matches!(chain.refusal(b"no block"), Refusal::Block(BlockError::Malformed(_))));
    let good = chain.block(vec![transaction(0)], Vec::new(), |_| ());
    let header = Block::decode_ethereum(&good).unwrap().header().clone();
    let chosen = (header.timestamp, header.gas_limit, header.mix_hash);
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        // A block may choose these within bounds: then it is another block that holds.
        let free = |it: &Header| (it.timestamp, it.gas_limit, it.mix_hash);
        if Block::decode_ethereum(&flipped).is_ok_and(|block| free(block.header()) != chosen) {
            continue;
        }
        chain.refusal(&flipped);
    }
    chain.importer.import(&good).unwrap();
}

#[test]
fn an_ommer_must_be_a_stale_child_of_an_ancestor_that_nobody_paid_for() {
    let chain = Chain::new(Fork::Byzantium);
    let sibling = chain.block(Vec::new(), Vec::new(), |it| it.beneficiary = Address::repeat_byte(0x99));
    let sibling = Block::decode_ethereum(&sibling).unwrap().header().clone();
    let first = chain.importer.import(&chain.block(Vec::new(), Vec::new(), |_| ())).unwrap();
    let fault = |ommers: Vec<Header>| {
        let refusal = chain.refusal(&chain.block(Vec::new(), ommers, |_| ()));
        let Refusal::Ommer { fault, .. } = refusal else { panic!("{refusal}") };
        *fault
    };
    assert_eq!(fault(vec![first.header().clone()]), OmmerFault::Ancestor);
    let changed = |change: fn(&mut Header)| {
        let mut header = sibling.clone();
        change(&mut header);
        fault(vec![header])
    };
    assert!(matches!(changed(|it| it.number = 2), OmmerFault::Distance { number: 2, block: 2 }));
    assert!(matches!(changed(|it| it.parent_hash = B256::ZERO), OmmerFault::Stranger { .. }));
    assert!(matches!(changed(|it| it.difficulty = U256::from(1)), OmmerFault::Header(_)));
    assert_eq!(fault(vec![sibling.clone(), sibling.clone()]), OmmerFault::Repeated { number: 2 });
    chain.importer.import(&chain.block(Vec::new(), vec![sibling.clone()], |_| ())).unwrap();
    assert_eq!(fault(vec![sibling]), OmmerFault::Repeated { number: 2 });
    let got = chain.store.latest().account(&Address::repeat_byte(0x99)).unwrap().unwrap();
    assert_eq!(got.balance, U256::from(3_000_000_000_000_000_000_u64 / 8 * 7));
}

#[test]
fn a_file_is_imported_from_block_0_or_1_and_goes_on_where_it_was_cut_off() {
    let source = Chain::new(Fork::Shanghai);
    let mut file = source.store.genesis().encode();
    let mut cut = 0;
    for transactions in [vec![transaction(0)], Vec::new()] {
        let block = source.block(transactions, Vec::new(), |_| ());
        source.importer.import(&block).unwrap();
        // Into the last block.
        cut = file.len() + 9;
        file.extend(block);
    }
    let chain = Chain::new(Fork::Shanghai);
    let stopped = chain.importer.import_file(&file[..cut], |_| ()).unwrap_err();
    assert!(matches!(stopped, ChainError::File { index: 2, source: FileError::Truncated { .. } }), "{stopped}");
    assert_eq!(chain.store.head().number, 1);
    let mut seen = Vec::new();
    chain.importer.import_file(file.as_slice(), |block| seen.push(block.number())).unwrap();
    assert_eq!((seen, chain.store.head()), (vec![0, 1, 2], source.store.head()));
    let other = Chain::new(Fork::Paris);
    let refused = other.importer.import_file(file.as_slice(), |_| ()).unwrap_err();
    let ChainError::Block { index: 0, head: 0, source } = refused else { panic!("{refused}") };
    assert!(matches!(*source, Error::Refused(_)), "{source}");
}

#[test]
fn a_chain_of_ours_is_not_imported() {
    let json = r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#;
    let genesis = Genesis::from_json(json).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = Importer::new(open(folder.path(), &genesis), &genesis).unwrap_err();
    assert!(matches!(error, Error::NotForeign { chain_id: 1 }));
}
