//! Random histories: acts with small numbers in them, and a player that makes commands of them.
//!
//! A number stands for "one of those there are"; what an act names need not exist, or be the actor's own.

use super::*;
use plexus_protocol::capability::WindowKind;
use proptest::prelude::*;
use std::sync::LazyLock;

/// The narrowings that histories know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Nothing,
    Everywhere,
    A,
    AB,
    One,
    Two,
}

impl Limit {
    pub(crate) const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Everywhere,
        Self::A,
        Self::AB,
        Self::One,
        Self::Two,
    ];
    pub(crate) fn constraint(self) -> Constraint {
        match self {
            Self::Nothing => constraint(json!({})),
            Self::Everywhere => below(""),
            Self::A => below("a"),
            Self::AB => below("a/b"),
            Self::One => constraint(json!({"maxCalls": 1})),
            Self::Two => constraint(json!({"maxCalls": 2})),
        }
    }
}

/// The inputs that histories know, with their digests.
pub(crate) static INPUTS: LazyLock<[(Value, Digest); 4]> = LazyLock::new(|| {
    [
        json!({"path": "a/x"}),
        json!({"path": "a/b/y"}),
        json!({"path": "c/z"}),
        json!({}),
    ]
    .map(|input| {
        let name = digest(&input);
        (input, name)
    })
});

pub(crate) const AGENTS: [&str; 2] = ["ann", "bob"];

/// How a source looks when it is seen again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    Same,
    OtherTarget,
    NoTarget,
    OtherShape,
    OtherProfile,
    WithoutOne(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) cap: u8,
    pub(crate) input: Option<u8>,
    pub(crate) read_only: bool,
    pub(crate) window: Option<TrustWindow>,
    pub(crate) limit: Option<Limit>,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Join {
        agent: u8,
        caps: u16,
        standing: u16,
        window: Option<TrustWindow>,
        limit: Option<Limit>,
        selected: bool,
    },
    Open(u8),
    RevokeAgent(u8, bool),
    Rotate,
    Restore,
    /// A new code, redeemed, and a session opened with it.
    Recode(u8),
    /// How much an agent may do; 0: the usual.
    Bound(u8, u8),
    Request {
        session: u8,
        wishes: Vec<Wish>,
        purpose: bool,
        run: bool,
    },
    Plan(u8, bool),
    PlanFails(u8),
    PlanAgain(u8),
    Approve {
        item: u8,
        window: Option<TrustWindow>,
        limit: Option<Limit>,
        any_input: bool,
        stale: bool,
    },
    Deny(u8),
    Withdraw(u8, u8),
    Grant {
        agent: u8,
        cap: u8,
        read_only: bool,
        window: Option<TrustWindow>,
        limit: Option<Limit>,
    },
    RevokeGrant(u8, u8),
    RevokeToken(u8),
    Refresh(u8, u8),
    Expose(u8, bool),
    Pause(bool),
    Seen(bool, Look),
    Resume(bool),
    Relabel(bool),
    Reroute(bool),
    Enable(bool, bool),
    Readd(bool),
    Launch,
    Sweep,
    Authorize {
        session: u8,
        token: Option<u8>,
        cap: u8,
        input: u8,
    },
    RunApproved(u8),
    /// Asked, planned, approved, and allowed: what a good day looks like.
    Errand {
        session: u8,
        wish: Wish,
        window: Option<TrustWindow>,
        any_input: bool,
        run: bool,
    },
    /// A further turn of what an item permits.
    Turn(u8, u8),
    EndDenial(u8),
    EndTurns(u8),
    Use(u8),
    End(u8, u8),
    Settle(u8, u8),
    Time(i64),
}

fn window() -> impl Strategy<Value = Option<TrustWindow>> {
    let custom = TrustWindow::For {
        kind: WindowKind::Custom,
        ms: 20 * MINUTE,
    };
    prop::sample::select(vec![
        None,
        Some(TrustWindow::Once),
        Some(TrustWindow::Once),
        Some(TrustWindow::HOUR),
        Some(TrustWindow::DAY),
        Some(TrustWindow::WEEK),
        Some(TrustWindow::UntilRevoked),
        Some(custom),
    ])
}

fn limit() -> impl Strategy<Value = Option<Limit>> {
    prop_oneof![
        3 => Just(None),
        1 => prop::sample::select(Limit::ALL.to_vec()).prop_map(Some),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let input = prop_oneof![1 => Just(None), 3 => (0u8..4).prop_map(Some)];
    let rarely = prop::bool::weighted(0.15);
    (0u8..9, input, rarely, window(), limit()).prop_map(|(cap, input, read_only, window, limit)| {
        Wish {
            cap,
            input,
            read_only,
            window,
            limit,
        }
    })
}

fn act() -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    let rarely = || prop::bool::weighted(0.15);
    let look = prop_oneof![
        Just(Look::Same),
        Just(Look::OtherTarget),
        Just(Look::NoTarget),
        Just(Look::OtherShape),
        Just(Look::OtherProfile),
        n().prop_map(Look::WithoutOne),
    ];
    let join = (
        0u8..2,
        any::<u16>(),
        any::<u16>(),
        window(),
        limit(),
        any::<bool>(),
    )
        .prop_map(
            |(agent, caps, standing, window, limit, selected)| Act::Join {
                agent,
                caps,
                standing,
                window,
                limit,
                selected,
            },
        );
    let request = (n(), prop::collection::vec(wish(), 1..3), rarely(), rarely()).prop_map(
        |(session, wishes, purpose, run)| Act::Request {
            session,
            wishes,
            purpose,
            run,
        },
    );
    let approve = (n(), window(), limit(), rarely(), rarely()).prop_map(
        |(item, window, limit, any_input, stale)| Act::Approve {
            item,
            window,
            limit,
            any_input,
            stale,
        },
    );
    let grant = (0u8..2, 0u8..9, rarely(), window(), limit()).prop_map(
        |(agent, cap, read_only, window, limit)| Act::Grant {
            agent,
            cap,
            read_only,
            window,
            limit,
        },
    );
    let authorize =
        (n(), prop::option::of(n()), 0u8..9, 0u8..4).prop_map(|(session, token, cap, input)| {
            Act::Authorize {
                session,
                token,
                cap,
                input,
            }
        });
    let errand = (n(), wish(), window(), rarely(), any::<bool>()).prop_map(
        |(session, wish, window, any_input, run)| Act::Errand {
            session,
            wish,
            window,
            any_input,
            run,
        },
    );
    let owner = prop_oneof![
        9 => join,
        1 => (0u8..2, rarely()).prop_map(|(a, d)| Act::RevokeAgent(a, d)),
        1 => Just(Act::Rotate),
        1 => Just(Act::Restore),
        2 => (0u8..2).prop_map(Act::Recode),
        1 => (0u8..2, 0u8..3).prop_map(|(a, n)| Act::Bound(a, n)),
        8 => grant,
        3 => (0u8..2, 0u8..9).prop_map(|(a, c)| Act::RevokeGrant(a, c)),
        2 => n().prop_map(Act::RevokeToken),
        3 => (0u8..9, rarely()).prop_map(|(c, hide)| Act::Expose(c, !hide)),
        2 => rarely().prop_map(Act::Pause),
        4 => n().prop_map(Act::Deny),
        2 => n().prop_map(Act::EndDenial),
        1 => n().prop_map(Act::EndTurns),
        4 => (n(), n()).prop_map(|(a, i)| Act::Settle(a, i)),
    ];
    let sources = prop_oneof![
        4 => (any::<bool>(), look).prop_map(|(s, look)| Act::Seen(s, look)),
        2 => any::<bool>().prop_map(Act::Resume),
        1 => any::<bool>().prop_map(Act::Relabel),
        1 => any::<bool>().prop_map(Act::Reroute),
        2 => (any::<bool>(), rarely()).prop_map(|(s, off)| Act::Enable(s, !off)),
        1 => any::<bool>().prop_map(Act::Readd),
    ];
    let agents = prop_oneof![
        4 => (0u8..2).prop_map(Act::Open),
        24 => request,
        16 => authorize,
        14 => n().prop_map(Act::Use),
        4 => n().prop_map(Act::RunApproved),
        14 => errand,
        8 => (n(), 0u8..4).prop_map(|(item, input)| Act::Turn(item, input)),
        3 => (n(), n()).prop_map(|(t, s)| Act::Refresh(t, s)),
        3 => (n(), n()).prop_map(|(a, i)| Act::Withdraw(a, i)),
    ];
    let daemon = prop_oneof![
        14 => (n(), rarely()).prop_map(|(i, risen)| Act::Plan(i, risen)),
        1 => n().prop_map(Act::PlanFails),
        1 => n().prop_map(Act::PlanAgain),
        4 => (n(), n()).prop_map(|(i, kind)| Act::End(i, kind)),
        1 => prop::sample::select(vec![Act::Launch, Act::Sweep, Act::Sweep]),
    ];
    let minute = i64::try_from(MINUTE).unwrap();
    let time = prop_oneof![
        8 => (-20i64..25).prop_map(move |m| Act::Time(m * minute)),
        2 => (-50i64..50).prop_map(move |h| Act::Time(h * 60 * minute)),
        1 => Just(Act::Time(31 * 24 * 60 * minute)),
    ];
    prop_oneof![
        5 => owner,
        1 => sources,
        12 => agents,
        4 => daemon,
        4 => approve,
        2 => time,
    ]
}

/// A conversation: approved, its first turn made and ended, and permits for further ones.
fn talk() -> impl Strategy<Value = Vec<Act>> {
    (any::<u8>(), 0u8..4, any::<bool>(), 0u8..3).prop_map(|(session, input, run, ends)| {
        vec![
            Act::Errand {
                session,
                wish: Wish {
                    cap: 4,
                    input: Some(input),
                    read_only: false,
                    window: None,
                    limit: None,
                },
                window: Some(TrustWindow::Once),
                any_input: false,
                run,
            },
            Act::Use(0),
            Act::End(0, ends),
            Act::Turn(0, (input + 1) % 4),
            Act::Use(0),
        ]
    })
}

/// A run that is approved with a number of calls, and ends before it begins.
fn unmade() -> impl Strategy<Value = Vec<Act>> {
    let limits = vec![Limit::One, Limit::Two];
    let limits = prop::sample::select(limits);
    (any::<u8>(), 2u8..4, 0u8..4, limits, 0u8..4).prop_map(|(session, cap, input, limit, ends)| {
        let errand = Act::Errand {
            session,
            wish: Wish {
                cap,
                input: Some(input),
                read_only: false,
                window: None,
                limit: Some(limit),
            },
            window: Some(TrustWindow::WEEK),
            any_input: false,
            run: true,
        };
        let day = i64::try_from(DAY).unwrap();
        let ends = match ends {
            0 => vec![Act::Withdraw(0, 0), Act::Withdraw(1, 0)],
            1 => vec![Act::Time(day), Act::Open(0), Act::Open(1), Act::Sweep],
            2 => vec![Act::Recode(0), Act::Recode(1)],
            _ => vec![Act::Rotate, Act::Recode(0), Act::Recode(1)],
        };
        [vec![errand], ends].concat()
    })
}

/// A history of at most `length` acts; both agents are there from the start.
pub(crate) fn history(length: usize) -> impl Strategy<Value = Vec<Act>> {
    let acts = prop_oneof![30 => act().prop_map(|act| vec![act]), 2 => talk(), 1 => unmade()];
    prop::collection::vec(acts, 1..length).prop_map(|acts| acts.into_iter().flatten().collect())
}
