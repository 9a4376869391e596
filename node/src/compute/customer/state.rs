//! What a customer must not forget about its order: `order.json`, written before the order's transaction is sent.
//!
//! # Invariants
//! The transaction is stored signed, so that a process that starts again can only send the very same one: never a second order. An order in a token is stored
//! once before, with its price and without a transaction: it is signed only when the market may take the escrow. What is said here to have arrived or to be checked was on the disk before it was said.

use super::{
    audit::{
        canary::Canary,
        plan::{Plan, percent},
    },
    choose::Choice,
};
use crate::compute::{account::Signed, amount::kst, lifecycle::Finding, money::paid_in};
use alloy_primitives::{Address, B256, Bytes, U256};
use eyre::{Context as _, Result, ensure};
use keystead_audit::{Rejection, Report, SampleRule, Verdict};
use keystead_contracts::{bindings::market::IMarket, storage::Reason};
use serde::{Deserialize, Serialize};

/// Version of the file format.
const VERSION: u32 = 1;

/// The file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    pub(super) identity: Identity,
    rule: Rule,
    /// Orders of this job that gave the money back, oldest first.
    pub(super) failed: Vec<Failed>,
    /// The newest order.
    pub(super) attempt: Attempt,
}

/// Whose order it is, of what, and where. All of it must be the same for a process that goes on with the order.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) chain_id: u64,
    /// Hash of the chain's first block: networks for development share a chain id.
    pub(super) genesis: B256,
    pub(super) customer: Address,
    pub(super) job: B256,
    /// The ERC-20 that the job is paid in; `None` means KST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Address>,
}

/// The sample rule, as [`SampleRule`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    rate_ppm: u32,
    units_min: u32,
}

/// An order that failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Failed {
    pub(super) order: U256,
    pub(super) provider: Address,
    pub(super) status: String,
    pub(super) why: String,
}

/// One order with one provider.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attempt {
    pub(super) provider: Address,
    /// Where it is reached, with its node id.
    pub(super) endpoint: String,
    pub(super) units: u32,
    /// In wei, or in the smallest units of the token.
    pub(super) price_wei_per_unit: U256,
    pub(super) lease_seconds: u32,
    pub(super) deliver_seconds: u32,
    pub(super) check_seconds: u32,
    /// The signed transaction that places the order; empty while it is not signed, and then hash and nonce say nothing.
    pub(super) transaction: Bytes,
    pub(super) hash: B256,
    pub(super) nonce: u64,
    /// The order's number, once it is known.
    pub(super) order: Option<U256>,
    /// Set once every output is in the blob folder.
    pub(super) received: Option<Received>,
    /// Of the sample; drawn once, after the delivery.
    pub(super) seed: Option<B256>,
    /// Set once the check is done and the result's files are on the disk.
    pub(super) checked: Option<Checked>,
    /// What went wrong last.
    pub(super) why: Option<String>,
    /// The person wants no more of it than is done: written down before anything is done about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stopping: bool,
    /// It was to be private, with no checkers that it names: on the chain an order that its customer checks alone, like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) private: bool,
    /// The audit that was ordered, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<AuditTerms>,
    /// A block before the order's commitment.
    #[serde(default)]
    pub(super) since_block: u64,
    /// The unit that is wrong on purpose, if one is: without it nobody can tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) canary: Option<Canary>,
}

/// What of the audit's terms matters later.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuditTerms {
    /// The checkers of a private order.
    pub(super) named: Vec<Address>,
    /// As asked; the window's may be higher.
    pub(super) rate_ppm: u32,
    pub(super) checkers: u8,
    pub(super) bond_wei: U256,
    pub(super) deposit_wei: U256,
    /// What a unit is worth, wei; unknown in orders of older programs, which are all signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit_value_wei: Option<U256>,
}

impl AuditTerms {
    /// What of an audit that is planned anew is worse than this one, or another one altogether; nothing if it is at least this one.
    pub(super) fn worse(&self, now: &Self) -> Option<String> {
        let value = |terms: &Self| terms.unit_value_wei.map_or_else(|| "nothing known".to_owned(), kst);
        if self.unit_value_wei != now.unit_value_wei {
            return Some(format!("a unit was worth {}, now {} (--unit-value)", value(self), value(now)));
        }
        if self.named != now.named {
            return Some("other checkers are named (--name-checker)".to_owned());
        }
        if now.checkers < self.checkers || now.rate_ppm < self.rate_ppm {
            let words = |terms: &Self| format!("{} by {}", percent(terms.rate_ppm), terms.checkers);
            return Some(format!("of the units {} were checked, now {}", words(self), words(now)));
        }
        if now.bond_wei < self.bond_wei {
            return Some(format!("the bond behind it was {}, now {}", kst(self.bond_wei), kst(now.bond_wei)));
        }
        (now.deposit_wei > self.deposit_wei)
            .then(|| format!("the deposit for checks was {}, now {}", kst(self.deposit_wei), kst(now.deposit_wei)))
    }
}

impl From<&Plan> for AuditTerms {
    fn from(plan: &Plan) -> Self {
        Self {
            named: plan.named.clone(),
            rate_ppm: plan.terms.ratePpm,
            checkers: plan.terms.checkers,
            bond_wei: U256::from(plan.terms.bondWei),
            deposit_wei: plan.deposit_wei,
            unit_value_wei: Some(U256::from(plan.value_wei_per_unit)),
        }
    }
}

/// What a delivery holds beside the outputs. Their names are the blob that the result root names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Received {
    pub(super) secret: B256,
    pub(super) result_root: B256,
    /// How many units; none in the files of older programs, which knew no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) units: Option<u32>,
}

/// What a check found, with the numbers that say how much that is worth.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Checked {
    pub(super) finding: Finding,
    /// Of the sample: `accepted`, `rejected`, `inconclusive`.
    pub(super) verdict: String,
    pub(super) units: u32,
    pub(super) sampled: u32,
    pub(super) right: u32,
    pub(super) rate_ppm: u32,
    /// Why it is wrong, if it is.
    pub(super) objection: Option<Objection>,
    /// Which unit is wrong, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wrong: Option<WrongUnit>,
    /// Names of the result's files, unless it is wrong.
    pub(super) files: Vec<String>,
}

/// Where a unit is wrong: what an accusation names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrongUnit {
    pub(super) unit: u32,
    pub(super) segment: u32,
}

/// What a rejection says on the chain.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Objection {
    /// Number of the contract's `Reason`.
    reason: u8,
    pub(super) evidence: B256,
}

impl Objection {
    pub(super) const fn new(reason: Reason, evidence: B256) -> Self {
        Self { reason: reason as u8, evidence }
    }

    pub(super) fn reason(&self) -> Reason {
        Reason::try_from(self.reason).unwrap_or(Reason::Other)
    }
}

impl Checked {
    /// Of what broke the rules so often that there is nothing to check.
    pub(super) fn unread(units: u32, objection: Objection) -> Self {
        Self {
            finding: Finding::Wrong,
            verdict: "rejected".to_owned(),
            units,
            sampled: 0,
            right: 0,
            rate_ppm: 0,
            objection: Some(objection),
            wrong: None,
            files: Vec::new(),
        }
    }

    pub(super) fn new(finding: Finding, report: &Report, objection: Option<Objection>, files: Vec<String>) -> Self {
        let verdict = match report.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Rejected(_) => "rejected",
            Verdict::Inconclusive(_) => "inconclusive",
        };
        let wrong = match report.verdict {
            Verdict::Rejected(Rejection::Unit { unit, segment, .. }) => Some(WrongUnit { unit, segment }),
            _ => None,
        };
        let Report { unit_count: units, sampled, right, rate_ppm, .. } = *report;
        Self { finding, verdict: verdict.to_owned(), units, sampled, right, rate_ppm, objection, wrong, files }
    }
}

/// The folder's order is not the one that this command would go on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mismatch {
    /// Other inputs, parameters or program.
    #[error(
        "the folder's order is of job {stored}, these inputs and parameters make job {asked}: give the inputs and parameters of the \
         order (and the same version of this program) to go on with it, or choose another --out for the new job"
    )]
    Job {
        /// In the folder.
        stored: B256,
        /// Of this command.
        asked: B256,
    },
    /// Another wallet.
    #[error(
        "the folder's order belongs to account {stored}, this wallet is {asked}: name the order's wallet (--dir, --key, --dev-account), \
         or choose another --out"
    )]
    Customer {
        /// In the folder.
        stored: Address,
        /// Of this command.
        asked: Address,
    },
    /// Other money.
    #[error(
        "the folder's order is paid in {}, not in {}: give the same --token to go on with it, or choose another --out",
        paid_in(*stored),
        paid_in(*asked)
    )]
    Token {
        /// In the folder.
        stored: Option<Address>,
        /// Of this command.
        asked: Option<Address>,
    },
    /// Another network.
    #[error(
        "the folder's order is on chain {} with genesis {}, the node is on chain {} with genesis {}: check --rpc, or choose another --out",
        stored.0, stored.1, asked.0, asked.1
    )]
    Chain {
        /// In the folder: chain id and hash of the first block.
        stored: (u64, B256),
        /// Of the node.
        asked: (u64, B256),
    },
}

impl State {
    pub(super) const fn new(identity: Identity, rule: SampleRule, attempt: Attempt) -> Self {
        let rule = Rule { rate_ppm: rule.rate_ppm, units_min: rule.units_min };
        Self { version: VERSION, identity, rule, failed: Vec::new(), attempt }
    }

    /// Reads a file's text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(text).wrap_err("it is damaged")?;
        ensure!(
            version == VERSION,
            "it has version {version}, this program reads {VERSION}: go on with the program that began the order"
        );
        serde_json::from_str(text).wrap_err("it is damaged")
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).wrap_err("the order's state cannot be written down")
    }

    pub(super) const fn rule(&self) -> SampleRule {
        SampleRule { rate_ppm: self.rule.rate_ppm, units_min: self.rule.units_min }
    }

    /// Fails unless a command may go on with this order.
    pub(super) fn belongs_to(&self, asked: &Identity) -> Result<(), Mismatch> {
        let stored = &self.identity;
        let chain = |identity: &Identity| (identity.chain_id, identity.genesis);
        if chain(stored) != chain(asked) {
            return Err(Mismatch::Chain { stored: chain(stored), asked: chain(asked) });
        }
        if stored.customer != asked.customer {
            return Err(Mismatch::Customer { stored: stored.customer, asked: asked.customer });
        }
        if stored.job != asked.job {
            return Err(Mismatch::Job { stored: stored.job, asked: asked.job });
        }
        if stored.token != asked.token {
            return Err(Mismatch::Token { stored: stored.token, asked: asked.token });
        }
        Ok(())
    }

    /// Everybody who got an order of this job, the newest included.
    pub(super) fn tried(&self) -> Vec<Address> {
        self.failed.iter().map(|failed| failed.provider).chain([self.attempt.provider]).collect()
    }
}

impl Attempt {
    /// An order that is neither signed nor sent yet.
    pub(super) fn new(choice: &Choice, terms: &IMarket::Terms, audit: Option<&Plan>) -> Self {
        Self {
            audit: audit.map(AuditTerms::from),
            canary: audit.and_then(|plan| plan.canary).map(|(canary, _)| canary),
            since_block: 0,
            provider: terms.provider,
            endpoint: choice.endpoint.to_string(),
            units: terms.units,
            price_wei_per_unit: U256::from(terms.priceWeiPerUnit),
            lease_seconds: terms.leaseSeconds,
            deliver_seconds: terms.deliverSeconds,
            check_seconds: terms.checkSeconds,
            transaction: Bytes::new(),
            hash: B256::ZERO,
            nonce: 0,
            order: None,
            received: None,
            seed: None,
            checked: None,
            why: None,
            stopping: false,
            private: false,
        }
    }

    /// The same with its transaction.
    pub(super) fn signed(self, signed: Signed) -> Self {
        Self { transaction: signed.raw, hash: signed.hash, nonce: signed.nonce, ..self }
    }

    /// Whether only one transaction can place it.
    pub(super) fn is_signed(&self) -> bool {
        !self.transaction.is_empty()
    }

    /// The provider as [`super::choose`] gave it.
    pub(super) fn choice(&self) -> Result<Choice> {
        let endpoint = self.endpoint.parse().wrap_err("the provider's endpoint in order.json is damaged")?;
        Ok(Choice {
            account: self.provider,
            price_wei_per_unit: self.price_wei_per_unit.saturating_to(),
            endpoint,
            total_wei: self.escrow_wei(),
            deliver_seconds: self.deliver_seconds,
            lines: Vec::new(),
        })
    }

    /// The person wants no more of it than is done. What a check found is said at the end all the same.
    pub(super) fn give_up(&mut self) {
        self.stopping = true;
        if self.checked.is_none() {
            self.why = Some("you stopped it".to_owned());
        }
    }

    /// It ends as if nobody had stopped it: only what a check found is still a reason.
    pub(super) fn forget_stop(&mut self) {
        if self.checked.is_none() {
            self.why = None;
        }
    }

    pub(super) fn escrow_wei(&self) -> U256 {
        self.price_wei_per_unit.saturating_mul(U256::from(self.units))
    }

    /// Paid for checks beforehand, wei.
    pub(super) fn deposit_wei(&self) -> U256 {
        self.audit.as_ref().map_or(U256::ZERO, |audit| audit.deposit_wei)
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::customer::audit::canary::tests::CANARY;

    pub(crate) fn state() -> State {
        let identity = Identity {
            chain_id: 7,
            genesis: B256::repeat_byte(1),
            customer: Address::repeat_byte(2),
            job: B256::repeat_byte(3),
            token: None,
        };
        let attempt = Attempt {
            provider: Address::repeat_byte(4),
            endpoint: "somewhere".to_owned(),
            units: 3,
            price_wei_per_unit: U256::from(u128::MAX),
            lease_seconds: 1,
            deliver_seconds: 2,
            check_seconds: 3,
            transaction: Bytes::from_static(&[2, 1, 0]),
            hash: B256::repeat_byte(5),
            nonce: 9,
            order: None,
            received: None,
            seed: None,
            checked: None,
            why: None,
            stopping: false,
            private: false,
            audit: None,
            since_block: 0,
            canary: None,
        };
        State::new(identity, SampleRule::START, attempt)
    }

    #[test]
    fn a_state_survives_the_disk_at_every_stage() {
        let mut state = state();
        let check = |state: &State| {
            let text = String::from_utf8(state.to_json().unwrap()).unwrap();
            assert_eq!(State::parse(&text).unwrap(), *state);
        };
        check(&state);
        state.attempt.order = Some(U256::from(1));
        state.attempt.received =
            Some(Received { secret: B256::repeat_byte(6), result_root: B256::repeat_byte(7), units: Some(2) });
        check(&state);
        state.attempt.stopping = true;
        check(&state);
        state.attempt.seed = Some(B256::repeat_byte(8));
        let report = Report { verdict: Verdict::Accepted, unit_count: 3, sampled: 2, right: 2, rate_ppm: 30_000 };
        let objection = Objection::new(Reason::Malformed, B256::repeat_byte(9));
        state.attempt.checked = Some(Checked::new(Finding::Wrong, &report, Some(objection), vec!["a.tsv".to_owned()]));
        check(&state);
        let (order, provider) = (U256::from(1), Address::repeat_byte(4));
        state.failed.push(Failed { order, provider, status: "declined".to_owned(), why: "no".to_owned() });
        check(&state);
        assert_eq!(state.tried(), [provider, provider]);
        let (bond_wei, deposit_wei) = (U256::from(7), U256::from(u128::MAX));
        let unit_value_wei = Some(U256::from(9));
        let named = vec![provider];
        state.attempt.audit =
            Some(AuditTerms { named, rate_ppm: 30_000, checkers: 2, bond_wei, deposit_wei, unit_value_wei });
        state.attempt.since_block = 77;
        check(&state);
        state.attempt.canary = Some(CANARY);
        check(&state);
        state.attempt.canary = Some(Canary { delivered: Some(false), ..CANARY });
        check(&state);
        assert_eq!(state.attempt.deposit_wei(), U256::from(u128::MAX));
        // Of an order in a token, before it is approved.
        state.identity.token = Some(Address::repeat_byte(7));
        assert!(state.attempt.is_signed());
        state.attempt.transaction = Bytes::new();
        assert!(!state.attempt.is_signed());
        check(&state);
        assert_eq!(objection.reason(), Reason::Malformed);
    }

    #[test]
    fn who_stops_too_late_still_reads_what_the_check_found() {
        let mut attempt = state().attempt;
        attempt.why = Some("the provider is busy".to_owned());
        attempt.give_up();
        assert_eq!((attempt.stopping, attempt.why.as_deref()), (true, Some("you stopped it")));
        attempt.forget_stop();
        assert_eq!((attempt.stopping, attempt.why.as_deref()), (true, None));
        attempt.checked = Some(Checked::unread(3, Objection::new(Reason::WrongResult, B256::repeat_byte(9))));
        attempt.why = Some("unit 2 is wrong".to_owned());
        attempt.give_up();
        attempt.forget_stop();
        assert_eq!(attempt.why.as_deref(), Some("unit 2 is wrong"));
    }

    #[test]
    fn an_audit_that_is_planned_anew_is_taken_only_if_nothing_of_it_is_worse() {
        let of = |wei: u64| U256::from(wei);
        let agreed = AuditTerms {
            named: Vec::new(),
            rate_ppm: 30_000,
            checkers: 2,
            bond_wei: of(100),
            deposit_wei: of(50),
            unit_value_wei: Some(of(7)),
        };
        assert_eq!(agreed.worse(&agreed), None);
        let stronger = AuditTerms { rate_ppm: 40_000, checkers: 3, bond_wei: of(200), ..agreed.clone() };
        assert_eq!(agreed.worse(&stronger), None);
        let named = vec![Address::repeat_byte(1)];
        for (worse, word) in [
            (AuditTerms { unit_value_wei: Some(of(6)), ..agreed.clone() }, "--unit-value"),
            (AuditTerms { unit_value_wei: None, ..agreed.clone() }, "--unit-value"),
            (AuditTerms { named, ..agreed.clone() }, "--name-checker"),
            (AuditTerms { rate_ppm: 29_999, ..agreed.clone() }, "checked"),
            (AuditTerms { checkers: 1, ..agreed.clone() }, "checked"),
            (AuditTerms { bond_wei: of(99), ..agreed.clone() }, "bond"),
            (AuditTerms { deposit_wei: of(51), ..agreed.clone() }, "deposit"),
        ] {
            let said = agreed.worse(&worse).unwrap();
            assert!(said.contains(word), "no {word} in: {said}");
        }
    }

    #[test]
    fn another_version_and_damage_are_named() {
        let text = String::from_utf8(state().to_json().unwrap()).unwrap();
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        assert!(State::parse(&newer).unwrap_err().to_string().contains("version 2"));
        assert!(State::parse(&text[..text.len() / 2]).unwrap_err().to_string().contains("damaged"));
        // What older programs wrote knows of no stop and no part.
        assert!(!text.contains("stopping"));
        let older = text.replace(
            "\"received\": null",
            &format!("\"received\": {{\"secret\": \"{0}\", \"resultRoot\": \"{0}\"}}", B256::repeat_byte(6)),
        );
        assert_eq!(State::parse(&older).unwrap().attempt.received.unwrap().units, None);
        let unknown = text.replace("\"failed\"", "\"other\"");
        assert!(State::parse(&unknown).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn only_the_same_job_by_the_same_customer_on_the_same_chain_goes_on() {
        let state = state();
        let same = state.identity;
        state.belongs_to(&same).unwrap();
        let says = |other: Identity, words: &[&str]| {
            let said = state.belongs_to(&other).unwrap_err().to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        };
        let (old, new) = (format!("{:?}", same.job), format!("{:?}", B256::repeat_byte(9)));
        says(Identity { job: B256::repeat_byte(9), ..same }, &[&old, &new, "--out"]);
        says(Identity { customer: Address::repeat_byte(9), ..same }, &["--dev-account"]);
        says(Identity { chain_id: 8, ..same }, &["chain 7", "chain 8", "--rpc"]);
        says(Identity { genesis: B256::repeat_byte(9), ..same }, &["--rpc"]);
        let token = Address::repeat_byte(7);
        says(Identity { token: Some(token), ..same }, &["paid in KST", &token.to_string(), "--token"]);
    }
}
