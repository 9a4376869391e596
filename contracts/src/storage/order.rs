//! Slots and words of an order, of credits and of the public counts.

use super::Error;
use super::fields::{Field, nth, require_unused, slot_of_account, slot_of_number};
use alloy_primitives::{Address, B256, U256};
use std::time::Duration;

/// Slot of the number of orders ever placed (a plain `uint256`); orders are numbered from 1 to it.
pub const ORDER_COUNT_SLOT: B256 = B256::ZERO;

const ORDERS_MAPPING: U256 = U256::from_limbs([1, 0, 0, 0]);
const CREDITS_MAPPING: U256 = U256::from_limbs([2, 0, 0, 0]);
const PROVIDER_RECORDS_MAPPING: U256 = U256::from_limbs([3, 0, 0, 0]);
const CUSTOMER_RECORDS_MAPPING: U256 = U256::from_limbs([4, 0, 0, 0]);
const TOKEN_CREDITS_MAPPING: U256 = U256::from_limbs([6, 0, 0, 0]);

const STATUS: Field = Field::new("status", 0, 0, 1);
const REASON: Field = Field::new("reason", 0, 1, 1);
const ORDERED_AT: Field = Field::new("orderedAt", 0, 2, 5);
const LEASED_AT: Field = Field::new("leasedAt", 0, 7, 5);
const COMMITTED_AT: Field = Field::new("committedAt", 0, 12, 5);
const DELIVERED_AT: Field = Field::new("deliveredAt", 0, 17, 5);
const CLOSED_AT: Field = Field::new("closedAt", 0, 22, 5);
const MODE: Field = Field::new("mode", 0, 27, 1);
const STOPPED: Field = Field::new("stopped", 0, 28, 1);
const DONE_UNITS: Field = Field::new("doneUnits", 0, 29, 3);
const PRICE_WEI_PER_UNIT: Field = Field::new("priceWeiPerUnit", 1, 0, 16);
const UNITS: Field = Field::new("units", 1, 16, 4);
const LEASE_SECONDS: Field = Field::new("leaseSeconds", 1, 20, 4);
const DELIVER_SECONDS: Field = Field::new("deliverSeconds", 1, 24, 4);
const CHECK_SECONDS: Field = Field::new("checkSeconds", 1, 28, 4);
const JOB_HASH: Field = Field::new("jobHash", 2, 0, 32);
const COMMITMENT: Field = Field::new("commitment", 3, 0, 32);
const RESULT_ROOT: Field = Field::new("resultRoot", 4, 0, 32);
const EVIDENCE_HASH: Field = Field::new("evidenceHash", 5, 0, 32);
const CUSTOMER: Field = Field::new("customer", 6, 0, 20);
const TOKEN_HIGH: Field = Field::new("tokenHigh", 6, 20, 12);
const PROVIDER: Field = Field::new("provider", 7, 0, 20);
const PAID_UNITS: Field = Field::new("paidUnits", 7, 20, 4);
const TOKEN_LOW: Field = Field::new("tokenLow", 7, 24, 8);

const ACCEPTED: Field = Field::new("accepted", 0, 0, 6);
const SETTLED: Field = Field::new("settled", 0, 6, 6);
const REJECTED: Field = Field::new("rejected", 0, 12, 6);
const EXPIRED: Field = Field::new("expired", 0, 18, 6);
const ABANDONED: Field = Field::new("abandoned", 0, 24, 6);

/// Where an order stands. Spec: specs/0004-market.md section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// There is no such order.
    None = 0,
    /// Paid into escrow, waits for the provider.
    Ordered = 1,
    /// The provider works.
    Leased = 2,
    /// The provider is bound to its results.
    Committed = 3,
    /// The customer's check window runs.
    Delivered = 4,
    /// Final: the customer accepted, the provider is paid.
    Accepted = 5,
    /// Final: the customer stayed silent, the provider is paid.
    Settled = 6,
    /// Final: the customer rejected and is refunded.
    Rejected = 7,
    /// Final: the provider missed a deadline, the customer is refunded.
    Expired = 8,
    /// Final: the provider did not want it, the customer is refunded.
    Declined = 9,
    /// Final: the customer withdrew it before the lease and is refunded.
    Cancelled = 10,
    /// Final: the provider gave up after the lease, the customer is refunded.
    Abandoned = 11,
    /// Final: the audit closed; the provider is paid for the units that [`Parties::paid_units`] says, the customer refunded the rest.
    Audited = 12,
    /// Final: the audit found a unit wrong, the customer is refunded.
    Convicted = 13,
}

impl Status {
    /// The highest number in use.
    pub const MAX: u8 = 13;

    const ALL: [Self; 14] = [
        Self::None,
        Self::Ordered,
        Self::Leased,
        Self::Committed,
        Self::Delivered,
        Self::Accepted,
        Self::Settled,
        Self::Rejected,
        Self::Expired,
        Self::Declined,
        Self::Cancelled,
        Self::Abandoned,
        Self::Audited,
        Self::Convicted,
    ];

    /// Whether the escrow is still held.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Ordered | Self::Leased | Self::Committed | Self::Delivered)
    }

    /// Whether the escrow went to the provider; of an audited or a stopped order perhaps in part.
    #[must_use]
    pub const fn is_paid(self) -> bool {
        matches!(self, Self::Accepted | Self::Settled | Self::Audited)
    }

    /// Whether the escrow went back to the customer.
    #[must_use]
    pub const fn is_refunded(self) -> bool {
        matches!(
            self,
            Self::Rejected | Self::Expired | Self::Declined | Self::Cancelled | Self::Abandoned | Self::Convicted
        )
    }
}

impl TryFrom<u8> for Status {
    type Error = Error;

    fn try_from(got: u8) -> Result<Self, Error> {
        Self::ALL.get(usize::from(got)).copied().ok_or(Error::StatusUnknown { got })
    }
}

/// Who finds out whether results are right. Spec: specs/0004-market.md section 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// The customer, by its own sample.
    #[default]
    Own = 0,
    /// Checkers whom the beacon draws.
    Audited = 1,
    /// Checkers whom the order names, or nobody.
    Private = 2,
}

impl Mode {
    /// The highest number in use.
    pub const MAX: u8 = 2;

    const ALL: [Self; 3] = [Self::Own, Self::Audited, Self::Private];
}

impl TryFrom<u8> for Mode {
    type Error = Error;

    fn try_from(got: u8) -> Result<Self, Error> {
        Self::ALL.get(usize::from(got)).copied().ok_or(Error::ModeUnknown { got })
    }
}

/// Why a customer rejected. Spec: specs/0004-market.md section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Not rejected.
    None = 0,
    /// A checked unit gave another output.
    WrongResult = 1,
    /// What was delivered does not match the commitment or the result root.
    CommitmentMismatch = 2,
    /// Delivery was announced, the bytes did not arrive.
    NotReceived = 3,
    /// The bytes break the job's declared format or limits.
    Malformed = 4,
    /// See the evidence.
    Other = 5,
}

impl Reason {
    /// The highest number in use.
    pub const MAX: u8 = 5;

    const ALL: [Self; 6] =
        [Self::None, Self::WrongResult, Self::CommitmentMismatch, Self::NotReceived, Self::Malformed, Self::Other];
}

impl TryFrom<u8> for Reason {
    type Error = Error;

    fn try_from(got: u8) -> Result<Self, Error> {
        Self::ALL.get(usize::from(got)).copied().ok_or(Error::ReasonUnknown { got })
    }
}

/// The eight storage keys of an order, in the order of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSlots {
    /// Status, reason and times: decode with [`Progress::decode`].
    pub progress: B256,
    /// What was agreed: decode with [`Terms::decode`].
    pub terms: B256,
    /// The job hash, as it is.
    pub job_hash: B256,
    /// The commitment, as it is; zero before.
    pub commitment: B256,
    /// The result root, as it is; zero before.
    pub result_root: B256,
    /// The evidence hash, as it is; zero unless rejected.
    pub evidence_hash: B256,
    /// The customer and a part of the token: decode with [`Parties::decode`].
    pub customer: B256,
    /// The provider, what it was paid for, and the rest of the token: decode with [`Parties::decode`].
    pub provider: B256,
}

impl OrderSlots {
    /// The keys of order number `order_id`. Orders are numbered from 1; number 0 never exists.
    #[must_use]
    pub fn of(order_id: U256) -> Self {
        let base = slot_of_number(order_id, ORDERS_MAPPING);
        Self {
            progress: nth(base, STATUS.slot),
            terms: nth(base, PRICE_WEI_PER_UNIT.slot),
            job_hash: nth(base, JOB_HASH.slot),
            commitment: nth(base, COMMITMENT.slot),
            result_root: nth(base, RESULT_ROOT.slot),
            evidence_hash: nth(base, EVIDENCE_HASH.slot),
            customer: nth(base, CUSTOMER.slot),
            provider: nth(base, PROVIDER.slot),
        }
    }

    /// The keys in the order of the layout, for a call of `eth_getProof`.
    #[must_use]
    pub const fn all(&self) -> [B256; 8] {
        [
            self.progress,
            self.terms,
            self.job_hash,
            self.commitment,
            self.result_root,
            self.evidence_hash,
            self.customer,
            self.provider,
        ]
    }
}

/// The first word of an order: how far it came, and when. Times are durations since the Unix epoch in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the order stands.
    pub status: Status,
    /// Why it was rejected.
    pub reason: Reason,
    /// When it was placed; `None` only if there is no such order.
    pub ordered_at: Option<Duration>,
    /// When it was leased.
    pub leased_at: Option<Duration>,
    /// When the provider committed.
    pub committed_at: Option<Duration>,
    /// When the provider stated the delivery.
    pub delivered_at: Option<Duration>,
    /// When it became final.
    pub closed_at: Option<Duration>,
    /// Who finds out whether results are right.
    pub mode: Mode,
    /// Whether the customer stopped it after the lease.
    pub is_stopped: bool,
    /// After a stop: how many units, from the first on, the provider committed to; zero means all.
    pub done_units: u32,
}

impl Progress {
    /// Decodes a (proved) word of [`OrderSlots::progress`].
    ///
    /// # Errors
    /// [`Error::StatusUnknown`], [`Error::ReasonUnknown`], [`Error::ModeUnknown`] or [`Error::UnusedBits`]: the market did
    /// not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        let stopped = STOPPED.read_u8(word);
        if stopped > 1 {
            return Err(Error::UnusedBits { slot_name: "progress", word });
        }
        Ok(Self {
            mode: Mode::try_from(MODE.read_u8(word))?,
            is_stopped: stopped == 1,
            done_units: DONE_UNITS.read_u32(word),
            status: Status::try_from(STATUS.read_u8(word))?,
            reason: Reason::try_from(REASON.read_u8(word))?,
            ordered_at: ORDERED_AT.read_time(word),
            leased_at: LEASED_AT.read_time(word),
            committed_at: COMMITTED_AT.read_time(word),
            delivered_at: DELIVERED_AT.read_time(word),
            closed_at: CLOSED_AT.read_time(word),
        })
    }

    /// Last second in which the provider may lease, once ordered.
    #[must_use]
    pub fn lease_by(&self, terms: &Terms) -> Option<Duration> {
        self.ordered_at.map(|at| at.saturating_add(terms.lease))
    }

    /// Last second in which the provider may commit, deliver or abandon, once leased.
    #[must_use]
    pub fn deliver_by(&self, terms: &Terms) -> Option<Duration> {
        self.leased_at.map(|at| at.saturating_add(terms.deliver))
    }

    /// Last second in which the customer may reject, once delivered.
    #[must_use]
    pub fn check_by(&self, terms: &Terms) -> Option<Duration> {
        self.delivered_at.map(|at| at.saturating_add(terms.check))
    }
}

/// The second word of an order: what was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Agreed price per unit in wei, or in the smallest units of the order's token.
    pub price_wei_per_unit: U256,
    /// Number of units.
    pub units: u32,
    /// Time to lease after the order, whole seconds.
    pub lease: Duration,
    /// Time to deliver after the lease, whole seconds.
    pub deliver: Duration,
    /// Check window after the delivery, whole seconds.
    pub check: Duration,
}

impl Terms {
    /// Decodes a (proved) word of [`OrderSlots::terms`]. Every word is valid; whether there is an order says the progress.
    #[must_use]
    pub fn decode(word: B256) -> Self {
        let seconds = |field: Field| Duration::from_secs(field.read_u64(word));
        Self {
            price_wei_per_unit: U256::from(PRICE_WEI_PER_UNIT.read(word)),
            units: UNITS.read_u32(word),
            lease: seconds(LEASE_SECONDS),
            deliver: seconds(DELIVER_SECONDS),
            check: seconds(CHECK_SECONDS),
        }
    }

    /// The escrow in wei: exactly `units * price_wei_per_unit`, below 2^160.
    #[must_use]
    pub fn escrow_wei(&self) -> U256 {
        // 32 bits times 128 bits cannot reach the saturation at 256 bits.
        self.price_wei_per_unit.saturating_mul(U256::from(self.units))
    }
}

/// How an account's leased orders ended; the word of [`provider_record_slot`] or [`customer_record_slot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The customer accepted.
    pub accepted_count: u64,
    /// The customer stayed silent and the provider was paid.
    pub settled_count: u64,
    /// The customer rejected.
    pub rejected_count: u64,
    /// The provider missed the deadline after a lease.
    pub expired_count: u64,
    /// The provider gave up after a lease.
    pub abandoned_count: u64,
}

impl Record {
    /// Decodes a (proved) word.
    ///
    /// # Errors
    /// [`Error::UnusedBits`]: the market did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 2, "record")?;
        Ok(Self {
            accepted_count: ACCEPTED.read_u64(word),
            settled_count: SETTLED.read_u64(word),
            rejected_count: REJECTED.read_u64(word),
            expired_count: EXPIRED.read_u64(word),
            abandoned_count: ABANDONED.read_u64(word),
        })
    }
}

/// Slot of what an account can withdraw (a plain `uint256` in wei).
#[must_use]
pub fn credit_slot(account: Address) -> B256 {
    nth(slot_of_account(account, CREDITS_MAPPING), 0)
}

/// Slot of the [`Record`] of an account as provider.
#[must_use]
pub fn provider_record_slot(account: Address) -> B256 {
    nth(slot_of_account(account, PROVIDER_RECORDS_MAPPING), 0)
}

/// Slot of the [`Record`] of an account as customer.
#[must_use]
pub fn customer_record_slot(account: Address) -> B256 {
    nth(slot_of_account(account, CUSTOMER_RECORDS_MAPPING), 0)
}

/// The last two words of an order: who pays and who works, what was paid, and in which currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The customer.
    pub customer: Address,
    /// The provider.
    pub provider: Address,
    /// Of a closed order that was audited, private or stopped: the units that were paid; else zero.
    pub paid_units: u32,
    /// The ERC-20 of price and escrow; `None` means KST.
    pub token: Option<Address>,
}

impl Parties {
    /// Decodes the (proved) words of [`OrderSlots::customer`] and [`OrderSlots::provider`]. All words are valid.
    #[must_use]
    pub fn decode(customer: B256, provider: B256) -> Self {
        let token = U256::from(TOKEN_HIGH.read(customer)).wrapping_shl(64) | U256::from(TOKEN_LOW.read(provider));
        let token = Address::from_word(B256::from(token));
        Self {
            customer: Address::from_word(customer),
            provider: Address::from_word(provider),
            paid_units: PAID_UNITS.read_u32(provider),
            token: (!token.is_zero()).then_some(token),
        }
    }
}

/// Slot of what an account can withdraw in an ERC-20 (a plain `uint256` in its smallest units).
#[must_use]
pub fn token_credit_slot(account: Address, token: Address) -> B256 {
    nth(slot_of_account(token, slot_of_account(account, TOKEN_CREDITS_MAPPING)), 0)
}

/// The account in a word that holds nothing else.
///
/// # Errors
/// [`Error::UnusedBits`] if the upper 12 bytes are not zero.
pub fn decode_address(word: B256) -> Result<Address, Error> {
    require_unused(word, 12, "address")?;
    Ok(Address::from_word(word))
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::super::fields::layout;
    use super::*;
    use alloy_primitives::{b256, keccak256};
    use serde_json::Value;

    const START_S: u64 = 1_800_000_000;

    fn artifact() -> Value {
        serde_json::from_str(include_str!("../../artifacts/Market.json")).unwrap()
    }

    fn vector() -> Value {
        serde_json::from_str(include_str!("../../../specs/vectors/market-storage.json")).unwrap()
    }

    /// The slot and the word of an entry of the vector.
    fn entry(vector: &Value, name: &str) -> (B256, B256) {
        let entry = &vector["market"][name];
        let part = |key: &str| entry[key].as_str().unwrap().parse().unwrap();
        (part("slot"), part("word"))
    }

    fn at(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(START_S.saturating_add(seconds)))
    }

    #[test]
    fn every_field_lies_where_the_compiler_put_it() {
        let order = [
            STATUS,
            REASON,
            ORDERED_AT,
            LEASED_AT,
            COMMITTED_AT,
            DELIVERED_AT,
            CLOSED_AT,
            MODE,
            STOPPED,
            DONE_UNITS,
            PRICE_WEI_PER_UNIT,
            UNITS,
            LEASE_SECONDS,
            DELIVER_SECONDS,
            CHECK_SECONDS,
            JOB_HASH,
            COMMITMENT,
            RESULT_ROOT,
            EVIDENCE_HASH,
            CUSTOMER,
            TOKEN_HIGH,
            PROVIDER,
            PAID_UNITS,
            TOKEN_LOW,
        ];
        assert_eq!(layout::table(&order), layout::members(&artifact(), "Order"));
        let record = [ACCEPTED, SETTLED, REJECTED, EXPIRED, ABANDONED];
        assert_eq!(layout::table(&record), layout::members(&artifact(), "Record"));
    }

    #[test]
    fn every_mapping_lies_where_the_compiler_put_it() {
        let variables = [
            ("_orderCount", U256::from_be_bytes(ORDER_COUNT_SLOT.0)),
            ("_orders", ORDERS_MAPPING),
            ("_credits", CREDITS_MAPPING),
            ("_providerRecords", PROVIDER_RECORDS_MAPPING),
            ("_customerRecords", CUSTOMER_RECORDS_MAPPING),
            ("_tokenCredits", TOKEN_CREDITS_MAPPING),
        ];
        for (label, slot) in variables {
            assert_eq!(U256::from(layout::variable(&artifact(), label)), slot, "{label}");
        }
    }

    #[test]
    fn slots_and_words_are_those_of_a_real_evm() {
        let vector = vector();
        let slots = OrderSlots::of(U256::from(vector["order_id"].as_u64().unwrap()));
        let names =
            ["progress", "terms", "job_hash", "commitment", "result_root", "evidence_hash", "customer", "provider"];
        for (name, slot) in names.iter().zip(slots.all()) {
            assert_eq!(entry(&vector, name).0, slot, "{name}");
        }

        let progress = Progress::decode(entry(&vector, "progress").1).unwrap();
        let terms = Terms::decode(entry(&vector, "terms").1);
        assert_eq!(
            progress,
            Progress {
                status: Status::Rejected,
                reason: Reason::Malformed,
                ordered_at: at(3),
                leased_at: at(5),
                committed_at: at(100),
                delivered_at: at(101),
                closed_at: at(120),
                mode: Mode::Own,
                is_stopped: false,
                done_units: 0,
            }
        );
        assert_eq!(
            terms,
            Terms {
                price_wei_per_unit: U256::from(7_000_000_000_u64),
                units: 64,
                lease: Duration::from_secs(30),
                deliver: Duration::from_secs(600),
                check: Duration::from_secs(60),
            }
        );
        assert_eq!(progress.lease_by(&terms), at(33));
        assert_eq!(progress.deliver_by(&terms), at(605));
        assert_eq!(progress.check_by(&terms), at(161));
        assert_eq!(entry(&vector, "job_hash").1, keccak256("job"));
        assert_eq!(entry(&vector, "commitment").1, keccak256("commitment"));
        assert_eq!(entry(&vector, "result_root").1, keccak256("result root"));
        assert_eq!(entry(&vector, "evidence_hash").1, keccak256("evidence"));
        let parties = Parties::decode(entry(&vector, "customer").1, entry(&vector, "provider").1);
        let account = |name: &str| vector[name].as_str().unwrap().parse::<Address>().unwrap();
        let expected =
            Parties { customer: account("customer"), provider: account("provider"), paid_units: 0, token: None };
        assert_eq!(parties, expected);
    }

    #[test]
    fn an_order_in_a_token_says_which() {
        let vector = vector();
        let text = |name: &str, part: &str| vector["in_token"][name][part].as_str().unwrap().parse::<B256>().unwrap();
        let slots = OrderSlots::of(U256::from(vector["in_token"]["order_id"].as_u64().unwrap()));
        assert_eq!((text("customer", "slot"), text("provider", "slot")), (slots.customer, slots.provider));
        let token = vector["in_token"]["token"].as_str().unwrap().parse::<Address>().unwrap();
        let customer = vector["customer"].as_str().unwrap().parse::<Address>().unwrap();
        let parties = Parties::decode(text("customer", "word"), text("provider", "word"));
        assert_eq!((parties.token, parties.customer, parties.paid_units), (Some(token), customer, 0));
        assert_eq!(text("credit_of_customer", "slot"), token_credit_slot(customer, token));
        let escrow = Terms::decode(entry(&vector, "terms").1).escrow_wei();
        assert_eq!(U256::from_be_bytes(text("credit_of_customer", "word").0), escrow);
    }

    #[test]
    fn an_audited_order_says_what_was_paid() {
        let vector = vector();
        let word = |name: &str| vector["audited"][name]["word"].as_str().unwrap().parse::<B256>().unwrap();
        let progress = Progress::decode(word("progress")).unwrap();
        assert_eq!((progress.status, progress.mode), (Status::Audited, Mode::Audited));
        assert_eq!((progress.is_stopped, progress.done_units), (true, 2));
        let provider = vector["provider"].as_str().unwrap().parse::<Address>().unwrap();
        let parties = Parties::decode(B256::ZERO, word("provider"));
        assert_eq!((parties.provider, parties.paid_units, parties.token), (provider, 2, None));
    }

    #[test]
    fn credits_and_counts_are_those_of_a_real_evm() {
        let vector = vector();
        let account = |name: &str| vector[name].as_str().unwrap().parse::<Address>().unwrap();
        let (slot, word) = entry(&vector, "credit_of_customer");
        assert_eq!(slot, credit_slot(account("customer")));
        assert_eq!(U256::from_be_bytes(word.0), Terms::decode(entry(&vector, "terms").1).escrow_wei());
        let once_rejected = Record { rejected_count: 1, ..Record::default() };
        let (slot, word) = entry(&vector, "record_of_provider");
        assert_eq!(slot, provider_record_slot(account("provider")));
        assert_eq!(Record::decode(word), Ok(once_rejected));
        let (slot, word) = entry(&vector, "record_of_customer");
        assert_eq!(slot, customer_record_slot(account("customer")));
        assert_eq!(Record::decode(word), Ok(once_rejected));
        let (slot, word) = entry(&vector, "order_count");
        assert_eq!(slot, ORDER_COUNT_SLOT);
        assert_eq!(word, B256::with_last_byte(2));
    }

    #[test]
    fn zero_words_mean_that_there_is_no_order() {
        let progress = Progress::decode(B256::ZERO).unwrap();
        assert_eq!(progress.status, Status::None);
        assert_eq!(progress.ordered_at, None);
        assert!(!progress.status.is_open() && !progress.status.is_paid() && !progress.status.is_refunded());
    }

    #[test]
    fn words_that_the_market_cannot_write_are_refused() {
        assert_eq!(Progress::decode(B256::with_last_byte(14)), Err(Error::StatusUnknown { got: 14 }));
        assert_eq!(Progress::decode(B256::with_last_byte(13)).unwrap().status, Status::Convicted);
        let mut word = B256::with_last_byte(7);
        word[30] = 6;
        assert_eq!(Progress::decode(word), Err(Error::ReasonUnknown { got: 6 }));
        let mut word = B256::with_last_byte(1);
        word[3] = 2;
        assert_eq!(Progress::decode(word), Err(Error::UnusedBits { slot_name: "progress", word }));
        word[3] = 1;
        word[4] = 3;
        assert_eq!(Progress::decode(word), Err(Error::ModeUnknown { got: 3 }));
        for byte in 0..2 {
            let mut word = B256::ZERO;
            word[byte] = 0x80;
            assert_eq!(Record::decode(word), Err(Error::UnusedBits { slot_name: "record", word }));
        }
        let word = b256!("0000000000000000000000010000000000000000000000000000000000000000");
        assert_eq!(decode_address(word), Err(Error::UnusedBits { slot_name: "address", word }));
    }

    #[test]
    fn a_status_is_open_or_paid_or_refunded_and_its_number_is_its_place() {
        assert_eq!(Status::ALL.len(), usize::from(Status::MAX) + 1);
        assert_eq!(Reason::ALL.len(), usize::from(Reason::MAX) + 1);
        for (number, status) in (0..).zip(Status::ALL) {
            assert_eq!(status as u8, number);
            assert_eq!(Status::try_from(number), Ok(status));
            let ways = [status.is_open(), status.is_paid(), status.is_refunded()];
            assert_eq!(ways.iter().filter(|way| **way).count(), usize::from(status != Status::None), "{status:?}");
        }
        assert_eq!(Mode::ALL.len(), usize::from(Mode::MAX) + 1);
        for (number, mode) in (0..).zip(Mode::ALL) {
            assert_eq!(mode as u8, number);
            assert_eq!(Mode::try_from(number), Ok(mode));
        }
        for (number, reason) in (0..).zip(Reason::ALL) {
            assert_eq!(reason as u8, number);
            assert_eq!(Reason::try_from(number), Ok(reason));
        }
    }

    #[test]
    fn the_largest_escrow_is_exact() {
        let terms = Terms::decode(B256::repeat_byte(0xff));
        assert_eq!(terms.units, u32::MAX);
        assert_eq!(terms.escrow_wei() / U256::from(u32::MAX), U256::from(u128::MAX));
    }
}
