// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CANARY_FEES, PANEL_FEES, PANEL_ROUND, SECOND_CHECKERS, SLOTS} from "./AuditParameters.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AuditEnds} from "./AuditEnds.sol";

/// @title How rounds 0 and 1 of a unit end
/// @dev The other base of `Referee`: what follows from what checkers found. Every loop runs over the 16 slots of a round.
/// Spec: specs/0008-audit.md, sections 7, 8 and 12.
abstract contract AuditRounds is AuditEnds {
    using SafeCast for uint256;

    /// @dev What a round found.
    struct Tally {
        uint256 right;
        uint256 unpaid;
        uint256 wrong;
        // How many of the wrong ones agree on what is right: class exact by their outputs, else all.
        uint256 agreeing;
        // On which output.
        bytes32 own;
    }

    /// @dev Everybody in the round who worked and has nothing to wait for any more is paid: who had committed, and who
    /// asked for an input and got none.
    function _payWaiting(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        uint16 committed = _slots(c.committed, c.round);
        _payUnrevealed(id, unit, c.round, committed & ~_slots(c.revealed, c.round));
        if (c.askedAt == 0 || c.handed) return;
        c.handed = true;
        if (committed & (1 << c.askedBy) != 0) w.budgetWei += w.feeWei;
        else _pay(_checkAt(id, unit, 0, c.askedBy).account, w.feeWei);
    }

    /// @dev The ends of a round whose time is over.
    function _concludeRound(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        uint8 round = c.round;
        uint16 committed = _slots(c.committed, round);
        if (committed != 0 && !c.opened) {
            // Who may hide when drawn is never caught. Who revealed was paid then.
            _payUnrevealed(id, unit, round, committed & ~_slots(c.revealed, round));
            _convictFor(id, unit, w, c);
            return;
        }
        _punishAbsent(id, unit, w, c, round);
        Tally memory t = _tally(id, unit, round, w, c);
        if (round == 0) _afterFirst(id, unit, w, c, t);
        else _afterSecond(id, unit, w, c, t);
    }

    function _afterFirst(bytes32 id, uint32 unit, Window storage w, Case storage c, Tally memory t) private {
        _countUseless(id, unit, w, c);
        if (t.wrong != 0) {
            // Named checkers have nothing at stake: at stake is this unit's pay, to which the provider agreed.
            if (w.named != 0) _end(id, unit, w, c, Stage.Unpaid);
            // One conviction costs all there is.
            else if (w.convicted) _finish(id, unit, w, c, Stage.Unchecked);
            else _beginLater(id, unit, c, 1);
        } else if (t.unpaid != 0) {
            _finish(id, unit, w, c, Stage.Unpaid);
        } else {
            _finish(id, unit, w, c, t.right != 0 ? Stage.Verified : Stage.Unchecked);
        }
    }

    function _afterSecond(bytes32 id, uint32 unit, Window storage w, Case storage c, Tally memory t) private {
        if (t.agreeing == SECOND_CHECKERS && _agreesWithFirst(id, unit, w, c, t.own)) {
            c.stage = Stage.Condemned;
        } else if (t.right == SECOND_CHECKERS && c.party == address(0)) {
            c.stage = Stage.Cleared;
        } else {
            _toReferees(id, unit, c);
            return;
        }
        c.appealBy = block.timestamp.toUint40() + w.appealSeconds;
        emit UnitConcluded(id, unit, c.stage);
    }

    /// @dev The customer says that a unit was a canary. Wrong ones get their reward, right ones are accused.
    function _concludeCanary(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        uint256 feeWei = w.feeWei;
        _returnBond(c);
        c.party = address(0);
        if (c.stage == Stage.Checking && c.round == 0) {
            _punishAbsent(id, unit, w, c, 0);
            _tally(id, unit, 0, w, c);
        } else if (c.stage == Stage.Checking) {
            _payUnrevealed(id, unit, 1, _slots(c.committed & ~c.revealed, 1));
            _tally(id, unit, 1, w, c);
        }
        address[] memory found = _finders(id, unit, c, Finding.Wrong);
        uint256 bountyWei = CANARY_FEES * feeWei;
        bool missed = _finders(id, unit, c, Finding.Right).length != 0;
        uint256 bondWei = missed ? PANEL_FEES * feeWei : 0;
        uint256 neededWei = found.length * bountyWei + bondWei;
        if (msg.value != neededWei) revert ValueMismatch(msg.value, neededWei);
        for (uint256 i = 0; i < found.length; ++i) {
            _pay(found[i], bountyWei);
        }
        w.canaryUnit = unit + 1;
        emit CanaryRevealed(id, unit);
        _reopen(w, c);
        if (!missed) {
            _end(id, unit, w, c, Stage.Unpaid);
            return;
        }
        c.segment = _drawnSegment(id, unit);
        c.party = msg.sender;
        c.partyWei = bondWei.toUint96();
        _beginLater(id, unit, c, PANEL_ROUND);
    }

    /// @dev Takes back that a unit was concluded.
    function _reopen(Window storage w, Case storage c) private {
        Stage stage = c.stage;
        c.stage = Stage.Checking;
        c.appealBy = 0;
        if (stage < Stage.Verified) return;
        ++w.pending;
        if (stage == Stage.Verified) --w.verified;
        if (stage == Stage.Unpaid) --w.unpaid;
    }

    /// @dev An appeal: about the segment that was drawn, as it was opened.
    function _beginReferees(bytes32 id, uint32 unit, Case storage c) internal {
        c.segment = _drawnSegment(id, unit);
        _beginLater(id, unit, c, PANEL_ROUND);
    }

    /// @dev Who committed and did not reveal: no fee, a tenth of a seat, a strike.
    function _punishAbsent(bytes32 id, uint32 unit, Window storage w, Case storage c, uint8 round) private {
        uint16 absent = _slots(c.committed & ~c.revealed, round);
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (absent & (1 << j) == 0) continue;
            w.budgetWei += w.feeWei;
            if (w.named != 0) continue;
            address account = _checkAt(id, unit, round, j).account;
            BOND.slashSeated(account, ABSENT_WEI, new address[](0));
            BOND.strike(account);
        }
    }

    function _isAccuser(bytes32 id, uint32 unit, Case storage c) internal view returns (bool) {
        address[] memory accusers = _finders(id, unit, c, Finding.Wrong);
        for (uint256 i = 0; i < accusers.length; ++i) {
            if (accusers[i] == msg.sender) return true;
        }
        return false;
    }

    /// @dev Class exact: one accuser of round 0 had the same output.
    function _agreesWithFirst(bytes32 id, uint32 unit, Window storage w, Case storage c, bytes32 own)
        private
        view
        returns (bool)
    {
        if (w.class != EXACT) return true;
        uint16 revealed = _slots(c.revealed, 0);
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (revealed & (1 << j) == 0) continue;
            Check storage check = _checkAt(id, unit, 0, j);
            if (check.finding == Finding.Wrong && check.word == own) return true;
        }
        return false;
    }

    /// @dev Counts a round. Class exact: compares, and stores what came of it.
    function _tally(bytes32 id, uint32 unit, uint8 round, Window storage w, Case storage c)
        private
        returns (Tally memory t)
    {
        uint16 revealed = _slots(c.revealed, round);
        bytes32[] memory owns = new bytes32[](SLOTS);
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (revealed & (1 << j) == 0) continue;
            Check storage check = _checkAt(id, unit, round, j);
            Finding finding = check.finding;
            if (finding == Finding.Compare) {
                finding = check.word == c.value ? Finding.Right : Finding.Wrong;
                check.finding = finding;
            }
            if (finding == Finding.Right) ++t.right;
            else if (finding == Finding.Unpaid) ++t.unpaid;
            else if (finding == Finding.Wrong) owns[t.wrong++] = check.word;
        }
        if (w.class != EXACT) {
            t.agreeing = t.wrong;
            return t;
        }
        for (uint256 i = 0; i < t.wrong; ++i) {
            uint256 same = 1;
            for (uint256 k = i + 1; k < t.wrong; ++k) {
                if (owns[k] == owns[i]) ++same;
            }
            if (same > t.agreeing) (t.agreeing, t.own) = (same, owns[i]);
        }
    }

    /// @dev A key that was handed and did not open is the customer's.
    function _countUseless(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        if (c.askedAt == 0 || _slots(c.revealed, 0) & (1 << c.askedBy) == 0) return;
        if (_checkAt(id, unit, 0, c.askedBy).finding == Finding.Inconclusive) ++_withheld[w.customer];
    }
}
