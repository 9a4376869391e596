// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What the audit and the referee speak of
/// @dev Types, events and errors. All amounts are wei, all times Unix seconds of the block. "By" a time includes its
/// second. Spec: specs/0008-audit.md.
interface IAuditTypes {
    /// @notice Where a window stands. The numbers are part of the proof format.
    enum Status {
        None, // 0: there is no such window
        Open, // 1: units are drawn and checked
        Closed, // 2: final: paid, but for the unpaid units
        Convicted // 3: final: the whole window is forfeited
    }

    /// @notice Where a unit stands.
    enum Stage {
        None, // 0: not looked at
        Checking, // 1: a round runs
        Condemned, // 2: round 1 found it wrong too; the provider may appeal
        Cleared, // 3: round 1 found it right; the accuser may appeal
        Verified, // 4: final: found right
        Unpaid, // 5: final: outside the tolerance, and within the sound bound
        Unchecked, // 6: final: nobody could tell, or its input was withheld; paid
        Wrong // 7: final: found wrong, or not opened
    }

    /// @notice What a checker found.
    enum Finding {
        Compare, // 0: class exact: the contract compares
        Right, // 1
        Unpaid, // 2
        Wrong, // 3
        Inconclusive // 4
    }

    /// @notice The terms of an audit, chosen by the customer, seen by the provider before it leases.
    /// @param class Job class: 1 exact, 2 self-checking, 3 tolerance.
    /// @param checkers Checkers of a drawn unit, 1 to `CHECKERS_MAX`.
    /// @param abilities What a checker needs; one bit of 1, 2, 4.
    /// @param ratePpm Chance that a unit is drawn, `RATE_PPM_MIN` to 1,000,000.
    /// @param feePpm Fee of one check in parts per million of a unit's price, `FEE_PPM_MIN` to `FEE_PPM_MAX`.
    /// @param checkSeconds Time to check, `PHASE_SECONDS_MIN` to `PHASE_SECONDS_MAX`.
    /// @param revealSeconds Time to open and reveal, the same bounds.
    /// @param appealSeconds Time to appeal, `APPEAL_SECONDS_MIN` to `APPEAL_SECONDS_MAX`.
    /// @param segments Segments of a unit, 1 to 65,536.
    /// @param bondWei Bond behind the window: zero (classes 1 and 2, every unit drawn) or at least
    /// `BOND_UNITS_MIN` times the price of a unit.
    /// @param named Zero, or keccak256 of up to four checkers' addresses joined: a private job.
    /// @param canary Hash of a canary, or 32 random bytes.
    struct Terms {
        uint8 class;
        uint8 checkers;
        uint8 abilities;
        uint32 ratePpm;
        uint32 feePpm;
        uint32 checkSeconds;
        uint32 revealSeconds;
        uint32 appealSeconds;
        uint32 segments;
        uint128 bondWei;
        bytes32 named;
        bytes32 canary;
    }

    /// @notice What a source says when it opens a window.
    /// @param number The source's number: of the order, or of the channel.
    /// @param window The window's number there.
    /// @param provider Who did the work.
    /// @param customer Who ordered it.
    /// @param jobHash Hash of the job.
    /// @param commitment Root over the salted unit results.
    /// @param units Units of the window, 1 to `UNITS_MAX`.
    /// @param priceWeiPerUnit Price of a unit.
    /// @param terms The terms. The market has locked `terms.bondWei` already; for a channel `open` locks it.
    struct Opening {
        uint256 number;
        uint64 window;
        address provider;
        address customer;
        bytes32 jobHash;
        bytes32 commitment;
        uint32 units;
        uint128 priceWeiPerUnit;
        Terms terms;
    }

    /// @notice A window as stored.
    /// @param provider Who did the work.
    /// @param status See `Status`; `Convicted` comes with the closing only.
    /// @param class As in `Terms`.
    /// @param checkers As in `Terms`.
    /// @param abilities As in `Terms`.
    /// @param units How many units.
    /// @param ratePpm The effective rate.
    /// @param customer Who ordered.
    /// @param pending Units that are being looked at.
    /// @param unpaid Units that were refunded.
    /// @param convicted Whether a unit was found wrong.
    /// @param appealSeconds As in `Terms`.
    /// @param feeWei What a check earns.
    /// @param bondWei Bond locked behind it; zero after a conviction.
    /// @param budgetWei What is left for checks.
    /// @param checkSeconds As in `Terms`.
    /// @param revealSeconds As in `Terms`.
    /// @param segments As in `Terms`.
    /// @param canaryUnit The unit of a revealed canary plus one; zero before.
    /// @param verified Units that were found right.
    /// @param commitment Root over the salted unit results.
    /// @param named As in `Terms`.
    /// @param canary As in `Terms`.
    struct Window {
        address provider;
        Status status;
        uint8 class;
        uint8 checkers;
        uint8 abilities;
        uint32 units;
        uint32 ratePpm;
        address customer;
        uint32 pending;
        uint32 unpaid;
        bool convicted;
        uint24 appealSeconds;
        uint128 feeWei;
        uint128 bondWei;
        uint128 budgetWei;
        uint32 checkSeconds;
        uint32 revealSeconds;
        uint32 segments;
        uint32 canaryUnit;
        uint32 verified;
        bytes32 commitment;
        bytes32 named;
        bytes32 canary;
    }

    /// @notice The draw of a round: of all units for round 0, of one unit for later rounds.
    /// @param drawHeight The height whose randomness draws.
    /// @param drawnAt When it became known here; zero before.
    /// @param epoch The epoch whose seats are drawn from: that in which the round began.
    /// @param places Places of that epoch's list.
    /// @param randomness The beacon's randomness of `drawHeight`.
    struct Round {
        uint40 drawHeight;
        uint40 drawnAt;
        uint32 epoch;
        uint32 places;
        bytes32 randomness;
    }

    /// @notice A unit that is or was looked at.
    /// @param stage See `Stage`.
    /// @param round The round that runs or ran last: 0, 1, or 2 to 4 for the panels.
    /// @param opened Whether the provider opened it.
    /// @param extended Whether the time to check is longer since an input was asked for.
    /// @param committed Slots of rounds 0 and 1 that committed, 16 bits per round.
    /// @param revealed Slots of rounds 0 and 1 that revealed, 16 bits per round.
    /// @param appealed The stage that somebody appealed against; `None` if nobody did.
    /// @param appealBy Last second to appeal; zero if none runs.
    /// @param segment The segment of an accusation.
    /// @param askedAt When an input was asked for; zero if never, or if who asked committed before an answer.
    /// @param askedBy The slot that asked.
    /// @param handed Whether the customer answered.
    /// @param party Whose bond pays the referees; zero if the budget does.
    /// @param partyWei What is left of that bond.
    /// @param value What is compared: the result, or the state after the segment.
    struct Case {
        Stage stage;
        uint8 round;
        bool opened;
        bool extended;
        uint32 committed;
        uint32 revealed;
        Stage appealed;
        uint40 appealBy;
        uint32 segment;
        uint40 askedAt;
        uint8 askedBy;
        bool handed;
        address party;
        uint96 partyWei;
        bytes32 value;
    }

    /// @notice A checker's check.
    /// @param account Who.
    /// @param finding What it found; `Compare` before.
    /// @param hardware Its hardware class.
    /// @param word The salted commitment, and its own output after the reveal.
    struct Check {
        address account;
        Finding finding;
        uint16 hardware;
        bytes32 word;
    }

    /// @notice How a panel ended.
    enum Ending {
        Running, // 0: it runs, or never began
        NoRuling, // 1: no two thirds found the same
        Ruling, // 2: they did
        Unopened // 3: the provider did not open the unit
    }

    /// @notice A panel of referees. A slot is a vote; an account votes with all its slots by one ballot.
    /// @param taken The slots that committed, one bit each.
    /// @param committed Ballots.
    /// @param revealed Of these, those that were revealed.
    /// @param unsure Of these, those that found nothing.
    /// @param paid Of all, those that are paid; known at its end.
    /// @param ending How it ended.
    /// @param ruled Whether more than two thirds of all its slots found the same.
    /// @param value What they found: of class exact their output, else the number of the finding.
    struct Panel {
        uint128 taken;
        uint8 committed;
        uint8 revealed;
        uint8 unsure;
        uint8 paid;
        Ending ending;
        bool ruled;
        bytes32 value;
    }

    /// @notice What an account says on a panel.
    /// @param slots Its slots, one bit each.
    /// @param votes How many these are.
    /// @param seats How many seats its bond made when it committed: what was seated and what was leaving.
    /// @param finding What it found; `Compare` before.
    /// @param revealed Whether it was revealed.
    /// @param settled Whether it was paid or fined.
    /// @param word The salted commitment, and what it found after the reveal.
    struct Ballot {
        uint128 slots;
        uint8 votes;
        uint32 seats;
        Finding finding;
        bool revealed;
        bool settled;
        bytes32 word;
    }

    /// @notice What stands behind one value on a panel.
    /// @param votes Slots.
    /// @param ballots Accounts.
    struct Support {
        uint8 votes;
        uint8 ballots;
    }

    /// @notice A search for the wrong segment.
    /// @param segment The segment asked for.
    /// @param asks Questions so far.
    /// @param asked Whether the provider must answer; else who accused must ask or name.
    /// @param by Last second to do so.
    struct Search {
        uint32 segment;
        uint8 asks;
        bool asked;
        uint40 by;
    }

    /// @notice Which check: of a unit, in a round, by a slot.
    struct Key {
        bytes32 windowId;
        uint32 unit;
        uint8 round;
        uint8 slot;
    }

    /// @notice A unit proof with the openings of one segment (specs/0003-job.md, section 4).
    /// @param salt The unit's salt.
    /// @param result The unit's result.
    /// @param siblings From level 0 upwards.
    /// @param output With several segments: the unit's output, else ignored like all that follows.
    /// @param trace Root over the states.
    /// @param state State after the segment.
    /// @param stateSiblings Its siblings.
    /// @param before State before the segment; ignored for segment 0.
    /// @param beforeSiblings Its siblings.
    struct Proof {
        bytes32 salt;
        bytes32 result;
        bytes32[] siblings;
        bytes32 output;
        bytes32 trace;
        bytes32 state;
        bytes32[] stateSiblings;
        bytes32 before;
        bytes32[] beforeSiblings;
    }

    /// @notice A window was opened.
    /// @param windowId The window.
    /// @param source Who opened it: the market or the channel.
    /// @param number The source's number: of the order, or of the channel.
    /// @param window The window's number there.
    /// @param provider Who did the work.
    /// @param customer Who ordered it.
    /// @param jobHash Hash of the job.
    /// @param commitment Root over the salted unit results.
    /// @param units Units of the window.
    /// @param ratePpm Chance that a unit is drawn, in parts per million.
    /// @param drawHeight The height whose randomness draws.
    event WindowOpened(
        bytes32 indexed windowId,
        address indexed source,
        uint256 indexed number,
        uint64 window,
        address provider,
        address customer,
        bytes32 jobHash,
        bytes32 commitment,
        uint32 units,
        uint32 ratePpm,
        uint40 drawHeight
    );

    /// @notice The randomness of a round is known; its times run from this block.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    /// @param randomness The beacon's randomness of the height.
    event Drawn(bytes32 indexed windowId, uint32 unit, uint8 round, bytes32 randomness);

    /// @notice The randomness of a round was lost before anybody used it; another height draws.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    /// @param drawHeight The height whose randomness draws.
    event Redrawn(bytes32 indexed windowId, uint32 unit, uint8 round, uint40 drawHeight);

    /// @notice A unit came into another round.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    /// @param drawHeight The height whose randomness draws.
    event RoundBegan(bytes32 indexed windowId, uint32 unit, uint8 round, uint40 drawHeight);

    /// @notice A checker committed.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    /// @param slot The slot, 0 to 15.
    /// @param account The account.
    event CheckCommitted(bytes32 indexed windowId, uint32 unit, uint8 round, uint8 slot, address indexed account);

    /// @notice The provider opened a unit.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param segment Index of the segment.
    /// @param before State before the segment; zero for the first.
    /// @param value What is compared: the result, or the state after the segment.
    event UnitOpened(bytes32 indexed windowId, uint32 unit, uint32 segment, bytes32 before, bytes32 value);

    /// @notice A checker revealed.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    /// @param slot The slot, 0 to 15.
    /// @param account The account.
    /// @param finding What it found.
    /// @param own Hash of its own output.
    event CheckRevealed(
        bytes32 indexed windowId,
        uint32 unit,
        uint8 round,
        uint8 slot,
        address indexed account,
        Finding finding,
        bytes32 own
    );

    /// @notice A referee committed with some of its slots.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param account The account.
    /// @param slots The slots of this call, one bit each.
    event BallotCommitted(bytes32 indexed windowId, uint32 unit, uint8 round, address indexed account, uint128 slots);

    /// @notice A referee revealed.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param account The account.
    /// @param finding What it found.
    /// @param own Hash of its own output.
    event BallotRevealed(
        bytes32 indexed windowId, uint32 unit, uint8 round, address indexed account, Finding finding, bytes32 own
    );

    /// @notice A panel ended.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param ending How.
    /// @param ruling What it found; `Compare` without a ruling.
    event PanelEnded(bytes32 indexed windowId, uint32 unit, uint8 round, Ending ending, Finding ruling);

    /// @notice Somebody paid for further panels.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param payer Who.
    /// @param amountWei How much, in wei.
    event Funded(bytes32 indexed windowId, uint32 unit, address indexed payer, uint256 amountWei);

    /// @notice A unit came to another stage.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param stage The stage.
    event UnitConcluded(bytes32 indexed windowId, uint32 unit, Stage stage);

    /// @notice A checker got no input and asks for it in public; its own commitment takes that back.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param slot The slot, 0 to 15.
    /// @param account The account.
    event InputAsked(bytes32 indexed windowId, uint32 unit, uint8 slot, address indexed account);

    /// @notice The customer answered, or said without a question where its node is.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param slot The slot that asked, 0 to 15; 16 if none did.
    /// @param key The address of the customer's node.
    event KeyHanded(bytes32 indexed windowId, uint32 unit, uint8 slot, bytes key);

    /// @notice The customer did not answer; the unit is paid unchecked.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param customer Who ordered it.
    event InputWithheld(bytes32 indexed windowId, uint32 unit, address indexed customer);

    /// @notice Somebody put a bond behind the claim that a unit is wrong, or appealed.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param party Who put the bond.
    /// @param segment Index of the segment.
    event Challenged(bytes32 indexed windowId, uint32 unit, address indexed party, uint32 segment);

    /// @notice The provider is asked for the state after a segment.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param segment Index of the segment.
    event StateAsked(bytes32 indexed windowId, uint32 unit, uint32 segment);

    /// @notice The provider opened it.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param segment Index of the segment.
    /// @param state State after it.
    event StateAnswered(bytes32 indexed windowId, uint32 unit, uint32 segment, bytes32 state);

    /// @notice The customer revealed that a unit was a canary.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    event CanaryRevealed(bytes32 indexed windowId, uint32 unit);

    /// @notice A unit was found wrong: the window is forfeited.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param provider Who did the work.
    event WindowConvicted(bytes32 indexed windowId, uint32 unit, address indexed provider);

    /// @notice A window closed.
    /// @param windowId The window.
    /// @param convicted Whether a unit was found wrong.
    /// @param paidUnits Units that are paid.
    event WindowClosed(bytes32 indexed windowId, bool convicted, uint32 paidUnits);

    /// @notice Somebody can withdraw more.
    /// @param account The account.
    /// @param amountWei How much, in wei.
    event Credited(address indexed account, uint256 amountWei);

    /// @notice Credit was paid out.
    /// @param account The account.
    /// @param to Who received it.
    /// @param amountWei How much, in wei.
    event Withdrawn(address indexed account, address indexed to, uint256 amountWei);

    /// @notice Only the market or the channel opens windows.
    /// @param caller Who tried.
    error NotSource(address caller);

    /// @notice Only the window's provider may do this.
    /// @param windowId The window.
    /// @param caller Who tried.
    error NotProvider(bytes32 windowId, address caller);

    /// @notice Only the window's customer may do this.
    /// @param windowId The window.
    /// @param caller Who tried.
    error NotCustomer(bytes32 windowId, address caller);

    /// @notice A term is outside its bounds.
    /// @param term Its place in `Terms`, from 0.
    /// @param got The value given.
    /// @param min Lowest allowed, inclusive.
    /// @param max Highest allowed, inclusive.
    error TermOutOfRange(uint8 term, uint256 got, uint256 min, uint256 max);

    /// @notice The window exists already.
    /// @param windowId The window.
    error WindowExists(bytes32 windowId);

    /// @notice The window's status does not allow this.
    /// @param windowId The window.
    /// @param status The status as it is.
    error WrongStatus(bytes32 windowId, Status status);

    /// @notice The unit's stage does not allow this.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param stage The stage.
    error WrongStage(bytes32 windowId, uint32 unit, Stage stage);

    /// @notice The unit is in another round.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    error WrongRound(bytes32 windowId, uint32 unit, uint8 round);

    /// @notice The unit is beyond the end.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    error UnitUnknown(bytes32 windowId, uint32 unit);

    /// @notice The unit was not drawn.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    error UnitNotDrawn(bytes32 windowId, uint32 unit);

    /// @notice The randomness is not known yet.
    /// @param windowId The window.
    /// @param drawHeight The height whose randomness draws.
    error NotDrawnYet(bytes32 windowId, uint256 drawHeight);

    /// @notice This slot is not the caller's, or not its turn.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param slot The slot.
    /// @param caller Who tried.
    error NotOnDuty(bytes32 windowId, uint32 unit, uint8 slot, address caller);

    /// @notice The slot committed already, or enough others did.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param slot The slot, 0 to 15.
    error SlotTaken(bytes32 windowId, uint32 unit, uint8 slot);

    /// @notice What is left of the budget does not pay another check.
    /// @param windowId The window.
    /// @param leftWei What is left, in wei.
    /// @param feeWei What a check earns, in wei.
    error BudgetSpent(bytes32 windowId, uint256 leftWei, uint256 feeWei);

    /// @notice Too late.
    /// @param deadline Last second (inclusive) in which it was possible; for a question, or an address without one: most of them.
    /// @param timestamp Time of this block; for a question, or an address without one: how many there were.
    error TooLate(uint256 deadline, uint256 timestamp);

    /// @notice Too early: the call succeeds after this time.
    /// @param deadline The last second (inclusive) of the earlier phase.
    /// @param timestamp Time of this block.
    error TooEarly(uint256 deadline, uint256 timestamp);

    /// @notice The proof does not lead to what was committed.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    error ProofMismatch(bytes32 windowId, uint32 unit);

    /// @notice What is revealed is not what was committed.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param slot The slot, 0 to 15.
    error RevealMismatch(bytes32 windowId, uint32 unit, uint8 slot);

    /// @notice The slots of one ballot are committed with one hash.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param account The account.
    /// @param hash The hash that stands.
    error BallotMismatch(bytes32 windowId, uint32 unit, address account, bytes32 hash);

    /// @notice A call commits at least one slot and not more than this.
    /// @param got How many were given.
    /// @param max Most allowed.
    error SlotsOutOfRange(uint256 got, uint256 max);

    /// @notice There is no ballot to settle: none was committed, the panel runs, or it was settled already.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param account The account.
    error NothingToSettle(bytes32 windowId, uint32 unit, address account);

    /// @notice This finding cannot be given here.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param finding What it found.
    error FindingRefused(bytes32 windowId, uint32 unit, Finding finding);

    /// @notice The named checkers do not match their hash.
    /// @param windowId The window.
    error NamesMismatch(bytes32 windowId);

    /// @notice The canary does not match its hash, or the value that was opened.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    error CanaryMismatch(bytes32 windowId, uint32 unit);

    /// @notice Another amount must be sent along.
    /// @param sentWei What was sent along, in wei.
    /// @param neededWei What must be, in wei.
    error ValueMismatch(uint256 sentWei, uint256 neededWei);

    /// @notice The sealed key is empty or too long.
    /// @param gotBytes Its length in bytes.
    /// @param maxBytes The longest allowed, in bytes.
    error KeyTooLong(uint256 gotBytes, uint256 maxBytes);

    /// @notice There is no credit.
    /// @param account The account.
    error NothingToWithdraw(address account);

    /// @notice Value cannot be sent to the zero address.
    /// @param account The account.
    error RecipientZero(address account);
}
