//! Why a provider of the register has no offer in the table: a code for machines, words for people.

use keystead_blobs::{Availability, SessionError, State};
use std::fmt;

/// Why a provider is left out before any filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The register says that it takes no orders.
    Paused,
    /// Its endpoint cannot be dialled, or is another node's.
    Endpoint,
    /// It registered no record.
    NoRecord,
    /// Nobody gave the record behind its hash: it is of an older version, or it is not there.
    NotServed(String),
    /// What it gave is not the record that it registered, or no record.
    WrongRecord(String),
    /// Time was up before it answered.
    NotAsked,
    /// It does not answer now.
    Silent(String),
    /// It answers that it takes no orders now.
    Unwilling(Availability, String),
}

impl Absent {
    /// The code for machines; it never changes its meaning.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Endpoint => "endpoint",
            Self::NoRecord => "no-record",
            Self::NotServed(_) => "record-not-available",
            Self::WrongRecord(_) => "record-wrong",
            Self::NotAsked => "not-asked",
            Self::Silent(_) => "silent",
            Self::Unwilling(Availability::Owner, _) => "owner",
            Self::Unwilling(Availability::Busy, _) => "busy",
            Self::Unwilling(Availability::Stopping, _) => "stopping",
            Self::Unwilling(Availability::Taking, _) => "taking",
        }
    }

    /// What such a provider is: "the provider ..".
    pub(crate) const fn words(&self) -> &'static str {
        match self {
            Self::Paused => "takes no orders at the moment",
            Self::Endpoint => "published an endpoint that cannot be dialled",
            Self::NoRecord => "has no capability record",
            Self::NotServed(_) => "has a capability record that nobody gives: record not available",
            Self::WrongRecord(_) => "gives another record than it registered",
            Self::NotAsked => "was not asked, time was up",
            Self::Silent(_) => "does not answer now (--unanswered takes it all the same)",
            Self::Unwilling(Availability::Owner, _) => "is kept from work by its owner",
            Self::Unwilling(Availability::Busy, _) => "has too many open orders",
            Self::Unwilling(Availability::Stopping, _) => "is stopping",
            Self::Unwilling(Availability::Taking, _) => "takes orders",
        }
    }

    /// What was heard of this one provider; hostile text made printable.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::NotServed(text) | Self::WrongRecord(text) | Self::Silent(text) | Self::Unwilling(_, text) => text,
            Self::Paused | Self::Endpoint | Self::NoRecord | Self::NotAsked => "",
        }
    }

    /// Whether it might take the job and only was not heard in time; every other reason is one of its own or of its record.
    pub(crate) const fn is_unheard(&self) -> bool {
        matches!(self, Self::NotServed(_) | Self::NotAsked | Self::Silent(_))
    }

    /// The record could not be had.
    pub(crate) fn not_served(error: &SessionError) -> Self {
        match error {
            SessionError::Peer(violation) => Self::WrongRecord(violation.to_string()),
            other => Self::NotServed(other.to_string()),
        }
    }

    /// What an answer says against an order; `None` if it says nothing against it.
    pub(crate) fn of(state: &State) -> Option<Self> {
        let unwilling = || Self::Unwilling(state.availability, state.reason.to_string());
        (state.availability != Availability::Taking).then(unwilling)
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())?;
        match self.detail() {
            "" => Ok(()),
            detail => write!(f, ": {detail}"),
        }
    }
}
