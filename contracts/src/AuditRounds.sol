// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {APPEAL_SECONDS, CANARY_FEES, QUORUM, REFEREES, SECOND_CHECKERS, SLOTS} from "./AuditParameters.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AuditStore} from "./AuditStore.sol";

/// @title How the rounds of a unit end
/// @dev The base of `Referee`: what follows from what checkers found. Every loop runs over the 16 slots of a round.
/// Spec: specs/0008-audit.md, sections 7 to 9, 11 and 12.
abstract contract AuditRounds is AuditStore {
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

    /// @dev Bond of one seat, as `Bond` has it; what a checker loses that was contradicted.
    uint256 internal constant CONTRADICTED_WEI = 100 ether;

    /// @dev What a checker loses that committed and did not reveal, or a referee beside the ruling.
    uint256 internal constant ABSENT_WEI = CONTRADICTED_WEI / 10;

    function _beginLater(bytes32 id, uint32 unit, Case storage c, uint8 round) private {
        c.round = round;
        _beginRound(id, unit, round);
        emit RoundBegan(id, unit, round, _round(id, unit, round).drawHeight);
    }

    /// @dev The reverse of `_reserveFee`.
    function _freeFee(Window storage w, Case storage c, uint8 round) private {
        if (round == REFEREE_ROUND && c.party != address(0)) c.partyWei += uint256(w.feeWei).toUint96();
        else w.budgetWei += w.feeWei;
    }

    /// @dev Pays checks that were committed and need not be revealed any more.
    function _payUnrevealed(bytes32 id, uint32 unit, uint8 round, uint16 slots) internal {
        uint256 feeWei = _windows[id].feeWei;
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (slots & (1 << j) != 0) _pay(_checkAt(id, unit, round, j).account, feeWei);
        }
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
            // Who may hide when drawn is never caught. Who revealed was paid then, but for referees.
            uint16 paid = round == REFEREE_ROUND ? 0 : _slots(c.revealed, round);
            _payUnrevealed(id, unit, round, committed & ~paid);
            _convictFor(id, unit, w, c);
            return;
        }
        _punishAbsent(id, unit, w, c, round);
        Tally memory t = _tally(id, unit, round, w, c);
        if (round == 0) _afterFirst(id, unit, w, c, t);
        else if (round == 1) _afterSecond(id, unit, w, c, t);
        else _afterReferees(id, unit, w, c, t);
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
        c.appealBy = block.timestamp.toUint40() + APPEAL_SECONDS;
        emit UnitConcluded(id, unit, c.stage);
    }

    function _afterReferees(bytes32 id, uint32 unit, Window storage w, Case storage c, Tally memory t) private {
        Finding ruling = Finding.Inconclusive;
        if (t.agreeing >= QUORUM) ruling = Finding.Wrong;
        else if (t.right >= QUORUM) ruling = Finding.Right;
        else if (t.unpaid >= QUORUM) ruling = Finding.Unpaid;
        _payReferees(id, unit, w, c, ruling, t.own);
        if (ruling == Finding.Wrong) {
            _ruleWrong(id, unit, w, c);
        } else if (ruling == Finding.Right) {
            _ruleRight(id, unit, w, c);
        } else {
            // Nobody was found wrong. Who appealed loses nothing as far as the budget goes; who accused without a check
            // pays, or accusing would be free.
            if (_slots(c.committed, 1) != 0 && c.party != address(0)) _refill(w, c);
            _returnBond(c);
            _end(id, unit, w, c, ruling == Finding.Unpaid ? Stage.Unpaid : Stage.Unchecked);
        }
    }

    function _ruleWrong(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        address party = c.party;
        bool same = _isDrawnSegment(id, unit, c);
        address[] memory finders = same ? _finders(id, unit, c, Finding.Wrong) : new address[](0);
        if (party != address(0) && party != w.provider) {
            finders = new address[](1);
            finders[0] = party;
            _refill(w, c);
        }
        _returnBond(c);
        if (same) _punish(id, unit, c, Finding.Right, new address[](0));
        if (w.canaryUnit == unit + 1) _end(id, unit, w, c, Stage.Unpaid);
        else _convict(id, unit, w, c, finders);
    }

    function _ruleRight(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        bool same = _isDrawnSegment(id, unit, c);
        address[] memory finders = same ? _finders(id, unit, c, Finding.Right) : new address[](0);
        if (c.party == w.provider) {
            finders = new address[](1);
            finders[0] = c.party;
            _refill(w, c);
        }
        _returnBond(c);
        if (same) _punish(id, unit, c, Finding.Wrong, finders);
        _end(id, unit, w, c, Stage.Verified);
    }

    /// @dev Condemned, and nobody appealed.
    function _condemn(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        c.appealBy = 0;
        _convictFor(id, unit, w, c);
    }

    /// @dev Cleared, and nobody appealed: who accused loses. In a convicted window nobody could appeal, so nobody does.
    function _clear(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        c.appealBy = 0;
        if (w.convicted) {
            _end(id, unit, w, c, Stage.Unchecked);
            return;
        }
        _punish(id, unit, c, Finding.Wrong, _finders(id, unit, c, Finding.Right));
        _end(id, unit, w, c, Stage.Verified);
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
        uint256 bondWei = missed ? REFEREES * feeWei : 0;
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
        _beginLater(id, unit, c, REFEREE_ROUND);
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

    /// @dev Ends a unit, unless somebody has accused it: then the referees decide.
    function _finish(bytes32 id, uint32 unit, Window storage w, Case storage c, Stage stage) internal {
        if (c.party != address(0)) _toReferees(id, unit, c);
        else _end(id, unit, w, c, stage);
    }

    /// @dev What was opened stays only if the dispute is about it.
    function _toReferees(bytes32 id, uint32 unit, Case storage c) internal {
        if (!_isDrawnSegment(id, unit, c)) c.opened = false;
        _beginLater(id, unit, c, REFEREE_ROUND);
    }

    /// @dev An appeal: about the segment that was drawn, as it was opened.
    function _beginReferees(bytes32 id, uint32 unit, Case storage c) internal {
        c.segment = _drawnSegment(id, unit);
        _beginLater(id, unit, c, REFEREE_ROUND);
    }

    function _isDrawnSegment(bytes32 id, uint32 unit, Case storage c) private view returns (bool) {
        return c.segment == _drawnSegment(id, unit) && _isDrawn(id, unit);
    }

    function _end(bytes32 id, uint32 unit, Window storage w, Case storage c, Stage stage) private {
        c.stage = stage;
        --w.pending;
        if (stage == Stage.Verified) ++w.verified;
        if (stage == Stage.Unpaid) {
            ++w.unpaid;
            _verified[w.provider][w.class] = 0;
        }
        emit UnitConcluded(id, unit, stage);
    }

    /// @dev Convicts for those who found the unit wrong, or for who accused it.
    function _convictFor(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        address[] memory finders = _finders(id, unit, c, Finding.Wrong);
        if (c.party != address(0) && c.party != w.provider) {
            if (finders.length == 0) {
                finders = new address[](1);
                finders[0] = c.party;
            }
            _refill(w, c);
        }
        _returnBond(c);
        _convict(id, unit, w, c, finders);
    }

    function _convict(bytes32 id, uint32 unit, Window storage w, Case storage c, address[] memory finders) private {
        uint256 bondWei = w.bondWei;
        w.bondWei = 0;
        w.convicted = true;
        _verified[w.provider][w.class] = 0;
        _end(id, unit, w, c, Stage.Wrong);
        emit WindowConvicted(id, unit, w.provider);
        if (bondWei != 0) BOND.slashLocked(w.provider, bondWei, finders);
    }

    /// @dev What the referees cost a party that was right comes from the budget, as far as it goes.
    function _refill(Window storage w, Case storage c) private {
        uint256 missingWei = uint256(REFEREES) * w.feeWei - c.partyWei;
        uint256 budgetWei = w.budgetWei;
        uint256 takenWei = missingWei < budgetWei ? missingWei : budgetWei;
        w.budgetWei = (budgetWei - takenWei).toUint128();
        c.partyWei += takenWei.toUint96();
    }

    function _returnBond(Case storage c) internal {
        uint256 amountWei = c.partyWei;
        if (amountWei == 0) return;
        c.partyWei = 0;
        _pay(c.party, amountWei);
    }

    /// @dev Who committed and did not reveal: no fee, a tenth of a seat, a strike.
    function _punishAbsent(bytes32 id, uint32 unit, Window storage w, Case storage c, uint8 round) private {
        uint16 absent = _slots(c.committed & ~c.revealed, round);
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (absent & (1 << j) == 0) continue;
            _freeFee(w, c, round);
            if (w.named == 0) _fine(_checkAt(id, unit, round, j).account);
        }
    }

    function _fine(address account) private {
        BOND.slashSeated(account, ABSENT_WEI, new address[](0));
        BOND.strike(account);
    }

    /// @dev Everybody of rounds 0 and 1 whose finding turned out to be untrue.
    function _punish(bytes32 id, uint32 unit, Case storage c, Finding untrue, address[] memory finders) private {
        address[] memory liars = _finders(id, unit, c, untrue);
        for (uint256 i = 0; i < liars.length; ++i) {
            BOND.slashSeated(liars[i], CONTRADICTED_WEI, finders);
        }
    }

    /// @dev The checkers of rounds 0 and 1 with this finding.
    function _finders(bytes32 id, uint32 unit, Case storage c, Finding finding)
        private
        view
        returns (address[] memory found)
    {
        uint256 count;
        address[] memory all = new address[](2 * uint256(SLOTS));
        for (uint8 round = 0; round < REFEREE_ROUND; ++round) {
            uint16 revealed = _slots(c.revealed, round);
            for (uint8 j = 0; j < SLOTS; ++j) {
                if (revealed & (1 << j) == 0) continue;
                Check storage check = _checkAt(id, unit, round, j);
                if (check.finding == finding) all[count++] = check.account;
            }
        }
        found = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            found[i] = all[i];
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

    /// @dev Who found the ruling, or nothing, is paid; who found something else is fined.
    function _payReferees(bytes32 id, uint32 unit, Window storage w, Case storage c, Finding ruling, bytes32 own)
        private
    {
        uint16 revealed = _slots(c.revealed, REFEREE_ROUND);
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (revealed & (1 << j) == 0) continue;
            Check storage check = _checkAt(id, unit, REFEREE_ROUND, j);
            Finding finding = check.finding;
            bool stands = finding == ruling && (ruling != Finding.Wrong || w.class != EXACT || check.word == own);
            if (stands || finding == Finding.Inconclusive || ruling == Finding.Inconclusive) {
                _pay(check.account, w.feeWei);
            } else {
                _freeFee(w, c, REFEREE_ROUND);
                _fine(check.account);
            }
        }
    }

    /// @dev A key that was handed and did not open is the customer's.
    function _countUseless(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        if (c.askedAt == 0 || _slots(c.revealed, 0) & (1 << c.askedBy) == 0) return;
        if (_checkAt(id, unit, 0, c.askedBy).finding == Finding.Inconclusive) ++_withheld[w.customer];
    }
}
