// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PANEL_ROUND, PROBATION_UNITS, UNITS_MAX} from "./AuditParameters.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AuditViews} from "./AuditViews.sol";
import {Draw} from "./Draw.sol";
import {CHANNEL_ADDRESS, MARKET_ADDRESS, REFEREE_ADDRESS} from "./Genesis.sol";
import {IAudit} from "./IAudit.sol";

/// @title The audit
/// @notice See `IAudit`.
/// @dev Balance invariant: this contract's balance is at least all credits, budgets, fees of checks that are not yet
/// revealed or concluded, and bonds of parties, and exactly that unless value was forced in. A ballot's fee is here until it is settled.
contract Audit is AuditViews, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// @inheritdoc IAudit
    function open(Opening calldata opening) external payable returns (bytes32 id) {
        if (msg.sender != MARKET_ADDRESS && msg.sender != CHANNEL_ADDRESS) revert NotSource(msg.sender);
        checkTerms(opening.terms, opening.priceWeiPerUnit);
        if (opening.units == 0 || opening.units > UNITS_MAX) revert UnitUnknown(id, opening.units);
        id = Draw.windowId(msg.sender, opening.number, opening.window);
        Window storage w = _windows[id];
        if (w.status != Status.None) revert WindowExists(id);
        _store(w, opening);
        // The market locked the bond at the lease; a channel has no lease.
        uint256 bondWei = opening.terms.bondWei;
        if (msg.sender == CHANNEL_ADDRESS && bondWei != 0) BOND.lock(opening.provider, bondWei);
        _beginRound(id, 0, 0);
        _emitOpened(id, w, opening);
    }

    /// @inheritdoc IAudit
    function touch(bytes32 windowId, uint32 unit, uint8 round) external {
        _touch(windowId, unit, round);
    }

    /// @inheritdoc IAudit
    function commitCheck(Key calldata key, bytes32 hash, address[] calldata named) external {
        Window storage w = _openWindow(key.windowId);
        if (key.unit >= w.units) revert UnitUnknown(key.windowId, key.unit);
        _touch(key.windowId, key.unit, key.round);
        Case storage c = _cases[key.windowId][key.unit];
        if (c.round != key.round || key.round >= PANEL_ROUND) revert WrongRound(key.windowId, key.unit, c.round);
        if (key.round == 0) {
            if (w.convicted) revert WrongStatus(key.windowId, Status.Convicted);
            if (!_isDrawn(key.windowId, key.unit)) revert UnitNotDrawn(key.windowId, key.unit);
        }
        if (c.stage != Stage.Checking) {
            if (c.stage != Stage.None) revert WrongStage(key.windowId, key.unit, c.stage);
            _beginCase(w, c, _drawnSegment(key.windowId, key.unit));
        }
        (uint256 checkBy,,) = _times(key.windowId, key.unit, key.round);
        if (block.timestamp > checkBy) revert TooLate(checkBy, block.timestamp);
        uint16 hardware = _takeSlot(key, w, c, named, checkBy);
        // Who asked for its input and has it after all takes the question back, with the fee that was set aside for it.
        if (c.askedAt != 0 && !c.handed && c.askedBy == key.slot) c.askedAt = 0;
        else _reserveFee(key.windowId, w, c, key.round);
        c.committed |= _bit(key.round, key.slot);
        _checks[key.windowId][_checkKey(key.unit, key.round, key.slot)] =
            Check({account: msg.sender, finding: Finding.Compare, hardware: hardware, word: hash});
        emit CheckCommitted(key.windowId, key.unit, key.round, key.slot, msg.sender);
    }

    /// @inheritdoc IAudit
    function reveal(Key calldata key, Finding finding, bytes32 own, bytes32 nonce) external {
        Window storage w = _openWindow(key.windowId);
        Case storage c = _checking(key.windowId, key.unit);
        if (c.round != key.round || key.round >= PANEL_ROUND) revert WrongRound(key.windowId, key.unit, c.round);
        _requireReveal(key.windowId, key.unit, key.round);
        _requireFinding(key.windowId, key.unit, w, c, finding);
        bytes32 hash = _checkHash(key, w.class == EXACT ? uint8(finding) : 0, own, nonce);
        _storeReveal(key, c, hash, finding, own);
        _pay(msg.sender, w.feeWei);
    }

    /// @inheritdoc IAudit
    function askInput(bytes32 windowId, uint32 unit, uint8 slotNumber) external {
        Window storage w = _openWindow(windowId);
        if (unit >= w.units) revert UnitUnknown(windowId, unit);
        if (w.named != 0 || w.convicted) revert NotOnDuty(windowId, unit, slotNumber, msg.sender);
        _touch(windowId, unit, 0);
        if (!_isDrawn(windowId, unit)) revert UnitNotDrawn(windowId, unit);
        uint256 askBy = uint256(_round(windowId, unit, 0).drawnAt) + w.checkSeconds / 2;
        if (block.timestamp > askBy) revert TooLate(askBy, block.timestamp);
        (address account,, bool onDuty) = this.slot(Key(windowId, unit, 0, slotNumber), new address[](0));
        if (account != msg.sender || !onDuty) revert NotOnDuty(windowId, unit, slotNumber, msg.sender);
        Case storage c = _cases[windowId][unit];
        // Who committed had the input. In the time to ask no later round begins, unless an input was asked for.
        if (c.askedAt | ((c.committed >> slotNumber) & 1) != 0) revert SlotTaken(windowId, unit, slotNumber);
        if (c.stage == Stage.None) _beginCase(w, c, _drawnSegment(windowId, unit));
        _reserveFee(windowId, w, c, 0);
        c.askedAt = block.timestamp.toUint40();
        c.askedBy = slotNumber;
        c.extended = true;
        _checks[windowId][_checkKey(unit, 0, slotNumber)].account = msg.sender;
        emit InputAsked(windowId, unit, slotNumber, msg.sender);
    }

    /// @inheritdoc IAudit
    function close(bytes32 windowId) external {
        Window storage w = _openWindow(windowId);
        _touch(windowId, 0, 0);
        uint256 drawnAt = _round(windowId, 0, 0).drawnAt;
        // Half a time to reveal more, in which a canary can be told after everybody has revealed.
        uint256 until = drawnAt + w.checkSeconds + w.revealSeconds + w.revealSeconds / 2;
        if (drawnAt == 0 || block.timestamp <= until) revert TooEarly(until, block.timestamp);
        if (w.pending != 0) revert WrongStatus(windowId, w.status);
        bool convicted = w.convicted;
        w.status = convicted ? Status.Convicted : Status.Closed;
        uint256 restWei = w.budgetWei;
        w.budgetWei = 0;
        if (restWei != 0) _pay(w.customer, restWei);
        uint256 bondWei = w.bondWei;
        if (bondWei != 0) {
            w.bondWei = 0;
            BOND.unlock(w.provider, bondWei);
        }
        // A unit that was found right stands for those among which it was drawn; what was drawn and stayed unchecked counts
        // for nothing. Checkers that the customer named say nothing to strangers.
        if (!convicted && w.unpaid == 0 && w.named == 0) {
            mapping(uint256 class => uint256) storage counts = _verified[w.provider];
            uint256 class = w.class;
            uint256 count = counts[class];
            // Each is below 2^32, and a rate is never zero.
            unchecked {
                // In probation a lower rate is that of a window from before a fault.
                counts[class] = count + w.verified * Draw.PPM / (count < PROBATION_UNITS ? Draw.PPM : w.ratePpm);
            }
        }
        emit WindowClosed(windowId, convicted, convicted ? 0 : w.units - w.unpaid);
    }

    /// @inheritdoc IAudit
    function withdraw() external nonReentrant {
        _withdraw(payable(msg.sender));
    }

    /// @inheritdoc IAudit
    function withdrawTo(address payable to) external nonReentrant {
        if (to == address(0)) revert RecipientZero(msg.sender);
        _withdraw(to);
    }

    receive() external payable {
        revert ValueMismatch(msg.value, 0);
    }

    /// @dev Everything else is the referee's, on this contract's storage. See `IReferee`.
    fallback() external payable {
        address target = REFEREE_ADDRESS;
        assembly ("memory-safe") {
            calldatacopy(0, 0, calldatasize())
            let ok := delegatecall(gas(), target, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if iszero(ok) { revert(0, returndatasize()) }
            return(0, returndatasize())
        }
    }

    function _store(Window storage w, Opening calldata opening) private {
        Terms calldata terms = opening.terms;
        w.provider = opening.provider;
        w.status = Status.Open;
        w.class = terms.class;
        w.checkers = terms.checkers;
        w.abilities = terms.abilities;
        w.units = opening.units;
        w.ratePpm = effectiveRatePpm(opening.provider, terms.class, terms.bondWei, terms.ratePpm);
        w.customer = opening.customer;
        w.feeWei = _feeWei(opening.priceWeiPerUnit, terms.feePpm).toUint128();
        w.bondWei = terms.bondWei;
        w.budgetWei = msg.value.toUint128();
        w.checkSeconds = terms.checkSeconds;
        w.revealSeconds = terms.revealSeconds;
        // LOSSY: at most a day, which has 17 bits.
        w.appealSeconds = uint24(terms.appealSeconds);
        w.segments = terms.segments;
        w.commitment = opening.commitment;
        w.named = terms.named;
        w.canary = terms.canary;
    }

    function _emitOpened(bytes32 id, Window storage w, Opening calldata opening) private {
        emit WindowOpened(
            id,
            msg.sender,
            opening.number,
            opening.window,
            opening.provider,
            opening.customer,
            opening.jobHash,
            opening.commitment,
            opening.units,
            w.ratePpm,
            _round(id, 0, 0).drawHeight
        );
    }

    /// @dev Does the caller hold this slot, is it free, and is it its turn?
    function _takeSlot(Key calldata key, Window storage w, Case storage c, address[] calldata named, uint256 checkBy)
        private
        view
        returns (uint16 hardware)
    {
        address account;
        bool eligible;
        uint256 rank;
        (account, hardware, eligible, rank) = _holder(key, named);
        if (account != msg.sender || !eligible) revert NotOnDuty(key.windowId, key.unit, key.slot, msg.sender);
        uint16 taken = _slots(c.committed, key.round);
        uint256 wanted = _wanted(w, key.round);
        if (taken & (1 << key.slot) != 0 || _count(taken) >= wanted) {
            revert SlotTaken(key.windowId, key.unit, key.slot);
        }
        // Reserves may come in the second half.
        if (rank >= wanted && block.timestamp + w.checkSeconds / 2 <= checkBy) {
            revert NotOnDuty(key.windowId, key.unit, key.slot, msg.sender);
        }
    }

    /// @dev What a checker commits to. Spec: specs/0008-audit.md, section 7.
    function _checkHash(Key calldata key, uint8 finding, bytes32 own, bytes32 nonce) private view returns (bytes32) {
        bytes memory head = abi.encodePacked(key.windowId, key.unit, key.round, key.slot);
        return keccak256(abi.encodePacked(head, msg.sender, finding, own, nonce));
    }

    function _storeReveal(Key calldata key, Case storage c, bytes32 hash, Finding finding, bytes32 own) private {
        Check storage check = _checkAt(key.windowId, key.unit, key.round, key.slot);
        uint32 bit = _bit(key.round, key.slot);
        if (c.committed & bit == 0 || c.revealed & bit != 0 || check.account != msg.sender || check.word != hash) {
            revert RevealMismatch(key.windowId, key.unit, key.slot);
        }
        c.revealed |= bit;
        check.finding = finding;
        check.word = own;
        emit CheckRevealed(key.windowId, key.unit, key.round, key.slot, msg.sender, finding, own);
    }

    /// @dev Clears the debt before it pays; the guard only keeps a receiver from nesting withdrawals.
    function _withdraw(address payable to) private {
        uint256 amountWei = _credits[msg.sender];
        if (amountWei == 0) revert NothingToWithdraw(msg.sender);
        _credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amountWei);
        Address.sendValue(to, amountWei);
    }
}
