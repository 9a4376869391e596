//! Reading an order of the market out of the words of contract storage.
//!
//! Spec: specs/0002-proof-bundle.md §7, specs/0004-market.md.

use crate::{
    bundle::ParseError,
    json::{Fields, Writer},
};
use alloy_primitives::{Address, B256, U256, address, keccak256};
use std::fmt;

/// Where contract `Market` lives on every Keystead chain.
pub const MARKET_ADDRESS: Address = address!("4b53540000000000000000000000000000000002");

/// Storage slots that one order occupies.
pub const ORDER_SLOTS: usize = 8;

/// Storage slot of the market's mapping from order number to order.
const ORDERS_MAPPING_SLOT: u64 = 1;

/// Where a field lies: word of the order, lowest bit, width in bits.
struct Place {
    word: usize,
    low: usize,
    bits: usize,
}

/// The packed words, field by field; the remaining fields are whole words or addresses.
mod place {
    use super::Place;

    pub(super) const STATUS: Place = Place { word: 0, low: 0, bits: 8 };
    pub(super) const REASON: Place = Place { word: 0, low: 8, bits: 8 };
    pub(super) const ORDERED_AT: Place = Place { word: 0, low: 16, bits: 40 };
    pub(super) const LEASED_AT: Place = Place { word: 0, low: 56, bits: 40 };
    pub(super) const COMMITTED_AT: Place = Place { word: 0, low: 96, bits: 40 };
    pub(super) const DELIVERED_AT: Place = Place { word: 0, low: 136, bits: 40 };
    pub(super) const CLOSED_AT: Place = Place { word: 0, low: 176, bits: 40 };
    pub(super) const MODE: Place = Place { word: 0, low: 216, bits: 8 };
    pub(super) const STOPPED: Place = Place { word: 0, low: 224, bits: 8 };
    pub(super) const DONE_UNITS: Place = Place { word: 0, low: 232, bits: 24 };
    pub(super) const PRICE: Place = Place { word: 1, low: 0, bits: 128 };
    pub(super) const UNITS: Place = Place { word: 1, low: 128, bits: 32 };
    pub(super) const LEASE_SECONDS: Place = Place { word: 1, low: 160, bits: 32 };
    pub(super) const DELIVER_SECONDS: Place = Place { word: 1, low: 192, bits: 32 };
    pub(super) const CHECK_SECONDS: Place = Place { word: 1, low: 224, bits: 32 };
    pub(super) const JOB_HASH: usize = 2;
    pub(super) const COMMITMENT: usize = 3;
    pub(super) const RESULT_ROOT: usize = 4;
    pub(super) const EVIDENCE_HASH: usize = 5;
    pub(super) const CUSTOMER: Place = Place { word: 6, low: 0, bits: 160 };
    pub(super) const PROVIDER: Place = Place { word: 7, low: 0, bits: 160 };
    pub(super) const TOKEN_HIGH: Place = Place { word: 6, low: 160, bits: 96 };
    pub(super) const PAID_UNITS: Place = Place { word: 7, low: 160, bits: 32 };
    pub(super) const TOKEN_LOW: Place = Place { word: 7, low: 192, bits: 64 };
}

/// Declares an enumeration of the contract with the names that bundles use.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type { #[default] $($(#[$variant_doc])* $variant,)* }

        impl $type {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in bundles.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }

            fn from_number(number: usize) -> Option<Self> {
                Self::ALL.get(number).copied()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names! {
    /// Where an order stands, in the contract's numbering.
    OrderStatus {
        /// There is no such order.
        None = "none",
        /// Paid into escrow, waits for the provider.
        Ordered = "ordered",
        /// The provider works.
        Leased = "leased",
        /// The provider is bound to its results.
        Committed = "committed",
        /// The customer's check window runs.
        Delivered = "delivered",
        /// Final: the customer accepted, the provider is paid.
        Accepted = "accepted",
        /// Final: the customer stayed silent, the provider is paid.
        Settled = "settled",
        /// Final: the customer rejected, the customer is refunded.
        Rejected = "rejected",
        /// Final: a deadline passed, the customer is refunded.
        Expired = "expired",
        /// Final: the provider did not want it, the customer is refunded.
        Declined = "declined",
        /// Final: the customer withdrew it, the customer is refunded.
        Cancelled = "cancelled",
        /// Final: the provider gave up, the customer is refunded.
        Abandoned = "abandoned",
        /// Final: the audit closed, the provider is paid for its units, the customer refunded the rest.
        Audited = "audited",
        /// Final: the audit found a unit wrong, the customer is refunded.
        Convicted = "convicted",
    }
}

names! {
    /// Who finds out whether results are right, in the contract's numbering.
    OrderMode {
        /// The customer, by its own sample.
        Own = "own",
        /// Checkers whom the beacon draws.
        Audited = "audited",
        /// Checkers whom the order names, or nobody.
        Private = "private",
    }
}

names! {
    /// Why a customer rejected, in the contract's numbering.
    OrderReason {
        /// Not rejected.
        None = "none",
        /// A checked unit gave another output.
        WrongResult = "wrong-result",
        /// The delivery does not match the commitment or the result root.
        CommitmentMismatch = "commitment-mismatch",
        /// The bytes did not arrive.
        NotReceived = "not-received",
        /// The bytes break the job's format or limits.
        Malformed = "malformed",
        /// See the evidence.
        Other = "other",
    }
}

impl OrderStatus {
    /// True if the market knows no way out of this status, so that a proof of it never grows old.
    #[must_use]
    pub fn is_final(self) -> bool {
        self >= Self::Accepted
    }
}

/// An order as the market stores it. Times are Unix seconds, zero while not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Number of the order.
    pub number: u64,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it was rejected.
    pub reason: OrderReason,
    /// When it was placed; at most 40 bits, as the four that follow.
    pub ordered_at: u64,
    /// When the provider leased it.
    pub leased_at: u64,
    /// When the provider committed.
    pub committed_at: u64,
    /// When the provider delivered.
    pub delivered_at: u64,
    /// When it reached a final status.
    pub closed_at: u64,
    /// Units of the job.
    pub units: u32,
    /// Seconds to lease.
    pub lease_seconds: u32,
    /// Seconds to deliver after the lease.
    pub deliver_seconds: u32,
    /// Seconds to reject after the delivery.
    pub check_seconds: u32,
    /// Price of one unit in wei, or in the smallest units of the token.
    pub price_wei_per_unit: u128,
    /// Hash of the job's specification.
    pub job_hash: B256,
    /// The provider's commitment to the salted unit results.
    pub commitment: B256,
    /// Hash over the unit results.
    pub result_root: B256,
    /// Hash of the customer's evidence.
    pub evidence_hash: B256,
    /// Who ordered.
    pub customer: Address,
    /// Who computes.
    pub provider: Address,
    /// Who finds out whether results are right.
    pub mode: OrderMode,
    /// Whether the customer stopped it after the lease.
    pub stopped: bool,
    /// After a stop: units, from the first on, that the provider committed to, at most 24 bits; zero means all.
    pub done_units: u32,
    /// Of a closed order that was audited, private or stopped: units that were paid.
    pub paid_units: u32,
    /// The ERC-20 of price and escrow; zero means KST.
    pub token: Address,
}

/// Words that the market cannot have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A status, reason or mode that this version does not know.
    #[error("unknown {field}: number={number}")]
    Unknown {
        /// Name of the field.
        field: &'static str,
        /// The number in storage.
        number: u64,
    },
    /// A bit is set in the words of an audit that the layout leaves unused.
    #[error("word {word} of the audit has bits outside the layout")]
    StrayAudit {
        /// Which of the words.
        word: usize,
    },
}

/// Storage slots of an order, in the order in which bundles list their paths.
#[must_use]
pub fn order_slots(number: u64) -> [B256; ORDER_SLOTS] {
    let mut key = [0u8; 64];
    let (id, mapping) = key.split_at_mut(32);
    id.copy_from_slice(B256::from(U256::from(number)).as_slice());
    mapping.copy_from_slice(B256::from(U256::from(ORDERS_MAPPING_SLOT)).as_slice());
    let mut slot = U256::from_be_bytes(keccak256(key).0);
    std::array::from_fn(|_| {
        let here = B256::from(slot);
        slot = slot.wrapping_add(U256::ONE);
        here
    })
}

impl Order {
    /// Reads an order from its eight storage words, in slot order.
    ///
    /// # Errors
    /// [`OrderError`] if the words are not an order of this layout.
    pub fn from_words(number: u64, words: &[U256; ORDER_SLOTS]) -> Result<Self, OrderError> {
        let words = Words { words: *words };
        let status = words.number(&place::STATUS);
        let reason = words.number(&place::REASON);
        let mode = words.number(&place::MODE);
        let stopped = words.number(&place::STOPPED);
        let known = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let token = words.take(&place::TOKEN_HIGH).wrapping_shl(64) | words.take(&place::TOKEN_LOW);
        Ok(Self {
            number,
            status: OrderStatus::from_number(known(status))
                .ok_or(OrderError::Unknown { field: "status", number: status })?,
            reason: OrderReason::from_number(known(reason))
                .ok_or(OrderError::Unknown { field: "reason", number: reason })?,
            ordered_at: words.number(&place::ORDERED_AT),
            leased_at: words.number(&place::LEASED_AT),
            committed_at: words.number(&place::COMMITTED_AT),
            delivered_at: words.number(&place::DELIVERED_AT),
            closed_at: words.number(&place::CLOSED_AT),
            units: words.small(&place::UNITS),
            lease_seconds: words.small(&place::LEASE_SECONDS),
            deliver_seconds: words.small(&place::DELIVER_SECONDS),
            check_seconds: words.small(&place::CHECK_SECONDS),
            price_wei_per_unit: words.take(&place::PRICE).saturating_to(),
            job_hash: words.whole(place::JOB_HASH),
            commitment: words.whole(place::COMMITMENT),
            result_root: words.whole(place::RESULT_ROOT),
            evidence_hash: words.whole(place::EVIDENCE_HASH),
            customer: words.address(&place::CUSTOMER),
            provider: words.address(&place::PROVIDER),
            mode: OrderMode::from_number(known(mode)).ok_or(OrderError::Unknown { field: "mode", number: mode })?,
            stopped: match stopped {
                0 => false,
                1 => true,
                number => return Err(OrderError::Unknown { field: "stopped", number }),
            },
            done_units: words.small(&place::DONE_UNITS),
            paid_units: words.small(&place::PAID_UNITS),
            token: Address::from_word(B256::from(token)),
        })
    }

    /// Whether the order is paid in KST.
    #[must_use]
    pub fn is_in_kst(&self) -> bool {
        self.token.is_zero()
    }

    /// Units that its result is of: after a stop the provider may commit to the first ones only.
    #[must_use]
    pub const fn committed_units(&self) -> u32 {
        if self.done_units == 0 { self.units } else { self.done_units }
    }

    /// Escrow of the order in wei, or in the smallest units of its token. It cannot overflow: 32 by 128 bits.
    #[must_use]
    pub fn escrow_wei(&self) -> U256 {
        U256::from(self.units).saturating_mul(U256::from(self.price_wei_per_unit))
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        let mut order = Self { number: fields.number("order")?, ..Self::default() };
        order.status = OrderStatus::from_name(fields.text("status")?)
            .ok_or(ParseError::Form { field: "status", want: "the name of a status" })?;
        order.reason = OrderReason::from_name(fields.text("reason")?)
            .ok_or(ParseError::Form { field: "reason", want: "the name of a reason" })?;
        let mut second = |name| fields.quantity(name, 40).map(|number| number.saturating_to::<u64>());
        order.ordered_at = second("orderedAt")?;
        order.leased_at = second("leasedAt")?;
        order.committed_at = second("committedAt")?;
        order.delivered_at = second("deliveredAt")?;
        order.closed_at = second("closedAt")?;
        let mut small = |name| fields.quantity(name, 32).map(|number| number.saturating_to::<u32>());
        order.units = small("units")?;
        order.lease_seconds = small("leaseSeconds")?;
        order.deliver_seconds = small("deliverSeconds")?;
        order.check_seconds = small("checkSeconds")?;
        order.price_wei_per_unit = fields.quantity("priceWeiPerUnit", 128)?.saturating_to();
        order.job_hash = fields.word("jobHash")?;
        order.commitment = fields.word("commitment")?;
        order.result_root = fields.word("resultRoot")?;
        order.evidence_hash = fields.word("evidenceHash")?;
        order.customer = fields.address("customer")?;
        order.provider = fields.address("provider")?;
        if fields.has("mode") {
            order.read_audit(fields)?;
        }
        if fields.has("token") {
            order.token = fields.address("token")?;
            // One order has one claim.
            if order.is_in_kst() {
                return Err(ParseError::Form { field: "token", want: "absent in an order in KST" });
            }
        }
        Ok(order)
    }

    /// The fields that stand only in the claim of an order that was audited, private or stopped.
    fn read_audit(&mut self, fields: &mut Fields<'_>) -> Result<(), ParseError> {
        self.mode = OrderMode::from_name(fields.text("mode")?)
            .ok_or(ParseError::Form { field: "mode", want: "the name of a mode" })?;
        self.stopped = match fields.text("stopped")? {
            "0x0" => false,
            "0x1" => true,
            _ => return Err(ParseError::Form { field: "stopped", want: "0x0 or 0x1" }),
        };
        self.done_units = fields.quantity("doneUnits", 24)?.saturating_to();
        self.paid_units = fields.quantity("paidUnits", 32)?.saturating_to();
        // One order has one claim.
        if self.has_audit() { Ok(()) } else { Err(ParseError::Form { field: "mode", want: "absent in a plain order" }) }
    }

    /// Whether any of the fields of [`Self::read_audit`] says something.
    fn has_audit(&self) -> bool {
        self.mode != OrderMode::Own || self.stopped || self.done_units != 0 || self.paid_units != 0
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.number("order", self.number);
        out.text("status", self.status.name());
        out.text("reason", self.reason.name());
        out.number("orderedAt", self.ordered_at);
        out.number("leasedAt", self.leased_at);
        out.number("committedAt", self.committed_at);
        out.number("deliveredAt", self.delivered_at);
        out.number("closedAt", self.closed_at);
        out.number("units", self.units.into());
        out.number("leaseSeconds", self.lease_seconds.into());
        out.number("deliverSeconds", self.deliver_seconds.into());
        out.number("checkSeconds", self.check_seconds.into());
        out.quantity("priceWeiPerUnit", U256::from(self.price_wei_per_unit));
        out.bytes("jobHash", self.job_hash.as_slice());
        out.bytes("commitment", self.commitment.as_slice());
        out.bytes("resultRoot", self.result_root.as_slice());
        out.bytes("evidenceHash", self.evidence_hash.as_slice());
        out.bytes("customer", self.customer.as_slice());
        out.bytes("provider", self.provider.as_slice());
        if self.has_audit() {
            out.text("mode", self.mode.name());
            out.number("stopped", self.stopped.into());
            out.number("doneUnits", self.done_units.into());
            out.number("paidUnits", self.paid_units.into());
        }
        if !self.is_in_kst() {
            out.bytes("token", self.token.as_slice());
        }
    }

    /// Name, this value and the other's of the first field that differs.
    pub(crate) fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let fields = |order: &Self| {
            [
                ("status", order.status.to_string()),
                ("reason", order.reason.to_string()),
                ("orderedAt", order.ordered_at.to_string()),
                ("leasedAt", order.leased_at.to_string()),
                ("committedAt", order.committed_at.to_string()),
                ("deliveredAt", order.delivered_at.to_string()),
                ("closedAt", order.closed_at.to_string()),
                ("units", order.units.to_string()),
                ("leaseSeconds", order.lease_seconds.to_string()),
                ("deliverSeconds", order.deliver_seconds.to_string()),
                ("checkSeconds", order.check_seconds.to_string()),
                ("priceWeiPerUnit", order.price_wei_per_unit.to_string()),
                ("jobHash", order.job_hash.to_string()),
                ("commitment", order.commitment.to_string()),
                ("resultRoot", order.result_root.to_string()),
                ("evidenceHash", order.evidence_hash.to_string()),
                ("customer", format!("{:#x}", order.customer)),
                ("provider", format!("{:#x}", order.provider)),
                ("mode", order.mode.to_string()),
                ("stopped", u8::from(order.stopped).to_string()),
                ("doneUnits", order.done_units.to_string()),
                ("paidUnits", order.paid_units.to_string()),
                ("token", format!("{:#x}", order.token)),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        pairs.map(|((name, own), (_, other))| (name, own, other)).find(|(_, own, other)| own != other)
    }
}

/// The words of an order; every bit of them has a meaning.
struct Words {
    words: [U256; ORDER_SLOTS],
}

impl Words {
    fn take(&self, place: &Place) -> U256 {
        let Some(word) = self.words.get(place.word) else { return U256::ZERO };
        let ones = U256::MAX.wrapping_shr(256usize.saturating_sub(place.bits));
        word.wrapping_shr(place.low) & ones
    }

    fn number(&self, place: &Place) -> u64 {
        self.take(place).saturating_to()
    }

    fn small(&self, place: &Place) -> u32 {
        self.take(place).saturating_to()
    }

    fn whole(&self, word: usize) -> B256 {
        B256::from(self.take(&Place { word, low: 0, bits: 256 }))
    }

    fn address(&self, place: &Place) -> Address {
        Address::from_word(B256::from(self.take(place)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::print_stderr,
        reason = "tests stop at the first surprise and say what they skip"
    )]
    use super::*;
    use serde_json::Value;

    /// The compiler's own layout of `Market`, if the contracts are in this tree.
    fn compiled_layout() -> Option<Value> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/artifacts/Market.json");
        let artifact: Value = serde_json::from_slice(&std::fs::read(path).ok()?).unwrap();
        Some(artifact.get("storageLayout").unwrap().clone())
    }

    #[test]
    fn the_table_of_places_is_the_compilers_layout() {
        let Some(layout) = compiled_layout() else {
            eprintln!("skipped: contracts/artifacts/Market.json is missing");
            return;
        };
        let variables = layout["storage"].as_array().unwrap();
        let orders = variables.iter().find(|variable| variable["label"] == "_orders").unwrap();
        assert_eq!(orders["slot"], ORDERS_MAPPING_SLOT.to_string());
        let order = &layout["types"]["t_struct(Order)_storage"];
        assert_eq!(order["numberOfBytes"], (ORDER_SLOTS * 32).to_string());
        let whole = |word| Place { word, low: 0, bits: 256 };
        let ours = [
            ("status", place::STATUS),
            ("reason", place::REASON),
            ("orderedAt", place::ORDERED_AT),
            ("leasedAt", place::LEASED_AT),
            ("committedAt", place::COMMITTED_AT),
            ("deliveredAt", place::DELIVERED_AT),
            ("closedAt", place::CLOSED_AT),
            ("priceWeiPerUnit", place::PRICE),
            ("units", place::UNITS),
            ("leaseSeconds", place::LEASE_SECONDS),
            ("deliverSeconds", place::DELIVER_SECONDS),
            ("checkSeconds", place::CHECK_SECONDS),
            ("jobHash", whole(place::JOB_HASH)),
            ("commitment", whole(place::COMMITMENT)),
            ("resultRoot", whole(place::RESULT_ROOT)),
            ("evidenceHash", whole(place::EVIDENCE_HASH)),
            ("customer", place::CUSTOMER),
            ("provider", place::PROVIDER),
            ("mode", place::MODE),
            ("stopped", place::STOPPED),
            ("doneUnits", place::DONE_UNITS),
            ("paidUnits", place::PAID_UNITS),
            ("tokenHigh", place::TOKEN_HIGH),
            ("tokenLow", place::TOKEN_LOW),
        ];
        // Nothing is left over: no bit could be set behind a verifier's back.
        let bits: usize = ours.iter().map(|(_, place)| place.bits).sum();
        assert_eq!(bits, ORDER_SLOTS * 256);
        let members = order["members"].as_array().unwrap();
        assert_eq!(members.len(), ours.len());
        for (name, place) in ours {
            let member = members.iter().find(|member| member["label"] == name).unwrap();
            let bytes = &layout["types"][member["type"].as_str().unwrap()]["numberOfBytes"];
            assert_eq!(member["slot"], place.word.to_string(), "{name}");
            assert_eq!(member["offset"].as_u64().unwrap(), place.low as u64 / 8, "{name}");
            assert_eq!(*bytes, (place.bits / 8).to_string(), "{name}");
        }
    }

    #[test]
    fn words_of_no_order_are_refused() {
        let mut words = [U256::ZERO; ORDER_SLOTS];
        assert_eq!(Order::from_words(9, &words).unwrap(), Order { number: 9, ..Order::default() });
        words[0] = U256::from(13);
        assert_eq!(Order::from_words(9, &words).unwrap().status, OrderStatus::Convicted);
        words[0] = U256::from(14);
        assert_eq!(Order::from_words(9, &words), Err(OrderError::Unknown { field: "status", number: 14 }));
        words[0] = U256::from(3u64) << 216;
        assert_eq!(Order::from_words(9, &words), Err(OrderError::Unknown { field: "mode", number: 3 }));
        words[0] = U256::from(2u64) << 224;
        assert_eq!(Order::from_words(9, &words), Err(OrderError::Unknown { field: "stopped", number: 2 }));
        words[0] = U256::from(6u64 << 8);
        assert_eq!(Order::from_words(9, &words), Err(OrderError::Unknown { field: "reason", number: 6 }));
        // The two parts of a token's address: bytes 11 and 0, 19 and 12.
        for (word, bit, byte, value) in [(6, 160, 11, 1), (6, 255, 0, 0x80), (7, 192, 19, 1), (7, 255, 12, 0x80)] {
            words = [U256::ZERO; ORDER_SLOTS];
            words[word] = U256::ONE << bit;
            let mut token = Address::ZERO;
            token[byte] = value;
            assert_eq!(Order::from_words(9, &words).unwrap(), Order { number: 9, token, ..Order::default() });
        }
    }

    #[test]
    fn only_paid_or_refunded_orders_are_final() {
        let finals = OrderStatus::ALL.iter().filter(|status| status.is_final()).count();
        assert_eq!(finals, 9);
        assert!(!OrderStatus::Delivered.is_final() && OrderStatus::Accepted.is_final());
    }
}
