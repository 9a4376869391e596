// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PANELS_ADDRESS} from "../src/Genesis.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IPanels} from "../src/IPanels.sol";
import {AuditFixture} from "./AuditFixture.sol";

/// @title Panels of referees: who votes, what rules, who pays
contract PanelsTest is AuditFixture {
    uint8 private constant RIGHT = 1;
    uint8 private constant NOTHING = 4;

    /// @dev An honest job whose unit 0 was accused and found right by round 0: the first panel is drawn.
    function _accused() private returns (Job memory job) {
        job = _honest(_bonded(), 2);
        _challenge(ACCUSER, job, 0, 0);
        _round(job, 0, 0, _right(0, 0));
        _drawRound(job, 0, 2);
    }

    /// @dev Ballots with exactly so many slots of a panel, from the `from`-th holder on. Returns who voted.
    function _vote(Job memory job, uint8 round, uint256 from, uint256 slots, uint8 finding, bytes32 own)
        private
        returns (address[] memory voters)
    {
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, round);
        voters = new address[](accounts.length);
        uint256 count;
        for (uint256 i = from; slots != 0; ++i) {
            uint128 mask = masks[i];
            while (_votes(mask) > slots) mask &= mask - 1;
            slots -= _votes(mask);
            _commitBallot(job, 0, round, accounts[i], mask, finding, own);
            voters[count++] = accounts[i];
        }
        assembly ("memory-safe") {
            mstore(voters, count)
        }
    }

    function _reveal(Job memory job, uint8 round, address[] memory voters, uint8 finding, bytes32 own) private {
        for (uint256 i = 0; i < voters.length; ++i) {
            _revealBallot(job, 0, round, voters[i], finding, own);
        }
    }

    /// @dev A panel on which so many slots, and no more, find the unit right.
    function _voteRight(Job memory job, uint8 round, uint256 slots) private returns (address[] memory voters) {
        voters = _vote(job, round, 0, slots, 0, _right(0, 0));
        _afterCheck(job, 0, round);
        if (!audit.caseOf(job.id, 0).opened) _open(job, 0, 0);
        _reveal(job, round, voters, 0, _right(0, 0));
        _afterReveal(job, 0, round);
    }

    function _ends(Job memory job, uint8 round, IAuditTypes.Ending ending) private view {
        vm.assertEq(uint256(panels.panelOf(job.id, 0, round).ending), uint256(ending), "the panel's end");
    }

    function test_more_than_two_thirds_of_all_slots_rule_and_one_less_does_not() public {
        uint256[3] memory quorums = [uint256(21), 43, 85];
        for (uint8 round = 2; round < 5; ++round) {
            for (uint256 less = 0; less < 2; ++less) {
                Job memory job = _accused();
                for (uint8 before = 2; before < round; ++before) {
                    _fund(ACCUSER, job, before + 1);
                    _voteRight(job, before, 1);
                    referee.conclude(job.id, 0);
                    _drawRound(job, 0, before + 1);
                }
                uint256 quorum = quorums[round - 2];
                _voteRight(job, round, quorum - less);
                vm.assertEq(panels.panelOf(job.id, 0, round).ruled, less == 0);
                referee.conclude(job.id, 0);
                _ends(job, round, less == 0 ? IAuditTypes.Ending.Ruling : IAuditTypes.Ending.NoRuling);
                if (less == 0) _is(job, 0, IAuditTypes.Stage.Verified);
            }
        }
    }

    function test_panels_follow_one_another_with_their_own_draws_and_after_the_last_nobody_loses() public {
        Job memory job = _accused();
        uint256 before = _bondOf(PROVIDER);
        bytes32 randomness;
        for (uint8 round = 2; round < 5; ++round) {
            IAuditTypes.Round memory drawn = audit.roundOf(job.id, 0, round);
            vm.assertTrue(drawn.randomness != randomness && drawn.drawHeight != 0, "a draw of its own");
            randomness = drawn.randomness;
            vm.expectRevert();
            panels.panelSlot(job.id, 0, round, uint8((uint256(1) << (round + 3)) - 1));
            if (round < 4) _fund(ACCUSER, job, round + 1);
            address[] memory voters = _voteRight(job, round, 3);
            uint256 height = block.number + 2;
            referee.conclude(job.id, 0);
            for (uint256 i = 0; i < voters.length; ++i) {
                uint256 had = audit.credit(voters[i]);
                panels.settleBallot(job.id, 0, round, voters[i]);
                vm.assertEq(audit.credit(voters[i]) - had, FEE_WEI, "who found something is paid without a ruling too");
            }
            if (round == 4) break;
            vm.assertEq(audit.roundOf(job.id, 0, round + 1).drawHeight, height);
            _drawRound(job, 0, round + 1);
        }
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        _closeAndSettle(job);
        vm.assertEq(_bondOf(PROVIDER), before);
        vm.assertEq(market.credit(PROVIDER), 2 * uint256(PRICE_WEI));
    }

    function test_a_silent_third_stops_a_ruling_and_a_lying_one_gets_none() public {
        Job memory job = _accused();
        address[] memory honest = _vote(job, 2, 0, 20, 0, _right(0, 0));
        address[] memory ring = _vote(job, 2, honest.length, 8, 0, keccak256("lie"));
        _afterCheck(job, 0, 2);
        if (!audit.caseOf(job.id, 0).opened) _open(job, 0, 0);
        _reveal(job, 2, honest, 0, _right(0, 0));
        _reveal(job, 2, ring, 0, keccak256("lie"));
        _afterReveal(job, 0, 2);
        uint256 before = _bondOf(PROVIDER);
        referee.conclude(job.id, 0);
        _ends(job, 2, IAuditTypes.Ending.NoRuling);
        // An accusation that does not pay for the next panel ends here, without a loser.
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        vm.assertEq(_bondOf(PROVIDER), before);
    }

    function test_a_slot_is_its_holders_and_votes_once() public {
        Job memory job = _accused();
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        uint8[] memory slots = _list(masks[0]);
        (address holder, bytes32 hash) = (accounts[0], keccak256("ballot"));
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotOnDuty.selector, job.id, 0, slots[0], STRANGER));
        _commit(job, STRANGER, slots, hash);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotsOutOfRange.selector, 0, 32));
        _commit(job, holder, new uint8[](0), hash);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotsOutOfRange.selector, 33, 32));
        _commit(job, holder, new uint8[](33), hash);
        uint8[] memory beyond = new uint8[](1);
        beyond[0] = 31;
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NotOnDuty.selector, job.id, 0, 31, holder));
        _commit(job, holder, beyond, hash);
        uint8[] memory twice = new uint8[](2);
        (twice[0], twice[1]) = (slots[0], slots[0]);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 0, slots[0]));
        _commit(job, holder, twice, hash);
        _commit(job, holder, slots, hash);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.SlotTaken.selector, job.id, 0, slots[0]));
        _commit(job, holder, slots, hash);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.BallotMismatch.selector, job.id, 0, holder, hash));
        _commit(job, holder, slots, keccak256("another"));
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongRound.selector, job.id, 0, 2));
        vm.prank(holder);
        panels.commitBallot(job.id, 0, 3, slots, hash);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongRound.selector, job.id, 0, 2));
        vm.prank(holder);
        audit.commitCheck(_key(job, 0, 2, slots[0]), hash, _nobody);
    }

    function test_one_ballot_carries_all_slots_of_an_account_for_one_fee() public {
        // Most seats are one account's, so that it has more slots than one call takes.
        _sit(address(0xB16), 64, 1, 15);
        Job memory job = _accused();
        _fund(ACCUSER, job, 3);
        _fund(ACCUSER, job, 4);
        for (uint8 round = 2; round < 4; ++round) {
            _voteRight(job, round, 1);
            referee.conclude(job.id, 0);
            _drawRound(job, 0, round + 1);
        }
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 4);
        uint256 k = 0;
        while (accounts[k] != address(0xB16)) ++k;
        uint8[] memory slots = _list(masks[k]);
        vm.assertTrue(slots.length > 32, "more than one call takes");
        uint256 left = audit.caseOf(job.id, 0).partyWei;
        bytes32 hash = _ballotHash(job, 0, 4, accounts[k], 0, _right(0, 0));
        for (uint256 i = 0; i < slots.length; i += 32) {
            uint256 count = slots.length - i < 32 ? slots.length - i : 32;
            uint8[] memory some = new uint8[](count);
            for (uint256 s = 0; s < count; ++s) {
                some[s] = slots[i + s];
            }
            vm.prank(accounts[k]);
            panels.commitBallot(job.id, 0, 4, some, hash);
        }
        IAuditTypes.Ballot memory ballot = panels.ballotOf(job.id, 0, 4, accounts[k]);
        vm.assertEq(ballot.votes, slots.length);
        vm.assertEq(ballot.slots, masks[k]);
        vm.assertEq(ballot.seats, 64);
        vm.assertEq(left - audit.caseOf(job.id, 0).partyWei, FEE_WEI);
        _afterCheck(job, 0, 4);
        _revealBallot(job, 0, 4, accounts[k], 0, _right(0, 0));
        vm.assertEq(panels.supportOf(job.id, 0, 4, _right(0, 0)).votes, slots.length);
        vm.assertEq(panels.supportOf(job.id, 0, 4, _right(0, 0)).ballots, 1);
    }

    function test_who_has_a_part_in_the_case_holds_no_slot_and_holes_are_passed_over() public {
        vm.deal(PROVIDER, 1e36);
        _sit(PROVIDER, 24, 9, 15);
        _sit(CUSTOMER, 24, 9, 15);
        _sit(ACCUSER, 24, 9, 15);
        _sit(address(0x1DE), 8, 9, 7); // cannot be a referee
        Job memory job = _honest(_bonded(), 2);
        _challenge(ACCUSER, job, 0, 0);
        (,, address checker) = _duty(job, 0, 0, 0);
        _round(job, 0, 0, _right(0, 0));
        _drawRound(job, 0, 2);
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        uint256 held;
        for (uint256 i = 0; i < accounts.length; ++i) {
            address account = accounts[i];
            vm.assertTrue(account != PROVIDER && account != CUSTOMER && account != ACCUSER, "no party");
            vm.assertTrue(account != checker && account != address(0x1DE), "no checker, and able");
            held += _votes(masks[i]);
        }
        // 23 of 104 places may vote: of eight tries one finds such a place in 7 of 8 slots.
        vm.assertTrue(held > 21, "the panel is not empty for it");
    }

    function test_the_times_of_a_ballot() public {
        Job memory job = _accused();
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        (uint256 checkBy,, uint256 revealBy) = audit.times(job.id, 0, 2);
        bytes32 nonce = keccak256(abi.encodePacked("nonce", accounts[0]));
        vm.warp(checkBy);
        _commitBallot(job, 0, 2, accounts[0], masks[0], 0, _right(0, 0));
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, checkBy, checkBy));
        vm.prank(accounts[0]);
        panels.revealBallot(job.id, 0, 2, IAuditTypes.Finding.Compare, _right(0, 0), nonce);
        vm.warp(checkBy + 1);
        uint8[] memory slots = _list(masks[1]);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, checkBy, checkBy + 1));
        _commit(job, accounts[1], slots, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.RevealMismatch.selector, job.id, 0, 0));
        vm.prank(accounts[0]);
        panels.revealBallot(job.id, 0, 2, IAuditTypes.Finding.Compare, keccak256("other"), nonce);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.RevealMismatch.selector, job.id, 0, 0));
        vm.prank(accounts[1]);
        panels.revealBallot(job.id, 0, 2, IAuditTypes.Finding.Compare, _right(0, 0), nonce);
        vm.warp(revealBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooLate.selector, revealBy, revealBy + 1));
        vm.prank(accounts[0]);
        panels.revealBallot(job.id, 0, 2, IAuditTypes.Finding.Compare, _right(0, 0), nonce);
        vm.warp(revealBy);
        vm.prank(accounts[0]);
        panels.revealBallot(job.id, 0, 2, IAuditTypes.Finding.Compare, _right(0, 0), nonce);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.TooEarly.selector, revealBy, revealBy));
        referee.conclude(job.id, 0);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NothingToSettle.selector, job.id, 0, accounts[0]));
        panels.settleBallot(job.id, 0, 2, accounts[0]);
        vm.warp(revealBy + 1);
        referee.conclude(job.id, 0);
    }

    function test_a_ballot_beside_the_ruling_and_an_absent_one_cost_a_tenth_for_each_vote() public {
        _sit(address(0xB16), 64, 1, 15);
        Job memory job = _accused();
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        uint256 big = 0;
        while (accounts[big] != address(0xB16)) ++big;
        // The big one rules with the others but for three: one lies, one is absent, one finds nothing.
        uint256[3] memory odd;
        uint256 count;
        uint256 votes = 31;
        for (uint256 i = 0; i < accounts.length && count < 3; ++i) {
            if (i == big) continue;
            odd[count++] = i;
            votes -= _votes(masks[i]);
        }
        vm.assertTrue(votes >= 21, "the others are enough");
        for (uint256 i = 0; i < accounts.length; ++i) {
            bool lies = i == odd[0] || i == odd[1];
            bytes32 own = lies ? keccak256("lie") : _right(0, 0);
            _commitBallot(job, 0, 2, accounts[i], masks[i], i == odd[2] ? NOTHING : 0, own);
        }
        _afterCheck(job, 0, 2);
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (i == odd[1]) continue;
            bytes32 own = i == odd[0] ? keccak256("lie") : _right(0, 0);
            _revealBallot(job, 0, 2, accounts[i], i == odd[2] ? NOTHING : 0, own);
        }
        _afterReveal(job, 0, 2);
        uint256 left = audit.caseOf(job.id, 0).partyWei;
        referee.conclude(job.id, 0);
        vm.assertEq(left, (31 - accounts.length) * uint256(FEE_WEI));
        // What the liar and the absent one did not earn comes back to the accuser, who was wrong and pays the rest.
        vm.assertEq(audit.credit(ACCUSER), left + 2 * uint256(FEE_WEI));
        for (uint256 i = 0; i < 2; ++i) {
            address account = accounts[odd[i]];
            uint256 shown = _bondOf(STRANGER);
            vm.prank(STRANGER);
            panels.settleBallot(job.id, 0, 2, account);
            // One seat: a tenth of it, however many votes.
            vm.assertEq(SEAT_WEI - _bondOf(account), SEAT_WEI / 10);
            vm.assertEq(_bondOf(STRANGER) - shown, SEAT_WEI / 20);
            vm.assertEq(bond.accountOf(account).strikes, 1);
            vm.assertEq(audit.credit(account), 0);
        }
        panels.settleBallot(job.id, 0, 2, accounts[odd[2]]);
        vm.assertEq(audit.credit(accounts[odd[2]]), FEE_WEI, "it is no fault to find nothing");
        panels.settleBallot(job.id, 0, 2, accounts[big]);
        vm.assertEq(audit.credit(accounts[big]), FEE_WEI, "one run, one fee");
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.NothingToSettle.selector, job.id, 0, accounts[big]));
        panels.settleBallot(job.id, 0, 2, accounts[big]);
    }

    function test_many_seats_lose_for_many_votes_and_who_shows_itself_gets_no_half() public {
        _sit(address(0xB16), 64, 1, 15);
        Job memory job = _accused();
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        uint256 big = 0;
        while (accounts[big] != address(0xB16)) ++big;
        _commitBallot(job, 0, 2, accounts[big], masks[big], 0, keccak256("lie"));
        _afterReveal(job, 0, 2);
        _is(job, 0, IAuditTypes.Stage.Checking);
        uint256 before = _bondOf(accounts[big]);
        // Nobody opened it, but it was opened in round 0 already.
        referee.conclude(job.id, 0);
        vm.prank(accounts[big]);
        panels.settleBallot(job.id, 0, 2, accounts[big]);
        uint256 votes = _votes(masks[big]);
        vm.assertTrue(votes > 10, "many votes");
        vm.assertEq(before - _bondOf(accounts[big]), votes * SEAT_WEI / 10);
    }

    function test_a_referee_that_gives_its_seats_up_before_it_lies_loses_as_much() public {
        _sit(address(0xB16), 64, 1, 15);
        Job memory job = _accused();
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        uint256 big = 0;
        while (accounts[big] != address(0xB16)) ++big;
        uint32[] memory positions = new uint32[](64);
        for (uint32 i = 0; i < 64; ++i) {
            positions[i] = uint32(CHECKERS) + i;
        }
        vm.prank(accounts[big]);
        bond.unseat(positions);
        vm.assertEq(bond.accountOf(accounts[big]).seats, 0);
        _commitBallot(job, 0, 2, accounts[big], masks[big], 0, keccak256("lie"));
        _afterReveal(job, 0, 2);
        referee.conclude(job.id, 0);
        uint256 before = _bondOf(accounts[big]);
        panels.settleBallot(job.id, 0, 2, accounts[big]);
        vm.assertEq(before - _bondOf(accounts[big]), _votes(masks[big]) * SEAT_WEI / 10);
    }

    function test_a_provider_that_does_not_open_before_a_panel_is_convicted_and_its_referees_are_paid() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.segments = 4;
        Job memory job = _honest(terms, 2);
        uint32 other = audit.segmentOf(job.id, 0) == 0 ? 1 : 0;
        _challenge(ACCUSER, job, 0, other);
        uint16 mask = _commitAll(job, 0, 0, 0, _right(0, audit.segmentOf(job.id, 0)));
        _afterCheck(job, 0, 0);
        _open(job, 0, audit.segmentOf(job.id, 0));
        _revealAll(job, 0, 0, mask, 0, _right(0, audit.segmentOf(job.id, 0)));
        _afterReveal(job, 0, 0);
        referee.conclude(job.id, 0);
        _drawRound(job, 0, 2);
        address[] memory voters = _vote(job, 2, 0, 5, 0, _right(0, other));
        _afterReveal(job, 0, 2);
        uint256 before = _bondOf(PROVIDER);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Wrong);
        _ends(job, 2, IAuditTypes.Ending.Unopened);
        vm.assertEq(before - _bondOf(PROVIDER), BOND_WEI);
        vm.assertEq(audit.credit(ACCUSER), 31 * uint256(FEE_WEI), "the bond comes back in full");
        for (uint256 i = 0; i < voters.length; ++i) {
            panels.settleBallot(job.id, 0, 2, voters[i]);
            vm.assertEq(audit.credit(voters[i]), FEE_WEI);
            vm.assertEq(_bondOf(voters[i]), SEAT_WEI);
        }
    }

    function test_an_appeal_that_does_not_pay_for_its_next_panel_has_failed() public {
        // A cheat that was condemned appeals; nobody rules.
        Job memory job = _cheat(_bonded(), 2);
        uint256 before = _bondOf(PROVIDER);
        _round(job, 0, 0, _right(0, 0));
        _round(job, 0, 1, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Condemned);
        _challenge(PROVIDER, job, 0, 0);
        _drawRound(job, 0, 2);
        _afterReveal(job, 0, 2);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Wrong);
        vm.assertEq(before - _bondOf(PROVIDER), BOND_WEI);
        vm.assertEq(audit.credit(PROVIDER), 31 * uint256(FEE_WEI), "what no referee cost comes back");
        // A slanderer that was cleared away appeals.
        job = _honest(_bonded(), 2);
        (,, address liar) = _duty(job, 0, 0, 0);
        _round(job, 0, 0, keccak256("slander"));
        _round(job, 0, 1, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Cleared);
        _challenge(liar, job, 0, 0);
        _drawRound(job, 0, 2);
        _afterReveal(job, 0, 2);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Verified);
        vm.assertEq(_bondOf(liar), 0);
    }

    function test_an_appeal_that_pays_goes_on_and_is_filled_up_when_it_is_right() public {
        Job memory job = _honest(_bonded(), 2);
        _round(job, 0, 0, keccak256("slander"));
        _round(job, 0, 1, keccak256("slander"));
        uint256 spent = PROVIDER.balance;
        _challenge(PROVIDER, job, 0, 0);
        _drawRound(job, 0, 2);
        uint256 feesWei = 63 * uint256(FEE_WEI);
        // One fee short is not enough.
        vm.prank(PROVIDER);
        panels.fund{value: feesWei - 31 * uint256(FEE_WEI)}(job.id, 0);
        _voteRight(job, 2, 2);
        vm.prank(PROVIDER);
        panels.fund{value: 2 * uint256(FEE_WEI)}(job.id, 0);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Checking);
        vm.assertEq(audit.caseOf(job.id, 0).round, 3);
        _round(job, 0, 3, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Verified);
        vm.assertEq(audit.credit(PROVIDER), spent - PROVIDER.balance, "every wei that the panels cost comes back");
    }

    function test_a_panel_without_a_party_is_paid_by_the_budget_and_by_who_funds_it() public {
        // The first of two differs from the second: nobody stands for either side.
        Job memory job = _leased(_bonded(), 1, 1, 0);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        _draw(job);
        vm.assertEq(audit.windowOf(job.id).budgetWei, 42 * uint256(FEE_WEI));
        _round(job, 0, 0, keccak256("slander"));
        _drawRound(job, 0, 1);
        (, uint8 first, address liar) = _duty(job, 0, 1, 0);
        (, uint8 second, address honest) = _duty(job, 0, 1, first + 1);
        _commitOne(job, 1, first, liar, keccak256("slander"));
        _commitOne(job, 1, second, honest, _right(0, 0));
        _afterCheck(job, 0, 1);
        _revealAll(job, 0, 1, uint16(1) << first, 0, keccak256("slander"));
        _revealAll(job, 0, 1, uint16(1) << second, 0, _right(0, 0));
        _afterReveal(job, 0, 1);
        referee.conclude(job.id, 0);
        vm.assertEq(audit.caseOf(job.id, 0).party, address(0));
        for (uint8 round = 2; round < 5; ++round) {
            _drawRound(job, 0, round);
            _voteRight(job, round, round == 4 ? 1 : 20);
            if (round == 4) break;
            referee.conclude(job.id, 0);
        }
        uint256 leftWei = audit.windowOf(job.id).budgetWei;
        vm.assertTrue(leftWei < 39 * uint256(FEE_WEI), "the budget pays");
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        panels.fund{value: 5}(job.id, 0);
        vm.assertEq(audit.windowOf(job.id).budgetWei, leftWei + 5);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.ValueMismatch.selector, 0, FEE_WEI));
        panels.fund(job.id, 0);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Unchecked);
        vm.expectRevert(abi.encodeWithSelector(IAuditTypes.WrongStage.selector, job.id, 0, IAuditTypes.Stage.Unchecked));
        vm.prank(STRANGER);
        panels.fund{value: 5}(job.id, 0);
    }

    function test_a_spent_budget_takes_no_further_ballot_and_everything_still_ends() public {
        IAuditTypes.Terms memory terms = _bonded();
        Job memory job = _honest(terms, 4);
        // Each unit is slandered and nobody comes to the second round: four panels on one budget of 46.
        for (uint32 unit = 0; unit < 4; ++unit) {
            _commitAll(job, unit, 0, 0, keccak256("slander"));
        }
        _afterCheck(job, 0, 0);
        for (uint32 unit = 0; unit < 4; ++unit) {
            _open(job, unit, 0);
            _revealAll(job, unit, 0, uint16(audit.caseOf(job.id, unit).committed), 0, keccak256("slander"));
        }
        _afterReveal(job, 0, 0);
        for (uint32 unit = 0; unit < 4; ++unit) {
            referee.conclude(job.id, unit);
            _drawRound(job, unit, 1);
        }
        _afterReveal(job, 3, 1);
        for (uint32 unit = 0; unit < 4; ++unit) {
            referee.conclude(job.id, unit);
        }
        bool isSpent;
        for (uint32 unit = 0; unit < 4; ++unit) {
            _drawRound(job, unit, 2);
        }
        for (uint32 unit = 0; unit < 4; ++unit) {
            (address[] memory accounts, uint128[] memory masks) = _referees(job, unit, 2);
            for (uint256 i = 0; i < accounts.length; ++i) {
                uint8[] memory slots = _list(masks[i]);
                if (audit.windowOf(job.id).budgetWei < FEE_WEI) {
                    isSpent = true;
                    vm.expectRevert(abi.encodeWithSelector(IAuditTypes.BudgetSpent.selector, job.id, 0, FEE_WEI));
                }
                vm.prank(accounts[i]);
                panels.commitBallot(job.id, unit, 2, slots, 0);
                if (isSpent) break;
            }
        }
        vm.assertTrue(isSpent, "the budget is spent");
        for (uint256 i = 0; i < 3; ++i) {
            vm.warp(block.timestamp + 1000);
            for (uint32 unit = 0; unit < 4; ++unit) {
                if (_stage(job, unit) != IAuditTypes.Stage.Checking) continue;
                if (i != 0) _drawRound(job, unit, uint8(2 + i));
                vm.warp(block.timestamp + 1000);
                referee.conclude(job.id, unit);
            }
        }
        _is(job, 3, IAuditTypes.Stage.Unchecked);
        _closeAndSettle(job);
        vm.assertEq(market.credit(PROVIDER), 4 * uint256(PRICE_WEI));
    }

    function test_the_findings_of_other_classes_rule_by_their_number() public {
        IAuditTypes.Terms memory terms = _bonded();
        terms.class = 3;
        terms.abilities = 4;
        for (uint8 finding = 1; finding < 4; ++finding) {
            Job memory job = _honest(terms, 2);
            uint256 before = _bondOf(PROVIDER);
            _challenge(ACCUSER, job, 0, 0);
            uint16 mask = _commitAll(job, 0, 0, 0, 0);
            _afterCheck(job, 0, 0);
            _open(job, 0, 0);
            _revealAll(job, 0, 0, mask, RIGHT, 0);
            _afterReveal(job, 0, 0);
            referee.conclude(job.id, 0);
            _drawRound(job, 0, 2);
            address[] memory voters = _vote(job, 2, 0, 21, 0, keccak256("own"));
            _afterCheck(job, 0, 2);
            _reveal(job, 2, voters, finding, keccak256("own"));
            _afterReveal(job, 0, 2);
            referee.conclude(job.id, 0);
            IAuditTypes.Stage[3] memory stages =
                [IAuditTypes.Stage.Verified, IAuditTypes.Stage.Unpaid, IAuditTypes.Stage.Wrong];
            _is(job, 0, stages[finding - 1]);
            vm.assertEq(before - _bondOf(PROVIDER), finding == 3 ? BOND_WEI : 0);
        }
    }

    function test_a_panel_whose_randomness_was_lost_is_drawn_anew_and_not_over() public {
        Job memory job = _honest(_bonded(), 2);
        _challenge(ACCUSER, job, 0, 0);
        _round(job, 0, 0, _right(0, 0));
        vm.roll(block.number + 8195);
        vm.warp(block.timestamp + 8195);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Checking);
        vm.assertEq(audit.roundOf(job.id, 0, 2).drawHeight, block.number + 2);
        _drawRound(job, 0, 2);
        _voteRight(job, 2, 21);
        referee.conclude(job.id, 0);
        _is(job, 0, IAuditTypes.Stage.Verified);
    }

    function test_a_second_round_whose_randomness_was_lost_is_drawn_anew_and_not_over() public {
        Job memory job = _cheat(_bonded(), 2);
        _round(job, 0, 0, _right(0, 0));
        vm.roll(block.number + 8195);
        vm.warp(block.timestamp + 8195);
        referee.conclude(job.id, 0);
        vm.assertEq(audit.caseOf(job.id, 0).round, 1);
        vm.assertEq(audit.roundOf(job.id, 0, 1).drawHeight, block.number + 2);
        _round(job, 0, 1, _right(0, 0));
        _is(job, 0, IAuditTypes.Stage.Condemned);
    }

    function test_the_panels_own_address_holds_and_does_nothing() public {
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        (bool ok,) = PANELS_ADDRESS.call{value: 1}(abi.encodeCall(IPanels.fund, (bytes32(0), 0)));
        vm.assertTrue(!ok, "no window there");
        vm.prank(STRANGER);
        (ok,) = PANELS_ADDRESS.call{value: 1}("");
        vm.assertTrue(!ok, "no money there");
        vm.prank(STRANGER);
        (ok,) = PANELS_ADDRESS.call(abi.encodeWithSignature("unknown()"));
        vm.assertTrue(!ok, "an unknown call is refused");
    }

    function _fund(address payer, Job memory job, uint8 round) private {
        vm.prank(payer);
        panels.fund{value: ((uint256(1) << (round + 3)) - 1) * uint256(FEE_WEI)}(job.id, 0);
    }

    function _commit(Job memory job, address account, uint8[] memory slots, bytes32 hash) private {
        vm.prank(account);
        panels.commitBallot(job.id, 0, 2, slots, hash);
    }

    function _commitOne(Job memory job, uint8 round, uint8 j, address account, bytes32 own) private {
        bytes32 hash = _hash(job, _key(job, 0, round, j), account, 0, own);
        vm.prank(account);
        audit.commitCheck(_key(job, 0, round, j), hash, _nobody);
    }
}
