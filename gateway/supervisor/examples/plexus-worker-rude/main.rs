//! A worker without the harness, which breaks one rule: the one that its configuration names.

mod os;

use plexus_ipc::text::Output;
use plexus_ipc::{
    frame::{PREFIX, decode, encode},
    message::{CageReport, Done, FromWorker, Health, Planned, Start, ToWorker, WorkerError},
};
use plexus_protocol::Digest;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

const MANIFEST: &str = include_str!("../plexus-worker-tame/manifest.json");

fn main() {
    let mut stream = os::stream();
    let Some(ToWorker::Start(start)) = hear(&mut stream) else {
        return;
    };
    let rule = rule(&start);
    let rule = rule.as_str();
    let build = if rule == "build" {
        "0.0.0"
    } else {
        plexus_ipc::BUILD
    };
    if rule == "hello" {
        return;
    }
    if rule == "silence" {
        // Until the gateway has had enough.
        drop(hear(&mut stream));
        return;
    }
    let cage = Box::new(report(rule != "cage"));
    say(
        &mut stream,
        &FromWorker::Hello {
            build: build.into(),
            cage,
        },
    );
    let manifest = if rule == "manifest" {
        Digest([0; 32])
    } else {
        Digest::of(MANIFEST.as_bytes())
    };
    say(&mut stream, &FromWorker::Described { manifest });
    say(
        &mut stream,
        &FromWorker::Opened {
            health: Health::Well,
        },
    );
    while let Some(message) = hear(&mut stream) {
        match message {
            ToWorker::Read(call) if rule == "json" => say_half(&mut stream, call.id),
            ToWorker::Read(call) => say(&mut stream, &answer(rule, call.id)),
            ToWorker::Probe { nonce } | ToWorker::Check { nonce } if rule == "nonce" => {
                say(
                    &mut stream,
                    &FromWorker::Probed {
                        nonce: nonce + 1,
                        health: Health::Well,
                    },
                );
            }
            ToWorker::Probe { nonce } | ToWorker::Check { nonce } => {
                say(
                    &mut stream,
                    &FromWorker::Probed {
                        nonce,
                        health: Health::Well,
                    },
                );
            }
            // One that will not go.
            ToWorker::Stop if rule == "stay" => {}
            ToWorker::Stop => return,
            _ => {}
        }
    }
    // One that outlives the gateway if nobody ends it.
    if rule == "deaf" {
        loop {
            std::thread::park();
        }
    }
}

fn answer(rule: &str, id: u64) -> FromWorker {
    let done = |id, value: &Value| {
        let answer = json_answer(value);
        FromWorker::Done(Box::new(Done {
            id,
            result: Ok(answer),
            touched: Vec::new(),
        }))
    };
    match rule {
        "id" => done(id + 1_000, &json!(1)),
        "kind" => {
            let result = Err(WorkerError::internal("no plan was asked for"));
            FromWorker::Planned(Box::new(Planned { id, result }))
        }
        "size" => done(id, &json!("x".repeat(2 << 20))),
        _ => done(id, &json!("fine")),
    }
}

fn json_answer(output: &Value) -> plexus_ipc::message::Answer {
    plexus_ipc::message::Answer {
        output: Output::of(output).expect("a value is JSON"),
        summary: "answered".into(),
        undo: None,
    }
}

fn rule(start: &Start) -> String {
    let config: Value = serde_json::from_slice(&start.config).unwrap_or_default();
    config["rule"].as_str().unwrap_or_default().to_owned()
}

/// A report as the probe makes it; this worker has attacked nothing.
fn report(sound: bool) -> CageReport {
    let check = |name: &str, kind: &str| json!({"name": name, "kind": kind, "held": sound, "detail": "made up"});
    let checks =
        json!({"checks": [check("open the canary", "attack"), check("read /dev/null", "control")]});
    serde_json::from_value(checks).expect("a report")
}

fn say(stream: &mut UnixStream, message: &FromWorker) {
    write(stream, &framed(message));
}

fn framed(message: &FromWorker) -> Vec<u8> {
    encode(message, plexus_ipc::frame::MAX_FRAME).expect("a frame")
}

/// What is no JSON in place of the answer's output: no type of ours says that.
fn say_half(stream: &mut UnixStream, id: u64) {
    let mut frame = framed(&answer("", id));
    let (whole, half) = (b"\"fine\"", b"{\"a\": ");
    let at = frame.windows(whole.len()).position(|part| part == whole);
    let at = at.expect("the output is in the frame");
    frame[at..at + half.len()].copy_from_slice(half);
    write(stream, &frame);
}

fn write(stream: &mut UnixStream, frame: &[u8]) {
    if stream.write_all(frame).is_err() {
        std::process::exit(1);
    }
}

fn hear(stream: &mut UnixStream) -> Option<ToWorker> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).ok()?;
    let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut body).ok()?;
    decode(&body).ok()
}
