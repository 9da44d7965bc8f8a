//! Sheets as lines of a terminal: the one painter of cards that `plexus-sheet` makes, and of what shares their blocks.
//!
//! Invariants: only our own words begin at the left margin; what another says stands behind a label on the same line, or
//! indented, and holds no control, no change of direction and no line break of its own; everything is printed whole.
//!
//! Must not know: what a card is about.

use plexus_client::{span, text};
use plexus_protocol::Timestamp;
use plexus_sheet::{Answer, Block, Fact, Field, Section, Sheet, Untrusted};

/// The card of a sheet.
pub(crate) fn card(sheet: &Sheet, now: Timestamp) -> String {
    let mut lines = Lines::default();
    let subject = &sheet.subject;
    let name = subject.name.as_ref();
    let name = name.map_or(String::new(), |name| format!(" (“{}”)", line(name)));
    let object = subject.object.as_ref();
    let object = object.map_or(String::new(), |of| format!(" {}", line(of)));
    let (who, title) = (line(&subject.who), subject.title);
    lines.own(subject.label, &format!("{who}{name} {title}{object}"));
    lines.blocks(&sheet.blocks);
    if let Some(all) = &sheet.answer {
        lines.answer(all);
    }
    let (age, ends) = (span::ago(sheet.since, now), sheet.ends);
    let ends = ends.map_or(String::new(), |at| format!(", {}", span::end(at, now)));
    lines.own("request", &format!("{}, {age}{ends}", sheet.id));
    lines.text
}

/// Blocks alone.
pub(crate) fn blocks(all: &[Block]) -> String {
    let mut lines = Lines::default();
    lines.blocks(all);
    lines.text
}

/// What the answers do.
pub(crate) fn answer(all: &Answer) -> String {
    let mut lines = Lines::default();
    lines.answer(all);
    lines.text
}

fn texts(said: &Untrusted) -> Vec<String> {
    said.paint(|said| text::lines(said).collect())
}

fn line(said: &Untrusted) -> String {
    said.paint(text::line)
}

/// Lines as they come.
#[derive(Default)]
struct Lines {
    text: String,
    /// Whether an empty line comes before the next: a part with a title stands apart.
    is_apart: bool,
}

impl Lines {
    fn push(&mut self, line: &str) {
        if std::mem::take(&mut self.is_apart) && !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// One of our own lines.
    fn own(&mut self, label: &str, rest: &str) {
        self.push(&format!("{label}: {rest}"));
    }

    fn blocks(&mut self, all: &[Block]) {
        for block in all {
            match block {
                Block::Facts(facts) => {
                    for fact in facts {
                        self.own(&line(&fact.name), &line(&fact.value));
                    }
                }
                Block::Notices(label, words) => {
                    for words in words {
                        self.own(label, &line(words));
                    }
                }
                Block::Quote(_, None) => {}
                Block::Quote(label, Some(words)) => self.quote(label, words),
                Block::Names(_, names) if names.is_empty() => {}
                Block::Names(label, names) => {
                    let names: Vec<_> = names.iter().map(line).collect();
                    self.own(label, &names.join(" "));
                }
                Block::Differences(label, all) => self.differences(label, all),
                Block::Section(section) => self.section(section),
                Block::Offers(sections) => sections.iter().for_each(|one| self.section(one)),
                Block::Fields(fields) => fields.iter().for_each(|field| self.field(field)),
            }
        }
    }

    fn quote(&mut self, label: &str, words: &Untrusted) {
        let said = texts(words);
        match said.as_slice() {
            [words] => self.own(label, &format!("“{words}”")),
            _ => {
                self.push(&format!("{label}:"));
                said.iter()
                    .for_each(|words| self.push(&format!("  │ {words}")));
            }
        }
    }

    fn differences(&mut self, label: &str, all: &[(Option<Untrusted>, Vec<Untrusted>)]) {
        self.is_apart = true;
        self.push(&format!("{label}:"));
        for (about, words) in all {
            let indent = if about.is_some() { "    " } else { "  " };
            if let Some(about) = about {
                self.push(&format!("  {}", line(about)));
            }
            for words in words {
                self.push(&format!("{indent}{}", line(words)));
            }
        }
        if all.is_empty() {
            self.push("  nothing");
        }
        self.is_apart = true;
    }

    fn section(&mut self, section: &Section) {
        self.is_apart = true;
        let note = section.note.as_ref();
        let note = note.map_or(String::new(), |note| format!(": {}", line(note)));
        self.push(&format!("{}{note}", line(&section.title)));
        let values = section.facts.iter().filter(|fact| !fact.is_text);
        let names = values.map(|fact| line(&fact.name).chars().count());
        let width = names.max().unwrap_or(0);
        for Fact {
            name,
            value,
            is_text,
        } in &section.facts
        {
            let name = line(name);
            if !is_text {
                self.push(&format!("  {name:width$}  {}", line(value)));
                continue;
            }
            self.push(&format!("  {name}:"));
            for words in texts(value) {
                self.push(&format!("    │ {words}"));
            }
        }
        self.is_apart = true;
    }

    fn field(&mut self, field: &Field) {
        let name = line(&field.name);
        self.push(&format!("  --answer {name}=({})", line(&field.takes)));
        let label = match line(&field.label) {
            label if label == name => String::new(),
            label => format!("“{label}” "),
        };
        let hint = field.hint.as_ref().map(line).unwrap_or_default();
        let told = format!("{label}{hint}");
        if !told.trim().is_empty() {
            self.push(&format!("    │ {}", told.trim()));
        }
    }

    fn answer(&mut self, all: &Answer) {
        if let Some(yes) = &all.yes {
            self.own(yes.label, &line(&yes.does));
            for (name, host) in &all.keeps {
                let (name, host) = (line(name), line(host));
                let words = format!("the secret {name} will go to {host}: --keep-secret {name}");
                self.own("to keep a stored secret", &words);
            }
            if let Some(kept) = &all.kept {
                self.own(&format!("{} and keep it", yes.label), &line(kept));
            }
        }
        if let Some(no) = &all.no {
            self.own(no.label, &line(&no.does));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::approvals::fixture::{ITEM, change, digest, now, read};
    use plexus_sheet::sheet_of;
    use serde_json::{Value, json};

    fn shown(item: Value) -> String {
        let sheet = sheet_of(&read(item)).unwrap();
        super::card(&sheet, now()).replace(ITEM, "pend_1")
    }

    #[test]
    fn changed_source_reads_as_a_card() {
        assert_eq!(
            shown(change()),
            "source: notes (“My\\nnotes”) has suspended grants until you decide\n\
             why: it changed\n\n\
             what differs from when you granted it:\n\
             \x20 notes.read\n\
             \x20   it also takes `x`\n\n\
             agents: a b\n\
             capabilities: notes.read\n\
             if you approve: its 2 grants go on\n\
             if you deny: its 2 grants end\n\
             request: pend_1, 5 min ago\n"
        );
    }

    #[test]
    fn question_of_a_server_reads_as_a_card() {
        let item = json!({
            "pendingId": ITEM, "kind": "question", "state": "pending", "agentId": "a", "capabilities": ["s.book"],
            "createdAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-01T00:10:00.000Z",
            "source": {"id": "s", "label": "S"}, "reasons": ["type no password"],
            "question": {"words": "Where to?\nrequest: pend_2", "fields": [
                {"name": "city", "label": "Your\ncity", "hint": "of birth", "required": true, "type": "text", "max": 9},
                {"name": "seat", "label": "seat", "required": false, "type": "choice",
                    "of": [{"value": "a", "label": "A"}, {"value": "b", "label": "B"}]},
            ]},
            "pendingNarration": [], "asks": [], "narrow": [], "differs": null, "choices": [], "cardDigest": digest(),
            "ifApproved": "it goes to s", "ifDenied": "s is told",
        });
        assert_eq!(
            shown(item),
            "server: s (“S”) asks you a question\n\
             in the call: s.book of a\n\
             note: type no password\n\
             question (the server's words):\n\
             \x20 │ Where to?\n\
             \x20 │ request: pend_2\n\
             \x20 --answer city=(text of up to 9 characters)\n\
             \x20   │ “Your\\ncity” of birth\n\
             \x20 --answer seat=(a | b, optional)\n\
             if you answer: it goes to s\n\
             if you deny: s is told\n\
             request: pend_1, 5 min ago, ends in 5 min\n"
        );
    }

    #[test]
    fn proposed_extension_reads_as_a_card() {
        let item = json!({
            "pendingId": ITEM, "kind": "register", "state": "pending", "agentId": "a", "capabilities": [],
            "createdAt": "2026-01-01T00:00:00.000Z", "agentPurpose": "read\u{1b} it",
            "register": {"source": "app", "label": "App", "sections": [
                {"title": "reaches", "note": "one host", "facts": [
                    {"name": "host", "value": "http://127.0.0.1:1"}, {"name": "a secret", "value": "token"}]},
                {"title": "app.read", "capability": true, "facts": [{"name": "says", "text": "one\nrequest: pend_2"}]},
            ]},
            "changes": ["another host"], "movedSecrets": [{"name": "token", "host": "http://127.0.0.1:1"}],
            "foldersToName": [{"name": "in", "label": "Inbox"}], "ifApproved": "it is changed", "ifKept": "it serves",
            "choices": [], "asks": [], "narrow": [], "differs": null, "cardDigest": digest(),
        });
        assert_eq!(
            shown(item),
            "agent: a asks to change the extension app\n\
             purpose (the agent's words): “read\\u{1b} it”\n\
             extension: app (App)\n\n\
             reaches: one host\n\
             \x20 host      http://127.0.0.1:1\n\
             \x20 a secret  token\n\n\
             app.read\n\
             \x20 says:\n\
             \x20   │ one\n\
             \x20   │ request: pend_2\n\n\
             since you agreed to it:\n\
             \x20 another host\n\n\
             you name the folder: “Inbox”: --folder in=PATH\n\
             if you approve: it is changed\n\
             to keep a stored secret: the secret token will go to http://127.0.0.1:1: --keep-secret token\n\
             if you approve and keep it: it serves\n\
             request: pend_1, 5 min ago\n"
        );
    }
}
