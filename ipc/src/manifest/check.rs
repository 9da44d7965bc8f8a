//! What a manifest must hold beyond its shape.

use super::{
    Audience, Capability, Channels, EntryKind, Field, FieldKind, FieldTarget, Limits, MAX_ENTRIES,
    MAX_MARKDOWN, MAX_OUTPUT, Manifest, ManifestError, ShowingReads, invalid, place::RESERVED,
};
use crate::message::{MAX_SECRETS, Role};
use plexus_protocol::{CapabilityId, Sensitivity, Verb};
use serde_json::Value;
use std::collections::BTreeSet;

/// Most path fields: every one is attacked at each start, and the report has room for so many.
const MAX_PATHS: usize = 16;
/// Most keywords of one entry, and the longest of them in characters.
const KEYWORDS: usize = 16;
const KEYWORD_CHARS: usize = 40;

impl Manifest {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        for (at, text) in [
            ("connector", &self.connector),
            ("kind", &self.kind),
            ("transport", &self.transport),
        ] {
            if !plain_name(text) {
                return Err(invalid(at, "not 1 to 64 of a-z, 0-9 and '-'"));
            }
        }
        for (at, text) in [("label", &self.label), ("blurb", &self.blurb)] {
            if text.trim().is_empty() {
                return Err(invalid(at, "empty"));
            }
        }
        self.check_fields()?;
        self.check_egress()?;
        if self.roles.is_empty() {
            return Err(invalid("roles", "a connector needs at least one"));
        }
        if self.roles.len() > 1 && self.roles[0] == self.roles[1] || self.roles.len() > 2 {
            return Err(invalid("roles", "the same role twice"));
        }
        self.limits.check("limits")?;
        if self
            .kept
            .is_some_and(|kept| kept.mib == 0 || kept.changes == 0)
        {
            return Err(invalid(
                "kept",
                "MiB or changes is 0: leave it out to keep nothing",
            ));
        }
        self.check_children()?;
        self.check_events()?;
        self.check_capabilities()?;
        self.check_commands()?;
        self.check_requests()?;
        self.check_questions()?;
        self.check_workflows()?;
        self.check_mcp()?;
        self.check_upkeep()
    }

    /// What the gateway calls for the owner is there, and of its kind.
    fn check_upkeep(&self) -> Result<(), ManifestError> {
        let effect = |entry: &Capability| entry.callable() && !entry.is_read();
        let own_read = |entry: &Capability| {
            entry.callable() && entry.is_read() && entry.audience == Audience::Owner
        };
        if let Some(undo) = &self.undo
            && !(self.kept.is_some() && self.capability(undo).is_some_and(effect))
        {
            return Err(invalid("undo", "names no effect, or nothing is kept"));
        }
        if let Some(changes) = &self.changes
            && !self.capability(changes).is_some_and(own_read)
        {
            return Err(invalid("changes", "names no read for the owner alone"));
        }
        let named = self.channels.as_ref().map(Channels::effects);
        let mut named = named.unwrap_or_default();
        named.extend(
            self.change_sets
                .iter()
                .filter_map(|sets| sets.drop.as_ref()),
        );
        let own_effect = |entry: &Capability| entry.audience == Audience::Owner && effect(entry);
        let mut own = self.capabilities.iter().filter(|entry| own_effect(entry));
        if !own.all(|entry| named.contains(&&entry.name)) {
            let why =
                "has an effect for the owner alone that `channels` and `changeSets` do not name";
            return Err(invalid("capabilities", why));
        }
        let read = |entry: &Capability| entry.callable() && entry.is_read();
        if let Some(sets) = &self.change_sets {
            let names = |name: &str, fits: &dyn Fn(&Capability) -> bool| {
                self.capability(name).is_some_and(fits)
            };
            if !(names(&sets.list, &own_read)
                && names(&sets.read, &read)
                && names(&sets.apply, &effect)
                && sets.drop.iter().all(|drop| names(drop, &own_effect)))
            {
                let why = "names no list or drop for the owner alone, no read or no effect";
                return Err(invalid("changeSets", why));
            }
        }
        if let Some(boards) = &self.boards
            && !self.capability(boards).is_some_and(read)
        {
            return Err(invalid("boards", "names no read"));
        }
        if let Some(channels) = &self.channels {
            let all = |names: &[&String], fits: &dyn Fn(&Capability) -> bool| {
                let mut entries = names.iter().map(|name| self.capability(name));
                entries.all(|entry| entry.is_some_and(fits))
            };
            let effects = channels.effects();
            if !(all(&[&channels.list, &channels.read], &read)
                && all(&[&channels.members], &own_read)
                && all(&Vec::from_iter(&channels.unsent), &own_read)
                && all(&effects, &effect))
            {
                let why = "names no read, no members for the owner alone or no effect";
                return Err(invalid("channels", why));
            }
        }
        Ok(())
    }

    fn check_fields(&self) -> Result<(), ManifestError> {
        let mut names = BTreeSet::new();
        for field in &self.fields {
            let at = || format!("field {:?}", field.name);
            // A secret may have the name of a variable or of a header.
            let is_secret = field.kind == FieldKind::Password;
            let fits = |b: u8| b.is_ascii_alphanumeric() || is_secret && b"_-".contains(&b);
            let word = field.name.bytes().all(fits);
            if !word || field.name.is_empty() || field.name.len() > 64 {
                return Err(invalid(at(), "not 1 to 64 ASCII letters and digits"));
            }
            if !names.insert(&field.name) {
                return Err(invalid(at(), "its name is there twice"));
            }
            if (field.target == FieldTarget::Secret) != (field.kind == FieldKind::Password) {
                return Err(invalid(
                    at(),
                    "a password goes to the secret store, and nothing else does",
                ));
            }
            if field.kind == FieldKind::Password && field.default.is_some() {
                return Err(invalid(at(), "a secret has no default"));
            }
            if field.unless.is_some() && !self.replaces(field) {
                return Err(invalid(
                    at(),
                    "unless belongs to a secret, and names a field of type text and target route",
                ));
            }
            if field.once && field.target != FieldTarget::Secret {
                return Err(invalid(at(), "once belongs to a secret"));
            }
            if field.kind == FieldKind::Path && field.target != FieldTarget::Route {
                return Err(invalid(at(), "a path goes to the route"));
            }
            if field.pinned && (field.kind != FieldKind::Path || field.writable) {
                return Err(invalid(
                    at(),
                    "pinned is for a path that no worker may change",
                ));
            }
            if field.writable {
                self.check_writable(field)
                    .map_err(|why| invalid(at(), why))?;
            }
        }
        if self.secrets().count() > MAX_SECRETS {
            return Err(invalid("fields", "more than 16 secrets"));
        }
        self.check_parameters()?;
        if let Some(root) = &self.root {
            let fits = |f: &&Field| {
                f.name == *root
                    && f.kind == FieldKind::Path
                    && f.target == FieldTarget::Route
                    && f.required
            };
            if !self.fields.iter().any(|f| fits(&f)) {
                return Err(invalid(
                    "root",
                    "names no required field of type path and target route",
                ));
            }
        }
        Ok(())
    }

    /// Whether the field that replaces a secret is one that can.
    fn replaces(&self, secret: &Field) -> bool {
        let by = secret.unless.as_ref().and_then(|name| self.field(name));
        secret.target == FieldTarget::Secret
            && by.is_some_and(|by| by.kind == FieldKind::Text && by.target == FieldTarget::Route)
    }

    fn check_writable(&self, field: &Field) -> Result<(), &'static str> {
        if field.kind != FieldKind::Path {
            return Err("only a path is writable");
        }
        // A profile has no rule for a writer that holds only where a parameter was given.
        if !field.required {
            return Err("a writable path is required");
        }
        if !self.roles.contains(&Role::Writer) {
            return Err("a writable path needs the role writer");
        }
        Ok(())
    }

    /// Each path is a parameter of the profile under a name that means nothing else.
    fn check_parameters(&self) -> Result<(), ManifestError> {
        let mut parameters = BTreeSet::new();
        for (field, parameter) in self.paths() {
            let at = || format!("field {:?}", field.name);
            let is_root = self.root.as_ref() == Some(&field.name);
            if !is_root && RESERVED.contains(&parameter.as_str()) {
                return Err(invalid(
                    at(),
                    "its parameter is one that every profile has, or is kept for one",
                ));
            }
            if !parameters.insert(parameter) {
                return Err(invalid(at(), "its parameter is that of another path"));
            }
        }
        if parameters.len() > MAX_PATHS {
            return Err(invalid("fields", "more than 16 paths"));
        }
        Ok(())
    }

    fn check_capabilities(&self) -> Result<(), ManifestError> {
        if self.capabilities.is_empty() || self.capabilities.len() > MAX_ENTRIES {
            return Err(invalid("capabilities", "not 1 to 256"));
        }
        let mut names = BTreeSet::new();
        for entry in &self.capabilities {
            let at = || format!("capability {:?}", entry.name);
            if CapabilityId::parse(&format!("source.{}", entry.name)).is_err()
                || entry.name.len() > 128
                || entry.name.starts_with('.')
            {
                return Err(invalid(
                    at(),
                    "not 1 to 128 ASCII letters, digits, '.', '_' or '-', without a dot at either end",
                ));
            }
            if !names.insert(entry.name.as_str()) {
                return Err(invalid(at(), "its name is there twice"));
            }
            if entry.label.trim().is_empty() || entry.describe.trim().is_empty() {
                return Err(invalid(at(), "no label, or no describe"));
            }
            let is_word = |word: &String| {
                let length = word.chars().count();
                (1..=KEYWORD_CHARS).contains(&length) && word.trim() == word
            };
            if entry.keywords.len() > KEYWORDS || !entry.keywords.iter().all(is_word) {
                let why =
                    "keywords are at most 16, each of 1 to 40 characters without spaces around it";
                return Err(invalid(at(), why));
            }
            match entry.kind {
                EntryKind::Skill => check_skill(entry).map_err(|why| invalid(at(), why))?,
                EntryKind::Capability => {
                    check_callable(entry).map_err(|why| invalid(at(), why))?;
                    if entry.children.is_some() && !(self.resident && self.host_calls) {
                        return Err(invalid(at(), "child calls need resident and hostCalls"));
                    }
                    self.limits_of(entry).check(&at())?;
                    if !self.roles.contains(&Role::Reader) {
                        return Err(invalid(at(), "reads and plans need the role reader"));
                    }
                    if !self.roles.contains(&entry.role()) {
                        return Err(invalid(at(), "an effect needs the role writer"));
                    }
                    if let Some(reads) = entry.shown_by.as_ref().map(ShowingReads::names) {
                        self.check_shown_by(entry, reads)?;
                    }
                }
            }
        }
        for entry in &self.capabilities {
            for skill in &entry.skills {
                if self
                    .capability(skill)
                    .is_none_or(|s| s.kind != EntryKind::Skill)
                {
                    return Err(invalid(
                        format!("capability {:?}", entry.name),
                        "skills names an entry that is no skill of this manifest",
                    ));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn plain_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl Manifest {
    /// An effect is shown by reads for agents, each named once: a list is no longer than `capabilities`.
    fn check_shown_by(&self, entry: &Capability, reads: &[String]) -> Result<(), ManifestError> {
        let at = format!("capability {:?}", entry.name);
        if entry.is_read() || reads.is_empty() {
            return Err(invalid(at, "shownBy names reads for agents, of an effect"));
        }
        let mut names = BTreeSet::new();
        for name in reads {
            let at = || format!("{at}, shownBy {name:?}");
            let read = self.capability(name).filter(|read| read.is_read());
            if !read.is_some_and(|read| read.audience.is_agents()) {
                return Err(invalid(at(), "names no read for agents"));
            }
            if !names.insert(name) {
                return Err(invalid(at(), "twice"));
            }
        }
        Ok(())
    }
}

fn check_skill(entry: &Capability) -> Result<(), &'static str> {
    match &entry.markdown {
        None => return Err("a skill needs markdown"),
        Some(text) if text.trim().is_empty() => return Err("a skill needs markdown"),
        Some(text) if text.len() > MAX_MARKDOWN => return Err("markdown beyond 65 KiB"),
        Some(_) => {}
    }
    let bare = entry.verbs.is_empty()
        && entry.input.is_none()
        && entry.output.is_none()
        && entry.constrainable.is_empty()
        && entry.skills.is_empty()
        && entry.limits.is_none()
        && entry.conversation.is_none()
        && entry.children.is_none()
        && entry.command.is_none()
        && entry.request.is_none()
        && entry.ask.is_none()
        && entry.members.is_empty()
        && !entry.staged
        && entry.shown_by.is_none()
        && !entry.long_running
        && entry.sensitivity == Sensitivity::Low;
    if bare {
        Ok(())
    } else {
        Err("a skill has markdown and nothing that belongs to calls")
    }
}

fn check_callable(entry: &Capability) -> Result<(), &'static str> {
    if entry.verbs.is_empty() {
        return Err("no verb");
    }
    if entry.markdown.is_some() {
        return Err("markdown belongs to a skill");
    }
    if !entry.input.as_ref().is_some_and(Value::is_object)
        || entry.output.as_ref().is_some_and(|o| !o.is_object())
    {
        return Err("the input schema is missing, or a schema is no object");
    }
    if entry.verbs.contains(Verb::Execute) && entry.sensitivity != Sensitivity::High {
        return Err("what executes is of high sensitivity");
    }
    if !entry.is_read() && entry.sensitivity == Sensitivity::Low {
        return Err("an effect is at least of elevated sensitivity");
    }
    if let Some(turns) = &entry.conversation {
        let schema = entry.input.as_ref();
        let message = schema.and_then(|s| s["properties"].get(&turns.message));
        if entry.is_read() || message.is_none_or(|message| message["type"] != "string") {
            return Err("a conversation is an effect whose message is a text of its input");
        }
        if turns.turns == 0 || turns.minutes == 0 {
            return Err("a conversation has at least one turn and lasts at least a minute");
        }
    }
    if let Some(calls) = &entry.children {
        let schema = entry.input.as_ref();
        let list = schema.and_then(|s| s["properties"].get(&calls.field));
        let is_list = list.is_some_and(|l| l["type"] == "array" && l["items"]["type"] == "string");
        if !entry.verbs.contains(Verb::Execute) || !is_list || entry.conversation.is_some() {
            return Err(
                "child calls belong to what executes, lists their ids and is no conversation",
            );
        }
        if calls.runs == 0 || calls.minutes == 0 || calls.parallel == 0 {
            return Err("child calls are at least one, within a minute, one at a time");
        }
    }
    if entry.staged && entry.is_read() {
        return Err("a read is not staged");
    }
    let mut fields = BTreeSet::new();
    for c in &entry.constrainable {
        if c.field.is_empty()
            || c.touched
                .as_ref()
                .is_some_and(|t| t.is_empty() || t.len() > 64)
        {
            return Err("a constrainable without a name, or with a kind beyond 64 bytes");
        }
        if !fields.insert(c.field.as_str()) {
            return Err("the same constrainable field twice");
        }
    }
    Ok(())
}

impl Limits {
    fn check(&self, at: &str) -> Result<(), ManifestError> {
        if self.frame_bytes == 0 || self.frame_bytes > MAX_OUTPUT {
            return Err(invalid(at, "frameBytes is not 1 to 10 MiB"));
        }
        if self.open_files < 16 {
            return Err(invalid(
                at,
                "openFiles is below 16: no worker can start with that",
            ));
        }
        if self.call_ms == 0 || self.memory_mib == 0 {
            return Err(invalid(at, "callMs or memoryMiB is 0"));
        }
        Ok(())
    }
}
