//! Deliberate mistakes of a walk.

/// Something that a walker could have misread the kernel in, and that no other state of the world would
/// show: for who proves that he would see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A tunnel's packet begins without the mark of what it carries.
    OuterWithoutMark,
    /// A packet keeps its mark in another namespace.
    MarkKept,
    /// The reverse path is asked for before the route.
    ReversePathFirst,
    /// What is led on keeps the source that a route would choose.
    SourceChosenAnew,
    /// What was learned of a path counts for what is led on, too.
    LearnedWhenLedOn,
    /// Packets that may be cut are refused for their size.
    NeverCut,
    /// An error has the address that was asked for as its source.
    ErrorsFromAsked,
    /// An error has the mark of what it is about.
    ErrorsMarked,
    /// A superpacket is held whole against the other end's MTU.
    SuperpacketWhole,
    /// Whom a rule accepts, no later chain of the hook is asked about.
    AcceptEndsTheHook,
    /// What a connection's packet is known as crosses a pair of devices with it.
    TrackedOverLinks,
    /// Who answers is new.
    AnswersAreNew,
    /// What belongs to no connection is new.
    UntrackedIsNew,
    /// An error belongs to no connection.
    ErrorsUnrelated,
    /// Neighbours' questions and answers over IPv6 are asked about nowhere.
    QuestionsUnasked,
    /// Chains that translate are asked about each packet.
    EachPacketAsked,
    /// A connection may be given what another one has.
    TakenPorts,
    /// Answers are as their sender made them.
    AnswersUntranslated,
    /// Errors about what was translated are not.
    ErrorsUntranslated,
    /// What this namespace sends elsewhere than it wanted to goes by the old way.
    TranslatedNotRerouted,
    /// What answers a connection is known by what was asked.
    AnswersAsAsked,
    /// Chains before tracking see fragments where there is tracking.
    GatheredLate,
    /// What a bridge has asked the chains before routing about they are asked about once more.
    PreroutingTwice,
    /// What gets another address at a bridge goes where its frame goes.
    BridgedNotRouted,
    /// IPVS schedules to servers of no weight, too.
    WeightlessServers,
    /// IPVS takes no hop of what it leads on.
    LedWithoutHop,
    /// What IPVS's real servers answer comes from themselves.
    RealServersAnswer,
    /// Of several ways the first is taken always.
    FirstOfSeveral,
    /// In how rules are run.
    Rules(netdiag_ruleset::Wrong),
}
