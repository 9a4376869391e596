//! What a standstill of this process does not mean: that its customer was away, or did not pay.

use super::Actor;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks around there is less, unless the process stood still or its node did not answer.
const GAP_MAX: Duration = Duration::from_secs(5);

impl Actor {
    /// Time that this process did not see is nobody's.
    pub(super) fn look_for_a_standstill(&mut self) {
        let gap = self.looked.elapsed().saturating_sub(GAP_MAX);
        self.looked = Instant::now();
        if !gap.is_zero() {
            self.absent_since = self.absent_since.checked_add(gap).unwrap_or(self.absent_since);
            self.held.stood_still(gap);
        }
    }
}
