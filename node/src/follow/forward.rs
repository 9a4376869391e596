//! Passes transactions on to the sources, and keeps them to show what is pending.

use super::source::{Fault, Sources};
use crate::chain::Submissions;
use alloy_eips::Encodable2718 as _;
use keystead_rpc::{Submit, SubmitError};
use keystead_types::{B256, Bytes, Recovered};
use std::time::Duration;
use tokio::{runtime::Handle, sync::watch};

/// How long one source may take to answer: it checks a signature and looks at its pool.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Sources that are tried before the sender is told that there is none.
const TRIES_MAX: usize = 3;

/// Takes transactions on behalf of the sources. The caller gets the answer of the first source that gives one.
pub(crate) struct Forwarder {
    sources: Sources,
    kept: Submissions,
    runtime: Handle,
}

impl Forwarder {
    /// Forwards on `runtime`, and keeps what was taken in `kept`.
    pub(crate) const fn new(sources: Sources, kept: Submissions, runtime: Handle) -> Self {
        Self { sources, kept, runtime }
    }

    async fn send(&self, raw: &Bytes, want: B256) -> Result<(), SubmitError> {
        let mut last = "no source".to_owned();
        for (index, source) in self.sources.ranked().into_iter().take(TRIES_MAX) {
            let fault = match source.send(raw, SEND_TIMEOUT).await {
                Ok(got) if got == want => return Ok(()),
                Ok(got) => Fault::OtherHash { got, want },
                // The source's word: no other is asked, as the same transaction may be on its way already.
                Err(Fault::Refused { code, message }) => {
                    let code = i32::try_from(code).unwrap_or(i32::MIN);
                    return Err(SubmitError::Forwarded { code, message });
                }
                Err(fault) => fault,
            };
            last = fault.to_string();
            self.sources.blame(index, &fault);
        }
        Err(SubmitError::Unavailable(format!("no source took it: {last}")))
    }
}

impl Submit for Forwarder {
    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let (raw, hash) = (Bytes::from(transaction.encoded_2718()), *transaction.tx_hash());
        self.runtime.block_on(self.send(&raw, hash))?;
        if let Err(refused) = self.kept.keep(transaction) {
            // It may be in a block already, or wait for one that this node does not have yet.
            tracing::debug!(%hash, %refused, "forwarded, and not shown as pending");
        }
        Ok(hash)
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.kept.arrivals()
    }
}
