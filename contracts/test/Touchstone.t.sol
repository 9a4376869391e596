// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BEACON_ADDRESS} from "../src/Genesis.sol";
import {ITouchstone} from "../src/ITouchstone.sol";
import {Touchstone} from "../src/Touchstone.sol";
import {MockBeacon} from "./MockBeacon.sol";
import {Test} from "./Test.sol";

/// @title Answers are recorded once, in order, by their own account, at the time of their block
contract TouchstoneTest is Test {
    address private constant PROVIDER = address(0xBEEF);
    address private constant OTHER = address(0x57A6E);
    bytes32 private constant ID = keccak256("challenge");
    bytes32 private constant ROOT = keccak256("root");
    bytes32 private constant VECTORS = keccak256("vectors");
    uint64 private constant HEIGHT = 1_000_000;
    uint40 private constant TIME = 1_800_000_000;

    Touchstone private touchstone;

    function setUp() public {
        touchstone = new Touchstone();
        vm.etch(BEACON_ADDRESS, type(MockBeacon).runtimeCode);
        vm.roll(HEIGHT);
        vm.warp(TIME);
    }

    function test_nothing_is_recorded_to_begin_with() public view {
        _is(PROVIDER, ID, 0, 0, 0, 0, 0, 0);
    }

    function test_root_and_vectors_are_kept_with_block_and_time() public {
        vm.expectEmit(address(touchstone));
        emit ITouchstone.RootRecorded(PROVIDER, ID, ROOT);
        _root(PROVIDER, ID, ROOT);
        _is(PROVIDER, ID, ROOT, 0, HEIGHT, TIME, 0, 0);
        vm.roll(HEIGHT + 2);
        vm.warp(TIME + 1);
        vm.expectEmit(address(touchstone));
        emit ITouchstone.VectorsRecorded(PROVIDER, ID, VECTORS);
        _vectors(PROVIDER, ID, VECTORS);
        _is(PROVIDER, ID, ROOT, VECTORS, HEIGHT, TIME, HEIGHT + 2, TIME + 1);
    }

    function test_what_was_recorded_stays() public {
        _root(PROVIDER, ID, ROOT);
        vm.roll(HEIGHT + 2);
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.AlreadyRecorded.selector, PROVIDER, ID, HEIGHT));
        _root(PROVIDER, ID, VECTORS);
        _vectors(PROVIDER, ID, VECTORS);
        vm.roll(HEIGHT + 3);
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.AlreadyRecorded.selector, PROVIDER, ID, HEIGHT + 2));
        _vectors(PROVIDER, ID, ROOT);
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.AlreadyRecorded.selector, PROVIDER, ID, HEIGHT));
        _root(PROVIDER, ID, ROOT);
        _is(PROVIDER, ID, ROOT, VECTORS, HEIGHT, TIME, HEIGHT + 2, TIME);
    }

    function test_vectors_come_after_the_root_and_after_their_randomness() public {
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.NoRoot.selector, PROVIDER, ID));
        _vectors(PROVIDER, ID, VECTORS);
        _root(PROVIDER, ID, ROOT);
        bytes memory early = abi.encodeWithSelector(ITouchstone.NotDrawnYet.selector, PROVIDER, ID, HEIGHT + 1);
        // The mock knows the heights below the block's own, as the real one does at best.
        for (uint256 later = 0; later < 2; ++later) {
            vm.roll(HEIGHT + later);
            vm.expectRevert(early);
            _vectors(PROVIDER, ID, VECTORS);
        }
        vm.roll(HEIGHT + 2);
        _vectors(PROVIDER, ID, VECTORS);
    }

    function test_vectors_whose_randomness_is_forgotten_are_too_late() public {
        _root(PROVIDER, ID, ROOT);
        vm.roll(uint256(HEIGHT) + 1 + 8192 + 1);
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.NotDrawnYet.selector, PROVIDER, ID, HEIGHT + 1));
        _vectors(PROVIDER, ID, VECTORS);
        vm.roll(uint256(HEIGHT) + 1 + 8192);
        _vectors(PROVIDER, ID, VECTORS);
    }

    function test_roots_are_not_zero() public {
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.RootZero.selector, PROVIDER, ID));
        _root(PROVIDER, ID, 0);
        _root(PROVIDER, ID, ROOT);
        vm.roll(HEIGHT + 2);
        vm.expectRevert(abi.encodeWithSelector(ITouchstone.RootZero.selector, PROVIDER, ID));
        _vectors(PROVIDER, ID, 0);
    }

    function test_money_is_not_taken() public {
        vm.deal(PROVIDER, 1);
        vm.prank(PROVIDER);
        (bool taken,) = address(touchstone).call{value: 1}(abi.encodeCall(ITouchstone.recordRoot, (ID, ROOT)));
        vm.assertTrue(!taken, "no money here");
    }

    function testFuzz_an_account_writes_its_own_entries_only(bytes32 id, bytes32 root, address account) public {
        vm.assume(root != 0 && account != OTHER && account != address(0));
        _root(account, id, root);
        _is(OTHER, id, 0, 0, 0, 0, 0, 0);
        _is(account, keccak256(abi.encode(id)), 0, 0, 0, 0, 0, 0);
        _root(OTHER, id, ROOT);
        _is(account, id, root, 0, HEIGHT, TIME, 0, 0);
    }

    function test_the_words_lie_where_light_clients_look() public {
        _root(PROVIDER, ID, ROOT);
        vm.roll(HEIGHT + 2);
        vm.warp(TIME + 1);
        _vectors(PROVIDER, ID, VECTORS);
        bytes32 first = keccak256(abi.encode(ID, keccak256(abi.encode(PROVIDER, uint256(0)))));
        vm.assertEq(_word(first, 0), ROOT);
        vm.assertEq(_word(first, 1), VECTORS);
        uint256 times = uint256(HEIGHT) | uint256(TIME) << 64 | uint256(HEIGHT + 2) << 104 | uint256(TIME + 1) << 168;
        vm.assertEq(_word(first, 2), bytes32(times));
        vm.assertEq(_word(first, 3), bytes32(0));
    }

    function _word(bytes32 first, uint256 offset) private view returns (bytes32) {
        return vm.load(address(touchstone), bytes32(uint256(first) + offset));
    }

    function _root(address account, bytes32 id, bytes32 root) private {
        vm.prank(account);
        touchstone.recordRoot(id, root);
    }

    function _vectors(address account, bytes32 id, bytes32 root) private {
        vm.prank(account);
        touchstone.recordVectors(id, root);
    }

    function _is(
        address account,
        bytes32 id,
        bytes32 root,
        bytes32 vectors,
        uint256 rootBlock,
        uint256 rootTime,
        uint256 vectorsBlock,
        uint256 vectorsTime
    ) private view {
        ITouchstone.Entry memory entry = touchstone.entryOf(account, id);
        vm.assertEq(entry.root, root);
        vm.assertEq(entry.vectorsRoot, vectors);
        vm.assertEq(entry.rootBlock, rootBlock);
        vm.assertEq(entry.rootTime, rootTime);
        vm.assertEq(entry.vectorsBlock, vectorsBlock);
        vm.assertEq(entry.vectorsTime, vectorsTime);
    }
}
