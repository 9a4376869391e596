//! Blocks of foreign chains: what Ethereum does around transactions, fork by fork.

use crate::world::{Tx, World, env, user};
use alloy_consensus::{SignableTransaction as _, TxEip4844, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, keccak256};
use keystead_execution::{
    BlockEnv, BlockFault, CallRequest, Error, EthereumBlock, InvalidTransaction, Outcome, Overrides, call,
    execute_ethereum, execute_transactions,
};
use keystead_types::{Account, ChainSpec, Fork, Forks, Header, Recovered, StateView, ViewError, Withdrawal};

const WITHDRAWAL_REQUESTS: Address = address!("0x00000961Ef480Eb55e80D19ad83579A64c007002");
const CONSOLIDATIONS: Address = address!("0x0000BBdDc7CE488642fb579F8B00f3a590007251");

fn spec(fork: Fork) -> ChainSpec {
    ChainSpec::ethereum(1, 30_000_000, Forks::always(fork))
}

fn run(world: &World, fork: Fork, ommers: &[Header], withdrawals: &[Withdrawal]) -> Result<Outcome, Error> {
    let block = EthereumBlock { transactions: &[], ommers, withdrawals, state_root: &|_| Ok(B256::ZERO) };
    execute_ethereum(world, &spec(fork), &env(), &block)
}

fn balance(outcome: &Outcome, address: Address) -> Option<U256> {
    Some(outcome.changes.accounts.get(&address)?.account?.balance)
}

fn eth(thirty_seconds: u64) -> U256 {
    U256::from(thirty_seconds) * U256::from(1_000_000_000_000_000_000_u64) / U256::from(32)
}

#[test]
fn a_block_under_proof_of_work_is_paid_with_its_ommers_and_one_after_it_is_not() {
    let ommer = |number| Header { number, beneficiary: user(9), ..Header::default() };
    let beneficiary = env().beneficiary;
    let world = World::default();
    for (fork, reward) in [(Fork::Frontier, 5), (Fork::Byzantium, 3), (Fork::Petersburg, 2), (Fork::London, 2)] {
        let outcome = run(&world, fork, &[ommer(99), ommer(94)], &[]).unwrap();
        assert_eq!(balance(&outcome, beneficiary), Some(eth(reward * 34)), "{fork:?}");
        // Seven eighths and two eighths.
        assert_eq!(balance(&outcome, user(9)), Some(eth(reward * 36)), "{fork:?}");
    }
    assert_eq!(balance(&run(&world, Fork::Paris, &[], &[]).unwrap(), beneficiary), None);
}

#[test]
fn withdrawals_add_gwei_and_one_of_nothing_makes_no_account() {
    let withdrawal = |address, amount| Withdrawal { index: 0, validator_index: 0, address, amount };
    let given = [withdrawal(user(7), 3), withdrawal(user(7), 4), withdrawal(user(8), 0)];
    let outcome = run(&World::default(), Fork::Shanghai, &[], &given).unwrap();
    assert_eq!(balance(&outcome, user(7)), Some(U256::from(7_000_000_000_u64)));
    assert!(!outcome.changes.accounts.contains_key(&user(8)));
    let before = run(&World::default(), Fork::Paris, &[], &given).unwrap();
    assert!(before.changes.accounts.is_empty(), "no withdrawals before Shanghai");
}

#[test]
fn requests_come_from_contracts_that_must_be_there_and_succeed() {
    let returns = |byte: u8| Bytes::from(vec![0x60, byte, 0x5f, 0x53, 0x60, 1, 0x5f, 0xf3]);
    let mut world = World::default();
    let missing = run(&world, Fork::Prague, &[], &[]).unwrap_err();
    assert!(
        matches!(missing, Error::Block(BlockFault::ContractMissing { contract: WITHDRAWAL_REQUESTS })),
        "{missing}"
    );
    world.contract(WITHDRAWAL_REQUESTS, &returns(0xaa));
    world.contract(CONSOLIDATIONS, &[0x00]);
    let outcome = run(&world, Fork::Prague, &[], &[]).unwrap();
    assert_eq!(outcome.requests, [Bytes::from_static(&[1, 0xaa])], "a request without data is left out");
    world.contract(CONSOLIDATIONS, &[0x5f, 0x5f, 0xfd]);
    let failed = run(&world, Fork::Prague, &[], &[]).unwrap_err();
    assert!(matches!(failed, Error::Block(BlockFault::ContractFailed { contract: CONSOLIDATIONS, .. })), "{failed}");
}

#[test]
fn a_system_call_has_thirty_million_gas_and_no_more() {
    let mut world = World::default();
    world.contract(WITHDRAWAL_REQUESTS, &[0x00]);
    // Returns the gas that is left after GAS itself.
    world.contract(CONSOLIDATIONS, &[0x5a, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3]);
    let outcome = run(&world, Fork::Osaka, &[], &[]).unwrap();
    let gas = U256::from_be_slice(&outcome.requests[0][1..]);
    assert_eq!(gas, U256::from(30_000_000 - 2));
}

/// A world with one account that has storage, but neither nonce nor code.
struct Haunted {
    world: World,
    place: Address,
}

impl StateView for Haunted {
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
        self.world.account(address)
    }

    fn account_with_storage(&self, address: &Address) -> Result<Option<(Account, bool)>, ViewError> {
        Ok(self.account(address)?.map(|account| (account, *address == self.place)))
    }

    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        self.world.storage(address, slot)
    }

    fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
        self.world.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.world.block_hash(number)
    }
}

#[test]
fn no_contract_is_created_over_storage_and_the_account_keeps_the_hash_of_no_code() {
    let mut world = World::default();
    let factory = user(0xfa);
    // CREATE with no code and no value; returns the address.
    world.contract(factory, &[0x5f, 0x5f, 0x5f, 0xf0, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3]);
    let place = factory.create(1);
    let hasher = user(0xfb);
    // EXTCODEHASH of the address in the calldata.
    world.contract(hasher, &[0x5f, 0x35, 0x3f, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3]);
    world.fund(place, 1);
    let ask = |view: &dyn StateView, to: Address, input: Bytes| {
        let request = CallRequest { to: Some(to), input, ..CallRequest::default() };
        call(view, &spec(Fork::Osaka), &env(), &Overrides::default(), request, 1_000_000).unwrap().output
    };
    let word = Bytes::from(place.into_word().to_vec());
    assert_eq!(ask(&world, factory, Bytes::new()), word, "a balance is no obstacle");
    let haunted = Haunted { world, place };
    assert_eq!(ask(&haunted, factory, Bytes::new()), Bytes::from(vec![0; 32]), "storage is");
    assert_eq!(ask(&haunted, hasher, word), Bytes::from(keccak256([]).to_vec()));
    let nobody = Bytes::from(user(0x77).into_word().to_vec());
    assert_eq!(ask(&haunted, hasher, nobody), Bytes::from(vec![0; 32]));
}

#[test]
fn transactions_alone_make_no_system_calls_and_pay_no_reward() {
    let outcome = execute_transactions(&World::default(), &spec(Fork::Frontier), &env(), &[]).unwrap();
    assert!(outcome.changes.accounts.is_empty());
}

#[test]
fn a_type_that_the_fork_does_not_have_yet_is_refused() {
    let mut world = World::default();
    world.fund(user(1), u128::MAX);
    let transaction = Tx { chain_id: 1, ..Tx::default() }.recovered();
    let env = BlockEnv { base_fee: 0, ..env() };
    let run = |fork| execute_transactions(&world, &spec(fork), &env, std::slice::from_ref(&transaction));
    let Err(Error::Transaction { source, .. }) = run(Fork::Berlin) else { panic!("accepted") };
    assert!(matches!(*source, InvalidTransaction::TypeNotSupported { kind: 2 }), "{source}");
}

#[test]
fn a_touch_makes_an_account_before_spurious_dragon_and_clears_it_from_then_on() {
    let mut world = World::default();
    world.fund(user(1), u128::MAX);
    world.accounts.insert(user(3), Account::default());
    let env = BlockEnv { base_fee: 0, ..env() };
    let to = |to, nonce| Tx { kind: 0, nonce, to: Some(to), chain_id: 1, ..Tx::default() };
    let touched = |fork, address| {
        let unprotected = unprotected(&to(address, 0));
        let outcome = execute_transactions(&world, &spec(fork), &env, &[unprotected]).unwrap();
        outcome.changes.accounts.get(&address).map(|change| change.account)
    };
    assert_eq!(touched(Fork::TangerineWhistle, user(2)), Some(Some(Account::default())), "made by a touch");
    assert_eq!(touched(Fork::SpuriousDragon, user(2)), None, "never there");
    assert_eq!(touched(Fork::TangerineWhistle, user(3)), None, "left as it was");
    assert_eq!(touched(Fork::SpuriousDragon, user(3)), Some(None), "cleared by a touch");
}

#[test]
fn a_transaction_that_names_a_chain_is_refused_before_spurious_dragon() {
    let mut world = World::default();
    world.fund(user(1), u128::MAX);
    let env = BlockEnv { base_fee: 0, ..env() };
    let transaction = Tx { kind: 0, chain_id: 1, ..Tx::default() };
    let run = |fork, it: &Recovered| execute_transactions(&world, &spec(fork), &env, std::slice::from_ref(it));
    let Err(Error::Transaction { source, .. }) = run(Fork::Homestead, &transaction.recovered()) else {
        panic!("accepted")
    };
    assert!(matches!(*source, InvalidTransaction::WrongChainId { got: Some(1), .. }), "{source}");
    assert!(run(Fork::SpuriousDragon, &transaction.recovered()).is_ok());
    assert!(run(Fork::Homestead, &unprotected(&transaction)).is_ok());
}

#[test]
fn receipts_hold_the_state_root_after_their_transaction_before_byzantium_and_a_status_from_then_on() {
    let mut world = World::default();
    world.fund(user(1), u128::MAX);
    let env = BlockEnv { base_fee: 0, ..env() };
    let transactions = [0, 1].map(|nonce| Tx { kind: 0, chain_id: 1, nonce, value: 7, ..Tx::default() }.recovered());
    let receipts = |fork| {
        // Stands for a root: how much arrived so far.
        let root = |changes: keystead_types::ChangeSet| {
            let account = changes.accounts.get(&user(0xdd)).and_then(|change| change.account).unwrap_or_default();
            Ok(B256::from(account.balance))
        };
        let block = EthereumBlock { transactions: &transactions, ommers: &[], withdrawals: &[], state_root: &root };
        execute_ethereum(&world, &spec(fork), &env, &block).unwrap().receipts
    };
    let status = |fork| {
        let receipts = receipts(fork);
        [0, 1].map(|index: usize| receipts[index].as_receipt().unwrap().status)
    };
    let roots = [7, 14].map(|wei| B256::from(U256::from(wei)).into());
    assert_eq!(status(Fork::SpuriousDragon), roots);
    assert_eq!(status(Fork::Byzantium), [true.into(), true.into()]);
}

#[test]
fn the_blobs_of_a_block_are_bounded_together() {
    let mut world = World::default();
    world.fund(user(1), u128::MAX);
    let blobs = |nonce, count: u8| {
        let body = TxEip4844 {
            chain_id: 1,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 10,
            max_fee_per_blob_gas: 10,
            to: user(2),
            blob_versioned_hashes: vec![B256::with_last_byte(1) | B256::from(U256::from(1) << 248); count.into()],
            ..TxEip4844::default()
        };
        let signed = body.into_signed(Signature::test_signature());
        Recovered::new_unchecked(signed.into(), user(1))
    };
    let env = BlockEnv { base_fee: 1, ..env() };
    let run = |counts: &[u8]| {
        let transactions: Vec<_> = (0..).zip(counts).map(|(nonce, count)| blobs(nonce, *count)).collect();
        execute_transactions(&world, &spec(Fork::Cancun), &env, &transactions)
    };
    assert_eq!(run(&[4, 2]).unwrap().blob_gas_used, 6 * 131_072);
    let Err(Error::Transaction { index: 1, source, .. }) = run(&[4, 3]) else { panic!("accepted") };
    let InvalidTransaction::BlobGasAboveRemaining { blob_gas, left } = *source else { panic!("{source}") };
    assert_eq!((blob_gas, left), (3 * 131_072, 2 * 131_072));
}

/// The transaction as it was signed before EIP-155.
fn unprotected(transaction: &Tx) -> Recovered {
    let body = TxLegacy {
        chain_id: None,
        nonce: transaction.nonce,
        gas_price: transaction.max_fee,
        gas_limit: transaction.gas,
        to: TxKind::Call(transaction.to.unwrap()),
        ..TxLegacy::default()
    };
    Recovered::new_unchecked(body.into_signed(Signature::test_signature()).into(), transaction.from)
}

#[test]
fn a_call_with_blobs_sees_their_hashes_and_pays_for_them_where_there_are_blobs() {
    let mut world = World::default();
    let target = user(0xcc);
    // Returns BLOBHASH of 0.
    world.contract(target, &[0x5f, 0x49, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3]);
    let hash = B256::with_last_byte(1) | B256::from(U256::from(1) << 248);
    let request = |max_fee_per_blob_gas| CallRequest {
        from: user(1),
        to: Some(target),
        blob_hashes: vec![hash],
        max_fee_per_blob_gas,
        ..CallRequest::default()
    };
    let ask = |world: &World, spec: &ChainSpec, price| {
        call(world, spec, &env(), &Overrides::default(), request(price), 1_000_000)
    };
    let cancun = spec(Fork::Cancun);
    assert_eq!(ask(&world, &cancun, 0).unwrap().output, Bytes::from(hash.to_vec()));
    let poor = ask(&world, &cancun, 10).unwrap_err();
    assert!(matches!(poor, Error::Request(InvalidTransaction::InsufficientFunds { .. })), "{poor}");
    world.fund(user(1), 10 * 131_072);
    assert_eq!(ask(&world, &cancun, 10).unwrap().output, Bytes::from(hash.to_vec()));
    let early = ask(&world, &spec(Fork::Shanghai), 0).unwrap_err();
    assert!(matches!(early, Error::Request(InvalidTransaction::TypeNotSupported { kind: 3 })), "{early}");
    let ours = ask(&world, &ChainSpec::keystead(1), 0).unwrap_err();
    assert!(matches!(ours, Error::Request(_)), "{ours}");
}
