// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

/// @title Market on which registered actors settle energy trades out of prepaid balances
/// @notice An operator settles trades in batches. Each trade moves energy credit from its seller to its buyer and money
///         from its buyer to its seller; with a negative price the seller pays. A batch happens whole or not at all,
///         and once: it is known by its operator and a sequence number without gaps.
/// @dev Energy is in whole Wh, money in wei. Two invariants hold between transactions: the energy balances of all
///      actors sum to zero, and the money balances sum to what was deposited less what was withdrawn.
contract EnergyMarket {
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

    /// @dev slot counts delivery periods since the epoch in UTC; how long one lasts is agreed off chain.
    struct Trade {
        address seller;
        address buyer;
        uint64 energyWh;
        int128 priceWeiPerWh;
        uint32 slot;
    }

    /*//////////////////////////////////////////////////////////////
                                 EVENTS
    //////////////////////////////////////////////////////////////*/

    event ActorRegistered(address indexed account, uint8 kind, string name);
    event OperatorSet(address indexed operator, bool allowed);
    event Deposited(address indexed account, address indexed from, uint256 amountWei);
    event Withdrawn(address indexed account, uint256 amountWei);
    event BatchSettled(address indexed operator, uint64 indexed seq, uint256 trades);
    event TradeSettled(
        address indexed seller,
        address indexed buyer,
        uint32 indexed slot,
        address operator,
        uint64 seq,
        uint64 energyWh,
        int128 priceWeiPerWh
    );

    /*//////////////////////////////////////////////////////////////
                                 ERRORS
    //////////////////////////////////////////////////////////////*/

    error ZeroAddress();
    error NotAdmin(address caller);
    error NotOperator(address caller);
    error NotAnActor(address account);
    error ZeroAmount();
    error AmountTooLarge(uint256 amountWei);
    error InsufficientFunds(address account, uint256 missingWei);
    error WithdrawalFailed(address account);

    error ActorWithoutAccount(uint256 index);
    error UnknownKind(uint256 index, uint8 kind);
    error AlreadyRegistered(uint256 index, address account);

    error WrongSequence(uint64 expected, uint64 given);
    error ZeroEnergy(uint256 index);
    error SelfTrade(uint256 index, address account);
    error TraderNotAnActor(uint256 index, address account);

    /*//////////////////////////////////////////////////////////////
                                STORAGE
    //////////////////////////////////////////////////////////////*/

    /// @notice The account that registers actors and appoints operators.
    address public immutable admin;

    /// @notice Whether an account may settle batches.
    mapping(address account => bool) public isOperator;

    /// @notice The sequence number that an operator's next batch has to carry; the first is 0.
    mapping(address operator => uint64) public nextSeq;

    /// @notice Whether an account is a registered actor.
    mapping(address account => bool) public isActor;

    /// @notice Energy credit of an account in Wh: bought less sold.
    mapping(address account => int256) public energyBalanceWh;

    /// @notice Energy debited from sellers in all batches so far, in Wh.
    uint128 public energySoldWh;

    /// @notice Energy credited to buyers in all batches so far, in Wh.
    uint128 public energyBoughtWh;

    Actor[] private _actors;

    /// @dev Signed, because a balance may be below zero within a batch. Never below zero between transactions.
    mapping(address account => int256) private _balanceWei;

    /*//////////////////////////////////////////////////////////////
                             ADMINISTRATION
    //////////////////////////////////////////////////////////////*/

    modifier onlyAdmin() {
        require(msg.sender == admin, NotAdmin(msg.sender));
        _;
    }

    /// @param admin_ The account that registers actors and appoints operators, for ever.
    constructor(address admin_) {
        require(admin_ != address(0), ZeroAddress());
        admin = admin_;
    }

    /// @notice Register actors, all or none. An actor stays what it is registered as.
    /// @param actors Account, kind (Load 0, PV 1, CHP 2, Battery 3, Grid 4) and name of each.
    function registerActors(Actor[] calldata actors) external onlyAdmin {
        for (uint256 i = 0; i < actors.length; ++i) {
            Actor calldata actor = actors[i];
            require(actor.account != address(0), ActorWithoutAccount(i));
            require(actor.kind <= uint8(type(Kind).max), UnknownKind(i, actor.kind));
            require(!isActor[actor.account], AlreadyRegistered(i, actor.account));
            isActor[actor.account] = true;
            _actors.push(actor);
            emit ActorRegistered(actor.account, actor.kind, actor.name);
        }
    }

    /// @notice Allow an account to settle batches, or forbid it. Its sequence goes on where it was.
    /// @param operator The account that settles.
    /// @param allowed Whether it may.
    function setOperator(address operator, bool allowed) external onlyAdmin {
        require(operator != address(0), ZeroAddress());
        isOperator[operator] = allowed;
        emit OperatorSet(operator, allowed);
    }

    /*//////////////////////////////////////////////////////////////
                                 MONEY
    //////////////////////////////////////////////////////////////*/

    /// @notice Add the money sent to the caller's own balance.
    function deposit() external payable {
        _deposit(msg.sender);
    }

    /// @notice Add the money sent to an actor's balance.
    /// @param account The actor whose balance grows.
    function depositFor(address account) external payable {
        _deposit(account);
    }

    /// @notice Pay out of the caller's balance to the caller.
    /// @param wei_ How much, in wei.
    function withdraw(uint256 wei_) external {
        uint256 balance = balanceOf(msg.sender);
        require(wei_ != 0, ZeroAmount());
        if (wei_ > balance) revert InsufficientFunds(msg.sender, wei_ - balance);
        // The balance is lowered before the money leaves: a caller who calls back finds it gone.
        _balanceWei[msg.sender] -= int256(wei_);
        emit Withdrawn(msg.sender, wei_);
        (bool paid, ) = msg.sender.call{value: wei_}("");
        require(paid, WithdrawalFailed(msg.sender));
    }

    /// @notice Money of an account in wei, all of it free to trade with or to withdraw.
    /// @param account Any account; 0 for one that is not an actor.
    function balanceOf(address account) public view returns (uint256) {
        return uint256(_balanceWei[account]);
    }

    function _deposit(address account) private {
        require(isActor[account], NotAnActor(account));
        require(msg.value != 0, ZeroAmount());
        require(msg.value <= uint256(type(int256).max), AmountTooLarge(msg.value));
        _balanceWei[account] += int256(msg.value);
        emit Deposited(account, msg.sender, msg.value);
    }

    /*//////////////////////////////////////////////////////////////
                               SETTLEMENT
    //////////////////////////////////////////////////////////////*/

    /// @notice Settle trades, all or none. What counts is the net of the batch: an account may spend what it earns in
    ///         the same batch, whatever the order, but must not end below zero.
    /// @param seq The caller's next sequence number, see nextSeq: what was settled cannot be settled again.
    /// @param trades Who sold how much energy to whom, at which price, for which slot.
    function settleBatch(uint64 seq, Trade[] calldata trades) external {
        require(isOperator[msg.sender], NotOperator(msg.sender));
        uint64 expected = nextSeq[msg.sender];
        require(seq == expected, WrongSequence(expected, seq));
        nextSeq[msg.sender] = expected + 1;

        for (uint256 i = 0; i < trades.length; ++i) {
            _settle(i, seq, trades[i]);
        }
        for (uint256 i = 0; i < trades.length; ++i) {
            _requireFunds(trades[i].seller);
            _requireFunds(trades[i].buyer);
        }
        emit BatchSettled(msg.sender, seq, trades.length);
    }

    function _settle(uint256 index, uint64 seq, Trade calldata trade) private {
        require(trade.energyWh != 0, ZeroEnergy(index));
        require(trade.seller != trade.buyer, SelfTrade(index, trade.seller));
        require(isActor[trade.seller], TraderNotAnActor(index, trade.seller));
        require(isActor[trade.buyer], TraderNotAnActor(index, trade.buyer));

        energyBalanceWh[trade.seller] -= int256(uint256(trade.energyWh));
        energySoldWh += trade.energyWh;
        energyBalanceWh[trade.buyer] += int256(uint256(trade.energyWh));
        energyBoughtWh += trade.energyWh;

        // 64 bits times 128 bits fit; with a negative price the signs turn and the seller pays.
        int256 amountWei = int256(uint256(trade.energyWh)) * trade.priceWeiPerWh;
        _balanceWei[trade.buyer] -= amountWei;
        _balanceWei[trade.seller] += amountWei;

        emit TradeSettled(
            trade.seller, trade.buyer, trade.slot, msg.sender, seq, trade.energyWh, trade.priceWeiPerWh
        );
    }

    function _requireFunds(address account) private view {
        int256 balance = _balanceWei[account];
        if (balance < 0) revert InsufficientFunds(account, uint256(-balance));
    }

    /*//////////////////////////////////////////////////////////////
                               DIRECTORY
    //////////////////////////////////////////////////////////////*/

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
}
