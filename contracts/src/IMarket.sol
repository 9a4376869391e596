// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "./IAuditTypes.sol";
import {IProviders} from "./IProviders.sol";

/// @title The market: orders of computation, their escrow and their payout
/// @notice A customer orders a job from one provider and pays in advance into escrow. The provider leases it, commits
/// to its results, delivers, and is paid when the customer accepts or stays silent. Whoever does not keep a deadline
/// does not get the money. Money is never pushed: it becomes a credit that its owner withdraws.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner.
/// All times are Unix seconds of the block. "By" a deadline includes the deadline's second; "after" excludes it, so at
/// every second exactly one side may act. Spec: specs/0004-market.md.
interface IMarket {
    /// @notice Where an order stands. The numbers are part of the proof format.
    /// @dev `Ordered`, `Leased`, `Committed` and `Delivered` are open: the escrow is held. All later ones are final.
    enum Status {
        None, // 0: there is no such order
        Ordered, // 1: paid into escrow, waits for the provider
        Leased, // 2: the provider works
        Committed, // 3: the provider is bound to its results
        Delivered, // 4: the customer's check window runs
        Accepted, // 5: final: the customer accepted, the provider is paid
        Settled, // 6: final: the customer stayed silent, the provider is paid
        Rejected, // 7: final: the customer rejected, the customer is refunded
        Expired, // 8: final: the provider missed a deadline, the customer is refunded
        Declined, // 9: final: the provider did not want it, the customer is refunded
        Cancelled, // 10: final: the customer withdrew it before the lease, the customer is refunded
        Abandoned, // 11: final: the provider gave up after the lease, the customer is refunded
        Audited, // 12: final: the audit closed; the provider is paid for `paidUnits`, the customer refunded the rest
        Convicted // 13: final: the audit found a unit wrong, the customer is refunded
    }

    /// @notice Who finds out whether results are right. The numbers are part of the proof format.
    enum Mode {
        Own, // 0: the customer, by its own sample
        Audited, // 1: checkers whom the beacon draws
        Private // 2: checkers whom the order names, or nobody
    }

    /// @notice Why a customer rejects a delivery. The numbers are part of the proof format.
    enum Reason {
        None, // 0: not rejected
        WrongResult, // 1: a checked unit gave another output
        CommitmentMismatch, // 2: what was delivered does not match the commitment or the result root
        NotReceived, // 3: delivery was announced, the bytes did not arrive
        Malformed, // 4: the bytes break the job's declared format or limits
        Other // 5: see the evidence
    }

    /// @notice Which of the three durations of an order.
    enum Phase {
        Lease, // 0: from order to lease
        Deliver, // 1: from lease to delivery
        Check // 2: from delivery to acceptance or rejection
    }

    /// @notice What a customer asks for.
    /// @param provider Who shall compute; must be taking orders.
    /// @param jobHash Hash of the job's canonical specification (specs/0003-job.md); never zero.
    /// @param units Number of units in the job, 1 to `UNITS_MAX` inclusive.
    /// @param priceWeiPerUnit Agreed price in wei per unit, at least the provider's listed price and at most the
    /// register's `PRICE_WEI_PER_UNIT_MAX`.
    /// @param leaseSeconds Time for the provider to lease after the order, 1 to `LEASE_SECONDS_MAX` inclusive.
    /// @param deliverSeconds Time for the provider to deliver after the lease, 1 to `DELIVER_SECONDS_MAX` inclusive.
    /// @param checkSeconds Time for the customer to reject after the delivery, 1 to `CHECK_SECONDS_MAX` inclusive.
    struct Terms {
        address provider;
        bytes32 jobHash;
        uint32 units;
        uint128 priceWeiPerUnit;
        uint32 leaseSeconds;
        uint32 deliverSeconds;
        uint32 checkSeconds;
    }

    /// @notice An order as stored: the head that a storage proof shows.
    /// @dev Eight slots; the layout is part of the proof format (specs/0004-market.md, section 6).
    /// @param status Slot 0, bits 0-7. See `Status`.
    /// @param reason Slot 0, bits 8-15. `None` unless rejected.
    /// @param orderedAt Slot 0, bits 16-55. Unix seconds.
    /// @param leasedAt Slot 0, bits 56-95. Unix seconds, zero before.
    /// @param committedAt Slot 0, bits 96-135. Unix seconds, zero before.
    /// @param deliveredAt Slot 0, bits 136-175. Unix seconds, zero before.
    /// @param closedAt Slot 0, bits 176-215. Unix seconds at which a final status was reached, zero before.
    /// @param mode Slot 0, bits 216-223. See `Mode`.
    /// @param stopped Slot 0, bits 224-231. Whether the customer stopped it after the lease.
    /// @param doneUnits Slot 0, bits 232-255. After a stop: how many units, from the first on, the provider committed to;
    /// zero means all.
    /// @param priceWeiPerUnit Slot 1, bits 0-127. In the smallest units of the token, if there is one. Escrow is `units * priceWeiPerUnit` wei, and the deposit for checks
    /// until an audited order is committed.
    /// @param units Slot 1, bits 128-159.
    /// @param leaseSeconds Slot 1, bits 160-191.
    /// @param deliverSeconds Slot 1, bits 192-223.
    /// @param checkSeconds Slot 1, bits 224-255.
    /// @param jobHash Slot 2.
    /// @param commitment Slot 3. Root over the salted unit results (specs/0003-job.md); zero before.
    /// @param resultRoot Slot 4. Hash over the unit results without salt (specs/0003-job.md); zero before.
    /// @param evidenceHash Slot 5. Hash of the customer's evidence; zero unless rejected.
    /// @param customer Slot 6, bits 0-159.
    /// @param tokenHigh Slot 6, bits 160-255. The first 12 bytes of the token's address; zero in KST.
    /// @param provider Slot 7, bits 0-159.
    /// @param paidUnits Slot 7, bits 160-191. Of a closed order that was audited, private or stopped: the units that were
    /// paid; else zero.
    /// @param tokenLow Slot 7, bits 192-255. The last 8 bytes of the token's address.
    struct Order {
        Status status;
        Reason reason;
        uint40 orderedAt;
        uint40 leasedAt;
        uint40 committedAt;
        uint40 deliveredAt;
        uint40 closedAt;
        Mode mode;
        bool stopped;
        uint24 doneUnits;
        uint128 priceWeiPerUnit;
        uint32 units;
        uint32 leaseSeconds;
        uint32 deliverSeconds;
        uint32 checkSeconds;
        bytes32 jobHash;
        bytes32 commitment;
        bytes32 resultRoot;
        bytes32 evidenceHash;
        address customer;
        uint96 tokenHigh;
        address provider;
        uint32 paidUnits;
        uint64 tokenLow;
    }

    /// @notice How an account's leased orders ended. One slot.
    /// @dev Orders that ended before a lease count nowhere: anybody can send an unwanted order. A count cannot overflow
    /// in practice: 2^48 transactions take 8,900 years at 1,000 a second.
    /// @param accepted Customer accepted.
    /// @param settled Customer stayed silent and the provider was paid.
    /// @param rejected Customer rejected.
    /// @param expired Provider leased and did not deliver by the deadline.
    /// @param abandoned Provider leased and gave up by the deadline.
    struct Record {
        uint48 accepted;
        uint48 settled;
        uint48 rejected;
        uint48 expired;
        uint48 abandoned;
    }

    /// @notice An order's deadlines as Unix seconds, each inclusive; zero while not yet determined.
    /// @param leaseBy Last second in which the provider can lease.
    /// @param deliverBy Last second in which the provider can commit, deliver or abandon.
    /// @param checkBy Last second in which the customer can reject.
    struct Deadlines {
        uint40 leaseBy;
        uint40 deliverBy;
        uint40 checkBy;
    }

    /// @notice A customer ordered and the escrow is in.
    /// @param orderId Number of the order, from 1 on.
    /// @param customer Who ordered.
    /// @param provider Who shall compute.
    /// @param jobHash Hash of the job's specification.
    /// @param units Number of units.
    /// @param priceWeiPerUnit Agreed price in wei per unit.
    /// @param leaseBy Last second (inclusive) in which the provider can lease.
    /// @param deliverSeconds Seconds to deliver after the lease.
    /// @param checkSeconds Seconds to reject after the delivery.
    event OrderPlaced(
        uint256 indexed orderId,
        address indexed customer,
        address indexed provider,
        bytes32 jobHash,
        uint32 units,
        uint128 priceWeiPerUnit,
        uint40 leaseBy,
        uint32 deliverSeconds,
        uint32 checkSeconds
    );

    /// @notice The provider leased the order and works on it.
    /// @param orderId Number of the order.
    /// @param provider Who leased.
    /// @param deliverBy Last second (inclusive) in which the provider can deliver.
    event OrderLeased(uint256 indexed orderId, address indexed provider, uint40 deliverBy);

    /// @notice The provider bound itself to its results.
    /// @param orderId Number of the order.
    /// @param commitment Root over the salted unit results.
    event OrderCommitted(uint256 indexed orderId, bytes32 commitment);

    /// @notice The provider states that the results were handed over; the check window runs.
    /// @param orderId Number of the order.
    /// @param resultRoot Hash over the unit results.
    /// @param checkBy Last second (inclusive) in which the customer can reject.
    event OrderDelivered(uint256 indexed orderId, bytes32 resultRoot, uint40 checkBy);

    /// @notice The customer accepted; the provider was credited.
    /// @param orderId Number of the order.
    event OrderAccepted(uint256 indexed orderId);

    /// @notice The customer stayed silent over the check window; the provider was credited.
    /// @param orderId Number of the order.
    event OrderSettled(uint256 indexed orderId);

    /// @notice The customer rejected; the customer was credited.
    /// @param orderId Number of the order.
    /// @param provider Whose delivery was rejected.
    /// @param customer Who rejected.
    /// @param reason Why.
    /// @param evidenceHash Hash of the customer's evidence.
    event OrderRejected(
        uint256 indexed orderId, address indexed provider, address indexed customer, Reason reason, bytes32 evidenceHash
    );

    /// @notice A deadline of the provider passed; the customer was credited.
    /// @param orderId Number of the order.
    /// @param from The status in which the order was stuck.
    event OrderExpired(uint256 indexed orderId, Status from);

    /// @notice The provider declined before a lease; the customer was credited.
    /// @param orderId Number of the order.
    event OrderDeclined(uint256 indexed orderId);

    /// @notice The customer cancelled before a lease; the customer was credited.
    /// @param orderId Number of the order.
    event OrderCancelled(uint256 indexed orderId);

    /// @notice The provider gave up after the lease; the customer was credited.
    /// @param orderId Number of the order.
    /// @param from The status that the order was in.
    event OrderAbandoned(uint256 indexed orderId, Status from);

    /// @notice What an audited order adds to `OrderPlaced`.
    /// @param orderId Number of the order.
    /// @param depositWei Deposit for checks, in wei.
    /// @param terms The terms of the audit.
    event AuditOrdered(uint256 indexed orderId, uint256 depositWei, IAuditTypes.Terms terms);

    /// @notice The customer stopped a leased order.
    /// @param orderId Number of the order.
    /// @param deliverBy Last second (inclusive) in which the provider can commit to what it has done.
    event OrderStopped(uint256 indexed orderId, uint40 deliverBy);

    /// @notice The provider committed to a part of a stopped order.
    /// @param orderId Number of the order.
    /// @param commitment Root over the salted results of the first `doneUnits` units.
    /// @param doneUnits How many.
    event OrderCommittedPartly(uint256 indexed orderId, bytes32 commitment, uint32 doneUnits);

    /// @notice The audit closed and the provider was credited for its units.
    /// @param orderId Number of the order.
    /// @param paidUnits How many units were paid.
    event OrderAudited(uint256 indexed orderId, uint32 paidUnits);

    /// @notice The audit found a unit wrong; the customer was credited.
    /// @param orderId Number of the order.
    /// @param provider Who had committed to it.
    event OrderConvicted(uint256 indexed orderId, address indexed provider);

    /// @notice An order's escrow became somebody's credit. Once per order, or twice if both sides get a part.
    /// @param orderId Number of the order.
    /// @param account Who can withdraw it: the provider (payout) or the customer (refund).
    /// @param amountWei What it got, in wei.
    event Credited(uint256 indexed orderId, address indexed account, uint256 amountWei);

    /// @notice Credit was paid out.
    /// @param account Whose credit it was.
    /// @param to Who received it.
    /// @param amountWei How much, in wei.
    event Withdrawn(address indexed account, address indexed to, uint256 amountWei);

    /// @notice The order is paid in an ERC-20.
    /// @param orderId Number of the order.
    /// @param token The ERC-20.
    event OrderInToken(uint256 indexed orderId, address indexed token);

    /// @notice An order's escrow in a token became somebody's credit, as in `Credited`.
    /// @param orderId Number of the order.
    /// @param account Who can withdraw it.
    /// @param token The ERC-20.
    /// @param amount What it got, in the token's smallest units.
    event TokenCredited(uint256 indexed orderId, address indexed account, address indexed token, uint256 amount);

    /// @notice Credit in a token was paid out.
    /// @param account Whose credit it was.
    /// @param token The ERC-20.
    /// @param to Who received it.
    /// @param amount How much, in the token's smallest units.
    event TokenWithdrawn(address indexed account, address indexed token, address indexed to, uint256 amount);

    /// @notice The order does not exist.
    /// @param orderId The number given.
    error OrderUnknown(uint256 orderId);

    /// @notice The order's status does not allow this.
    /// @param orderId Number of the order.
    /// @param status The status as it is.
    error WrongStatus(uint256 orderId, Status status);

    /// @notice Only the order's provider may do this.
    /// @param orderId Number of the order.
    /// @param caller Who tried.
    error NotProvider(uint256 orderId, address caller);

    /// @notice Only the order's customer may do this.
    /// @param orderId Number of the order.
    /// @param caller Who tried.
    error NotCustomer(uint256 orderId, address caller);

    /// @notice Too late.
    /// @param orderId Number of the order.
    /// @param deadline Last second (inclusive) in which it was possible.
    /// @param timestamp Unix seconds of this block.
    error DeadlinePassed(uint256 orderId, uint256 deadline, uint256 timestamp);

    /// @notice Too early: the other side still may act.
    /// @param orderId Number of the order.
    /// @param deadline Last second (inclusive) of the other side; the call succeeds in later seconds.
    /// @param timestamp Unix seconds of this block.
    error DeadlineNotPassed(uint256 orderId, uint256 deadline, uint256 timestamp);

    /// @notice The provider takes no orders: paused, or never registered.
    /// @param provider The provider named.
    error NotOffering(address provider);

    /// @notice The number of units is outside the allowed range.
    /// @param units The number given.
    /// @param min Lowest allowed, inclusive.
    /// @param max Highest allowed, inclusive.
    error UnitsOutOfRange(uint256 units, uint256 min, uint256 max);

    /// @notice The price is below the listed one, or above the highest allowed.
    /// @param priceWeiPerUnit The price given, in wei per unit.
    /// @param minWei The provider's listed price, in wei per unit, inclusive.
    /// @param maxWei Highest allowed, in wei per unit, inclusive.
    error PriceOutOfRange(uint256 priceWeiPerUnit, uint256 minWei, uint256 maxWei);

    /// @notice A duration is outside the allowed range.
    /// @param phase Which one.
    /// @param gotSeconds The duration given, in seconds.
    /// @param minSeconds Shortest allowed, inclusive.
    /// @param maxSeconds Longest allowed, inclusive.
    error DurationOutOfRange(Phase phase, uint256 gotSeconds, uint256 minSeconds, uint256 maxSeconds);

    /// @notice The value sent along is not the escrow.
    /// @param sentWei What was sent, in wei.
    /// @param escrowWei `units * priceWeiPerUnit`, in wei.
    error EscrowMismatch(uint256 sentWei, uint256 escrowWei);

    /// @notice The job hash is zero.
    /// @param customer The caller.
    error JobHashZero(address customer);

    /// @notice The commitment is zero.
    /// @param orderId Number of the order.
    error CommitmentZero(uint256 orderId);

    /// @notice The result root is zero.
    /// @param orderId Number of the order.
    error ResultRootZero(uint256 orderId);

    /// @notice A rejection needs a reason.
    /// @param orderId Number of the order.
    error ReasonMissing(uint256 orderId);

    /// @notice A rejection needs evidence.
    /// @param orderId Number of the order.
    error EvidenceZero(uint256 orderId);

    /// @notice The audit is not over.
    /// @param orderId Number of the order.
    /// @param windowId The order's window.
    error WindowOpen(uint256 orderId, bytes32 windowId);

    /// @notice An audited order is rejected only because nothing was received: for anything else there is the audit.
    /// @param orderId Number of the order.
    /// @param reason The reason given.
    error ReasonRefused(uint256 orderId, Reason reason);

    /// @notice The order was stopped already, or for a part commitment: was not stopped.
    /// @param orderId Number of the order.
    /// @param stopped Whether it was.
    error StopUnchanged(uint256 orderId, bool stopped);

    /// @notice There is no credit.
    /// @param account The caller.
    error NothingToWithdraw(address account);

    /// @notice Value cannot be sent to the zero address.
    /// @param account The caller.
    error RecipientZero(address account);

    /// @notice An order in KST is worth its price: the value of a unit is stated for orders in a token alone.
    /// @param valueWei The value given, in wei.
    /// @param priceWei The price, in wei.
    error ValueNotPrice(uint256 valueWei, uint256 priceWei);

    /// @notice The token moved another amount than it was told: it keeps a fee, or it lies.
    /// @param token The ERC-20.
    /// @param balanceBefore This contract's balance before.
    /// @param balanceAfter This contract's balance after.
    /// @param amount What should have moved.
    error TransferInexact(address token, uint256 balanceBefore, uint256 balanceAfter, uint256 amount);

    /// @notice The register of providers that this market asks.
    function PROVIDERS() external view returns (IProviders);

    /// @notice Most units in one order, inclusive.
    function UNITS_MAX() external view returns (uint32);

    /// @notice Longest time to lease in seconds, inclusive.
    function LEASE_SECONDS_MAX() external view returns (uint32);

    /// @notice Longest time to deliver in seconds, inclusive.
    function DELIVER_SECONDS_MAX() external view returns (uint32);

    /// @notice Longest check window in seconds, inclusive.
    function CHECK_SECONDS_MAX() external view returns (uint32);

    /// @notice Order a job; the value sent along must be exactly `units * priceWeiPerUnit`.
    /// @dev None -> Ordered. Reverts with `JobHashZero`, `UnitsOutOfRange`, `DurationOutOfRange`, `NotOffering`,
    /// `PriceOutOfRange` or `EscrowMismatch`.
    /// @param terms What is ordered.
    /// @return orderId Number of the new order.
    function placeOrder(Terms calldata terms) external payable returns (uint256 orderId);

    /// @notice Lease the order: from now on the provider has `deliverSeconds`.
    /// @dev Ordered -> Leased, provider, by `leaseBy`.
    /// @param orderId Number of the order.
    function lease(uint256 orderId) external;

    /// @notice Refuse the order; the customer is refunded.
    /// @dev Ordered -> Declined, provider, at any time.
    /// @param orderId Number of the order.
    function decline(uint256 orderId) external;

    /// @notice Take the order back before it is leased; the customer is refunded.
    /// @dev Ordered -> Cancelled, customer, at any time.
    /// @param orderId Number of the order.
    function cancel(uint256 orderId) external;

    /// @notice Give up after the lease, so that the customer can go elsewhere at once; the customer is refunded.
    /// @dev Leased or Committed -> Abandoned, provider, by `deliverBy`. Counted in public.
    /// @param orderId Number of the order.
    function abandon(uint256 orderId) external;

    /// @notice Bind the provider to its results before it shows them.
    /// @dev Leased -> Committed, provider, by `deliverBy`.
    /// @param orderId Number of the order.
    /// @param commitment Root over the salted unit results; never zero.
    function commit(uint256 orderId, bytes32 commitment) external;

    /// @notice State that the results were handed over; the check window starts.
    /// @dev Committed -> Delivered, provider, by `deliverBy`. The statement is not proved: a customer who received
    /// nothing rejects.
    /// @param orderId Number of the order.
    /// @param resultRoot Hash over the unit results; never zero.
    function deliver(uint256 orderId, bytes32 resultRoot) external;

    /// @notice Accept the delivery; the provider is paid.
    /// @dev Delivered -> Accepted, customer, at any time until somebody settles.
    /// @param orderId Number of the order.
    function accept(uint256 orderId) external;

    /// @notice Reject the delivery; the customer is refunded and the rejection is counted in public for both.
    /// @dev Delivered -> Rejected, customer, by `checkBy`.
    /// @param orderId Number of the order.
    /// @param reason Why; never `None`.
    /// @param evidenceHash Hash of the customer's evidence; never zero.
    function reject(uint256 orderId, Reason reason, bytes32 evidenceHash) external;

    /// @notice Pay the provider of an order whose customer stayed silent.
    /// @dev Delivered -> Settled, anybody, after `checkBy`.
    /// @param orderId Number of the order.
    function settle(uint256 orderId) external;

    /// @notice Refund the customer of an order whose provider missed its deadline.
    /// @dev Ordered -> Expired after `leaseBy`; Leased or Committed -> Expired after `deliverBy`; anybody.
    /// @param orderId Number of the order.
    function expire(uint256 orderId) external;

    /// @notice Order with an audit: the price and the deposit for checks go into escrow.
    /// @dev As `placeOrder`; also reverts with what `IAudit.checkTerms` reverts with. The lease locks
    /// `audit.bondWei` of the provider's bond, the commitment opens the window and hands it the deposit, and payout waits
    /// until the window has closed.
    /// @param terms As in `placeOrder`; at most 65,536 units.
    /// @param audit The terms of the audit; with `named` not zero the order is private.
    /// @return orderId Number of the new order.
    function placeAudited(Terms calldata terms, IAuditTypes.Terms calldata audit)
        external
        payable
        returns (uint256 orderId);

    /// @notice Order a job that is paid in an ERC-20 for which the market was approved. The provider's listed price is one
    /// in KST and does not bind: that a token is taken says the provider's capability record, and its lease.
    /// @dev As `placeOrder` with a price of 1 or more in the token's smallest units; no value is sent along. Also reverts
    /// with what the token reverted with, or with `TransferInexact`.
    /// @param token The ERC-20; zero means KST, as `placeOrder`.
    /// @param terms What is ordered.
    /// @return orderId Number of the new order.
    function placeOrderIn(address token, Terms calldata terms) external payable returns (uint256 orderId);

    /// @notice Order a job with an audit that is paid in an ERC-20. Fees, deposit and bond of an audit are in KST: the value
    /// sent along is the deposit, and they follow from what a unit is worth.
    /// @dev As `placeOrderIn` and `placeAudited`; also reverts with `ValueNotPrice`.
    /// @param token The ERC-20; zero means KST.
    /// @param valueWei What a unit is worth in KST, in wei; the price itself if the order is in KST.
    /// @param terms As in `placeOrderIn`.
    /// @param audit The terms of the audit, whose bounds are those for a price of `valueWei`.
    /// @return orderId Number of the new order.
    function placeAuditedIn(address token, uint128 valueWei, Terms calldata terms, IAuditTypes.Terms calldata audit)
        external
        payable
        returns (uint256 orderId);

    /// @notice The customer stops a leased order. The provider has `STOP_SECONDS` to commit to what it has done.
    /// @dev Leased -> Leased; the deadline to deliver becomes `STOP_SECONDS` from now, if it is not nearer already.
    /// @param orderId Number of the order.
    function stop(uint256 orderId) external;

    /// @notice The provider of a stopped order commits to its first units, and has `STOP_SECONDS` to deliver them.
    /// @dev Leased -> Committed. The rest is refunded when the order closes.
    /// @param orderId Number of the order.
    /// @param commitment Root over the salted results of these units; never zero.
    /// @param doneUnits How many, 1 to the order's units.
    function commitPartial(uint256 orderId, bytes32 commitment, uint32 doneUnits) external;

    /// @notice The terms of an order's audit.
    /// @param orderId Number of the order.
    /// @return terms The terms; zeros if it has none.
    /// @return depositWei The deposit for checks, in wei.
    function auditOf(uint256 orderId) external view returns (IAuditTypes.Terms memory terms, uint256 depositWei);

    /// @notice The window of an order (specs/0008-audit.md, section 5).
    /// @param orderId Number of the order.
    /// @return The window's number, whether or not there is a window.
    function windowOf(uint256 orderId) external view returns (bytes32);

    /// @notice Time for the provider to commit after a stop, and to deliver after that, in seconds.
    function STOP_SECONDS() external view returns (uint32);

    /// @notice Take all of the caller's credit.
    /// @dev Reverts with `NothingToWithdraw`, or with what the receiver reverted with.
    function withdraw() external;

    /// @notice Take all of the caller's credit to another account.
    /// @dev As `withdraw`, and `RecipientZero`.
    /// @param to Who receives it.
    function withdrawTo(address payable to) external;

    /// @notice Take all of the caller's credit in a token.
    /// @dev Reverts with `NothingToWithdraw`, what the token reverted with, or `TransferInexact`.
    /// @param token The ERC-20.
    function withdrawToken(address token) external;

    /// @notice Take all of the caller's credit in a token to another account.
    /// @dev As `withdrawToken`, and `RecipientZero`.
    /// @param token The ERC-20.
    /// @param to Who receives it.
    function withdrawTokenTo(address token, address to) external;

    /// @notice An order as it stands.
    /// @dev Reverts with `OrderUnknown`.
    /// @param orderId Number of the order.
    /// @return The stored order.
    function order(uint256 orderId) external view returns (Order memory);

    /// @notice An order's deadlines.
    /// @dev Reverts with `OrderUnknown`.
    /// @param orderId Number of the order.
    /// @return The deadlines.
    function deadlines(uint256 orderId) external view returns (Deadlines memory);

    /// @notice How many orders were ever placed.
    /// @return The count; orders are numbered from 1 to it.
    function orderCount() external view returns (uint256);

    /// @notice What an account can withdraw.
    /// @param account The account.
    /// @return Its credit in wei.
    function credit(address account) external view returns (uint256);

    /// @notice What an account can withdraw in a token.
    /// @param account The account.
    /// @param token The ERC-20.
    /// @return Its credit in the token's smallest units.
    function tokenCredit(address account, address token) external view returns (uint256);

    /// @notice What an order is paid in, and what its audit takes a unit for.
    /// @param orderId Number of the order.
    /// @return token The ERC-20; zero means KST.
    /// @return valueWei Of an order with an audit: what a unit is worth in KST, in wei; else zero.
    function currencyOf(uint256 orderId) external view returns (address token, uint128 valueWei);

    /// @notice How an account's orders ended, as provider.
    /// @param account The account.
    /// @return The counts.
    function providerRecord(address account) external view returns (Record memory);

    /// @notice How an account's orders ended, as customer.
    /// @param account The account.
    /// @return The counts.
    function customerRecord(address account) external view returns (Record memory);
}
