// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// The constants of the audit. Spec: specs/0008-audit.md, section 3, which says why.

uint32 constant RATE_PPM_MIN = 30_000;
uint32 constant FEE_PPM_MIN = 250_000;
uint32 constant FEE_PPM_MAX = 2_000_000;
uint8 constant CHECKERS_MAX = 5;
uint32 constant PHASE_SECONDS_MIN = 10;
uint32 constant PHASE_SECONDS_MAX = 1 days;
uint256 constant BOND_UNITS_MIN = 100;
uint256 constant PROBATION_UNITS = 10;
uint256 constant DRAW_BLOCKS = 2;
uint32 constant UNITS_MAX = 65_536;
uint32 constant SEGMENTS_MAX = 65_536;
uint8 constant SLOTS = 16;
uint8 constant SECOND_CHECKERS = 2;
/// @dev Bounds of the time to appeal.
uint32 constant APPEAL_SECONDS_MIN = 60;
uint32 constant APPEAL_SECONDS_MAX = 1 days;
/// @dev Rounds 2, 3 and 4 are panels of 31, 63 and 127 slots: `2^(round + 3) - 1`.
uint8 constant PANEL_ROUND = 2;
uint8 constant LAST_ROUND = 4;
/// @dev Fees that an accusation or an appeal puts down: one for each slot of the first panel.
uint256 constant PANEL_FEES = 31;
/// @dev Places looked at for one slot of a panel: the first that holds a seat which may vote.
uint8 constant PLACES_TRIED = 8;
/// @dev Most slots that one call commits.
uint256 constant BALLOT_SLOTS_MAX = 32;
/// @dev Checks that a deposit pays beyond 1.5 times those expected: one whole dispute up to its first panel.
uint256 constant CHECKS_EXTRA = 40;
/// @dev Time for each step of a search.
uint40 constant BISECT_SECONDS = 10 minutes;
/// @dev Halving 65,536 segments takes 16 questions; one more for the output.
uint8 constant ASKS_MAX = 17;
uint256 constant NAMED_MAX = 4;
uint256 constant KEY_BYTES_MAX = 128;
/// @dev Addresses that the customer may hand over for one unit without a question: one a round, and some for a node that began anew.
uint8 constant HANDED_MAX = 8;
/// @dev Fees of a canary's finder.
uint256 constant CANARY_FEES = 10;
/// @dev Stands for a segment that is not named yet.
uint32 constant SEEKING = type(uint32).max;
/// @dev What the beacon keeps (specs/0007-beacon.md, section 5): a draw that nobody used by then draws again.
uint256 constant REDRAW_BLOCKS = 8192;
