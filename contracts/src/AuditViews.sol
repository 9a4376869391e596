// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {
    APPEAL_SECONDS_MAX,
    APPEAL_SECONDS_MIN,
    BOND_UNITS_MIN,
    CHECKERS_MAX,
    CHECKS_EXTRA,
    FEE_PPM_MAX,
    FEE_PPM_MIN,
    NAMED_MAX,
    PANEL_ROUND,
    PHASE_SECONDS_MAX,
    PHASE_SECONDS_MIN,
    PROBATION_UNITS,
    RATE_PPM_MIN,
    SEGMENTS_MAX,
    SLOTS
} from "./AuditParameters.sol";
import {AuditStore} from "./AuditStore.sol";
import {Draw} from "./Draw.sol";
import {IAudit} from "./IAudit.sol";
import {IBond} from "./IBond.sol";

/// @title What can be read of the audit, and who may check what
/// @dev The other base of `Audit`. Spec: specs/0008-audit.md, sections 3, 5 and 6.
abstract contract AuditViews is IAudit, AuditStore {
    /// @inheritdoc IAudit
    function checkTerms(Terms calldata terms, uint128 priceWeiPerUnit) public pure {
        _within(0, terms.class, EXACT, TOLERANCE);
        _within(1, terms.checkers, 1, CHECKERS_MAX);
        if (terms.abilities != 1 && terms.abilities != 2) _within(2, terms.abilities, 4, 4);
        _within(3, terms.ratePpm, RATE_PPM_MIN, Draw.PPM);
        _within(4, terms.feePpm, FEE_PPM_MIN, FEE_PPM_MAX);
        _within(5, terms.checkSeconds, PHASE_SECONDS_MIN, PHASE_SECONDS_MAX);
        _within(6, terms.revealSeconds, PHASE_SECONDS_MIN, PHASE_SECONDS_MAX);
        _within(7, terms.appealSeconds, APPEAL_SECONDS_MIN, APPEAL_SECONDS_MAX);
        _within(8, terms.segments, 1, SEGMENTS_MAX);
        bool maybeNone = terms.bondWei == 0 && terms.class != TOLERANCE;
        if (!maybeNone) _within(9, terms.bondWei, BOND_UNITS_MIN * priceWeiPerUnit, type(uint128).max);
    }

    /// @inheritdoc IAudit
    function depositWei(address provider, uint32 units, uint128 priceWeiPerUnit, Terms calldata terms)
        external
        view
        returns (uint256)
    {
        uint256 rate = effectiveRatePpm(provider, terms.class, terms.bondWei, terms.ratePpm);
        // Below 2^48: no term of the product is above 2^20, 2^17 and 3.
        uint256 expected = uint256(units) * rate * terms.checkers;
        uint256 checks = (3 * expected + 2 * Draw.PPM - 1) / (2 * Draw.PPM) + CHECKS_EXTRA;
        return checks * _feeWei(priceWeiPerUnit, terms.feePpm);
    }

    /// @inheritdoc IAudit
    function effectiveRatePpm(address provider, uint8 class, uint128 bondWei, uint32 ratePpm)
        public
        view
        returns (uint32)
    {
        uint256 count = _verified[provider][class];
        if (bondWei == 0 || count < PROBATION_UNITS) return uint32(Draw.PPM);
        uint256 byCount = Draw.PPM / count;
        uint256 rate = ratePpm > byCount ? ratePpm : byCount;
        // LOSSY: at most a million.
        return uint32(rate > RATE_PPM_MIN ? rate : RATE_PPM_MIN);
    }

    /// @inheritdoc IAudit
    function windowOf(bytes32 windowId) external view returns (Window memory) {
        return _windows[windowId];
    }

    /// @inheritdoc IAudit
    function caseOf(bytes32 windowId, uint32 unit) external view returns (Case memory) {
        return _cases[windowId][unit];
    }

    /// @inheritdoc IAudit
    function checkOf(Key calldata key) external view returns (Check memory) {
        return _checks[key.windowId][_checkKey(key.unit, key.round, key.slot)];
    }

    /// @inheritdoc IAudit
    function roundOf(bytes32 windowId, uint32 unit, uint8 round) external view returns (Round memory) {
        return _round(windowId, unit, round);
    }

    /// @inheritdoc IAudit
    function drawn(bytes32 windowId, uint32 unit) external view returns (bool) {
        return _isDrawn(windowId, unit);
    }

    /// @inheritdoc IAudit
    function segmentOf(bytes32 windowId, uint32 unit) external view returns (uint32) {
        return _drawnSegment(windowId, unit);
    }

    /// @inheritdoc IAudit
    function slot(Key calldata key, address[] calldata named)
        external
        view
        returns (address account, bool eligible, bool onDuty)
    {
        if (key.round >= PANEL_ROUND) revert WrongRound(key.windowId, key.unit, key.round);
        if (_round(key.windowId, key.unit, key.round).drawnAt == 0) {
            revert NotDrawnYet(key.windowId, _round(key.windowId, key.unit, key.round).drawHeight);
        }
        uint256 rank;
        (account,, eligible, rank) = _holder(key, named);
        onDuty = eligible && rank < _wanted(_windows[key.windowId], key.round);
    }

    /// @inheritdoc IAudit
    function times(bytes32 windowId, uint32 unit, uint8 round)
        external
        view
        returns (uint256 checkBy, uint256 openBy, uint256 revealBy)
    {
        return _times(windowId, unit, round);
    }

    /// @inheritdoc IAudit
    function released(bytes32 windowId) external view returns (bool closed, bool convicted) {
        Status status = _windows[windowId].status;
        return (status > Status.Open, status == Status.Convicted);
    }

    /// @inheritdoc IAudit
    function outcome(bytes32 windowId) external view returns (bool closed, bool convicted, uint32 paidUnits) {
        Window storage w = _windows[windowId];
        closed = w.status > Status.Open;
        convicted = w.status == Status.Convicted;
        paidUnits = w.status == Status.Closed ? w.units - w.unpaid : 0;
    }

    /// @inheritdoc IAudit
    function verifiedCount(address provider, uint8 class) external view returns (uint256) {
        return _verified[provider][class];
    }

    /// @inheritdoc IAudit
    function withheldCount(address customer) external view returns (uint256) {
        return _withheld[customer];
    }

    /// @inheritdoc IAudit
    function credit(address account) external view returns (uint256) {
        return _credits[account];
    }

    function _within(uint8 term, uint256 got, uint256 min, uint256 max) internal pure {
        if (got < min || got > max) revert TermOutOfRange(term, got, min, max);
    }

    /// @dev Who holds a slot: its account and hardware class, whether it may check, and how many eligible slots come
    /// before it. At most `SLOTS` looks into the list.
    function _holder(Key calldata key, address[] calldata named)
        internal
        view
        returns (address account, uint16 hardware, bool eligible, uint256 rank)
    {
        Window storage w = _windows[key.windowId];
        if (key.slot >= SLOTS) return (address(0), 0, false, SLOTS);
        if (w.named != 0) {
            if (named.length > NAMED_MAX || keccak256(abi.encodePacked(named)) != w.named) {
                revert NamesMismatch(key.windowId);
            }
            if (key.slot < named.length) account = named[key.slot];
            return (account, 0, account != address(0) && key.round == 0, key.slot);
        }
        bytes32 seed = _seed(key.windowId, key.unit, key.round);
        address[] memory seen = new address[](uint256(key.slot) + 1);
        for (uint8 j = 0; j <= key.slot; ++j) {
            IBond.Seat memory held = _drawSeat(seed, key, j);
            seen[j] = held.account;
            bool may = _mayCheck(w, key, held) && !_contains(seen, j, held.account);
            if (j == key.slot) return (held.account, held.hardware, may, rank);
            if (may) ++rank;
        }
    }

    function _drawSeat(bytes32 seed, Key calldata key, uint8 j) private view returns (IBond.Seat memory held) {
        Round storage d = _round(key.windowId, key.unit, key.round);
        uint32 places = d.places;
        if (places == 0) return held;
        return BOND.seatIn(d.epoch, Draw.place(seed, key.unit, j, places));
    }

    function _contains(address[] memory seen, uint256 count, address account) private pure returns (bool) {
        for (uint256 i = 0; i < count; ++i) {
            if (seen[i] == account) return true;
        }
        return false;
    }

    /// @dev Apart from the slots below: is it a stranger, able, new to this unit, and of another hardware?
    function _mayCheck(Window storage w, Key calldata key, IBond.Seat memory held) private view returns (bool) {
        if (held.account == address(0) || held.account == w.provider || held.account == w.customer) return false;
        if (held.abilities & w.abilities != w.abilities) return false;
        Case storage c = _cases[key.windowId][key.unit];
        if (held.account == c.party) return false;
        for (uint8 round = 0; round < key.round; ++round) {
            uint16 slots = _slots(c.committed, round);
            for (uint8 j = 0; j < SLOTS; ++j) {
                if (slots & (1 << j) == 0) continue;
                Check storage check = _checks[key.windowId][_checkKey(key.unit, round, j)];
                if (check.account == held.account) return false;
                bool accused = round == 0 && key.round == 1 && check.finding == Finding.Wrong;
                if (accused && check.hardware == held.hardware) return false;
            }
        }
        return true;
    }
}
