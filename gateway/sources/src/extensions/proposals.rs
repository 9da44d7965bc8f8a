//! What a lent server says now and the owner has not agreed to: held back until the owner decides, on one card for the source.
//!
//! ```text
//! listing ─▶ as agreed, or known and held back: nothing to do
//!         └▶ in force: what is still as agreed     extensions/<id>.json
//!            proposed: all that is asked about     extensions/<id>.proposed ─approve─▶ in force
//!                                                                           └─block──▶ forgotten; what it named stays held back
//! ```
//! Invariants: a definition that nobody agreed to is no capability; what was blocked is asked about again only when it
//! changes; a changed instruction holds every tool back.
//!
//! Must not know: grants, how a server is asked.

use super::{Generated, Listing, ServerRequest, file, registered, shown_line};
use crate::Registry;
use arc_swap::ArcSwap;
use plexus_home::state_dir::{StateDir, remove, write_private};
use plexus_ipc::{
    manifest::{Manifest, McpPins},
    text::Line,
};
use plexus_protocol::{SourceId, Timestamp, json};
use plexus_trust::Facts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    sync::Arc,
};

/// Longest text of a server that stands on a card, in bytes: that of a schema.
const MOST: usize = 65_536;

/// A manifest that the owner is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proposal {
    /// The manifest.
    pub manifest: String,
    /// The manifest before anything of it was held back; an earlier version did not keep it.
    pub agreed: Option<String>,
    /// What differs from what is agreed to.
    pub changes: Vec<DefinitionChange>,
    /// When it was first seen.
    pub at: Timestamp,
}

impl Proposal {
    /// Its tools that the owner has classed as reads, also those that are gone meanwhile.
    #[must_use]
    pub fn reads(&self) -> Vec<String> {
        let manifests = self.agreed.iter().chain([&self.manifest]);
        let manifests = manifests.filter_map(|text| Manifest::parse(text).ok());
        let reads = manifests
            .flat_map(|manifest| manifest.capabilities)
            .filter(|c| c.is_read() && c.name != super::LISTING);
        reads.map(|read| read.name).collect()
    }
}

/// What differs of one tool, or of the instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionChange {
    /// The tool's name, as text for people.
    pub about: String,
    /// In words; third-party ones are marked as such.
    pub words: Vec<String>,
}

/// What a look at a server comes to.
#[derive(Debug)]
pub struct Compared {
    /// The manifest that is in force from now on.
    pub in_force: Generated,
    /// What the owner is asked about; none where something is gone and nothing is new.
    pub proposal: Option<Proposal>,
}

/// Compares what a server says with what is in force; `None` where nothing new is said. `request` is the server as it is in
/// force, `before` what the owner is already asked about.
///
/// # Errors
/// What stands against lending it at all.
pub fn compare(
    request: &ServerRequest,
    agreed: &str,
    before: Option<&Proposal>,
    listing: &Listing,
    at: Timestamp,
) -> Result<Option<Compared>, String> {
    let pins = Manifest::parse(agreed).map_err(|why| why.to_string())?.mcp;
    let pins = pins.unwrap_or_default();
    let now = pins_of(listing);
    if pins.covers(&now) {
        return Ok(None);
    }
    let asked = before.and_then(|before| Manifest::parse(&before.manifest).ok());
    let asked = asked.as_ref().and_then(|manifest| manifest.mcp.as_ref());
    let is_asked = |name: &String| asked.is_some_and(|asked| asked.tools.contains_key(name));
    let is_blocked = |(name, digest): &(&String, _)| {
        pins.withheld.get(*name) == Some(*digest) && !is_asked(name)
    };
    let told = pins.instructions != now.instructions;
    let is_agreed = |(name, digest): &(&String, _)| !told && pins.tools.get(*name) == Some(*digest);
    let names = |tools: &mut dyn Iterator<Item = (&String, &_)>| -> BTreeSet<String> {
        tools.map(|(name, _): (&String, _)| name.clone()).collect()
    };
    let mut blocked = names(&mut now.tools.iter().filter(is_blocked));
    let kept = before.and_then(|before| before.agreed.as_deref());
    let kept = kept.filter(|kept| Manifest::parse(kept).is_ok());
    let base = kept.unwrap_or(agreed);
    // Nobody is asked about what has nothing to give, and was not agreed to.
    let held = Manifest::parse(base).ok().and_then(|base| base.mcp);
    blocked.extend(listing.idle(held.as_ref()));
    let withheld = names(&mut now.tools.iter().filter(|tool| !is_agreed(tool)));
    let generate = |withheld: &BTreeSet<String>| {
        let mut request = request.clone();
        // A read is one by the owner's word, also while it is held back.
        let reads = before.into_iter().flat_map(Proposal::reads);
        request.reads.extend(reads);
        let lent = |name: &String| now.tools.contains_key(name) && !withheld.contains(name);
        request.reads.retain(lent);
        request.generate(listing, withheld)
    };
    let in_force = generate(&withheld)?;
    let proposed = generate(&blocked)?;
    let changes = changes(base, &pins, &proposed.text, listing);
    let news = changes.iter().any(|change| !change.words.is_empty());
    Ok(Some(Compared {
        in_force,
        proposal: news.then_some(Proposal {
            manifest: proposed.text,
            agreed: Some(base.to_owned()),
            changes,
            at: before.map_or(at, |before| before.at),
        }),
    }))
}

fn pins_of(listing: &Listing) -> McpPins {
    let definitions = listing.definitions();
    let named = definitions.iter().filter(|d| !d.name.is_empty());
    let instructions = listing.instructions.as_ref();
    McpPins {
        instructions: instructions.map(|text| json::digest(&object!(text))),
        tools: named.map(|d| (d.name.to_owned(), d.digest)).collect(),
        ..McpPins::default()
    }
}

/// How `proposed` differs from `before`, and which of its tools are as there and held back since; in words.
fn changes(
    before: &str,
    in_force: &McpPins,
    proposed: &str,
    listing: &Listing,
) -> Vec<DefinitionChange> {
    let (Ok(agreed), Ok(manifest)) = (Manifest::parse(before), Manifest::parse(proposed)) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let pins = agreed.mcp.as_ref();
    let told = pins_of(listing).instructions != pins.and_then(|pins| pins.instructions);
    if told {
        let instructions = listing.instructions.as_deref().unwrap_or("(none)");
        changes.push(DefinitionChange {
            about: "its instructions".to_owned(),
            words: vec![format!("they are now “{}”", whole(instructions))],
        });
    }
    let (was, is) = (facts(before), facts(proposed));
    for definition in listing.definitions() {
        let name = definition.name;
        let Some(capability) = manifest.capability(name) else {
            continue;
        };
        let digest = definition.digest;
        let description = whole(&definition.description);
        let input = whole(&definition.input.to_string());
        let before = pins.and_then(|pins| pins.tools.get(name));
        let mut words = match before {
            Some(before) if *before == digest => {
                if told || in_force.tools.get(name) == Some(&digest) {
                    continue;
                }
                vec!["it is again what you agreed to".to_owned()]
            }
            None => vec![
                format!("a new tool, described as “{description}”"),
                format!("its input: {input}"),
            ],
            Some(_) => {
                let (was, is) = (was.get(name), is.get(name));
                let differ = was.zip(is).map(|(was, is)| is.differences(was));
                let mut words = differ.unwrap_or_default();
                let old = agreed.capability(name);
                if old.map(|old| &old.describe) != Some(&capability.describe) {
                    let was = old.map_or(String::new(), |old| {
                        // Behind the line that says whose words they are.
                        let marked = old.describe.split_once('\n');
                        let was = marked.map_or(&*old.describe, |(_, words)| words);
                        format!("was described as “{}” and ", whole(was))
                    });
                    words.push(format!("it {was}is described as “{description}”"));
                }
                if old.map(|old| &old.input) != Some(&capability.input) {
                    let was = old.and_then(|old| old.input.as_ref());
                    let was = was.map_or(String::new(), |was| {
                        format!("was {} and ", whole(&was.to_string()))
                    });
                    words.push(format!("its input {was}is now: {input}"));
                }
                if words.is_empty() {
                    words.push("what it says of its output or of its effects differs".to_owned());
                }
                words
            }
        };
        if capability.is_read() {
            words.push("it stays a read: it needs no approval of each call".to_owned());
        }
        changes.push(DefinitionChange {
            about: shown_line(name),
            words,
        });
    }
    changes
}

/// Third-party text as one line, with nothing left out: agents are told all of it.
fn whole(text: &str) -> String {
    Line::<MOST>::new(text.replace('\n', "⏎")).to_string()
}

/// What decisions depend on, by the tool's name.
fn facts(manifest: &str) -> BTreeMap<String, Facts> {
    let (Ok(read), Ok(source)) = (registered(manifest), SourceId::parse("tool")) else {
        return BTreeMap::new();
    };
    let facts = read.facts(&source).into_iter();
    facts
        .map(|(id, facts)| (id.parts().1.to_owned(), facts))
        .collect()
}

/// What the owner is asked about, by source.
#[derive(Debug, Default)]
pub(crate) struct Proposals(ArcSwap<BTreeMap<String, Arc<Proposal>>>);

fn proposed(state_dir: &StateDir, id: &SourceId) -> PathBuf {
    file(state_dir, id).with_extension("proposed")
}

fn write(state_dir: &StateDir, id: &SourceId, proposal: &Proposal) -> io::Result<()> {
    let text: Value = object!(proposal);
    write_private(&proposed(state_dir, id), text.to_string().as_bytes())
}

impl Proposals {
    pub(super) fn read(&self, state_dir: &StateDir, ids: impl Iterator<Item = String>) {
        let read = |id: String| {
            let text = fs::read(proposed(state_dir, &SourceId::parse(&id).ok()?)).ok()?;
            let read = json::parse_as::<Proposal>(&text);
            // What was held back stays so, as if it was blocked.
            let read = read.inspect_err(|error| {
                tracing::warn!(name: "extension.unreadable", source = %id, %error, "what the owner is asked about cannot be read; to be asked again: plexusctl mcp refresh {id}");
            });
            Some((id, Arc::new(read.ok()?)))
        };
        self.0.store(Arc::new(ids.filter_map(read).collect()));
    }
}

impl Registry {
    /// What the owner is asked about a source.
    pub fn proposal(&self, id: &SourceId) -> Option<Arc<Proposal>> {
        self.proposals.0.load().get(id.as_str()).cloned()
    }

    /// Takes away what is not agreed to, and asks the owner about it. What is asked about is on disk before the manifest that
    /// takes it away, so that a crash between the two loses no question, and is shown only after.
    ///
    /// # Errors
    /// It cannot be kept; then nothing is in force that was not before.
    pub fn hold_back(
        &self,
        state_dir: &StateDir,
        id: &SourceId,
        compared: Compared,
    ) -> anyhow::Result<()> {
        let Compared { in_force, proposal } = compared;
        if let Some(proposal) = &proposal {
            write(state_dir, id, proposal)?;
        }
        self.install(state_dir, id, &in_force.text)?;
        match proposal {
            Some(proposal) => self.show(id, Some(proposal)),
            None => self.propose(state_dir, id, None)?,
        }
        Ok(())
    }

    /// Keeps what the owner is asked about, in place of an earlier one; `None` forgets it.
    ///
    /// # Errors
    /// The system's.
    pub fn propose(
        &self,
        state_dir: &StateDir,
        id: &SourceId,
        proposal: Option<Proposal>,
    ) -> io::Result<()> {
        match &proposal {
            Some(proposal) => write(state_dir, id, proposal)?,
            None => drop(remove(&proposed(state_dir, id))?),
        }
        self.show(id, proposal);
        Ok(())
    }

    fn show(&self, id: &SourceId, proposal: Option<Proposal>) {
        let proposal = proposal.map(Arc::new);
        self.proposals.0.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            match &proposal {
                Some(proposal) => all.insert(id.to_string(), proposal.clone()),
                None => all.remove(id.as_str()),
            };
            all
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(words: &str, tools: &[&str]) -> Listing {
        let tool = |name: &&str| object!({"name": name, "description": words, "inputSchema": {"type": "object"}});
        Listing {
            server_info: Value::Null,
            instructions: Some("Be kind.".into()),
            tools: tools.iter().map(tool).collect(),
            ..Listing::default()
        }
    }

    #[test]
    fn question_is_kept_before_what_it_is_about_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(Some(folder.path().join("home"))).unwrap();
        let (id, registry) = (
            SourceId::parse("notes").unwrap(),
            Registry::read(&[]).unwrap(),
        );
        let request: ServerRequest =
            serde_json::from_value(object!({"name": "notes", "program": "/usr/bin/node"})).unwrap();
        let first = request.generate(&listing("Does", &["act"]), &BTreeSet::new());
        let agreed = first.unwrap().text;
        registry.install(&state_dir, &id, &agreed).unwrap();
        let now = listing("Does", &["act", "more"]);
        let compared = || {
            compare(&request, &agreed, None, &now, Timestamp(1))
                .unwrap()
                .unwrap()
        };
        let asked = compared().proposal.unwrap();
        // What a crash between the two leaves: the manifest that takes it away is not kept.
        let mut broken = compared();
        broken.in_force.text = "none".to_owned();
        registry.hold_back(&state_dir, &id, broken).unwrap_err();
        assert_eq!(registry.proposal(&id), None, "shown before it is in force");
        let after = || {
            let registry = Registry::read(&[]).unwrap();
            registry.read_installed(&state_dir);
            registry.proposal(&id).map(|asked| Proposal::clone(&asked))
        };
        assert_eq!(after(), Some(asked.clone()));
        registry.hold_back(&state_dir, &id, compared()).unwrap();
        assert_eq!(after(), Some(asked));
        registry.propose(&state_dir, &id, None).unwrap();
        assert_eq!(after(), None);
    }

    #[test]
    fn held_back_definitions_are_asked_about_once() {
        let request: ServerRequest = serde_json::from_value(
            object!({"name": "notes", "program": "/usr/bin/node", "reads": ["look"]}),
        )
        .unwrap();
        let none = BTreeSet::new();
        let first = request
            .generate(&listing("Does", &["look", "act"]), &none)
            .unwrap();
        let agreed = first.text;
        let at = |agreed: &str, before: Option<&Proposal>, listing: &Listing| {
            compare(&request, agreed, before, listing, Timestamp(1)).unwrap()
        };
        assert!(at(&agreed, None, &listing("Does", &["look", "act"])).is_none());

        let mut changed = listing("Does", &["look", "act", "more"]);
        changed.tools[0]["description"] = "Now does".into();
        let found = at(&agreed, None, &changed).unwrap();
        let in_force = found.in_force.text;
        let lent = |text: &str, tool| Manifest::parse(text).unwrap().capability(tool).is_some();
        assert!(lent(&in_force, "act") && !lent(&in_force, "look"));
        let asked = found.proposal.unwrap();
        let about: Vec<_> = asked.changes.iter().map(|change| &*change.about).collect();
        assert_eq!(about, ["look", "more"]);
        let words = "it was described as “Does” and is described as “Now does”";
        assert!(
            asked.changes[0].words.iter().any(|said| said == words),
            "{asked:?}"
        );
        let proposed = Manifest::parse(&asked.manifest).unwrap();
        assert!(proposed.capability("look").unwrap().is_read());
        // Another change is asked about with the first one, as it was before both.
        changed.tools[1]["description"] = "Acts\nat once".into();
        let both = at(&in_force, Some(&asked), &changed).unwrap();
        let both = both.proposal.unwrap();
        let said: Vec<_> = both
            .changes
            .iter()
            .map(|change| &*change.words[0])
            .collect();
        let act = "it was described as “Does” and is described as “Acts⏎at once”";
        assert_eq!(said[..2], [words, act], "{both:?}");
        // As they were: they are lent by the owner's word alone, so the owner is asked.
        let held = at(&in_force, Some(&asked), &changed).unwrap().in_force.text;
        let first = listing("Does", &["look", "act"]);
        let back = at(&held, Some(&both), &first).unwrap().proposal.unwrap();
        let again = |change: &DefinitionChange| change.words[0] == "it is again what you agreed to";
        assert!(
            back.changes.len() == 2 && back.changes.iter().all(again),
            "{back:?}"
        );
        // A read that was gone for a while comes back as one, and one that cannot be lent holds nothing up.
        let gone = at(&held, Some(&both), &listing("Does", &["act"])).unwrap();
        let asked_then = gone.proposal.unwrap();
        let mut bare = request.clone();
        bare.reads.clear();
        let (gone, at_last) = (gone.in_force.text, Timestamp(2));
        let back = compare(&bare, &gone, Some(&asked_then), &first, at_last).unwrap();
        let back = back.unwrap().proposal.unwrap();
        let back = Manifest::parse(&back.manifest).unwrap();
        assert!(back.capability("look").unwrap().is_read(), "{back:?}");
        let mut broken = listing("Does", &["look", "act", "more"]);
        broken.tools[0]["inputSchema"] = object!(1);
        let broken = at(&agreed, None, &broken).unwrap();
        assert!(!lent(&broken.in_force.text, "look") && lent(&broken.in_force.text, "act"));
        assert_eq!(broken.proposal.unwrap().changes[0].about, "more");
        changed.tools[1]["description"] = "Does".into();
        // Seen again, and blocked: nobody is asked.
        assert!(at(&in_force, Some(&asked), &changed).is_none());
        assert!(at(&in_force, None, &changed).is_none());
        // A blocked one that changes again is asked about, and the other is not.
        changed.tools[0]["description"] = "Does yet more".into();
        let again = at(&in_force, None, &changed).unwrap().proposal.unwrap();
        assert_eq!(again.changes.len(), 1, "{again:?}");
        let gone = at(&agreed, None, &listing("Does", &["look"])).unwrap();
        assert_eq!(gone.proposal, None);
        let mut told = listing("Does", &["look", "act"]);
        told.instructions = Some("Be rude.".into());
        let told = at(&agreed, None, &told).unwrap();
        assert!(!lent(&told.in_force.text, "act"));
        assert!(told.proposal.unwrap().changes[0].words[0].contains("Be rude."));
    }
}
