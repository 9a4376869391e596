// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannel} from "../src/IChannel.sol";
import {ChannelFixture} from "./ChannelFixture.sol";
import {ChannelHandler} from "./ChannelHandler.sol";

/// @title What holds of the channels after any sequence of calls, for KST and a token
contract ChannelInvariantsTest is ChannelFixture {
    /// @dev The shape in which the test runner reads `targetSelectors`.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    uint256 private constant ACTORS = 4;

    ChannelHandler private _handler;

    function setUp() public override {
        super.setUp();
        address[] memory actors = new address[](ACTORS);
        for (uint256 i = 0; i < ACTORS; ++i) {
            actors[i] = address(uint160(0xA000 + i));
            vm.deal(actors[i], 1e30);
            token.mint(actors[i], 1e30);
        }
        _handler = new ChannelHandler(actors, token);
    }

    /// @dev Tells the test runner what to call: these functions of the handler, and nothing else. What makes channels
    /// live is named more than once.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](18);
        selectors[0] = ChannelHandler.wait.selector;
        selectors[1] = ChannelHandler.open.selector;
        selectors[2] = ChannelHandler.topUp.selector;
        selectors[3] = ChannelHandler.sign.selector;
        selectors[4] = ChannelHandler.answer.selector;
        selectors[5] = ChannelHandler.claim.selector;
        selectors[6] = ChannelHandler.close.selector;
        selectors[7] = ChannelHandler.requestClose.selector;
        selectors[8] = ChannelHandler.finish.selector;
        selectors[9] = ChannelHandler.withdraw.selector;
        selectors[10] = ChannelHandler.sign.selector;
        selectors[11] = ChannelHandler.answer.selector;
        selectors[12] = ChannelHandler.claim.selector;
        selectors[13] = ChannelHandler.claim.selector;
        selectors[14] = ChannelHandler.announce.selector;
        selectors[15] = ChannelHandler.trade.selector;
        selectors[16] = ChannelHandler.trade.selector;
        selectors[17] = ChannelHandler.trade.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(_handler), selectors: selectors});
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_the_contract_holds_exactly_the_rests_and_the_credits() public view {
        vm.assertEq(address(channels).balance, _owed(KST));
        vm.assertEq(token.balanceOf(address(channels)), _owed(address(token)));
    }

    function invariant_nothing_appears_or_vanishes() public view {
        uint256 foundWei = address(channels).balance + address(audit).balance;
        uint256 found = token.balanceOf(address(channels));
        for (uint256 i = 0; i < ACTORS; ++i) {
            foundWei += _handler.actor(i).balance;
            found += token.balanceOf(_handler.actor(i));
        }
        vm.assertEq(foundWei, _handler.total(KST));
        vm.assertEq(found, _handler.total(address(token)));
    }

    function invariant_every_channel_is_as_the_model_and_pays_no_more_than_was_earned() public view {
        for (uint256 i = 0; i < _handler.channelCount(); ++i) {
            bytes32 channelId = _handler.idAt(i);
            IChannel.Entry memory entry = channels.channel(channelId);
            ChannelHandler.Model memory model = _handler.model(channelId);
            vm.assertEq(uint256(entry.status), uint256(model.status));
            vm.assertEq(entry.deposit, model.deposit);
            vm.assertEq(entry.claimed, model.claimed);
            vm.assertEq(entry.window, model.window);
            vm.assertEq(entry.announced, model.announced);
            vm.assertEq(entry.budgeted, model.budgeted);
            vm.assertEq(entry.number, i + 1);
            vm.assertEq(entry.closeAt, model.closeAt);
            vm.assertEq(entry.history, model.audited ? _history(channelId, model.window) : bytes32(0));
            vm.assertTrue(entry.announced <= model.signed, "no window is announced without a voucher");
            vm.assertTrue(
                uint256(entry.budgeted) + entry.claimed <= entry.deposit, "checks and pay are at most the deposit"
            );
            vm.assertTrue(entry.claimed <= _handler.mostEarned(channelId), "claimed is at most what was earned");
            bool ended = entry.status > IChannel.Status.Closing;
            vm.assertEq(entry.closedAt != 0, ended);
            vm.assertEq(model.endings, ended ? 1 : 0);
        }
    }

    function invariant_every_budget_is_at_the_audit() public view {
        uint256 budgetedWei;
        for (uint256 i = 0; i < _handler.channelCount(); ++i) {
            budgetedWei += channels.channel(_handler.idAt(i)).budgeted;
        }
        vm.assertEq(address(audit).balance, budgetedWei);
        vm.assertEq(audit.opened(), _handler.announcements());
    }

    function invariant_credits_are_as_the_model() public view {
        for (uint256 i = 0; i < ACTORS; ++i) {
            address account = _handler.actor(i);
            vm.assertEq(channels.credit(account, KST), _handler.credits(account, KST));
            vm.assertEq(channels.credit(account, address(token)), _handler.credits(account, address(token)));
        }
    }

    /// @dev After every run: when all deadlines have passed, a stranger can end every channel, everybody can take what
    /// is theirs, and the contract is empty. Nothing is stuck and nothing is left over.
    function afterInvariant() external {
        vm.warp(block.timestamp + 366 days);
        for (uint256 i = 0; i < _handler.channelCount(); ++i) {
            bytes32 channelId = _handler.idAt(i);
            if (channels.channel(channelId).closedAt != 0) continue;
            vm.prank(STRANGER);
            channels.finish(channelId);
        }
        for (uint256 i = 0; i < ACTORS; ++i) {
            address account = _handler.actor(i);
            address[2] memory tokens = [KST, address(token)];
            for (uint256 k = 0; k < 2; ++k) {
                if (channels.credit(account, tokens[k]) == 0) continue;
                vm.prank(account);
                channels.withdraw(tokens[k]);
            }
        }
        vm.assertEq(address(channels).balance, 0);
        vm.assertEq(token.balanceOf(address(channels)), 0);
    }

    function _owed(address which) private view returns (uint256 owed) {
        for (uint256 i = 0; i < _handler.channelCount(); ++i) {
            IChannel.Entry memory entry = channels.channel(_handler.idAt(i));
            if (entry.token == which && entry.closedAt == 0) owed += entry.deposit - entry.budgeted - entry.claimed;
        }
        for (uint256 i = 0; i < ACTORS; ++i) {
            owed += channels.credit(_handler.actor(i), which);
        }
    }
}
