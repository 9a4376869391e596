//! The customer's loop: asks the chain where the order stands, does the next step, until it is over.

use super::{
    check::check,
    plan::Prepared,
    result,
    show::Show,
    talk::{Arrived, Broken, Line},
};
use crate::compute::{
    lifecycle::{CustomerStep, Finding, Known, customer_step},
    market::{Market, Order},
};
use alloy_primitives::{B256, U256, keccak256};
use eyre::{Result, eyre};
use keystead_audit::{Rejection, Report, SampleRule, Verdict};
use keystead_contracts::storage::{Reason, Status};
use keystead_recipes::ResultFile;
use std::time::Duration;
use tokio::time::sleep;

/// How often the chain is asked.
const POLL: Duration = Duration::from_millis(300);
/// How long after a failed call or conversation it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// So often a delivery may arrive damaged before it is rejected.
const MALFORMED_MAX: u32 = 3;

/// How it ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) order: Order,
    /// A block at which the order stands as in `order`.
    pub(super) block: u64,
    pub(super) report: Option<Report>,
    /// The recipe's files, if the outputs arrived and could be read.
    pub(super) files: Vec<ResultFile>,
    /// Why it went wrong, if it did.
    pub(super) why: Option<String>,
}

/// One order under way.
#[derive(Debug)]
pub(super) struct Following<'a> {
    pub(super) market: &'a Market,
    pub(super) order: U256,
    pub(super) prepared: &'a Prepared,
    pub(super) rule: SampleRule,
    pub(super) line: Line,
    known: Known,
    arrived: Option<Arrived>,
    report: Option<Report>,
    files: Vec<ResultFile>,
    objection: Option<(Reason, B256)>,
    malformed: u32,
    why: Option<String>,
}

impl<'a> Following<'a> {
    pub(super) fn new(market: &'a Market, order: U256, prepared: &'a Prepared, rule: SampleRule, line: Line) -> Self {
        let known = Known::default();
        let (arrived, report, files, objection, why) = (None, None, Vec::new(), None, None);
        Self { market, order, prepared, rule, line, known, arrived, report, files, objection, malformed: 0, why }
    }

    /// The customer no longer wants it: cancels what can be cancelled.
    pub(super) fn give_up(&mut self) {
        self.known.hopeless = true;
        self.why.get_or_insert_with(|| "you stopped it".to_owned());
    }

    /// Runs to the end. May be dropped and called again.
    pub(super) async fn run(&mut self, show: &mut Show) -> Result<End> {
        loop {
            match self.advance(show).await {
                Ok(Some((order, block))) => {
                    let (report, files, why) = (self.report.take(), std::mem::take(&mut self.files), self.why.take());
                    return Ok(End { order, block, report, files, why });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn step(&self) -> Result<(CustomerStep, Order, u64)> {
        // In this sequence, so that the block is not older than what is known of the order.
        let order = self.market.order(self.order).await?;
        let (block, now) = self.market.account.head().await?;
        Ok((customer_step(&order.stand, self.known, now), order, block))
    }

    async fn advance(&mut self, show: &mut Show) -> Result<Option<(Order, u64)>> {
        let (step, order, block) = self.step().await?;
        match step {
            CustomerStep::Converse => self.converse(&order, show).await,
            CustomerStep::AwaitRecord | CustomerStep::AwaitEnd => sleep(POLL).await,
            CustomerStep::Check => self.check(&order, show).await?,
            CustomerStep::Accept => drop(self.market.accept(order.id).await?),
            CustomerStep::Reject => {
                let (reason, evidence) = self.objection.ok_or_else(|| eyre!("a rejection without evidence"))?;
                drop(self.market.reject(order.id, reason, evidence).await?);
            }
            CustomerStep::RejectNotReceived => {
                self.why = Some(format!("the provider announced a delivery that did not arrive{}", self.last_words()));
                let evidence = keccak256(self.why.as_deref().unwrap_or_default());
                drop(self.market.reject(order.id, Reason::NotReceived, evidence).await?);
            }
            CustomerStep::Cancel => drop(self.market.cancel(order.id).await?),
            CustomerStep::Expire => {
                self.why.get_or_insert_with(|| "the provider missed its deadline".to_owned());
                drop(self.market.expire(order.id).await?);
            }
            CustomerStep::LeaveOpen | CustomerStep::Close => return Ok(Some((order, block))),
        }
        Ok(None)
    }

    fn last_words(&self) -> String {
        self.why.as_ref().map_or_else(String::new, |why| format!("; last: {why}"))
    }

    /// Talks to the provider, but no longer than the chain's state allows.
    async fn converse(&mut self, order: &Order, show: &mut Show) {
        let outcome = tokio::select! {
            outcome = self.line.converse(&self.prepared.spec, show) => outcome,
            () = self.until_converse_is_over() => return,
        };
        match outcome {
            Ok(arrived) => {
                self.known.received = true;
                self.arrived = Some(arrived);
                self.why = None;
            }
            Err(Broken::ForNow(why)) => {
                tracing::debug!(order = %order.id, why, "trying again");
                self.why = Some(why);
                sleep(RETRY).await;
                if let Ok(endpoint) = self.market.endpoint_of(self.line.provider()).await {
                    self.line.redirect(&endpoint);
                }
            }
            Err(Broken::ForGood(why)) => {
                show.say(&format!("The provider will not deliver: {why}"));
                self.why = Some(why);
                self.known.hopeless = true;
            }
            Err(Broken::Malformed(why)) => {
                tracing::warn!(order = %order.id, why, "the provider broke the rules");
                // What comes before the delivery is on the chain may still be made good.
                self.malformed = self.malformed.saturating_add(u32::from(order.status() == Status::Delivered));
                if self.malformed >= MALFORMED_MAX {
                    show.say(&format!("The provider sends what cannot be the result: {why}"));
                    self.objection = Some((Reason::Malformed, keccak256(&why)));
                    self.known.finding = Some(Finding::Wrong);
                }
                self.why = Some(why);
                sleep(RETRY).await;
            }
        }
    }

    async fn until_converse_is_over(&self) {
        loop {
            sleep(POLL).await;
            match self.step().await {
                Ok((CustomerStep::Converse, ..)) => {}
                Ok(_) => return,
                Err(error) => tracing::debug!(error = format!("{error:#}"), "cannot ask the chain"),
            }
        }
    }

    /// Everything that can be checked: the chain's record, the sample, and whether the recipe can read the outputs.
    async fn check(&mut self, order: &Order, show: &mut Show) -> Result<()> {
        let arrived = self.arrived.as_ref().ok_or_else(|| eyre!("a check without outputs"))?;
        let report = check(self.prepared, order, arrived, self.rule, show).await?;
        let (finding, objection) = if arrived.result_root == order.result_root {
            judged(&report.verdict)
        } else {
            let words = format!(
                "the chain's result root is another: got={} expected={}",
                arrived.result_root, order.result_root
            );
            (Finding::Wrong, Some((Reason::CommitmentMismatch, words)))
        };
        self.report = Some(report);
        let outputs = result::outputs(self.prepared, arrived, &*self.line.store)?;
        let (finding, objection) = match result::assemble(self.prepared, &outputs) {
            Ok(files) => {
                self.files = files;
                (finding, objection)
            }
            // What the program cannot have written is wrong, whatever the sample says.
            Err(error) => (Finding::Wrong, objection.or_else(|| Some((Reason::Malformed, error.to_string())))),
        };
        if let Some((reason, words)) = objection {
            self.objection = Some((reason, keccak256(&words)));
            self.why = Some(words);
        }
        if finding == Finding::Unknown
            && let Some(Report { verdict: Verdict::Inconclusive(why), .. }) = &self.report
        {
            self.why = Some(why.to_string());
        }
        self.known.finding = Some(finding);
        Ok(())
    }
}

/// What a verdict means, with the reason and the words of a rejection.
fn judged(verdict: &Verdict) -> (Finding, Option<(Reason, String)>) {
    match verdict {
        Verdict::Accepted => (Finding::Right, None),
        Verdict::Inconclusive(_) => (Finding::Unknown, None),
        Verdict::Rejected(rejection) => {
            let reason = match rejection {
                Rejection::Commitment { .. } => Reason::CommitmentMismatch,
                Rejection::OutputCount { .. } => Reason::Malformed,
                Rejection::Unit { .. } | Rejection::UnitHasNoOutput { .. } => Reason::WrongResult,
            };
            (Finding::Wrong, Some((reason, rejection.to_string())))
        }
    }
}
