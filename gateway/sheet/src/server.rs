//! What an MCP server is given, and what it would lend: what the owner reads before it is added.

use crate::{Block, Fact, Section, Untrusted};
use plexus_owner::extensions::{OfferedTool, ServerChanges, ServerPreview, ToolCage};

/// All that a server is given, what it says, and what differs from what the owner agreed to before.
#[must_use]
pub fn server(seen: &ServerPreview) -> Vec<Block> {
    let given = &seen.server;
    let listed =
        |name: &str, all: &[String]| (!all.is_empty()).then(|| Fact::of(name, all.join(", ")));
    let program = match &given.url {
        Some(url) => Fact::of("address", url.as_str()),
        None => Fact::of(
            "program",
            seen.resolved.as_deref().unwrap_or(&given.program),
        ),
    };
    let secrets: Vec<String> = given.secrets.iter().cloned().collect();
    let facts = [
        Some(program),
        listed("arguments", &given.arguments),
        listed("variables", &given.environment),
        listed("secrets", &secrets),
        given
            .ca
            .as_ref()
            .map(|ca| Fact::of("further certificate authorities", ca.as_str())),
        listed(
            "reads and, in a call that you approve, changes",
            &given.folders,
        ),
        listed("reads its own files in", &given.code),
        listed("reaches, and nothing else of the network", &given.hosts),
    ];
    let mut blocks = vec![Block::Facts(facts.into_iter().flatten().collect())];
    let mind = match (given.url.is_some(), given.hosts.is_empty()) {
        (true, _) => Some("it runs elsewhere: no sandbox of this machine holds it".to_owned()),
        (false, true) => None,
        (false, false) => {
            let hosts = given.hosts.join(", ");
            Some(format!("it can send to {hosts}: {}", given.within_reach()))
        }
    };
    let mind = mind.map(|words| Block::Notices("mind", vec![Untrusted::of(words)]));
    blocks.extend(mind);
    blocks.push(Block::Notices(
        "agents can change its code",
        Untrusted::all(&seen.changeable),
    ));
    let refused = seen.tools.iter().filter_map(|tool| {
        let why = tool.refused.as_ref()?;
        Some(Untrusted::of(format!("{}: {why}", tool.name)))
    });
    blocks.push(Block::Notices("not lent", refused.collect()));
    if let Some(words) = &seen.instructions {
        blocks.push(Block::Quote(
            "its instructions to agents",
            Some(Untrusted::of(words)),
        ));
    }
    let lent = seen.tools.iter().filter(|tool| tool.refused.is_none());
    blocks.push(Block::Offers(lent.map(tool).collect()));
    blocks.extend(seen.changes.as_ref().map(server_changes));
    blocks
}

fn tool(tool: &OfferedTool) -> Section {
    let runs = match tool.cage {
        ToolCage::None => "elsewhere: each call asks",
        ToolCage::Reader => "where it can change nothing",
        ToolCage::Writer => "where it can change its folders: each call asks",
    };
    Section {
        title: Untrusted::of(&tool.name),
        note: None,
        facts: vec![
            Fact::of("runs", runs),
            Fact {
                is_text: true,
                ..Fact::of("its words", tool.description.as_str())
            },
        ],
    }
}

/// The difference of a server that is not as it was agreed to, where nothing is named that differs.
const UNNAMED: &str =
    "no tool, program or file; its settings or its folders may differ, or its card waits for you";

/// What of a server is not as it was agreed to.
#[must_use]
pub fn server_changes(changes: &ServerChanges) -> Block {
    let kinds = [
        ("new tools", &changes.new),
        ("tools that are gone", &changes.gone),
        ("changed tools", &changes.changed),
        ("what it runs", &changes.files),
    ];
    let kinds = kinds.iter().filter(|(_, named)| !named.is_empty());
    let mut all: Vec<_> = kinds
        .map(|(about, named)| (Some(Untrusted::of(*about)), Untrusted::all(named)))
        .collect();
    if changes.instructions {
        all.push((None, vec![Untrusted::of("its instructions")]));
    }
    if all.is_empty() && !changes.unchanged {
        all.push((None, vec![Untrusted::of(UNNAMED)]));
    }
    Block::Differences("since you agreed to it", all)
}
