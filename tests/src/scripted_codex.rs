//! A source of coding agents whose program is a script that stands in for Codex: it costs no model and no second.

use crate::folders::Folder;
use crate::gateway::Gateway;
use crate::{Agent, Model};
use serde_json::{Value, json};

/// Asked to edit, it puts the file `more` at the end of each file of `parts`. Asked to talk, it says what the file `said` has, and
/// goes on until it is stopped.
const PROGRAM: &str = r#"#!/bin/bash
printf '{"type":"thread.started","thread_id":"00000000-0000-4000-8000-%012d"}\n' $$
case "$*" in
*edit*) for file in parts/*; do cat more >> "$file"; done;;
*talk*) cat said; sleep 600;;
esac
printf '{"type":"item.completed","item":{"type":"agent_message","text":"Done."}}\n'
printf '{"type":"turn.completed","usage":{}}\n'
"#;

/// The source `codex`, its folder, and an agent that may ask it.
pub struct ScriptedCodex {
    /// What its runs work on copies of.
    pub folder: Folder,
    /// Who asks.
    pub agent: Agent,
    _programs: Folder,
    // What a run would ask of it is nothing.
    _model: Model,
}

impl ScriptedCodex {
    /// Adds it.
    ///
    /// # Panics
    /// When it does not serve.
    #[must_use]
    #[track_caller]
    pub fn added_to(gateway: &Gateway) -> Self {
        let (folder, programs, secrets) = (Folder::empty(), Folder::empty(), Folder::empty());
        for name in ["agent", "agent-code-mode-host"] {
            programs.program(name, PROGRAM);
        }
        secrets.write("key", "sk-script\n");
        let model = Model::start([]);
        let path = folder.path().display().to_string();
        let secret = format!("key={}", secrets.path().join("key").display());
        let binary = format!("binary={}", programs.path().join("agent").display());
        let server = format!("server={}", model.base());
        let add = ["sources", "add", "codex-folder", &path, "--id", "codex"];
        let set = ["--secret", &secret, "--set", &binary, "--set", &server];
        let model_of = ["--set", "model=gpt-5.5"];
        let added = gateway.cli([&add[..], &set, &model_of].concat());
        let said = added.expect_ok();
        assert!(said.contains("codex serves"), "{said}");
        Self {
            folder,
            agent: gateway.agent_with("coder", &["codex.changes.read"]),
            _programs: programs,
            _model: model,
        }
    }

    /// The same after the gateway was started again.
    #[must_use]
    pub fn back(self, gateway: &Gateway) -> Self {
        let agent = gateway.back(&self.agent);
        Self { agent, ..self }
    }

    #[track_caller]
    fn approved(&self, gateway: &Gateway, input: &Value, purpose: &str) {
        let asked = json!({"id": "codex.run", "input": input, "purpose": purpose});
        let refused = self.agent.invoke_body(asked);
        let refused = refused.expect_error(401, "approval_required");
        let item = refused["pendingId"].as_str().expect("an id");
        gateway.owner().approve(item, "once");
    }

    /// A run that edits; the id of its change set.
    #[track_caller]
    pub fn edits(&self, gateway: &Gateway, prompt: &str, purpose: &str) -> String {
        let input = json!({"prompt": format!("edit {prompt}")});
        self.approved(gateway, &input, purpose);
        let asked = json!({"id": "codex.run", "input": input, "purpose": purpose});
        let done = self.agent.invoke_body(asked).expect_ok();
        let Some(id) = done["output"]["changes"]["id"].as_str() else {
            panic!("a change set: {done}");
        };
        id.to_owned()
    }

    /// A run that goes on; its id among the calls that are under way.
    #[track_caller]
    pub fn talks(&self, gateway: &Gateway, said: &str) -> String {
        let item = json!({"type": "agent_message", "text": said});
        let line = json!({"type": "item.completed", "item": item});
        self.folder.write("said", format!("{line}\n"));
        let input = json!({"prompt": "talk"});
        self.approved(gateway, &input, "");
        let begun = self
            .agent
            .invoke_body(json!({"id": "codex.run", "input": input, "async": true}));
        begun.expect_status(202);
        let run = begun.text_at("/run/runId");
        crate::waiting::until("what the run says", || {
            let status = self
                .agent
                .client()
                .get(&format!("/invoke/status?runId={run}&after=0&wait=1"));
            let chunks = status.at("/progress/chunks");
            (chunks != json!([]) && !chunks.is_null()).then_some(())
        });
        let calls = gateway.owner().get("/admin/api/calls").expect_ok();
        let calls = calls["calls"].as_array().expect("calls").iter();
        let mut own = calls.filter(|call| call["capabilityId"] == "codex.run");
        let call = own.next().expect("it is under way");
        call["id"].as_str().expect("an id").to_owned()
    }

    /// A board of these tasks, each a title and a prompt; none is begun. Its source is `cc-master`.
    #[track_caller]
    pub fn board(&self, gateway: &Gateway, goal: &str, titles: &[String]) -> String {
        if self
            .agent
            .sees()
            .iter()
            .all(|id| id != "cc-master.board.create")
        {
            gateway.cli(["sources", "add", "cc-master"]).expect_ok();
        }
        let task = |(number, title): (usize, &String)| {
            // A tree: each needs the one at half its number.
            let needs: Vec<String> = (number > 0)
                .then(|| format!("task-{}", number.div_ceil(2)))
                .into_iter()
                .collect();
            json!({"id": format!("task-{}", number + 1), "title": title, "prompt": "Do it.", "agent": "codex.run",
                "needs": needs})
        };
        let tasks: Vec<_> = titles.iter().enumerate().map(task).collect();
        let input = json!({"goal": goal, "tasks": tasks});
        let made = self
            .agent
            .must_approved(&gateway.owner(), "cc-master.board.create", input);
        let id = made["output"]["board"].as_str().expect("a board");
        id.to_owned()
    }
}
