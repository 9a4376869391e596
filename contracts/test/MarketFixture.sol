// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Audit} from "../src/Audit.sol";
import {Bond} from "../src/Bond.sol";
import {AUDIT_ADDRESS, BEACON_ADDRESS, BOND_ADDRESS, PANELS_ADDRESS, REFEREE_ADDRESS} from "../src/Genesis.sol";
import {IAudit} from "../src/IAudit.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IBond} from "../src/IBond.sol";
import {IMarket} from "../src/IMarket.sol";
import {IPanels} from "../src/IPanels.sol";
import {IReferee} from "../src/IReferee.sol";
import {IProviders} from "../src/IProviders.sol";
import {Market} from "../src/Market.sol";
import {Panels} from "../src/Panels.sol";
import {Providers} from "../src/Providers.sol";
import {Referee} from "../src/Referee.sol";
import {MockBeacon} from "./MockBeacon.sol";
import {Test} from "./Test.sol";

/// @title The contracts as genesis puts them, one provider, one customer, and an order in any status
abstract contract MarketFixture is Test {
    /// @dev Everything that can be done to an existing order.
    enum Action {
        Lease,
        Decline,
        Cancel,
        Abandon,
        Commit,
        Deliver,
        Accept,
        Reject,
        Settle,
        Expire
    }

    IProviders internal constant providers = IProviders(0x4B53540000000000000000000000000000000001);
    IMarket internal constant market = IMarket(0x4b53540000000000000000000000000000000002);

    IBond internal constant bond = IBond(BOND_ADDRESS);
    IAudit internal constant audit = IAudit(AUDIT_ADDRESS);
    IReferee internal constant referee = IReferee(AUDIT_ADDRESS);
    IPanels internal constant panels = IPanels(AUDIT_ADDRESS);

    address internal constant CHECKER = address(0xC4EC);
    address internal constant CUSTOMER = address(0xC0FFEE);
    address internal constant PROVIDER = address(0xBEEF);
    address internal constant STRANGER = address(0x57A6E);

    uint256 internal constant START_HEIGHT = 1_000_000;
    uint256 internal constant START = 1_800_000_000;
    uint128 internal constant LISTED_WEI = 5 gwei;
    uint128 internal constant PRICE_WEI = 7 gwei;
    uint32 internal constant UNITS = 64;
    uint256 internal constant ESCROW_WEI = uint256(UNITS) * PRICE_WEI;
    uint32 internal constant LEASE_SECONDS = 30;
    uint32 internal constant DELIVER_SECONDS = 600;
    uint32 internal constant CHECK_SECONDS = 60;
    bytes32 internal constant JOB_HASH = keccak256("job");
    bytes32 internal constant COMMITMENT = keccak256("commitment");
    bytes32 internal constant RESULT_ROOT = keccak256("result root");
    bytes32 internal constant EVIDENCE = keccak256("evidence");

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(START_HEIGHT);
        // Runtime code over empty storage, as genesis does it: no constructor runs.
        vm.etch(address(providers), type(Providers).runtimeCode);
        vm.etch(address(market), type(Market).runtimeCode);
        vm.etch(BOND_ADDRESS, type(Bond).runtimeCode);
        vm.etch(AUDIT_ADDRESS, type(Audit).runtimeCode);
        vm.etch(REFEREE_ADDRESS, type(Referee).runtimeCode);
        vm.etch(PANELS_ADDRESS, type(Panels).runtimeCode);
        // No committee signs here: see `MockBeacon`.
        vm.etch(BEACON_ADDRESS, type(MockBeacon).runtimeCode);
        vm.deal(CUSTOMER, 1e36);
        vm.deal(PROVIDER, 1e36);
        vm.prank(PROVIDER);
        providers.register(_offer());
    }

    function _offer() internal pure returns (IProviders.Offer memory) {
        return IProviders.Offer({
            nodeId: keccak256("node"),
            capabilityHash: keccak256("capability"),
            priceWeiPerUnit: LISTED_WEI,
            endpoint: "127.0.0.1:4433"
        });
    }

    function _terms() internal pure returns (IMarket.Terms memory) {
        return IMarket.Terms({
            provider: PROVIDER,
            jobHash: JOB_HASH,
            units: UNITS,
            priceWeiPerUnit: PRICE_WEI,
            leaseSeconds: LEASE_SECONDS,
            deliverSeconds: DELIVER_SECONDS,
            checkSeconds: CHECK_SECONDS
        });
    }

    function _place() internal returns (uint256 orderId) {
        vm.prank(CUSTOMER);
        orderId = market.placeOrder{value: ESCROW_WEI}(_terms());
    }

    function _isCustomers(Action action) internal pure returns (bool) {
        return action == Action.Cancel || action == Action.Accept || action == Action.Reject;
    }

    function _isAnybodys(Action action) internal pure returns (bool) {
        return action == Action.Settle || action == Action.Expire;
    }

    function _rightful(Action action) internal pure returns (address) {
        if (_isAnybodys(action)) return STRANGER;
        return _isCustomers(action) ? CUSTOMER : PROVIDER;
    }

    function _call(Action action, uint256 orderId) internal pure returns (bytes memory) {
        if (action == Action.Lease) return abi.encodeCall(IMarket.lease, (orderId));
        if (action == Action.Decline) return abi.encodeCall(IMarket.decline, (orderId));
        if (action == Action.Cancel) return abi.encodeCall(IMarket.cancel, (orderId));
        if (action == Action.Abandon) return abi.encodeCall(IMarket.abandon, (orderId));
        if (action == Action.Commit) return abi.encodeCall(IMarket.commit, (orderId, COMMITMENT));
        if (action == Action.Deliver) return abi.encodeCall(IMarket.deliver, (orderId, RESULT_ROOT));
        if (action == Action.Accept) return abi.encodeCall(IMarket.accept, (orderId));
        if (action == Action.Reject) {
            return abi.encodeCall(IMarket.reject, (orderId, IMarket.Reason.WrongResult, EVIDENCE));
        }
        if (action == Action.Settle) return abi.encodeCall(IMarket.settle, (orderId));
        return abi.encodeCall(IMarket.expire, (orderId));
    }

    /// @dev Does it as the rightful caller, and hands a revert on unchanged.
    function _do(Action action, uint256 orderId) internal {
        _doAs(_rightful(action), action, orderId);
    }

    function _doAs(address caller, Action action, uint256 orderId) internal {
        vm.prank(caller);
        (bool ok, bytes memory returned) = address(market).call(_call(action, orderId));
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(returned, 32), mload(returned))
        }
    }

    /// @dev A refused call must give exactly this error, and must not change the order.
    function _refused(address caller, Action action, uint256 orderId, bytes memory expected) internal {
        vm.prank(caller);
        (bool ok, bytes memory returned) = address(market).call(_call(action, orderId));
        vm.assertTrue(!ok, "the call must be refused");
        vm.assertEq(returned, expected);
    }

    /// @dev The table of specs/0004-market.md, section 4; `None` where it has no entry.
    function _next(IMarket.Status from, Action action) internal pure returns (IMarket.Status) {
        if (from == IMarket.Status.Ordered) {
            if (action == Action.Lease) return IMarket.Status.Leased;
            if (action == Action.Decline) return IMarket.Status.Declined;
            if (action == Action.Cancel) return IMarket.Status.Cancelled;
            if (action == Action.Expire) return IMarket.Status.Expired;
        } else if (from == IMarket.Status.Leased) {
            if (action == Action.Commit) return IMarket.Status.Committed;
            if (action == Action.Abandon) return IMarket.Status.Abandoned;
            if (action == Action.Expire) return IMarket.Status.Expired;
        } else if (from == IMarket.Status.Committed) {
            if (action == Action.Deliver) return IMarket.Status.Delivered;
            if (action == Action.Abandon) return IMarket.Status.Abandoned;
            if (action == Action.Expire) return IMarket.Status.Expired;
        } else if (from == IMarket.Status.Delivered) {
            if (action == Action.Accept) return IMarket.Status.Accepted;
            if (action == Action.Reject) return IMarket.Status.Rejected;
            if (action == Action.Settle) return IMarket.Status.Settled;
        }
        return IMarket.Status.None;
    }

    /// @dev The deadline that binds an action from a status: last second of it, or for `Settle` and `Expire` of the
    /// others. Zero where none binds.
    function _deadline(uint256 orderId, IMarket.Status from, Action action) internal view returns (uint256) {
        IMarket.Deadlines memory d = market.deadlines(orderId);
        if (action == Action.Lease) return d.leaseBy;
        if (action == Action.Commit || action == Action.Deliver || action == Action.Abandon) return d.deliverBy;
        if (action == Action.Reject || action == Action.Settle) return d.checkBy;
        if (action == Action.Expire) return from == IMarket.Status.Ordered ? d.leaseBy : d.deliverBy;
        return 0;
    }

    /// @dev Class exact, no bond, so that every unit is drawn; one checker.
    function _auditTerms() internal pure returns (IAuditTypes.Terms memory) {
        return IAuditTypes.Terms({
            class: 1,
            checkers: 1,
            abilities: 1,
            ratePpm: 30_000,
            feePpm: 1_000_000,
            checkSeconds: 100,
            revealSeconds: 60,
            appealSeconds: 3600,
            segments: 1,
            bondWei: 0,
            named: 0,
            canary: keccak256("no canary")
        });
    }

    function _placeAudited(IAuditTypes.Terms memory terms) internal returns (uint256 orderId) {
        uint256 depositWei = audit.depositWei(PROVIDER, UNITS, PRICE_WEI, terms);
        vm.prank(CUSTOMER);
        orderId = market.placeAudited{value: ESCROW_WEI + depositWei}(_terms(), terms);
    }

    /// @dev One second and one block on.
    function _tick() internal {
        vm.warp(block.timestamp + 1);
        vm.roll(block.number + 1);
    }

    /// @dev An audited order, delivered; its window is drawn.
    function _delivered(IAuditTypes.Terms memory terms) internal returns (uint256 orderId, bytes32 id) {
        orderId = _placeAudited(terms);
        _step(orderId, Action.Lease);
        _step(orderId, Action.Commit);
        _step(orderId, Action.Deliver);
        id = market.windowOf(orderId);
        for (uint256 i = 0; i < 3; ++i) {
            _tick();
        }
        audit.touch(id, 0, 0);
    }

    /// @dev Nobody opens a drawn unit that `CHECKER` committed to check, or there is no checker.
    function _auditedIn(IMarket.Status status) private returns (uint256 orderId) {
        bytes32 id;
        if (status == IMarket.Status.Convicted && bond.accountOf(CHECKER).seats == 0) _sit(CHECKER, 1, 7, 9);
        (orderId, id) = _delivered(_auditTerms());
        bool convicts = status == IMarket.Status.Convicted;
        if (convicts) {
            vm.prank(CHECKER);
            audit.commitCheck(IAuditTypes.Key(id, 0, 0, 0), keccak256("check"), new address[](0));
        }
        vm.warp(block.timestamp + 1000);
        if (convicts) referee.conclude(id, 0);
        audit.close(id);
        market.settle(orderId);
    }

    /// @dev Gives an account seats that are drawn from the next epoch on, and goes there.
    function _sit(address account, uint32 count, uint16 hardware, uint8 abilities) internal {
        uint256 amountWei = uint256(count) * bond.SEAT_WEI();
        vm.deal(account, account.balance + amountWei);
        vm.prank(account);
        bond.deposit{value: amountWei}();
        vm.prank(account);
        bond.seat(count, hardware, abilities);
        vm.roll(block.number + 256);
    }

    /// @dev Places a new order and brings it to a status, one second per step.
    function _orderIn(IMarket.Status status) internal returns (uint256 orderId) {
        if (status > IMarket.Status.Abandoned) return _auditedIn(status);
        orderId = _place();
        if (status == IMarket.Status.Ordered) return orderId;
        if (status == IMarket.Status.Declined) return _step(orderId, Action.Decline);
        if (status == IMarket.Status.Cancelled) return _step(orderId, Action.Cancel);
        _step(orderId, Action.Lease);
        if (status == IMarket.Status.Leased) return orderId;
        if (status == IMarket.Status.Abandoned) return _step(orderId, Action.Abandon);
        if (status == IMarket.Status.Expired) {
            vm.warp(block.timestamp + DELIVER_SECONDS);
            return _step(orderId, Action.Expire);
        }
        _step(orderId, Action.Commit);
        if (status == IMarket.Status.Committed) return orderId;
        _step(orderId, Action.Deliver);
        if (status == IMarket.Status.Delivered) return orderId;
        if (status == IMarket.Status.Accepted) return _step(orderId, Action.Accept);
        if (status == IMarket.Status.Rejected) return _step(orderId, Action.Reject);
        vm.warp(block.timestamp + CHECK_SECONDS);
        return _step(orderId, Action.Settle);
    }

    function _step(uint256 orderId, Action action) private returns (uint256) {
        vm.warp(block.timestamp + 1);
        _do(action, orderId);
        return orderId;
    }
}
