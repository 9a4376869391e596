//! An accuser that others contradicted: runs once more what it ran, and puts the unit before the referees only if it is still sure.
//!
//! # Invariants
//! Nobody appeals on one run: a machine that gives another answer now lets it be, and loses what its first answer cost.

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
        let record = self.record();
        let left = look.sight.appeal_by.saturating_sub(look.now).saturating_sub(MARGIN_SECONDS);
        let errand = errand(agent, &record, look, left);
        let again = if look.kind.exact {
            let own = errand.prepare().await;
            own.map(|own| own.is_some() && own == record.prepared.map(|prepared| prepared.own))
        } else {
            errand.judge().await.map(|finding| finding == Finding::Wrong)
        };
        let Which { window, unit, .. } = self.which;
        match again {
            Ok(true) => {
                agent.windows.appeal(&look.window, unit).await?;
                tracing::warn!(%window, unit, "cleared by others, wrong here again: appealed, the referees decide");
                Ok(())
            }
            Ok(false) | Err(Unready::Unfit(_)) => {
                tracing::warn!(%window, unit, "cleared by others, and this machine is not sure any more: no appeal");
                self.yields();
                Ok(())
            }
            Err(unready) => self.unready(unready).await,
        }
    }
}
