//! Where the stories happen: a gateway with a vault and a workspace, or with the source that misbehaves.

use plexus_tests::processes::{self, Process};
use plexus_tests::{Agent, Builder, Folder, Gateway, Owner, vault, workspace};
use serde_json::{Value, json};

/// Reads of both sources.
pub(crate) const READS: &[&str] = &[
    "obsidian.vault.read",
    "obsidian.vault.search",
    "workspace.list",
    "workspace.read",
];
/// A read.
pub(crate) const READ: &str = "workspace.read";
/// An effect.
pub(crate) const WRITE: &str = "workspace.write";

/// A gateway and what it may reach.
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) vault: Folder,
    pub(crate) workspace: Folder,
}

impl House {
    pub(crate) fn open() -> Self {
        Self::with(|builder| builder)
    }
    pub(crate) fn with(describe: impl FnOnce(Builder) -> Builder) -> Self {
        let (vault, workspace) = (vault(), workspace());
        let builder = Gateway::builder()
            .vault(&vault.path())
            .workspace(&workspace.path());
        let gateway = describe(builder).start();
        Self {
            gateway,
            vault,
            workspace,
        }
    }
    /// The same with a [`House::reader`].
    pub(crate) fn with_reader(id: &str) -> (Self, Agent) {
        let house = Self::open();
        let agent = house.reader(id);
        (house, agent)
    }
    /// The same with a [`House::writer`].
    pub(crate) fn with_writer(id: &str, effects: &[&str]) -> (Self, Agent) {
        let house = Self::open();
        let agent = house.writer(id, effects);
        (house, agent)
    }
    /// The same with an agent to which nothing is granted.
    pub(crate) fn with_agent(id: &str) -> (Self, Agent) {
        let house = Self::open();
        let agent = house.gateway.agent(id);
        (house, agent)
    }
    pub(crate) fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    /// An agent whose reads stand.
    pub(crate) fn reader(&self, id: &str) -> Agent {
        self.gateway.agent_with(id, READS)
    }
    /// An agent that sees only `capabilities`.
    pub(crate) fn narrow(&self, id: &str, capabilities: &[&str]) -> Agent {
        let reach = json!({"agentId": id, "capabilities": capabilities, "reach": "selected"});
        self.gateway.agent_as(reach)
    }
    /// An agent whose reads stand, and whose `effects` do too.
    pub(crate) fn writer(&self, id: &str, effects: &[&str]) -> Agent {
        let all = [READS, effects].concat();
        let standing = json!({"agentId": id, "capabilities": all, "standing": effects});
        self.gateway.agent_as(standing)
    }
    /// The same agent after a restart, which ends its session and not its credential.
    pub(crate) fn back(&self, agent: &Agent) -> Agent {
        self.gateway.back(agent)
    }
}

/// Reads of the fixture.
pub(crate) const FIXTURE_READS: &[&str] = &[
    "fixture.echo",
    "fixture.slow",
    "fixture.brief",
    "fixture.long",
    "fixture.big",
    "fixture.garbage",
    "fixture.crash",
    "fixture.fail",
];
/// An effect of the fixture that can be counted.
pub(crate) const COUNT: &str = "fixture.count";

/// A gateway that knows the fixture.
pub(crate) struct Workshop {
    pub(crate) gateway: Gateway,
    pub(crate) folder: Folder,
}

impl Workshop {
    pub(crate) fn open() -> Self {
        Self::with(Gateway::builder().fixture())
    }
    pub(crate) fn with(builder: Builder) -> Self {
        Self::over(builder.start())
    }
    /// The same with a [`Workshop::reader`].
    pub(crate) fn with_reader(id: &str) -> (Self, Agent) {
        let workshop = Self::open();
        let agent = workshop.reader(id);
        (workshop, agent)
    }
    /// The same with a [`Workshop::writer`].
    pub(crate) fn with_writer(id: &str) -> (Self, Agent) {
        let workshop = Self::open();
        let agent = workshop.writer(id);
        (workshop, agent)
    }
    /// Of a gateway that runs; its folder lies elsewhere.
    pub(crate) fn over(gateway: Gateway) -> Self {
        let folder = Folder::empty();
        folder.write("state", "0");
        let workshop = Self { gateway, folder };
        let source = json!({"id": "fixture", "kind": "fixture-dir", "label": "Fixture", "route": {"path": workshop.folder.path()}});
        workshop.owner().must_post("/admin/api/sources", source);
        workshop
    }
    pub(crate) fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    /// An agent whose reads stand.
    pub(crate) fn reader(&self, id: &str) -> Agent {
        self.gateway.agent_with(id, FIXTURE_READS)
    }
    /// An agent whose counted effect stands.
    pub(crate) fn writer(&self, id: &str) -> Agent {
        let standing = json!({"agentId": id, "capabilities": [COUNT], "standing": [COUNT]});
        let agent = self.gateway.agent_as(standing);
        assert_eq!(agent.ledger()[0]["capabilityId"], COUNT);
        agent
    }
    /// The same agent after a restart.
    pub(crate) fn back(&self, agent: &Agent) -> Agent {
        self.gateway.back(agent)
    }
    /// Its workers that run now.
    pub(crate) fn workers(&self) -> Vec<Process> {
        fixtures_below(self.gateway.pid())
    }
    /// What was really done: the lines of the effects, in order.
    pub(crate) fn effects(&self) -> Vec<String> {
        if !self.folder.has("effects.log") {
            return Vec::new();
        }
        self.folder
            .read("effects.log")
            .lines()
            .map(|line| {
                line.split_once(' ')
                    .expect("an id, then the line")
                    .1
                    .to_owned()
            })
            .collect()
    }
    /// The events of calls of `capability` in a phase.
    pub(crate) fn calls(&self, capability: &str, phase: &str) -> Vec<Value> {
        let mut events = self.owner().audit(1000);
        events.retain(|event| {
            event["type"] == "invoke"
                && event["capabilityId"] == capability
                && event["detail"]["phase"] == phase
        });
        events
    }
}

/// The fixture's workers that a daemon runs now; the kernel keeps 15 bytes of a name.
pub(crate) fn fixtures_below(daemon: u32) -> Vec<Process> {
    let mut workers = processes::below(daemon);
    workers.retain(|process| "plexus-worker-fixture".starts_with(&process.name));
    workers
}

/// The input of a read of what is there.
pub(crate) fn report() -> Value {
    json!({"path": "report.txt"})
}

/// The input of an effect that can be counted.
pub(crate) fn line(text: &str) -> Value {
    json!({"line": text})
}

/// The input of a write.
pub(crate) fn note(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

/// The manifest of an extension that is one text.
pub(crate) fn tips() -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": "tips", "label": "Tips", "transport": "skill",
        "capabilities": [{
            "name": "how", "kind": "skill", "label": "How", "describe": "How.", "grants": [], "transport": "skill",
            "body": {"format": "markdown", "markdown": "So."},
        }],
    })
}

/// An id of the right form that was never given out.
pub(crate) fn nobody(prefix: &str) -> String {
    format!("{prefix}00000000-0000-4000-8000-000000000000")
}
