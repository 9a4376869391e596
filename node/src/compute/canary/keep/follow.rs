//! What the chain says: checks and canaries of everybody, and what an order cost.
//!
//! Spec: specs/0008-audit.md §12.2.

use crate::compute::{
    account::{Log, Receipt},
    checker::credited,
    files,
    newest::is_too_long,
    windows::{Windows, event},
};
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent as _;
use eyre::{Context as _, Result, eyre};
use keystead_contracts::bindings::{audit::Audit, referee::Referee};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// Blocks that are read at once.
const BLOCKS_MAX: u64 = 1_000;

/// What blocks have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Of round 0, that were committed to.
    pub(super) checks: u64,
    /// Canaries that were told.
    pub(super) told: u64,
    /// The first block after them.
    pub(super) next_block: u64,
}

/// Counts in the next blocks from `first` to `head`: all of them, or as many as a node tells of at once. Nodes answer of final blocks alone.
pub(super) async fn count(windows: &Windows, first: u64, head: u64) -> Result<Counted> {
    let mut last = head.min(first.saturating_add(BLOCKS_MAX.saturating_sub(1)));
    let kinds = [Audit::CheckCommitted::SIGNATURE_HASH, Referee::CanaryRevealed::SIGNATURE_HASH];
    loop {
        match windows.logs(first, last, json!([kinds])).await {
            Ok(logs) => {
                let (checks, told) = tally(&logs);
                return Ok(Counted { checks, told, next_block: last.saturating_add(1) });
            }
            // Half as many: ten questions at most.
            Err(error) if is_too_long(&error) && last > first => {
                last = first.saturating_add(last.saturating_sub(first) / 2);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Checks of round 0, and canaries.
fn tally(logs: &[Log]) -> (u64, u64) {
    let is_check = |log: &&Log| event::<Audit::CheckCommitted>(log).is_some_and(|check| check.round == 0);
    let is_canary = |log: &&Log| event::<Referee::CanaryRevealed>(log).is_some();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    (count(logs.iter().filter(is_check).count()), count(logs.iter().filter(is_canary).count()))
}

/// What `job.json` says of an order that is over, as far as it matters.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) order: String,
    /// How it ended.
    pub(super) status: String,
    paid_wei: String,
    audit: Option<JobAudit>,
    canary: Option<JobCanary>,
    /// How far it came; null of an order that its customer did not stop.
    stopped: Option<Value>,
}

/// Of an order that was to have one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct JobCanary {
    /// Whether the unit came as agreed; `None` if no outputs came.
    delivered: Option<bool>,
}

/// Of an order that has a window.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct JobAudit {
    window: B256,
    deposit_wei: String,
    canary_unit: Option<u32>,
}

impl Job {
    /// Reads the file's text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).wrap_err("it is damaged")
    }

    /// Whether its units were checked, whatever was found, and one of them was to be found.
    pub(super) fn is_done(&self) -> bool {
        self.audit.is_some() && self.uncanny().is_none()
    }

    /// Why an order was no canary that came to its end all the same: without this, whoever names a provider that has no such file pays for ordinary orders,
    /// one after the other, until all is spent.
    pub(super) fn uncanny(&self) -> Option<&'static str> {
        let is_left_out = self.stopped.is_none() && self.canary.is_some_and(|canary| canary.delivered == Some(false));
        is_left_out.then_some(
            "its provider made no unit wrong on purpose: it must run with `keystead provide --canaries` and the same file",
        )
    }

    /// The unit that was told, if one was.
    pub(super) fn told(&self) -> Option<u32> {
        self.audit.as_ref().and_then(|audit| audit.canary_unit)
    }

    /// What the order cost, without gas: its price, what did not come back of the deposit for checks, and what was sent along when its canary was told and with
    /// accusations of other units. A bond in it that came back counts as spent, and so does a deposit of which it cannot be seen what came back. `from_block` is
    /// not after the order's.
    pub(super) async fn cost_wei(&self, windows: &Windows, from_block: u64) -> Result<U256> {
        let paid_wei = amount(&self.paid_wei)?;
        let Some(audit) = &self.audit else { return Ok(paid_wei) };
        let deposit_wei = amount(&audit.deposit_wei)?;
        let mut back_wei = U256::ZERO;
        if let Some((_, log)) = windows.of_window::<Audit::WindowClosed>(audit.window, from_block).await?.first() {
            let receipt = windows.account.receipt(log.transaction_hash).await?;
            back_wei = receipt.map_or(U256::ZERO, |receipt| returned(&receipt, windows.account.address()));
        }
        let mut telling_wei = U256::ZERO;
        if let Some((_, log)) = windows.of_window::<Referee::CanaryRevealed>(audit.window, from_block).await?.first() {
            telling_wei = value_of(windows, log.transaction_hash).await?;
        }
        let challenged = windows.of_window::<Referee::Challenged>(audit.window, from_block).await?;
        let mut accusing_wei = U256::ZERO;
        for transaction in accused(&challenged, windows.account.address()) {
            accusing_wei = accusing_wei.saturating_add(value_of(windows, transaction).await?);
        }
        let checks_wei = deposit_wei.saturating_sub(back_wei);
        Ok([checks_wei, telling_wei, accusing_wei].into_iter().fold(paid_wei, U256::saturating_add))
    }
}

/// The transactions with which an account accused units.
fn accused(challenged: &[(Referee::Challenged, Log)], party: Address) -> Vec<B256> {
    let own = challenged.iter().filter(|(challenged, _)| challenged.party == party);
    own.map(|(_, log)| log.transaction_hash).collect()
}

fn amount(text: &str) -> Result<U256> {
    text.parse().map_err(|_| eyre!("an amount in job.json is no number: {text}"))
}

/// What came back to a customer in the transaction that closed its window; nothing if it closed others, too, whose share is not known.
fn returned(receipt: &Receipt, customer: Address) -> U256 {
    let closed = receipt.logs.iter().filter(|log| event::<Audit::WindowClosed>(log).is_some()).count();
    if closed == 1 { credited(receipt, customer) } else { U256::ZERO }
}

/// What was sent along with a transaction.
async fn value_of(windows: &Windows, transaction: B256) -> Result<U256> {
    let sent = windows.account.client().call("eth_getTransactionByHash", json!([transaction])).await?;
    let value = sent.get("value").cloned().ok_or_else(|| eyre!("the node does not have transaction {transaction}"))?;
    serde_json::from_value(value).wrap_err("the value of a transaction is no number")
}

/// The last line of an order's events.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    pub(super) detail: String,
    #[serde(default)]
    pub(super) facts: Facts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Facts {
    pub(super) above_max_price: bool,
}

/// `None` if there is none, as of a process that was killed at once.
pub(super) fn last_said(events: &Path) -> Option<Said> {
    let text = files::read(events).ok().flatten()?;
    serde_json::from_str(text.lines().last()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_contracts::{AUDIT_ADDRESS, MARKET_ADDRESS};
    use std::fs;

    const WINDOW: B256 = B256::repeat_byte(1);

    fn log(address: Address, event: &impl alloy_sol_types::SolEvent) -> Log {
        let data = event.encode_log_data();
        let (topics, data) = (data.topics().to_vec(), data.data);
        Log { address, topics, data, transaction_hash: B256::ZERO, block_number: 1 }
    }

    fn check(round: u8) -> Audit::CheckCommitted {
        Audit::CheckCommitted { windowId: WINDOW, unit: 3, round, slot: 1, account: Address::repeat_byte(2) }
    }

    fn closed() -> Log {
        log(AUDIT_ADDRESS, &Audit::WindowClosed { windowId: WINDOW, convicted: false, paidUnits: 2 })
    }

    fn receipt(logs: Vec<Log>) -> Receipt {
        let mut receipt: Receipt =
            serde_json::from_value(json!({"blockNumber": "0x1", "status": "0x1", "logs": []})).unwrap();
        receipt.logs = logs;
        receipt
    }

    #[test]
    fn checks_of_the_first_round_and_canaries_count_if_the_audit_says_so() {
        let canary = Referee::CanaryRevealed { windowId: WINDOW, unit: 3 };
        let logs = [
            log(AUDIT_ADDRESS, &check(0)),
            log(AUDIT_ADDRESS, &check(0)),
            log(AUDIT_ADDRESS, &check(1)),
            log(MARKET_ADDRESS, &check(0)),
            log(AUDIT_ADDRESS, &canary),
            log(MARKET_ADDRESS, &canary),
            closed(),
        ];
        assert_eq!(tally(&logs), (2, 1));
        assert_eq!(tally(&[]), (0, 0));
    }

    #[test]
    fn what_came_back_is_known_of_a_window_that_was_closed_alone() {
        let me = Address::repeat_byte(9);
        let credit = |account, wei: u64| log(AUDIT_ADDRESS, &Audit::Credited { account, amountWei: U256::from(wei) });
        let other = Address::repeat_byte(8);
        assert_eq!(returned(&receipt(vec![credit(me, 5), credit(other, 7), closed()]), me), U256::from(5));
        assert_eq!(returned(&receipt(vec![credit(me, 5), closed(), credit(me, 6), closed()]), me), U256::ZERO);
        assert_eq!(returned(&receipt(vec![credit(me, 5)]), me), U256::ZERO);
    }

    #[test]
    fn the_reason_of_an_order_is_its_last_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.jsonl");
        assert!(last_said(&path).is_none());
        let failed = r#"{"event":"failed","detail":"too dear","facts":{"exitCode":1,"aboveMaxPrice":true}}"#;
        fs::write(&path, format!("{}\n{failed}\n", r#"{"event":"planned","detail":"align"}"#)).unwrap();
        let said = last_said(&path).unwrap();
        assert!(said.facts.above_max_price && said.detail == "too dear");
        fs::write(&path, r#"{"event":"failed","detail":"no","facts":{"exitCode":1}}"#).unwrap();
        assert!(!last_said(&path).unwrap().facts.above_max_price);
        fs::write(&path, r#"{"event":"fai"#).unwrap();
        assert!(last_said(&path).is_none(), "cut off");
    }

    #[test]
    fn an_accusation_by_the_customer_itself_is_part_of_what_an_order_cost() {
        let me = Address::repeat_byte(9);
        let by = |party, transaction| {
            let challenged = Referee::Challenged { windowId: WINDOW, unit: 1, party, segment: 0 };
            let log = Log { transaction_hash: B256::repeat_byte(transaction), ..log(AUDIT_ADDRESS, &challenged) };
            (challenged, log)
        };
        let challenged = [by(me, 1), by(Address::repeat_byte(8), 2), by(me, 3)];
        assert_eq!(accused(&challenged, me), [B256::repeat_byte(1), B256::repeat_byte(3)]);
    }

    #[test]
    fn an_order_whose_provider_leaves_the_canary_out_comes_to_nothing() {
        let audit = json!({"window": WINDOW, "depositWei": "43", "canaryUnit": null});
        let job = |delivered: Value, stopped: Value| {
            let canary = json!({"unit": 2, "delivered": delivered});
            let more = json!({"order": "7", "status": "audited", "paidWei": "1", "audit": audit, "canary": canary, "stopped": stopped});
            Job::parse(&more.to_string()).unwrap()
        };
        let without = job(json!(false), Value::Null);
        assert!(!without.is_done() && without.uncanny().unwrap().contains("--canaries"));
        let part = json!({"units": 4, "unitsDone": 1, "unitsPaid": 1});
        for other in [job(json!(true), Value::Null), job(Value::Null, Value::Null), job(json!(false), part)] {
            assert!(other.is_done() && other.uncanny().is_none(), "{other:?}");
        }
    }

    #[test]
    fn the_record_of_an_order_is_read_with_a_window_and_without() {
        let record = |audit: Value| {
            let more = json!({"order": "7", "status": "audited", "paidWei": "12", "audit": audit, "canary": null});
            Job::parse(&more.to_string()).unwrap()
        };
        let without = record(Value::Null);
        assert_eq!((without.is_done(), without.told(), without.order.as_str()), (false, None, "7"));
        let audit = json!({"window": WINDOW, "depositWei": "43", "canaryUnit": 2, "units": 3});
        let with = record(audit);
        assert_eq!((with.is_done(), with.told(), with.status.as_str()), (true, Some(2), "audited"));
        assert_eq!((amount("12").unwrap(), amount("x").is_err()), (U256::from(12), true));
        for wrong in ["", "{}", r#"{"order": 7}"#] {
            assert!(Job::parse(wrong).unwrap_err().to_string().contains("damaged"), "{wrong:?}");
        }
    }
}
