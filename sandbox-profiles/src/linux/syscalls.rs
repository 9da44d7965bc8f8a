//! seccomp: which system calls a worker has, and with which arguments.
//!
//! Several filters, because one filter has one answer for what it refuses. The kernel asks all of them and the
//! strictest answer holds:
//!
//! | filter | answers |
//! |---|---|
//! | absent | ENOSYS, as on an older kernel. `clone3`: its flags lie behind a pointer; the C library falls back to `clone`. Agent: `openat2`, whose mode lies there |
//! | pretended | leaf: `setsid`, `setpgid` succeed without effect, so that whatever descends stays in the group. Agent: the setting of a death signal and of owners does |
//! | unsupported | agent: extended attributes cannot be changed (EOPNOTSUPP), as on some disks; tools go on without |
//! | flavour | [`leaf`](super::leaf): EPERM for all but a list; [`agent`](super::agent): EPERM for a list |
//!
//! A call of another architecture (`int 0x80`) ends the process; the x32 numbers of x86_64 are refused.
//!
//! Invariants: no flavour lets a process change its death signal, dumpability or subreaper state, reach a
//! socket by an address that Landlock does not see, or change metadata by path; a process whose profile grants
//! no write has no call that changes anything.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::leaf::Signals;
use super::{agent, leaf};
use crate::profile::SystemCalls;
use crate::ruleset::{Extent, Host, Origin, PathGrant, PortGrant, Ruleset};

const EPERM: SeccompAction = SeccompAction::Errno(libc::EPERM as u32);
const ENOSYS: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u32);
const EOPNOTSUPP: SeccompAction = SeccompAction::Errno(libc::EOPNOTSUPP as u32);

/// All `CLONE_NEW*` that `clone` knows. (`CLONE_NEWTIME` shares a bit with the exit signal: only `clone3` and
/// `unshare` have it.)
pub(super) const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The bits of a socket's type that are not flags. From `linux/net.h`.
pub(super) const SOCKET_TYPE: u32 = 0xf;

/// The filters for `ruleset`, in the order in which they must be installed; `keeps` of a worker that has a keeper.
pub(super) fn filters(
    ruleset: &Ruleset,
    signals: Signals,
    keeps: bool,
) -> Result<Vec<BpfProgram>, BackendError> {
    let flavour = match ruleset.system_calls {
        SystemCalls::Leaf => {
            leaf::calls(ruleset, signals, keeps)?.compile(EPERM, SeccompAction::Allow)?
        }
        SystemCalls::Agent => agent::refused(ruleset)?.compile(SeccompAction::Allow, EPERM)?,
    };
    let absent = Calls::default().any(&[libc::SYS_clone3]);
    let (absent, pretended) = match ruleset.system_calls {
        SystemCalls::Leaf => (
            absent,
            Calls::default().any(&[libc::SYS_setsid, libc::SYS_setpgid]),
        ),
        SystemCalls::Agent => (absent.any(&[libc::SYS_openat2]), agent::pretended()?),
    };
    let absent = absent.compile(SeccompAction::Allow, ENOSYS)?;
    let pretended = pretended.compile(SeccompAction::Allow, SeccompAction::Errno(0))?;
    let mut filters = vec![absent, pretended, without_x32()];
    if ruleset.system_calls == SystemCalls::Agent {
        let unsupported = Calls::default().any(agent::UNSUPPORTED);
        filters.push(unsupported.compile(SeccompAction::Allow, EOPNOTSUPP)?);
    }
    filters.push(flavour);
    Ok(filters)
}

/// All that the filters of a flavour can come to, as the kernel reads them: of the narrowest ruleset and of the widest, on
/// each kernel, and what a worker gives up by itself. Made once for each flavour: every connector asks.
pub(super) fn at_most(flavour: SystemCalls) -> Result<Vec<u8>, BackendError> {
    static LEAF: OnceLock<Vec<u8>> = OnceLock::new();
    static AGENT: OnceLock<Vec<u8>> = OnceLock::new();
    let made = match flavour {
        SystemCalls::Leaf => &LEAF,
        SystemCalls::Agent => &AGENT,
    };
    if let Some(bytes) = made.get() {
        return Ok(bytes.clone());
    }
    let bytes = extremes(flavour)?;
    Ok(made.get_or_init(|| bytes).clone())
}

/// The filters of the narrowest ruleset of a flavour and of its widest.
fn extremes(flavour: SystemCalls) -> Result<Vec<u8>, BackendError> {
    let origin = || Origin {
        line: 0,
        rule: String::new(),
    };
    let narrowest = Ruleset {
        system_calls: flavour,
        ..Ruleset::default()
    };
    let widest = Ruleset {
        writes: vec![PathGrant {
            path: "/".into(),
            extent: Extent::Subtree,
            is_spelled_out: true,
            origin: origin(),
        }],
        creates_links: true,
        connects: vec![PortGrant {
            host: Host::Any,
            port: 1,
            origin: origin(),
        }],
        accepts: Some(PortGrant {
            host: Host::Localhost,
            port: 1,
            origin: origin(),
        }),
        forks: true,
        ..narrowest.clone()
    };
    let mut programs = Vec::new();
    let only = |leads| Signals::Only { process: 1, leads };
    for signals in [Signals::Scoped, only(false), only(true)] {
        programs.extend(filters(&narrowest, signals, false)?);
        programs.extend(filters(&widest, signals, false)?);
    }
    programs.push(without_exec_and_fork()?);
    let steps = programs.iter().flatten();
    Ok(steps
        .flat_map(|step| {
            let [code_0, code_1] = step.code.to_le_bytes();
            let [k_0, k_1, k_2, k_3] = step.k.to_le_bytes();
            [code_0, code_1, step.jt, step.jf, k_0, k_1, k_2, k_3]
        })
        .collect())
}

/// The filter of [`super::give_up_exec_and_fork`].
pub(super) fn without_exec_and_fork() -> Result<BpfProgram, BackendError> {
    let calls = Calls::default()
        .any(&[libc::SYS_execve, libc::SYS_execveat])
        .any(FORKS)
        .any(WATCHERS);
    calls
        .when(libc::SYS_clone, &[not_set(0, libc::CLONE_THREAD)])?
        .compile(SeccompAction::Allow, EPERM)
}

/// System calls that make one more set of watched descriptors. Watches are counted for the user over all processes, and
/// one who has many sets can take all that the gateway needs to accept a connection.
#[cfg(target_arch = "x86_64")]
const WATCHERS: &[c_long] = &[libc::SYS_epoll_create1, libc::SYS_epoll_create];
#[cfg(not(target_arch = "x86_64"))]
const WATCHERS: &[c_long] = &[libc::SYS_epoll_create1];

/// System calls that make a process and nothing else.
#[cfg(target_arch = "x86_64")]
pub(super) const FORKS: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const FORKS: &[c_long] = &[];

/// Refuses the x32 twins of the x86_64 calls, which a list of numbers would otherwise miss.
fn without_x32() -> BpfProgram {
    const NUMBER_OFFSET: u32 = 0;
    /// From `asm/unistd.h`.
    const X32_BIT: u32 = 0x4000_0000;
    let step = |code: u32, jt, jf, k| seccompiler::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    vec![
        step(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            0,
            0,
            NUMBER_OFFSET,
        ),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_BIT),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// A set of system calls, each always or under conditions on its arguments.
#[derive(Default)]
pub(super) struct Calls(BTreeMap<c_long, Vec<SeccompRule>>);

impl Calls {
    /// Adds calls whatever their arguments.
    pub(super) fn any(mut self, calls: &[c_long]) -> Self {
        self.0.extend(calls.iter().map(|call| (*call, Vec::new())));
        self
    }

    /// Adds one call where all of `tests` hold. Said twice of one call, either is enough.
    pub(super) fn when(mut self, call: c_long, tests: &[Test]) -> Result<Self, BackendError> {
        let conditions = tests.iter().map(Test::compile).collect::<Result<_, _>>()?;
        self.0
            .entry(call)
            .or_default()
            .push(SeccompRule::new(conditions)?);
        Ok(self)
    }

    /// Adds one call where the argument is one of `values`.
    pub(super) fn one_of(
        self,
        call: c_long,
        argument: u8,
        values: &[i64],
    ) -> Result<Self, BackendError> {
        values.iter().try_fold(self, |calls, value| {
            calls.when(
                call,
                &[Test::Int {
                    argument,
                    mask: !0,
                    value: *value as u32,
                }],
            )
        })
    }

    /// The filter that has these calls wait for a monitor and allows the rest. None where there are no calls.
    pub(super) fn notifying(self) -> Result<Option<BpfProgram>, BackendError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        // The library knows no notices: they stand where it would tell a tracer.
        let mut filter = self.compile(SeccompAction::Allow, SeccompAction::Trace(0))?;
        for step in &mut filter {
            let answers = u32::from(step.code) == libc::BPF_RET | libc::BPF_K;
            if answers && step.k == libc::SECCOMP_RET_TRACE {
                step.k = libc::SECCOMP_RET_USER_NOTIF;
            }
        }
        Ok(Some(filter))
    }

    fn compile(
        self,
        otherwise: SeccompAction,
        listed: SeccompAction,
    ) -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(
            self.0,
            otherwise,
            listed,
            TargetArch::try_from(std::env::consts::ARCH)?,
        )?
        .try_into()
    }
}

/// A test of one argument (counted from 0).
pub(super) enum Test {
    /// The low 32 bits, which are all the kernel reads of an `int`, under `mask`, equal `value`.
    Int { argument: u8, mask: u32, value: u32 },
    /// The low 32 bits are another number.
    NotInt { argument: u8, value: u32 },
    /// The whole register is 0: a null pointer.
    Null { argument: u8 },
    /// Any other pointer.
    NotNull { argument: u8 },
}

pub(super) fn is(argument: u8, value: i32) -> Test {
    Test::Int {
        argument,
        mask: !0,
        value: value as u32,
    }
}

pub(super) fn is_not(argument: u8, value: i32) -> Test {
    Test::NotInt {
        argument,
        value: value as u32,
    }
}

pub(super) fn set(argument: u8, bits: i32) -> Test {
    Test::Int {
        argument,
        mask: bits as u32,
        value: bits as u32,
    }
}

pub(super) fn not_set(argument: u8, bits: i32) -> Test {
    Test::Int {
        argument,
        mask: bits as u32,
        value: 0,
    }
}

impl Test {
    fn compile(&self) -> Result<SeccompCondition, BackendError> {
        match *self {
            Self::Int {
                argument,
                mask,
                value,
            } => SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(mask.into()),
                value.into(),
            ),
            Self::NotInt { argument, value } => SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Ne,
                value.into(),
            ),
            Self::NotNull { argument } => {
                SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
            }
            Self::Null { argument } => {
                SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
            }
        }
    }
}
