//! What puppets say, made by hand.
//!
//! Must not know: when it is said.

use super::script::Step;
use plexus_ipc::{
    BUILD,
    frame::{MAX_FRAME, encode},
    message::{
        Answer, CageReport, Done, FromWorker, Health, PlanMade, Planned, Preview, Role, Verdict,
        WorkerError,
    },
    text::{Line, Output},
};
use plexus_protocol::{AuditId, Digest, Verb};
use plexus_sandbox::probe::{Check, CheckKind};
use serde_json::Value;

/// What is due at a step of a worker's start.
pub(super) fn introduction(step: Step, manifest: Digest) -> FromWorker {
    match step {
        Step::Hello => hello(BUILD, true),
        Step::Described => FromWorker::Described { manifest },
        Step::Opened => FromWorker::Opened {
            health: Health::Well,
        },
    }
}

/// `Hello` of a build, in a cage that is sound or has a hole.
pub(super) fn hello(build: &str, sound: bool) -> FromWorker {
    FromWorker::Hello {
        build: Line::new(build),
        cage: Box::new(cage(sound)),
    }
}

pub(super) fn done(id: u64, result: Result<Output, WorkerError>) -> FromWorker {
    let result = result.map(|output| Answer {
        output,
        summary: Line::new("done"),
        undo: None,
    });
    FromWorker::Done(Box::new(Done {
        id,
        result,
        touched: Vec::new(),
    }))
}

/// A frame in which an output closes what it is in: no [`Output`] can say so, a worker can.
pub(super) fn not_json(id: u64) -> Vec<u8> {
    let (clean, closing) = (br#"{"a":10}"#, br#"{"a":1}}"#);
    let mut frame = encode(&done(id, Ok(json(clean))), MAX_FRAME).unwrap_or_default();
    if let Some(at) = frame.windows(clean.len()).position(|part| part == clean) {
        frame[at..at + closing.len()].copy_from_slice(closing);
    }
    frame
}

/// An output that is the JSON in `bytes`.
pub(super) fn json(bytes: &[u8]) -> Output {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    Output::of(&value).unwrap_or_else(|_| unreachable!("a value is JSON"))
}

/// What only a worker of this role says about a call.
pub(super) fn only_of(role: Role, id: u64) -> FromWorker {
    match role {
        Role::Reader => FromWorker::Planned(Box::new(Planned {
            id,
            result: Ok(PlanMade {
                preview: Preview::new("a plan"),
                state_token: Digest::of(b"state"),
                touched: Vec::new(),
                rating: Verb::Write,
                summary: Line::new("planned"),
                warnings: Vec::new(),
            }),
        })),
        Role::Writer => FromWorker::Settled {
            id,
            verdict: Verdict::Happened,
        },
    }
}

fn cage(sound: bool) -> CageReport {
    let check = |kind, held| Check {
        name: "a check".to_owned(),
        kind,
        held,
        detail: String::new(),
    };
    CageReport {
        checks: vec![
            check(CheckKind::Attack, sound),
            check(CheckKind::Control, true),
        ],
    }
}

/// Largest output of the simulated source, in bytes: small, so that one beyond it costs little.
pub(super) const FRAME: usize = 512;

/// The tag in the intent of a settle.
pub(super) fn tag_of(audit: &AuditId) -> u64 {
    let last = audit.as_str().rsplit('-').next().unwrap_or_default();
    u64::from_str_radix(last, 16).unwrap_or(0)
}
