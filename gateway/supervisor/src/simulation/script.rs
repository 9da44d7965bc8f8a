//! What happens, written beforehand: how each worker is born, lives and dies, and what is asked of the supervisor when.
//!
//! Must not know: what follows from it.

use plexus_ipc::message::Role;
use proptest::{collection::vec, prelude::*};

/// A whole history, before it happens. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Of the readers, one after the other. Those that come after the last are sound.
    pub(super) readers: Vec<Life>,
    /// Of the writers.
    pub(super) writers: Vec<Life>,
    /// Each with the pause before it.
    pub(super) acts: Vec<(u64, Act)>,
    pub(super) end: End,
}

/// A worker.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) birth: Birth,
    /// Between the steps of its birth.
    pub(super) slow: u64,
    /// What it does about its first call, its second, and so on, round and round.
    pub(super) deeds: Vec<Deed>,
    pub(super) probes: Probes,
    pub(super) stop: OnStop,
    pub(super) heeds_cancel: bool,
    pub(super) heeds_term: bool,
    /// From SIGKILL to its being gone: it hangs in the kernel.
    pub(super) lingers: u64,
    /// When it goes by itself.
    pub(super) exits_at: Option<u64>,
    /// When it is found with more memory than it may have.
    pub(super) grows_at: Option<u64>,
}

impl Life {
    /// Does everything right.
    pub(super) fn sound() -> Self {
        Self {
            birth: Birth::Well,
            slow: 5,
            deeds: vec![Deed::Answers(3)],
            probes: Probes::In(1),
            stop: OnStop::Ends,
            heeds_cancel: true,
            heeds_term: true,
            lingers: 0,
            exits_at: None,
            grows_at: None,
        }
    }
}

/// How it comes up.
#[derive(Clone, Debug)]
pub(super) enum Birth {
    Well,
    /// The system has no process for it.
    NoProcess,
    /// What a start needs is not there.
    NotPrepared,
    /// As far as this step, and then this.
    Until(Step, Trouble),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Hello,
    Described,
    Opened,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Exits,
    SaysNothing,
    /// Bytes of no frame.
    Garbage,
    /// Something for later.
    OutOfTurn,
    /// Another build, another manifest, a source that does not open.
    Otherwise,
    /// In the place of `Hello`: a cage with a hole.
    Unsound,
}

/// What a worker does about a call, so many milliseconds after it came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Answers(u64),
    Fails(u64),
    Tells(u64),
    /// Tells this many lines at once, and answers.
    Floods(u32),
    /// Never says anything about it.
    Keeps,
    /// Dies, the effect not done.
    Dies(u64),
    /// Dies, the effect done and nothing said.
    DoesAndDies(u64),
    AnswersAndDies(u64),
    Twice(u64),
    OtherKind(u64),
    /// Answers a call that nobody made.
    Stranger(u64),
    TooLarge(u64),
    NotJson(u64),
    Garbage(u64),
    HalfAFrame(u64),
    /// Introduces itself again.
    HelloAgain(u64),
    /// Reads no more.
    GoesDeaf,
    /// Reads no more, and answers what it guesses to have been asked.
    Guesses,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Probes {
    In(u64),
    Unwell(u64),
    Never,
    /// As many as this, then none.
    Only(u32),
    WrongNonce,
    Unasked,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum OnStop {
    /// When its commits are done.
    Ends,
    Ignores,
}

/// What is done to the supervisor, or to its workers from outside.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Ask(Ask),
    /// The same, so many times at once.
    Burst(Ask, u16),
    /// A caller that asked this long ago, in calls, hangs up.
    HangUp(usize),
    Probe,
    Replace,
    PutAgain,
    /// And put back so many milliseconds after the removal began.
    Remove(u64),
    Kill(Role),
    Freeze(Role),
    Thaw(Role),
    /// The machine sleeps, which no awake clock counts.
    Nap(u64),
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) owner: bool,
    pub(super) deadline: u64,
    /// Permitted for the revision before.
    pub(super) stale: bool,
    /// Taken back before it can be sent.
    pub(super) taken_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Plan,
    Commit,
    Settle,
}

impl Kind {
    pub(super) fn role(self) -> Role {
        match self {
            Self::Read | Self::Plan => Role::Reader,
            Self::Commit | Self::Settle => Role::Writer,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Shutdown,
    Removed,
    /// Nobody holds the supervisor any more.
    Dropped,
}

pub(super) fn schedules() -> impl Strategy<Value = Schedule> {
    (
        vec(lives(), 0..8),
        vec(lives(), 0..8),
        vec((pauses(), acts()), 1..60),
        prop_oneof![Just(End::Shutdown), Just(End::Removed), Just(End::Dropped)],
    )
        .prop_map(|(readers, writers, acts, end)| Schedule {
            readers,
            writers,
            acts,
            end,
        })
}

fn pauses() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 6 => 1_u64..40, 3 => 40_u64..2_000, 2 => 2_000_u64..12_000, 1 => 30_000_u64..700_000]
}

fn delays() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 6 => 1_u64..30, 2 => 30_u64..3_000, 1 => 3_000_u64..40_000]
}

fn lives() -> impl Strategy<Value = Life> {
    (
        births(),
        prop_oneof![5 => 0_u64..20, 1 => 20_u64..12_000],
        vec(deeds(), 1..6),
        probes(),
        prop_oneof![3 => Just(OnStop::Ends), 1 => Just(OnStop::Ignores)],
        (any::<bool>(), any::<bool>()),
        prop_oneof![5 => Just(0), 1 => 1_u64..5_000],
        prop_oneof![4 => Just(None), 1 => (0_u64..20_000).prop_map(Some)],
        prop_oneof![6 => Just(None), 1 => (0_u64..20_000).prop_map(Some)],
    )
        .prop_map(
            |(
                birth,
                slow,
                deeds,
                probes,
                stop,
                (heeds_cancel, heeds_term),
                lingers,
                exits_at,
                grows_at,
            )| Life {
                birth,
                slow,
                deeds,
                probes,
                stop,
                heeds_cancel,
                heeds_term,
                lingers,
                exits_at,
                grows_at,
            },
        )
}

fn births() -> impl Strategy<Value = Birth> {
    let steps = prop_oneof![Just(Step::Hello), Just(Step::Described), Just(Step::Opened)];
    let troubles = prop_oneof![
        Just(Trouble::Exits),
        Just(Trouble::SaysNothing),
        Just(Trouble::Garbage),
        Just(Trouble::OutOfTurn),
        Just(Trouble::Otherwise),
        Just(Trouble::Unsound),
    ];
    prop_oneof![
        8 => Just(Birth::Well),
        1 => Just(Birth::NoProcess),
        1 => Just(Birth::NotPrepared),
        6 => (steps, troubles).prop_map(|(step, trouble)| Birth::Until(step, trouble)),
    ]
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => delays().prop_map(Deed::Answers),
        2 => delays().prop_map(Deed::Fails),
        1 => delays().prop_map(Deed::Tells),
        1 => (1_u32..12_000).prop_map(Deed::Floods),
        2 => Just(Deed::Keeps),
        2 => delays().prop_map(Deed::Dies),
        2 => delays().prop_map(Deed::DoesAndDies),
        2 => delays().prop_map(Deed::AnswersAndDies),
        1 => delays().prop_map(Deed::Twice),
        1 => delays().prop_map(Deed::OtherKind),
        1 => delays().prop_map(Deed::Stranger),
        1 => delays().prop_map(Deed::TooLarge),
        1 => delays().prop_map(Deed::NotJson),
        1 => delays().prop_map(Deed::Garbage),
        1 => delays().prop_map(Deed::HalfAFrame),
        1 => delays().prop_map(Deed::HelloAgain),
        1 => Just(Deed::GoesDeaf),
        1 => Just(Deed::Guesses),
    ]
}

fn probes() -> impl Strategy<Value = Probes> {
    prop_oneof![
        8 => (0_u64..50).prop_map(Probes::In),
        1 => (0_u64..4_000).prop_map(Probes::In),
        1 => (0_u64..50).prop_map(Probes::Unwell),
        1 => Just(Probes::Never),
        1 => (0_u32..4).prop_map(Probes::Only),
        1 => Just(Probes::WrongNonce),
        1 => Just(Probes::Unasked),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let role = || prop_oneof![Just(Role::Reader), Just(Role::Writer)];
    prop_oneof![
        20 => asks().prop_map(Act::Ask),
        2 => (asks(), 2_u16..20).prop_map(|(ask, times)| Act::Burst(ask, times)),
        1 => (asks(), 200_u16..700).prop_map(|(ask, times)| Act::Burst(ask, times)),
        4 => (0_usize..12).prop_map(Act::HangUp),
        2 => Just(Act::Probe),
        1 => Just(Act::Replace),
        1 => Just(Act::PutAgain),
        1 => delays().prop_map(Act::Remove),
        3 => role().prop_map(Act::Kill),
        2 => role().prop_map(Act::Freeze),
        2 => role().prop_map(Act::Thaw),
        1 => (0_u64..5_000).prop_map(Act::Nap),
    ]
}

fn asks() -> impl Strategy<Value = Ask> {
    (
        prop_oneof![
            6 => Just(Kind::Read),
            2 => Just(Kind::Plan),
            5 => Just(Kind::Commit),
            1 => Just(Kind::Settle),
        ],
        prop::bool::weighted(0.15),
        prop_oneof![1 => 0_u64..50, 3 => 50_u64..5_000, 4 => 5_000_u64..60_000],
        prop::bool::weighted(0.04),
        prop::bool::weighted(0.04),
    )
        .prop_map(|(kind, owner, deadline, stale, taken_back)| Ask {
            kind,
            owner,
            deadline,
            stale,
            taken_back,
        })
}
