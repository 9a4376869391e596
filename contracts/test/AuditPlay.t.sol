// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "../src/IAuditTypes.sol";
import {IMarket} from "../src/IMarket.sol";
import {AuditFixture} from "./AuditFixture.sol";

/// @title Random parties, honest and not, play whole windows
/// @dev Goal: who is honest never loses, money is conserved, and anybody can close every window. Method: at most
/// `LIARS` of the checkers lie, in three ways, so that two thirds of a panel never find something false; everybody acts
/// by its nature and by chance; the books are kept a second time beside the contracts. In *sleepy* plays referees stay
/// away, so that panels follow panels: then an honest party may pay for panels that ruled nothing, and still is not slashed.
contract AuditPlayTest is AuditFixture {
    enum Nature {
        Honest,
        Friend, // says what the provider has
        Slanderer, // says that everything is wrong
        Absent // commits and never reveals
    }

    uint256 private constant LIARS = 4;
    uint32 private constant MAX_UNITS = 3;

    uint256 private _dice;
    mapping(address account => Nature) private _natures;
    bool private _cheats;
    bool private _sleepy;
    uint256 private _totalWei;
    uint256 private _providerBond;
    mapping(address account => uint256) private _before;
    mapping(uint32 unit => mapping(uint8 round => address[])) private _voters;

    function testFuzz_honest_parties_never_lose_and_every_window_closes(uint256 seed) public {
        _dice = seed;
        _cheats = _chance(2);
        _sleepy = _chance(3);
        for (uint256 i = 0; i < LIARS; ++i) {
            _natures[_checker(_roll(CHECKERS))] = Nature(1 + _roll(3));
        }
        IAuditTypes.Terms memory terms = _chance(4) ? _auditTerms() : _bonded();
        terms.checkers = uint8(1 + _roll(3));
        terms.segments = _chance(3) ? 4 : 1;
        _note();
        uint32 units = uint32(1 + _roll(MAX_UNITS));
        Job memory job = _drawnJob(terms, units, _cheats ? uint32(_roll(units)) : units, uint32(_roll(terms.segments)));
        _accuseByChance(job);
        // Round by round over all units at once, as time goes for all of them; a unit has at most two rounds, three panels
        // and an appeal's time.
        for (uint256 step = 0; step < 7; ++step) {
            for (uint32 unit = 0; unit < units; ++unit) {
                _playCheck(job, unit);
            }
            _playReveals(job);
            for (uint32 unit = 0; unit < units; ++unit) {
                _playEnd(job, unit);
            }
        }
        _finishAll(job);
    }

    function _playCheck(Job memory job, uint32 unit) private {
        IAuditTypes.Case memory c = audit.caseOf(job.id, unit);
        if (c.stage > IAuditTypes.Stage.Checking) return;
        if (c.round != 0) _drawRound(job, unit, c.round);
        else if (!audit.drawn(job.id, unit)) return;
        (uint256 checkBy,,) = audit.times(job.id, unit, c.round);
        if (block.timestamp > checkBy) return;
        if (c.round >= 2) {
            _playBallots(job, unit, c.round);
            return;
        }
        if (c.round == 0 && c.askedAt == 0 && _chance(8) && _ask(job, unit)) return;
        for (uint8 j = 0; j < 16; ++j) {
            (address account, bool eligible, bool onDuty) = audit.slot(_key(job, unit, c.round, j), _nobody);
            // Who is drawn may stay away; a reserve comes in the second half.
            if (!eligible || _chance(6)) continue;
            if (!onDuty) continue;
            IAuditTypes.Key memory key = _key(job, unit, c.round, j);
            bytes32 hash = _hash(job, key, account, 0, _own(job, unit, account));
            vm.prank(account);
            try audit.commitCheck(key, hash, _nobody) {}
            catch (bytes memory reason) {
                vm.assertTrue(
                    bytes4(reason) == IAuditTypes.BudgetSpent.selector
                        || bytes4(reason) == IAuditTypes.WrongStatus.selector,
                    "why a check is refused"
                );
            }
        }
    }

    /// @dev Each referee votes with all its slots, or some of them; in a sleepy play one in three stays away.
    function _playBallots(Job memory job, uint32 unit, uint8 round) private {
        (address[] memory accounts, uint128[] memory masks) = _referees(job, unit, round);
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (_sleepy && _chance(3)) continue;
            bytes32 hash = _ballotHash(job, unit, round, accounts[i], 0, _own(job, unit, accounts[i]));
            vm.prank(accounts[i]);
            try panels.commitBallot(job.id, unit, round, _list(masks[i]), hash) {}
            catch (bytes memory reason) {
                vm.assertEq(bytes32(bytes4(reason)), bytes32(IAuditTypes.BudgetSpent.selector));
                continue;
            }
            _voters[unit][round].push(accounts[i]);
        }
    }

    function _playBallotReveals(Job memory job, uint32 unit, uint8 round) private {
        address[] storage voters = _voters[unit][round];
        if (voters.length != 0 && !audit.caseOf(job.id, unit).opened && (!_cheats || _chance(2))) {
            _open(job, unit, audit.caseOf(job.id, unit).segment);
        }
        for (uint256 i = 0; i < voters.length; ++i) {
            if (_natures[voters[i]] == Nature.Absent) continue;
            _revealBallot(job, unit, round, voters[i], 0, _own(job, unit, voters[i]));
        }
    }

    /// @dev Who is right pays for the next panel; who is wrong perhaps.
    function _fundByChance(Job memory job, uint32 unit, IAuditTypes.Case memory c) private {
        bool isRight = c.party == PROVIDER ? !_cheats : c.party != ACCUSER && _natures[c.party] == Nature.Honest;
        if (c.party == address(0) || c.round == 4 || !(isRight || _chance(2))) return;
        vm.prank(c.party);
        panels.fund{value: ((uint256(1) << (c.round + 4)) - 1) * uint256(FEE_WEI)}(job.id, unit);
    }

    /// @dev In the order of their times, since time goes for all units.
    function _playReveals(Job memory job) private {
        bool[] memory done = new bool[](job.units);
        for (uint256 i = 0; i < job.units; ++i) {
            uint32 next = 0;
            uint256 first = type(uint256).max;
            for (uint32 unit = 0; unit < job.units; ++unit) {
                (uint256 checkBy,,) = audit.times(job.id, unit, audit.caseOf(job.id, unit).round);
                if (!done[unit] && checkBy < first) (next, first) = (unit, checkBy);
            }
            done[next] = true;
            _playReveal(job, next);
        }
    }

    function _playReveal(Job memory job, uint32 unit) private {
        IAuditTypes.Case memory c = audit.caseOf(job.id, unit);
        if (c.stage != IAuditTypes.Stage.Checking) return;
        uint8 round = c.round;
        (uint256 checkBy, uint256 openBy, uint256 revealBy) = audit.times(job.id, unit, round);
        if (checkBy == 0 || block.timestamp > revealBy) return;
        if (block.timestamp <= checkBy) vm.warp(checkBy + 1);
        if (round >= 2) {
            _playBallotReveals(job, unit, round);
            return;
        }
        uint16 committed = uint16(c.committed >> (16 * round));
        bool opens = !_cheats || _chance(2);
        if (committed != 0 && !c.opened && opens && block.timestamp <= openBy) {
            _open(job, unit, audit.segmentOf(job.id, unit));
        }
        for (uint8 j = 0; j < 16; ++j) {
            if (committed & (1 << j) == 0 || c.revealed & (uint32(1) << (16 * round + j)) != 0) continue;
            address account = audit.checkOf(_key(job, unit, round, j)).account;
            if (_natures[account] == Nature.Absent) continue;
            bytes32 own = _own(job, unit, account);
            bytes32 nonce = keccak256(abi.encodePacked("nonce", account));
            vm.prank(account);
            audit.reveal(_key(job, unit, round, j), IAuditTypes.Finding.Compare, own, nonce);
        }
    }

    function _playEnd(Job memory job, uint32 unit) private {
        IAuditTypes.Case memory c = audit.caseOf(job.id, unit);
        if (c.stage == IAuditTypes.Stage.Checking) {
            (,, uint256 revealBy) = audit.times(job.id, unit, c.round);
            // An idle search is ended at last, by anybody.
            if (revealBy == 0 || c.segment == type(uint32).max) return;
            if (block.timestamp <= revealBy) vm.warp(revealBy + 1);
            if (c.round >= 2) _fundByChance(job, unit, c);
            if (c.askedAt != 0 && !c.handed && c.round == 0) referee.withhold(job.id, unit);
            else referee.conclude(job.id, unit);
            c = audit.caseOf(job.id, unit);
        }
        if (audit.windowOf(job.id).convicted) return;
        // Who is right appeals at once; who is wrong perhaps.
        if (c.stage == IAuditTypes.Stage.Condemned && (!_cheats || _chance(2))) {
            _challenge(PROVIDER, job, unit, 0);
        } else if (c.stage == IAuditTypes.Stage.Cleared) {
            address accuser = _firstAccuser(job, unit, c);
            if (_natures[accuser] == Nature.Honest || _chance(2)) _challenge(accuser, job, unit, 0);
        }
    }

    function _finishAll(Job memory job) private {
        for (uint32 unit = 0; unit < job.units; ++unit) {
            _drain(job, unit);
        }
        _settleAll(job);
        vm.warp(block.timestamp + 1000);
        vm.prank(STRANGER);
        audit.close(job.id);
        vm.prank(STRANGER);
        market.settle(job.orderId);
        IAuditTypes.Window memory w = audit.windowOf(job.id);
        if (!_cheats) {
            vm.assertTrue(!w.convicted, "an honest provider is never convicted");
            vm.assertEq(_bondOf(PROVIDER), _providerBond);
            vm.assertEq(market.credit(PROVIDER), uint256(job.units) * PRICE_WEI);
        }
        for (uint256 i = 0; i < CHECKERS; ++i) {
            address account = _checker(i);
            uint256 nowWei = account.balance + _bondOf(account) + audit.credit(account);
            if (_natures[account] == Nature.Honest) {
                bool slashed = _sleepy ? _bondOf(account) < SEAT_WEI : nowWei < _before[account];
                vm.assertTrue(!slashed, "an honest checker never loses");
            }
        }
        _takeAll();
    }

    /// @dev Everybody takes what is theirs: then the market and the audit are empty, and the bond holds its parts.
    function _takeAll() private {
        _withdraw(CUSTOMER);
        _withdraw(PROVIDER);
        _withdraw(ACCUSER);
        uint256 parts = bond.burntWei() + _bondOf(PROVIDER) + _bondOf(ACCUSER) + _bondOf(STRANGER);
        for (uint256 i = 0; i < CHECKERS; ++i) {
            _withdraw(_checker(i));
            parts += _bondOf(_checker(i));
        }
        vm.assertEq(address(market).balance, 0);
        vm.assertEq(address(audit).balance, 0);
        vm.assertEq(address(bond).balance, parts);
        vm.assertEq(_sumWei(), _totalWei);
    }

    function _withdraw(address account) private {
        vm.prank(account);
        try market.withdraw() {} catch {}
        vm.prank(account);
        try audit.withdraw() {} catch {}
    }

    /// @dev Anybody's calls alone end a unit, whoever has gone.
    function _drain(Job memory job, uint32 unit) private {
        for (uint256 i = 0; i < 8; ++i) {
            IAuditTypes.Case memory c = audit.caseOf(job.id, unit);
            if (c.stage == IAuditTypes.Stage.None || c.stage > IAuditTypes.Stage.Cleared) return;
            if (c.stage == IAuditTypes.Stage.Checking && audit.roundOf(job.id, unit, c.round).drawnAt == 0) {
                _drawRound(job, unit, c.round);
            }
            vm.warp(block.timestamp + 2 hours);
            vm.prank(STRANGER);
            if (c.segment == type(uint32).max) {
                referee.endSearch(job.id, unit);
            } else if (c.stage == IAuditTypes.Stage.Checking && c.askedAt != 0 && !c.handed && c.round == 0) {
                referee.withhold(job.id, unit);
            } else {
                referee.conclude(job.id, unit);
            }
        }
        vm.assertTrue(false, "a unit does not end");
    }

    function _accuseByChance(Job memory job) private {
        if (!_chance(3)) return;
        uint32 unit = uint32(_roll(job.units));
        bool seeks = _chance(3);
        _challenge(ACCUSER, job, unit, seeks ? type(uint32).max : uint32(_roll(job.segments)));
        if (!seeks || !_chance(2)) return;
        uint32 segment = uint32(_roll(job.segments));
        vm.prank(ACCUSER);
        referee.ask(job.id, unit, segment);
        if (_cheats && _chance(2)) return;
        IAuditTypes.Proof memory proof = _proof(job, unit, segment);
        vm.prank(PROVIDER);
        referee.answer(job.id, unit, proof);
        vm.prank(ACCUSER);
        referee.name(job.id, unit, segment);
    }

    function _ask(Job memory job, uint32 unit) private returns (bool) {
        (bool found, uint8 j, address account) = _duty(job, unit, 0, 0);
        if (!found) return false;
        vm.prank(account);
        try audit.askInput(job.id, unit, j) {}
        catch {
            return false;
        }
        // Without an answer nobody checks, or those on duty do all the same: then who asked takes the question back.
        if (_chance(2)) return _chance(2);
        vm.prank(CUSTOMER);
        referee.handKey(job.id, unit, "sealed");
        return false;
    }

    /// @dev What an account says that a unit's segment gives.
    function _own(Job memory job, uint32 unit, address account) private view returns (bytes32) {
        IAuditTypes.Case memory c = audit.caseOf(job.id, unit);
        bool own = c.round >= 2 && c.stage == IAuditTypes.Stage.Checking;
        uint32 segment = own ? c.segment : audit.segmentOf(job.id, unit);
        bytes32 state = job.segments == 1 ? _result(job, unit) : _state(job, unit, segment);
        Nature nature = _natures[account];
        if (nature == Nature.Friend) return state;
        if (nature == Nature.Slanderer) return keccak256("slander");
        return state == _right(unit, segment) ? state : keccak256(abi.encodePacked("an honest run", unit, segment));
    }

    /// @dev A stranger pays and fines every ballot; what it is given for showing fines stays in the bond.
    function _settleAll(Job memory job) private {
        for (uint32 unit = 0; unit < job.units; ++unit) {
            for (uint8 round = 2; round < 5; ++round) {
                address[] storage voters = _voters[unit][round];
                for (uint256 i = 0; i < voters.length; ++i) {
                    vm.prank(STRANGER);
                    panels.settleBallot(job.id, unit, round, voters[i]);
                }
            }
        }
    }

    function _firstAccuser(Job memory job, uint32 unit, IAuditTypes.Case memory c) private view returns (address) {
        for (uint8 j = 0; j < 16; ++j) {
            if (c.revealed & (uint32(1) << j) == 0) continue;
            IAuditTypes.Check memory check = audit.checkOf(_key(job, unit, 0, j));
            if (check.finding == IAuditTypes.Finding.Wrong) return check.account;
        }
        return address(0);
    }

    function _note() private {
        _totalWei = _sumWei();
        _providerBond = _bondOf(PROVIDER);
        for (uint256 i = 0; i < CHECKERS; ++i) {
            _before[_checker(i)] = _checker(i).balance + _bondOf(_checker(i));
        }
    }

    function _sumWei() private view returns (uint256 sum) {
        sum = address(market).balance + address(audit).balance + address(bond).balance;
        sum += CUSTOMER.balance + PROVIDER.balance + ACCUSER.balance;
        for (uint256 i = 0; i < CHECKERS; ++i) {
            sum += _checker(i).balance;
        }
    }

    function _roll(uint256 sides) private returns (uint256) {
        _dice = uint256(keccak256(abi.encode(_dice)));
        return _dice % sides;
    }

    function _chance(uint256 oneIn) private returns (bool) {
        return _roll(oneIn) == 0;
    }
}
