//! A public search for the segment of a unit that is wrong, as one account reads it on the chain and acts on it: the contract `Referee`, called at the audit's
//! address.
//!
//! Spec: specs/0008-audit.md §9.2.

use crate::compute::{
    account::Receipt,
    windows::{Windows, event},
};
use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::{SolCall as _, SolEvent as _};
use eyre::{Context as _, Result};
use keystead_contracts::bindings::referee::Referee;
use serde_json::json;
use std::collections::BTreeMap;

/// What was asked about a unit, and what its provider opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The provider must answer, or is convicted.
    pub(crate) is_open: bool,
    /// How many questions there were.
    pub(crate) asks: u32,
    /// The states that the provider opened, by the segment that they are after.
    pub(crate) states: BTreeMap<u32, B256>,
    /// The output that it committed to: it stands in each answer.
    pub(crate) output: Option<B256>,
}

impl Windows {
    /// All that was asked about a unit and answered in blocks from `from` on, which is not after the window's.
    pub(crate) async fn searched(&self, id: B256, unit: u32, from: u64) -> Result<Asked> {
        let (head, _) = self.account.head().await?;
        let kinds = [Referee::StateAsked::SIGNATURE_HASH, Referee::StateAnswered::SIGNATURE_HASH];
        let mut found = Asked::default();
        let mut transaction = None;
        for log in self.logs(from, head, json!([kinds, id])).await? {
            if event::<Referee::StateAsked>(&log).is_some_and(|asked| asked.unit == unit) {
                found.asks = found.asks.saturating_add(1);
                found.is_open = true;
            } else if let Some(answered) = event::<Referee::StateAnswered>(&log).filter(|event| event.unit == unit) {
                found.is_open = false;
                found.states.insert(answered.segment, answered.state);
                transaction = Some(log.transaction_hash);
            }
        }
        if let Some(transaction) = transaction {
            found.output = self.answered_output(transaction).await?;
        }
        Ok(found)
    }

    /// The output in an answer, which only the call itself has; none if another contract made the call.
    async fn answered_output(&self, transaction: B256) -> Result<Option<B256>> {
        let call = self.account.client().call("eth_getTransactionByHash", json!([transaction])).await?;
        let input = call.get("input").cloned().unwrap_or_default();
        let input: Bytes = serde_json::from_value(input).wrap_err("the answer's transaction has no input")?;
        Ok(Referee::answerCall::abi_decode(&input).ok().map(|call| call.proof.output))
    }

    /// Asks the provider for the state after a segment.
    pub(crate) async fn ask_state(&self, id: B256, unit: u32, segment: u32) -> Result<Receipt> {
        self.send(&Referee::askCall { windowId: id, unit, segment }, U256::ZERO).await
    }

    /// Says which segment is wrong, so that referees run it.
    pub(crate) async fn name_segment(&self, id: B256, unit: u32, segment: u32) -> Result<Receipt> {
        self.send(&Referee::nameCall { windowId: id, unit, segment }, U256::ZERO).await
    }
}
