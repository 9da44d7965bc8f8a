//! What a run of Codex costs beside the same command bare, with a model that is a script; and what a large folder costs.
//!
//! Rounds are paired: ours and the bare one take turns, and the middle difference counts. The first word and the large
//! folder are measured with a program that stands in for Codex and says when it began and when it spoke.

use crate::figures::Figures;
use crate::life::middle;
use anyhow::{Context as _, Result, ensure};
use plexus_tests::coding_agents::{codex, codex_arguments};
use plexus_tests::{Agent, Folder, Gateway, Model, Step};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

/// Rounds of each pair.
const ROUNDS: usize = 9;
/// Runs at once.
const BESIDE: usize = 8;
/// Folders of the large folder, files of each, and bytes of each file: 10,000 files, 200 MB.
const FOLDERS: usize = 100;
const FILES: usize = 100;
const FILE: usize = 20_000;
/// What stands in for Codex. If it is told to, it edits 1,000 files.
const PROGRAM: &str = r#"#!/bin/bash
began=$EPOCHREALTIME
case "$*" in *edit*) for file in d?/*; do echo more >> "$file"; done;; esac
printf '{"type":"thread.started","thread_id":"00000000-0000-4000-8000-%012d"}\n' "$((${EPOCHREALTIME/./} % 1000000000000))"
printf '{"type":"item.completed","item":{"type":"agent_message","text":"%s %s"}}\n' "$began" "$EPOCHREALTIME"
sleep .2
printf '{"type":"turn.completed","usage":{}}\n'
"#;

/// All of it.
pub(crate) fn measure(into: &mut Figures) -> Result<()> {
    turns(into)?;
    large(into)
}

/// A gateway with one folder for coding agents.
struct Desk {
    gateway: Gateway,
    agent: Agent,
    model: Model,
}

impl Desk {
    fn open(folder: &Folder, binary: &Path) -> Self {
        let model = Model::start([]);
        let gateway = Gateway::start();
        let secrets = Folder::empty();
        secrets.write("key", "sk-bench\n");
        let secret = format!("key={}", secrets.path().join("key").display());
        let binary = format!("binary={}", binary.display());
        let server = format!("server={}", model.base());
        let path = folder.path().display().to_string();
        let words = ["sources", "add", "codex-folder", &path, "--id", "codex"];
        let set = ["--secret", &secret, "--set", &binary, "--set", &server];
        // The model of the bare command.
        let model_of = ["--set", "model=gpt-5.5"];
        gateway.must_cli([&words[..], &set, &model_of].concat());
        let agent = gateway.agent_with("bench", &["codex.changes.read"]);
        Self {
            gateway,
            agent,
            model,
        }
    }

    /// An approved run; the body to call with.
    fn approved(&self, prompt: &str) -> Value {
        let input = json!({"prompt": prompt});
        let item = self.agent.must_ask("codex.run", input.clone());
        self.gateway.owner().approve(&item, "once");
        input
    }

    /// From the call of an approved run to its answer, in ms.
    fn run(&self, input: &Value) -> Result<(f64, Value)> {
        let began = Instant::now();
        let done = self.agent.invoke("codex.run", input.clone()).expect_ok();
        let took = began.elapsed().as_secs_f64() * 1e3;
        ensure!(done["output"]["text"] != "", "{done}");
        Ok((took, done["output"].clone()))
    }
}

/// The same command without a gateway, in ms.
fn bare(model: &Model, folder: &Path, prompt: &str) -> Result<f64> {
    let home = Folder::empty();
    let mut command = Command::new(codex());
    command
        .args(["exec", "--json"])
        .arg("--dangerously-bypass-approvals-and-sandbox")
        .args(codex_arguments(model))
        .arg(prompt)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home.path())
        .env("CODEX_HOME", home.path())
        .env("STORY_API_KEY", "no-key")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().context("codex")?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    ensure!(status.success(), "codex ended with {status}");
    Ok(took)
}

fn turns(into: &mut Figures) -> Result<()> {
    let folder = Folder::empty();
    folder.write("a.txt", "one\n");
    let desk = Desk::open(&folder, &codex());
    for (name, beside) in [("alone", 1), ("beside", BESIDE)] {
        let (mut ours, mut theirs, mut more) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            desk.model.then(vec![Step::say("Done."); 2 * beside]);
            let at_once = |work: &(dyn Fn(usize) -> Result<f64> + Sync)| -> Result<f64> {
                std::thread::scope(|scope| {
                    let all: Vec<_> = (0..beside).map(|n| scope.spawn(move || work(n))).collect();
                    let times = all.into_iter().map(|one| match one.join() {
                        Ok(time) => time,
                        Err(_) => anyhow::bail!("a run panicked"),
                    });
                    Ok(middle(times.collect::<Result<_>>()?))
                })
            };
            let bare = at_once(&|_| bare(&desk.model, &folder.path(), "Work."))?;
            let inputs: Vec<_> = (0..beside)
                .map(|n| desk.approved(&format!("Work {n}.")))
                .collect();
            let run = at_once(&|n| Ok(desk.run(&inputs[n])?.0))?;
            // The first one starts the worker.
            if round > 0 {
                theirs.push(bare);
                ours.push(run);
                more.push(run - bare);
            }
        }
        into.set(&format!("agents/{name}/bare/ms"), middle(theirs));
        into.set(&format!("agents/{name}/run/ms"), middle(ours));
        into.set(&format!("agents/{name}/overhead/ms"), middle(more));
    }
    Ok(())
}

/// Since the beginning of the clock, in ms.
fn clock() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() * 1e3
}

/// When the program began and when it spoke, in ms of the clock.
fn spoken(text: &str) -> Result<(f64, f64)> {
    let mut times = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || anyhow::Ok(times.next().context("a time")?? * 1e3);
    Ok((next()?, next()?))
}

/// What `cp -r` takes for the same folder on the same disk, in ms. On ext4 that is up to ten seconds where many files were
/// removed within the last minutes: it looks for an inode that was not.
fn copied_bare(folder: &Path) -> Result<f64> {
    let to = Folder::empty();
    let began = Instant::now();
    let copy = to.path().join("copy");
    let done = Command::new("cp")
        .arg("-r")
        .args([folder, &copy])
        .status()?;
    ensure!(done.success(), "cp failed");
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn large(into: &mut Figures) -> Result<()> {
    let programs = Folder::empty();
    for name in ["agent", "agent-code-mode-host"] {
        programs.program(name, PROGRAM);
    }
    let folder = Folder::empty();
    let desk = Desk::open(&folder, &programs.path().join("agent"));
    let mut first = Vec::new();
    for _ in 0..=ROUNDS {
        let input = desk.approved("Speak.");
        let begun = desk
            .agent
            .invoke_body(json!({"id": "codex.run", "input": input, "async": true}));
        begun.expect_status(202);
        let run = begun.text_at("/run/runId");
        let (mut after, mut text) = (0, String::new());
        while text.is_empty() {
            let path = format!("/invoke/status?runId={run}&after={after}&wait=20");
            let status = desk.agent.client().get(&path).expect_ok();
            let heard = clock();
            after = status["progress"]["next"].as_u64().unwrap_or(after);
            let chunks = status["progress"]["chunks"].as_array();
            let texts = chunks
                .into_iter()
                .flatten()
                .filter_map(|chunk| chunk["text"].as_str());
            text = texts.collect();
            if !text.is_empty() {
                first.push(heard - spoken(&text)?.1);
            }
            ensure!(
                status["status"] == "running" || !text.is_empty(),
                "{status}"
            );
        }
        let path = format!("/invoke/status?runId={run}&wait=20");
        desk.agent.client().get(&path).expect_ok();
    }
    into.set("agents/first-word/ms", middle(first));

    for at in 0..FOLDERS {
        for file in 0..FILES {
            let line = format!("line {at} {file} of a file\n");
            let text = line.repeat(FILE / line.len() + 1);
            folder.write(&format!("d{at}/f{file}.txt"), &text[..FILE]);
        }
    }
    let (mut copies, mut whole, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(copied_bare(&folder.path())?);
        let input = desk.approved("Please edit.");
        let began = clock();
        let (took, output) = desk.run(&input)?;
        let text = output["text"].as_str().unwrap_or_default();
        copies.push(spoken(text)?.0 - began);
        whole.push(took);
        ensure!(
            output["changes"]["edited"] == 1_000,
            "{}",
            output["changes"]["edited"]
        );
        let began = Instant::now();
        let mut input = json!({"changes": output["changes"]["id"]});
        let mut files = 0;
        loop {
            let page = desk
                .agent
                .invoke("codex.changes.read", input.clone())
                .expect_ok();
            files += page["output"]["files"].as_array().map_or(0, Vec::len);
            match &page["output"]["next"]["after"] {
                Value::Null => break,
                after => input["after"] = after.clone(),
            }
        }
        shown.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(files == 1_000, "{files} files");
    }
    into.set("agents/copy/ms", middle(copies));
    into.set("agents/copy-bare/ms", middle(bare));
    into.set("agents/large-run/ms", middle(whole));
    into.set("agents/changes/ms", middle(shown));
    Ok(())
}
