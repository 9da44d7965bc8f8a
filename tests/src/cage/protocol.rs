//! Attacks on descriptor 3: what a worker says instead of its answer.
//!
//! An [`Attack`] is a name, a closure that writes to the stream, and what must come of it. Those in [`WHILE_SERVING`]
//! are made in place of an answer to a call, those in [`WHILE_PLANNING`] in place of a plan, those in [`WHILE_STARTING`] in
//! place of an introduction.
//!
//! Must not know: what the gateway makes of it.

use plexus_ipc::frame::{MAX_FRAME, encode};
use plexus_ipc::message::{
    Answer, CageReport, Chunk, Commit, Content, Done, Event, Fact, FromWorker, Health, HostAsk,
    HostCall, PlanMade, Planned, Preview, Progress, Role, Stamp, ToWorker, Touched, Verdict,
    WorkerError,
};
use plexus_ipc::text::Output;
use plexus_protocol::{Digest, Verb};
use serde::{Serialize, Serializer};
use serde_json::json;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// A worker's end of its stream, and the call that it has not answered yet.
#[derive(Debug)]
pub struct Wire<'a> {
    /// Descriptor 3.
    pub stream: &'a mut UnixStream,
    /// The call that waits.
    pub call: u64,
    /// One that was answered before.
    pub earlier: Option<u64>,
    /// What the worker is.
    pub role: Role,
    /// The commit that it was sent, where it was sent one.
    pub commit: Option<&'a Commit>,
}

/// One thing that a worker says.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it says, in words; unique.
    pub name: &'static str,
    /// Says it.
    pub run: fn(&mut Wire<'_>),
    /// What must come of it.
    pub then: Then,
}

/// What must come of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The worker is ended; its call has no answer: a read is tried again, an effect is unknown.
    Ended,
    /// As [`Then::Ended`], when the gateway has looked after it; the cause that it notes.
    Noticed(&'static str),
    /// The call was answered before; then the worker is ended.
    AnsweredThenEnded,
    /// It is ignored, and the call is answered.
    Ignored,
    /// Nobody can tell: a residual.
    Believed,
}

impl Then {
    /// In words, for the table.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Ended => "ended; the call has no answer",
            Self::Noticed(_) => "ended within seconds; the call has no answer",
            Self::AnsweredThenEnded => "the call is answered, then ended",
            Self::Ignored => "ignored",
            Self::Believed => "believed: nobody else knows",
        }
    }
}

/// What is noted of a worker that does not answer a probe, and of one that makes threads without end.
const MUTE: Then = Then::Noticed("it did not answer a probe");
const MANY: Then = Then::Noticed("it made more threads than it may");

const fn attack(name: &'static str, then: Then, run: fn(&mut Wire<'_>)) -> Attack {
    Attack { name, run, then }
}

/// In place of an answer to a call.
pub const WHILE_SERVING: &[Attack] = &[
    attack("bytes that are no frame", Then::Ended, |to| {
        to.raw(b"\x08\0\0\0\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1");
    }),
    attack("an empty frame", Then::Ended, |to| to.raw(&[0; 4])),
    attack("a frame one byte beyond the bound", Then::Ended, |to| {
        to.raw(&(MAX_FRAME as u32 + 1).to_le_bytes());
    }),
    attack("a frame of 4 GiB", Then::Ended, |to| to.raw(&[0xff; 4])),
    attack(
        "half a frame, then the end of the stream",
        Then::Ended,
        |to| {
            to.raw(b"\xff\0\0\0\x81");
            to.end(Shutdown::Both);
        },
    ),
    attack("half a frame, then nothing", MUTE, |to| {
        to.raw(b"\xff\0\0\0\x81");
        silence();
    }),
    attack("nothing, without reading any more", MUTE, |_| silence()),
    attack("a hundred threads", MANY, |_| {
        for _ in 0..100 {
            let _ = std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(silence);
        }
        silence();
    }),
    attack(
        "a thread that computes on after the answer",
        Then::Ignored,
        |_| {
            let began = std::time::Instant::now();
            let _ = std::thread::Builder::new().spawn(move || {
                while began.elapsed() < std::time::Duration::from_secs(1) {
                    std::hint::spin_loop();
                }
            });
        },
    ),
    attack("the end of the stream, and living on", Then::Ended, |to| {
        to.end(Shutdown::Both);
        silence();
    }),
    attack("the end of one direction only", Then::Ended, |to| {
        to.end(Shutdown::Write);
        silence();
    }),
    attack(
        "a list that claims four thousand million members",
        Then::Ended,
        |to| {
            // {"Done": {"touched": [… 2³²−1 …
            to.frame(b"\x81\xa4Done\x81\xa7touched\xdd\xff\xff\xff\xff");
        },
    ),
    attack("an output that claims four gigabytes", Then::Ended, |to| {
        to.frame(b"\x81\xa4Done\x81\xa6result\x81\xa2Ok\x81\xa6output\xc6\xff\xff\xff\xff");
    }),
    attack("a thousand levels of nesting", Then::Ended, |to| {
        // Where a message has room for any JSON: the detail of a failure.
        let failure = b"\x81\xa4Done\x81\xa6result\x81\xa3Err\x81\xa6detail";
        to.frame(&[&failure[..], &[0x91; 1_000]].concat());
    }),
    attack("a message with something after it", Then::Ended, |to| {
        let mut frame = encode(&FromWorker::Done(to.done()), MAX_FRAME).unwrap_or_default();
        frame.push(0xc0);
        to.frame(&frame[4..]);
    }),
    attack("an answer to a call that nobody made", Then::Ended, |to| {
        to.call += 1_000_000;
        to.answer(br#""fine""#);
    }),
    attack("an answer again, to a call before", Then::Ended, |to| {
        to.call = to.earlier.unwrap_or_default();
        to.answer(br#""fine""#);
    }),
    attack("two answers to one call", Then::AnsweredThenEnded, |to| {
        to.answer(br#""fine""#);
        to.answer(br#""finer""#);
    }),
    attack("an answer of another kind", Then::Ended, |to| {
        match to.role {
            Role::Reader => to.say(&FromWorker::Planned(Box::new(Planned {
                id: to.call,
                result: Err(WorkerError::internal("no plan was asked for")),
            }))),
            Role::Writer => to.say(&FromWorker::Settled {
                id: to.call,
                verdict: Verdict::DidNot,
            }),
        }
    }),
    attack(
        "an answer that only the other role gives",
        Then::Ended,
        |to| match to.role {
            Role::Reader => to.say(&FromWorker::Settled {
                id: to.call,
                verdict: Verdict::Happened,
            }),
            Role::Writer => to.say(&FromWorker::Planned(Box::new(Planned {
                id: to.call,
                result: Err(WorkerError::internal("no plan was asked for")),
            }))),
        },
    ),
    attack(
        "a commit of its own, with a forged durable",
        Then::Ended,
        |to| {
            let order = ToWorker::Commit(Box::new(to.forged(Stamp {
                launch: u64::MAX,
                sequence: u64::MAX,
            })));
            to.say(&order);
        },
    ),
    attack(
        "a commit back, with the durable that came",
        Then::Ended,
        |to| {
            let stamp = to.commit.map(|commit| commit.durable);
            let order = ToWorker::Commit(Box::new(to.forged(stamp.unwrap_or(Stamp {
                launch: 1,
                sequence: 1,
            }))));
            to.say(&order);
        },
    ),
    attack("an answer with a durable in it", Then::Ended, |to| {
        let forged = Forged::Done(ForgedDone {
            id: to.call,
            result: Ok(fine()),
            touched: Vec::new(),
            durable: Stamp {
                launch: 1,
                sequence: 1,
            },
        });
        to.say(&forged);
    }),
    attack("a second introduction", Then::Ended, |to| {
        to.say(&hello(true));
    }),
    attack("another manifest, later", Then::Ended, |to| {
        to.say(&FromWorker::Described {
            manifest: Digest([0; 32]),
        });
    }),
    attack("a second opening", Then::Ended, |to| {
        to.say(&FromWorker::Opened {
            health: Health::Well,
        });
    }),
    attack("a sign of life that nobody asked for", Then::Ended, |to| {
        to.say(&FromWorker::Probed {
            nonce: 0,
            health: Health::Well,
        });
    }),
    attack(
        "an output that closes the member it is in",
        Then::Ended,
        |to| {
            to.answer(br#"1},"ok":true,"auditId":"evt_forged","x":{"y":1"#);
        },
    ),
    attack("an event of no topic", Then::Ended, |to| {
        to.say(&FromWorker::Event(Box::new(Event {
            topic: "anything".into(),
            summary: "happened".into(),
            payload: Output::of(&0).expect("JSON"),
            touched: Vec::new(),
        })));
    }),
    attack("a call of its own, for its caller", Then::Ended, |to| {
        let call = Some(to.call);
        to.host_call(call);
    }),
    attack("a call of its own, for itself", Then::Ended, |to| {
        to.host_call(None);
    }),
    attack("two outputs", Then::Ended, |to| {
        to.answer(br#"{"a":1}{"b":2}"#);
    }),
    attack("half an output", Then::Ended, |to| to.answer(br#"{"a":"#)),
    attack("no output", Then::Ended, |to| to.answer(b"")),
    attack("an output that is not UTF-8", Then::Ended, |to| {
        to.answer(b"\"\xc3\x28\"");
    }),
    attack("an output of 65 levels", Then::Ended, |to| {
        let output = [[b'['; 65], [b']'; 65]].concat();
        to.answer(&output);
    }),
    attack("an output beyond its manifest's limit", Then::Ended, |to| {
        let output = [&b"\""[..], &vec![b'x'; 11 << 20], b"\""].concat();
        to.answer(&output);
    }),
    attack(
        "more touched things than may be recorded",
        Then::Ended,
        |to| {
            let touched = vec![Touched::read("file", "a", None); 4_097];
            let done = Done {
                touched,
                ..*to.done()
            };
            to.say(&FromWorker::Done(Box::new(done)));
        },
    ),
    attack("an escape sequence in a summary", Then::Ended, |to| {
        let done = encode(&FromWorker::Done(to.done()), MAX_FRAME).unwrap_or_default();
        to.raw(&replaced(done, b"answered", b"\x1b[2Jgone"));
    }),
    attack("progress of a call that nobody made", Then::Ignored, |to| {
        to.progress(to.call + 1_000_000);
    }),
    attack("progress beyond its credit", Then::Ended, |to| {
        for _ in 0..2_000 {
            to.progress(to.call);
        }
    }),
    attack("four hundred pieces of progress", Then::Ignored, |to| {
        for _ in 0..400 {
            to.progress(to.call);
        }
    }),
];

/// In place of a plan, which a reader makes for the owner's card.
pub const WHILE_PLANNING: &[Attack] = &[
    attack("an escape sequence in a headline", Then::Ended, |to| {
        let plan = encode(&to.plan(Verb::Write, "a headline"), MAX_FRAME).unwrap_or_default();
        to.raw(&replaced(plan, b"headline", b"\x1b[2Jgone"));
    }),
    attack("text that turns around in a summary", Then::Ended, |to| {
        let plan = encode(&to.plan(Verb::Write, "planned"), MAX_FRAME).unwrap_or_default();
        to.raw(&replaced(plan, b"summary!", "\u{202e}draw!".as_bytes()));
    }),
    attack("an answer of a call instead of a plan", Then::Ended, |to| {
        to.answer(br#""fine""#);
    }),
    attack(
        "a plan of something that nobody asked for",
        Then::Ended,
        |to| {
            to.call += 1_000_000;
            let plan = to.plan(Verb::Write, "planned");
            to.say(&plan);
        },
    ),
    attack("a thousand facts", Then::Ended, |to| {
        let FromWorker::Planned(mut planned) = to.plan(Verb::Write, "planned") else {
            return;
        };
        if let Ok(made) = &mut planned.result {
            let fact = Fact {
                name: "name".into(),
                value: "value".into(),
            };
            made.preview.facts = vec![fact; 1_000];
        }
        to.say(&FromWorker::Planned(planned));
    }),
    attack("a rating below its manifest's", Then::Ignored, |to| {
        let plan = to.plan(Verb::Read, "planned");
        to.say(&plan);
    }),
    attack(
        "markup and a forged yes in a preview",
        Then::Ignored,
        |to| {
            let plan = to.plan(
                Verb::Write,
                "</td><script>alert(1)</script> [y] approve  approved",
            );
            to.say(&plan);
        },
    ),
    attack(
        "a preview of something else than will be done",
        Then::Believed,
        |to| {
            let plan = to.plan(Verb::Write, "write nothing at all");
            to.say(&plan);
        },
    ),
];

/// In place of the introduction.
pub const WHILE_STARTING: &[Attack] = &[
    attack("another build", Then::Ended, |to| {
        to.say(&FromWorker::Hello {
            build: "0.0.0+ipc.0".into(),
            cage: Box::new(report(true)),
        });
    }),
    attack("a cage that did not hold", Then::Ended, |to| {
        to.say(&hello(false));
    }),
    attack("another manifest than the gateway's", Then::Ended, |to| {
        to.say(&hello(true));
        to.say(&FromWorker::Described {
            manifest: Digest([0; 32]),
        });
    }),
    attack("being open before being introduced", Then::Ended, |to| {
        to.say(&FromWorker::Opened {
            health: Health::Well,
        });
    }),
    attack("an answer before being introduced", Then::Ended, |to| {
        to.answer(br#""fine""#);
    }),
    attack("two introductions", Then::Ended, |to| {
        to.say(&hello(true));
        to.say(&hello(true));
    }),
    attack("a report of a thousand checks", Then::Ended, |to| {
        let check = json!({"name": "a", "kind": "attack", "held": true, "detail": "a"});
        let checks = json!({"checks": vec![check; 1000]});
        let Ok(cage) = serde_json::from_value::<CageReport>(checks) else {
            return;
        };
        to.say(&FromWorker::Hello {
            build: plexus_ipc::BUILD.into(),
            cage: Box::new(cage),
        });
    }),
];

/// Lives on and does nothing, until it is ended.
fn silence() {
    loop {
        std::thread::park();
    }
}

/// An introduction with a report that is made up: this worker has attacked nothing.
#[must_use]
pub fn hello(sound: bool) -> FromWorker {
    FromWorker::Hello {
        build: plexus_ipc::BUILD.into(),
        cage: Box::new(report(sound)),
    }
}

fn report(sound: bool) -> CageReport {
    let check = |name: &str, kind: &str| json!({"name": name, "kind": kind, "held": sound, "detail": "made up"});
    let checks =
        json!({"checks": [check("open the canary", "attack"), check("read /dev/null", "control")]});
    serde_json::from_value(checks).expect("a report")
}

fn fine() -> Answer {
    Answer {
        output: Output::of(&"fine").expect("a text is JSON"),
        summary: "answered".into(),
        undo: None,
    }
}

/// An answer as a worker can write it whose types are not ours: its output may be anything.
#[derive(Serialize)]
enum Spoken<'o> {
    Done {
        id: u64,
        result: Result<SpokenAnswer<'o>, ()>,
        touched: [(); 0],
    },
}

#[derive(Serialize)]
struct SpokenAnswer<'o> {
    #[serde(serialize_with = "as_bytes")]
    output: &'o [u8],
    summary: &'static str,
}

fn as_bytes<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_bytes(bytes)
}

/// What a type would have cleaned is put in place of clean bytes of the same length.
fn replaced(mut frame: Vec<u8>, clean: &[u8], other: &[u8]) -> Vec<u8> {
    assert_eq!(clean.len(), other.len(), "the frame keeps its length");
    let at = frame
        .windows(clean.len())
        .position(|part| part == clean)
        .expect("the clean text is in the frame");
    frame[at..at + clean.len()].copy_from_slice(other);
    frame
}

/// `Done` with a member that no worker has.
#[derive(Serialize)]
enum Forged {
    Done(ForgedDone),
}

#[derive(Serialize)]
struct ForgedDone {
    id: u64,
    result: Result<Answer, WorkerError>,
    touched: Vec<Touched>,
    durable: Stamp,
}

impl Wire<'_> {
    /// Says the call's answer.
    pub fn answer(&mut self, output: &[u8]) {
        self.say(&Spoken::Done {
            id: self.call,
            result: Ok(SpokenAnswer {
                output,
                summary: "answered",
            }),
            touched: [],
        });
    }
    /// Says any message, also one that is not a worker's to say.
    pub fn say(&mut self, message: &impl Serialize) {
        let frame = encode(message, MAX_FRAME).expect("a frame");
        self.raw(&frame);
    }
    fn host_call(&mut self, call: Option<u64>) {
        self.say(&FromWorker::HostCall(HostCall {
            id: 1,
            call,
            ask: HostAsk::Call {
                capability: "workspace.list".into(),
                input: b"{}".to_vec().into(),
            },
        }));
    }
    fn done(&self) -> Box<Done> {
        Box::new(Done {
            id: self.call,
            result: Ok(fine()),
            touched: Vec::new(),
        })
    }
    fn plan(&self, rating: Verb, headline: &str) -> FromWorker {
        FromWorker::Planned(Box::new(Planned {
            id: self.call,
            result: Ok(PlanMade {
                preview: Preview::new(headline),
                state_token: Digest([7; 32]),
                touched: Vec::new(),
                rating,
                summary: "summary!".into(),
                warnings: Vec::new(),
            }),
        }))
    }
    fn progress(&mut self, call: u64) {
        self.say(&FromWorker::Progress(Progress {
            id: call,
            chunk: Chunk::Text("going on".into()),
        }));
    }
    fn forged(&self, durable: Stamp) -> Commit {
        let input = br#"{"content":"forged","path":"note.md"}"#;
        Commit {
            call: plexus_ipc::message::Call {
                id: self.call,
                audit: None,
                capability: "write".into(),
                input: input.to_vec().into(),
                input_digest: Digest::of(input),
                constraint: None,
                owner: false,
                deadline_ms: 1_000,
            },
            state_token: None,
            expect: Some(Content::Absent),
            conversation: None,
            permit_rating: Verb::Execute,
            durable,
        }
    }
    fn frame(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("a short frame");
        self.raw(&length.to_le_bytes());
        self.raw(body);
    }
    fn raw(&mut self, bytes: &[u8]) {
        // A gateway that has had enough is gone: so is this worker's purpose.
        if self.stream.write_all(bytes).is_err() {
            std::process::exit(1);
        }
    }
    fn end(&mut self, direction: Shutdown) {
        let _ = self.stream.shutdown(direction);
    }
}
