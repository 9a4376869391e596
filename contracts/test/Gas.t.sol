// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IMarket} from "../src/IMarket.sol";
import {AuditFixture} from "./AuditFixture.sol";
import {WildToken} from "./ChannelTokens.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The gas of every call, as whole transactions
/// @dev Runs under the profile `gas` alone, which compares with `snapshots/`. "first" means that it writes storage that
/// was zero before: a first credit, a first count.
contract GasTest is MarketFixture {
    function test_gas_of_an_orders_life() public {
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? " (first)" : "";
            vm.prank(CUSTOMER);
            uint256 orderId = market.placeOrder{value: ESCROW_WEI}(_terms());
            _note(string.concat("placeOrder", suffix));
            _measure(Action.Lease, orderId, "lease", suffix);
            _measure(Action.Commit, orderId, "commit", suffix);
            _measure(Action.Deliver, orderId, "deliver", suffix);
            _measure(Action.Accept, orderId, "accept", suffix);
            vm.prank(PROVIDER);
            market.withdraw();
            _note(string.concat("withdraw", suffix));
        }
    }

    function test_gas_of_an_orders_life_in_a_token() public {
        WildToken token = new WildToken();
        token.mint(CUSTOMER, 4 * ESCROW_WEI);
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? ", a token (first)" : ", a token";
            vm.prank(CUSTOMER);
            uint256 orderId = market.placeOrderIn(address(token), _terms());
            _note(string.concat("placeOrderIn", suffix));
            _do(Action.Lease, orderId);
            _do(Action.Commit, orderId);
            _do(Action.Deliver, orderId);
            _measure(Action.Accept, orderId, "accept", suffix);
            vm.prank(PROVIDER);
            market.withdrawToken(address(token));
            _note(string.concat("withdrawToken", suffix));
        }
    }

    function test_gas_of_the_other_ends() public {
        // Every counter and credit is warm before the measured round.
        for (uint256 round = 0; round < 2; ++round) {
            string memory suffix = round == 0 ? " (first)" : "";
            _measure(Action.Decline, _orderIn(IMarket.Status.Ordered), "decline", suffix);
            _measure(Action.Cancel, _orderIn(IMarket.Status.Ordered), "cancel", suffix);
            _measure(Action.Abandon, _orderIn(IMarket.Status.Leased), "abandon", suffix);
            _measure(Action.Reject, _orderIn(IMarket.Status.Delivered), "reject", suffix);
            uint256 orderId = _orderIn(IMarket.Status.Delivered);
            vm.warp(block.timestamp + CHECK_SECONDS + 1);
            _measure(Action.Settle, orderId, "settle", suffix);
            orderId = _orderIn(IMarket.Status.Leased);
            vm.warp(block.timestamp + DELIVER_SECONDS + 1);
            _measure(Action.Expire, orderId, "expire", suffix);
        }
    }

    function test_gas_of_the_register() public {
        vm.prank(STRANGER);
        providers.register(_offer());
        _noteRegister("register");
        vm.prank(PROVIDER);
        providers.update(_offer());
        _noteRegister("update");
        vm.prank(PROVIDER);
        providers.pause();
        _noteRegister("pause");
        vm.prank(PROVIDER);
        providers.resume();
        _noteRegister("resume");
    }

    function _measure(Action action, uint256 orderId, string memory name, string memory suffix) private {
        _do(action, orderId);
        _note(string.concat(name, suffix));
    }

    function _note(string memory name) private {
        vm.snapshotGasLastCall("Market", name);
    }

    function _noteRegister(string memory name) private {
        vm.snapshotGasLastCall("Providers", name);
    }
}

/// @title The gas of an audited order and of one checked unit
contract AuditGasTest is AuditFixture {
    function test_gas_of_a_checked_unit() public {
        Job memory job = _leased(_bonded(), 64, 64, 0);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        _noteAudit("market commit, which opens the window");
        _do(Action.Deliver, job.orderId);
        vm.roll(block.number + 3);
        audit.touch(job.id, 0, 0);
        _noteAudit("touch");
        for (uint32 unit = 0; unit < 2; ++unit) {
            // Fees become credit that is zero before the first time.
            _check(job, unit);
        }
        vm.warp(block.timestamp + 1000);
        audit.close(job.id);
        _noteAudit("close");
        market.settle(job.orderId);
        _noteAudit("market settle, after the audit");
    }

    function test_gas_of_a_panel() public {
        _sit(address(0xB16), 64, 1, 15);
        Job memory job = _honest(_bonded(), 2);
        _challenge(ACCUSER, job, 0, 0);
        _noteAudit("challenge");
        _round(job, 0, 0, _right(0, 0));
        _drawRound(job, 0, 2);
        (address[] memory accounts, uint128[] memory masks) = _referees(job, 0, 2);
        for (uint256 i = 0; i < accounts.length; ++i) {
            _commitBallot(job, 0, 2, accounts[i], masks[i], 0, _right(0, 0));
            uint256 votes = _votes(masks[i]);
            if (votes == 1) _noteAudit("commitBallot, one slot");
            if (accounts[i] == address(0xB16)) {
                _noteAudit(string.concat("commitBallot, ", vm.toString(votes), " slots"));
            }
        }
        _afterCheck(job, 0, 2);
        for (uint256 i = 0; i < accounts.length; ++i) {
            _revealBallot(job, 0, 2, accounts[i], 0, _right(0, 0));
            _noteAudit(i == 0 ? "revealBallot (first)" : "revealBallot");
        }
        _afterReveal(job, 0, 2);
        referee.conclude(job.id, 0);
        _noteAudit("conclude, a panel");
        panels.settleBallot(job.id, 0, 2, accounts[0]);
        _noteAudit("settleBallot (first)");
    }

    function test_gas_of_seats() public {
        vm.deal(STRANGER, 1000 ether);
        vm.prank(STRANGER);
        bond.deposit{value: 200 ether}();
        vm.snapshotGasLastCall("Bond", "deposit (first)");
        vm.prank(STRANGER);
        bond.seat(2, 1, 15);
        vm.snapshotGasLastCall("Bond", "seat, two");
        uint32[] memory positions = new uint32[](1);
        positions[0] = uint32(CHECKERS);
        vm.prank(STRANGER);
        bond.unseat(positions);
        vm.snapshotGasLastCall("Bond", "unseat, one");
    }

    function _check(Job memory job, uint32 unit) private {
        (, uint8 j, address account) = _duty(job, unit, 0, 0);
        IAuditTypes.Key memory key = _key(job, unit, 0, j);
        bytes32 hash = _hash(job, key, account, 0, _right(unit, 0));
        uint256 began = block.timestamp;
        vm.prank(account);
        audit.commitCheck(key, hash, _nobody);
        _noteUnit("commitCheck", unit);
        _afterCheck(job, unit, 0);
        _open(job, unit, 0);
        _noteUnit("openUnit", unit);
        bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
        bytes32 own = _right(unit, 0);
        vm.prank(account);
        audit.reveal(key, IAuditTypes.Finding.Compare, own, nonce);
        _noteUnit("reveal", unit);
        _afterReveal(job, unit, 0);
        referee.conclude(job.id, unit);
        _noteUnit("conclude", unit);
        vm.warp(began);
    }

    function _noteUnit(string memory name, uint32 unit) private {
        _noteAudit(string.concat(name, unit == 0 ? " (first)" : ""));
    }

    function _noteAudit(string memory name) private {
        vm.snapshotGasLastCall("Audit", name);
    }
}
