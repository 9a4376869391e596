// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {Handler} from "./Handler.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title What holds after any sequence of calls
contract InvariantsTest is MarketFixture {
    /// @dev The shape in which the test runner reads `targetSelectors`.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    uint256 private constant ACTORS = 5;

    Handler private _handler;

    function setUp() public override {
        super.setUp();
        address[] memory actors = new address[](ACTORS);
        for (uint256 i = 0; i < ACTORS; ++i) {
            actors[i] = address(uint160(0xA000 + i));
            vm.deal(actors[i], 1e30);
            vm.prank(actors[i]);
            providers.register(_offer());
        }
        _handler = new Handler(actors);
    }

    /// @dev Tells the test runner what to call: these functions of the handler, and nothing else.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](9);
        selectors[0] = Handler.wait.selector;
        selectors[1] = Handler.place.selector;
        selectors[2] = Handler.act.selector;
        selectors[3] = Handler.advance.selector;
        selectors[4] = Handler.withdraw.selector;
        selectors[5] = Handler.setOffering.selector;
        selectors[6] = Handler.work.selector;
        selectors[7] = Handler.placeIn.selector;
        selectors[8] = Handler.withdrawToken.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(_handler), selectors: selectors});
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_the_market_holds_exactly_the_open_escrows_and_the_credits() public view {
        uint256 owedWei;
        uint256 owed;
        uint256 count = market.orderCount();
        for (uint256 id = 1; id <= count; ++id) {
            IMarket.Order memory entry = market.order(id);
            if (entry.closedAt != 0) continue;
            uint256 escrow = uint256(entry.units) * entry.priceWeiPerUnit;
            if (entry.tokenLow == 0) owedWei += escrow;
            else owed += escrow;
        }
        for (uint256 i = 0; i < ACTORS; ++i) {
            owedWei += market.credit(_handler.actor(i));
            owed += market.tokenCredit(_handler.actor(i), address(_handler.token()));
        }
        vm.assertEq(address(market).balance, owedWei);
        vm.assertEq(_handler.token().balanceOf(address(market)), owed);
    }

    function invariant_no_wei_appears_or_vanishes() public view {
        uint256 foundWei = address(market).balance + address(providers).balance;
        uint256 found = _handler.token().balanceOf(address(market));
        for (uint256 i = 0; i < ACTORS; ++i) {
            foundWei += _handler.actor(i).balance;
            found += _handler.token().balanceOf(_handler.actor(i));
        }
        vm.assertEq(foundWei, _handler.totalWei());
        vm.assertEq(found, ACTORS * 1e30);
    }

    function invariant_every_order_is_as_the_model_and_pays_once_if_closed() public view {
        uint256 count = market.orderCount();
        for (uint256 id = 1; id <= count; ++id) {
            IMarket.Order memory entry = market.order(id);
            vm.assertEq(_digest(entry), _digest(_handler.modelled(id)));
            vm.assertEq(_handler.closings(id), entry.closedAt == 0 ? 0 : 1);
            vm.assertEq(entry.closedAt != 0, entry.status > IMarket.Status.Delivered);
        }
    }

    function invariant_credits_and_counts_are_as_the_model() public view {
        uint256 asProvider;
        uint256 asCustomer;
        for (uint256 i = 0; i < ACTORS; ++i) {
            address account = _handler.actor(i);
            vm.assertEq(market.credit(account), _handler.credits(account));
            vm.assertEq(market.tokenCredit(account, address(_handler.token())), _handler.tokenCredits(account));
            vm.assertEq(_sum(market.providerRecord(account)), _handler.endings(account));
            asProvider += _sum(market.providerRecord(account));
            asCustomer += _sum(market.customerRecord(account));
        }
        vm.assertEq(asProvider, asCustomer);
    }

    /// @dev After every run: when all deadlines have passed, a stranger can close every order, everybody can take what
    /// is theirs, and the market is empty. Nothing is stuck and nothing is left over.
    function afterInvariant() external {
        vm.warp(block.timestamp + 12 days);
        uint256 count = market.orderCount();
        for (uint256 id = 1; id <= count; ++id) {
            IMarket.Order memory entry = market.order(id);
            if (entry.closedAt != 0) continue;
            _do(entry.status == IMarket.Status.Delivered ? Action.Settle : Action.Expire, id);
        }
        for (uint256 i = 0; i < ACTORS; ++i) {
            address account = _handler.actor(i);
            if (market.credit(account) != 0) {
                vm.prank(account);
                market.withdraw();
            }
            address token = address(_handler.token());
            if (market.tokenCredit(account, token) != 0) {
                vm.prank(account);
                market.withdrawToken(token);
            }
        }
        vm.assertEq(address(market).balance, 0);
        vm.assertEq(_handler.token().balanceOf(address(market)), 0);
    }

    function _digest(IMarket.Order memory entry) private pure returns (bytes32) {
        return keccak256(abi.encode(entry));
    }

    function _sum(IMarket.Record memory r) private pure returns (uint256) {
        return uint256(r.accepted) + r.settled + r.rejected + r.expired + r.abandoned;
    }
}
