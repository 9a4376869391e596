//! An accuser that others contradicted: runs once more what it ran, and puts the unit before the referees only if it is still sure.
//!
//! # Invariants
//! - Nobody appeals on one run: a machine that gives another answer now lets it be, and loses what its first answer cost.
//! - The second run needs nobody: it begins from what came for the first. The provider that is accused, and liars who cleared it, would give nothing.

use super::{
    agent::Agent,
    course::{Course, Look, errand},
    record::Record,
    step::MARGIN_SECONDS,
    work::Unready,
};
use crate::compute::windows::{Case, Finding, Which};
use eyre::Result;

impl Record {
    /// Whether what is revealed says that the provider's opened value is wrong.
    pub(super) fn says_wrong(&self, exact: bool, case: &Case) -> bool {
        let prepared = self.prepared.filter(|prepared| !prepared.nothing && case.opened);
        if exact {
            return prepared.is_some_and(|prepared| prepared.own != case.value);
        }
        prepared.is_some() && self.judged == Some(Finding::Wrong)
    }
}

impl Course {
    /// Appeals, or notes that this machine does not say the same any more.
    pub(super) async fn appeal(&self, agent: &Agent, look: &Look) -> Result<()> {
        let Which { window, unit, .. } = self.which;
        // What came out twice is not run a third time because the transaction did not come in a block.
        if !self.is_sure() {
            match self.again(agent, look).await {
                Ok(true) => self.sure(),
                Ok(false) | Err(Unready::Unfit(_)) => {
                    tracing::warn!(%window, unit, "cleared by others, and this machine is not sure any more: no appeal");
                    self.yields();
                    return Ok(());
                }
                Err(unready) => return self.unready(unready).await,
            }
        }
        let appealed = agent.windows.appeal(&look.window, unit).await;
        appealed.inspect_err(|error| {
            let error = format!("{error:#}");
            tracing::warn!(%window, unit, error, "cleared by others, and no appeal is made yet: trying again");
        })?;
        tracing::warn!(%window, unit, "cleared by others, wrong here again: appealed, the referees decide");
        Ok(())
    }

    /// Whether this machine says once more that the unit is wrong.
    async fn again(&self, agent: &Agent, look: &Look) -> Result<bool, Unready> {
        let record = self.record();
        let left = look.sight.appeal_by.saturating_sub(look.now).saturating_sub(MARGIN_SECONDS);
        let errand = errand(agent, &record, look, left);
        if look.kind.exact {
            let own = errand.prepare().await?;
            return Ok(own.is_some() && own == record.prepared.map(|prepared| prepared.own));
        }
        Ok(errand.judge().await? == Finding::Wrong)
    }
}
