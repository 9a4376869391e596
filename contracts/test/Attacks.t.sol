// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IBond} from "../src/IBond.sol";
import {IMarket} from "../src/IMarket.sol";
import {AuditFixture} from "./AuditFixture.sol";

/// @title Every row of the table in specs/0008-audit.md, section 15, by its name
contract AttacksTest is AuditFixture {
    function test_junk_cheaper_precision_smaller_model() public {
        Job memory job = _cheat(_bonded(), 3);
        uint256 before = _bondOf(PROVIDER);
        _round(job, 1, 0, _right(1, 0));
        // One accuser convicts nobody.
        _is(job, 1, IAuditTypes.Stage.Checking);
        _round(job, 1, 1, _right(1, 0));
        _is(job, 1, IAuditTypes.Stage.Condemned);
        vm.assertEq(_bondOf(PROVIDER), before);
        vm.warp(audit.caseOf(job.id, 1).appealBy + 1);
        referee.conclude(job.id, 1);
        _is(job, 1, IAuditTypes.Stage.Wrong);
        vm.assertEq(before - _bondOf(PROVIDER), BOND_WEI);
        _closeAndSettle(job);
        vm.assertEq(uint256(market.order(job.orderId).status), uint256(IMarket.Status.Convicted));
        vm.assertEq(market.credit(CUSTOMER), 3 * uint256(PRICE_WEI));
        vm.assertEq(market.credit(PROVIDER), 0);
    }

    function test_copy_anothers_result() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.checkers = 2;
        Job memory job = _honest(terms, 3);
        (, uint8 first, address honest) = _duty(job, 0, 0, 0);
        (, uint8 second, address copier) = _duty(job, 0, 0, first + 1);
        bytes32 hash = _hash(job, _key(job, 0, 0, first), honest, 0, _right(0, 0));
        vm.prank(honest);
        audit.commitCheck(_key(job, 0, 0, first), hash, _nobody);
        vm.prank(copier);
        audit.commitCheck(_key(job, 0, 0, second), hash, _nobody);
        // Nothing is opened while a check can still be committed.
        IAuditTypes.Proof memory proof = _proof(job, 0, 0);
        (uint256 checkBy,,) = audit.times(job.id, 0, 0);
        vm.warp(checkBy);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, checkBy, checkBy));
        vm.prank(PROVIDER);
        referee.openUnit(job.id, 0, proof);
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        bytes32 nonce = keccak256(abi.encodePacked("nonce", honest));
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.RevealMismatch.selector, job.id, 0, second));
        vm.prank(copier);
        audit.reveal(_key(job, 0, 0, second), IAuditTypes.Finding.Compare, _right(0, 0), nonce);
        _revealAll(job, 0, 0, uint16(1) << first, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Verified);
        vm.assertEq(audit.credit(honest), FEE_WEI);
        vm.assertEq(audit.credit(copier), 0);
        vm.assertEq(_bondOf(copier), SEAT_WEI - SEAT_WEI / 10);
    }

    function test_predict_the_sample_grind() public {
        Job memory job = _leased(_bonded(), 3, 3, 0);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        uint256 height = block.number + 2;
        vm.assertEq(audit.roundOf(job.id, 0, 0).drawHeight, height);
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotDrawnYet.selector, job.id, height));
            audit.touch(job.id, 0, 0);
            vm.roll(block.number + 1);
        }
        // The commitment is in; a second one is refused, so that nothing can be ground once the draw is known.
        vm.roll(block.number + 1);
        audit.touch(job.id, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongStatus.selector, job.orderId, IMarket.Status.Committed));
        vm.prank(PROVIDER);
        market.commit(job.orderId, keccak256("another"));
    }

    function test_abort_when_drawn() public {
        Job memory job = _cheat(_bonded(), 3);
        uint256 before = _bondOf(PROVIDER);
        _commitAll(job, 2, 0, 0, _right(2, 0));
        _afterReveal(job, 2, 0);
        referee.conclude(job.id, 2);
        _is(job, 2, IAuditTypes.Stage.Wrong);
        vm.assertEq(before - _bondOf(PROVIDER), BOND_WEI);
        // Nor does giving the order up help: the window goes on.
        job = _leased(_bonded(), 3, 0, 0);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        vm.prank(PROVIDER);
        market.abandon(job.orderId);
        _draw(job);
        _commitAll(job, 0, 0, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        vm.assertEq(before - _bondOf(PROVIDER), 2 * uint256(BOND_WEI));
    }

    function test_one_slash_big_batch() public {
        // 63 right units do not pay for one wrong one.
        Job memory job = _drawnJob(_bonded(), 64, 63, 0);
        _commitAll(job, 63, 0, 0, _right(63, 0));
        _afterReveal(job, 63, 0);
        referee.conclude(job.id, 63);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 0);
        vm.assertEq(market.credit(CUSTOMER), 64 * uint256(PRICE_WEI));
    }

    function test_build_trust_then_leave() public {
        for (uint256 i = 0; i < 3; ++i) {
            _verify(64);
        }
        vm.assertTrue(audit.verifiedCount(PROVIDER, 1) >= 64, "the first window, of which every unit was drawn");
        // Whatever was verified, the rate has a floor.
        vm.assertEq(audit.effectiveRatePpm(PROVIDER, 1, BOND_WEI, 30_000), 30_000);
        vm.assertEq(audit.effectiveRatePpm(PROVIDER, 1, 0, 30_000), 1_000_000);
        // And what stands behind a window cannot leave before it closes.
        Job memory job = _cheat(_bonded(), 3);
        uint256 freeWei = bond.accountOf(PROVIDER).freeWei;
        vm.expectRevert(abi.encodeWithSelector(IBond.FreeTooSmall.selector, PROVIDER, freeWei, freeWei + 1));
        vm.prank(PROVIDER);
        bond.requestLeave(freeWei + 1);
        vm.assertEq(bond.accountOf(PROVIDER).lockedWei, BOND_WEI);
        vm.assertTrue(_longestLife() < bond.LEAVE_DELAY_SECONDS(), "a window ends before bond can leave");
        vm.assertEq(uint256(audit.windowOf(job.id).status), uint256(IAuditTypes.Status.Open));
    }

    function test_lazy_checker() public {
        IAuditTypes.Terms memory terms = _bonded();
        bytes32 nonce = keccak256("canary nonce");
        terms.canary = keccak256(abi.encodePacked("keystead/canary/v1", uint32(1), _junk(1, 0), nonce));
        Job memory job = _drawnJob(terms, 2, 1, 0);
        (,, address lazy) = _duty(job, 1, 0, 0);
        // The lazy one guesses what the provider has.
        _round(job, 1, 0, _junk(1, 0));
        _is(job, 1, IAuditTypes.Stage.Verified);
        vm.prank(CUSTOMER);
        referee.revealCanary{value: 31 * uint256(FEE_WEI)}(job.id, 1, _junk(1, 0), nonce);
        uint256 before = _bondOf(PROVIDER);
        _round(job, 1, 2, _right(1, 0));
        _is(job, 1, IAuditTypes.Stage.Unpaid);
        vm.assertEq(_bondOf(lazy), 0);
        vm.assertEq(_bondOf(PROVIDER), before, "a canary convicts no provider");
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), PRICE_WEI);
    }

    function test_a_canary_rewards_who_finds_it() public {
        IAuditTypes.Terms memory terms = _bonded();
        bytes32 nonce = keccak256("canary nonce");
        terms.canary = keccak256(abi.encodePacked("keystead/canary/v1", uint32(1), _junk(1, 0), nonce));
        Job memory job = _drawnJob(terms, 2, 1, 0);
        (,, address finder) = _duty(job, 1, 0, 0);
        _round(job, 1, 0, _right(1, 0));
        vm.prank(CUSTOMER);
        referee.revealCanary{value: 10 * uint256(FEE_WEI)}(job.id, 1, _junk(1, 0), nonce);
        _is(job, 1, IAuditTypes.Stage.Unpaid);
        vm.assertEq(audit.credit(finder), 11 * uint256(FEE_WEI));
        vm.assertEq(_bondOf(finder), SEAT_WEI);
    }

    function test_a_canary_is_paid_for_once() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.canary = keccak256(abi.encodePacked("keystead/canary/v1", uint32(1), _junk(1, 0), bytes32("n")));
        Job memory job = _drawnJob(terms, 2, 1, 0);
        (,, address finder) = _duty(job, 1, 0, 0);
        _round(job, 1, 0, _right(1, 0));
        vm.prank(CUSTOMER);
        referee.revealCanary{value: 10 * uint256(FEE_WEI)}(job.id, 1, _junk(1, 0), "n");
        vm.assertEq(uint256(audit.windowOf(job.id).canaryUnit), 2);
        uint256 customerWei = CUSTOMER.balance;
        // The same words again, with the same amount and with none: nothing moves.
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 1, IAuditTypes.Stage.Unpaid));
        vm.prank(CUSTOMER);
        referee.revealCanary{value: 10 * uint256(FEE_WEI)}(job.id, 1, _junk(1, 0), "n");
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 1, IAuditTypes.Stage.Unpaid));
        vm.prank(CUSTOMER);
        referee.revealCanary(job.id, 1, _junk(1, 0), "n");
        vm.assertEq(audit.credit(finder), 11 * uint256(FEE_WEI));
        vm.assertEq(CUSTOMER.balance, customerWei);
        _is(job, 1, IAuditTypes.Stage.Unpaid);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), PRICE_WEI);
    }

    function test_a_false_canary_harms_no_honest_checker() public {
        IAuditTypes.Terms memory terms = _bonded();
        bytes32 nonce = keccak256("canary nonce");
        terms.canary = keccak256(abi.encodePacked("keystead/canary/v1", uint32(1), _right(1, 0), nonce));
        Job memory job = _honest(terms, 2);
        (,, address honest) = _duty(job, 1, 0, 0);
        _round(job, 1, 0, _right(1, 0));
        vm.prank(CUSTOMER);
        referee.revealCanary{value: 31 * uint256(FEE_WEI)}(job.id, 1, _right(1, 0), nonce);
        _round(job, 1, 2, _right(1, 0));
        _is(job, 1, IAuditTypes.Stage.Verified);
        vm.assertEq(_bondOf(honest), SEAT_WEI);
        uint256 runs = panels.panelOf(job.id, 1, 2).paid;
        vm.assertTrue(runs > 10, "a panel that is worth its name");
        vm.assertEq(audit.credit(CUSTOMER), (31 - runs) * uint256(FEE_WEI), "the customer paid the referees");
    }

    function test_provider_is_checker() public {
        // Its own seats are never eligible for its own windows.
        vm.deal(PROVIDER, 1e36);
        _sit(PROVIDER, 40, 9, 15);
        Job memory job = _cheat(_bonded(), 2);
        uint256 own;
        for (uint8 j = 0; j < 16; ++j) {
            (address account, bool eligible,) = audit.slot(_key(job, 0, 0, j), _nobody);
            if (account != PROVIDER) continue;
            ++own;
            vm.assertTrue(!eligible, "not in its own window");
        }
        vm.assertTrue(own > 0, "it was drawn at all");
        // A friend's "right" does not stand against an accusation by anybody.
        (bool found,, address friend) = _duty(job, 0, 0, 0);
        vm.assertTrue(found, "somebody else is on duty");
        _challenge(ACCUSER, job, 0, 0);
        _round(job, 0, 0, _junk(0, 0));
        _is(job, 0, IAuditTypes.Stage.Checking);
        _round(job, 0, 2, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Wrong);
        vm.assertEq(_bondOf(friend), 0, "the friend's lie costs its seat");
        vm.assertEq(audit.credit(ACCUSER), 31 * uint256(FEE_WEI), "the accuser's bond comes back");
        vm.assertEq(bond.accountOf(ACCUSER).freeWei, BOND_WEI / 2);
    }

    function test_self_conviction() public {
        Job memory job = _cheat(_bonded(), 2);
        uint256 burnt = bond.burntWei();
        uint256 before = _bondOf(PROVIDER);
        // The accuser is the provider's own second account.
        _challenge(ACCUSER, job, 0, 0);
        _commitAll(job, 0, 0, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        uint256 lost = before - _bondOf(PROVIDER);
        vm.assertEq(lost, BOND_WEI);
        vm.assertTrue(bond.burntWei() - burnt >= lost / 2, "at least half is burnt");
        vm.assertTrue(bond.accountOf(ACCUSER).freeWei <= lost / 2, "at most half comes back");
    }

    function test_customer_withholds_the_input() public {
        Job memory job = _honest(_bonded(), 2);
        (, uint8 j, address account) = _duty(job, 0, 0, 0);
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        uint256 handBy = block.timestamp + 50;
        vm.warp(handBy);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, handBy, handBy));
        referee.withhold(job.id, 0);
        vm.warp(handBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, handBy, handBy + 1));
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "too late");
        referee.withhold(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        vm.assertEq(audit.credit(account), FEE_WEI);
        vm.assertEq(audit.withheldCount(CUSTOMER), 1);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
    }

    function test_provider_keeps_the_input_from_later_rounds() public {
        uint256 before = _bondOf(PROVIDER);
        Job memory job = _cheat(_bonded(), 2);
        _round(job, 0, 0, _right(0, 0));
        // Nobody can ask in round 1: the customer says by itself where its node is, and its two checkers find it wrong as well.
        _drawRound(job, 0, 1);
        (, uint8 j, address account) = _duty(job, 0, 1, 0);
        vm.expectRevert();
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        uint16 mask = _commitAll(job, 0, 1, 0, _right(0, 0));
        _afterCheck(job, 0, 1);
        _revealAll(job, 0, 1, mask, 0, _right(0, 0));
        _afterReveal(job, 0, 1);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Condemned);
        vm.warp(audit.caseOf(job.id, 0).appealBy + 1);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Wrong);
        vm.assertEq(before - _bondOf(PROVIDER), BOND_WEI);
    }

    function test_customer_gains_from_slashing() public {
        uint256 before = CUSTOMER.balance;
        Job memory job = _cheat(_bonded(), 2);
        _commitAll(job, 0, 0, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _closeAndSettle(job);
        vm.prank(CUSTOMER);
        market.withdraw();
        vm.prank(CUSTOMER);
        audit.withdraw();
        vm.assertEq(_bondOf(CUSTOMER), 0);
        // The fee of the check is gone; of the slash it has nothing.
        vm.assertEq(before - CUSTOMER.balance, FEE_WEI);
    }

    function test_chaos_other_hardware() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.class = 3;
        terms.abilities = 4;
        terms.segments = 4;
        uint256 before = _bondOf(PROVIDER);
        // One segment from the state that the provider committed to; within the sound bound: unpaid, never slashed.
        Job memory job = _honest(terms, 2);
        _findings(job, 0, 2);
        _is(job, 0, IAuditTypes.Stage.Unpaid);
        _findings(job, 1, 4);
        _is(job, 1, IAuditTypes.Stage.Unchecked);
        _closeAndSettle(job);
        vm.assertEq(_bondOf(PROVIDER), before);
        vm.assertEq(market.credit(PROVIDER), PRICE_WEI);
        vm.assertEq(market.credit(CUSTOMER), PRICE_WEI);
        vm.assertEq(audit.verifiedCount(PROVIDER, 3), 0);
    }

    function test_griefing_by_appeals_accusations() public {
        Job memory job = _honest(_bonded(), 2);
        _challenge(ACCUSER, job, 0, 0);
        _commitAndConclude(job, 0, _right(0, 0));
        _round(job, 0, 2, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Verified);
        uint256 runs = panels.panelOf(job.id, 0, 2).paid;
        vm.assertTrue(runs > 10, "a panel that is worth its name");
        vm.assertEq(audit.credit(ACCUSER), (31 - runs) * uint256(FEE_WEI), "the accuser paid the referees");
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
    }

    function test_a_third_of_all_seats_colludes() public {
        // Eight of 24 seats stand for a cheat, and then against an honest provider; the accuser pays for every panel.
        Job memory job = _cheat(_bonded(), 2);
        _ringPlays(job, _junk(0, 0));
        vm.assertTrue(_stage(job, 0) != IAuditTypes.Stage.Verified, "a cheat is not cleared");
        uint256 before = _bondOf(PROVIDER);
        job = _honest(_bonded(), 2);
        _ringPlays(job, keccak256("slander"));
        vm.assertTrue(_stage(job, 0) != IAuditTypes.Stage.Wrong, "an honest one is not convicted");
        vm.assertEq(_bondOf(PROVIDER), before);
    }

    /// @dev Nobody checks the unit; it is accused and comes before panels, of which the ring's accounts say `lie`.
    function _ringPlays(Job memory job, bytes32 lie) private {
        _challenge(ACCUSER, job, 0, 0);
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        for (uint8 round = 2; round < 5 && _stage(job, 0) == IAuditTypes.Stage.Checking; ++round) {
            if (round != 4) {
                vm.prank(ACCUSER);
                panels.fund{value: ((uint256(1) << (round + 4)) - 1) * uint256(FEE_WEI)}(job.id, 0);
            }
            _drawRound(job, 0, round);
            (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, round);
            for (uint256 i = 0; i < accounts.length; ++i) {
                bytes32 own = uint160(accounts[i]) - 0xCC00 < 8 ? lie : _right(0, 0);
                _commitBallot(job, 0, round, accounts[i], masks[i], 0, own);
            }
            _afterCheck(job, 0, round);
            if (!audit.caseOf(job.id, 0).opened) _open(job, 0, 0);
            for (uint256 i = 0; i < accounts.length; ++i) {
                _revealBallot(job, 0, round, accounts[i], 0, uint160(accounts[i]) - 0xCC00 < 8 ? lie : _right(0, 0));
            }
            _afterReveal(job, 0, round);
            referee.conclude(job.id, 0);
        }
    }

    function test_win_an_appeal_by_poverty() public {
        // The ring is silent, so that no panel rules; the cheat that was condemned pays for no further panel.
        Job memory job = _cheat(_bonded(), 2);
        _round(job, 0, 0, _right(0, 0));
        _round(job, 0, 1, _right(0, 0));
        uint256 before = _bondOf(PROVIDER);
        _challenge(PROVIDER, job, 0, 0);
        _drawRound(job, 0, 2);
        _afterReveal(job, 0, 2);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Wrong);
        vm.assertEq(before - _bondOf(PROVIDER), BOND_WEI);
    }

    function test_self_dealing_for_reputation() public {
        _verify(64);
        _verify(64);
        uint32 rate = audit.effectiveRatePpm(PROVIDER, 1, BOND_WEI, 30_000);
        _verify(64);
        vm.assertEq(audit.effectiveRatePpm(PROVIDER, 1, BOND_WEI, 30_000), 30_000);
        vm.assertTrue(rate >= 30_000, "never below the floor");
        // A class has its own count, and one fault takes it all.
        vm.assertEq(audit.effectiveRatePpm(PROVIDER, 2, BOND_WEI, 30_000), 1_000_000);
        _faultOnce();
        vm.assertEq(audit.verifiedCount(PROVIDER, 1), 0);
    }

    function _commitAndConclude(Job memory job, uint32 unit, bytes32 own) private {
        _round(job, unit, 0, own);
    }

    /// @dev A window of which every unit that is drawn is verified.
    function _verify(uint32 units) private {
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
        }
        _afterReveal(job, 0, 0);
        for (uint32 unit = 0; unit < units; ++unit) {
            if (masks[unit] != 0) referee.conclude(job.id, unit);
        }
        _closeAndSettle(job);
    }

    function _faultOnce() private {
        IAuditTypes.Terms memory terms = _bonded();
        terms.ratePpm = 300_000;
        Job memory job = _cheat(terms, 64);
        for (uint32 unit = 0; unit < 64; ++unit) {
            if (!audit.drawn(job.id, unit)) continue;
            _commitAll(job, unit, 0, 0, _right(unit, 0));
            _afterReveal(job, unit, 0);
            referee.conclude(job.id, unit);
            return;
        }
        vm.assertTrue(false, "one of 64 units is drawn with this beacon");
    }

    function _findings(Job memory job, uint32 unit, uint8 finding) private {
        uint256 began = block.timestamp;
        uint16 mask = _commitAll(job, unit, 0, 0, keccak256("own"));
        _afterCheck(job, unit, 0);
        _open(job, unit, audit.segmentOf(job.id, unit));
        _revealAll(job, unit, 0, mask, finding, keccak256("own"));
        _afterReveal(job, unit, 0);
        referee.conclude(job.id, unit);
        vm.warp(began);
    }

    /// @dev Of a window of an order: two rounds, three panels, a search, an appeal.
    function _longestLife() private pure returns (uint256) {
        return 5 * 2 days + 12 hours + 17 * 2 * 600 + 1 days;
    }
}
