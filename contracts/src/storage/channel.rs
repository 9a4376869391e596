//! Slots and words of a payment channel, of the terms of its audit, and of its credits.
//!
//! Spec: specs/0009-channel.md section 8. Amounts are wei, or the smallest units of the channel's token.

use super::Error;
use super::fields::{Field, nth, require_unused, slot_of_account};
use alloy_primitives::{Address, B256, U256, keccak256};
use std::time::Duration;

/// Slot of the number of channels ever opened (a plain `uint256`).
pub const COUNT_SLOT: B256 = B256::ZERO;

const CHANNELS_MAPPING: B256 = B256::with_last_byte(1);
const CREDITS_MAPPING: U256 = U256::from_limbs([2, 0, 0, 0]);
const AUDITS_MAPPING: B256 = B256::with_last_byte(3);

const STATUS: Field = Field::new("status", 0, 0, 1);
const AUDITED: Field = Field::new("audited", 0, 1, 1);
const OPENED_AT: Field = Field::new("openedAt", 0, 2, 5);
const EXPIRES_AT: Field = Field::new("expiresAt", 0, 7, 5);
const CLOSE_AT: Field = Field::new("closeAt", 0, 12, 5);
const CLOSED_AT: Field = Field::new("closedAt", 0, 17, 5);
const CHALLENGE_SECONDS: Field = Field::new("challengeSeconds", 0, 22, 4);
const DEPOSIT: Field = Field::new("deposit", 1, 0, 16);
const CLAIMED: Field = Field::new("claimed", 1, 16, 16);
const HISTORY: Field = Field::new("history", 2, 0, 32);
const CUSTOMER: Field = Field::new("customer", 3, 0, 20);
const WINDOW: Field = Field::new("window", 3, 20, 8);
const PROVIDER: Field = Field::new("provider", 4, 0, 20);
const ANNOUNCED: Field = Field::new("announced", 4, 20, 8);
const SIGNER: Field = Field::new("signer", 5, 0, 20);
const NUMBER: Field = Field::new("number", 5, 20, 8);
const TOKEN: Field = Field::new("token", 6, 0, 20);
const BUDGETED: Field = Field::new("budgeted", 7, 0, 16);

/// Where a channel stands. Spec: specs/0009-channel.md section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// There is no such channel.
    None = 0,
    /// The provider may claim.
    Open = 1,
    /// The customer asked for the rest; the provider may claim until `close_at`.
    Closing = 2,
    /// Final: the provider closed.
    Closed = 3,
    /// Final: the provider's last time passed after a request.
    Finished = 4,
    /// Final: the channel's life passed.
    Expired = 5,
}

impl Status {
    /// The highest number in use.
    pub const MAX: u8 = 5;

    const ALL: [Self; 6] = [Self::None, Self::Open, Self::Closing, Self::Closed, Self::Finished, Self::Expired];

    /// Whether the rest of the deposit is still held.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Open | Self::Closing)
    }
}

impl TryFrom<u8> for Status {
    type Error = Error;

    fn try_from(got: u8) -> Result<Self, Error> {
        Self::ALL.get(usize::from(got)).copied().ok_or(Error::ChannelStatusUnknown { got })
    }
}

/// The eight storage keys of a channel, in the order of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Status and times: decode with [`Progress::decode`].
    pub progress: B256,
    /// What came in and went to the provider: decode with [`Money::decode`].
    pub money: B256,
    /// Hash over all windows up to the last claimed one, as it is.
    pub history: B256,
    /// The customer and the last claimed window: decode with [`Head::decode`].
    pub head: B256,
    /// The provider and the last announced window: decode with [`Provider::decode`].
    pub provider: B256,
    /// The signer and the channel's number: decode with [`Signer::decode`].
    pub signer: B256,
    /// The token, zero for KST: decode with [`super::decode_address`].
    pub token: B256,
    /// What went to the audit for checks: decode with [`decode_budget`].
    pub budget: B256,
}

impl Slots {
    /// The keys of a channel.
    #[must_use]
    pub fn of(channel_id: B256) -> Self {
        let base: U256 = keccak256([channel_id.0, CHANNELS_MAPPING.0].concat()).into();
        Self {
            progress: nth(base, STATUS.slot),
            money: nth(base, DEPOSIT.slot),
            history: nth(base, HISTORY.slot),
            head: nth(base, CUSTOMER.slot),
            provider: nth(base, PROVIDER.slot),
            signer: nth(base, SIGNER.slot),
            token: nth(base, TOKEN.slot),
            budget: nth(base, BUDGETED.slot),
        }
    }

    /// The keys in the order of the layout, for a call of `eth_getProof`.
    #[must_use]
    pub const fn all(&self) -> [B256; 8] {
        [self.progress, self.money, self.history, self.head, self.provider, self.signer, self.token, self.budget]
    }
}

/// The first word of a channel: where it stands, and when. Times are durations since the Unix epoch in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the channel stands.
    pub status: Status,
    /// Whether its windows are audited.
    pub audited: bool,
    /// When it was opened; `None` only if there is no such channel.
    pub opened_at: Option<Duration>,
    /// Last second of its life; `None` only if there is no such channel.
    pub expires_at: Option<Duration>,
    /// Last second in which the provider may claim after a request; `None` before one.
    pub close_at: Option<Duration>,
    /// When it became final.
    pub closed_at: Option<Duration>,
    /// The provider's time to claim after a request.
    pub challenge: Duration,
}

impl Progress {
    /// Decodes a (proved) word of [`Slots::progress`].
    ///
    /// # Errors
    /// [`Error::ChannelStatusUnknown`], [`Error::FlagUnknown`] or [`Error::UnusedBits`]: the contract did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 6, "progress")?;
        let audited = match AUDITED.read_u8(word) {
            0 => false,
            1 => true,
            got => return Err(Error::FlagUnknown { slot_name: "progress", got }),
        };
        Ok(Self {
            status: Status::try_from(STATUS.read_u8(word))?,
            audited,
            opened_at: OPENED_AT.read_time(word),
            expires_at: EXPIRES_AT.read_time(word),
            close_at: CLOSE_AT.read_time(word),
            closed_at: CLOSED_AT.read_time(word),
            challenge: Duration::from_secs(CHALLENGE_SECONDS.read_u64(word)),
        })
    }

    /// Last second in which the provider may claim, as long as the channel holds anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.status.is_held().then(|| self.close_at.or(self.expires_at)).flatten()
    }
}

/// The second word of a channel: all that was paid in, and all that was credited to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// All that was ever paid in.
    pub deposit: u128,
    /// All that was ever credited to the provider; at most `deposit`.
    pub claimed: u128,
}

impl Money {
    /// Decodes a (proved) word of [`Slots::money`].
    ///
    /// # Errors
    /// [`Error::ClaimedTooMuch`]: the contract did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        let (deposit, claimed) = (DEPOSIT.read(word), CLAIMED.read(word));
        if claimed > deposit {
            return Err(Error::ClaimedTooMuch { claimed, deposit });
        }
        Ok(Self { deposit, claimed })
    }
}

/// The fourth word of a channel: whose it is, and how far it was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who opened it and gets the rest.
    pub customer: Address,
    /// Number of the last window that was claimed in full; zero before.
    pub window: u64,
}

impl Head {
    /// Decodes a (proved) word of [`Slots::head`].
    ///
    /// # Errors
    /// [`Error::UnusedBits`]: the contract did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 4, "head")?;
        Ok(Self { customer: Address::from_word(word), window: WINDOW.read_u64(word) })
    }
}

/// The fifth word of a channel: whom it can pay, and how far its windows were announced to the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The one account that the channel can pay.
    pub provider: Address,
    /// Number of the last window that was announced; zero before, and without audit.
    pub announced: u64,
}

impl Provider {
    /// Decodes a (proved) word of [`Slots::provider`].
    ///
    /// # Errors
    /// [`Error::UnusedBits`]: the contract did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 4, "provider")?;
        Ok(Self { provider: Address::from_word(word), announced: ANNOUNCED.read_u64(word) })
    }
}

/// The sixth word of a channel: whose key signs its vouchers, and what the audit knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The signer's address.
    pub signer: Address,
    /// The channel's number, from 1; zero only if there is no such channel.
    pub number: u64,
}

impl Signer {
    /// Decodes a (proved) word of [`Slots::signer`].
    ///
    /// # Errors
    /// [`Error::UnusedBits`]: the contract did not write this word.
    pub fn decode(word: B256) -> Result<Self, Error> {
        require_unused(word, 4, "signer")?;
        Ok(Self { signer: Address::from_word(word), number: NUMBER.read_u64(word) })
    }
}

/// Decodes a (proved) word of [`Slots::budget`]: all that was ever taken from the deposit for checks, in wei.
///
/// Together with [`Money::claimed`] it is at most [`Money::deposit`]; whoever has both words compares them.
///
/// # Errors
/// [`Error::UnusedBits`]: the contract did not write this word.
pub fn decode_budget(word: B256) -> Result<u128, Error> {
    require_unused(word, 16, "budget")?;
    Ok(BUDGETED.read(word))
}

/// The six storage keys of the terms of a channel's audit, in the order of the layout: the hash of the job, the price of a unit, class
/// to segments packed, bond, hash of named checkers, canary. All words are zero for a channel without audit.
#[must_use]
pub fn audit_slots(channel_id: B256) -> [B256; 6] {
    let base: U256 = keccak256([channel_id.0, AUDITS_MAPPING.0].concat()).into();
    [0, 1, 2, 3, 4, 5].map(|index| nth(base, index))
}

/// Slot of what an account can withdraw in a token, zero meaning KST (a plain `uint256`).
#[must_use]
pub fn credit_slot(account: Address, token: Address) -> B256 {
    nth(slot_of_account(token, slot_of_account(account, CREDITS_MAPPING)), 0)
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used)]

    use super::super::{decode_address, fields::layout};
    use super::*;
    use serde_json::Value;

    const START_S: u64 = 1_800_000_000;

    fn artifact() -> Value {
        serde_json::from_str(include_str!("../../artifacts/Channel.json")).unwrap()
    }

    fn vector() -> Value {
        serde_json::from_str(include_str!("../../../specs/vectors/channel-storage.json")).unwrap()
    }

    fn entry(vector: &Value, name: &str) -> (B256, B256) {
        let entry = &vector["channel"][name];
        let part = |key: &str| entry[key].as_str().unwrap().parse().unwrap();
        (part("slot"), part("word"))
    }

    fn at(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(START_S.saturating_add(seconds)))
    }

    #[test]
    fn every_field_lies_where_the_compiler_put_it() {
        let fields = [
            STATUS,
            AUDITED,
            OPENED_AT,
            EXPIRES_AT,
            CLOSE_AT,
            CLOSED_AT,
            CHALLENGE_SECONDS,
            DEPOSIT,
            CLAIMED,
            HISTORY,
            CUSTOMER,
            WINDOW,
            PROVIDER,
            ANNOUNCED,
            SIGNER,
            NUMBER,
            TOKEN,
            BUDGETED,
        ];
        assert_eq!(layout::table(&fields), layout::members(&artifact(), "Entry"));
        let variables = [
            ("_channelCount", U256::from_be_bytes(COUNT_SLOT.0)),
            ("_channels", U256::from_be_bytes(CHANNELS_MAPPING.0)),
            ("_credits", CREDITS_MAPPING),
            ("_audits", U256::from_be_bytes(AUDITS_MAPPING.0)),
        ];
        for (label, slot) in variables {
            assert_eq!(U256::from(layout::variable(&artifact(), label)), slot, "{label}");
        }
    }

    #[test]
    fn slots_and_words_are_those_of_a_real_evm() {
        let vector = vector();
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let slots = Slots::of(text("channel_id").parse().unwrap());
        let names = ["progress", "money", "history", "customer", "provider", "signer", "token", "budget"];
        for (name, slot) in names.iter().zip(slots.all()) {
            assert_eq!(entry(&vector, name).0, slot, "{name}");
        }
        let progress = Progress::decode(entry(&vector, "progress").1).unwrap();
        assert_eq!(
            progress,
            Progress {
                status: Status::Closed,
                audited: true,
                opened_at: at(0),
                expires_at: at(86_400),
                close_at: at(7 + 7_200),
                closed_at: at(9),
                challenge: Duration::from_secs(7_200),
            }
        );
        assert_eq!(progress.deadline(), None);
        let money = Money::decode(entry(&vector, "money").1).unwrap();
        assert_eq!(money, Money { deposit: 1_000_000_000_000_000, claimed: 3_000_000_000_000 });
        assert_eq!(entry(&vector, "history").1, text("history_of_three_windows").parse::<B256>().unwrap());
        let head = Head::decode(entry(&vector, "customer").1).unwrap();
        assert_eq!(head, Head { customer: text("customer").parse().unwrap(), window: 3 });
        let number = |name: &str| text(name).parse::<u64>().unwrap();
        let provider = Provider::decode(entry(&vector, "provider").1).unwrap();
        assert_eq!(provider, Provider { provider: text("provider").parse().unwrap(), announced: number("announced") });
        let signer = Signer::decode(entry(&vector, "signer").1).unwrap();
        assert_eq!(signer, Signer { signer: text("signer").parse().unwrap(), number: number("number") });
        assert_eq!(decode_address(entry(&vector, "token").1).unwrap(), Address::ZERO);
        let budgeted = decode_budget(entry(&vector, "budget").1).unwrap();
        assert_eq!(budgeted, text("budgeted").parse::<u128>().unwrap());
        assert_eq!(entry(&vector, "channel_count"), (COUNT_SLOT, B256::with_last_byte(2)));
        for (name, account, amount) in [
            ("credit_of_provider", "provider", money.claimed),
            ("credit_of_customer", "customer", money.deposit - budgeted - money.claimed),
        ] {
            let (slot, word) = entry(&vector, name);
            assert_eq!(slot, credit_slot(text(account).parse().unwrap(), Address::ZERO));
            assert_eq!(U256::from_be_bytes(word.0), U256::from(amount));
        }
    }

    #[test]
    fn a_channel_in_a_token_is_that_of_a_real_evm() {
        let vector = vector();
        let part = |name: &str, key: &str| -> B256 {
            vector["channel_in_token"][name][key].as_str().unwrap().parse().unwrap()
        };
        let account = |name: &str| -> Address { vector[name].as_str().unwrap().parse().unwrap() };
        let slots = Slots::of(vector["channel_id_in_token"].as_str().unwrap().parse().unwrap());
        assert_eq!(part("progress", "slot"), slots.progress);
        let progress = Progress::decode(part("progress", "word")).unwrap();
        assert_eq!((progress.status, progress.audited, progress.close_at), (Status::Open, false, None));
        assert_eq!(part("token", "slot"), slots.token);
        assert_eq!(decode_address(part("token", "word")).unwrap(), account("token"));
        assert_eq!(part("signer", "slot"), slots.signer);
        assert_eq!(Signer::decode(part("signer", "word")).unwrap(), Signer { signer: account("signer"), number: 2 });
        assert_eq!((part("budget", "slot"), part("budget", "word")), (slots.budget, B256::ZERO));
        assert_eq!(part("credit_of_provider", "slot"), credit_slot(account("provider"), account("token")));
        assert_eq!(U256::from_be_bytes(part("credit_of_provider", "word").0), U256::from(2_000_000_000_000_u64));
    }

    #[test]
    fn the_terms_of_an_audit_lie_where_the_compiler_put_them() {
        let vector = vector();
        let slots = audit_slots(vector["channel_id"].as_str().unwrap().parse().unwrap());
        let names = ["job_hash", "price_wei_per_unit", "terms", "bond_wei", "named", "canary"];
        let part = |name: &str, key: &str| -> B256 { vector["audit"][name][key].as_str().unwrap().parse().unwrap() };
        for (name, slot) in names.into_iter().zip(slots) {
            assert_eq!(part(name, "slot"), slot, "{name}");
        }
        assert_eq!(part("job_hash", "word"), vector["job_hash"].as_str().unwrap().parse::<B256>().unwrap());
        for name in ["price_wei_per_unit", "bond_wei"] {
            let amount: u128 = vector[name].as_str().unwrap().parse().unwrap();
            assert_eq!(U256::from_be_bytes(part(name, "word").0), U256::from(amount), "{name}");
        }
        // Class 1, one checker, ability 2, a rate of 30,000 ppm, from the low end.
        assert_eq!(part("terms", "word")[25..], [0, 0, 0x75, 0x30, 2, 1, 1]);
        let types = &artifact()["storageLayout"]["types"];
        let bytes = |name: &str| types[name]["numberOfBytes"].as_str().unwrap().parse::<usize>().unwrap();
        assert_eq!(bytes("t_struct(Audit)_storage"), names.len() * 32);
        assert_eq!(bytes("t_struct(Entry)_storage"), Slots::of(B256::ZERO).all().len() * 32);
    }

    #[test]
    fn the_deadline_is_that_of_the_request_once_there_is_one() {
        let mut word = B256::ZERO;
        word[31] = 1; // open
        word[31 - 7] = 200; // expires at
        assert_eq!(Progress::decode(word).unwrap().deadline(), Some(Duration::from_secs(200)));
        word[31] = 2; // closing
        word[31 - 12] = 100; // close at
        assert_eq!(Progress::decode(word).unwrap().deadline(), Some(Duration::from_secs(100)));
        let absent = Progress::decode(B256::ZERO).unwrap();
        assert_eq!((absent.status, absent.opened_at, absent.deadline()), (Status::None, None, None));
    }

    #[test]
    fn words_that_the_contract_cannot_write_are_refused() {
        assert_eq!(Progress::decode(B256::with_last_byte(6)), Err(Error::ChannelStatusUnknown { got: 6 }));
        assert_eq!(Progress::decode(B256::with_last_byte(5)).unwrap().status, Status::Expired);
        let mut word = B256::with_last_byte(1);
        word[30] = 2;
        assert_eq!(Progress::decode(word), Err(Error::FlagUnknown { slot_name: "progress", got: 2 }));
        for byte in 0..6 {
            let mut word = B256::with_last_byte(1);
            word[byte] = 1;
            assert_eq!(Progress::decode(word), Err(Error::UnusedBits { slot_name: "progress", word }));
        }
        for byte in 0..4 {
            let mut word = B256::ZERO;
            word[byte] = 1;
            assert_eq!(Head::decode(word), Err(Error::UnusedBits { slot_name: "head", word }));
            assert_eq!(Provider::decode(word), Err(Error::UnusedBits { slot_name: "provider", word }));
            assert_eq!(Signer::decode(word), Err(Error::UnusedBits { slot_name: "signer", word }));
        }
        for byte in 0..16 {
            let mut word = B256::ZERO;
            word[byte] = 1;
            assert_eq!(decode_budget(word), Err(Error::UnusedBits { slot_name: "budget", word }));
        }
        assert_eq!(decode_budget(B256::from(U256::from(u128::MAX))), Ok(u128::MAX));
        let mut word = B256::with_last_byte(7);
        word[15] = 7;
        assert_eq!(Money::decode(word), Ok(Money { deposit: 7, claimed: 7 }));
        word[15] = 8;
        assert_eq!(Money::decode(word), Err(Error::ClaimedTooMuch { claimed: 8, deposit: 7 }));
    }

    #[test]
    fn a_statuss_number_is_its_place() {
        assert_eq!(Status::ALL.len(), usize::from(Status::MAX) + 1);
        for (number, status) in (0..).zip(Status::ALL) {
            assert_eq!(status as u8, number);
            assert_eq!(Status::try_from(number), Ok(status));
            assert_eq!(status.is_held(), (1..=2).contains(&number));
        }
    }
}
