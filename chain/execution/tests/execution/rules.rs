//! Every rule that refuses a transaction, from both sides of its edge.

use crate::{code, world::*};
use alloy_consensus::{SignableTransaction as _, TxEip4844, TxEip7702, TxLegacy, crypto::secp256k1::sign_message};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Signature, TxKind};
use keystead_execution::{BlockEnv, Error, InvalidTransaction, Outcome, execute};
use keystead_types::{Recovered, U256};

fn try_at(world: &World, env: &BlockEnv, transactions: &[Tx]) -> Result<Outcome, InvalidTransaction> {
    match execute(world, &SPEC, env, &recovered(transactions)) {
        Ok(outcome) => {
            world.clone().apply(&outcome.changes);
            Ok(outcome)
        }
        Err(Error::Transaction { source, .. }) => Err(*source),
        Err(other) => panic!("{other}"),
    }
}

fn try_one(world: &World, transaction: Tx) -> Result<Outcome, InvalidTransaction> {
    try_at(world, &env(), &[transaction])
}

#[test]
fn a_nonce_must_be_the_next_one() {
    let mut world = World::new();
    world.accounts.get_mut(&user(1)).unwrap().nonce = 7;
    let at = |nonce| try_one(&world, Tx::transfer(1, nonce, user(2), 1));
    assert_eq!(at(6), Err(InvalidTransaction::NonceTooLow { nonce: 6, expected: 7 }));
    assert!(at(7).is_ok());
    assert_eq!(at(8), Err(InvalidTransaction::NonceTooHigh { nonce: 8, expected: 7 }));
    assert_eq!(at(6).unwrap_err().to_string(), "nonce too low: tx=6 state=7");
}

#[test]
fn the_last_nonce_cannot_be_used() {
    let mut world = World::new();
    world.accounts.get_mut(&user(1)).unwrap().nonce = u64::MAX;
    let at_end = try_one(&world, Tx::transfer(1, u64::MAX, user(2), 1));
    assert_eq!(at_end, Err(InvalidTransaction::NonceMax { nonce: u64::MAX }));
    world.accounts.get_mut(&user(1)).unwrap().nonce = u64::MAX - 1;
    assert!(try_one(&world, Tx::transfer(1, u64::MAX - 1, user(2), 1)).is_ok());
}

#[test]
fn the_balance_must_cover_value_and_gas_at_the_fee_cap_to_the_wei() {
    let mut world = World::new();
    let cost = 21_000 * MAX_FEE + 5;
    world.fund(user(1), cost);
    assert!(try_one(&world, Tx::transfer(1, 0, user(2), 5)).is_ok());
    world.fund(user(1), cost - 1);
    assert_eq!(
        try_one(&world, Tx::transfer(1, 0, user(2), 5)),
        Err(InvalidTransaction::InsufficientFunds { balance: U256::from(cost - 1), cost: U256::from(cost) })
    );
}

#[test]
fn a_cost_beyond_any_balance_is_refused_without_overflow() {
    let world = World::new();
    let with = |max_fee, value| try_one(&world, Tx { max_fee, ..Tx::transfer(1, 0, user(2), value) });
    assert_eq!(with(u128::MAX, 0), Err(InvalidTransaction::CostOverflow));
    assert!(matches!(with(u128::MAX / 21_000, u128::MAX), Err(InvalidTransaction::InsufficientFunds { .. })));
}

#[test]
fn one_transaction_may_ask_for_two_to_the_24_gas_and_no_more() {
    let world = World::new();
    let with = |gas| try_one(&world, Tx { gas, ..Tx::default() });
    assert!(with(16_777_216).is_ok());
    assert_eq!(with(16_777_217), Err(InvalidTransaction::GasAboveCap { gas_limit: 16_777_217, cap: 16_777_216 }));
}

#[test]
fn transactions_share_the_blocks_gas_and_unused_gas_is_free_again() {
    let world = World::new();
    let two = [Tx::transfer(1, 0, user(2), 1), Tx { gas: 30_000, ..Tx::transfer(1, 1, user(2), 1) }];
    let limit = |gas_limit| BlockEnv { gas_limit, ..env() };
    // The second needs 30,000 free at its place, and uses 21,000.
    assert_eq!(try_at(&world, &limit(51_000), &two).unwrap().gas_used, 42_000);
    assert_eq!(
        try_at(&world, &limit(50_999), &two),
        Err(InvalidTransaction::GasAboveRemaining { gas_limit: 30_000, left: 29_999 })
    );
    assert_eq!(
        try_at(&world, &limit(20_999), &two),
        Err(InvalidTransaction::GasAboveBlock { gas_limit: 21_000, block_gas_limit: 20_999 })
    );
    assert!(try_at(&world, &limit(21_000), &two[..1]).is_ok());
}

#[test]
fn gas_must_pay_for_the_calldata_and_its_floor() {
    let world = World::new();
    let with = |gas, input: Vec<u8>| try_one(&world, Tx { gas, input: input.into(), ..Tx::default() });
    assert!(with(21_000, vec![]).is_ok());
    assert_eq!(with(20_999, vec![]), Err(InvalidTransaction::IntrinsicGas { gas_limit: 20_999, needed: 21_000 }));
    // 100 bytes: 1,600 gas, but at least 4,000 (EIP-7623).
    assert!(with(25_000, vec![1; 100]).is_ok());
    assert_eq!(with(24_999, vec![1; 100]), Err(InvalidTransaction::FloorGas { gas_limit: 24_999, needed: 25_000 }));
    assert_eq!(with(22_599, vec![1; 100]), Err(InvalidTransaction::IntrinsicGas { gas_limit: 22_599, needed: 22_600 }));
    assert_eq!(with(25_000, vec![1; 100]).unwrap().gas_used, 25_000);
}

#[test]
fn a_fee_cap_must_reach_the_base_fee_and_cover_the_tip() {
    let world = World::new();
    let base_fee = u128::from(BASE_FEE);
    for kind in 0..=2 {
        let with = |max_fee| try_one(&world, Tx { kind, max_fee, tip: 0, ..Tx::default() });
        assert!(with(base_fee).is_ok());
        assert_eq!(
            with(base_fee - 1),
            Err(InvalidTransaction::FeeBelowBase { max_fee: base_fee - 1, base_fee: BASE_FEE })
        );
    }
    let tip = |tip| try_one(&world, Tx { max_fee: base_fee, tip, ..Tx::default() });
    assert!(tip(base_fee).is_ok());
    assert_eq!(
        tip(base_fee + 1),
        Err(InvalidTransaction::TipAboveFee { priority_fee: base_fee + 1, max_fee: base_fee })
    );
}

#[test]
fn a_contract_cannot_send_but_a_delegated_account_can() {
    let mut world = World::new();
    world.contract(user(1), code::STORE);
    assert_eq!(try_one(&world, Tx { nonce: 1, ..Tx::default() }), Err(InvalidTransaction::SenderHasCode));
    let delegation = [&[0xef, 0x01, 0x00][..], user(9).as_slice()].concat();
    world.contract(user(1), &delegation);
    assert!(try_one(&world, Tx { nonce: 1, ..Tx::default() }).is_ok());
}

#[test]
fn another_chains_transaction_is_refused_and_one_without_chain_id_is_not() {
    for kind in 0..=2 {
        assert_eq!(
            try_one(&World::new(), Tx { kind, chain_id: 1, ..Tx::default() }),
            Err(InvalidTransaction::WrongChainId { got: Some(1), want: CHAIN_ID })
        );
    }
    // Signatures from before EIP-155 are valid in a block, as on Ethereum: keyless deployments need them.
    let old = TxLegacy { gas_price: MAX_FEE, gas_limit: 21_000, to: TxKind::Call(user(2)), ..TxLegacy::default() };
    let old = Recovered::new_unchecked(old.into_signed(Signature::test_signature()).into(), user(1));
    assert!(execute(&World::new(), &SPEC, &env(), &[old]).is_ok());
}

/// Why a transaction may not stand in a block.
fn refused(transaction: keystead_types::Transaction) -> InvalidTransaction {
    let recovered = Recovered::new_unchecked(transaction, user(1));
    let error = execute(&World::new(), &SPEC, &env(), &[recovered]).unwrap_err();
    let Error::Transaction { source, .. } = error else { panic!("{error}") };
    *source
}

#[test]
fn blob_transactions_are_refused_by_type() {
    let blob = TxEip4844 { chain_id: CHAIN_ID, gas_limit: 21_000, max_fee_per_gas: MAX_FEE, ..TxEip4844::default() };
    let blob = blob.into_signed(Signature::test_signature()).into();
    assert_eq!(refused(blob), InvalidTransaction::TypeNotSupported { kind: 3 });
}

/// A transaction of user 1 with authorizations.
fn set_code(to: Address, gas_limit: u64, list: Vec<SignedAuthorization>) -> TxEip7702 {
    TxEip7702 {
        chain_id: CHAIN_ID,
        gas_limit,
        max_fee_per_gas: MAX_FEE,
        max_priority_fee_per_gas: TIP,
        to,
        authorization_list: list,
        ..TxEip7702::default()
    }
}

/// Somebody's authorization of the code at an address, and who that is.
fn authorize(address: Address, nonce: u64) -> (SignedAuthorization, Address) {
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address, nonce };
    let signature = sign_message(B256::repeat_byte(9), authorization.signature_hash()).unwrap();
    let signer = signature.recover_address_from_prehash(&authorization.signature_hash()).unwrap();
    (authorization.into_signed(signature), signer)
}

#[test]
fn a_transaction_of_type_4_needs_authorizations_and_their_gas() {
    let (authorization, _) = authorize(user(5), 0);
    let signed = |body: TxEip7702| body.into_signed(Signature::test_signature()).into();
    assert!(matches!(refused(signed(set_code(user(2), 99_000, Vec::new()))), InvalidTransaction::Foreign(_)));
    assert_eq!(
        refused(signed(set_code(user(2), 45_999, vec![authorization]))),
        InvalidTransaction::IntrinsicGas { gas_limit: 45_999, needed: 46_000 }
    );
}

#[test]
fn an_authorization_gives_its_signer_code_that_later_transactions_run_and_another_takes_it_away() {
    let mut world = World::new();
    // Stores the call's value in slot 0.
    world.contract(user(5), &[0x34, 0x5f, 0x55, 0x00]);
    let run = |world: &mut World, transaction: keystead_types::Transaction| {
        let recovered = Recovered::new_unchecked(transaction, user(1));
        let outcome = execute(world, &SPEC, &env(), &[recovered]).unwrap();
        world.apply(&outcome.changes);
        outcome
    };
    let signature = Signature::test_signature();
    let (authorization, signer) = authorize(user(5), 0);
    let outcome = run(&mut world, set_code(user(2), 99_000, vec![authorization.clone()]).into_signed(signature).into());
    assert!(matches!(outcome.receipts.as_slice(), [keystead_types::Receipt::Eip7702(_)]));
    let code = [&[0xef, 0x01, 0x00][..], user(5).as_slice()].concat();
    assert_eq!(world.code_of(signer).unwrap().as_ref(), code);
    assert_eq!(world.accounts[&signer].nonce, 1);
    // The account runs the code, with its own storage; the used authorization changes nothing any more.
    let call = TxEip7702 { nonce: 1, value: U256::from(3), ..set_code(signer, 199_000, vec![authorization]) };
    run(&mut world, call.into_signed(signature).into());
    assert_eq!((world.slot(signer, 0), world.slot(user(5), 0)), (U256::from(3), U256::ZERO));
    assert_eq!(world.accounts[&signer].nonce, 1);
    let (back, _) = authorize(Address::ZERO, 1);
    run(&mut world, TxEip7702 { nonce: 2, ..set_code(user(2), 99_000, vec![back]) }.into_signed(signature).into());
    assert_eq!(world.accounts[&signer].code_hash, alloy_primitives::KECCAK256_EMPTY);
    assert_eq!(world.slot(signer, 0), U256::from(3), "storage stays");
}

#[test]
fn init_code_may_have_49152_bytes() {
    let world = World::new();
    let with = |bytes| try_one(&world, Tx { gas: 5_000_000, ..Tx::create(1, 0, vec![0; bytes]) });
    assert!(with(49_152).is_ok());
    assert_eq!(with(49_153), Err(InvalidTransaction::InitCodeTooLarge { got_bytes: 49_153, max_bytes: 49_152 }));
}
