// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AUDIT_ADDRESS, MARKET_ADDRESS, REFEREE_ADDRESS} from "../src/Genesis.sol";
import {IBond} from "../src/IBond.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The bond, function by function, and its list of seats
contract BondTest is MarketFixture {
    uint256 private constant SEAT = 100 ether;
    address private constant ANNA = address(0xA11A);
    address private constant BERT = address(0xBE27);

    function setUp() public override {
        super.setUp();
        vm.deal(ANNA, 10_000 ether);
        vm.deal(BERT, 10_000 ether);
    }

    function test_bond_leaves_after_the_delay_and_not_a_second_earlier() public {
        _deposit(ANNA, 5 ether);
        vm.prank(ANNA);
        bond.requestLeave(2 ether);
        uint256 leaveAt = block.timestamp + 14 days;
        vm.warp(leaveAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IBond.LeaveTooEarly.selector, ANNA, leaveAt, leaveAt - 1));
        vm.prank(ANNA);
        bond.withdraw();
        vm.warp(leaveAt);
        vm.prank(ANNA);
        bond.withdrawTo(payable(BERT));
        vm.assertEq(BERT.balance, 10_002 ether);
        vm.assertEq(bond.accountOf(ANNA).freeWei, 3 ether);
        vm.expectRevert(abi.encodeWithSelector(IBond.NothingLeaving.selector, ANNA));
        vm.prank(ANNA);
        bond.withdraw();
    }

    function test_a_second_request_starts_the_delay_anew_for_both() public {
        _deposit(ANNA, 5 ether);
        vm.prank(ANNA);
        bond.requestLeave(2 ether);
        vm.warp(block.timestamp + 14 days - 1);
        vm.prank(ANNA);
        bond.requestLeave(1 ether);
        vm.warp(block.timestamp + 1);
        (bool ok,) = _as(ANNA, abi.encodeCall(IBond.withdraw, ()));
        vm.assertTrue(!ok, "too early for both");
        vm.warp(block.timestamp + 14 days - 1);
        vm.prank(ANNA);
        bond.withdraw();
        vm.assertEq(ANNA.balance, 9_998 ether);
    }

    function test_no_more_leaves_or_is_seated_than_is_free() public {
        _deposit(ANNA, SEAT - 1);
        vm.expectRevert(abi.encodeWithSelector(IBond.FreeTooSmall.selector, ANNA, SEAT - 1, SEAT));
        vm.prank(ANNA);
        bond.requestLeave(SEAT);
        vm.expectRevert(abi.encodeWithSelector(IBond.FreeTooSmall.selector, ANNA, SEAT - 1, SEAT));
        vm.prank(ANNA);
        bond.seat(1, 1, 1);
    }

    function test_nobody_but_market_audit_and_referee_moves_anothers_bond() public {
        _deposit(ANNA, 10 ether);
        bytes[5] memory calls = [
            abi.encodeCall(IBond.lock, (ANNA, 1)),
            abi.encodeCall(IBond.unlock, (ANNA, 0)),
            abi.encodeCall(IBond.slashLocked, (ANNA, 0, new address[](0))),
            abi.encodeCall(IBond.slashSeated, (ANNA, 1, new address[](0))),
            abi.encodeCall(IBond.strike, (ANNA))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool ok, bytes memory reason) = _as(ANNA, calls[i]);
            vm.assertTrue(!ok, "refused");
            vm.assertEq(reason, abi.encodeWithSelector(IBond.NotAuthorized.selector, ANNA));
            address[3] memory rightful = [MARKET_ADDRESS, AUDIT_ADDRESS, REFEREE_ADDRESS];
            for (uint256 k = 0; k < 3; ++k) {
                (ok,) = _as(rightful[k], calls[i]);
                vm.assertTrue(ok, "allowed");
            }
        }
    }

    function test_a_seat_counts_from_the_next_epoch_until_the_next_after_it_was_given_up() public {
        (uint32 epoch, uint32 places) = bond.placesNow();
        _seat(ANNA, 2);
        (, places) = bond.placesNow();
        vm.assertEq(places, 0, "the running epoch's list stays as it was");
        vm.assertEq(bond.seatIn(epoch, 0).account, address(0));
        vm.roll(block.number + 256);
        (epoch, places) = bond.placesNow();
        vm.assertEq(places, 2);
        vm.assertEq(bond.seatIn(epoch, 1).account, ANNA);
        _unseat(ANNA, 1);
        vm.assertEq(bond.seatIn(epoch, 1).account, ANNA, "until the epoch ends");
        vm.assertEq(bond.seatIn(epoch + 1, 1).account, address(0));
        vm.roll(block.number + 256);
        vm.assertEq(bond.seatIn(epoch, 1).account, ANNA, "and what was, stays readable");
        vm.assertEq(bond.accountOf(ANNA).leavingWei, SEAT);
        vm.assertEq(bond.accountOf(ANNA).seats, 1);
    }

    function test_a_place_is_filled_again_only_when_no_window_can_ask_for_it() public {
        _seat(ANNA, 2);
        vm.roll(block.number + 256);
        _unseat(ANNA, 0);
        vm.warp(block.timestamp + 14 days - 1);
        _seat(BERT, 1);
        vm.assertEq(bond.seatAt(2).account, BERT);
        vm.assertEq(bond.seatAt(0).account, ANNA);
        vm.warp(block.timestamp + 1);
        _seat(BERT, 1);
        vm.assertEq(bond.seatAt(0).account, BERT);
    }

    function test_holes_that_were_cut_off_do_not_keep_the_list_from_getting_shorter() public {
        _seat(ANNA, 11);
        vm.roll(block.number + 256);
        for (uint32 position = 2; position < 11; ++position) {
            _unseat(ANNA, position);
        }
        vm.warp(block.timestamp + 14 days);
        for (uint256 i = 0; i < 9; ++i) {
            bond.compact();
        }
        _unseat(ANNA, 0);
        vm.warp(block.timestamp + 14 days);
        // Nine entries of places that are gone stand in front of the hole: one call drops eight of them, and the next one finds it.
        bond.compact();
        bond.compact();
        vm.roll(block.number + 256);
        (uint32 epoch, uint32 places) = bond.placesNow();
        vm.assertEq(places, 2);
        vm.assertEq(bond.seatIn(epoch, 0).account, ANNA);
        vm.assertEq(bond.seatIn(epoch, 1).account, address(0));
    }

    function test_the_list_gets_shorter_again() public {
        _seat(ANNA, 3);
        _seat(BERT, 1);
        vm.roll(block.number + 256);
        vm.expectRevert(abi.encodeWithSelector(IBond.NothingToCompact.selector, 4));
        bond.compact();
        _unseat(ANNA, 0);
        _unseat(ANNA, 1);
        vm.warp(block.timestamp + 14 days);
        bond.compact();
        // Bert's seat moved into the oldest hole, and its old place becomes a hole at the end of the epoch.
        (uint32 epoch,) = bond.placesNow();
        vm.assertEq(bond.seatIn(epoch, 3).account, BERT);
        vm.roll(block.number + 256);
        vm.assertEq(bond.seatIn(epoch + 1, 0).account, BERT);
        vm.assertEq(bond.seatIn(epoch + 1, 3).account, address(0));
        // The end is too young, so nothing can go on before its time.
        vm.expectRevert(abi.encodeWithSelector(IBond.NothingToCompact.selector, 4));
        bond.compact();
        vm.warp(block.timestamp + 14 days);
        bond.compact();
        bond.compact();
        vm.roll(block.number + 256);
        (, uint32 places) = bond.placesNow();
        vm.assertEq(places, 3);
        vm.assertEq(bond.seatAt(1).account, ANNA);
        vm.assertEq(bond.accountOf(ANNA).seats, 1);
    }

    function test_a_seat_is_given_up_once_and_only_by_its_account() public {
        _seat(ANNA, 1);
        vm.expectRevert(abi.encodeWithSelector(IBond.NotSeated.selector, BERT, 0));
        _unseat(BERT, 0);
        _unseat(ANNA, 0);
        vm.expectRevert(abi.encodeWithSelector(IBond.NotSeated.selector, ANNA, 0));
        _unseat(ANNA, 0);
    }

    function test_a_call_takes_a_bounded_number_of_seats() public {
        _deposit(ANNA, 65 * SEAT);
        vm.expectRevert(abi.encodeWithSelector(IBond.TooMany.selector, 65, 64));
        vm.prank(ANNA);
        bond.seat(65, 1, 1);
        vm.prank(ANNA);
        bond.seat(64, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IBond.TooMany.selector, 65, 64));
        vm.prank(ANNA);
        bond.unseat(new uint32[](65));
        vm.expectRevert(abi.encodeWithSelector(IBond.AmountZero.selector, ANNA));
        vm.prank(ANNA);
        bond.seat(0, 1, 1);
        uint8[2] memory unknown = [0, 16];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IBond.AbilitiesUnknown.selector, unknown[i]));
            vm.prank(ANNA);
            bond.seat(1, 1, unknown[i]);
        }
    }

    function test_eight_strikes_suspend_for_the_rest_of_the_epoch_and_the_next() public {
        _seat(ANNA, 1);
        vm.roll(block.number + 256);
        (uint32 epoch,) = bond.placesNow();
        for (uint256 i = 0; i < 8; ++i) {
            vm.assertEq(bond.seatIn(epoch, 0).account, ANNA);
            vm.prank(AUDIT_ADDRESS);
            bond.strike(ANNA);
        }
        vm.assertEq(bond.seatIn(epoch, 0).account, address(0));
        vm.roll(block.number + 256);
        vm.assertEq(bond.seatIn(epoch + 1, 0).account, address(0));
        vm.roll(block.number + 256);
        vm.assertEq(bond.seatIn(epoch + 2, 0).account, ANNA);
    }

    function test_a_seat_without_its_bond_is_not_drawn_until_it_is_filled() public {
        _seat(ANNA, 1);
        vm.roll(block.number + 256);
        (uint32 epoch,) = bond.placesNow();
        vm.prank(AUDIT_ADDRESS);
        bond.slashSeated(ANNA, 1 ether, new address[](0));
        vm.assertEq(bond.seatIn(epoch, 0).account, address(0));
        _deposit(ANNA, 1 ether - 1);
        vm.assertEq(bond.seatIn(epoch, 0).account, address(0));
        _deposit(ANNA, 3);
        vm.assertEq(bond.seatIn(epoch, 0).account, ANNA);
        vm.assertEq(bond.accountOf(ANNA).freeWei, 2);
    }

    function test_a_slash_of_a_checker_never_takes_what_stands_behind_a_window() public {
        _deposit(ANNA, 10 ether);
        vm.prank(MARKET_ADDRESS);
        bond.lock(ANNA, 6 ether);
        vm.prank(ANNA);
        bond.requestLeave(3 ether);
        vm.prank(AUDIT_ADDRESS);
        vm.assertEq(bond.slashSeated(ANNA, 100 ether, new address[](0)), 4 ether);
        vm.assertEq(bond.accountOf(ANNA).lockedWei, 6 ether);
        vm.assertEq(bond.accountOf(ANNA).leavingWei, 0);
        vm.assertEq(bond.burntWei(), 4 ether);
    }

    function testFuzz_at_most_half_of_a_slash_goes_to_finders(uint256 amountSeed, uint256 countSeed) public {
        uint256 amountWei = _within(amountSeed, 0, 10 ether);
        uint256 count = _within(countSeed, 0, 7);
        _deposit(ANNA, 10 ether);
        vm.prank(MARKET_ADDRESS);
        bond.lock(ANNA, 10 ether);
        address[] memory finders = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            finders[i] = address(uint160(0xF00 + i));
        }
        vm.prank(AUDIT_ADDRESS);
        bond.slashLocked(ANNA, amountWei, finders);
        uint256 got;
        for (uint256 i = 0; i < count; ++i) {
            vm.assertEq(bond.accountOf(finders[i]).freeWei, bond.accountOf(finders[0]).freeWei);
            got += bond.accountOf(finders[i]).freeWei;
        }
        vm.assertTrue(got <= amountWei / 2, "at most half");
        vm.assertEq(got + bond.burntWei(), amountWei);
        vm.assertEq(address(bond).balance, 10 ether);
    }

    /// @dev Random seats come and go over months: the list of every epoch says what a second bookkeeping says.
    function testFuzz_the_list_of_an_epoch_never_changes(uint256 dice) public {
        address[] memory seen = new address[](64);
        for (uint256 step = 0; step < 24; ++step) {
            (uint32 epoch, uint32 places) = bond.placesNow();
            for (uint32 i = 0; i < places; ++i) {
                seen[i] = bond.seatIn(epoch, i).account;
            }
            for (uint256 i = 0; i < 4; ++i) {
                dice = uint256(keccak256(abi.encode(dice)));
                _randomSeat(dice);
            }
            // Whatever happened since, the list is the same: in this epoch, and for as long as a window lives.
            vm.roll(block.number + 256);
            vm.warp(block.timestamp + dice % 7 days);
            for (uint32 i = 0; i < places; ++i) {
                vm.assertEq(bond.seatIn(epoch, i).account, seen[i]);
            }
        }
        uint256 held;
        (, uint32 last) = bond.placesNow();
        (uint32 now_,) = bond.placesNow();
        for (uint32 i = 0; i < last; ++i) {
            if (bond.seatIn(now_, i).account != address(0)) ++held;
        }
        vm.assertEq(held, uint256(bond.accountOf(ANNA).seats) + bond.accountOf(BERT).seats);
        vm.assertEq(address(bond).balance, _parts(ANNA) + _parts(BERT));
    }

    function _randomSeat(uint256 dice) private {
        address account = dice % 2 == 0 ? ANNA : BERT;
        uint256 what = (dice >> 8) % 4;
        (, uint32 places) = bond.placesNow();
        if (what == 0 && account.balance >= SEAT && places < 60) {
            _seat(account, 1);
        } else if (what == 1) {
            _as(account, abi.encodeCall(IBond.unseat, (_one(uint32((dice >> 16) % 64)))));
        } else if (what == 2) {
            _as(account, abi.encodeCall(IBond.compact, ()));
        } else {
            _as(account, abi.encodeCall(IBond.withdraw, ()));
        }
    }

    function _parts(address account) private view returns (uint256) {
        IBond.Account memory a = bond.accountOf(account);
        return uint256(a.freeWei) + a.lockedWei + a.seatedWei + a.leavingWei;
    }

    function _deposit(address account, uint256 amountWei) private {
        vm.prank(account);
        bond.deposit{value: amountWei}();
    }

    function _seat(address account, uint32 count) private {
        _deposit(account, count * SEAT);
        vm.prank(account);
        bond.seat(count, 3, 15);
    }

    function _unseat(address account, uint32 position) private {
        vm.prank(account);
        bond.unseat(_one(position));
    }

    function _one(uint32 position) private pure returns (uint32[] memory positions) {
        positions = new uint32[](1);
        positions[0] = position;
    }

    function _as(address caller, bytes memory data) private returns (bool ok, bytes memory returned) {
        vm.prank(caller);
        (ok, returned) = address(bond).call(data);
    }
}
