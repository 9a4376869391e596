//! Reading the audit of an order out of the words of contract storage: its window, its draw, and the bond that was agreed.
//!
//! # Design
//! Every field of the words that a bundle proves stands in the claim, and no bit may be set beside them: so a claim says all that was
//! proved, and one audit has one claim. The table [`FIELDS`] is the only place that knows where what lies.
//!
//! Spec: specs/0002-proof-bundle.md §7, specs/0008-audit.md.

use crate::{
    bundle::ParseError,
    json::{Fields, Writer},
    market::{MARKET_ADDRESS, OrderError},
};
use alloy_primitives::{Address, B256, U256, address, hex, keccak256};

/// Where contract `Audit` lives on every Keystead chain.
pub const AUDIT_ADDRESS: Address = address!("4b53540000000000000000000000000000000005");

/// Slots of the audit's storage that a bundle proves: five words of the window, two of its draw.
pub const WINDOW_SLOTS: usize = 7;

/// Words of an audit: those of [`window_slots`], and the market's word with the bond.
pub const AUDIT_WORDS: usize = WINDOW_SLOTS + 1;

/// Storage slots of the audit's mappings of windows and of draws, and of the market's mapping of audits.
const WINDOWS_SLOT: u64 = 0;
const ROUNDS_SLOT: u64 = 2;
const AUDITS_SLOT: u64 = 5;
/// The words of a window that are proved; the others (fee, commitment, canary) say nothing about a result.
const WINDOW_WORDS: [u64; 5] = [0, 1, 3, 4, 6];
/// The word of the market's entry that holds the bond.
const BOND_WORD: u64 = 1;

/// Parts per million that mean *all*.
const PPM: u32 = 1_000_000;

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a quantity.
    Number,
    /// As bytes, all that it has.
    Bytes,
}

/// A field: its name in claims, its word, its lowest bit, its width in bits.
struct Field {
    name: &'static str,
    word: usize,
    low: usize,
    bits: usize,
    form: Form,
}

const fn number(name: &'static str, word: usize, low: usize, bits: usize) -> Field {
    Field { name, word, low, bits, form: Form::Number }
}

const fn bytes(name: &'static str, word: usize, bits: usize) -> Field {
    Field { name, word, low: 0, bits, form: Form::Bytes }
}

const FIELD_COUNT: usize = 25;

/// All of them, in the order of the spec.
const FIELDS: [Field; FIELD_COUNT] = [
    number("windowStatus", 0, 160, 8),
    number("class", 0, 168, 8),
    number("checkers", 0, 176, 8),
    number("abilities", 0, 184, 8),
    number("windowUnits", 0, 192, 32),
    number("ratePpm", 0, 224, 32),
    bytes("windowProvider", 0, 160),
    bytes("windowCustomer", 1, 160),
    number("pending", 1, 160, 32),
    number("unpaid", 1, 192, 32),
    number("convicted", 1, 224, 8),
    number("appealSeconds", 1, 232, 24),
    number("budgetWei", 2, 0, 128),
    number("checkerSeconds", 2, 128, 32),
    number("revealSeconds", 2, 160, 32),
    number("segments", 2, 192, 32),
    number("canaryUnit", 2, 224, 32),
    number("verified", 3, 0, 32),
    bytes("named", 4, 256),
    number("drawHeight", 5, 0, 40),
    number("drawnAt", 5, 40, 40),
    number("epoch", 5, 80, 32),
    number("places", 5, 112, 32),
    bytes("randomness", 6, 256),
    number("bondWei", 7, 0, 128),
];

/// Highest numbers that the contract writes.
const HIGHEST: [(&str, u64); 3] = [("windowStatus", 3), ("class", 3), ("convicted", 1)];

/// Where a window stands, in the contract's numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowStatus {
    /// There is no window: nothing was committed.
    #[default]
    None,
    /// Units are drawn and checked.
    Open,
    /// Final: paid, but for the unpaid units.
    Closed,
    /// Final: a unit was found wrong, all is refunded.
    Convicted,
}

impl WindowStatus {
    /// As in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Convicted => "convicted",
        }
    }
}

/// The audit of an order as the contracts store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Values of [`FIELDS`].
    values: [U256; FIELD_COUNT],
}

/// The number of an order's window.
#[must_use]
pub fn window_id(order: u64) -> B256 {
    window_of(MARKET_ADDRESS, order, 0)
}

/// The number of a window by what it is of: a contract, a number there, and which of its windows.
pub(crate) fn window_of(source: Address, number: u64, window: u64) -> B256 {
    let mut preimage = b"keystead/window/v1".to_vec();
    preimage.extend_from_slice(source.as_slice());
    preimage.extend_from_slice(B256::from(U256::from(number)).as_slice());
    preimage.extend_from_slice(&window.to_be_bytes());
    keccak256(preimage)
}

/// Slots of the audit's storage, in the order in which bundles list their paths.
#[must_use]
pub fn window_slots(order: u64) -> [B256; WINDOW_SLOTS] {
    let (window, draw) = window_begins(window_id(order));
    let [a, b, c, d, e] = WINDOW_WORDS.map(|word| window.wrapping_add(U256::from(word)));
    [a, b, c, d, e, draw, draw.wrapping_add(U256::ONE)].map(B256::from)
}

/// The slots at which a window and its first draw begin.
pub(crate) fn window_begins(id: B256) -> (U256, U256) {
    let window = U256::from_be_bytes(in_mapping(id, U256::from(WINDOWS_SLOT)).0);
    let rounds = U256::from_be_bytes(in_mapping(id, U256::from(ROUNDS_SLOT)).0);
    (window, U256::from_be_bytes(in_mapping(B256::ZERO, rounds).0))
}

/// Slot of the market's word that holds the bond agreed for an order.
#[must_use]
pub fn bond_slot(order: u64) -> B256 {
    let entry = in_mapping(B256::from(U256::from(order)), U256::from(AUDITS_SLOT));
    U256::from_be_bytes(entry.0).wrapping_add(U256::from(BOND_WORD)).into()
}

pub(crate) fn in_mapping(key: B256, mapping: U256) -> B256 {
    keccak256([key.as_slice(), B256::from(mapping).as_slice()].concat())
}

impl Audit {
    /// Reads an audit from its words: those of [`window_slots`], then that of [`bond_slot`].
    ///
    /// # Errors
    /// [`OrderError`] if the contracts cannot have written these words.
    pub fn from_words(words: &[U256; AUDIT_WORDS]) -> Result<Self, OrderError> {
        let mut left = *words;
        let mut values = [U256::ZERO; FIELD_COUNT];
        for (value, field) in values.iter_mut().zip(&FIELDS) {
            let Some(word) = left.get_mut(field.word) else { continue };
            let ones = U256::MAX.wrapping_shr(256usize.saturating_sub(field.bits));
            *value = word.wrapping_shr(field.low) & ones;
            *word ^= value.wrapping_shl(field.low);
        }
        let audit = Self { values };
        for (field, highest) in HIGHEST {
            let number = audit.value(field).saturating_to::<u64>();
            if number > highest {
                return Err(OrderError::Unknown { field, number });
            }
        }
        match left.iter().position(|word| !word.is_zero()) {
            Some(word) => Err(OrderError::StrayAudit { word }),
            None => Ok(audit),
        }
    }

    fn value(&self, name: &str) -> U256 {
        let at = FIELDS.iter().position(|field| field.name == name);
        at.and_then(|at| self.values.get(at)).copied().unwrap_or_default()
    }

    fn small(&self, name: &str) -> u32 {
        self.value(name).saturating_to()
    }

    /// Where the window stands.
    #[must_use]
    pub fn status(&self) -> WindowStatus {
        match self.small("windowStatus") {
            0 => WindowStatus::None,
            1 => WindowStatus::Open,
            2 => WindowStatus::Closed,
            _ => WindowStatus::Convicted,
        }
    }

    /// Number of the job's class: 1 exact, 2 self-checking, 3 tolerance; 0 without a window.
    #[must_use]
    pub fn class(&self) -> u32 {
        self.small("class")
    }

    /// Checkers of each drawn unit.
    #[must_use]
    pub fn checkers(&self) -> u32 {
        self.small("checkers")
    }

    /// Units of the window.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.small("windowUnits")
    }

    /// Segments of each unit, of which one is checked.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.small("segments")
    }

    /// Chance of a unit to be drawn, parts per million.
    #[must_use]
    pub fn rate_ppm(&self) -> u32 {
        self.small("ratePpm")
    }

    /// Units that checkers found right.
    #[must_use]
    pub fn verified(&self) -> u32 {
        self.small("verified")
    }

    /// Units that were refunded, since they were outside the tolerance.
    #[must_use]
    pub fn unpaid(&self) -> u32 {
        self.small("unpaid")
    }

    /// The unit that its customer knew to be wrong, plus one; 0 if there was none.
    #[must_use]
    pub fn canary_unit(&self) -> u32 {
        self.small("canaryUnit")
    }

    /// Whether a unit was found wrong.
    #[must_use]
    pub fn is_convicted(&self) -> bool {
        self.small("convicted") == 1
    }

    /// Whose work the window is.
    pub(crate) fn provider(&self) -> Address {
        Address::from_word(B256::from(self.value("windowProvider")))
    }

    /// For whom it is.
    pub(crate) fn customer(&self) -> Address {
        Address::from_word(B256::from(self.value("windowCustomer")))
    }

    /// Hash of the checkers that the customer named; zero if they are drawn by lot.
    pub(crate) fn named(&self) -> B256 {
        B256::from(self.value("named"))
    }

    /// Bond of the provider that stood behind the work, wei.
    #[must_use]
    pub fn bond_wei(&self) -> U256 {
        self.value("bondWei")
    }

    /// How many units the draw of this window picked ([`window_id`]); 0 while nothing is drawn. Costs a hash a unit.
    #[must_use]
    pub fn drawn(&self, window: B256) -> u32 {
        if self.value("drawnAt").is_zero() {
            return 0;
        }
        let randomness = B256::from(self.value("randomness"));
        let seed = keccak256([b"keystead/audit/v1", randomness.as_slice(), window.as_slice(), &[0]].concat());
        let rate_ppm = u128::from(self.rate_ppm());
        let is_drawn = |unit: &u32| {
            let hash = keccak256([seed.as_slice(), &[0], &unit.to_be_bytes()].concat());
            let word = hash.iter().take(8).fold(0_u128, |word, &byte| (word << 8) | u128::from(byte));
            // Both sides are below 2^96.
            word.saturating_mul(u128::from(PPM)) < rate_ppm << 64
        };
        // A window has at most so many units (specs/0008-audit.md §14); other words are not the contract's.
        let units = self.units().min(65_536);
        u32::try_from((0..units).filter(is_drawn).count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        let mut values = [U256::ZERO; FIELD_COUNT];
        for (value, field) in values.iter_mut().zip(&FIELDS) {
            *value = match (field.form, field.bits) {
                (Form::Number, bits) => fields.quantity(field.name, bits)?,
                (Form::Bytes, 160) => U256::from_be_bytes(fields.address(field.name)?.into_word().0),
                (Form::Bytes, _) => U256::from_be_bytes(fields.word(field.name)?.0),
            };
        }
        Ok(Self { values })
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        for (value, field) in self.values.iter().zip(&FIELDS) {
            match field.form {
                Form::Number => out.quantity(field.name, *value),
                Form::Bytes => out.bytes(field.name, last_bytes(value, field.bits).as_slice()),
            }
        }
    }

    /// Name, this value and the other's of the first field that differs.
    pub(crate) fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let text = |value: &U256, field: &Field| match field.form {
            Form::Number => value.to_string(),
            Form::Bytes => hex::encode_prefixed(last_bytes(value, field.bits)),
        };
        let pairs = self.values.iter().zip(&other.values).zip(&FIELDS);
        let mut differing = pairs.filter(|((own, other), _)| own != other);
        differing.next().map(|((own, other), field)| (field.name, text(own, field), text(other, field)))
    }
}

fn last_bytes(value: &U256, bits: usize) -> Vec<u8> {
    let bytes = value.to_be_bytes::<32>();
    bytes.iter().skip(32usize.saturating_sub(bits / 8)).copied().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests stop at the first surprise")]
    use super::*;
    use serde_json::Value;

    /// Where a contract's storage lies, as the compiler says.
    pub(crate) fn layout(contract: &str) -> Value {
        let path = format!("{}/../../contracts/artifacts/{contract}.json", env!("CARGO_MANIFEST_DIR"));
        let artifact: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        artifact["storageLayout"].clone()
    }

    /// Slot, lowest bit and width of a member of a structure, as the compiler laid it out.
    fn member(layout: &Value, structure: &str, label: &str) -> (u64, usize, usize) {
        let members = layout["types"][format!("t_struct({structure})_storage")]["members"].as_array().unwrap();
        let member = members.iter().find(|member| member["label"] == label).unwrap();
        let bytes = layout["types"][member["type"].as_str().unwrap()]["numberOfBytes"].as_str().unwrap();
        let slot = member["slot"].as_str().unwrap().parse().unwrap();
        (slot, member["offset"].to_string().parse::<usize>().unwrap() * 8, bytes.parse::<usize>().unwrap() * 8)
    }

    fn variable(layout: &Value, label: &str) -> String {
        let variables = layout["storage"].as_array().unwrap();
        variables.iter().find(|variable| variable["label"] == label).unwrap()["slot"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_table_of_fields_is_the_compilers_layout_and_leaves_nothing_out() {
        let (audit, market) = (layout("Audit"), layout("Market"));
        assert_eq!(variable(&audit, "_windows"), WINDOWS_SLOT.to_string());
        assert_eq!(variable(&audit, "_rounds"), ROUNDS_SLOT.to_string());
        assert_eq!(variable(&market, "_audits"), AUDITS_SLOT.to_string());
        let label = |name: &'static str| match name {
            "windowStatus" => "status",
            "windowUnits" => "units",
            "windowProvider" => "provider",
            "windowCustomer" => "customer",
            "checkerSeconds" => "checkSeconds",
            other => other,
        };
        for field in &FIELDS {
            let (slot, low, bits) = match field.word {
                0..=4 => {
                    let (slot, low, bits) = member(&audit, "Window", label(field.name));
                    assert_eq!(WINDOW_WORDS[field.word], slot, "{}", field.name);
                    (field.word as u64, low, bits)
                }
                5 | 6 => {
                    let (slot, low, bits) = member(&audit, "Round", field.name);
                    (slot + 5, low, bits)
                }
                _ => {
                    let (slot, low, bits) = member(&market, "Terms", field.name);
                    assert_eq!(slot, BOND_WORD);
                    (7, low, bits)
                }
            };
            assert_eq!((field.word as u64, field.low, field.bits), (slot, low, bits), "{}", field.name);
        }
        // Whatever else the compiler put into these words would be stray.
        for (structure, layout, words) in
            [("Window", &audit, &WINDOW_WORDS[..]), ("Round", &audit, &[0, 1]), ("Terms", &market, &[1])]
        {
            let members = layout["types"][format!("t_struct({structure})_storage")]["members"].as_array().unwrap();
            let inside = |member: &&Value| words.contains(&member["slot"].as_str().unwrap().parse().unwrap());
            for member in members.iter().filter(inside) {
                let name = member["label"].as_str().unwrap();
                assert!(FIELDS.iter().any(|field| label(field.name) == name), "{structure}.{name} is not in the table");
            }
        }
    }

    #[test]
    fn the_draw_is_that_of_the_contract() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/audit.json");
        let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let word = |value: &Value| value.as_str().unwrap().parse::<B256>().unwrap();
        let order = vector["number"].as_u64().unwrap();
        assert_eq!(window_id(order), word(&vector["window_id"]));
        let mut words = [U256::ZERO; AUDIT_WORDS];
        words[5] = U256::from(100) << 40;
        words[6] = U256::from_be_bytes(word(&vector["randomness"]).0);
        for rate in [30_000_u32, 100_000] {
            words[0] = (U256::from(rate) << 224) | (U256::from(vector["units"].as_u64().unwrap()) << 192);
            let audit = Audit::from_words(&words).unwrap();
            let expected = vector["rounds"][0][format!("drawn_at_{rate}_ppm")].as_array().unwrap().len();
            assert_eq!(audit.drawn(window_id(order)) as usize, expected);
        }
        words[5] = U256::ZERO;
        assert_eq!(Audit::from_words(&words).unwrap().drawn(window_id(order)), 0, "not drawn yet");
    }

    #[test]
    fn words_that_the_contract_cannot_have_written_are_refused() {
        let with = |word: usize, value: U256| {
            let mut words = [U256::ZERO; AUDIT_WORDS];
            words[word] = value;
            Audit::from_words(&words)
        };
        assert!(with(0, U256::from(3) << 160).is_ok());
        assert_eq!(with(0, U256::from(4) << 160), Err(OrderError::Unknown { field: "windowStatus", number: 4 }));
        assert_eq!(with(0, U256::from(4) << 168), Err(OrderError::Unknown { field: "class", number: 4 }));
        assert_eq!(with(1, U256::from(2) << 224), Err(OrderError::Unknown { field: "convicted", number: 2 }));
        for (word, bit) in [(3, 32), (5, 144), (7, 128)] {
            assert!(with(word, U256::ONE << (bit - 1)).is_ok(), "{word}");
            assert_eq!(with(word, U256::ONE << bit), Err(OrderError::StrayAudit { word }));
        }
    }
}
