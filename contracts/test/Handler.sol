// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/IMarket.sol";
import {IProviders} from "../src/IProviders.sol";
import {WildToken} from "./ChannelTokens.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title Random customers, providers and strangers, with a second bookkeeping beside the contracts
/// @dev Each call tries one action as a random account at a random time, legal or not. The model decides first, from
/// the specification's table, whether it must work; a difference stops the run. Durations and waits are a few seconds,
/// so that runs often stand exactly on a deadline.
contract Handler is MarketFixture {
    mapping(uint256 orderId => IMarket.Order) private _model;
    mapping(uint256 orderId => uint256) public closings;
    mapping(address account => uint256) public credits;
    mapping(address account => uint256) public tokenCredits;
    WildToken public token = new WildToken();
    mapping(address account => bool) public paused;
    mapping(address account => uint256) public endings;
    address[] private _actors;
    uint256 public totalWei;
    uint256 public refusals;
    uint256 public successes;

    constructor(address[] memory actors) {
        _actors = actors;
        for (uint256 i = 0; i < actors.length; ++i) {
            totalWei += actors[i].balance;
            token.mint(actors[i], 1e30);
        }
    }

    function setUp() public override {}

    function actorCount() external view returns (uint256) {
        return _actors.length;
    }

    function actor(uint256 seed) public view returns (address) {
        return _actors[seed % _actors.length];
    }

    /// @dev Mostly seconds; one in eight times two weeks.
    function wait(uint256 seed) external {
        vm.warp(block.timestamp + (seed % 8 == 7 ? 14 days : seed % 6));
    }

    function place(uint256 customerSeed, uint256 providerSeed, uint256 termsSeed, uint256 valueSeed) external {
        IMarket.Terms memory terms = _someTerms(providerSeed, termsSeed);
        uint256 escrowWei = uint256(terms.units) * terms.priceWeiPerUnit;
        // One in eight orders carries a wrong value.
        uint256 valueWei = valueSeed % 8 == 0 ? valueSeed % (2 * escrowWei) : escrowWei;
        bool expected = valueWei == escrowWei && terms.priceWeiPerUnit >= LISTED_WEI && !paused[terms.provider];
        address customer = actor(customerSeed);
        vm.prank(customer);
        (bool ok, bytes memory returned) =
            address(market).call{value: valueWei}(abi.encodeCall(IMarket.placeOrder, (terms)));
        _agree(ok, expected, "placeOrder");
        if (!ok) return;
        _note(terms, customer, abi.decode(returned, (uint256)));
    }

    /// @dev Prices in a token have no floor, and the token may keep a fee at times.
    function placeIn(uint256 customerSeed, uint256 providerSeed, uint256 termsSeed, uint256 mannerSeed) external {
        IMarket.Terms memory terms = _someTerms(providerSeed, termsSeed);
        terms.priceWeiPerUnit = uint128(termsSeed % 5);
        bool keeps = mannerSeed % 6 == 0;
        token.behave(keeps ? WildToken.Manner.FeeIn : WildToken.Manner.Good);
        bool expected = !keeps && terms.priceWeiPerUnit != 0 && !paused[terms.provider];
        address customer = actor(customerSeed);
        vm.prank(customer);
        (bool ok, bytes memory returned) =
            address(market).call(abi.encodeCall(IMarket.placeOrderIn, (address(token), terms)));
        token.behave(WildToken.Manner.Good);
        _agree(ok, expected, "placeOrderIn");
        if (!ok) return;
        uint256 orderId = abi.decode(returned, (uint256));
        _note(terms, customer, orderId);
        _model[orderId].tokenHigh = uint96(uint160(address(token)) >> 64);
        _model[orderId].tokenLow = uint64(uint160(address(token)));
    }

    function withdrawToken(uint256 seed, uint256 toSeed) external {
        address account = actor(seed);
        address to = actor(toSeed);
        uint256 before = token.balanceOf(to);
        uint256 owed = tokenCredits[account];
        vm.prank(account);
        (bool ok,) = address(market).call(abi.encodeCall(IMarket.withdrawTokenTo, (address(token), to)));
        _agree(ok, owed != 0, "withdrawTokenTo");
        tokenCredits[account] = 0;
        vm.assertEq(token.balanceOf(to), before + owed);
    }

    function _note(IMarket.Terms memory terms, address customer, uint256 orderId) private {
        vm.assertEq(orderId, market.orderCount());
        IMarket.Order storage entry = _model[orderId];
        entry.status = IMarket.Status.Ordered;
        entry.orderedAt = uint40(block.timestamp);
        entry.units = terms.units;
        entry.priceWeiPerUnit = terms.priceWeiPerUnit;
        entry.leaseSeconds = terms.leaseSeconds;
        entry.deliverSeconds = terms.deliverSeconds;
        entry.checkSeconds = terms.checkSeconds;
        entry.jobHash = terms.jobHash;
        entry.customer = customer;
        entry.provider = terms.provider;
    }

    function _someTerms(uint256 providerSeed, uint256 termsSeed) private view returns (IMarket.Terms memory) {
        return IMarket.Terms({
            provider: actor(providerSeed),
            jobHash: keccak256(abi.encode(termsSeed)),
            units: uint32(1 + termsSeed % 1000),
            priceWeiPerUnit: uint128(LISTED_WEI - 1 + termsSeed % 7),
            leaseSeconds: uint32(1 + termsSeed % 9),
            deliverSeconds: uint32(1 + (termsSeed >> 8) % 9),
            checkSeconds: uint32(1 + (termsSeed >> 16) % 9)
        });
    }

    /// @dev A random action on a random order by a random account.
    function act(uint256 actionSeed, uint256 orderSeed, uint256 callerSeed) external {
        _act(Action(actionSeed % (uint256(type(Action).max) + 1)), orderSeed, actor(callerSeed));
    }

    /// @dev An action that the table has for a random order, by whoever may do it, so that orders get far. Only time
    /// can refuse it; a closed order gets any action.
    function advance(uint256 actionSeed, uint256 orderSeed) external {
        uint256 count = market.orderCount();
        if (count == 0) return;
        IMarket.Order storage entry = _model[1 + orderSeed % count];
        uint256 actions = uint256(type(Action).max) + 1;
        Action action = Action(actionSeed % actions);
        for (uint256 i = 1; i < actions && _next(entry.status, action) == IMarket.Status.None; ++i) {
            action = Action((actionSeed % actions + i) % actions);
        }
        _act(action, orderSeed, _isCustomers(action) ? entry.customer : entry.provider);
    }

    /// @dev Walks a random order towards its delivery, one to three steps, so that check windows are met often.
    function work(uint256 stepsSeed, uint256 orderSeed) external {
        uint256 count = market.orderCount();
        if (count == 0) return;
        IMarket.Order storage entry = _model[1 + orderSeed % count];
        for (uint256 i = 0; i <= stepsSeed % 3; ++i) {
            if (entry.status == IMarket.Status.Ordered) _act(Action.Lease, orderSeed, entry.provider);
            else if (entry.status == IMarket.Status.Leased) _act(Action.Commit, orderSeed, entry.provider);
            else if (entry.status == IMarket.Status.Committed) _act(Action.Deliver, orderSeed, entry.provider);
        }
    }

    function withdraw(uint256 seed, uint256 toSeed) external {
        address account = actor(seed);
        address to = actor(toSeed);
        uint256 before = to.balance;
        uint256 owedWei = credits[account];
        vm.prank(account);
        (bool ok,) = address(market).call(abi.encodeCall(IMarket.withdrawTo, (payable(to))));
        _agree(ok, owedWei != 0, "withdrawTo");
        credits[account] = 0;
        vm.assertEq(to.balance, before + owedWei);
    }

    function setOffering(uint256 seed, bool offering) external {
        address account = actor(seed);
        vm.prank(account);
        (bool ok,) = address(providers)
            .call(offering ? abi.encodeCall(IProviders.resume, ()) : abi.encodeCall(IProviders.pause, ()));
        _agree(ok, paused[account] == offering, "pause or resume");
        paused[account] = !offering;
    }

    function modelled(uint256 orderId) external view returns (IMarket.Order memory) {
        return _model[orderId];
    }

    function _act(Action action, uint256 orderSeed, address caller) private {
        uint256 count = market.orderCount();
        if (count == 0) return;
        uint256 orderId = 1 + orderSeed % count;
        IMarket.Order storage entry = _model[orderId];
        IMarket.Status to = _next(entry.status, action);
        bool expected = to != IMarket.Status.None && _mayCall(entry, action, caller) && _inTime(entry, action);
        vm.prank(caller);
        (bool ok,) = address(market).call(_call(action, orderId));
        _agree(ok, expected, "act");
        if (ok) _apply(orderId, entry, to);
    }

    function _apply(uint256 orderId, IMarket.Order storage entry, IMarket.Status to) private {
        IMarket.Status from = entry.status;
        uint40 nowSeconds = uint40(block.timestamp);
        entry.status = to;
        if (to == IMarket.Status.Leased) {
            entry.leasedAt = nowSeconds;
        } else if (to == IMarket.Status.Committed) {
            entry.committedAt = nowSeconds;
            entry.commitment = COMMITMENT;
        } else if (to == IMarket.Status.Delivered) {
            entry.deliveredAt = nowSeconds;
            entry.resultRoot = RESULT_ROOT;
        } else {
            entry.closedAt = nowSeconds;
            if (to == IMarket.Status.Rejected) {
                entry.reason = IMarket.Reason.WrongResult;
                entry.evidenceHash = EVIDENCE;
            }
            bool pays = to == IMarket.Status.Accepted || to == IMarket.Status.Settled;
            address payee = pays ? entry.provider : entry.customer;
            uint256 escrow = uint256(entry.units) * entry.priceWeiPerUnit;
            if (entry.tokenLow == 0) credits[payee] += escrow;
            else tokenCredits[payee] += escrow;
            if (from != IMarket.Status.Ordered) ++endings[entry.provider];
            ++closings[orderId];
        }
    }

    function _mayCall(IMarket.Order storage entry, Action action, address caller) private view returns (bool) {
        if (_isAnybodys(action)) return true;
        return caller == (_isCustomers(action) ? entry.customer : entry.provider);
    }

    function _inTime(IMarket.Order storage entry, Action action) private view returns (bool) {
        uint256 leaseBy = uint256(entry.orderedAt) + entry.leaseSeconds;
        uint256 deliverBy = uint256(entry.leasedAt) + entry.deliverSeconds;
        uint256 checkBy = uint256(entry.deliveredAt) + entry.checkSeconds;
        if (action == Action.Lease) return block.timestamp <= leaseBy;
        if (action == Action.Commit || action == Action.Deliver || action == Action.Abandon) {
            return block.timestamp <= deliverBy;
        }
        if (action == Action.Reject) return block.timestamp <= checkBy;
        if (action == Action.Settle) return block.timestamp > checkBy;
        if (action == Action.Expire) {
            return block.timestamp > (entry.status == IMarket.Status.Ordered ? leaseBy : deliverBy);
        }
        return true;
    }

    function _agree(bool ok, bool expected, string memory what) private {
        vm.assertEq(ok, expected, what);
        if (ok) ++successes;
        else ++refusals;
    }
}
