//! The compute market as its two sides use it: who offers a machine, and who has a job.
//!
//! # Design
//! ```text
//! customer: plan -> order -> send inputs -> receive -> check -> accept or reject -> certificate
//! provider: offer -> hear the customer -> fetch inputs -> lease -> run -> commit -> deliver -> be paid
//! checker:  be drawn -> fetch from the provider -> run -> commit -> reveal -> be paid
//! ```
//! [`results`] holds the outputs that stay in a folder against a certificate. [`map`] does a job of many units with many providers at once; there, money moves through payment channels ([`channels`]).
//!
//! The chain is the only memory that both sides believe. [`lifecycle`] says, as a pure function of what the chain holds and what this side
//! has, what to do next; the loops in [`provider`] and [`customer`] do it and ask again. So a restart, a lost connection and a late
//! answer are all the same thing: ask again.
//!
//! # Not here
//! What a job is (`keystead-job`), how it runs (`keystead-runner`), how bytes travel (`keystead-blobs`), how a sample decides
//! (`keystead-audit`).

/// The terms of an audit in the bindings of another contract: each has a type of its own with the same fields.
macro_rules! terms_as {
    ($into:path, $terms:expr) => {{
        let terms = $terms;
        $into {
            class: terms.class,
            checkers: terms.checkers,
            abilities: terms.abilities,
            ratePpm: terms.ratePpm,
            feePpm: terms.feePpm,
            checkSeconds: terms.checkSeconds,
            revealSeconds: terms.revealSeconds,
            appealSeconds: terms.appealSeconds,
            segments: terms.segments,
            bondWei: terms.bondWei,
            named: terms.named,
            canary: terms.canary,
        }
    }};
}

pub(crate) mod account;
pub(crate) mod amount;
pub(crate) mod audited;
pub(crate) mod bond;
pub(crate) mod canary;
pub(crate) mod channels;
pub(crate) mod checker;
pub(crate) mod customer;
pub(crate) mod event_log;
pub(crate) mod files;
pub(crate) mod lifecycle;
pub(crate) mod map;
pub(crate) mod market;
pub(crate) mod matching;
pub(crate) mod money;
pub(crate) mod named;
mod newest;
pub(crate) mod opening;
pub(crate) mod own_node;
pub(crate) mod panels;
pub(crate) mod past;
pub(crate) mod place;
pub(crate) mod probation;
pub(crate) mod provider;
pub(crate) mod provider_log;
pub(crate) mod random;
pub(crate) mod recipe;
pub(crate) mod results;
pub(crate) mod revert;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod searches;
pub(crate) mod statement;
pub(crate) mod stores;
pub(crate) mod token;
pub(crate) mod touchstone;
pub(crate) mod wallet;
pub(crate) mod windows;
pub(crate) mod worth;
