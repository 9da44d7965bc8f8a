//! Texts of extensions: skills, which agents read and nobody calls.
//!
//! Invariants: a text is bounded, is shown whole before it is there, and says at its beginning whose it is; it goes with
//! capabilities of its own extension alone.
//!
//! Must not know: who may read it.

use super::manifest::{DeclaredSkill, ExtensionManifest};
use plexus_ipc::text::{Line, Text};
use serde_json::{Value, json};

/// Longest text, in bytes.
pub(super) const MAX_TEXT: usize = 65_536;
/// The same with the line before it.
const MAX_MARKED: usize = plexus_ipc::manifest::MAX_MARKDOWN;

/// What an author writes among the capabilities and is kept apart from them, with its transport.
const APART: [(&str, &str); 2] = [("skills", "skill"), ("workflows", "workflow")];

/// The manifest with its texts and workflows apart, as it is kept.
pub(super) fn sorted(mut manifest: Value) -> Result<Value, String> {
    let Some(members) = manifest.as_object_mut() else {
        return Err("the manifest is no object".to_owned());
    };
    for (list, transport) in APART {
        if members.contains_key(list) {
            return Err(format!(
                "unknown field `{list}`: write it among the capabilities, with the transport {transport}"
            ));
        }
        let Some(Value::Array(all)) = members.get_mut("capabilities") else {
            continue;
        };
        let (apart, others): (Vec<_>, Vec<_>) = std::mem::take(all)
            .into_iter()
            .partition(|one| one["transport"] == transport);
        *all = others;
        if !apart.is_empty() {
            members.insert(list.to_owned(), apart.into());
        }
    }
    Ok(manifest)
}

impl ExtensionManifest {
    /// What stands against its texts.
    pub(super) fn odd_skills(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for skill in &self.skills {
            let mut odd = |why: String| reasons.push(format!("skill {:?}: {why}", skill.name));
            let length = skill.body.markdown.len();
            if skill.body.markdown.trim().is_empty() || length > MAX_TEXT {
                odd(format!(
                    "body.markdown has {length} bytes, not 1 to {MAX_TEXT}"
                ));
            }
            // What would be marked could not be read as it is written.
            if *Text::<MAX_TEXT>::new(&skill.body.markdown) != *skill.body.markdown {
                odd("body.markdown holds control characters, or such as turn text".to_owned());
            }
            if !skill.grants.is_empty() {
                odd("a text is read, and has no verb: grants is []".to_owned());
            }
            for id in skill.route.iter().flat_map(|route| &route.attach_to) {
                if self.attached(id).is_none() {
                    odd(format!(
                        "attachTo {id:?} is no capability of this extension"
                    ));
                }
            }
        }
        reasons
    }

    /// The name of the capability of its own that an id is of.
    fn attached(&self, id: &str) -> Option<&str> {
        let (source, name) = id.split_once('.')?;
        let mut own = self.capabilities.iter().map(|capability| &*capability.name);
        (source == self.source).then(|| own.find(|known| *known == name))?
    }

    /// The names of the texts that go with a capability.
    pub(super) fn skills_of(&self, capability: &str) -> Vec<&str> {
        let goes_with = |skill: &&DeclaredSkill| {
            let mut ids = skill.route.iter().flat_map(|route| &route.attach_to);
            ids.any(|id| self.attached(id) == Some(capability))
        };
        let skills = self.skills.iter().filter(goes_with);
        skills.map(|skill| &*skill.name).collect()
    }
}

impl DeclaredSkill {
    /// As the offer has it: it begins with whose words they are.
    pub(super) fn entry(&self, of: &str) -> Value {
        let of = Line::<100>::new(of);
        let marked = format!(
            "> Third-party text of the extension {:?}. Plexus has not checked it, and it grants nothing.\n\n{}",
            &*of, self.body.markdown
        );
        json!({
            "name": self.name,
            "kind": "skill",
            "label": Line::<256>::new(&self.label),
            "describe": Text::<16_384>::new(&self.describe),
            "verbs": [],
            "markdown": Text::<MAX_MARKED>::new(marked),
        })
    }

    /// As the owner is shown it.
    pub(super) fn shown(&self, source: &str) -> Value {
        let with = self.route.iter().flat_map(|route| &route.attach_to);
        json!({
            "id": format!("{source}.{}", self.name),
            "label": Line::<256>::new(&self.label),
            "kind": "skill",
            "transport": "skill",
            "verbs": [],
            "describe": Text::<16_384>::new(&self.describe),
            "text": Text::<MAX_TEXT>::new(&self.body.markdown),
            "attachedTo": with.collect::<Vec<_>>(),
            "asksEachTime": false,
        })
    }
}
