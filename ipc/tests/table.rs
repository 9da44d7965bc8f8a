//! The table of who may say what when, written out a second time by hand.

use plexus_ipc::message::Phase::{self, Greeted, Opening, Ready, Starting, Stopping};
use plexus_ipc::message::Role::{self, Reader, Writer};
use plexus_ipc::message::{Call, Commit, FromWorker, Stamp, ToWorker};
use plexus_ipc::text::Payload;
use plexus_protocol::{AuditId, Digest, Verb};
use serde_json::{Value, json};

const PHASES: [Phase; 5] = [Starting, Greeted, Opening, Ready, Stopping];
const BOTH: [Role; 2] = [Reader, Writer];

fn heard(value: &Value) -> FromWorker {
    plexus_ipc::frame::decode(&rmp_serde::to_vec_named(value).unwrap()).unwrap()
}

fn call() -> Call {
    Call {
        id: 1,
        audit: None,
        owner: false,
        capability: "a".into(),
        input: Payload::default(),
        input_digest: Digest::of(b""),
        constraint: None,
        deadline_ms: 1,
    }
}

fn commit() -> Commit {
    Commit {
        call: call(),
        state_token: None,
        expect: None,
        conversation: None,
        permit_rating: Verb::Write,
        durable: Stamp {
            launch: 1,
            sequence: 1,
        },
    }
}

#[test]
fn to_the_worker() {
    let audit = AuditId::parse("evt_00000000-0000-8000-8000-000000000001").unwrap();
    let table: [(ToWorker, &[Phase], &[Role]); 9] = [
        (ToWorker::Read(call()), &[Ready], &[Reader]),
        (ToWorker::Plan(call()), &[Ready], &[Reader]),
        (ToWorker::Cancel { id: 1 }, &[Ready], &BOTH),
        (ToWorker::Credit { id: 1, bytes: 1 }, &[Ready], &BOTH),
        (ToWorker::Commit(Box::new(commit())), &[Ready], &[Writer]),
        (ToWorker::Settle { id: 1, audit }, &[Ready], &[Writer]),
        (ToWorker::Probe { nonce: 1 }, &[Opening, Ready], &BOTH),
        (ToWorker::Check { nonce: 1 }, &[Opening, Ready], &BOTH),
        (ToWorker::Stop, &[Starting, Greeted, Opening, Ready], &BOTH),
    ];
    for (message, phases, roles) in &table {
        for phase in PHASES {
            for role in BOTH {
                assert_eq!(
                    message.permitted(phase, role),
                    phases.contains(&phase) && roles.contains(&role),
                    "{} to a {role} while {phase:?}",
                    message.name()
                );
            }
        }
    }
}

/// A message, when it is allowed, from whom, and the phase after it where that is another.
type Row = (FromWorker, &'static [Phase], &'static [Role], Option<Phase>);

#[test]
fn from_the_worker() {
    let hello = heard(&json!({"Hello": {"build": "1", "cage": {"checks": []}}}));
    let manifest = Digest::of(b"");
    let described = FromWorker::Described { manifest };
    let health = json!("well");
    let opened = heard(&json!({"Opened": {"health": health}}));
    let failed = heard(&json!({"OpenFailed": {"reason": "config", "message": ""}}));
    let error = json!({"Err": {"code": "internal", "message": "", "effect": "none"}});
    let planned = heard(&json!({"Planned": {"id": 1, "result": error}}));
    let done = heard(&json!({"Done": {"id": 1, "result": error}}));
    let progress = heard(&json!({"Progress": {"id": 1, "chunk": {"text": ""}}}));
    let settled = heard(&json!({"Settled": {"id": 1, "verdict": "happened"}}));
    let probed = heard(&json!({"Probed": {"nonce": 1, "health": health}}));
    let table: [Row; 9] = [
        (hello, &[Starting, Stopping], &BOTH, Some(Greeted)),
        (described, &[Greeted, Stopping], &BOTH, Some(Opening)),
        (opened, &[Opening, Stopping], &BOTH, Some(Ready)),
        (failed, &[Opening, Stopping], &BOTH, Some(Stopping)),
        (planned, &[Ready, Stopping], &[Reader], None),
        (done, &[Ready, Stopping], &BOTH, None),
        (progress, &[Ready, Stopping], &BOTH, None),
        (settled, &[Ready, Stopping], &[Writer], None),
        (probed, &[Opening, Ready, Stopping], &BOTH, None),
    ];
    for (message, phases, roles, then) in &table {
        for phase in PHASES {
            for role in BOTH {
                let permitted = message.permitted(phase, role);
                assert_eq!(
                    permitted,
                    phases.contains(&phase) && roles.contains(&role),
                    "{} from a {role} while {phase:?}",
                    message.name()
                );
                if permitted {
                    let next = if phase == Stopping {
                        Stopping
                    } else {
                        then.unwrap_or(phase)
                    };
                    assert_eq!(message.then(phase), next, "{}", message.name());
                }
            }
        }
    }
}
