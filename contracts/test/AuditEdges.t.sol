// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Commitment} from "../src/Commitment.sol";
import {REFEREE_ADDRESS} from "../src/Genesis.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IMarket} from "../src/IMarket.sol";
import {IReferee} from "../src/IReferee.sol";
import {AuditFixture} from "./AuditFixture.sol";

/// @title Both sides of every time, who may do what, and hostile input
contract AuditEdgesTest is AuditFixture {
    function test_terms_have_bounds_on_both_sides() public {
        for (uint8 term = 0; term < 10; ++term) {
            (uint256 min, uint256 max) = _bounds(term);
            audit.checkTerms(_with(term, min), PRICE_WEI);
            audit.checkTerms(_with(term, max), PRICE_WEI);
            if (min != 0) _refusedTerm(term, min - 1, min, max);
            if (max != type(uint128).max) _refusedTerm(term, max + 1, min, max);
        }
        // No bond: for classes exact and self-checking alone.
        IAuditTypes.Terms memory terms = _auditTerms();
        terms.class = 2;
        audit.checkTerms(terms, PRICE_WEI);
        terms.class = 3;
        vm.expectRevert();
        audit.checkTerms(terms, PRICE_WEI);
    }

    function test_only_the_market_and_the_channel_open_windows() public {
        IAuditTypes.Opening memory opening;
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotSource.selector, address(this)));
        audit.open(opening);
    }

    function test_a_check_is_committed_by_its_time_and_by_who_holds_the_slot() public {
        Job memory job = _honest(_bonded(), 2);
        (, uint8 j, address account) = _duty(job, 0, 0, 0);
        IAuditTypes.Key memory key = _key(job, 0, 0, j);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotOnDuty.selector, job.id, 0, j, STRANGER));
        vm.prank(STRANGER);
        audit.commitCheck(key, 0, _nobody);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.UnitUnknown.selector, job.id, 2));
        vm.prank(account);
        audit.commitCheck(_key(job, 2, 0, j), 0, _nobody);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongRound.selector, job.id, 0, 1));
        vm.prank(account);
        audit.commitCheck(_key(job, 0, 1, j), 0, _nobody);
        (uint256 checkBy,,) = audit.times(job.id, 0, 0);
        vm.warp(checkBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, checkBy, checkBy + 1));
        vm.prank(account);
        audit.commitCheck(key, 0, _nobody);
        vm.warp(checkBy);
        vm.prank(account);
        audit.commitCheck(key, 0, _nobody);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 0, j));
        vm.prank(account);
        audit.commitCheck(key, 0, _nobody);
    }

    function test_reserves_come_in_the_second_half() public {
        Job memory job = _honest(_bonded(), 2);
        (, uint8 first, address onDuty) = _duty(job, 0, 0, 0);
        (uint8 j, address reserve) = _reserve(job, 0, first + 1);
        uint256 half = uint256(audit.roundOf(job.id, 0, 0).drawnAt) + 50;
        vm.warp(half);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotOnDuty.selector, job.id, 0, j, reserve));
        vm.prank(reserve);
        audit.commitCheck(_key(job, 0, 0, j), 0, _nobody);
        vm.warp(half + 1);
        vm.prank(reserve);
        audit.commitCheck(_key(job, 0, 0, j), 0, _nobody);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 0, first));
        vm.prank(onDuty);
        audit.commitCheck(_key(job, 0, 0, first), 0, _nobody);
    }

    function test_the_times_to_open_reveal_and_conclude() public {
        Job memory job = _honest(_bonded(), 2);
        bytes32 own = _right(0, 0);
        uint16 mask = _commitAll(job, 0, 0, 0, own);
        (, uint8 j, address account) = _duty(job, 0, 0, 0);
        IAuditTypes.Key memory key = _key(job, 0, 0, j);
        bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
        (uint256 checkBy, uint256 openBy, uint256 revealBy) = audit.times(job.id, 0, 0);
        IAuditTypes.Proof memory proof = _proof(job, 0, 0);
        vm.warp(checkBy);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, checkBy, checkBy));
        vm.prank(account);
        audit.reveal(key, IAuditTypes.Finding.Compare, own, nonce);
        vm.warp(openBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, openBy, openBy + 1));
        vm.prank(PROVIDER);
        referee.openUnit(job.id, 0, proof);
        vm.warp(openBy);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotProvider.selector, job.id, STRANGER));
        vm.prank(STRANGER);
        referee.openUnit(job.id, 0, proof);
        vm.prank(PROVIDER);
        referee.openUnit(job.id, 0, proof);
        vm.warp(revealBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, revealBy, revealBy + 1));
        vm.prank(account);
        audit.reveal(key, IAuditTypes.Finding.Compare, own, nonce);
        vm.warp(revealBy);
        _revealAll(job, 0, 0, mask, 0, own);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, revealBy, revealBy));
        referee.conclude(job.id, 0);
        vm.warp(revealBy + 1);
        referee.conclude(job.id, 0);
        // Half a time to reveal more until the window can be closed.
        vm.warp(revealBy + 30);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, revealBy + 30, revealBy + 30));
        audit.close(job.id);
        vm.warp(revealBy + 31);
        audit.close(job.id);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStatus.selector, job.id, IAuditTypes.Status.Closed));
        audit.close(job.id);
    }

    function test_a_window_with_a_pending_unit_cannot_be_closed() public {
        Job memory job = _honest(_bonded(), 2);
        _commitAll(job, 0, 0, 0, _right(0, 0));
        vm.warp(block.timestamp + 1000);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStatus.selector, job.id, IAuditTypes.Status.Open));
        audit.close(job.id);
        referee.conclude(job.id, 0);
        audit.close(job.id);
    }

    function test_a_checker_that_does_not_reveal_loses_its_fee_and_a_tenth_of_a_seat() public {
        Job memory job = _honest(_bonded(), 2);
        (,, address account) = _duty(job, 0, 0, 0);
        _commitAll(job, 0, 0, 0, _right(0, 0));
        uint256 budget = audit.windowOf(job.id).budgetWei;
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        vm.assertEq(_bondOf(account), SEAT_WEI - SEAT_WEI / 10);
        vm.assertEq(bond.accountOf(account).strikes, 1);
        vm.assertEq(audit.windowOf(job.id).budgetWei, budget + FEE_WEI);
    }

    function test_an_appeal_is_made_by_its_time_and_by_the_loser() public {
        // Two colluding checkers of round 1 stand with a slanderer against an honest provider.
        Job memory job = _honest(_bonded(), 2);
        uint256 before = _bondOf(PROVIDER);
        (,, address liar) = _duty(job, 0, 0, 0);
        _round(job, 0, 0, keccak256("slander"));
        _round(job, 0, 1, keccak256("slander"));
        _is(job, 0, IAuditTypes.Stage.Condemned);
        uint256 appealBy = audit.caseOf(job.id, 0).appealBy;
        vm.warp(appealBy);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, appealBy, appealBy));
        referee.conclude(job.id, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotOnDuty.selector, job.id, 0, 0, liar));
        _challenge(liar, job, 0, 0);
        vm.warp(appealBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, appealBy, appealBy + 1));
        _challenge(PROVIDER, job, 0, 0);
        vm.warp(appealBy);
        uint256 spent = PROVIDER.balance;
        _challenge(PROVIDER, job, 0, 0);
        _round(job, 0, 2, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Verified);
        vm.assertEq(_bondOf(liar), 0);
        // The bond comes back, and half of three seats with it.
        vm.assertEq(audit.credit(PROVIDER), spent - PROVIDER.balance);
        vm.assertEq(_bondOf(PROVIDER) - before, 3 * SEAT_WEI / 2);
    }

    function test_a_cleared_unit_costs_the_accuser_its_seat_unless_it_appeals() public {
        Job memory job = _honest(_bonded(), 2);
        (,, address accuser) = _duty(job, 0, 0, 0);
        _round(job, 0, 0, keccak256("slander"));
        _round(job, 0, 1, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Cleared);
        vm.warp(audit.caseOf(job.id, 0).appealBy + 1);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Verified);
        vm.assertEq(_bondOf(accuser), 0);
        // An honest one appeals against two friends of a cheat.
        job = _cheat(_bonded(), 2);
        (,, accuser) = _duty(job, 0, 0, 0);
        _round(job, 0, 0, _right(0, 0));
        _round(job, 0, 1, _junk(0, 0));
        _is(job, 0, IAuditTypes.Stage.Cleared);
        vm.deal(accuser, 1e30);
        _challenge(accuser, job, 0, 0);
        _round(job, 0, 2, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Wrong);
        vm.assertEq(_bondOf(accuser), SEAT_WEI + BOND_WEI / 2);
        vm.assertEq(audit.credit(accuser), 32 * uint256(FEE_WEI));
    }

    function test_an_accuser_that_could_not_appeal_in_a_convicted_window_loses_nothing() public {
        Job memory job = _cheat(_bonded(), 2);
        (,, address accuser) = _duty(job, 0, 0, 0);
        uint16 first = _commitAll(job, 0, 0, 0, _right(0, 0));
        _commitAll(job, 1, 0, 0, _right(1, 0));
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, first, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _round(job, 0, 1, _junk(0, 0));
        _is(job, 0, IAuditTypes.Stage.Cleared);
        // Unit 1 was not opened: that is found only now.
        referee.conclude(job.id, 1);
        vm.warp(audit.caseOf(job.id, 0).appealBy + 1);
        referee.conclude(job.id, 0);
        vm.assertEq(_bondOf(accuser), SEAT_WEI);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 0);
    }

    function test_only_a_tolerance_can_be_missed_without_a_wrong_result() public {
        for (uint8 class = 1; class <= 3; ++class) {
            IAuditTypes.Terms memory terms = _bonded();
            terms.class = class;
            Job memory job = _honest(terms, 1);
            uint16 mask = _commitAll(job, 0, 0, 0, 0);
            (, uint8 j, address account) = _duty(job, 0, 0, 0);
            _afterCheck(job, 0, 0);
            if (class != 1) {
                // Not before the provider has opened.
                vm.expectRevert(
                    abi.encodeWithSelector(IAuditTypes.FindingRefused.selector, job.id, 0, IAuditTypes.Finding.Wrong)
                );
                vm.prank(account);
                audit.reveal(_key(job, 0, 0, j), IAuditTypes.Finding.Wrong, 0, 0);
            }
            _open(job, 0, 0);
            if (class == 3) {
                _revealAll(job, 0, 0, mask, 2, 0);
                continue;
            }
            vm.expectRevert(
                abi.encodeWithSelector(IAuditTypes.FindingRefused.selector, job.id, 0, IAuditTypes.Finding.Unpaid)
            );
            vm.prank(account);
            audit.reveal(_key(job, 0, 0, j), IAuditTypes.Finding.Unpaid, 0, 0);
        }
    }

    function test_other_hardware_checks_the_second_time() public {
        Job memory job = _cheat(_bonded(), 2);
        (, uint8 j,) = _duty(job, 0, 0, 0);
        _round(job, 0, 0, _right(0, 0));
        uint16 hardware = audit.checkOf(_key(job, 0, 0, j)).hardware;
        _drawRound(job, 0, 1);
        uint16 mask = _commitAll(job, 0, 1, 0, _right(0, 0));
        for (uint8 s = 0; s < 16; ++s) {
            if (mask & (1 << s) == 0) continue;
            vm.assertTrue(audit.checkOf(_key(job, 0, 1, s)).hardware != hardware, "another class");
        }
    }

    function test_a_search_finds_the_first_wrong_segment() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.segments = 16;
        Job memory job = _drawnJob(terms, 2, 1, 11);
        _challenge(ACCUSER, job, 1, type(uint32).max);
        (uint32 low, uint32 high) = (0, 15);
        while (low < high) {
            uint32 middle = (low + high) / 2;
            vm.prank(ACCUSER);
            referee.ask(job.id, 1, middle);
            vm.warp(block.timestamp + 600);
            IAuditTypes.Proof memory proof = _proof(job, 1, middle);
            vm.prank(PROVIDER);
            referee.answer(job.id, 1, proof);
            if (_state(job, 1, middle) == _right(1, middle)) low = middle + 1;
            else high = middle;
        }
        vm.assertEq(low, 11);
        vm.prank(ACCUSER);
        referee.name(job.id, 1, low);
        _afterReveal(job, 1, 0);
        referee.conclude(job.id, 1);
        _round(job, 1, 2, keccak256("an honest run from the state before"));
        _is(job, 1, IAuditTypes.Stage.Wrong);
    }

    function test_who_does_not_answer_in_a_search_is_convicted_and_who_does_not_ask_pays() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.segments = 4;
        Job memory job = _honest(terms, 2);
        _challenge(ACCUSER, job, 1, type(uint32).max);
        uint256 by = block.timestamp + 600;
        vm.warp(by);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, by, by));
        referee.endSearch(job.id, 1);
        vm.warp(by + 1);
        uint256 budget = audit.windowOf(job.id).budgetWei;
        referee.endSearch(job.id, 1);
        vm.assertEq(audit.windowOf(job.id).budgetWei, budget + 31 * uint256(FEE_WEI));
        job = _honest(terms, 2);
        _challenge(ACCUSER, job, 1, type(uint32).max);
        vm.prank(ACCUSER);
        referee.ask(job.id, 1, 2);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 1, IAuditTypes.Stage.Checking));
        vm.prank(ACCUSER);
        referee.ask(job.id, 1, 3);
        by = block.timestamp + 600;
        vm.warp(by + 1);
        IAuditTypes.Proof memory proof = _proof(job, 1, 2);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, by, by + 1));
        vm.prank(PROVIDER);
        referee.answer(job.id, 1, proof);
        referee.endSearch(job.id, 1);
        _is(job, 1, IAuditTypes.Stage.Wrong);
    }

    function test_a_search_has_an_end() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.segments = 4;
        Job memory job = _honest(terms, 2);
        _challenge(ACCUSER, job, 1, type(uint32).max);
        IAuditTypes.Proof memory proof = _proof(job, 1, 2);
        for (uint256 i = 0; i < 17; ++i) {
            vm.prank(ACCUSER);
            referee.ask(job.id, 1, 2);
            vm.prank(PROVIDER);
            referee.answer(job.id, 1, proof);
        }
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, 17, 17));
        vm.prank(ACCUSER);
        referee.ask(job.id, 1, 2);
    }

    function test_proofs_that_lead_elsewhere_are_refused() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.segments = 5;
        Job memory job = _honest(terms, 3);
        _commitAll(job, 1, 0, 0, 0);
        _afterCheck(job, 1, 0);
        uint32 segment = audit.segmentOf(job.id, 1);
        for (uint256 i = 0; i < 9; ++i) {
            IAuditTypes.Proof memory proof = _proof(job, 1, segment);
            if (i == 0) proof.salt = 0;
            if (i == 1) proof.result = 0;
            if (i == 2) proof.siblings[0] = 0;
            if (i == 3) proof.siblings = new bytes32[](1);
            if (i == 4) proof.siblings = new bytes32[](9);
            if (i == 5) proof.output = 0;
            if (i == 6) proof.trace = 0;
            if (i == 7) proof.state = 0;
            if (i == 8) proof.stateSiblings[0] = 0;
            vm.prank(PROVIDER);
            (bool ok, bytes memory reason) = address(audit).call(abi.encodeCall(IReferee.openUnit, (job.id, 1, proof)));
            vm.assertTrue(!ok, "refused");
            bytes4 why = i == 3 || i == 4 ? Commitment.ProofMalformed.selector : IAuditTypes.ProofMismatch.selector;
            vm.assertEq(bytes32(bytes4(reason)), bytes32(why));
        }
        _open(job, 1, segment);
    }

    function testFuzz_every_unit_and_segment_of_every_tree_opens(uint256 a, uint256 b, uint256 c) public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.segments = uint32(_within(a, 1, 9));
        uint32 units = uint32(_within(b, 1, 9));
        Job memory job = _honest(terms, units);
        uint32 unit = uint32(_within(c, 0, units - 1));
        _commitAll(job, unit, 0, 0, 0);
        _afterCheck(job, unit, 0);
        _open(job, unit, audit.segmentOf(job.id, unit));
        vm.assertTrue(audit.caseOf(job.id, unit).opened, "opened");
    }

    function test_an_input_is_asked_in_the_first_half_and_handing_it_gives_more_time() public {
        Job memory job = _honest(_bonded(), 2);
        (, uint8 j, address account) = _duty(job, 0, 0, 0);
        uint256 askBy = uint256(audit.roundOf(job.id, 0, 0).drawnAt) + 50;
        (uint256 checkBy,,) = audit.times(job.id, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotOnDuty.selector, job.id, 0, j, STRANGER));
        vm.prank(STRANGER);
        audit.askInput(job.id, 0, j);
        vm.warp(askBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, askBy, askBy + 1));
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        vm.warp(askBy);
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 0, j));
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotCustomer.selector, job.id, STRANGER));
        vm.prank(STRANGER);
        referee.handKey(job.id, 0, "key");
        uint256[2] memory lengths = [uint256(0), 129];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAuditTypes.KeyTooLong.selector, lengths[i], 128));
            vm.prank(CUSTOMER);
            referee.handKey(job.id, 0, new bytes(lengths[i]));
        }
        vm.warp(askBy + 50);
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, new bytes(128));
        (uint256 later,,) = audit.times(job.id, 0, 0);
        vm.assertEq(later, checkBy + 50);
        vm.warp(later);
        _commitAll(job, 0, 0, 4, 0);
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, uint16(1) << j, 4, 0);
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        // A key that does not open is counted for the customer.
        vm.assertEq(audit.withheldCount(CUSTOMER), 1);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
    }

    function test_a_customer_hands_an_address_without_a_question_in_every_round_and_a_bounded_number_of_times() public {
        Job memory job = _cheat(_bonded(), 2);
        // Nobody looks at the unit yet.
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 0, IAuditTypes.Stage.None));
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        uint16 mask = _commitAll(job, 0, 0, 0, _right(0, 0));
        _handUnasked(job, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotCustomer.selector, job.id, PROVIDER));
        vm.prank(PROVIDER);
        referee.handKey(job.id, 0, "node");
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, mask, 0, _right(0, 0));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        vm.assertEq(audit.caseOf(job.id, 0).round, 1);
        for (uint256 i = 1; i < 8; ++i) {
            _handUnasked(job, 0);
        }
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, 8, 8));
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        uint256[2] memory lengths = [uint256(0), 129];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IAuditTypes.KeyTooLong.selector, lengths[i], 128));
            vm.prank(CUSTOMER);
            referee.handKey(job.id, 0, new bytes(lengths[i]));
        }
        _round(job, 0, 1, _right(0, 0));
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 0, IAuditTypes.Stage.Condemned));
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        vm.assertEq(audit.withheldCount(CUSTOMER), 0);
    }

    function test_a_question_is_answered_though_an_address_was_handed_before_it() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.checkers = 2;
        Job memory job = _honest(terms, 2);
        (, uint8 first, address committed) = _duty(job, 0, 0, 0);
        (, uint8 j, address account) = _duty(job, 0, 0, first + 1);
        IAuditTypes.Key memory key = _key(job, 0, 0, first);
        bytes32 hash = _hash(job, key, committed, 0, _right(0, 0));
        vm.prank(committed);
        audit.commitCheck(key, hash, _nobody);
        _handUnasked(job, 0);
        vm.prank(account);
        audit.askInput(job.id, 0, j);
        vm.assertEq(audit.caseOf(job.id, 0).handed, false);
        uint256 handBy = block.timestamp + 50;
        vm.warp(handBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, handBy, handBy + 1));
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        vm.warp(handBy);
        uint256 budgetWei = audit.windowOf(job.id).budgetWei;
        vm.prank(CUSTOMER);
        referee.handKey(job.id, 0, "node");
        vm.assertEq(audit.caseOf(job.id, 0).handed, true);
        vm.assertEq(audit.windowOf(job.id).budgetWei, budgetWei + FEE_WEI);
        // What was answered can be said again, and is no second answer.
        _handUnasked(job, 0);
    }

    /// @dev Nothing but the event comes of it.
    function _handUnasked(Job memory job, uint32 unit) private {
        IAuditTypes.Case memory before = audit.caseOf(job.id, unit);
        uint256 budgetWei = audit.windowOf(job.id).budgetWei;
        (uint256 checkBy,, uint256 revealBy) = audit.times(job.id, unit, before.round);
        vm.expectEmit(address(audit));
        emit IAuditTypes.KeyHanded(job.id, unit, 16, "node");
        vm.prank(CUSTOMER);
        referee.handKey(job.id, unit, "node");
        vm.assertEq(keccak256(abi.encode(audit.caseOf(job.id, unit))), keccak256(abi.encode(before)));
        vm.assertEq(audit.windowOf(job.id).budgetWei, budgetWei);
        (uint256 check,, uint256 reveal) = audit.times(job.id, unit, before.round);
        vm.assertEq(check, checkBy);
        vm.assertEq(reveal, revealBy);
    }

    function test_a_canary_is_told_between_the_reveals_and_the_end_and_only_as_it_was_hashed() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.canary = keccak256(abi.encodePacked("keystead/canary/v1", uint32(1), _junk(1, 0), bytes32("n")));
        Job memory job = _drawnJob(terms, 2, 1, 0);
        uint16 mask = _commitAll(job, 1, 0, 0, _right(1, 0));
        _afterCheck(job, 1, 0);
        _open(job, 1, 0);
        _revealAll(job, 1, 0, mask, 0, _right(1, 0));
        (,, uint256 revealBy) = audit.times(job.id, 1, 0);
        vm.warp(revealBy);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, revealBy, revealBy));
        vm.prank(CUSTOMER);
        referee.revealCanary{value: 10 * uint256(FEE_WEI)}(job.id, 1, _junk(1, 0), "n");
        vm.warp(revealBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotCustomer.selector, job.id, PROVIDER));
        vm.prank(PROVIDER);
        referee.revealCanary(job.id, 1, _junk(1, 0), "n");
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.CanaryMismatch.selector, job.id, 1));
        vm.prank(CUSTOMER);
        referee.revealCanary(job.id, 1, _junk(1, 0), "m");
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 0, IAuditTypes.Stage.None));
        vm.prank(CUSTOMER);
        referee.revealCanary(job.id, 0, _junk(0, 0), "n");
        uint256 neededWei = 10 * uint256(FEE_WEI);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.ValueMismatch.selector, neededWei - 1, neededWei));
        vm.prank(CUSTOMER);
        referee.revealCanary{value: neededWei - 1}(job.id, 1, _junk(1, 0), "n");
        // It is told in time even if somebody has concluded, and the second round has begun.
        referee.conclude(job.id, 1);
        vm.prank(CUSTOMER);
        referee.revealCanary{value: neededWei}(job.id, 1, _junk(1, 0), "n");
        _is(job, 1, IAuditTypes.Stage.Unpaid);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), PRICE_WEI);
    }

    function test_a_private_job_is_checked_by_its_names_and_by_nobody_else() public {
        address[] memory names = new address[](2);
        (names[0], names[1]) = (address(0x1111), address(0x2222));
        IAuditTypes.Terms memory terms = _bonded();
        terms.named = keccak256(abi.encodePacked(names));
        terms.checkers = 2;
        Job memory job = _honest(terms, 2);
        vm.assertEq(uint256(market.order(job.orderId).mode), uint256(IMarket.Mode.Private));
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NamesMismatch.selector, job.id));
        vm.prank(_checker(0));
        audit.commitCheck(_key(job, 0, 0, 0), 0, _nobody);
        for (uint8 j = 0; j < 2; ++j) {
            IAuditTypes.Key memory key = _key(job, 0, 0, j);
            bytes32 hash = _hash(job, key, names[j], 0, keccak256("wrong"));
            vm.prank(names[j]);
            audit.commitCheck(key, hash, names);
        }
        _afterCheck(job, 0, 0);
        _open(job, 0, 0);
        _revealAll(job, 0, 0, 3, 0, keccak256("wrong"));
        _afterReveal(job, 0, 0);
        uint256 before = _bondOf(PROVIDER);
        referee.conclude(job.id, 0);
        // The names stake nothing, so they can cost a unit's pay and no bond.
        _is(job, 0, IAuditTypes.Stage.Unpaid);
        vm.assertEq(_bondOf(PROVIDER), before);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStatus.selector, job.id, IAuditTypes.Status.Open));
        _challenge(ACCUSER, job, 1, 0);
    }

    function test_a_private_job_may_have_no_checkers_at_all() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.named = keccak256("");
        Job memory job = _honest(terms, 2);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
        vm.assertEq(audit.verifiedCount(PROVIDER, 1), 0);
    }

    function test_randomness_that_nobody_took_in_time_is_drawn_anew() public {
        Job memory job = _leased(_bonded(), 2, 2, 0);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        vm.roll(block.number + 8194);
        audit.touch(job.id, 0, 0);
        vm.assertEq(audit.roundOf(job.id, 0, 0).drawnAt, block.timestamp, "the last block of it");
        job = _leased(_bonded(), 2, 2, 0);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        vm.roll(block.number + 8195);
        audit.touch(job.id, 0, 0);
        vm.assertEq(audit.roundOf(job.id, 0, 0).drawnAt, 0);
        vm.assertEq(audit.roundOf(job.id, 0, 0).drawHeight, block.number + 2);
    }

    function test_what_checks_did_not_cost_goes_back_to_the_customer() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.checkers = 5;
        Job memory job = _honest(terms, 4);
        // 4 units of 5 checkers at 100 % are 20 checks; paid for are 30 and 40.
        vm.assertEq(audit.windowOf(job.id).budgetWei, 70 * uint256(FEE_WEI));
        for (uint32 unit = 0; unit < 4; ++unit) {
            _commitAll(job, unit, 0, 0, _right(unit, 0));
        }
        vm.assertEq(audit.windowOf(job.id).budgetWei, 50 * uint256(FEE_WEI));
        for (uint32 unit = 0; unit < 4; ++unit) {
            if (unit == 0) _afterCheck(job, 0, 0);
            _open(job, unit, 0);
        }
        _afterReveal(job, 0, 0);
        for (uint32 unit = 0; unit < 4; ++unit) {
            referee.conclude(job.id, unit);
        }
        _closeAndSettle(job);
        vm.assertEq(audit.credit(CUSTOMER), 70 * uint256(FEE_WEI));
    }

    function test_an_accusation_needs_its_exact_bond_and_comes_once() public {
        Job memory job = _honest(_bonded(), 2);
        uint256 neededWei = 31 * uint256(FEE_WEI);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.ValueMismatch.selector, neededWei - 1, neededWei));
        vm.prank(ACCUSER);
        referee.challenge{value: neededWei - 1}(job.id, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.UnitUnknown.selector, job.id, 1));
        _challenge(ACCUSER, job, 0, 1);
        _challenge(ACCUSER, job, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 0, IAuditTypes.Stage.Checking));
        _challenge(_strangerWithMoney(), job, 0, 0);
        (,, uint256 revealBy) = audit.times(job.id, 1, 0);
        vm.warp(revealBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, revealBy, revealBy + 1));
        _challenge(ACCUSER, job, 1, 0);
    }

    function test_the_referees_own_address_holds_and_does_nothing() public {
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        (bool ok,) = REFEREE_ADDRESS.call{value: 1}(abi.encodeCall(IReferee.challenge, (bytes32(0), 0, 0)));
        vm.assertTrue(!ok, "no window there");
        vm.prank(STRANGER);
        (ok,) = REFEREE_ADDRESS.call{value: 1}("");
        vm.assertTrue(!ok, "no money there");
        vm.prank(STRANGER);
        (ok,) = address(audit).call{value: 1}("");
        vm.assertTrue(!ok, "nor here without a reason");
        vm.prank(STRANGER);
        (ok,) = address(audit).call(abi.encodeWithSignature("unknown()"));
        vm.assertTrue(!ok, "an unknown call is refused");
    }

    function _strangerWithMoney() private returns (address) {
        vm.deal(STRANGER, 1 ether);
        return STRANGER;
    }

    function _reserve(Job memory job, uint32 unit, uint8 from) private view returns (uint8 j, address account) {
        for (j = from; j < 16; ++j) {
            bool eligible;
            bool onDuty;
            (account, eligible, onDuty) = audit.slot(_key(job, unit, 0, j), _nobody);
            if (eligible && !onDuty) return (j, account);
        }
        vm.assertTrue(false, "there is a reserve");
    }

    function _bounds(uint8 term) private pure returns (uint256 min, uint256 max) {
        if (term == 0) return (1, 3);
        if (term == 1) return (1, 5);
        if (term == 2) return (4, 4);
        if (term == 3) return (30_000, 1_000_000);
        if (term == 4) return (250_000, 2_000_000);
        if (term == 5 || term == 6) return (10, 86_400);
        if (term == 7) return (60, 86_400);
        if (term == 8) return (1, 65_536);
        return (100 * uint256(PRICE_WEI), type(uint128).max);
    }

    function _with(uint8 term, uint256 value) private pure returns (IAuditTypes.Terms memory terms) {
        terms = _bonded();
        if (term == 0) terms.class = uint8(value);
        if (term == 1) terms.checkers = uint8(value);
        if (term == 2) terms.abilities = uint8(value);
        if (term == 3) terms.ratePpm = uint32(value);
        if (term == 4) terms.feePpm = uint32(value);
        if (term == 5) terms.checkSeconds = uint32(value);
        if (term == 6) terms.revealSeconds = uint32(value);
        if (term == 7) terms.appealSeconds = uint32(value);
        if (term == 8) terms.segments = uint32(value);
        if (term == 9) terms.bondWei = uint128(value);
    }

    function _refusedTerm(uint8 term, uint256 value, uint256 min, uint256 max) private {
        IAuditTypes.Terms memory terms = _with(term, value);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TermOutOfRange.selector, term, value, min, max));
        audit.checkTerms(terms, PRICE_WEI);
    }
}
