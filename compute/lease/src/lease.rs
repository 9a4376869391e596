//! A lease: an ordered run of steps for one provider, and how it ends.

use crate::party::Provider;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Steps of one unit, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The unit.
    pub unit: u32,
    /// Its first segment in this lease, from 0.
    pub first: u32,
    /// Segments, at least one.
    pub count: u32,
}

/// What one provider may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number, used once.
    pub number: u64,
    /// Whose it is.
    pub provider: Provider,
    /// The steps in their order; each unit at most once.
    pub items: Vec<Item>,
    /// How long the provider has, from the moment at which it receives the lease.
    pub limit: Duration,
}

impl Lease {
    /// Steps in all.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.items.iter().fold(0, |sum, item| sum.saturating_add(item.count))
    }

    /// Unit and segment of each step, in order.
    pub fn each(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.items
            .iter()
            .flat_map(|item| (item.first..item.first.saturating_add(item.count)).map(move |s| (item.unit, s)))
    }

    /// What the first `done` steps are: the items that were begun, the last one cut.
    #[must_use]
    pub fn part(&self, done: u32) -> Vec<Item> {
        let mut left = done;
        let mut part = Vec::new();
        for item in &self.items {
            let count = item.count.min(left);
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count);
            part.push(Item { count, ..*item });
        }
        part
    }
}

/// How a lease ended without pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The report was not taken: wrong, unclear, or its bytes did not come.
    #[error("the report was refused")]
    Refused,
    /// The provider gave it back: it drains, stops, forgot it, or a unit failed.
    #[error("given back")]
    GivenBack,
    /// The deadline and the time of grace passed.
    #[error("no report by the deadline")]
    Late,
    /// The provider was not heard any more.
    #[error("the provider fell silent")]
    Silent,
    /// The customer took it back.
    #[error("cancelled")]
    Cancelled,
}

impl End {
    /// Whether it counts against the provider.
    pub(crate) const fn is_strike(self) -> bool {
        matches!(self, Self::Late | Self::Silent | Self::Refused)
    }
}

/// Why a report is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It ended, or never was.
    #[error("lease {number} has ended")]
    Ended {
        /// The lease.
        number: u64,
    },
    /// It is another provider's.
    #[error("lease {number} belongs to another provider")]
    Another {
        /// The lease.
        number: u64,
    },
    /// None, or more steps than it has.
    #[error("steps out of range: lease={number} got={got} min=1 max={max}")]
    Steps {
        /// The lease.
        number: u64,
        /// Steps reported.
        got: u32,
        /// Steps leased.
        max: u32,
    },
}
