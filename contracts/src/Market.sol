// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IMarket} from "./IMarket.sol";
import {HIGHEST_PRICE_WEI_PER_UNIT, IProviders} from "./IProviders.sol";

/// @title The market
/// @notice See `IMarket`.
/// @dev Balance invariant: this contract's balance is at least the escrow of all open orders plus all credits, and
/// exactly that unless value was forced in. Every order reaches one final status, and only `_close` turns escrow into
/// credit.
contract Market is IMarket, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// @inheritdoc IMarket
    /// @dev A genesis address (specs/0004-market.md, section 2).
    IProviders public constant PROVIDERS = IProviders(0x4B53540000000000000000000000000000000001);

    /// @inheritdoc IMarket
    /// @dev 2^20: a path in the commitment's tree is at most 20 hashes.
    uint32 public constant UNITS_MAX = 1 << 20;

    /// @inheritdoc IMarket
    uint32 public constant LEASE_SECONDS_MAX = 1 days;

    /// @inheritdoc IMarket
    uint32 public constant DELIVER_SECONDS_MAX = 7 days;

    /// @inheritdoc IMarket
    /// @dev With the two above, an order lives at most 11 days: less than the register's 14 days for unstaking.
    uint32 public constant CHECK_SECONDS_MAX = 3 days;

    /// @dev Slot 0: how many orders there are; the next one is number `_orderCount + 1`.
    uint256 private _orderCount;

    /// @dev Slot 1: the orders.
    mapping(uint256 orderId => Order) private _orders;

    /// @dev Slot 2: what each account can withdraw, in wei.
    mapping(address account => uint256) private _credits;

    /// @dev Slot 3: outcomes by provider.
    mapping(address account => Record) private _providerRecords;

    /// @dev Slot 4: outcomes by customer.
    mapping(address account => Record) private _customerRecords;

    /// @inheritdoc IMarket
    function placeOrder(Terms calldata terms) external payable returns (uint256 orderId) {
        _checkTerms(terms);
        orderId = ++_orderCount;
        uint40 nowSeconds = block.timestamp.toUint40();
        Order storage entry = _orders[orderId];
        entry.status = Status.Ordered;
        entry.orderedAt = nowSeconds;
        entry.units = terms.units;
        entry.leaseSeconds = terms.leaseSeconds;
        entry.deliverSeconds = terms.deliverSeconds;
        entry.checkSeconds = terms.checkSeconds;
        entry.priceWeiPerUnit = terms.priceWeiPerUnit;
        entry.jobHash = terms.jobHash;
        entry.customer = msg.sender;
        entry.provider = terms.provider;
        emit OrderPlaced(
            orderId,
            msg.sender,
            terms.provider,
            terms.jobHash,
            terms.units,
            terms.priceWeiPerUnit,
            nowSeconds + terms.leaseSeconds,
            terms.deliverSeconds,
            terms.checkSeconds
        );
    }

    /// @inheritdoc IMarket
    function lease(uint256 orderId) external {
        Order storage entry = _asProvider(orderId);
        _requireStatus(orderId, entry, Status.Ordered);
        _requireBy(orderId, _leaseBy(entry));
        entry.status = Status.Leased;
        entry.leasedAt = block.timestamp.toUint40();
        emit OrderLeased(orderId, msg.sender, _deliverBy(entry));
    }

    /// @inheritdoc IMarket
    function decline(uint256 orderId) external {
        Order storage entry = _asProvider(orderId);
        _requireStatus(orderId, entry, Status.Ordered);
        _close(orderId, entry, Status.Declined, entry.customer);
        emit OrderDeclined(orderId);
    }

    /// @inheritdoc IMarket
    function cancel(uint256 orderId) external {
        Order storage entry = _asCustomer(orderId);
        _requireStatus(orderId, entry, Status.Ordered);
        _close(orderId, entry, Status.Cancelled, entry.customer);
        emit OrderCancelled(orderId);
    }

    /// @inheritdoc IMarket
    function abandon(uint256 orderId) external {
        Order storage entry = _asProvider(orderId);
        Status from = entry.status;
        if (from != Status.Leased && from != Status.Committed) revert WrongStatus(orderId, from);
        _requireBy(orderId, _deliverBy(entry));
        ++_providerRecords[entry.provider].abandoned;
        ++_customerRecords[entry.customer].abandoned;
        _close(orderId, entry, Status.Abandoned, entry.customer);
        emit OrderAbandoned(orderId, from);
    }

    /// @inheritdoc IMarket
    function commit(uint256 orderId, bytes32 commitment) external {
        Order storage entry = _asProvider(orderId);
        _requireStatus(orderId, entry, Status.Leased);
        _requireBy(orderId, _deliverBy(entry));
        if (commitment == 0) revert CommitmentZero(orderId);
        entry.status = Status.Committed;
        entry.committedAt = block.timestamp.toUint40();
        entry.commitment = commitment;
        emit OrderCommitted(orderId, commitment);
    }

    /// @inheritdoc IMarket
    function deliver(uint256 orderId, bytes32 resultRoot) external {
        Order storage entry = _asProvider(orderId);
        _requireStatus(orderId, entry, Status.Committed);
        _requireBy(orderId, _deliverBy(entry));
        if (resultRoot == 0) revert ResultRootZero(orderId);
        entry.status = Status.Delivered;
        entry.deliveredAt = block.timestamp.toUint40();
        entry.resultRoot = resultRoot;
        emit OrderDelivered(orderId, resultRoot, _checkBy(entry));
    }

    /// @inheritdoc IMarket
    function accept(uint256 orderId) external {
        Order storage entry = _asCustomer(orderId);
        _requireStatus(orderId, entry, Status.Delivered);
        ++_providerRecords[entry.provider].accepted;
        ++_customerRecords[entry.customer].accepted;
        _close(orderId, entry, Status.Accepted, entry.provider);
        emit OrderAccepted(orderId);
    }

    /// @inheritdoc IMarket
    function reject(uint256 orderId, Reason reason, bytes32 evidenceHash) external {
        Order storage entry = _asCustomer(orderId);
        _requireStatus(orderId, entry, Status.Delivered);
        _requireBy(orderId, _checkBy(entry));
        if (reason == Reason.None) revert ReasonMissing(orderId);
        if (evidenceHash == 0) revert EvidenceZero(orderId);
        entry.reason = reason;
        entry.evidenceHash = evidenceHash;
        ++_providerRecords[entry.provider].rejected;
        ++_customerRecords[entry.customer].rejected;
        _close(orderId, entry, Status.Rejected, entry.customer);
        emit OrderRejected(orderId, entry.provider, entry.customer, reason, evidenceHash);
    }

    /// @inheritdoc IMarket
    function settle(uint256 orderId) external {
        Order storage entry = _existing(orderId);
        _requireStatus(orderId, entry, Status.Delivered);
        _requireAfter(orderId, _checkBy(entry));
        ++_providerRecords[entry.provider].settled;
        ++_customerRecords[entry.customer].settled;
        _close(orderId, entry, Status.Settled, entry.provider);
        emit OrderSettled(orderId);
    }

    /// @inheritdoc IMarket
    function expire(uint256 orderId) external {
        Order storage entry = _existing(orderId);
        Status from = entry.status;
        if (from == Status.Ordered) {
            _requireAfter(orderId, _leaseBy(entry));
        } else if (from == Status.Leased || from == Status.Committed) {
            _requireAfter(orderId, _deliverBy(entry));
            ++_providerRecords[entry.provider].expired;
            ++_customerRecords[entry.customer].expired;
        } else {
            revert WrongStatus(orderId, from);
        }
        _close(orderId, entry, Status.Expired, entry.customer);
        emit OrderExpired(orderId, from);
    }

    /// @inheritdoc IMarket
    function withdraw() external nonReentrant {
        _withdraw(payable(msg.sender));
    }

    /// @inheritdoc IMarket
    function withdrawTo(address payable to) external nonReentrant {
        if (to == address(0)) revert RecipientZero(msg.sender);
        _withdraw(to);
    }

    /// @inheritdoc IMarket
    function order(uint256 orderId) external view returns (Order memory) {
        return _existing(orderId);
    }

    /// @inheritdoc IMarket
    function deadlines(uint256 orderId) external view returns (Deadlines memory) {
        Order storage entry = _existing(orderId);
        return Deadlines({
            leaseBy: _leaseBy(entry),
            deliverBy: entry.leasedAt == 0 ? 0 : _deliverBy(entry),
            checkBy: entry.deliveredAt == 0 ? 0 : _checkBy(entry)
        });
    }

    /// @inheritdoc IMarket
    function orderCount() external view returns (uint256) {
        return _orderCount;
    }

    /// @inheritdoc IMarket
    function credit(address account) external view returns (uint256) {
        return _credits[account];
    }

    /// @inheritdoc IMarket
    function providerRecord(address account) external view returns (Record memory) {
        return _providerRecords[account];
    }

    /// @inheritdoc IMarket
    function customerRecord(address account) external view returns (Record memory) {
        return _customerRecords[account];
    }

    function _checkTerms(Terms calldata terms) private view {
        if (terms.jobHash == 0) revert JobHashZero(msg.sender);
        if (terms.units == 0 || terms.units > UNITS_MAX) revert UnitsOutOfRange(terms.units, 1, UNITS_MAX);
        _checkDuration(Phase.Lease, terms.leaseSeconds, LEASE_SECONDS_MAX);
        _checkDuration(Phase.Deliver, terms.deliverSeconds, DELIVER_SECONDS_MAX);
        _checkDuration(Phase.Check, terms.checkSeconds, CHECK_SECONDS_MAX);
        (bool offering, uint128 listedWei) = PROVIDERS.quote(terms.provider);
        if (!offering) revert NotOffering(terms.provider);
        if (terms.priceWeiPerUnit < listedWei || terms.priceWeiPerUnit > HIGHEST_PRICE_WEI_PER_UNIT) {
            revert PriceOutOfRange(terms.priceWeiPerUnit, listedWei, HIGHEST_PRICE_WEI_PER_UNIT);
        }
        uint256 escrowWei = uint256(terms.units) * terms.priceWeiPerUnit;
        if (msg.value != escrowWei) revert EscrowMismatch(msg.value, escrowWei);
    }

    function _checkDuration(Phase phase, uint32 gotSeconds, uint32 maxSeconds) private pure {
        if (gotSeconds == 0 || gotSeconds > maxSeconds) revert DurationOutOfRange(phase, gotSeconds, 1, maxSeconds);
    }

    function _existing(uint256 orderId) private view returns (Order storage entry) {
        entry = _orders[orderId];
        if (entry.status == Status.None) revert OrderUnknown(orderId);
    }

    function _asProvider(uint256 orderId) private view returns (Order storage entry) {
        entry = _existing(orderId);
        if (msg.sender != entry.provider) revert NotProvider(orderId, msg.sender);
    }

    function _asCustomer(uint256 orderId) private view returns (Order storage entry) {
        entry = _existing(orderId);
        if (msg.sender != entry.customer) revert NotCustomer(orderId, msg.sender);
    }

    function _requireStatus(uint256 orderId, Order storage entry, Status expected) private view {
        Status status = entry.status;
        if (status != expected) revert WrongStatus(orderId, status);
    }

    function _requireBy(uint256 orderId, uint40 deadline) private view {
        if (block.timestamp > deadline) revert DeadlinePassed(orderId, deadline, block.timestamp);
    }

    function _requireAfter(uint256 orderId, uint40 deadline) private view {
        if (block.timestamp <= deadline) revert DeadlineNotPassed(orderId, deadline, block.timestamp);
    }

    function _leaseBy(Order storage entry) private view returns (uint40) {
        return entry.orderedAt + entry.leaseSeconds;
    }

    function _deliverBy(Order storage entry) private view returns (uint40) {
        return entry.leasedAt + entry.deliverSeconds;
    }

    function _checkBy(Order storage entry) private view returns (uint40) {
        return entry.deliveredAt + entry.checkSeconds;
    }

    /// @dev The one place where escrow leaves an order. `status` is final, so no second call can pass its status check.
    function _close(uint256 orderId, Order storage entry, Status status, address payee) private {
        uint256 amountWei = uint256(entry.units) * entry.priceWeiPerUnit;
        entry.status = status;
        entry.closedAt = block.timestamp.toUint40();
        _credits[payee] += amountWei;
        emit Credited(orderId, payee, amountWei);
    }

    /// @dev Clears the debt before it pays; the guard only keeps a receiver from nesting withdrawals.
    function _withdraw(address payable to) private {
        uint256 amountWei = _credits[msg.sender];
        if (amountWei == 0) revert NothingToWithdraw(msg.sender);
        _credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amountWei);
        Address.sendValue(to, amountWei);
    }
}
