// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Beacon} from "../src/Beacon.sol";
import {IBeacon} from "../src/IBeacon.sol";
import {Test} from "./Test.sol";

/// @title The beacon's ring at its edges
contract BeaconTest is Test {
    address private constant SYSTEM = 0xffffFFFfFFffffffffffffffFfFFFfffFFFfFFfE;
    uint256 private constant RING = 8192;

    Beacon private beacon;

    function setUp() public {
        beacon = new Beacon();
    }

    function test_an_empty_ring_holds_nothing() public {
        vm.assertEq(beacon.newest(), 0);
        vm.assertEq(beacon.oldest(), 1);
        vm.assertEq(beacon.RING(), RING);
        vm.assertTrue(!beacon.has(0) && !beacon.has(1), "nothing");
        _notYet(1, 0);
        _tooOld(0, 1);
    }

    function test_a_value_is_read_from_its_height_on() public {
        _record(1, 1);
        _record(2, 3);
        vm.assertEq(beacon.newest(), 4);
        for (uint256 height = 1; height <= 4; ++height) {
            vm.assertTrue(beacon.has(height), "there");
            vm.assertEq(beacon.randomness(height), _word(height));
        }
        _notYet(5, 4);
        _tooOld(0, 1);
        vm.assertTrue(!beacon.has(0) && !beacon.has(5), "edges");
    }

    function test_the_ring_forgets_the_oldest_height_first() public {
        _record(1, RING);
        vm.assertEq(beacon.oldest(), 1);
        vm.assertEq(beacon.randomness(1), _word(1));
        _record(RING + 1, 1);
        vm.assertEq(beacon.oldest(), 2);
        _tooOld(1, 2);
        vm.assertEq(beacon.randomness(2), _word(2));
        vm.assertEq(beacon.randomness(RING + 1), _word(RING + 1));
        vm.assertTrue(!beacon.has(1) && beacon.has(2) && beacon.has(RING + 1) && !beacon.has(RING + 2), "edges");
    }

    function test_the_words_lie_where_light_clients_look() public {
        _record(1, 5);
        vm.assertEq(vm.load(address(beacon), bytes32(0)), bytes32(uint256(5)));
        for (uint256 height = 1; height <= 5; ++height) {
            vm.assertEq(vm.load(address(beacon), bytes32(1 + height % RING)), _word(height));
        }
    }

    function test_heights_come_in_order_without_gap_or_repetition() public {
        _record(1, 2);
        uint256[4] memory wrong = [uint256(0), 2, 4, type(uint256).max];
        for (uint256 i = 0; i < wrong.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IBeacon.OutOfOrder.selector, wrong[i], 3));
            vm.prank(SYSTEM);
            beacon.record(wrong[i], _words(wrong[i] % 100, 1));
        }
        vm.assertEq(beacon.newest(), 2);
        vm.assertEq(beacon.randomness(2), _word(2));
    }

    function test_only_the_system_writes(address caller) public {
        vm.assume(caller != SYSTEM);
        vm.expectRevert(abi.encodeWithSelector(IBeacon.NotSystem.selector, caller));
        vm.prank(caller);
        beacon.record(1, _words(1, 1));
        vm.assertEq(beacon.newest(), 0);
    }

    function test_sixteen_values_cost_far_less_than_a_system_call_has() public {
        bytes32[] memory words = _words(1, 16);
        uint256 before = gasleft();
        vm.prank(SYSTEM);
        beacon.record(1, words);
        vm.assertTrue(before - gasleft() < 500_000, "gas");
    }

    /// @dev Any cut of the heights into calls gives the same ring.
    function test_batches_do_not_matter(uint256 seed) public {
        uint256 height = 1;
        while (height <= 200) {
            uint256 count = 1 + uint256(keccak256(abi.encode(seed, height))) % 16;
            _record(height, count);
            height += count;
        }
        uint256 newest = beacon.newest();
        vm.assertEq(newest, height - 1);
        uint256 asked = _within(seed, 1, newest);
        vm.assertEq(beacon.randomness(asked), _word(asked));
    }

    function _record(uint256 first, uint256 count) private {
        bytes32[] memory words = _words(first, count);
        vm.prank(SYSTEM);
        beacon.record(first, words);
    }

    function _words(uint256 first, uint256 count) private pure returns (bytes32[] memory words) {
        words = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            words[i] = _word(first + i);
        }
    }

    function _word(uint256 height) private pure returns (bytes32) {
        return keccak256(abi.encode("value", height));
    }

    function _notYet(uint256 height, uint256 newest) private {
        vm.expectRevert(abi.encodeWithSelector(IBeacon.NotYet.selector, height, newest));
        beacon.randomness(height);
    }

    function _tooOld(uint256 height, uint256 oldest) private {
        vm.expectRevert(abi.encodeWithSelector(IBeacon.TooOld.selector, height, oldest));
        beacon.randomness(height);
    }
}
