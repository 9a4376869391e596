//! The vouchers that the contract knows (`specs/vectors/channel.json`), byte for byte.

use crate::fixture::Key;
use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolStruct, SolValue, eip712_domain, sol};
use keystead_contracts::{
    CHANNEL_ADDRESS,
    bindings::channel::{Channel, IChannel},
};
use keystead_payment::{
    Claim, Domain, Signature, Signed, Voucher,
    payee::Ending,
    voucher::{SignatureError, window_id},
};
use serde_json::Value;

// The type as a wallet sees it, beside this crate's own hashing.
mod typed {
    alloy_sol_types::sol! {
        struct Voucher {
            bytes32 channelId;
            uint64 window;
            uint32 units;
            uint128 cumulative;
            uint128 heldBack;
            bytes32 root;
            bytes32 history;
        }
    }
}

fn vector() -> Value {
    serde_json::from_str(include_str!("../../../../specs/vectors/channel.json")).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn hash(value: &Value, key: &str) -> B256 {
    text(value, key).parse().unwrap()
}

fn voucher(case: &Value) -> Voucher {
    Voucher {
        channel_id: hash(case, "channel_id"),
        window: text(case, "window").parse().unwrap(),
        units: text(case, "units").parse().unwrap(),
        cumulative: text(case, "cumulative").parse().unwrap(),
        held_back: text(case, "held_back").parse().unwrap(),
        root: hash(case, "root"),
        history: hash(case, "history"),
    }
}

fn signed(case: &Value) -> Signed {
    let bytes: Bytes = text(case, "signature").parse().unwrap();
    Signed { voucher: voucher(case), signature: Signature(FixedBytes::from_slice(&bytes)) }
}

#[test]
fn hashes_signatures_and_signers_are_those_of_the_contract() {
    let vector = vector();
    let domain = Domain::of_chain(vector["chain_id"].as_u64().unwrap());
    assert_eq!(domain.contract, text(&vector, "contract").parse::<Address>().unwrap());
    assert_eq!(domain.separator(), hash(&vector, "domain_separator"));
    let key = Key::of(hash(&vector, "signer_key").0);
    assert_eq!(key.address(), text(&vector, "signer").parse::<Address>().unwrap());
    let root = &vector["audited_root"];
    let audited = keystead_job::step::audited_root(hash(root, "commitment"), hash(root, "steps"));
    assert_eq!(audited, hash(root, "root"));
    let cases = vector["vouchers"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let signed = signed(case);
        let voucher = signed.voucher;
        assert_eq!(voucher.window_id(), hash(case, "window_id"));
        assert_eq!(voucher.history_after(), hash(case, "history_after"));
        assert_eq!(voucher.struct_hash(), hash(case, "struct_hash"));
        assert_eq!(voucher.digest(&domain), hash(case, "digest"));
        signed.verify(&domain, key.address()).unwrap();
        // Signatures are deterministic (RFC 6979), so signing again after a crash gives the same bytes.
        let Ok(again) = voucher.sign(&domain, &key);
        assert_eq!(again, signed);
    }
}

#[test]
fn a_wallet_that_knows_only_eip_712_gets_the_same_digest() {
    let domain = eip712_domain! {
        name: "Keystead Channel",
        version: "1",
        chain_id: 19_283,
        verifying_contract: CHANNEL_ADDRESS,
    };
    for case in vector()["vouchers"].as_array().unwrap() {
        let ours = voucher(case);
        let typed = typed::Voucher {
            channelId: ours.channel_id,
            window: ours.window,
            units: ours.units,
            cumulative: ours.cumulative,
            heldBack: ours.held_back,
            root: ours.root,
            history: ours.history,
        };
        assert_eq!(typed.eip712_signing_hash(&domain), ours.digest(&Domain::of_chain(19_283)));
        // Windows are hashed as Solidity's `abi.encode` lays them out.
        sol! { struct Id { bytes32 channelId; uint64 window; uint32 units; bytes32 root; } }
        let id = Id { channelId: ours.channel_id, window: ours.window, units: ours.units, root: ours.root };
        assert_eq!(window_id(ours.channel_id, ours.window, ours.units, ours.root), keccak256(id.abi_encode()));
    }
}

#[test]
fn a_claim_is_the_contracts_call() {
    let case = &vector()["vouchers"][1];
    let claim = Claim { signed: signed(case), skipped: vec![(64, B256::repeat_byte(1))], amount: 1 };
    let call = Channel::claimCall {
        voucher: IChannel::Voucher::from(voucher(case)),
        signature: text(case, "signature").parse().unwrap(),
        skipped: vec![IChannel::Window { units: 64, root: B256::repeat_byte(1) }],
    };
    assert_eq!(claim.call_data(Ending::GoesOn), call.abi_encode());
    let closing = claim.call_data(Ending::Closes);
    assert_eq!(closing[..4], Channel::claimAndCloseCall::SELECTOR);
    assert_eq!(closing[4..], call.abi_encode()[4..]);
}

#[test]
fn every_other_form_of_a_signature_is_refused() {
    let vector = vector();
    let domain = Domain::of_chain(19_283);
    let signer: Address = text(&vector, "signer").parse().unwrap();
    let good = signed(&vector["vouchers"][0]);
    let with = |change: &dyn Fn(&mut [u8; 65])| {
        let mut bytes = good.signature.0.0;
        change(&mut bytes);
        Signed { signature: Signature(FixedBytes(bytes)), ..good }.verify(&domain, signer)
    };
    assert_eq!(with(&|_| {}), Ok(()));
    for byte in [0, 1, 2, 26, 29, 255] {
        assert_eq!(with(&|bytes| bytes[64] = byte), Err(SignatureError::RecoveryByte { got: byte }));
    }
    let order = U256::from_be_bytes(hex_order());
    let mirror = |bytes: &mut [u8; 65]| {
        let s = U256::from_be_slice(&bytes[32..64]);
        bytes[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        bytes[64] = 27 + 28 - bytes[64];
    };
    assert_eq!(with(&mirror), Err(SignatureError::Mirrored));
    assert_eq!(with(&|bytes| bytes[..64].fill(0)), Err(SignatureError::NoKey));
    assert_eq!(with(&|bytes| bytes[32..64].fill(0)), Err(SignatureError::NoKey));
    assert_eq!(with(&|bytes| bytes[..32].fill(0xff)), Err(SignatureError::NoKey));
    // The edge of the lower half: half the order is a form, one more is not.
    let half: U256 = order >> 1;
    let set_s = |s: U256| move |bytes: &mut [u8; 65]| bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    assert!(!matches!(with(&set_s(half)), Ok(()) | Err(SignatureError::Mirrored)));
    assert_eq!(with(&set_s(half + U256::from(1))), Err(SignatureError::Mirrored));
    for bit in 0..(64 * 8) {
        assert!(with(&|bytes| bytes[bit / 8] ^= 1 << (bit % 8)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_voucher_of_another_chain_contract_or_with_another_field_is_not_signed() {
    let vector = vector();
    let signer: Address = text(&vector, "signer").parse().unwrap();
    let good = signed(&vector["vouchers"][1]);
    let domain = Domain::of_chain(19_283);
    let others = [Domain::of_chain(1), Domain { contract: Address::ZERO, ..domain }];
    for other in others {
        assert!(matches!(good.verify(&other, signer), Err(SignatureError::AnotherSigner { .. })));
    }
    let v = good.voucher;
    let changed = [
        Voucher { channel_id: B256::ZERO, ..v },
        Voucher { window: v.window + 1, ..v },
        Voucher { units: v.units + 1, ..v },
        Voucher { cumulative: v.cumulative + 1, ..v },
        Voucher { held_back: v.held_back - 1, ..v },
        Voucher { root: B256::ZERO, ..v },
        Voucher { history: B256::ZERO, ..v },
    ];
    for voucher in changed {
        let verdict = Signed { voucher, ..good }.verify(&domain, signer);
        assert!(matches!(verdict, Err(SignatureError::AnotherSigner { .. })), "{voucher:?}");
    }
}

/// The order of secp256k1.
fn hex_order() -> [u8; 32] {
    alloy_primitives::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
}
