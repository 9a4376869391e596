//! One channel, its keys, and a delivery for any window.

use alloy_primitives::{Address, B256, FixedBytes, keccak256};
use keystead_contracts::storage::channel::Status;
use keystead_job::commitment::{Secret, Tree};
use keystead_payment::{
    Budget, Domain, Payee, Payer, Policy, Price, Received, Report, Sign, Signature, Signed, Standing, Terms, Voucher,
};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{convert::Infallible, time::Duration};

pub const START_S: u64 = 1_800_000_000;
pub const UNITS: u32 = 4;
pub const PER_UNIT: u128 = 10;
pub const WINDOW_PRICE: u128 = 40;
pub const DEPOSIT: u128 = 100_000;
pub const PROVIDER: Address = Address::repeat_byte(0xbe);

pub struct Key(SecretKey);

impl Key {
    pub fn new(seed: u8) -> Self {
        Self::of([seed; 32])
    }

    pub fn of(bytes: [u8; 32]) -> Self {
        Self(SecretKey::from_byte_array(bytes).unwrap())
    }

    pub fn address(&self) -> Address {
        Address::from_secp256k1_public_key(&self.0.public_key(SECP256K1))
    }
}

impl Sign for Key {
    type Error = Infallible;

    fn sign(&self, digest: B256) -> Result<Signature, Infallible> {
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.0);
        let (recovery, compact) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = 27 + u8::from(i32::from(recovery) == 1);
        Ok(Signature(FixedBytes(bytes)))
    }
}

pub fn key() -> Key {
    Key::new(7)
}

pub fn seconds(value: u64) -> Duration {
    Duration::from_secs(value)
}

pub fn terms(audited: bool) -> Terms {
    Terms {
        channel_id: keccak256("channel"),
        domain: Domain::of_chain(19_283),
        customer: Address::repeat_byte(0xc0),
        provider: PROVIDER,
        signer: key().address(),
        token: Address::ZERO,
        audited,
        number: 1,
        challenge: seconds(7_200),
        expires_at: seconds(START_S + 86_400),
    }
}

pub fn price() -> Price {
    price_of(PER_UNIT, UNITS)
}

pub fn price_of(per_unit: u128, units_max: u32) -> Price {
    Price { per_unit: per_unit.try_into().unwrap(), units_max: units_max.try_into().unwrap() }
}

pub fn policy() -> Policy {
    Policy {
        account: PROVIDER,
        token: Address::ZERO,
        price: price(),
        window: seconds(60),
        audit: seconds(600),
        budget: Budget::default(),
        watch: seconds(3_600),
    }
}

pub fn standing() -> Standing {
    Standing {
        now: seconds(START_S),
        status: Status::Open,
        deadline: seconds(START_S + 86_400),
        deposit: DEPOSIT,
        claimed: 0,
        window: 0,
        history: B256::ZERO,
        announced: 0,
        budgeted: 0,
    }
}

/// The secret and the outputs of a window; `salt` makes other outputs.
pub fn delivery(window: u64, units: u32, salt: u64) -> (Secret, Vec<B256>) {
    let outputs = (0..units).map(|unit| keccak256([window, unit.into(), salt].map(u64::to_be_bytes).concat()));
    (Secret::new(keccak256(window.to_be_bytes()).0), outputs.collect())
}

pub fn root(window: u64, units: u32, salt: u64) -> B256 {
    let (secret, outputs) = delivery(window, units, salt);
    Tree::new(&secret, &outputs).unwrap().root()
}

pub fn received(report: Report, salt: u64) -> Received {
    let (secret, outputs) = delivery(report.window, report.units, salt);
    report.receive(&secret, &outputs, None).unwrap()
}

pub fn sign(voucher: Voucher) -> Signed {
    let Ok(signed) = voucher.sign(&Domain::of_chain(19_283), &key());
    signed
}

pub fn opened(audited: bool) -> Payer {
    Payer::open(terms(audited), price(), &standing()).unwrap().saved()
}

pub fn joined(audited: bool) -> Payee {
    Payee::join(terms(audited), policy(), &standing()).unwrap().saved()
}

/// A payer and a payee that have paid `windows` whole windows, with all vouchers.
pub fn after(windows: u64, audited: bool) -> (Payer, Payee, Vec<Signed>) {
    let mut payer = opened(audited);
    let mut payee = joined(audited);
    let vouchers = (1..=windows).map(|window| one(&mut payer, &mut payee, window)).collect();
    (payer, payee, vouchers)
}

/// One window from its beginning to its voucher.
pub fn one(payer: &mut Payer, payee: &mut Payee, window: u64) -> Signed {
    payee.begin(UNITS, &standing()).unwrap();
    let report = payee.report(root(window, UNITS, 0)).unwrap().saved();
    let signed = sign(payer.pay(&received(report, 0), &standing()).unwrap().saved());
    assert_eq!(payee.accept(&signed, &standing()).unwrap().unwrap().saved(), window);
    signed
}
