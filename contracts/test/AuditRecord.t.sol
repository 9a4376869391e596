// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AuditFixture} from "./AuditFixture.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";

/// @title What counts for a provider's record, and the question that its asker takes back
contract AuditRecordTest is AuditFixture {
    uint32 private constant DRAWN = 10;

    function test_units_that_were_withheld_do_not_end_a_probation() public {
        Job memory job = _honest(_bonded(), DRAWN);
        for (uint32 unit = 1; unit < DRAWN; ++unit) {
            _askFor(job, unit);
        }
        vm.warp(block.timestamp + 51);
        for (uint32 unit = 1; unit < DRAWN; ++unit) {
            referee.withhold(job.id, unit);
            _is(job, unit, IAuditTypes.Stage.Unchecked);
        }
        _round(job, 0, 0, _right(0, 0));
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), DRAWN * uint256(PRICE_WEI));
        _counts(1);
    }

    function test_units_that_nobody_checked_do_not_end_a_probation() public {
        Job memory job = _honest(_bonded(), DRAWN);
        // Of the second unit the checkers commit and do not come back; to the others nobody comes.
        _commitAll(job, 1, 0, 0, _right(1, 0));
        uint16 mask = _commitAll(job, 0, 0, 0, _right(0, 0));
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _open(job, 1, 0);
        _revealAll(job, 0, 0, mask, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        referee.conclude(job.id, 1);
        _is(job, 1, IAuditTypes.Stage.Unchecked);
        _closeAndSettle(job);
        _counts(1);
    }

    function test_a_private_window_says_nothing_to_strangers() public {
        address[] memory names = new address[](1);
        names[0] = address(0x1111);
        IAuditTypes.Terms memory terms = _bonded();
        terms.named = keccak256(abi.encodePacked(names));
        Job memory job = _honest(terms, 1);
        IAuditTypes.Key memory key = _key(job, 0, 0, 0);
        bytes32 hash = _hash(job, key, names[0], 0, _right(0, 0));
        vm.prank(names[0]);
        audit.commitCheck(key, hash, names);
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, 1, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Verified);
        _closeAndSettle(job);
        _counts(0);
    }

    function test_a_unit_that_was_found_right_stands_for_those_among_which_it_was_drawn() public {
        _whole(DRAWN);
        _counts(DRAWN);
        vm.assertEq(audit.effectiveRatePpm(PROVIDER, 1, BOND_WEI, 30_000), 100_000);
        // One in ten is drawn now: nothing was found right, so nothing counts, and each that was counts for ten.
        Job memory job = _honest(_bonded(), 64);
        _closeAndSettle(job);
        _counts(DRAWN);
        _counts(DRAWN + 10 * _whole(64));
    }

    function test_a_window_from_before_a_fault_does_not_end_the_probation_after_it() public {
        _whole(DRAWN);
        Job memory faulty = _honest(_bonded(), 64);
        Job memory other = _honest(_bonded(), 64);
        vm.assertEq(audit.windowOf(other.id).ratePpm, 100_000);
        uint32 hidden;
        while (!audit.drawn(faulty.id, hidden)) ++hidden;
        _commitAll(faulty, hidden, 0, 0, _right(hidden, 0));
        uint32 found;
        while (!audit.drawn(other.id, found)) ++found;
        uint16 mask = _commitAll(other, found, 0, 0, _right(found, 0));
        _afterCheck(other, 0, 0);
        _open(other, found, 0);
        _revealAll(other, found, 0, mask, 0, _right(found, 0));
        _afterReveal(other, 0, 0);
        // Not opened: a fault.
        referee.conclude(faulty.id, hidden);
        _counts(0);
        referee.conclude(other.id, found);
        _closeAndSettle(other);
        // One unit was found right since; what was not drawn of its window was done before.
        _counts(1);
    }

    function test_who_asked_and_has_the_input_after_all_takes_the_question_back() public {
        Job memory job = _honest(_bonded(), DRAWN);
        uint256 budgetWei = audit.windowOf(job.id).budgetWei;
        (uint8 j, address account) = _askFor(job, 0);
        vm.warp(block.timestamp + 51);
        _commit(job, j, account, _right(0, 0));
        IAuditTypes.Case memory c = audit.caseOf(job.id, 0);
        vm.assertEq(c.askedAt, 0);
        vm.assertTrue(!c.handed, "nobody answered");
        // One fee is set aside, and the question is over: the unit cannot be withheld any more.
        vm.assertEq(audit.windowOf(job.id).budgetWei, budgetWei - FEE_WEI);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 0, IAuditTypes.Stage.Checking));
        referee.withhold(job.id, 0);
        _concludeWith(job, j, 0, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Verified);
        vm.assertEq(audit.credit(account), FEE_WEI, "what a check earns, and nothing for the question");
        vm.assertEq(audit.withheldCount(CUSTOMER), 0);
    }

    function test_who_takes_a_question_back_cannot_blame_the_customer_nor_keep_others_from_asking() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.checkers = 2;
        Job memory job = _honest(terms, DRAWN);
        (uint8 j, address account) = _askFor(job, 0);
        _commitFinding(job, j, account, 4, 0);
        // An answer that was under way is an address without a question.
        vm.expectEmit(address(audit));
        emit IAuditTypes.KeyHanded(job.id, 0, 16, "node");
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        (, uint8 other, address second) = _duty(job, 0, 0, j + 1);
        vm.prank(second);
        audit.askInput(job.id, 0, other);
        // Another slot's commitment takes nobody's question back.
        uint256 budgetWei = audit.windowOf(job.id).budgetWei;
        vm.assertTrue(audit.caseOf(job.id, 0).askedAt != 0, "the second question stands");
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        vm.assertEq(audit.windowOf(job.id).budgetWei, budgetWei + FEE_WEI);
        _concludeWith(job, j, 4, 0);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        vm.assertEq(audit.withheldCount(CUSTOMER), 0, "who committed had the input");
    }

    function test_who_committed_asks_for_nothing() public {
        Job memory job = _honest(_bonded(), DRAWN);
        (uint8 j, address account) = _askFor(job, 0);
        _commit(job, j, account, _right(0, 0));
        // It had the input: a second question could not be taken back, and would leave the unit unchecked.
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 0, j));
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        // Nor without a first one.
        (, j, account) = _duty(job, 1, 0, 0);
        IAuditTypes.Key memory key = _key(job, 1, 0, j);
        bytes32 hash = _hash(job, key, account, 0, _right(1, 0));
        vm.prank(account);
        audit.commitCheck(key, hash, _nobody);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 1, j));
        vm.prank(account);
        audit.askInput(job.id, 1, j);
    }

    function test_another_checkers_commitment_leaves_the_question() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.checkers = 2;
        Job memory job = _honest(terms, DRAWN);
        (uint8 j, address account) = _askFor(job, 0);
        (, uint8 other, address second) = _duty(job, 0, 0, j + 1);
        _commit(job, other, second, _right(0, 0));
        vm.warp(block.timestamp + 51);
        referee.withhold(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        vm.assertEq(audit.credit(account), FEE_WEI);
        vm.assertEq(audit.credit(second), FEE_WEI);
        vm.assertEq(audit.withheldCount(CUSTOMER), 1);
    }

    /// @dev A window in which every unit that is drawn is found right; how many those are.
    function _whole(uint32 units) private returns (uint32 found) {
        Job memory job = _honest(_bonded(), units);
        uint16[] memory masks = new uint16[](units);
        for (uint32 unit = 0; unit < units; ++unit) {
            if (audit.drawn(job.id, unit)) masks[unit] = _commitAll(job, unit, 0, 0, _right(unit, 0));
        }
        _afterCheck(job, 0, 0);
        for (uint32 unit = 0; unit < units; ++unit) {
            if (masks[unit] == 0) continue;
            _open(job, unit, 0);
            _revealAll(job, unit, 0, masks[unit], 0, _right(unit, 0));
            ++found;
        }
        _afterReveal(job, 0, 0);
        for (uint32 unit = 0; unit < units; ++unit) {
            if (masks[unit] != 0) referee.conclude(job.id, unit);
        }
        _closeAndSettle(job);
        vm.assertTrue(found != 0, "a unit is drawn with this beacon");
    }

    function _askFor(Job memory job, uint32 unit) private returns (uint8 j, address account) {
        (, j, account) = _duty(job, unit, 0, 0);
        vm.prank(account);
        audit.askInput(job.id, unit, j);
    }

    function _commit(Job memory job, uint8 j, address account, bytes32 own) private {
        _commitFinding(job, j, account, 0, own);
    }

    /// @dev Of the first unit.
    function _commitFinding(Job memory job, uint8 j, address account, uint8 finding, bytes32 own) private {
        IAuditTypes.Key memory key = _key(job, 0, 0, j);
        bytes32 hash = _hash(job, key, account, finding, own);
        vm.prank(account);
        audit.commitCheck(key, hash, _nobody);
    }

    function _concludeWith(Job memory job, uint8 j, uint8 finding, bytes32 own) private {
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, uint16(1) << j, finding, own);
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
    }

    function _counts(uint256 units) private view {
        vm.assertEq(audit.verifiedCount(PROVIDER, 1), units);
    }
}
