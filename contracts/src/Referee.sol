// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {
    ASKS_MAX,
    BISECT_SECONDS,
    HANDED_MAX,
    KEY_BYTES_MAX,
    PANEL_FEES,
    PANEL_ROUND,
    SEEKING,
    SLOTS
} from "./AuditParameters.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AuditRounds} from "./AuditRounds.sol";
import {Commitment} from "./Commitment.sol";
import {PANELS_ADDRESS} from "./Genesis.sol";
import {IReferee} from "./IReferee.sol";

/// @title The referee
/// @notice See `IReferee`.
/// @dev Runs by `delegatecall` from `Audit` alone, and hands what it does not know to `Panels`. At its own address every window is unknown, so that nothing can be
/// done there, and value sent there comes back with the refusal.
contract Referee is AuditRounds, IReferee {
    using SafeCast for uint256;

    /// @inheritdoc IReferee
    function openUnit(bytes32 windowId, uint32 unit, Proof calldata proof) external {
        Window storage w = _openWindow(windowId);
        if (msg.sender != w.provider) revert NotProvider(windowId, msg.sender);
        Case storage c = _checking(windowId, unit);
        if (c.opened) revert WrongStage(windowId, unit, c.stage);
        uint8 round = c.round;
        (uint256 checkBy, uint256 openBy,) = _times(windowId, unit, round);
        if (block.timestamp <= checkBy || checkBy == 0) revert TooEarly(checkBy, block.timestamp);
        if (block.timestamp > openBy) revert TooLate(openBy, block.timestamp);
        uint32 segment = round >= PANEL_ROUND ? c.segment : _drawnSegment(windowId, unit);
        _requireProof(windowId, unit, w, proof, segment);
        bytes32 value = w.segments == 1 ? proof.result : proof.state;
        c.opened = true;
        c.value = value;
        emit UnitOpened(windowId, unit, segment, segment == 0 ? bytes32(0) : proof.before, value);
    }

    /// @inheritdoc IReferee
    function handKey(bytes32 windowId, uint32 unit, bytes calldata key) external {
        Window storage w = _openWindow(windowId);
        if (msg.sender != w.customer) revert NotCustomer(windowId, msg.sender);
        if (key.length == 0 || key.length > KEY_BYTES_MAX) revert KeyTooLong(key.length, KEY_BYTES_MAX);
        Case storage c = _checking(windowId, unit);
        if (c.round != 0 || c.askedAt == 0 || c.handed) {
            _handUnasked(windowId, unit, key);
            return;
        }
        (, uint256 handBy) = _asked(windowId, unit, w);
        if (block.timestamp > handBy) revert TooLate(handBy, block.timestamp);
        c.handed = true;
        w.budgetWei += w.feeWei;
        emit KeyHanded(windowId, unit, c.askedBy, key);
    }

    /// @inheritdoc IReferee
    function conclude(bytes32 windowId, uint32 unit) external {
        Window storage w = _openWindow(windowId);
        Case storage c = _cases[windowId][unit];
        Stage stage = c.stage;
        if (stage == Stage.Condemned || stage == Stage.Cleared) {
            if (block.timestamp <= c.appealBy) revert TooEarly(c.appealBy, block.timestamp);
            if (stage == Stage.Condemned) _condemn(windowId, unit, w, c);
            else _clear(windowId, unit, w, c);
            return;
        }
        if (stage != Stage.Checking || c.segment == SEEKING) revert WrongStage(windowId, unit, stage);
        if (c.round >= PANEL_ROUND) _handOn();
        _touch(windowId, unit, c.round);
        // The randomness was lost: another height draws, and nothing is over yet.
        if (_round(windowId, unit, c.round).drawnAt == 0) return;
        if (c.round == 0 && _slots(c.committed, 0) == 0 && c.party != address(0) && !_isDrawn(windowId, unit)) {
            _toReferees(windowId, unit, c);
            return;
        }
        (,, uint256 revealBy) = _times(windowId, unit, c.round);
        if (block.timestamp <= revealBy) revert TooEarly(revealBy, block.timestamp);
        // An input that was asked for and did not come decides alone.
        if (c.round == 0 && c.askedAt != 0 && !c.handed) revert WrongStage(windowId, unit, stage);
        _concludeRound(windowId, unit, w, c);
    }

    /// @inheritdoc IReferee
    function withhold(bytes32 windowId, uint32 unit) external {
        Window storage w = _openWindow(windowId);
        (Case storage c, uint256 handBy) = _asked(windowId, unit, w);
        // A search ends first.
        if (c.segment == SEEKING) revert WrongStage(windowId, unit, c.stage);
        if (block.timestamp <= handBy) revert TooEarly(handBy, block.timestamp);
        _payWaiting(windowId, unit, w, c);
        ++_withheld[w.customer];
        emit InputWithheld(windowId, unit, w.customer);
        // Paid, and no reason to check the provider less.
        _finish(windowId, unit, w, c, Stage.Unchecked);
    }

    /// @inheritdoc IReferee
    function revealCanary(bytes32 windowId, uint32 unit, bytes32 own, bytes32 nonce) external payable {
        Window storage w = _openWindow(windowId);
        if (msg.sender != w.customer) revert NotCustomer(windowId, msg.sender);
        Case storage c = _cases[windowId][unit];
        if (c.round >= PANEL_ROUND) revert WrongRound(windowId, unit, c.round);
        // Once: its finders are paid already.
        if (w.canaryUnit != 0) revert WrongStage(windowId, unit, c.stage);
        if (c.stage == Stage.None || c.stage == Stage.Wrong) revert WrongStage(windowId, unit, c.stage);
        (,, uint256 revealBy) = _times(windowId, unit, 0);
        if (block.timestamp <= revealBy || revealBy == 0) revert TooEarly(revealBy, block.timestamp);
        bytes32 hash = keccak256(abi.encodePacked("keystead/canary/v1", unit, own, nonce));
        if (c.askedAt != 0 && !c.handed) revert WrongStage(windowId, unit, c.stage);
        if (hash != w.canary || !c.opened || own != c.value) revert CanaryMismatch(windowId, unit);
        _concludeCanary(windowId, unit, w, c);
    }

    /// @inheritdoc IReferee
    function challenge(bytes32 windowId, uint32 unit, uint32 segment) external payable {
        Window storage w = _openWindow(windowId);
        if (unit >= w.units) revert UnitUnknown(windowId, unit);
        uint256 neededWei = PANEL_FEES * w.feeWei;
        if (msg.value != neededWei) revert ValueMismatch(msg.value, neededWei);
        if (w.named != 0 || w.convicted) revert WrongStatus(windowId, w.convicted ? Status.Convicted : w.status);
        Case storage c = _cases[windowId][unit];
        if (c.stage == Stage.Condemned || c.stage == Stage.Cleared) _appeal(windowId, unit, w, c);
        else _accuse(windowId, unit, w, c, segment);
        c.party = msg.sender;
        c.partyWei = msg.value.toUint96();
        emit Challenged(windowId, unit, msg.sender, c.segment);
    }

    /// @inheritdoc IReferee
    function ask(bytes32 windowId, uint32 unit, uint32 segment) external {
        Window storage w = _openWindow(windowId);
        (, Search storage s) = _search(windowId, unit, false);
        if (msg.sender != _cases[windowId][unit].party) revert NotOnDuty(windowId, unit, 0, msg.sender);
        if (segment >= w.segments) revert UnitUnknown(windowId, segment);
        if (s.asks == ASKS_MAX) revert TooLate(ASKS_MAX, s.asks);
        s.asked = true;
        ++s.asks;
        s.segment = segment;
        s.by = block.timestamp.toUint40() + BISECT_SECONDS;
        emit StateAsked(windowId, unit, segment);
    }

    /// @inheritdoc IReferee
    function answer(bytes32 windowId, uint32 unit, Proof calldata proof) external {
        Window storage w = _openWindow(windowId);
        if (msg.sender != w.provider) revert NotProvider(windowId, msg.sender);
        (, Search storage s) = _search(windowId, unit, true);
        _requireProof(windowId, unit, w, proof, s.segment);
        s.asked = false;
        s.by = block.timestamp.toUint40() + BISECT_SECONDS;
        emit StateAnswered(windowId, unit, s.segment, proof.state);
    }

    /// @inheritdoc IReferee
    function name(bytes32 windowId, uint32 unit, uint32 segment) external {
        Window storage w = _openWindow(windowId);
        (Case storage c,) = _search(windowId, unit, false);
        if (msg.sender != c.party) revert NotOnDuty(windowId, unit, 0, msg.sender);
        if (segment >= w.segments) revert UnitUnknown(windowId, segment);
        c.segment = segment;
        emit Challenged(windowId, unit, msg.sender, segment);
    }

    /// @inheritdoc IReferee
    function endSearch(bytes32 windowId, uint32 unit) external {
        Window storage w = _openWindow(windowId);
        Case storage c = _checking(windowId, unit);
        Search storage s = _searches[windowId][unit];
        if (c.segment != SEEKING) revert WrongStage(windowId, unit, c.stage);
        if (block.timestamp <= s.by) revert TooEarly(s.by, block.timestamp);
        c.segment = _drawnSegment(windowId, unit);
        if (s.asked) {
            _payWaiting(windowId, unit, w, c);
            _convictFor(windowId, unit, w, c);
            return;
        }
        w.budgetWei += c.partyWei;
        c.partyWei = 0;
        c.party = address(0);
        // Without a check of its own nothing is left to conclude.
        if (c.committed == 0 && c.askedAt == 0 && !_isDrawn(windowId, unit)) {
            _finish(windowId, unit, w, c, Stage.Unchecked);
        }
    }

    receive() external payable {
        revert ValueMismatch(msg.value, 0);
    }

    /// @dev Everything else is the panels', on the audit's storage. See `IPanels`.
    fallback() external payable {
        _handOn();
    }

    /// @dev Hands the call on, and its answer back: it does not return here.
    function _handOn() private {
        address target = PANELS_ADDRESS;
        assembly ("memory-safe") {
            let data := mload(0x40)
            calldatacopy(data, 0, calldatasize())
            let ok := delegatecall(gas(), target, data, calldatasize(), 0, 0)
            returndatacopy(data, 0, returndatasize())
            if iszero(ok) { revert(data, returndatasize()) }
            return(data, returndatasize())
        }
    }

    function _appeal(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        if (block.timestamp > c.appealBy) revert TooLate(c.appealBy, block.timestamp);
        bool rightful = c.stage == Stage.Condemned ? msg.sender == w.provider : _isAccuser(id, unit, c);
        if (!rightful) revert NotOnDuty(id, unit, 0, msg.sender);
        // An accuser who had put a bond gets it back: the appeal's pays the referees.
        _returnBond(c);
        c.appealed = c.stage;
        c.stage = Stage.Checking;
        c.appealBy = 0;
        _beginReferees(id, unit, c);
    }

    function _accuse(bytes32 id, uint32 unit, Window storage w, Case storage c, uint32 segment) private {
        _touch(id, unit, 0);
        uint256 drawnAt = _round(id, unit, 0).drawnAt;
        uint256 accuseBy = drawnAt + w.checkSeconds + w.revealSeconds;
        if (drawnAt == 0 || block.timestamp > accuseBy) revert TooLate(accuseBy, block.timestamp);
        if (c.party != address(0) || c.stage > Stage.Checking) revert WrongStage(id, unit, c.stage);
        if (segment >= w.segments && segment != SEEKING) revert UnitUnknown(id, segment);
        if (c.stage == Stage.None) _beginCase(w, c, segment);
        c.segment = segment;
        if (segment == SEEKING) _searches[id][unit].by = block.timestamp.toUint40() + BISECT_SECONDS;
    }

    /// @dev Nobody asked: whoever is on duty reads it. It moves no money and no time, and counts for and against nobody.
    function _handUnasked(bytes32 id, uint32 unit, bytes calldata key) private {
        uint8 handed = _handed[id][unit];
        if (handed == HANDED_MAX) revert TooLate(HANDED_MAX, handed);
        _handed[id][unit] = handed + 1;
        emit KeyHanded(id, unit, SLOTS, key);
    }

    /// @dev A unit for which an input was asked for and not handed, and the last second to hand it.
    function _asked(bytes32 id, uint32 unit, Window storage w) private view returns (Case storage c, uint256 handBy) {
        c = _checking(id, unit);
        if (c.round != 0 || c.askedAt == 0 || c.handed) revert WrongStage(id, unit, c.stage);
        handBy = uint256(c.askedAt) + w.checkSeconds / 2;
    }

    /// @dev The search of a unit: who is asked must answer by its time, else who accused must move.
    function _search(bytes32 id, uint32 unit, bool asked) private view returns (Case storage c, Search storage s) {
        c = _checking(id, unit);
        s = _searches[id][unit];
        if (c.segment != SEEKING || s.asked != asked) revert WrongStage(id, unit, c.stage);
        if (block.timestamp > s.by) revert TooLate(s.by, block.timestamp);
    }

    function _requireProof(bytes32 id, uint32 unit, Window storage w, Proof calldata proof, uint32 segment)
        private
        view
    {
        bytes32 root = Commitment.unitRoot(unit, w.units, proof.salt, proof.result, proof.siblings);
        if (root != w.commitment) revert ProofMismatch(id, unit);
        uint32 segments = w.segments;
        if (segments != 1 && !_isTrace(proof, segment, segments)) revert ProofMismatch(id, unit);
    }

    /// @dev Whether the openings lead to the result, and the last state is the output.
    function _isTrace(Proof calldata proof, uint32 segment, uint32 segments) private pure returns (bool) {
        if (Commitment.result(proof.output, proof.trace) != proof.result) return false;
        if (Commitment.traceRoot(segment, segments, proof.state, proof.stateSiblings) != proof.trace) return false;
        if (segment == segments - 1 && proof.state != proof.output) return false;
        if (segment == 0) return true;
        return Commitment.traceRoot(segment - 1, segments, proof.before, proof.beforeSiblings) == proof.trace;
    }
}
