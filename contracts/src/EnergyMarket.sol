// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {EnergyToken} from "./EnergyToken.sol";
import {AccountWord, Ledger, MONEY, OperatorWord, REGISTERED, newLedger, newOperator} from "./Words.sol";

/// @title Market on which registered actors settle energy trades out of prepaid balances
/// @notice An operator settles trades in batches. Each trade moves energy from its seller to its buyer and money from
///         its buyer to its seller; with a negative price the seller pays. A batch happens whole or not at all, and
///         once. The meter reports what was not delivered, and closes the days. Nobody is ever paid without asking.
/// @dev Energy is in whole Wh, money in wei, a slot is the number of slot lengths since the epoch in UTC.
///      At all times the market has at least the wei that all balances and commitments sum to.
contract EnergyMarket is EnergyToken {
    /*//////////////////////////////////////////////////////////////
                                 TYPES
    //////////////////////////////////////////////////////////////*/

    /// @dev The order is part of the interface: kinds travel as uint8.
    enum Kind {
        Load,
        PV,
        CHP,
        Battery,
        Grid
    }

    struct Actor {
        address account;
        uint8 kind;
        string name;
    }

    /// @dev imbalance: energy that came late or came differently, traded with the grid after its slot was cleared.
    struct Trade {
        address seller;
        address buyer;
        uint32 energyWh;
        int64 priceWeiPerWh;
        uint32 slot;
        bool imbalance;
    }

    /// @dev One word: what became of a day apart from the batches.
    struct Day {
        uint64 agreedWh;
        uint64 shortWh;
        uint64 retiredWh;
        bool closed;
    }

    struct Withdrawal {
        uint96 amountWei;
        uint64 dueAt;
    }

    struct Replacement {
        address by;
        uint64 dueAt;
    }

    /// @dev The creditor by its place among the actors, which no replacement changes.
    struct Debt {
        uint32 creditor;
        uint224 amountWei;
    }

    struct Commitment {
        address payer;
        uint96 amountWei;
    }

    /// @dev A batch as it was settled, and what proves it: the link before it, and the digests of the later batches of
    ///      the same operator and day, up to the last one or to a link that was kept.
    struct Settled {
        address operator;
        uint32 seq;
        bytes32 readingsRoot;
        bytes batch;
        uint112 linkBefore;
        bytes32[] laterDigests;
    }

    /*//////////////////////////////////////////////////////////////
                                 EVENTS
    //////////////////////////////////////////////////////////////*/

    event AdminTransferStarted(address indexed admin, address indexed next);
    event AdminTransferred(address indexed before, address indexed admin);
    event OperatorSet(address indexed operator, bool allowed);
    event OperatorRotated(address indexed before, address indexed operator, uint32 nextSeq);
    event MeterSet(address indexed meter);
    event AgreementFactorySet(address indexed factory);
    event PausedSet(bool paused);

    event ActorRegistered(address indexed account, uint8 kind, string name);
    event ReplacementRequested(address indexed account, address indexed by, uint256 dueAt);
    event ReplacementRefused(address indexed account, address indexed by);
    event ActorReplaced(address indexed account, address indexed by);

    event Deposited(address indexed account, address indexed from, uint256 amountWei);
    event WithdrawalRequested(address indexed account, uint256 amountWei, uint256 dueAt);
    event Withdrawn(address indexed account, uint256 amountWei);
    event Owed(address indexed debtor, address indexed creditor, uint256 amountWei);
    event DebtPaid(address indexed debtor, address indexed creditor, uint256 amountWei);

    /// @notice A batch with all of its trades; decodeBatch reads it.
    event BatchSettled(
        address indexed operator, uint32 indexed seq, bytes32 indexed contentHash, bytes32 readingsRoot, bytes batch
    );
    event ShortfallReported(
        address indexed operator,
        uint32 indexed seq,
        uint256 index,
        uint256 energyWh,
        address payer,
        address payee,
        uint256 paidWei,
        uint256 owedWei
    );
    event DayClosed(uint256 indexed day);
    event LinkKept(address indexed operator, uint32 indexed day, uint112 link);

    event AgreementsAccepted(address indexed account, bool accepted);
    event Committed(address indexed agreement, address indexed payer, uint256 amountWei);
    event AgreementSettled(
        address indexed agreement, address indexed seller, address indexed buyer, uint32 slot, uint256 energyWh
    );
    event CommitmentReturned(address indexed agreement, address indexed payer, uint256 amountWei);

    /*//////////////////////////////////////////////////////////////
                                 ERRORS
    //////////////////////////////////////////////////////////////*/

    error NotAdmin(address caller);
    error NotNextAdmin(address caller);
    error NotOperator(address caller);
    error NotMeter(address caller);
    error NotAgreementFactory(address caller);
    error NotCommitted(address agreement);
    error OperatorIsMeter(address account);
    error OperatorBefore(address account);
    error AlreadySet();
    error Paused();
    error WrongTerms();

    error NotAnActor(address account);
    error ActorWithoutAccount(uint256 index);
    error UnknownKind(uint256 index, uint8 kind);
    error AlreadyRegistered(uint256 index, address account);
    error TakesNoTokens(uint256 index, address account);
    error TooManyOperators();
    error NoReplacement(address account);
    error WasReplaced(address account);

    error ZeroAmount();
    error TooMuch(address account, uint256 balanceWei);
    error MarketIsFull(uint256 heldWei);
    error NotDue(uint256 dueAt);
    error Lapsed(uint256 lapsedAt);
    error InDebt(address account);
    error OwesNothing(address account);
    error InsufficientFunds(address account, uint256 missingWei);
    error WithdrawalFailed(address account);

    error WrongSequence(uint32 expected, uint32 given);
    error WrongLength(uint256 length);
    error NoTrades();
    error DayTooFar(uint256 day);
    error AccountsNotAscending(uint256 index);
    error AccountNotInBatch(uint256 index);
    error SelfTrade(uint256 index, address account);
    error ZeroEnergy(uint256 index);
    error SlotOfAnotherDay(uint256 index);
    error TooMuchEnergy(address account, uint256 day);

    error Metered();
    error DayIsClosed(uint256 day);
    error DayIsNotOver(uint256 day);
    error NotSettled(address operator, uint32 seq);
    error NotLinked(address operator, uint32 day, uint112 link);
    error NoSuchTrade(uint256 index);
    error ImbalanceHasNoShortfall(uint256 index);
    error MoreThanTraded(uint256 index, uint256 reportableWh);

    error AgreementsNotAccepted(address account);

    /*//////////////////////////////////////////////////////////////
                                STORAGE
    //////////////////////////////////////////////////////////////*/

    /// @notice Seconds that a slot lasts.
    uint32 public immutable slotS;

    /// @notice Seconds between asking for a withdrawal and being paid, and then in which it has to be fetched.
    uint32 public immutable withdrawDelayS;

    /// @notice Seconds in which an actor can refuse to be replaced.
    uint32 public immutable replaceDelayS;

    /// @notice Whether readings are meter values, settled after delivery: then nothing can fall short.
    bool public immutable metered;

    /// @notice The account that registers actors and appoints operators and the meter.
    address public admin;

    /// @notice The account that may become the admin by accepting it.
    address public nextAdmin;

    /// @notice The account that reports shortfalls and closes days.
    address public meter;

    /// @notice The contract whose agreements may draw on the balance of who accepts that.
    address public agreementFactory;

    /// @notice Whether settlement is stopped. Withdrawals never are.
    bool public paused;

    address[] private _operatorByNumber;
    mapping(address operator => OperatorWord) private _operators;

    Actor[] private _actors;
    mapping(address account => uint256) private _placeOf;
    mapping(address account => AccountWord) private _accounts;
    mapping(address account => Withdrawal) private _withdrawals;
    mapping(address account => Replacement) private _replacements;
    mapping(address account => address) private _replacedBy;

    /// @dev By places among the actors. Those from _paidDebts on are still owed, in the order in which they came to be,
    ///      one for each creditor.
    mapping(uint256 debtor => Debt[]) private _debts;
    mapping(uint256 debtor => uint256) private _paidDebts;
    mapping(uint256 debtor => mapping(uint256 creditor => uint256)) private _lastDebtTo;

    mapping(uint256 day => mapping(uint256 operatorNumber => Ledger)) private _ledgers;
    mapping(uint256 day => Day) private _days;

    /// @dev Links that are known to be of a chain, each with its operator's number and day.
    mapping(bytes32 place => bool) private _keptLinks;

    /// @dev Of a trade, known by hash of operator number, seq and index.
    mapping(bytes32 trade => uint256) private _shortWh;

    /// @notice Whether an account lets agreements draw on its balance.
    mapping(address account => bool) public acceptsAgreements;

    /// @notice What is set aside for an agreement, and for whom.
    mapping(address agreement => Commitment) public commitmentOf;

    /*//////////////////////////////////////////////////////////////
                             ADMINISTRATION
    //////////////////////////////////////////////////////////////*/

    uint256 private constant DAY_S = 86_400;
    uint256 private constant DEBTS_PAID_AT_ONCE = 8;
    uint256 private constant MOST_OPERATORS = 256;

    /// @dev How far ahead a day is traded: whoever traded it has no part in _applyPlain for the days before it.
    uint256 private constant DAYS_AHEAD = 366;

    modifier onlyAdmin() {
        require(msg.sender == admin, NotAdmin(msg.sender));
        _;
    }

    modifier onlyMeter() {
        require(msg.sender == meter, NotMeter(msg.sender));
        _;
    }

    /// @param admin_ The account that registers actors and appoints operators and the meter.
    /// @param slotS_ Seconds that a slot lasts, from 3 to 86,400.
    /// @param withdrawDelayS_ At least from the closing of a gate to the end of its delivery, and at least slotS_.
    /// @param replaceDelayS_ At least withdrawDelayS_, so that an actor can leave before it is replaced.
    /// @param metered_ Whether readings are meter values.
    constructor(address admin_, uint32 slotS_, uint32 withdrawDelayS_, uint32 replaceDelayS_, bool metered_) {
        require(admin_ != address(0), ZeroAddress());
        // An offset in a day has 15 bits in a batch.
        require(slotS_ >= 3 && slotS_ <= DAY_S, WrongTerms());
        require(withdrawDelayS_ >= slotS_ && replaceDelayS_ >= withdrawDelayS_, WrongTerms());
        admin = admin_;
        slotS = slotS_;
        withdrawDelayS = withdrawDelayS_;
        replaceDelayS = replaceDelayS_;
        metered = metered_;
        emit AdminTransferred(address(0), admin_);
    }

    /// @notice Offer the administration to another account, or with 0 to nobody.
    function transferAdmin(address next) external onlyAdmin {
        nextAdmin = next;
        emit AdminTransferStarted(msg.sender, next);
    }

    /// @notice Become the admin, where that was offered.
    function acceptAdmin() external {
        require(msg.sender == nextAdmin, NotNextAdmin(msg.sender));
        emit AdminTransferred(admin, msg.sender);
        admin = msg.sender;
        nextAdmin = address(0);
    }

    /// @notice Allow an account to settle batches, or forbid it. Its sequence goes on where it was.
    function setOperator(address operator, bool allowed) external onlyAdmin {
        if (!_isCurrent(operator)) {
            // Nothing is written for one that is none, or no more.
            require(allowed, NotOperator(operator));
            _addOperator(operator);
        }
        require(!allowed || operator != meter, OperatorIsMeter(operator));
        _operators[operator] = _operators[operator].withFlags(allowed, paused);
        emit OperatorSet(operator, allowed);
    }

    /// @notice Give an operator another key; sequence and ledgers go on. The old key never settles again.
    function rotateOperator(address before, address operator) external onlyAdmin {
        require(_isCurrent(before), NotOperator(before));
        _requireNewOperator(operator);
        OperatorWord word = _operators[before];
        _operators[operator] = word;
        _operatorByNumber[word.number()] = operator;
        // By its number it still leads to what it settled.
        _operators[before] = newOperator(word.number(), paused).withNextSeq(word.nextSeq());
        emit OperatorRotated(before, operator, word.nextSeq());
    }

    /// @notice Appoint the account that reports shortfalls and closes days; 0 is nobody.
    function setMeter(address meter_) external onlyAdmin {
        require(!_operators[meter_].isAllowed(), OperatorIsMeter(meter_));
        meter = meter_;
        emit MeterSet(meter_);
    }

    /// @notice Say once which contract makes agreements.
    function setAgreementFactory(address factory) external onlyAdmin {
        require(agreementFactory == address(0), AlreadySet());
        agreementFactory = factory;
        emit AgreementFactorySet(factory);
    }

    /// @notice Stop settlement, or go on.
    function setPaused(bool paused_) external onlyAdmin {
        paused = paused_;
        // It stands in the word that a batch reads anyway.
        for (uint256 i = 0; i < _operatorByNumber.length; ++i) {
            OperatorWord word = _operators[_operatorByNumber[i]];
            _operators[_operatorByNumber[i]] = word.withFlags(word.isAllowed(), paused_);
        }
        emit PausedSet(paused_);
    }

    function _addOperator(address operator) private {
        _requireNewOperator(operator);
        require(_operatorByNumber.length < MOST_OPERATORS, TooManyOperators());
        _operators[operator] = newOperator(_operatorByNumber.length, paused);
        _operatorByNumber.push(operator);
    }

    function _requireNewOperator(address operator) private view {
        require(operator != address(0), ZeroAddress());
        require(operator != meter, OperatorIsMeter(operator));
        // A key that was rotated away keeps its number, and with it the batches that it settled.
        require(!_operators[operator].isKnown(), OperatorBefore(operator));
    }

    function _isCurrent(address operator) private view returns (bool) {
        OperatorWord word = _operators[operator];
        return word.isKnown() && _operatorByNumber[word.number()] == operator;
    }

    /*//////////////////////////////////////////////////////////////
                                 ACTORS
    //////////////////////////////////////////////////////////////*/

    /// @notice Register actors, all or none. An actor stays what it is registered as.
    /// @param actors Account, kind (Load 0, PV 1, CHP 2, Battery 3, Grid 4) and name of each.
    function registerActors(Actor[] calldata actors) external onlyAdmin {
        for (uint256 i = 0; i < actors.length; ++i) {
            Actor calldata actor = actors[i];
            require(actor.account != address(0), ActorWithoutAccount(i));
            require(actor.kind <= uint8(type(Kind).max), UnknownKind(i, actor.kind));
            require(!isActor(actor.account), AlreadyRegistered(i, actor.account));
            require(_replacedBy[actor.account] == address(0), AlreadyRegistered(i, actor.account));
            require(_takesTokens(actor.account), TakesNoTokens(i, actor.account));
            _actors.push(actor);
            _placeOf[actor.account] = _actors.length - 1;
            _accounts[actor.account] = AccountWord.wrap(REGISTERED);
            emit ActorRegistered(actor.account, actor.kind, actor.name);
        }
    }

    /// @notice Begin to give an actor another account, because the key of its own is lost.
    /// @dev The actor has replaceDelayS to refuse it, or to take its money out.
    function requestReplacement(address account, address by) external onlyAdmin {
        require(isActor(account), NotAnActor(account));
        require(by != address(0), ZeroAddress());
        uint256 dueAt = block.timestamp + replaceDelayS;
        _replacements[account] = Replacement(by, uint64(dueAt));
        emit ReplacementRequested(account, by, dueAt);
    }

    /// @notice Stay the account that one is.
    function refuseReplacement() external {
        Replacement memory wanted = _replacements[msg.sender];
        require(wanted.by != address(0), NoReplacement(msg.sender));
        delete _replacements[msg.sender];
        emit ReplacementRefused(msg.sender, wanted.by);
    }

    /// @notice Give an actor the other account: balance, debts and directory go over. Energy follows by moveEnergy; who
    ///         has the former key cannot take it anywhere else.
    function replaceActor(address account) external onlyAdmin {
        Replacement memory wanted = _replacements[account];
        address by = wanted.by;
        require(by != address(0), NoReplacement(account));
        require(block.timestamp >= wanted.dueAt, NotDue(wanted.dueAt));
        AccountWord word = _accounts[account];
        uint256 index = _placeOf[account];
        require(!isActor(by) && _replacedBy[by] == address(0), AlreadyRegistered(index, by));
        require(_takesTokens(by), TakesNoTokens(index, by));
        _placeOf[by] = index;

        delete _replacements[account];
        delete _withdrawals[account];
        _accounts[account] = AccountWord.wrap(0);
        _accounts[by] = word.withWithdrawing(false);
        _actors[index].account = by;
        _replacedBy[account] = by;
        acceptsAgreements[by] = acceptsAgreements[account];
        emit ActorReplaced(account, by);
        if (word.boughtWh() != 0) emit TransferSingle(msg.sender, account, by, word.accountDay(), word.boughtWh());
    }

    /// @notice Give energy that a replaced account still has to the account that came in its place. Anybody may.
    function moveEnergy(address account, uint256[] calldata days_) external {
        address by = _replacedBy[account];
        require(by != address(0), NoReplacement(account));
        for (uint256 i = 0; i < days_.length; ++i) {
            uint256 heldWh = _heldWh[days_[i]][account];
            if (heldWh == 0) continue;
            _take(account, days_[i], heldWh);
            _heldWh[days_[i]][by] += heldWh;
            emit TransferSingle(msg.sender, account, by, days_[i], heldWh);
        }
    }

    /// @notice How many actors are registered.
    function actorCount() external view returns (uint256) {
        return _actors.length;
    }

    /// @notice An actor by its place in the order of registration.
    /// @param index From 0 to actorCount less one.
    /// @return account The actor's account.
    /// @return kind Load 0, PV 1, CHP 2, Battery 3, Grid 4.
    /// @return name What people call it.
    function actorAt(uint256 index) external view returns (address account, uint8 kind, string memory name) {
        Actor storage actor = _actors[index];
        return (actor.account, actor.kind, actor.name);
    }

    /// @notice Whether an account is that of an actor.
    function isActor(address account) public view returns (bool) {
        return _accounts[account].isRegistered();
    }

    /// @notice The account that an actor has now: another one where its own was replaced.
    function currentAccount(address account) public view returns (address) {
        for (address by = _replacedBy[account]; by != address(0); by = _replacedBy[account]) {
            account = by;
        }
        return account;
    }

    /*//////////////////////////////////////////////////////////////
                                 MONEY
    //////////////////////////////////////////////////////////////*/

    /// @notice Add the money sent to the caller's own balance.
    function deposit() external payable {
        depositFor(msg.sender);
    }

    /// @notice Add the money sent to an actor's balance.
    function depositFor(address account) public payable {
        require(isActor(account), NotAnActor(account));
        require(msg.value != 0, ZeroAmount());
        // All balances together are no more, so that none of them ever outgrows its bits.
        require(address(this).balance <= type(uint96).max, MarketIsFull(address(this).balance));
        _credit(account, msg.value);
        emit Deposited(account, msg.sender, msg.value);
        _payDebts(account);
    }

    /// @notice Ask for money that one has. It can be had for withdrawDelayS, beginning withdrawDelayS from now; then the
    ///         request lapses. Until it is paid it stays in the balance, for trades and shortfalls to take.
    /// @dev A later request takes the place of the former; 0 takes it back. What is taken out of the balance may leave
    ///      less than was asked for: then only that is paid, whatever comes in later.
    function requestWithdraw(uint96 amountWei) external {
        AccountWord word = _accounts[msg.sender];
        require(word.isRegistered(), NotAnActor(msg.sender));
        if (amountWei > word.balanceWei()) revert InsufficientFunds(msg.sender, amountWei - word.balanceWei());
        uint256 dueAt = block.timestamp + withdrawDelayS;
        _withdrawals[msg.sender] = Withdrawal(amountWei, uint64(dueAt));
        _accounts[msg.sender] = word.withWithdrawing(amountWei != 0);
        emit WithdrawalRequested(msg.sender, amountWei, dueAt);
    }

    /// @notice Pay what was asked for, or what is left of it, to the caller. Debts come first. A pause does not matter.
    function withdraw() external {
        Withdrawal memory wanted = _withdrawals[msg.sender];
        require(wanted.amountWei != 0, ZeroAmount());
        require(block.timestamp >= wanted.dueAt, NotDue(wanted.dueAt));
        uint256 lapsesAt = _lapsesAt(wanted);
        require(block.timestamp < lapsesAt, Lapsed(lapsesAt));
        require(!_payDebts(msg.sender), InDebt(msg.sender));
        uint256 amountWei = _withdrawals[msg.sender].amountWei;
        require(amountWei != 0, InsufficientFunds(msg.sender, wanted.amountWei));
        // The balance is lowered before the money leaves: a caller who calls back finds it gone.
        delete _withdrawals[msg.sender];
        _debit(msg.sender, amountWei);
        _accounts[msg.sender] = _accounts[msg.sender].withWithdrawing(false);
        emit Withdrawn(msg.sender, amountWei);
        (bool paid,) = msg.sender.call{value: amountWei}("");
        require(paid, WithdrawalFailed(msg.sender));
    }

    /// @notice Money of an actor in wei, also what it asked to be paid or owes; 0 for an account that is not an actor's.
    function weiOf(address account) public view returns (uint256) {
        return _accounts[account].balanceWei();
    }

    /// @notice What is sure to be there when a batch comes: money less what it owes and less what it asked to be paid and
    ///         did not let lapse. Who clears a slot counts on no more.
    function spendableWei(address account) external view returns (uint256) {
        Withdrawal memory wanted = _withdrawals[account];
        uint256 promisedWei = owedWei(account) + (block.timestamp < _lapsesAt(wanted) ? wanted.amountWei : 0);
        return weiOf(account) - _least(weiOf(account), promisedWei);
    }

    /// @notice What an actor asked to be paid, and from when on it can have it, in seconds since the epoch; it lapses
    ///         withdrawDelayS later.
    function withdrawalOf(address account) external view returns (uint256 amountWei, uint256 dueAt) {
        Withdrawal memory wanted = _withdrawals[account];
        return (wanted.amountWei, wanted.dueAt);
    }

    /// @notice What an actor owes, because it could not pay back what it did not deliver. Its next income pays it.
    function owedWei(address account) public view returns (uint256 amountWei) {
        // Who never was an actor has the place of the first one.
        if (!_accounts[account].owes()) return 0;
        uint256 debtor = _placeOf[account];
        for (uint256 i = _paidDebts[debtor]; i < _debts[debtor].length; ++i) {
            amountWei += _debts[debtor][i].amountWei;
        }
    }

    /// @notice Pay debts of an actor out of its balance, oldest first. Income does so by itself, for a few at a time.
    function payDebts(address account) external {
        require(_accounts[account].owes(), OwesNothing(account));
        _payDebts(account);
    }

    function _credit(address account, uint256 amountWei) private {
        AccountWord word = _accounts[account];
        uint256 balance = word.balanceWei() + amountWei;
        require(balance <= type(uint96).max, TooMuch(account, balance));
        _accounts[account] = word.withBalance(balance);
    }

    /// @dev Take money as far as there is any. What was asked for stays within what is left.
    function _debit(address account, uint256 amountWei) private returns (uint256 takenWei) {
        AccountWord word = _accounts[account];
        takenWei = _least(amountWei, word.balanceWei());
        uint256 leftWei = word.balanceWei() - takenWei;
        if (word.isWithdrawing() && _withdrawals[account].amountWei > leftWei) {
            _withdrawals[account].amountWei = uint96(leftWei);
            word = word.withWithdrawing(leftWei != 0);
        }
        _accounts[account] = word.withBalance(leftWei);
    }

    /// @dev Take money after debts are paid: who still owes has nothing to spend.
    function _spend(address account, uint256 amountWei) private {
        uint256 takenWei = _payDebts(account) ? 0 : _debit(account, amountWei);
        if (takenWei < amountWei) revert InsufficientFunds(account, amountWei - takenWei);
    }

    /// @dev Pay debts, if there are any; returns whether some are left.
    function _payDebts(address account) private returns (bool) {
        if (!_accounts[account].owes()) return false;
        uint256 debtor = _placeOf[account];
        Debt[] storage debts = _debts[debtor];
        uint256 next = _paidDebts[debtor];
        for (uint256 paid = 0; paid < DEBTS_PAID_AT_ONCE && next < debts.length; ++paid) {
            Debt memory debt = debts[next];
            uint256 amountWei = _debit(account, debt.amountWei);
            if (amountWei == 0) break;
            address creditor = _actors[debt.creditor].account;
            _credit(creditor, amountWei);
            emit DebtPaid(account, creditor, amountWei);
            debts[next].amountWei = uint224(debt.amountWei - amountWei);
            if (amountWei < debt.amountWei) break;
            ++next;
        }
        _paidDebts[debtor] = next;
        bool left = next < debts.length;
        _accounts[account] = _accounts[account].withDebt(left);
        return left;
    }

    /// @dev Write down a debt, with what is still owed to the same creditor.
    function _owe(address payer, address payee, uint256 amountWei) private {
        (uint256 debtor, uint256 creditor) = (_placeOf[payer], _placeOf[payee]);
        Debt[] storage debts = _debts[debtor];
        uint256 last = _lastDebtTo[debtor][creditor];
        if (last >= _paidDebts[debtor] && last < debts.length && debts[last].creditor == creditor) {
            debts[last].amountWei += uint224(amountWei);
        } else {
            _lastDebtTo[debtor][creditor] = debts.length;
            debts.push(Debt(uint32(creditor), uint224(amountWei)));
        }
        _accounts[payer] = _accounts[payer].withDebt(true);
        emit Owed(payer, payee, amountWei);
    }

    function _lapsesAt(Withdrawal memory wanted) private view returns (uint256) {
        return uint256(wanted.dueAt) + withdrawDelayS;
    }

    function _least(uint256 left, uint256 right) private pure returns (uint256) {
        return left < right ? left : right;
    }

    /*//////////////////////////////////////////////////////////////
                               SETTLEMENT
    //////////////////////////////////////////////////////////////*/

    // A batch, in bytes: the first slot 4, the number of accounts 2, the accounts 20 each, the trades 18 each.
    // A trade: place of the seller among the accounts 2, of the buyer 2, Wh 4, wei per Wh 8 (signed), and in 2 the
    // slot less the first slot, times two, plus one for an imbalance. All is big-endian.
    uint256 private constant HEAD_BYTES = 6;
    uint256 private constant ACCOUNT_BYTES = 20;
    uint256 private constant TRADE_BYTES = 18;

    /// @notice Settle trades of one day, all or none. What counts is the net of the batch: an account may spend what
    ///         it earns in the same batch, whatever the order, but must not end below zero. Who spends more than it
    ///         earns pays its debts before. Of a closed day, only imbalances are settled.
    /// @param seq The caller's next sequence number, see nextSeq: what was settled cannot be settled again.
    /// @param readingsRoot What the trades rest on: a root of the readings that they were cleared from.
    /// @param batch Accounts, ascending, and trades; packed as said above.
    function settleBatch(uint32 seq, bytes32 readingsRoot, bytes calldata batch) external {
        OperatorWord operator = _operators[msg.sender];
        require(operator.isAllowed(), NotOperator(msg.sender));
        require(!operator.isPaused(), Paused());
        require(seq == operator.nextSeq(), WrongSequence(operator.nextSeq(), seq));

        (uint256 firstSlot, uint256 accounts, uint256 trades) = _measure(batch);
        require(trades != 0, NoTrades());
        uint256 day = _dayOf(firstSlot);
        uint256 today = _requireNear(day);
        bytes32 contentHash = _log(seq, readingsRoot, batch);
        (uint256 sums, uint256 energyWh) = _add(batch, accounts, trades, _slotsLeft(firstSlot, day));
        // A day that is not over is open.
        if (day < today && _days[day].closed) _requireImbalances(batch, trades, day);
        _apply(batch, accounts, sums, day);
        operator = _record(operator, day, energyWh, _digest(seq, readingsRoot, contentHash));
        _operators[msg.sender] = operator.withNextSeq(seq + 1);
    }

    /// @notice The trades of a batch, from its bytes in calldata or in the log.
    function decodeBatch(bytes calldata batch) external pure returns (Trade[] memory trades) {
        (,, uint256 count) = _measure(batch);
        trades = new Trade[](count);
        for (uint256 i = 0; i < count; ++i) {
            trades[i] = _tradeAt(batch, i);
        }
    }

    /// @notice Whether an account may settle batches.
    function isOperator(address operator) external view returns (bool) {
        return _operators[operator].isAllowed();
    }

    /// @notice The sequence number that an operator's next batch has to carry; the first is 0.
    function nextSeq(address operator) external view returns (uint32) {
        return _operators[operator].nextSeq();
    }

    /// @notice What an operator settled of a day, and the end of the chain of its batches of that day: link =
    ///         hash(link before, digest) cut to its first 112 bits, from 0 on, and digest = hash(seq, readingsRoot, contentHash).
    function ledgerOf(address operator, uint256 day) external view returns (uint256 soldWh, uint112 link) {
        if (!_operators[operator].isKnown()) return (0, 0);
        Ledger ledger = _ledger(_operators[operator].number(), day);
        return (ledger.soldWh(), ledger.link());
    }

    function _ledger(uint256 number, uint256 day) private view returns (Ledger) {
        OperatorWord operator = _operators[_operatorByNumber[number]];
        return operator.operatorDay() == day ? operator.ledger() : _ledgers[day][number];
    }

    /// @dev Write down that a batch is settled: in the operator's word, or in that of an earlier day.
    function _record(OperatorWord operator, uint256 day, uint256 energyWh, bytes32 digest)
        private
        returns (OperatorWord)
    {
        uint256 lastDay = operator.operatorDay();
        Ledger ledger = operator.ledger();
        if (day != lastDay) {
            if (day > lastDay) _ledgers[lastDay][operator.number()] = ledger;
            ledger = _ledgers[day][operator.number()];
        }
        unchecked {
            energyWh += ledger.soldWh();
        }
        require(energyWh <= type(uint48).max, TooMuchEnergy(msg.sender, day));
        ledger = newLedger(energyWh, _linked(ledger.link(), digest));
        if (day >= lastDay) return operator.withLedger(day, ledger);
        _ledgers[day][operator.number()] = ledger;
        return operator;
    }

    /// @dev emit BatchSettled(msg.sender, seq, contentHash, readingsRoot, batch), with the batch copied and hashed once.
    function _log(uint256 seq, bytes32 readingsRoot, bytes calldata batch) private returns (bytes32 contentHash) {
        bytes32 topic = BatchSettled.selector;
        assembly ("memory-safe") {
            let data := mload(0x40) // memory beyond is left as free as it was
            mstore(data, readingsRoot)
            mstore(add(data, 32), 64)
            mstore(add(data, 64), batch.length)
            let content := add(data, 96)
            let padded := and(add(batch.length, 31), not(31))
            mstore(add(content, sub(padded, 32)), 0)
            calldatacopy(content, batch.offset, batch.length)
            contentHash := keccak256(content, batch.length)
            log4(data, add(96, padded), topic, caller(), seq, contentHash)
        }
    }

    function _dayOf(uint256 slot) private view returns (uint256) {
        unchecked {
            return slot * slotS / DAY_S;
        }
    }

    function _measure(bytes calldata batch)
        private
        pure
        returns (uint256 firstSlot, uint256 accounts, uint256 trades)
    {
        uint256 head;
        assembly ("memory-safe") {
            head := calldataload(batch.offset)
        }
        (firstSlot, accounts) = (head >> 224, uint16(head >> 208));
        unchecked {
            uint256 before = HEAD_BYTES + accounts * ACCOUNT_BYTES;
            trades = (batch.length - before) / TRADE_BYTES;
            require(batch.length >= before && before + trades * TRADE_BYTES == batch.length, WrongLength(batch.length));
        }
    }

    /// @dev How many slots of the day there are from this one on; the last slot of all has 32 bits.
    function _slotsLeft(uint256 slot, uint256 day) private view returns (uint256) {
        unchecked {
            return _least(((day + 1) * DAY_S + slotS - 1) / slotS, 1 << 32) - slot;
        }
    }

    function _requireNear(uint256 day) private view returns (uint256 today) {
        today = block.timestamp / DAY_S;
        require(day <= today + DAYS_AHEAD, DayTooFar(day));
    }

    function _requireImbalances(bytes calldata batch, uint256 trades, uint256 day) private pure {
        // The flag is the last bit of a trade.
        for (uint256 i = 0; i < trades; ++i) {
            require(uint8(batch[batch.length - 1 - i * TRADE_BYTES]) & 1 == 1, DayIsClosed(day));
        }
    }

    /// @dev Sum up what each account gains: at sums, per account, a word of wei (signed) and one of Wh bought.
    ///      The loop that everything is paid for by; all that it adds fits, because 32 bits times 64 bits do.
    function _add(bytes calldata batch, uint256 accounts, uint256 trades, uint256 slotsLeft)
        private
        pure
        returns (uint256 sums, uint256 soldWh)
    {
        uint256 left;
        assembly ("memory-safe") {
            sums := mload(0x40)
            calldatacopy(sums, calldatasize(), shl(6, accounts)) // zeros
            mstore(0x40, add(sums, shl(6, accounts)))

            let at := add(batch.offset, add(6, mul(20, accounts)))
            for { left := trades } left { left := sub(left, 1) } {
                let trade := calldataload(at)
                let seller := shr(240, trade)
                let buyer := and(shr(224, trade), 0xffff)
                let energyWh := and(shr(192, trade), 0xffffffff)
                let offset := and(shr(113, trade), 0x7fff)
                if or(
                    or(iszero(energyWh), eq(seller, buyer)),
                    iszero(and(and(lt(seller, accounts), lt(buyer, accounts)), lt(offset, slotsLeft)))
                ) { break }
                let amountWei := mul(energyWh, signextend(7, shr(128, trade)))
                seller := add(sums, shl(6, seller))
                buyer := add(sums, shl(6, buyer))
                mstore(seller, add(mload(seller), amountWei))
                mstore(buyer, sub(mload(buyer), amountWei))
                buyer := add(buyer, 32)
                mstore(buyer, add(mload(buyer), energyWh))
                soldWh := add(soldWh, energyWh)
                at := add(at, 18)
            }
        }
        if (left != 0) _refuse(batch, accounts, trades - left);
    }

    /// @dev Say what is wrong with a trade.
    function _refuse(bytes calldata batch, uint256 accounts, uint256 index) private pure {
        (uint256 seller, uint256 buyer) = _placesAt(batch, accounts, index);
        require(seller < accounts && buyer < accounts, AccountNotInBatch(index));
        Trade memory trade = _tradeAt(batch, index);
        require(trade.seller != trade.buyer, SelfTrade(index, trade.seller));
        require(trade.energyWh != 0, ZeroEnergy(index));
        revert SlotOfAnotherDay(index);
    }

    /// @dev Write down what was summed up.
    function _apply(bytes calldata batch, uint256 accounts, uint256 sums, uint256 day) private {
        address before;
        for (uint256 i = 0; i < accounts; ++i) {
            (i, before) = _applyPlain(batch, i, accounts, before, sums, day);
            if (i == accounts) break;
            address account = _accountAt(batch, i);
            int256 gainedWei;
            uint256 boughtWh;
            assembly ("memory-safe") {
                gainedWei := mload(add(sums, shl(6, i)))
                boughtWh := mload(add(add(sums, 32), shl(6, i)))
            }
            // Then none is there twice, and none is nobody.
            require(account > before, AccountsNotAscending(i));
            before = account;
            _applyAny(account, gainedWei, boughtWh, day);
        }
    }

    /// @dev The same as _applyAny, for as many accounts as there is nothing out of the ordinary with: most, and what
    ///      a batch costs. Returns the index of the first other one, and the account before it.
    function _applyPlain(
        bytes calldata batch,
        uint256 index,
        uint256 accounts,
        address before,
        uint256 sums,
        uint256 day
    ) private returns (uint256, address) {
        bytes32 topic = TransferSingle.selector;
        // What stands above the numbers of a registered account of this day that owes nothing.
        uint256 registered = REGISTERED >> 160;
        uint256 plain = registered | day;
        uint256 money = MONEY;
        assembly ("memory-safe") {
            let first := add(batch.offset, 6)
            let from := add(first, mul(20, index))
            let end := add(first, mul(20, accounts))
            sums := add(sums, shl(6, index))
            let free := mload(0x40)
            mstore(free, day)
            mstore(32, _accounts.slot)
            for {} lt(from, end) {} {
                let account := shr(96, calldataload(from))
                mstore(0, account)
                let place := keccak256(0, 64)
                let word := sload(place)
                let top := shr(160, word)
                if iszero(eq(top, plain)) {
                    if or(gt(top, plain), lt(top, registered)) { break }
                    // The first purchase or sale of a day: what was bought before goes into the books.
                    let earlierWh := and(shr(96, word), 0xffffffffffffffff)
                    if earlierWh {
                        mstore(0, and(top, 0xffffffff))
                        mstore(32, _heldWh.slot)
                        mstore(32, keccak256(0, 64))
                        mstore(0, account)
                        let held := keccak256(0, 64)
                        // Not twice: what breaks below after this reverts in _applyAny, and this with it.
                        sstore(held, add(sload(held), earlierWh))
                        mstore(32, _accounts.slot)
                    }
                    word := or(and(word, money), shl(160, plain))
                }
                let gainedWei := mload(sums)
                let boughtWh := mload(add(sums, 32))
                let next := add(add(word, gainedWei), shl(96, boughtWh))
                if iszero(and(
                    gt(account, before),
                    and(iszero(gt(add(and(word, money), gainedWei), money)), eq(shr(160, next), plain))
                )) { break }
                sstore(place, next)
                if boughtWh {
                    mstore(add(free, 32), boughtWh)
                    log4(free, 64, topic, caller(), 0, account) // emit TransferSingle
                }
                before := account
                from := add(from, 20)
                sums := add(sums, 64)
            }
            index := div(sub(from, first), 20)
        }
        return (index, before);
    }

    function _applyAny(address account, int256 gainedWei, uint256 boughtWh, uint256 day) private {
        require(isActor(account), NotAnActor(account));
        if (gainedWei < 0) {
            _spend(account, uint256(-gainedWei));
        } else {
            _credit(account, uint256(gainedWei));
            _payDebts(account);
        }
        if (boughtWh != 0) _mint(account, day, boughtWh);
    }

    /// @dev The word of the last day is written anyway; every other day has a word of its own.
    function _mint(address account, uint256 day, uint256 energyWh) private {
        emit TransferSingle(msg.sender, address(0), account, day, energyWh);
        AccountWord word = _accounts[account];
        unchecked {
            if (word.accountDay() > day) {
                _heldWh[day][account] += energyWh;
                return;
            }
            if (word.accountDay() == day) {
                energyWh += word.boughtWh();
            } else if (word.boughtWh() != 0) {
                _heldWh[word.accountDay()][account] += word.boughtWh();
            }
        }
        require(energyWh <= type(uint64).max, TooMuchEnergy(account, day));
        _accounts[account] = word.withBought(energyWh, day);
    }

    function _placesAt(bytes calldata batch, uint256 accounts, uint256 index)
        private
        pure
        returns (uint256 seller, uint256 buyer)
    {
        uint256 start = HEAD_BYTES + accounts * ACCOUNT_BYTES + index * TRADE_BYTES;
        return (uint16(bytes2(batch[start:start + 2])), uint16(bytes2(batch[start + 2:start + 4])));
    }

    /// @dev Expects that the batch is well formed.
    function _tradeAt(bytes calldata batch, uint256 index) private pure returns (Trade memory) {
        (uint256 firstSlot, uint256 accounts,) = _measure(batch);
        (uint256 seller, uint256 buyer) = _placesAt(batch, accounts, index);
        require(seller < accounts && buyer < accounts, AccountNotInBatch(index));
        uint256 start = HEAD_BYTES + accounts * ACCOUNT_BYTES + index * TRADE_BYTES;
        uint256 offset = uint16(bytes2(batch[start + 16:start + 18]));
        return Trade({
            seller: _accountAt(batch, seller),
            buyer: _accountAt(batch, buyer),
            energyWh: uint32(bytes4(batch[start + 4:start + 8])),
            priceWeiPerWh: int64(uint64(bytes8(batch[start + 8:start + 16]))),
            slot: uint32(firstSlot + offset / 2),
            imbalance: offset % 2 == 1
        });
    }

    function _accountAt(bytes calldata batch, uint256 place) private pure returns (address) {
        uint256 start = HEAD_BYTES + place * ACCOUNT_BYTES;
        return address(bytes20(batch[start:start + ACCOUNT_BYTES]));
    }

    function _digest(uint256 seq, bytes32 readingsRoot, bytes32 contentHash) private pure returns (bytes32 digest) {
        // As keccak256(abi.encode(seq, readingsRoot, contentHash)), which takes three times the gas.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, seq)
            mstore(add(free, 32), readingsRoot)
            mstore(add(free, 64), contentHash)
            digest := keccak256(free, 96)
        }
    }

    function _linked(uint112 link, bytes32 digest) private pure returns (uint112 next) {
        assembly ("memory-safe") {
            mstore(0, link)
            mstore(32, digest)
            next := shr(144, keccak256(0, 64))
        }
    }

    /*//////////////////////////////////////////////////////////////
                         SHORTFALLS AND DAYS
    //////////////////////////////////////////////////////////////*/

    /// @notice Take back energy that was sold and not delivered: it is burnt, and its money goes back. What the payer
    ///         does not have it owes, and its next income pays.
    /// @param settled The batch that has the trade, with what proves that it was settled. Each later batch of that
    ///        operator and day makes the proof longer, also late ones of a day that is over; a proof that leads to a link
    ///        that was kept stays as it is (keepLink, proveLinks).
    /// @param index The trade's place in the batch.
    /// @param energyWh How much fell short, of what was not reported before.
    function reportShortfall(Settled calldata settled, uint256 index, uint256 energyWh) external onlyMeter {
        require(!metered, Metered());
        require(energyWh != 0, ZeroEnergy(index));
        (uint256 number, uint256 day) = _prove(settled);
        require(!_days[day].closed, DayIsClosed(day));
        (,, uint256 trades) = _measure(settled.batch);
        require(index < trades, NoSuchTrade(index));
        Trade memory trade = _tradeAt(settled.batch, index);
        require(!trade.imbalance, ImbalanceHasNoShortfall(index));

        bytes32 key = keccak256(abi.encode(number, settled.seq, index));
        uint256 reportableWh = trade.energyWh - _shortWh[key];
        require(energyWh <= reportableWh, MoreThanTraded(index, reportableWh));
        _shortWh[key] += energyWh;
        _days[day].shortWh += uint64(energyWh);

        address seller = _actorNow(trade.seller);
        address buyer = _actorNow(trade.buyer);
        _burn(trade.buyer, buyer, day, energyWh);

        // It goes back the way that it came.
        bool bySeller = trade.priceWeiPerWh >= 0;
        int256 price = bySeller ? int256(trade.priceWeiPerWh) : -int256(trade.priceWeiPerWh);
        (address payer, address payee) = bySeller ? (seller, buyer) : (buyer, seller);
        uint256 dueWei = energyWh * uint256(price);
        uint256 paidWei = _payBack(payer, payee, dueWei);
        emit ShortfallReported(
            settled.operator, settled.seq, index, energyWh, payer, payee, paidWei, dueWei - paidWei
        );
    }

    /// @notice Say that nothing of a day will be reported short any more: its energy is free to transfer and retire.
    /// @dev What is traded of it from then on are imbalances, and agreements that were made before: neither falls short.
    function closeDay(uint256 day) external onlyMeter {
        require(day < block.timestamp / DAY_S, DayIsNotOver(day));
        require(!_days[day].closed, DayIsClosed(day));
        _days[day].closed = true;
        emit DayClosed(day);
    }

    /// @notice What became of the energy of a day, in Wh: delivered is traded less short, outstanding is delivered
    ///         less retired.
    function dayTotals(uint256 day)
        external
        view
        returns (uint256 tradedWh, uint256 deliveredWh, uint256 retiredWh, uint256 outstandingWh, bool closed)
    {
        Day memory totals = _days[day];
        tradedWh = totals.agreedWh;
        for (uint256 i = 0; i < _operatorByNumber.length; ++i) {
            tradedWh += _ledger(i, day).soldWh();
        }
        deliveredWh = tradedWh - totals.shortWh;
        return (tradedWh, deliveredWh, totals.retiredWh, deliveredWh - totals.retiredWh, totals.closed);
    }

    /// @notice How much of a trade was reported short, in Wh.
    function shortfallOf(address operator, uint32 seq, uint256 index) external view returns (uint256) {
        if (!_operators[operator].isKnown()) return 0;
        return _shortWh[keccak256(abi.encode(_operators[operator].number(), seq, index))];
    }

    /// @notice Keep the end of an operator's chain of a day: proofs that lead to it hold whatever is settled later.
    function keepLink(address operator, uint32 day) external {
        require(_operators[operator].isKnown(), NotOperator(operator));
        _keep(operator, day, _ledger(_operators[operator].number(), day).link());
    }

    /// @notice Keep a link from which these digests lead to the end of the chain or to a link that was kept. So a proof
    ///         that is too long for one transaction is made in several, from the last batches to the earlier ones.
    function proveLinks(address operator, uint32 day, uint112 link, bytes32[] calldata laterDigests) external {
        require(_operators[operator].isKnown(), NotOperator(operator));
        require(_leadsOn(operator, day, link, laterDigests), NotLinked(operator, day, link));
        _keep(operator, day, link);
    }

    function _keep(address operator, uint32 day, uint112 link) private {
        _keptLinks[_placeOfLink(_operators[operator].number(), day, link)] = true;
        emit LinkKept(operator, day, link);
    }

    function _placeOfLink(uint256 number, uint256 day, uint112 link) private pure returns (bytes32) {
        return keccak256(abi.encode(number, day, link));
    }

    /// @dev Expects that the operator is or was one.
    function _leadsOn(address operator, uint256 day, uint112 link, bytes32[] calldata digests)
        private
        view
        returns (bool)
    {
        for (uint256 i = 0; i < digests.length; ++i) {
            link = _linked(link, digests[i]);
        }
        uint256 number = _operators[operator].number();
        return link == _ledger(number, day).link() || _keptLinks[_placeOfLink(number, day, link)];
    }

    function _prove(Settled calldata settled) private view returns (uint256 number, uint256 day) {
        (uint256 firstSlot,,) = _measure(settled.batch);
        day = _dayOf(firstSlot);
        OperatorWord operator = _operators[settled.operator];
        number = operator.number();
        bytes32 digest = _digest(settled.seq, settled.readingsRoot, keccak256(settled.batch));
        uint112 link = _linked(settled.linkBefore, digest);
        // Who never was an operator has the number of the first one.
        require(
            operator.isKnown() && _leadsOn(settled.operator, day, link, settled.laterDigests),
            NotSettled(settled.operator, settled.seq)
        );
    }

    function _actorNow(address account) private view returns (address) {
        account = currentAccount(account);
        require(isActor(account), NotAnActor(account));
        return account;
    }

    /// @dev What was bought is still there, because the day is open; perhaps in the books of any of the accounts that
    ///      came in the place of another one. The earliest first: no later one can have bought what is in its books.
    function _burn(address account, address buyer, uint256 day, uint256 energyWh) private {
        _enter(buyer);
        while (true) {
            uint256 here = account == buyer ? energyWh : _least(energyWh, _heldWh[day][account]);
            if (here != 0) {
                _take(account, day, here);
                emit TransferSingle(msg.sender, account, address(0), day, here);
            }
            energyWh -= here;
            if (energyWh == 0) return;
            account = _replacedBy[account];
        }
    }

    /// @dev Earlier debts of the payer come first.
    function _payBack(address payer, address payee, uint256 dueWei) private returns (uint256 paidWei) {
        if (!_payDebts(payer)) paidWei = _debit(payer, dueWei);
        _credit(payee, paidWei);
        if (paidWei < dueWei) _owe(payer, payee, dueWei - paidWei);
        _payDebts(payee);
    }

    /*//////////////////////////////////////////////////////////////
                               AGREEMENTS
    //////////////////////////////////////////////////////////////*/

    /// @notice Let agreements draw on the caller's balance, or end that for new ones.
    function acceptAgreements(bool accepted) external {
        require(isActor(msg.sender), NotAnActor(msg.sender));
        acceptsAgreements[msg.sender] = accepted;
        emit AgreementsAccepted(msg.sender, accepted);
    }

    /// @notice Set money of an actor aside for an agreement on a slot. The factory's alone to call.
    function commit(address agreement, address payer, uint256 amountWei, uint32 slot) external {
        require(msg.sender == agreementFactory, NotAgreementFactory(msg.sender));
        require(!paused, Paused());
        require(isActor(payer), NotAnActor(payer));
        require(acceptsAgreements[payer], AgreementsNotAccepted(payer));
        require(commitmentOf[agreement].payer == address(0), AlreadySet());
        uint256 day = _dayOf(slot);
        _requireNear(day);
        require(!_days[day].closed, DayIsClosed(day));
        _spend(payer, amountWei);
        commitmentOf[agreement] = Commitment(payer, uint96(amountWei));
        emit Committed(agreement, payer, amountWei);
    }

    /// @notice Pay what was set aside for the calling agreement, and give the buyer its energy.
    function settleCommitment(address seller, address buyer, address payee, uint32 slot, uint64 energyWh) external {
        require(!paused, Paused());
        Commitment memory committed = _takeCommitment();
        buyer = currentAccount(buyer);
        payee = currentAccount(payee);
        _credit(payee, committed.amountWei);
        uint256 day = _dayOf(slot);
        _days[day].agreedWh += energyWh;
        _mint(buyer, day, energyWh);
        emit AgreementSettled(msg.sender, currentAccount(seller), buyer, slot, energyWh);
        _payDebts(payee);
    }

    /// @notice Give back what was set aside for the calling agreement.
    function returnCommitment() external {
        Commitment memory committed = _takeCommitment();
        address payer = currentAccount(committed.payer);
        _credit(payer, committed.amountWei);
        emit CommitmentReturned(msg.sender, payer, committed.amountWei);
        _payDebts(payer);
    }

    function _takeCommitment() private returns (Commitment memory committed) {
        committed = commitmentOf[msg.sender];
        require(committed.payer != address(0), NotCommitted(msg.sender));
        delete commitmentOf[msg.sender];
    }

    /*//////////////////////////////////////////////////////////////
                            THE TOKEN'S PART
    //////////////////////////////////////////////////////////////*/

    /// @inheritdoc EnergyToken
    function balanceOf(address account, uint256 day) public view override returns (uint256) {
        AccountWord word = _accounts[account];
        return _heldWh[day][account] + (word.accountDay() == day ? word.boughtWh() : 0);
    }

    function _enter(address account) internal override {
        require(_replacedBy[account] == address(0), WasReplaced(account));
        AccountWord word = _accounts[account];
        uint256 boughtWh = word.boughtWh();
        if (boughtWh == 0) return;
        _heldWh[word.accountDay()][account] += boughtWh;
        _accounts[account] = word.withBought(0, word.accountDay());
    }

    function _requireClosed(uint256 day) internal view override {
        require(_days[day].closed, DayIsOpen(day));
    }

    function _count(uint256 day, uint256 retiredWh) internal override {
        _days[day].retiredWh += uint64(retiredWh);
    }
}
