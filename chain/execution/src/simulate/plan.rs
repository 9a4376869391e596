//! Which blocks a simulation has: numbers and times, and the empty blocks between those that were asked for.

use super::{BlockRequest, HeaderStyle, SIMULATED_BLOCKS_MAX, SimulateError};
use alloy_consensus::Header;

/// A block with its place.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) number: u64,
    pub(super) time: u64,
    pub(super) request: BlockRequest,
}

impl HeaderStyle {
    /// Seconds from one block to the next.
    const fn step(self) -> u64 {
        match self {
            Self::Keystead => 1,
            Self::Ethereum => 12,
        }
    }
}

/// The blocks in order, without gaps, after `base`.
pub(super) fn plan(
    base: &Header,
    requests: Vec<BlockRequest>,
    style: HeaderStyle,
) -> Result<Vec<Planned>, SimulateError> {
    if requests.is_empty() {
        return Err(SimulateError::Empty);
    }
    let too_many = || SimulateError::TooManyBlocks { max: SIMULATED_BLOCKS_MAX };
    if requests.len() as u64 > SIMULATED_BLOCKS_MAX {
        return Err(too_many());
    }
    let (mut number, mut time) = (base.number, base.timestamp);
    let mut planned = Vec::new();
    for request in requests {
        let wanted = match request.overrides.block.number {
            Some(wanted) => u64::try_from(wanted).map_err(|_| too_many())?,
            None => number.saturating_add(1),
        };
        if wanted <= number {
            return Err(SimulateError::NumberOrder { number: wanted, before: number });
        }
        if wanted.saturating_sub(base.number) > SIMULATED_BLOCKS_MAX {
            return Err(too_many());
        }
        while number.saturating_add(1) < wanted {
            number = number.saturating_add(1);
            time = time.saturating_add(style.step());
            planned.push(Planned { number, time, request: BlockRequest::default() });
        }
        let before = time;
        time = request.overrides.block.time.unwrap_or_else(|| before.saturating_add(style.step()));
        if time <= before {
            return Err(SimulateError::TimeOrder { time, before });
        }
        number = wanted;
        planned.push(Planned { number, time, request });
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use alloy_primitives::U256;

    fn block(number: Option<u64>, time: Option<u64>) -> BlockRequest {
        let mut request = BlockRequest::default();
        request.overrides.block.number = number.map(U256::from);
        request.overrides.block.time = time;
        request
    }

    fn planned(blocks: &[(Option<u64>, Option<u64>)]) -> Result<Vec<(u64, u64)>, SimulateError> {
        let base = Header { number: 54, timestamp: 540, ..Header::default() };
        let requests = blocks.iter().map(|(number, time)| block(*number, *time)).collect();
        let plan = plan(&base, requests, HeaderStyle::Ethereum)?;
        Ok(plan.into_iter().map(|block| (block.number, block.time)).collect())
    }

    #[test]
    fn blocks_follow_each_other_and_gaps_are_filled() {
        assert_eq!(
            planned(&[(None, None), (None, Some(1_000)), (None, None)]).unwrap(),
            [(55, 552), (56, 1_000), (57, 1_012)]
        );
        assert_eq!(planned(&[(Some(57), None)]).unwrap(), [(55, 552), (56, 564), (57, 576)]);
    }

    #[test]
    fn numbers_and_times_must_rise() {
        assert!(matches!(planned(&[(Some(54), None)]), Err(SimulateError::NumberOrder { number: 54, before: 54 })));
        assert!(planned(&[(None, Some(541))]).is_ok());
        assert!(matches!(planned(&[(None, Some(540))]), Err(SimulateError::TimeOrder { time: 540, before: 540 })));
        // The filled gap has times of its own.
        assert!(matches!(planned(&[(Some(57), Some(563))]), Err(SimulateError::TimeOrder { time: 563, before: 564 })));
    }

    #[test]
    fn the_last_block_allowed_is_the_256th() {
        assert_eq!(planned(&[(Some(54 + 256), None)]).unwrap().len(), 256);
        assert!(matches!(planned(&[(Some(54 + 257), None)]), Err(SimulateError::TooManyBlocks { max: 256 })));
        assert!(matches!(planned(&[(Some(u64::MAX), None)]), Err(SimulateError::TooManyBlocks { .. })));
        let mut huge = BlockRequest::default();
        huge.overrides.block.number = Some(U256::MAX);
        let huge = plan(&Header::default(), vec![huge], HeaderStyle::Ethereum);
        assert!(matches!(huge, Err(SimulateError::TooManyBlocks { .. })));
        assert!(planned(&vec![(None, None); 256]).is_ok());
        assert!(matches!(planned(&vec![(None, None); 257]), Err(SimulateError::TooManyBlocks { .. })));
        assert!(matches!(planned(&[]), Err(SimulateError::Empty)));
    }
}
