// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DRAW_BLOCKS, PANEL_ROUND, REDRAW_BLOCKS, SECOND_CHECKERS} from "./AuditParameters.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Draw} from "./Draw.sol";
import {BEACON_ADDRESS, BOND_ADDRESS} from "./Genesis.sol";
import {IAuditTypes} from "./IAuditTypes.sol";
import {IBeacon} from "./IBeacon.sol";
import {IBond} from "./IBond.sol";

/// @title What the audit stores
/// @dev The base of `Audit`, `Referee` and `Panels`, which work on the same storage: layout, draws, times.
/// Spec: specs/0008-audit.md, sections 3, 5 and 6.
abstract contract AuditStore is IAuditTypes {
    using SafeCast for uint256;

    IBond internal constant BOND = IBond(BOND_ADDRESS);
    IBeacon internal constant BEACON = IBeacon(BEACON_ADDRESS);

    uint8 internal constant EXACT = 1;
    uint8 internal constant TOLERANCE = 3;

    /// @dev Slot 0: the windows.
    mapping(bytes32 windowId => Window) internal _windows;

    /// @dev Slot 1: the units that are or were looked at.
    mapping(bytes32 windowId => mapping(uint256 unit => Case)) internal _cases;

    /// @dev Slot 2: the draws, by `_roundKey`.
    mapping(bytes32 windowId => mapping(uint256 key => Round)) internal _rounds;

    /// @dev Slot 3: the checks, by `_checkKey`.
    mapping(bytes32 windowId => mapping(uint256 key => Check)) internal _checks;

    /// @dev Slot 4: what each account can withdraw.
    mapping(address account => uint256) internal _credits;

    /// @dev Slot 5: units of closed windows since the last fault, as `verifiedCount` says.
    mapping(address provider => mapping(uint256 class => uint256)) internal _verified;

    /// @dev Slot 6: how often a customer withheld an input.
    mapping(address customer => uint256) internal _withheld;

    /// @dev Slot 7: searches for the wrong segment.
    mapping(bytes32 windowId => mapping(uint256 unit => Search)) internal _searches;

    /// @dev Slot 8: the panels, by `_roundKey`.
    mapping(bytes32 windowId => mapping(uint256 key => Panel)) internal _panels;

    /// @dev Slot 9: the ballots, by panel and account.
    mapping(bytes32 windowId => mapping(uint256 key => mapping(address account => Ballot))) internal _ballots;

    /// @dev Slot 10: what stands behind each value, by panel and value.
    mapping(bytes32 windowId => mapping(uint256 key => mapping(bytes32 value => Support))) internal _support;

    /// @dev Slot 11: addresses that a customer handed over for a unit without a question.
    mapping(bytes32 windowId => mapping(uint256 unit => uint8)) internal _handed;

    function _feeWei(uint128 priceWeiPerUnit, uint32 feePpm) internal pure returns (uint256) {
        return uint256(priceWeiPerUnit) * feePpm / Draw.PPM;
    }

    /// @dev How many checkers round 0 or 1 has.
    function _wanted(Window storage w, uint8 round) internal view returns (uint256) {
        return round == 0 ? w.checkers : SECOND_CHECKERS;
    }

    /// @dev Round 0 is drawn once for all units, a later one for its unit alone.
    function _roundKey(uint32 unit, uint8 round) internal pure returns (uint256) {
        return round == 0 ? 0 : (uint256(unit) << 8) | round;
    }

    function _round(bytes32 id, uint32 unit, uint8 round) internal view returns (Round storage) {
        return _rounds[id][_roundKey(unit, round)];
    }

    /// @dev Slots of the panel that a round is: 31, 63, 127.
    function _panelSlots(uint8 round) internal pure returns (uint256) {
        return (uint256(1) << (round + 3)) - 1;
    }

    function _checkKey(uint32 unit, uint8 round, uint8 j) internal pure returns (uint256) {
        return (uint256(unit) << 16) | (uint256(round) << 8) | j;
    }

    /// @dev The 16 bits of a round in a mask of slots.
    function _slots(uint32 mask, uint8 round) internal pure returns (uint16) {
        // LOSSY: 16 bits are meant.
        return uint16(mask >> (16 * round));
    }

    function _bit(uint8 round, uint8 j) internal pure returns (uint32) {
        return uint32(1) << (16 * round + j);
    }

    function _seed(bytes32 id, uint32 unit, uint8 round) internal view returns (bytes32) {
        Round storage d = _round(id, unit, round);
        if (d.drawnAt == 0) revert NotDrawnYet(id, d.drawHeight);
        return Draw.seed(d.randomness, id, round);
    }

    function _isDrawn(bytes32 id, uint32 unit) internal view returns (bool) {
        return Draw.isDrawn(_seed(id, unit, 0), unit, _windows[id].ratePpm);
    }

    function _drawnSegment(bytes32 id, uint32 unit) internal view returns (uint32) {
        uint32 segments = _windows[id].segments;
        return segments == 1 ? 0 : Draw.segment(_seed(id, unit, 0), unit, segments);
    }

    /// @dev All zero while the round is not drawn.
    function _times(bytes32 id, uint32 unit, uint8 round)
        internal
        view
        returns (uint256 checkBy, uint256 openBy, uint256 revealBy)
    {
        uint256 drawnAt = _round(id, unit, round).drawnAt;
        if (drawnAt == 0) return (0, 0, 0);
        Window storage w = _windows[id];
        uint256 checkSeconds = w.checkSeconds;
        checkBy = drawnAt + checkSeconds;
        if (round == 0 && _cases[id][unit].extended) checkBy += checkSeconds / 2;
        openBy = checkBy + w.revealSeconds / 2;
        revealBy = checkBy + w.revealSeconds;
    }

    function _openWindow(bytes32 id) internal view returns (Window storage w) {
        w = _windows[id];
        if (w.status != Status.Open) revert WrongStatus(id, w.status);
    }

    function _checking(bytes32 id, uint32 unit) internal view returns (Case storage c) {
        c = _cases[id][unit];
        if (c.stage != Stage.Checking) revert WrongStage(id, unit, c.stage);
    }

    function _pay(address account, uint256 amountWei) internal {
        _credits[account] += amountWei;
        emit Credited(account, amountWei);
    }

    function _count(uint16 slots) internal pure returns (uint256 count) {
        for (; slots != 0; slots &= slots - 1) {
            ++count;
        }
    }

    function _beginRound(bytes32 id, uint32 unit, uint8 round) internal {
        (uint32 epoch, uint32 places) = BOND.placesNow();
        uint40 height = (block.number + DRAW_BLOCKS).toUint40();
        Round storage d = _round(id, unit, round);
        d.drawHeight = height;
        d.epoch = epoch;
        d.places = places;
    }

    function _beginCase(Window storage w, Case storage c, uint32 segment) internal {
        c.stage = Stage.Checking;
        c.segment = segment;
        ++w.pending;
    }

    /// @dev Takes the randomness when it is first needed. Reverts while it is not known.
    function _touch(bytes32 id, uint32 unit, uint8 round) internal {
        Round storage d = _round(id, unit, round);
        uint256 height = d.drawHeight;
        if (d.drawnAt != 0) return;
        if (height == 0) revert WrongRound(id, unit, round);
        if (BEACON.has(height)) {
            bytes32 randomness = BEACON.randomness(height);
            d.randomness = randomness;
            d.drawnAt = block.timestamp.toUint40();
            emit Drawn(id, unit, round, randomness);
        } else if (block.number > height + REDRAW_BLOCKS) {
            d.drawHeight = (block.number + DRAW_BLOCKS).toUint40();
            emit Redrawn(id, unit, round, d.drawHeight);
        } else {
            revert NotDrawnYet(id, height);
        }
    }

    /// @dev Class exact: the contract compares, unless it could not be run. Other classes: the finding is about what the
    /// provider opened, and only a tolerance can be missed without a wrong result.
    function _requireFinding(bytes32 id, uint32 unit, Window storage w, Case storage c, Finding finding) internal view {
        bool given = finding != Finding.Compare;
        bool refused = w.class == EXACT ? given && finding != Finding.Inconclusive : !given || !c.opened;
        if (refused || (finding == Finding.Unpaid && w.class != TOLERANCE)) revert FindingRefused(id, unit, finding);
    }

    function _requireReveal(bytes32 id, uint32 unit, uint8 round) internal view {
        (uint256 checkBy,, uint256 revealBy) = _times(id, unit, round);
        if (block.timestamp <= checkBy) revert TooEarly(checkBy, block.timestamp);
        if (block.timestamp > revealBy) revert TooLate(revealBy, block.timestamp);
    }

    /// @dev Sets a fee aside: from a party's bond on a panel if there is one, else from the budget.
    function _reserveFee(bytes32 id, Window storage w, Case storage c, uint8 round) internal {
        uint128 feeWei = w.feeWei;
        if (round >= PANEL_ROUND && c.party != address(0)) {
            if (c.partyWei < feeWei) revert BudgetSpent(id, c.partyWei, feeWei);
            c.partyWei -= uint256(feeWei).toUint96();
            return;
        }
        if (w.budgetWei < feeWei) revert BudgetSpent(id, w.budgetWei, feeWei);
        w.budgetWei -= feeWei;
    }

    function _checkAt(bytes32 id, uint32 unit, uint8 round, uint8 j) internal view returns (Check storage) {
        return _checks[id][_checkKey(unit, round, j)];
    }
}
