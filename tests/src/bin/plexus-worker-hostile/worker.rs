//! Serving, without the harness.

use plexus_hostile::inherited;
use plexus_ipc::{
    frame::{PREFIX, decode},
    message::{Commit, FromWorker, Health, Role, Start, ToWorker, Verdict},
    stream::WORKER_FD,
};
use plexus_protocol::Digest;
use plexus_tests::cage::{
    self, Orders, Outcome,
    protocol::{Attack, WHILE_PLANNING, WHILE_SERVING, WHILE_STARTING, Wire, hello},
};
use serde_json::{Value, json};
use std::{io::Read, os::unix::net::UnixStream, path::PathBuf, process::ExitCode};

/// What the connectors' names are, and their manifests.
#[rustfmt::skip]
const MANIFESTS: [(&str, &str); 3] = [
    ("plexus-worker-obsidian", include_str!("../../../../workers/obsidian/manifest.json")),
    ("plexus-worker-workspace", include_str!("../../../../workers/workspace/manifest.json")),
    ("plexus-worker-git", include_str!("../../../../workers/git/manifest.json")),
];

pub(crate) fn main() -> ExitCode {
    // A second owner of the stream is of no harm here: what it leaves open ends with this process.
    let Ok(stream) = inherited(WORKER_FD) else {
        return ExitCode::FAILURE;
    };
    let mut stream = UnixStream::from(stream);
    let Some(ToWorker::Start(start)) = hear(&mut stream) else {
        return ExitCode::FAILURE;
    };
    let Some(orders) = orders(&start) else {
        return ExitCode::FAILURE;
    };
    if !orders.born_hostile && plexus_sandbox::give_up_exec_and_fork().is_err() {
        return ExitCode::FAILURE;
    }
    let mut worker = Worker {
        stream,
        role: start.role,
        orders,
        earlier: None,
    };
    if !worker.introduce() {
        return ExitCode::FAILURE;
    }
    worker.serve()
}

/// The folder is the only member of the source's configuration.
fn orders(start: &Start) -> Option<Orders> {
    let config: Value = serde_json::from_slice(&start.config).ok()?;
    let root = config.as_object()?.values().find_map(Value::as_str)?;
    let text = std::fs::read_to_string(PathBuf::from(root).join(cage::ORDERS)).ok()?;
    serde_json::from_str(&text).ok()
}

fn manifest() -> Option<&'static str> {
    let program = PathBuf::from(std::env::args_os().next()?);
    let name = program.file_name()?.to_str()?;
    MANIFESTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, manifest)| *manifest)
}

fn attack(list: &'static [Attack], name: &str) -> Option<&'static Attack> {
    list.iter().find(|attack| attack.name == name)
}

struct Worker {
    stream: UnixStream,
    role: Role,
    orders: Orders,
    /// A call that was answered.
    earlier: Option<u64>,
}

impl Worker {
    fn introduce(&mut self) -> bool {
        let name = self.orders.start.clone();
        if let Some(attack) = name
            .as_deref()
            .and_then(|name| attack(WHILE_STARTING, name))
        {
            let mut wire = self.wire(0, None);
            (attack.run)(&mut wire);
            // Until the gateway has had enough.
            while hear(&mut self.stream).is_some() {}
            return false;
        }
        let Some(manifest) = manifest() else {
            return false;
        };
        let mut wire = self.wire(0, None);
        wire.say(&hello(true));
        wire.say(&FromWorker::Described {
            manifest: Digest::of(manifest.as_bytes()),
        });
        wire.say(&FromWorker::Opened {
            health: Health::Well,
        });
        true
    }

    fn serve(&mut self) -> ExitCode {
        while let Some(message) = hear(&mut self.stream) {
            match message {
                ToWorker::Read(call) => self.call(call.id, &call.input, None),
                ToWorker::Commit(commit) => {
                    self.call(commit.call.id, &commit.call.input, Some(&commit));
                }
                ToWorker::Settle { id, .. } => self.wire(id, None).say(&FromWorker::Settled {
                    id,
                    verdict: Verdict::CannotTell,
                }),
                ToWorker::Probe { nonce } | ToWorker::Check { nonce } => {
                    self.wire(0, None).say(&FromWorker::Probed {
                        nonce,
                        health: Health::Well,
                    });
                }
                // It will not go.
                ToWorker::Stop if self.orders.stays => {}
                ToWorker::Stop => return ExitCode::SUCCESS,
                ToWorker::Plan(call) => self.plan(call.id, &call.input),
                ToWorker::Start(_)
                | ToWorker::Cancel { .. }
                | ToWorker::Credit { .. }
                | ToWorker::HostAnswer { .. } => {}
            }
        }
        if self.orders.stays {
            loop {
                std::thread::park();
            }
        }
        ExitCode::FAILURE
    }

    fn wire<'a>(&'a mut self, call: u64, commit: Option<&'a Commit>) -> Wire<'a> {
        Wire {
            stream: &mut self.stream,
            call,
            earlier: self.earlier,
            role: self.role,
            commit,
        }
    }

    fn plan(&mut self, id: u64, input: &[u8]) {
        let name = asked(input).unwrap_or_default();
        if let Some(attack) = attack(WHILE_PLANNING, &name) {
            (attack.run)(&mut self.wire(id, None));
        }
    }

    /// Does what the input names, and answers with what came of it.
    fn call(&mut self, id: u64, input: &[u8], commit: Option<&Commit>) {
        let name = asked(input).unwrap_or_default();
        let outcome = if let Some(attack) = attack(WHILE_SERVING, &name) {
            let mut wire = self.wire(id, commit);
            (attack.run)(&mut wire);
            // If it was not ended for that, it is as it was.
            Outcome::Through(String::new())
        } else if name == cage::BE_STUBBORN {
            self.orders.stays = true;
            cage::be_stubborn()
        } else {
            match cage::probe(&name) {
                Some(probe) => probe.attempt(&self.orders.targets),
                None => Outcome::Failed(format!("no such probe: {name}")),
            }
        };
        let answer = json!({"pid": std::process::id(), "outcome": outcome});
        self.wire(id, None).answer(answer.to_string().as_bytes());
        self.earlier = Some(id);
    }
}

/// The name of what an input asks for.
fn asked(input: &[u8]) -> Option<String> {
    let input: Value = serde_json::from_slice(input).ok()?;
    let mut texts = input.as_object()?.values().filter_map(Value::as_str);
    texts
        .find_map(|text| text.strip_prefix(cage::ASKED))
        .map(str::to_owned)
}

fn hear(stream: &mut UnixStream) -> Option<ToWorker> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).ok()?;
    let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut body).ok()?;
    decode(&body).ok()
}
