//! Frames: what is written is read, what is not a frame is refused, and no bytes make a reader panic.

use plexus_ipc::frame::{
    FrameError, FrameReader, MAX_FRAME, PREFIX, decode, encode, length, writer,
};
use plexus_ipc::manifest::Limits;
use plexus_ipc::message::{
    Answer, Call, Chunk, Commit, Content, Done, EgressAccess, Failure, FromWorker, Health,
    OpenError, PlanMade, Planned, Preview, Probe, Progress, Role, Secret, Stamp, Start, ToWorker,
    Touched, Verdict, WorkerError,
};
use plexus_ipc::text::{Line, Output, Payload};
use plexus_protocol::{AuditId, Constraint, Digest, Effect, SourceId, Verb};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const AUDIT: &str = "evt_00000000-0000-8000-8000-000000000001";

/// The oracle: bytes are refused, or they are a message that is written the same way each time.
fn oracle<M: Serialize + DeserializeOwned>(body: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = decode::<M>(body) {
        let once = encode(&message, usize::MAX).unwrap();
        let again: M = decode(&once[PREFIX..]).unwrap();
        prop_assert_eq!(encode(&again, usize::MAX).unwrap(), once);
    }
    Ok(())
}

fn word() -> impl Strategy<Value = Line<64>> {
    "[a-z_]{1,12}".prop_map(Line::from)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn constraint() -> impl Strategy<Value = Option<Constraint>> {
    prop::option::of("[a-z/]{1,8}").prop_map(|prefix| {
        let prefix = prefix?;
        serde_json::from_value(json!({
            "pathPrefix": {"field": "path", "allow": [prefix]},
            "allow": {"field": "list", "values": [prefix, 1, -2.5, null, {"a": [true]}]},
        }))
        .unwrap()
    })
}

fn call() -> impl Strategy<Value = Call> {
    (
        any::<u64>(),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..2048),
        constraint(),
        any::<u64>(),
    )
        .prop_map(|(id, audit, input, constraint, deadline_ms)| Call {
            id,
            audit: audit.then(|| AuditId::parse(AUDIT).unwrap()),
            owner: false,
            capability: "vault.read".into(),
            input_digest: Digest::of(&input),
            input: input.into(),
            constraint,
            deadline_ms,
        })
}

fn content() -> impl Strategy<Value = Option<Content>> {
    prop::option::of(prop_oneof![
        Just(Content::Absent),
        digest().prop_map(Content::Is)
    ])
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![Just(Verb::Read), Just(Verb::Write), Just(Verb::Execute)]
}

fn start() -> Start {
    Start {
        uncaged: false,
        keeper: false,
        manifest: None,
        proof_only: false,
        source: SourceId::parse("vault").unwrap(),
        role: Role::Writer,
        launch: 7,
        config: Payload::from(br#"{"path":"/x"}"#.to_vec()),
        secrets: [("apiKey".to_owned(), Secret::new("hunter2".into()))]
            .into_iter()
            .collect(),
        limits: Limits {
            frame_bytes: 1,
            open_files: 64,
            file_bytes: 0,
            call_ms: 1,
            memory_mib: 1,
            maps_mib: 1,
        },
        scratch: None,
        egress: Some(EgressAccess {
            port: 7078,
            credential: Secret::new("hunter3".into()),
            authorities: String::new(),
            bearer: false,
        }),
        probe: Probe {
            canary: "/c".into(),
            state_dir: "/s".into(),
            tcp_port: 1,
            unix_socket: "/u".into(),
            parent_pid: 2,
            launcher_pid: 3,
        },
    }
}

fn to_worker() -> impl Strategy<Value = ToWorker> {
    let commit = (
        call(),
        prop::option::of(digest()),
        content(),
        verb(),
        any::<[u64; 2]>(),
    );
    prop_oneof![
        Just(()).prop_map(|()| ToWorker::Start(Box::new(start()))),
        call().prop_map(ToWorker::Read),
        call().prop_map(ToWorker::Plan),
        commit.prop_map(
            |(call, state_token, expect, permit_rating, [launch, sequence])| {
                ToWorker::Commit(Box::new(Commit {
                    call,
                    state_token,
                    expect,
                    conversation: state_token,
                    permit_rating,
                    durable: Stamp { launch, sequence },
                }))
            }
        ),
        any::<u64>().prop_map(|id| ToWorker::Settle {
            id,
            audit: AuditId::parse(AUDIT).unwrap()
        }),
        any::<u64>().prop_map(|id| ToWorker::Cancel { id }),
        any::<(u64, u32)>().prop_map(|(id, bytes)| ToWorker::Credit { id, bytes }),
        any::<u64>().prop_map(|nonce| ToWorker::Probe { nonce }),
        any::<u64>().prop_map(|nonce| ToWorker::Check { nonce }),
        Just(()).prop_map(|()| ToWorker::Stop),
    ]
}

fn touched() -> impl Strategy<Value = Vec<Touched>> {
    let one = (word(), ".{0,40}", verb(), prop::option::of(digest()))
        .prop_map(|(kind, id, access, digest)| Touched::of(&kind, id, access, digest));
    prop::collection::vec(one, 0..8)
}

fn failure() -> impl Strategy<Value = WorkerError> {
    let code = prop_oneof![
        word().prop_map(|reason| Failure::TransportError { reason }),
        word().prop_map(|reason| Failure::PreconditionChanged { reason }),
        word().prop_map(|field| Failure::ConstraintMiss { field }),
        verb().prop_map(|rating| Failure::RatingExceeded { rating }),
        Just(Failure::Internal),
        Just(Failure::Cancelled),
    ];
    (code, ".{0,80}", any::<bool>()).prop_map(|(code, message, more)| {
        let error = WorkerError::new(code, message).effect(Effect::Unknown);
        if more {
            error.detail(json!({"reason": "x", "n": [1, 2.5, null]}))
        } else {
            error
        }
    })
}

fn from_worker() -> impl Strategy<Value = FromWorker> {
    let answer = (
        prop::collection::vec(any::<u8>(), 0..4096),
        ".{0,80}",
        any::<bool>(),
    )
        .prop_map(|(output, summary, undo)| Answer {
            output: Output::of(&output).unwrap(),
            summary: summary.into(),
            undo: undo.then(|| "u1".into()),
        });
    let plan = (digest(), touched(), verb(), ".{0,400}", any::<bool>()).prop_map(
        |(state_token, touched, rating, text, diff)| {
            let preview = Preview::new(&text).fact("size", "12");
            PlanMade {
                preview: if diff { preview.diff(&text) } else { preview },
                state_token,
                touched,
                rating,
                summary: text.as_str().into(),
                warnings: vec![text.into()],
            }
        },
    );
    prop_oneof![
        digest().prop_map(|manifest| FromWorker::Described { manifest }),
        ".{0,80}".prop_map(|why| FromWorker::Opened {
            health: Health::Unavailable(why.into())
        }),
        ".{0,80}".prop_map(|why| FromWorker::OpenFailed(OpenError::config(why))),
        (
            any::<u64>(),
            prop_oneof![plan.prop_map(Ok), failure().prop_map(Err)]
        )
            .prop_map(|(id, result)| FromWorker::Planned(Box::new(Planned { id, result }))),
        (any::<u64>(), ".{0,80}").prop_map(|(id, text)| FromWorker::Progress(Progress {
            id,
            chunk: Chunk::Text(text.into())
        })),
        (
            any::<u64>(),
            prop_oneof![answer.prop_map(Ok), failure().prop_map(Err)],
            touched()
        )
            .prop_map(|(id, result, touched)| FromWorker::Done(Box::new(Done {
                id,
                result,
                touched
            }))),
        any::<u64>().prop_map(|id| FromWorker::Settled {
            id,
            verdict: Verdict::Happened
        }),
        any::<u64>().prop_map(|nonce| FromWorker::Probed {
            nonce,
            health: Health::Well
        }),
    ]
}

proptest! {
    #[test]
    fn what_a_worker_says_is_what_is_heard(message in from_worker()) {
        let frame = encode(&message, MAX_FRAME).unwrap();
        prop_assert_eq!(length(&frame, MAX_FRAME).unwrap(), Some(frame.len() - PREFIX));
        prop_assert_eq!(decode::<FromWorker>(&frame[PREFIX..]).unwrap(), message);
    }

    #[test]
    fn what_the_gateway_says_is_what_is_heard(message in to_worker()) {
        let frame = encode(&message, MAX_FRAME).unwrap();
        let heard: ToWorker = decode(&frame[PREFIX..]).unwrap();
        prop_assert_eq!(heard.name(), message.name());
        prop_assert_eq!(encode(&heard, MAX_FRAME).unwrap(), frame);
    }

    #[test]
    fn any_bytes_are_refused_or_round_trip(body in prop::collection::vec(any::<u8>(), 0..512)) {
        oracle::<FromWorker>(&body)?;
        oracle::<ToWorker>(&body)?;
    }

    #[test]
    fn a_damaged_message_is_refused_or_round_trips(
        message in from_worker(),
        to in to_worker(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        for (from_gateway, mut frame) in
            [(false, encode(&message, MAX_FRAME).unwrap()), (true, encode(&to, MAX_FRAME).unwrap())]
        {
            let at = PREFIX + at.index(frame.len() - PREFIX);
            if cut {
                frame.truncate(at);
                if from_gateway {
                    prop_assert!(decode::<ToWorker>(&frame[PREFIX..]).is_err());
                } else {
                    prop_assert!(decode::<FromWorker>(&frame[PREFIX..]).is_err());
                }
            } else {
                frame[at] = byte;
                if from_gateway {
                    oracle::<ToWorker>(&frame[PREFIX..])?;
                } else {
                    oracle::<FromWorker>(&frame[PREFIX..])?;
                }
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_into_pieces_yields_the_same_messages(
        messages in prop::collection::vec(from_worker(), 1..6),
        pieces in prop::collection::vec(1usize..300, 1..40),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|m| encode(m, MAX_FRAME).unwrap()).collect();
        runtime().block_on(async {
            let (mut far, near) = tokio::io::duplex(64);
            let sending = async {
                let (mut rest, mut sizes) = (bytes.as_slice(), pieces.iter().cycle());
                while !rest.is_empty() {
                    let size = (*sizes.next().unwrap()).min(rest.len());
                    far.write_all(&rest[..size]).await.unwrap();
                    rest = &rest[size..];
                }
                drop(far);
            };
            let hearing = async {
                let mut reader = FrameReader::<_, FromWorker>::new(near, MAX_FRAME);
                let mut heard = Vec::new();
                while let Some(message) = reader.next().await.unwrap() {
                    heard.push(message);
                }
                heard
            };
            let ((), heard) = tokio::join!(sending, hearing);
            assert_eq!(heard, messages);
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

async fn error_of(bytes: &[u8], bound: usize) -> FrameError {
    let mut reader = FrameReader::<_, FromWorker>::new(bytes, bound);
    loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended well"),
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn a_length_is_checked_before_anything_is_reserved() {
    let probe = FromWorker::Probed {
        nonce: 1,
        health: Health::Well,
    };
    let good = encode(&probe, MAX_FRAME).unwrap();
    let body = good.len() - PREFIX;
    let mut reader = FrameReader::<_, FromWorker>::new(good.as_slice(), body);
    let exactly = reader.next().await.unwrap();
    assert_eq!(exactly, Some(probe));
    assert!(reader.next().await.unwrap().is_none());
    for (bytes, bound) in [
        (good.clone(), body - 1),
        (u32::MAX.to_le_bytes().to_vec(), MAX_FRAME),
        (0u32.to_le_bytes().to_vec(), MAX_FRAME),
    ] {
        let error = error_of(&bytes, bound).await;
        assert!(matches!(error, FrameError::Length { .. }), "{error}");
    }
    for cut in [good.len() - 1, 2] {
        let error = error_of(&good[..cut], MAX_FRAME).await;
        assert!(matches!(error, FrameError::Truncated), "{error}");
    }
}

fn progress(line: &str) -> FromWorker {
    FromWorker::Progress(Progress {
        id: 1,
        chunk: Chunk::Text(line.into()),
    })
}

#[test]
fn what_is_too_long_to_say_is_not_said() {
    assert!(encode(&progress("short"), 100).is_ok());
    let long = encode(&progress(&"x".repeat(200)), 100);
    assert!(matches!(long, Err(FrameError::Length { bound: 100, .. })));
}

#[test]
fn a_frame_is_one_message_of_known_fields() {
    let frame = |value: serde_json::Value| rmp_serde::to_vec_named(&value).unwrap();
    let good = frame(json!({"Cancel": {"id": 1}}));
    assert!(decode::<ToWorker>(&good).is_ok());
    let trailing = [good.as_slice(), &[0xc0]].concat();
    let of_fields = "a field is missing, unknown, or out of bounds";
    for (bad, why) in [
        (trailing, "bytes after the message"),
        ([good.clone(), good].concat(), "bytes after the message"),
        (frame(json!({"Cancel": {"id": 1, "all": true}})), of_fields),
        (frame(json!({"Cancel": {}})), of_fields),
        (frame(json!({"Cancel": {"id": -1}})), of_fields),
        (
            frame(json!({"Cancel": {"id": 1}, "Stop": null})),
            "a value of another type",
        ),
        (frame(json!({"Abort": {"id": 1}})), of_fields),
        (Vec::new(), "it ends early"),
    ] {
        let refused = decode::<ToWorker>(&bad).map(drop);
        let is_meant = matches!(refused, Err(FrameError::Decode(said)) if said == why);
        assert!(is_meant, "{bad:02x?}: {refused:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| {
        let detail = (0..levels).fold(json!(1), |inner, _| json!([inner]));
        json!({"Done": {"id": 1, "result": {"Err": {
            "code": "internal", "message": "", "detail": detail, "effect": "none",
        }}}})
    };
    let decode = |value| decode::<FromWorker>(&rmp_serde::to_vec_named(&value).unwrap());
    assert!(decode(deep(64)).is_ok());
    let too_deep = |refused: Result<FromWorker, FrameError>| {
        let is_meant = matches!(refused, Err(FrameError::Decode("it is nested too deep")));
        assert!(is_meant, "{refused:?}");
    };
    too_deep(decode(deep(200)));
    // Far beyond any stack, were it followed: where a detail stands.
    let flat = rmp_serde::to_vec_named(&deep(0)).unwrap();
    let key = b"detail";
    let at = flat.windows(6).position(|part| part == key).unwrap() + key.len();
    assert_eq!(flat[at], 1, "the detail");
    let bomb = [&flat[..at], &vec![0x91; 1_000_000], &flat[at..]].concat();
    too_deep(plexus_ipc::frame::decode(&bomb));
}

#[test]
fn lists_and_texts_have_bounds_of_their_own() {
    let decode = |value| decode::<FromWorker>(&rmp_serde::to_vec_named(&value).unwrap());
    let done = |n: usize, id: &str, summary: &str| {
        let touched = vec![json!({"kind": "note", "id": id, "access": "read"}); n];
        json!({"Done": {"id": 1, "touched": touched, "result": {"Err": {
            "code": "internal", "message": summary, "effect": "none"}}}})
    };
    assert!(decode(done(4096, "a.md", "fine")).is_ok());
    for bad in [
        done(4097, "a.md", "fine"),
        done(1, &"x".repeat(1025), "fine"),
        done(1, "a\u{1b}[2Jb", "fine"),
        done(1, "a.md", "two\nlines"),
        done(1, "a.md", &"x".repeat(1025)),
    ] {
        let refused = decode(bad).map(drop);
        let said = "a field is missing, unknown, or out of bounds";
        let is_meant = matches!(refused, Err(FrameError::Decode(why)) if why == said);
        assert!(is_meant, "{refused:?}");
    }
}

#[test]
fn secrets_travel_and_are_not_printed() {
    let message = ToWorker::Start(Box::new(start()));
    assert!(!format!("{message:?}").contains("hunter2"));
    let frame = encode(&message, MAX_FRAME).unwrap();
    let ToWorker::Start(heard) = decode(&frame[PREFIX..]).unwrap() else {
        panic!("another message");
    };
    assert_eq!(heard.secrets.get("apiKey").unwrap().expose(), "hunter2");
    let egress = heard.egress.as_ref().unwrap();
    assert_eq!((egress.port, egress.credential.expose()), (7078, "hunter3"));
}

#[tokio::test]
async fn frames_that_queue_up_leave_in_order() {
    let (far, near) = tokio::io::duplex(256);
    let (sender, writing) = writer::<_, ToWorker>(far, MAX_FRAME);
    let writing = tokio::spawn(writing);
    let said = tokio::spawn(async move {
        for nonce in 0..500 {
            sender.send(&ToWorker::Probe { nonce }).await.unwrap();
        }
    });
    let mut reader = FrameReader::<_, ToWorker>::new(near, MAX_FRAME);
    for expected in 0..500 {
        let heard = reader.next().await.unwrap();
        let Some(ToWorker::Probe { nonce }) = heard else {
            panic!("{heard:?}")
        };
        assert_eq!(nonce, expected);
    }
    said.await.unwrap();
    writing.await.unwrap().unwrap();
    assert!(reader.next().await.unwrap().is_none());
}
