// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IMarket} from "../src/IMarket.sol";
import {MarketFixture} from "./MarketFixture.sol";
import {Tree} from "./Tree.sol";

/// @title A committed window, checkers with seats, and what each of them can do
abstract contract AuditFixture is MarketFixture {
    /// @dev What a provider computed.
    struct Job {
        uint256 orderId;
        bytes32 id;
        uint32 units;
        uint32 segments;
        bytes32[] leaves;
        // Unit by unit, segment by segment.
        bytes32[] states;
    }

    uint256 internal constant CHECKERS = 24;
    uint128 internal constant FEE_WEI = PRICE_WEI;
    uint128 internal constant BOND_WEI = 100 * PRICE_WEI;
    uint256 internal constant SEAT_WEI = 100 ether;
    address internal constant ACCUSER = address(0xACC);
    bytes32 internal constant SECRET = keccak256("secret");
    address[] internal _nobody;

    function setUp() public virtual override {
        super.setUp();
        vm.deal(PROVIDER, 1e36);
        vm.prank(PROVIDER);
        bond.deposit{value: 1000 * uint256(BOND_WEI)}();
        for (uint256 i = 0; i < CHECKERS; ++i) {
            _sit(_checker(i), 1, uint16(1 + i % 4), 15);
            vm.deal(_checker(i), 1e30);
        }
        vm.deal(ACCUSER, 1e36);
    }

    function _checker(uint256 i) internal pure returns (address) {
        return address(uint160(0xCC00 + i));
    }

    /// @dev The right state after a segment of a unit.
    function _right(uint32 unit, uint32 segment) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("right", unit, segment));
    }

    /// @dev What a cheat claims instead.
    function _junk(uint32 unit, uint32 segment) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("junk", unit, segment));
    }

    function _bonded() internal pure returns (IAuditTypes.Terms memory terms) {
        terms = _auditTerms();
        terms.bondWei = BOND_WEI;
    }

    /// @dev An order that is leased; `wrongFrom` is the first unit that the provider gets wrong, from `wrongSegment` on.
    function _leased(IAuditTypes.Terms memory terms, uint32 units, uint32 wrongFrom, uint32 wrongSegment)
        internal
        returns (Job memory job)
    {
        IMarket.Terms memory order = _terms();
        order.units = units;
        uint256 depositWei = audit.depositWei(PROVIDER, units, PRICE_WEI, terms);
        vm.prank(CUSTOMER);
        job.orderId = market.placeAudited{value: uint256(units) * PRICE_WEI + depositWei}(order, terms);
        vm.prank(PROVIDER);
        market.lease(job.orderId);
        job.id = market.windowOf(job.orderId);
        job.units = units;
        job.segments = terms.segments;
        job.leaves = new bytes32[](units);
        job.states = new bytes32[](uint256(units) * terms.segments);
        for (uint32 unit = 0; unit < units; ++unit) {
            for (uint32 s = 0; s < terms.segments; ++s) {
                bool wrong = unit >= wrongFrom && s >= wrongSegment;
                job.states[unit * terms.segments + s] = wrong ? _junk(unit, s) : _right(unit, s);
            }
            job.leaves[unit] = Tree.unitLeaf(unit, _salt(unit), _result(job, unit));
        }
    }

    /// @dev A committed and delivered order whose window is drawn.
    function _drawnJob(IAuditTypes.Terms memory terms, uint32 units, uint32 wrongFrom, uint32 wrongSegment)
        internal
        returns (Job memory job)
    {
        job = _leased(terms, units, wrongFrom, wrongSegment);
        vm.prank(PROVIDER);
        market.commit(job.orderId, _root(job));
        vm.prank(PROVIDER);
        market.deliver(job.orderId, RESULT_ROOT);
        _draw(job);
    }

    function _draw(Job memory job) internal {
        for (uint256 i = 0; i < 3; ++i) {
            _tick();
        }
        audit.touch(job.id, 0, 0);
    }

    function _honest(IAuditTypes.Terms memory terms, uint32 units) internal returns (Job memory) {
        return _drawnJob(terms, units, units, 0);
    }

    function _cheat(IAuditTypes.Terms memory terms, uint32 units) internal returns (Job memory) {
        return _drawnJob(terms, units, 0, 0);
    }

    function _salt(uint32 unit) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(SECRET, unit));
    }

    function _root(Job memory job) internal pure returns (bytes32) {
        return Tree.root(1, job.leaves);
    }

    function _trace(Job memory job, uint32 unit) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](job.segments);
        for (uint32 s = 0; s < job.segments; ++s) {
            leaves[s] = Tree.stateLeaf(s, _state(job, unit, s));
        }
    }

    function _state(Job memory job, uint32 unit, uint32 segment) internal pure returns (bytes32) {
        return job.states[unit * job.segments + segment];
    }

    function _result(Job memory job, uint32 unit) internal pure returns (bytes32) {
        bytes32 output = _state(job, unit, job.segments - 1);
        if (job.segments == 1) return output;
        return keccak256(abi.encodePacked(uint8(4), output, Tree.root(3, _trace(job, unit))));
    }

    function _proof(Job memory job, uint32 unit, uint32 segment) internal pure returns (IAuditTypes.Proof memory p) {
        p.salt = _salt(unit);
        p.result = _result(job, unit);
        p.siblings = Tree.path(1, job.leaves, unit);
        if (job.segments == 1) return p;
        bytes32[] memory leaves = _trace(job, unit);
        p.output = _state(job, unit, job.segments - 1);
        p.trace = Tree.root(3, leaves);
        p.state = _state(job, unit, segment);
        p.stateSiblings = Tree.path(3, leaves, segment);
        if (segment == 0) return p;
        p.before = _state(job, unit, segment - 1);
        p.beforeSiblings = Tree.path(3, leaves, segment - 1);
    }

    function _key(Job memory job, uint32 unit, uint8 round, uint8 j) internal pure returns (IAuditTypes.Key memory) {
        return IAuditTypes.Key({windowId: job.id, unit: unit, round: round, slot: j});
    }

    function _isExact(Job memory job) private view returns (bool) {
        return audit.windowOf(job.id).class == 1;
    }

    /// @dev What an account commits to.
    function _hash(Job memory job, IAuditTypes.Key memory key, address account, uint8 finding, bytes32 own)
        internal
        view
        returns (bytes32)
    {
        uint8 early = _isExact(job) ? finding : 0;
        bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
        return keccak256(abi.encodePacked(key.windowId, key.unit, key.round, key.slot, account, early, own, nonce));
    }

    /// @dev The first slot from `from` on that is on duty.
    function _duty(Job memory job, uint32 unit, uint8 round, uint8 from)
        internal
        view
        returns (bool found, uint8 j, address account)
    {
        for (j = from; j < 16; ++j) {
            bool onDuty;
            (account,, onDuty) = audit.slot(_key(job, unit, round, j), _nobody);
            if (onDuty) return (true, j, account);
        }
    }

    /// @dev As many checkers as are on duty commit to the same output. Returns the mask of their slots.
    function _commitAll(Job memory job, uint32 unit, uint8 round, uint8 finding, bytes32 own)
        internal
        returns (uint16 mask)
    {
        uint8 from;
        while (true) {
            (bool found, uint8 j, address account) = _duty(job, unit, round, from);
            if (!found) return mask;
            IAuditTypes.Key memory key = _key(job, unit, round, j);
            bytes32 hash = _hash(job, key, account, finding, own);
            vm.prank(account);
            audit.commitCheck(key, hash, _nobody);
            mask |= uint16(1) << j;
            from = j + 1;
        }
    }

    function _revealAll(Job memory job, uint32 unit, uint8 round, uint16 mask, uint8 finding, bytes32 own) internal {
        for (uint8 j = 0; j < 16; ++j) {
            if (mask & (1 << j) == 0) continue;
            IAuditTypes.Key memory key = _key(job, unit, round, j);
            address account = audit.checkOf(key).account;
            bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
            vm.prank(account);
            audit.reveal(key, IAuditTypes.Finding(finding), own, nonce);
        }
    }

    function _open(Job memory job, uint32 unit, uint32 segment) internal {
        IAuditTypes.Proof memory proof = _proof(job, unit, segment);
        vm.prank(PROVIDER);
        referee.openUnit(job.id, unit, proof);
    }

    function _afterCheck(Job memory job, uint32 unit, uint8 round) internal {
        (uint256 checkBy,,) = audit.times(job.id, unit, round);
        vm.warp(checkBy + 1);
    }

    function _afterReveal(Job memory job, uint32 unit, uint8 round) internal {
        (,, uint256 revealBy) = audit.times(job.id, unit, round);
        vm.warp(revealBy + 1);
    }

    /// @dev Who holds slots of a panel, each account once, and its slots as bits.
    function _referees(Job memory job, uint32 unit, uint8 round)
        internal
        view
        returns (address[] memory accounts, uint128[] memory masks)
    {
        uint256 size = (uint256(1) << (round + 3)) - 1;
        accounts = new address[](size);
        masks = new uint128[](size);
        uint256 count;
        for (uint8 j = 0; j < size; ++j) {
            address holder = panels.panelSlot(job.id, unit, round, j);
            if (holder == address(0)) continue;
            uint256 k = 0;
            while (k < count && accounts[k] != holder) ++k;
            if (k == count) accounts[count++] = holder;
            masks[k] |= uint128(1) << j;
        }
        assembly ("memory-safe") {
            mstore(accounts, count)
            mstore(masks, count)
        }
    }

    function _list(uint128 mask) internal pure returns (uint8[] memory slots) {
        slots = new uint8[](127);
        uint256 count;
        for (uint8 j = 0; j < 127; ++j) {
            if (mask & (uint128(1) << j) != 0) slots[count++] = j;
        }
        assembly ("memory-safe") {
            mstore(slots, count)
        }
    }

    function _votes(uint128 mask) internal pure returns (uint256 count) {
        return _list(mask).length;
    }

    /// @dev What an account's ballot commits to.
    function _ballotHash(Job memory job, uint32 unit, uint8 round, address account, uint8 finding, bytes32 own)
        internal
        view
        returns (bytes32)
    {
        uint8 early = _isExact(job) ? finding : 0;
        bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
        return keccak256(abi.encodePacked(job.id, unit, round, account, early, own, nonce));
    }

    function _commitBallot(
        Job memory job,
        uint32 unit,
        uint8 round,
        address account,
        uint128 mask,
        uint8 finding,
        bytes32 own
    ) internal {
        bytes32 hash = _ballotHash(job, unit, round, account, finding, own);
        vm.prank(account);
        panels.commitBallot(job.id, unit, round, _list(mask), hash);
    }

    function _revealBallot(Job memory job, uint32 unit, uint8 round, address account, uint8 finding, bytes32 own)
        internal
    {
        bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
        vm.prank(account);
        panels.revealBallot(job.id, unit, round, IAuditTypes.Finding(finding), own, nonce);
    }

    /// @dev One whole panel on which everybody finds the same.
    function _panel(Job memory job, uint32 unit, uint8 round, bytes32 own) private {
        _drawRound(job, unit, round);
        (address[] memory accounts, uint128[] memory masks) = _referees(job, unit, round);
        for (uint256 i = 0; i < accounts.length; ++i) {
            _commitBallot(job, unit, round, accounts[i], masks[i], 0, own);
        }
        _afterCheck(job, unit, round);
        if (!audit.caseOf(job.id, unit).opened) _open(job, unit, audit.caseOf(job.id, unit).segment);
        for (uint256 i = 0; i < accounts.length; ++i) {
            _revealBallot(job, unit, round, accounts[i], 0, own);
        }
        _afterReveal(job, unit, round);
        referee.conclude(job.id, unit);
        for (uint256 i = 0; i < accounts.length; ++i) {
            panels.settleBallot(job.id, unit, round, accounts[i]);
        }
    }

    /// @dev One whole round of class exact in which everybody on duty finds the same.
    function _round(Job memory job, uint32 unit, uint8 round, bytes32 own) internal {
        if (round >= 2) return _panel(job, unit, round, own);
        if (round != 0) _drawRound(job, unit, round);
        uint16 mask = _commitAll(job, unit, round, 0, own);
        vm.assertTrue(mask != 0, "somebody is on duty");
        _afterCheck(job, unit, round);
        IAuditTypes.Case memory c = audit.caseOf(job.id, unit);
        if (!c.opened) _open(job, unit, audit.segmentOf(job.id, unit));
        _revealAll(job, unit, round, mask, 0, own);
        _afterReveal(job, unit, round);
        referee.conclude(job.id, unit);
    }

    function _drawRound(Job memory job, uint32 unit, uint8 round) internal {
        for (uint256 i = 0; i < 3; ++i) {
            _tick();
        }
        audit.touch(job.id, unit, round);
    }

    function _stage(Job memory job, uint32 unit) internal view returns (IAuditTypes.Stage) {
        return audit.caseOf(job.id, unit).stage;
    }

    function _is(Job memory job, uint32 unit, IAuditTypes.Stage stage) internal view {
        vm.assertEq(uint256(_stage(job, unit)), uint256(stage), "the unit's stage");
    }

    function _closeAndSettle(Job memory job) internal {
        vm.warp(block.timestamp + 1000);
        audit.close(job.id);
        market.settle(job.orderId);
    }

    /// @dev Everything that an account owns inside the contracts.
    function _bondOf(address account) internal view returns (uint256) {
        return uint256(bond.accountOf(account).freeWei) + bond.accountOf(account).lockedWei
            + bond.accountOf(account).seatedWei + bond.accountOf(account).leavingWei;
    }

    function _challenge(address party, Job memory job, uint32 unit, uint32 segment) internal {
        vm.prank(party);
        referee.challenge{value: 31 * uint256(FEE_WEI)}(job.id, unit, segment);
    }
}
