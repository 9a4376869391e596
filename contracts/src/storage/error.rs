//! What a storage word can have wrong with it.

use super::{Mode, Reason, Status, channel};
use alloy_primitives::B256;

/// A proved word that the contracts cannot have written: the node that proved it runs other code, or the slot is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bits that the layout leaves unused are set.
    #[error("unused bits are set in a storage word: slot_name={slot_name} word={word}")]
    UnusedBits {
        /// Which slot of the structure.
        slot_name: &'static str,
        /// The word.
        word: B256,
    },
    /// The status is not one of [`Status`].
    #[error("unknown order status: got={got} max={max}", max = Status::MAX)]
    StatusUnknown {
        /// The number found.
        got: u8,
    },
    /// The reason is not one of [`Reason`].
    #[error("unknown rejection reason: got={got} max={max}", max = Reason::MAX)]
    ReasonUnknown {
        /// The number found.
        got: u8,
    },
    /// The status is not one of [`channel::Status`].
    #[error("unknown channel status: got={got} max={max}", max = channel::Status::MAX)]
    ChannelStatusUnknown {
        /// The number found.
        got: u8,
    },
    /// A yes or no is neither.
    #[error("not a flag in a storage word: slot_name={slot_name} got={got}")]
    FlagUnknown {
        /// Which slot of the structure.
        slot_name: &'static str,
        /// The number found.
        got: u8,
    },
    /// A channel paid more than was paid in.
    #[error("a channel cannot have paid this: claimed={claimed} deposit={deposit}")]
    ClaimedTooMuch {
        /// What was claimed.
        claimed: u128,
        /// What was paid in.
        deposit: u128,
    },
    /// The mode is not one of [`Mode`].
    #[error("unknown order mode: got={got} max={max}", max = Mode::MAX)]
    ModeUnknown {
        /// The number found.
        got: u8,
    },
}
