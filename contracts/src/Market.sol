// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Draw} from "./Draw.sol";
import {ExactTransfer} from "./ExactTransfer.sol";
import {AUDIT_ADDRESS, BOND_ADDRESS} from "./Genesis.sol";
import {IAudit} from "./IAudit.sol";
import {IAuditTypes} from "./IAuditTypes.sol";
import {IBond} from "./IBond.sol";
import {IMarket} from "./IMarket.sol";
import {HIGHEST_PRICE_WEI_PER_UNIT, IProviders} from "./IProviders.sol";

/// @title The market
/// @notice See `IMarket`.
/// @dev Balance invariant: this contract's balance is at least the escrow of all open orders plus all credits, and
/// exactly that unless value was forced in; and so, per token, is its balance of each ERC-20. The deposit for checks is
/// escrow until the commitment, then the audit's. Every order reaches one final status, and only `_close` turns escrow into
/// credit. What moves a token holds the guard, so a token that calls back can move nothing.
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

    /// @inheritdoc IMarket
    uint32 public constant STOP_SECONDS = 120;

    /// @dev Most units of an audited order: what the audit takes.
    uint32 private constant AUDITED_UNITS_MAX = 65_536;

    IAudit private constant AUDIT = IAudit(AUDIT_ADDRESS);
    IBond private constant BOND = IBond(BOND_ADDRESS);

    /// @dev What an order with an audit has besides.
    struct AuditEntry {
        IAuditTypes.Terms terms;
        uint128 depositWei;
        // What a unit is worth in KST: the price of an order in KST.
        uint128 valueWei;
    }

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

    /// @dev Slot 5: the audits of orders that have one.
    mapping(uint256 orderId => AuditEntry) private _audits;

    /// @dev Slot 6: what each account can withdraw in each token.
    mapping(address account => mapping(address token => uint256)) private _tokenCredits;

    /// @inheritdoc IMarket
    function placeOrder(Terms calldata terms) external payable returns (uint256 orderId) {
        return _place(address(0), terms, UNITS_MAX, 0);
    }

    /// @inheritdoc IMarket
    function placeOrderIn(address token, Terms calldata terms) external payable nonReentrant returns (uint256 orderId) {
        return _place(token, terms, UNITS_MAX, 0);
    }

    /// @inheritdoc IMarket
    function placeAudited(Terms calldata terms, IAuditTypes.Terms calldata audit)
        external
        payable
        returns (uint256 orderId)
    {
        return _placeAudited(address(0), terms.priceWeiPerUnit, terms, audit);
    }

    /// @inheritdoc IMarket
    function placeAuditedIn(address token, uint128 valueWei, Terms calldata terms, IAuditTypes.Terms calldata audit)
        external
        payable
        nonReentrant
        returns (uint256 orderId)
    {
        if (token == address(0) && valueWei != terms.priceWeiPerUnit) {
            revert ValueNotPrice(valueWei, terms.priceWeiPerUnit);
        }
        _checkPrice(valueWei, 1);
        return _placeAudited(token, valueWei, terms, audit);
    }

    function _placeAudited(address token, uint128 valueWei, Terms calldata terms, IAuditTypes.Terms calldata audit)
        private
        returns (uint256 orderId)
    {
        AUDIT.checkTerms(audit, valueWei);
        uint256 depositWei = AUDIT.depositWei(terms.provider, terms.units, valueWei, audit);
        orderId = _place(token, terms, AUDITED_UNITS_MAX, depositWei);
        _orders[orderId].mode = audit.named == 0 ? Mode.Audited : Mode.Private;
        _audits[orderId] = AuditEntry({terms: audit, depositWei: depositWei.toUint128(), valueWei: valueWei});
        emit AuditOrdered(orderId, depositWei, audit);
    }

    /// @inheritdoc IMarket
    function stop(uint256 orderId) external {
        Order storage entry = _asCustomer(orderId);
        _requireStatus(orderId, entry, Status.Leased);
        _requireBy(orderId, _deliverBy(entry));
        if (entry.stopped) revert StopUnchanged(orderId, true);
        entry.stopped = true;
        uint32 stopSeconds = _secondsFromLease(entry);
        if (stopSeconds < entry.deliverSeconds) entry.deliverSeconds = stopSeconds;
        emit OrderStopped(orderId, _deliverBy(entry));
    }

    /// @inheritdoc IMarket
    function commitPartial(uint256 orderId, bytes32 commitment, uint32 doneUnits) external {
        Order storage entry = _asProvider(orderId);
        _requireCommit(orderId, entry, commitment);
        if (!entry.stopped) revert StopUnchanged(orderId, false);
        if (doneUnits == 0 || doneUnits > entry.units) revert UnitsOutOfRange(doneUnits, 1, entry.units);
        // At most `UNITS_MAX`, which has 21 bits.
        entry.doneUnits = uint24(doneUnits);
        _commit(orderId, entry, commitment, doneUnits);
        emit OrderCommittedPartly(orderId, commitment, doneUnits);
    }

    /// @dev `UNITS_MAX` or less, and what must be sent besides the price.
    function _place(address token, Terms calldata terms, uint32 unitsMax, uint256 depositWei)
        private
        returns (uint256 orderId)
    {
        _checkTerms(token, terms, unitsMax, depositWei);
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
        if (token == address(0)) return orderId;
        // LOSSY: the two parts of an address lie in what two words leave over.
        entry.tokenHigh = uint96(uint160(token) >> 64);
        entry.tokenLow = uint64(uint160(token));
        emit OrderInToken(orderId, token);
        ExactTransfer.take(token, _escrow(terms));
    }

    /// @inheritdoc IMarket
    function lease(uint256 orderId) external {
        Order storage entry = _asProvider(orderId);
        _requireStatus(orderId, entry, Status.Ordered);
        _requireBy(orderId, _leaseBy(entry));
        entry.status = Status.Leased;
        entry.leasedAt = block.timestamp.toUint40();
        uint256 bondWei = entry.mode == Mode.Own ? 0 : _audits[orderId].terms.bondWei;
        if (bondWei != 0) BOND.lock(msg.sender, bondWei);
        emit OrderLeased(orderId, msg.sender, _deliverBy(entry));
    }

    /// @inheritdoc IMarket
    function decline(uint256 orderId) external {
        Order storage entry = _asProvider(orderId);
        _requireStatus(orderId, entry, Status.Ordered);
        _close(orderId, entry, Status.Declined, 0);
        emit OrderDeclined(orderId);
    }

    /// @inheritdoc IMarket
    function cancel(uint256 orderId) external {
        Order storage entry = _asCustomer(orderId);
        _requireStatus(orderId, entry, Status.Ordered);
        _close(orderId, entry, Status.Cancelled, 0);
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
        _close(orderId, entry, Status.Abandoned, 0);
        emit OrderAbandoned(orderId, from);
    }

    /// @inheritdoc IMarket
    function commit(uint256 orderId, bytes32 commitment) external {
        Order storage entry = _asProvider(orderId);
        _requireCommit(orderId, entry, commitment);
        _commit(orderId, entry, commitment, entry.units);
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
        if (entry.mode != Mode.Own) {
            if (_closeAudited(orderId, entry)) {
                ++_providerRecords[entry.provider].accepted;
                ++_customerRecords[entry.customer].accepted;
            }
            return;
        }
        ++_providerRecords[entry.provider].accepted;
        ++_customerRecords[entry.customer].accepted;
        _close(orderId, entry, Status.Accepted, _doneUnits(entry));
        emit OrderAccepted(orderId);
    }

    /// @inheritdoc IMarket
    function reject(uint256 orderId, Reason reason, bytes32 evidenceHash) external {
        Order storage entry = _asCustomer(orderId);
        _requireStatus(orderId, entry, Status.Delivered);
        _requireBy(orderId, _checkBy(entry));
        if (reason == Reason.None) revert ReasonMissing(orderId);
        if (evidenceHash == 0) revert EvidenceZero(orderId);
        if (entry.mode != Mode.Own && reason != Reason.NotReceived) revert ReasonRefused(orderId, reason);
        entry.reason = reason;
        entry.evidenceHash = evidenceHash;
        ++_providerRecords[entry.provider].rejected;
        ++_customerRecords[entry.customer].rejected;
        _close(orderId, entry, Status.Rejected, 0);
        emit OrderRejected(orderId, entry.provider, entry.customer, reason, evidenceHash);
    }

    /// @inheritdoc IMarket
    function settle(uint256 orderId) external {
        Order storage entry = _existing(orderId);
        _requireStatus(orderId, entry, Status.Delivered);
        _requireAfter(orderId, _checkBy(entry));
        if (entry.mode != Mode.Own) {
            if (_closeAudited(orderId, entry)) {
                ++_providerRecords[entry.provider].settled;
                ++_customerRecords[entry.customer].settled;
            }
            return;
        }
        ++_providerRecords[entry.provider].settled;
        ++_customerRecords[entry.customer].settled;
        _close(orderId, entry, Status.Settled, _doneUnits(entry));
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
        _close(orderId, entry, Status.Expired, 0);
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
    function withdrawToken(address token) external nonReentrant {
        _withdrawToken(token, msg.sender);
    }

    /// @inheritdoc IMarket
    function withdrawTokenTo(address token, address to) external nonReentrant {
        if (to == address(0)) revert RecipientZero(msg.sender);
        _withdrawToken(token, to);
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
    function tokenCredit(address account, address token) external view returns (uint256) {
        return _tokenCredits[account][token];
    }

    /// @inheritdoc IMarket
    function currencyOf(uint256 orderId) external view returns (address token, uint128 valueWei) {
        return (_token(_existing(orderId)), _audits[orderId].valueWei);
    }

    /// @inheritdoc IMarket
    function providerRecord(address account) external view returns (Record memory) {
        return _providerRecords[account];
    }

    /// @inheritdoc IMarket
    function customerRecord(address account) external view returns (Record memory) {
        return _customerRecords[account];
    }

    /// @inheritdoc IMarket
    function auditOf(uint256 orderId) external view returns (IAuditTypes.Terms memory terms, uint256 depositWei) {
        _existing(orderId);
        AuditEntry storage audit = _audits[orderId];
        return (audit.terms, audit.depositWei);
    }

    /// @inheritdoc IMarket
    function windowOf(uint256 orderId) public view returns (bytes32) {
        return Draw.windowId(address(this), orderId, 0);
    }

    function _checkTerms(address token, Terms calldata terms, uint32 unitsMax, uint256 depositWei) private view {
        if (terms.jobHash == 0) revert JobHashZero(msg.sender);
        if (terms.units == 0 || terms.units > unitsMax) revert UnitsOutOfRange(terms.units, 1, unitsMax);
        _checkDuration(Phase.Lease, terms.leaseSeconds, LEASE_SECONDS_MAX);
        _checkDuration(Phase.Deliver, terms.deliverSeconds, DELIVER_SECONDS_MAX);
        _checkDuration(Phase.Check, terms.checkSeconds, CHECK_SECONDS_MAX);
        (bool offering, uint128 listedWei) = PROVIDERS.quote(terms.provider);
        if (!offering) revert NotOffering(terms.provider);
        bool inKst = token == address(0);
        _checkPrice(terms.priceWeiPerUnit, inKst ? listedWei : 1);
        uint256 escrowWei = depositWei + (inKst ? _escrow(terms) : 0);
        if (msg.value != escrowWei) revert EscrowMismatch(msg.value, escrowWei);
    }

    function _checkPrice(uint128 priceWei, uint128 minWei) private pure {
        if (priceWei < minWei || priceWei > HIGHEST_PRICE_WEI_PER_UNIT) {
            revert PriceOutOfRange(priceWei, minWei, HIGHEST_PRICE_WEI_PER_UNIT);
        }
    }

    function _escrow(Terms calldata terms) private pure returns (uint256) {
        return uint256(terms.units) * terms.priceWeiPerUnit;
    }

    function _token(Order storage entry) private view returns (address) {
        return address((uint160(entry.tokenHigh) << 64) | entry.tokenLow);
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

    /// @dev From the lease to `STOP_SECONDS` from now. LOSSY: at most 7 days and 4 minutes.
    function _secondsFromLease(Order storage entry) private view returns (uint32) {
        return uint32(block.timestamp - entry.leasedAt) + STOP_SECONDS;
    }

    function _doneUnits(Order storage entry) private view returns (uint32) {
        uint32 doneUnits = entry.doneUnits;
        return doneUnits == 0 ? entry.units : doneUnits;
    }

    function _requireCommit(uint256 orderId, Order storage entry, bytes32 commitment) private view {
        _requireStatus(orderId, entry, Status.Leased);
        _requireBy(orderId, _deliverBy(entry));
        if (commitment == 0) revert CommitmentZero(orderId);
    }

    /// @dev The deposit for checks leaves with the window that it is for.
    function _commit(uint256 orderId, Order storage entry, bytes32 commitment, uint32 units) private {
        entry.status = Status.Committed;
        entry.committedAt = block.timestamp.toUint40();
        entry.commitment = commitment;
        if (entry.stopped) entry.deliverSeconds = _secondsFromLease(entry);
        if (entry.mode == Mode.Own) return;
        AuditEntry storage audit = _audits[orderId];
        AUDIT.open{value: audit.depositWei}(
            IAuditTypes.Opening({
                number: orderId,
                window: 0,
                provider: entry.provider,
                customer: entry.customer,
                jobHash: entry.jobHash,
                commitment: commitment,
                units: units,
                priceWeiPerUnit: audit.valueWei,
                terms: audit.terms
            })
        );
    }

    /// @return paid Whether the provider was paid, as opposed to convicted.
    function _closeAudited(uint256 orderId, Order storage entry) private returns (bool paid) {
        (bool closed, bool convicted, uint32 paidUnits) = AUDIT.outcome(windowOf(orderId));
        if (!closed) revert WindowOpen(orderId, windowOf(orderId));
        if (!convicted) {
            _close(orderId, entry, Status.Audited, paidUnits);
            emit OrderAudited(orderId, paidUnits);
            return true;
        }
        ++_providerRecords[entry.provider].rejected;
        ++_customerRecords[entry.customer].rejected;
        _close(orderId, entry, Status.Convicted, 0);
        emit OrderConvicted(orderId, entry.provider);
    }

    /// @dev The one place where escrow leaves an order. `status` is final, so no second call can pass its status check.
    /// The provider gets the price of `paidUnits`, the customer the rest.
    function _close(uint256 orderId, Order storage entry, Status status, uint32 paidUnits) private {
        uint256 priceWei = entry.priceWeiPerUnit;
        uint256 paidWei = paidUnits * priceWei;
        uint256 restWei = entry.units * priceWei - paidWei;
        entry.status = status;
        entry.closedAt = block.timestamp.toUint40();
        bool audited = entry.mode != Mode.Own;
        if (audited || entry.stopped) entry.paidUnits = paidUnits;
        uint256 depositWei = audited && entry.committedAt == 0 ? _closeUnopened(orderId, entry) : 0;
        address token = _token(entry);
        if (token == address(0)) {
            (restWei, depositWei) = (restWei + depositWei, 0);
        }
        if (paidWei != 0) _credit(orderId, entry.provider, token, paidWei);
        if (restWei != 0) _credit(orderId, entry.customer, token, restWei);
        if (depositWei != 0) _credit(orderId, entry.customer, address(0), depositWei);
    }

    /// @dev No window was opened: the bond is free again, and the deposit goes back.
    function _closeUnopened(uint256 orderId, Order storage entry) private returns (uint256 depositWei) {
        AuditEntry storage audit = _audits[orderId];
        uint256 bondWei = audit.terms.bondWei;
        if (entry.leasedAt != 0 && bondWei != 0) BOND.unlock(entry.provider, bondWei);
        return audit.depositWei;
    }

    function _credit(uint256 orderId, address payee, address token, uint256 amount) private {
        if (token != address(0)) {
            _tokenCredits[payee][token] += amount;
            emit TokenCredited(orderId, payee, token, amount);
            return;
        }
        _credits[payee] += amount;
        emit Credited(orderId, payee, amount);
    }

    /// @dev Clears the debt before it pays; the guard only keeps a receiver from nesting withdrawals.
    function _withdraw(address payable to) private {
        uint256 amountWei = _credits[msg.sender];
        if (amountWei == 0) revert NothingToWithdraw(msg.sender);
        _credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amountWei);
        Address.sendValue(to, amountWei);
    }

    /// @dev Clears the debt before it pays.
    function _withdrawToken(address token, address to) private {
        uint256 amount = _tokenCredits[msg.sender][token];
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        _tokenCredits[msg.sender][token] = 0;
        emit TokenWithdrawn(msg.sender, token, to, amount);
        ExactTransfer.send(token, to, amount);
    }
}
