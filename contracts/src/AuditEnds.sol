// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PANEL_ROUND, SLOTS} from "./AuditParameters.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AuditStore} from "./AuditStore.sol";

/// @title How a unit ends
/// @dev The base of `Referee` and `Panels`: conviction, what liars lose, a party's bond. Every loop runs over the 16 slots
/// of rounds 0 and 1, or over the panels. Spec: specs/0008-audit.md, sections 8, 9 and 11.
abstract contract AuditEnds is AuditStore {
    using SafeCast for uint256;

    /// @dev Bond of one seat, as `Bond` has it; what a checker loses that was contradicted.
    uint256 internal constant CONTRADICTED_WEI = 100 ether;

    /// @dev What a checker loses that committed and did not reveal, and a referee for each vote beside the ruling.
    uint256 internal constant ABSENT_WEI = CONTRADICTED_WEI / 10;

    function _beginLater(bytes32 id, uint32 unit, Case storage c, uint8 round) internal {
        c.round = round;
        _beginRound(id, unit, round);
        emit RoundBegan(id, unit, round, _round(id, unit, round).drawHeight);
    }

    /// @dev Pays checks that were committed and need not be revealed any more.
    function _payUnrevealed(bytes32 id, uint32 unit, uint8 round, uint16 slots) internal {
        uint256 feeWei = _windows[id].feeWei;
        for (uint8 j = 0; j < SLOTS; ++j) {
            if (slots & (1 << j) != 0) _pay(_checkAt(id, unit, round, j).account, feeWei);
        }
    }

    /// @dev Condemned, and nobody appealed, or nobody paid for a further panel.
    function _condemn(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        c.appealBy = 0;
        _convictFor(id, unit, w, c);
    }

    /// @dev Cleared, and nobody appealed, or nobody paid for a further panel: who accused loses. In a convicted window nobody
    /// could appeal, so nobody does.
    function _clear(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        c.appealBy = 0;
        _returnBond(c);
        if (w.convicted) {
            _end(id, unit, w, c, Stage.Unchecked);
            return;
        }
        _punish(id, unit, c, Finding.Wrong, _finders(id, unit, c, Finding.Right));
        _end(id, unit, w, c, Stage.Verified);
    }

    /// @dev Ends a unit, unless somebody has accused it: then the panels decide.
    function _finish(bytes32 id, uint32 unit, Window storage w, Case storage c, Stage stage) internal {
        if (c.party != address(0)) _toReferees(id, unit, c);
        else _end(id, unit, w, c, stage);
    }

    /// @dev What was opened stays only if the dispute is about it.
    function _toReferees(bytes32 id, uint32 unit, Case storage c) internal {
        if (!_isDrawnSegment(id, unit, c)) c.opened = false;
        _beginLater(id, unit, c, PANEL_ROUND);
    }

    function _isDrawnSegment(bytes32 id, uint32 unit, Case storage c) internal view returns (bool) {
        return c.segment == _drawnSegment(id, unit) && _isDrawn(id, unit);
    }

    function _end(bytes32 id, uint32 unit, Window storage w, Case storage c, Stage stage) internal {
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
            _refill(id, unit, w, c);
        }
        _returnBond(c);
        _convict(id, unit, w, c, finders);
    }

    function _convict(bytes32 id, uint32 unit, Window storage w, Case storage c, address[] memory finders) internal {
        uint256 bondWei = w.bondWei;
        w.bondWei = 0;
        w.convicted = true;
        _verified[w.provider][w.class] = 0;
        _end(id, unit, w, c, Stage.Wrong);
        emit WindowConvicted(id, unit, w.provider);
        if (bondWei != 0) BOND.slashLocked(w.provider, bondWei, finders);
    }

    /// @dev What the panels cost a party that was right comes from the budget, as far as it goes.
    function _refill(bytes32 id, uint32 unit, Window storage w, Case storage c) internal {
        uint256 paid;
        for (uint8 round = PANEL_ROUND; round <= c.round; ++round) {
            paid += _panel(id, unit, round).paid;
        }
        uint256 spentWei = paid * w.feeWei;
        uint256 budgetWei = w.budgetWei;
        uint256 takenWei = spentWei < budgetWei ? spentWei : budgetWei;
        w.budgetWei = (budgetWei - takenWei).toUint128();
        c.partyWei += takenWei.toUint96();
    }

    function _returnBond(Case storage c) internal {
        uint256 amountWei = c.partyWei;
        if (amountWei == 0) return;
        c.partyWei = 0;
        _pay(c.party, amountWei);
    }

    /// @dev Everybody of rounds 0 and 1 whose finding turned out to be untrue.
    function _punish(bytes32 id, uint32 unit, Case storage c, Finding untrue, address[] memory finders) internal {
        address[] memory liars = _finders(id, unit, c, untrue);
        for (uint256 i = 0; i < liars.length; ++i) {
            BOND.slashSeated(liars[i], CONTRADICTED_WEI, finders);
        }
    }

    /// @dev The checkers of rounds 0 and 1 with this finding.
    function _finders(bytes32 id, uint32 unit, Case storage c, Finding finding)
        internal
        view
        returns (address[] memory found)
    {
        uint256 count;
        address[] memory all = new address[](2 * uint256(SLOTS));
        for (uint8 round = 0; round < PANEL_ROUND; ++round) {
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

    function _panel(bytes32 id, uint32 unit, uint8 round) internal view returns (Panel storage) {
        return _panels[id][_roundKey(unit, round)];
    }
}
