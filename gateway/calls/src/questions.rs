//! Questions that a source asks the owner while it serves a call: shown beside the requests, answered by the owner alone.
//!
//! ```text
//! worker ─▶ recorded ─▶ waits ─▶ answered, recorded ─▶ worker
//!              │           └─ declined, or its time or its call is over ─▶ worker
//!              └ asks for what looks like a password: declined, and the owner is not asked
//! ```
//! Invariants: an answer goes to the call that asked, and only once it is recorded; the audit log has its digest and no
//! value; no agent is shown a question or answers one. A question ends with its call, so nothing of it is kept on disk.
//!
//! Must not know: HTTP, how a source asks.

use crate::{
    approvals::card,
    kernel::{Kernel, of_ours},
};
use plexus_ipc::message::{Field, FieldKind, MAX_QUESTION_WAIT, Question, Wants};
use plexus_ledger::SubmitError;
use plexus_protocol::{AgentId, CapabilityId, PendingId, SourceId, Timestamp, json};
use plexus_supervisor::HostCaller;
use plexus_trust::{Refusal, State};
use serde_json::{Map, Value, json as object};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// Questions of one agent's calls, and of all, that wait at a time.
const OF_AN_AGENT: usize = 4;
const IN_ALL: usize = 32;
/// Longest text of an answer, in characters.
const LONGEST: usize = 4_096;
/// Words of what is never typed into a form of a third party.
const SECRET: [&str; 22] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass word",
    "pwd",
    "secret",
    "token",
    "credential",
    "api key",
    "apikey",
    "private key",
    "access key",
    "seed phrase",
    "recovery code",
    "verification code",
    "one time code",
    "otp",
    "2fa",
    "pin",
    "cvv",
    "card number",
];

/// Those that wait.
#[derive(Debug, Default)]
pub struct Questions(Mutex<BTreeMap<PendingId, Open>>);

/// One that waits.
#[derive(Debug)]
struct Open {
    source: SourceId,
    agent: AgentId,
    capability: CapabilityId,
    question: Question,
    asked: Timestamp,
    until: Timestamp,
    answer: oneshot::Sender<Answer>,
}

/// What the owner answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These values; none for a page that was opened.
    Accept(Map<String, Value>),
    /// Not to answer.
    Decline,
}

/// A question that was taken out to be answered. Dropped, its call goes on as if nobody had answered.
#[derive(Debug)]
pub struct Taken {
    id: PendingId,
    open: Open,
}

/// Ends a question with the call that asked.
struct Waits<'k> {
    questions: &'k Questions,
    id: PendingId,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.questions.open().remove(&self.id);
    }
}

/// Asks the owner, and waits for the answer: `{"action": "accept", "content"}`, or `decline`, or `cancel` where nobody
/// answered in time or nobody could be asked; with `why` where that is not the owner's word.
pub(crate) async fn asked(
    kernel: &Kernel,
    source: &SourceId,
    caller: Option<HostCaller>,
    question: Question,
    seconds: u16,
) -> Value {
    let cancelled = |why: &str| object!({"action": "cancel", "why": why});
    let Some(HostCaller::Call { origin, .. }) = caller else {
        return cancelled("no call is under way");
    };
    let call = kernel.under_way.numbered(origin);
    let call = call.filter(|call| call.cancelled_by().is_none());
    let Some((call, agent)) =
        call.and_then(|call| Some((call.clone(), call.principal.agent()?.clone())))
    else {
        return cancelled("no agent's call is under way");
    };
    let about = object!({"source": source, "agentId": agent, "capability": call.capability});
    if wants_secret(&question) {
        let event = with(
            &about,
            object!({"event": "question.refused", "reason": "secret"}),
        );
        kernel.remark(event).await;
        return object!({"action": "decline", "why": "what it asks for looks like a password or another secret"});
    }
    if let Wants::Url { url } = &question.wants
        && !is_plain(url)
    {
        return object!({"action": "decline", "why": "its URL is not https, or names its host in a way that misleads"});
    }
    let id = PendingId::fresh();
    let wait = Duration::from_secs(seconds.min(MAX_QUESTION_WAIT).into());
    let now = kernel.ledger.snapshot().time(kernel.clock.now());
    let (answer, answered) = oneshot::channel();
    let open = Open {
        source: source.clone(),
        agent,
        capability: call.capability.clone(),
        question,
        asked: now,
        until: now.plus(u64::from(seconds.min(MAX_QUESTION_WAIT)) * 1_000),
        answer,
    };
    let digest = json::digest(&shown(&open.question));
    let Some(waits) = kernel.questions.put(&id, open) else {
        return cancelled("too many questions wait for the owner");
    };
    let event = object!({"event": "question.asked", "pendingId": id, "question": digest});
    if kernel.unasked(of_ours(with(&about, event))).await.is_err() {
        return cancelled("it could not be recorded");
    }
    let told = tokio::select! {
        told = answered => told.ok(),
        () = tokio::time::sleep(wait) => None,
        () = kernel.ending() => None,
    };
    drop(waits);
    match told {
        Some(Answer::Accept(content)) => object!({"action": "accept", "content": content}),
        Some(Answer::Decline) => object!({"action": "decline"}),
        None => {
            let event = object!({"event": "question.lapsed", "pendingId": id});
            kernel.remark(with(&about, event)).await;
            cancelled("the owner did not answer in time")
        }
    }
}

fn with(about: &Value, event: Value) -> Value {
    let members = [event, about.clone()]
        .into_iter()
        .filter_map(|part| match part {
            Value::Object(members) => Some(members),
            _ => None,
        });
    Value::Object(members.flatten().collect())
}

impl Questions {
    fn open(&self) -> MutexGuard<'_, BTreeMap<PendingId, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, id: &PendingId, open: Open) -> Option<Waits<'_>> {
        let mut all = self.open();
        let of_agent = all.values().filter(|other| other.agent == open.agent);
        if all.len() >= IN_ALL || of_agent.count() >= OF_AN_AGENT {
            return None;
        }
        all.insert(id.clone(), open);
        Some(Waits {
            questions: self,
            id: id.clone(),
        })
    }

    /// The cards of all that wait, the oldest first.
    pub fn cards(&self, state: &State) -> Vec<Map<String, Value>> {
        let all = self.open();
        let mut cards: Vec<_> = all.iter().collect();
        cards.sort_by_key(|(id, open)| (open.asked, (*id).clone()));
        cards
            .into_iter()
            .map(|(id, open)| open.card(id, state))
            .collect()
    }

    /// The card of one.
    pub fn card(&self, id: &PendingId, state: &State) -> Option<Map<String, Value>> {
        Some(self.open().get(id)?.card(id, state))
    }

    /// Whether this one waits.
    pub fn waits(&self, id: &PendingId) -> bool {
        self.open().contains_key(id)
    }

    /// What the owner's values come to, before anything is done with them.
    ///
    /// # Errors
    /// A field that is missing, unknown, or takes no such value; none waits.
    pub fn check(
        &self,
        id: &PendingId,
        given: Map<String, Value>,
    ) -> Option<Result<Answer, String>> {
        let all = self.open();
        let checked = match &all.get(id)?.question.wants {
            Wants::Form { fields } => content(fields, given),
            Wants::Url { .. } if given.is_empty() => Ok(given),
            Wants::Url { .. } => Err("a page is opened, and has no fields here".to_owned()),
        };
        Some(checked.map(Answer::Accept))
    }

    /// Takes it out to be answered: from here on nobody else answers it.
    pub fn take(&self, id: &PendingId) -> Option<Taken> {
        let open = self.open().remove(id)?;
        Some(Taken {
            id: id.clone(),
            open,
        })
    }
}

impl Taken {
    /// Records the answer, and then gives it. Whether the call still waited for it.
    ///
    /// # Errors
    /// It could not be recorded; then it is not given.
    pub async fn answer(
        self,
        kernel: &Kernel,
        answer: Answer,
    ) -> Result<bool, SubmitError<Refusal>> {
        let (action, digest) = match &answer {
            Answer::Accept(content) => ("accept", Some(json::digest(&object!(content)))),
            Answer::Decline => ("decline", None),
        };
        let event = object!({
            "event": "question.answered", "pendingId": self.id, "source": self.open.source,
            "agentId": self.open.agent, "capability": self.open.capability, "action": action, "answer": digest,
        });
        kernel.owner(of_ours(event)).await?;
        Ok(self.open.answer.send(answer).is_ok())
    }
}

impl Open {
    fn card(&self, id: &PendingId, state: &State) -> Map<String, Value> {
        let source = state.sources.get(&self.source);
        let label = source.map_or(self.source.as_str(), |source| &source.config.label);
        let given = match self.question.wants {
            Wants::Form { .. } => format!(
                "what you type goes to {}, and what it answers goes to {}",
                self.source, self.agent
            ),
            Wants::Url { .. } => format!("{} is told that you opened the page", self.source),
        };
        let refused = format!("{} is told that you do not answer", self.source);
        let card = object!({
            "pendingId": id, "kind": "question", "state": "pending",
            "createdAt": self.asked, "expiresAt": self.until,
            "agentId": self.agent, "capabilities": [self.capability],
            "source": {"id": self.source, "label": label},
            "question": shown(&self.question),
            "reasons": ["a third party asks this, not Plexus: type no password, and nothing that the agent may not see"],
            "pendingNarration": [], "asks": [], "narrow": [], "differs": null,
            "choices": [{"window": "once", "words": given, "default": true}],
            "ifApproved": given, "ifDenied": refused,
        });
        let Value::Object(mut card) = card else {
            return Map::new();
        };
        let digest = card::digest(&card);
        card.insert("cardDigest".into(), object!(digest));
        card
    }
}

/// A question as the owner's routes show it.
fn shown(question: &Question) -> Value {
    match &question.wants {
        Wants::Form { fields } => {
            let fields: Vec<_> = fields.iter().map(shown_field).collect();
            object!({"words": question.words, "fields": fields})
        }
        Wants::Url { url } => {
            object!({"words": question.words, "url": url, "host": host_of(url)})
        }
    }
}

fn shown_field(field: &Field) -> Value {
    let mut shown = object!({
        "name": field.name, "label": field.label, "required": field.required,
    });
    if !field.hint.is_empty() {
        shown["hint"] = object!(field.hint);
    }
    let (kind, bounds) = match &field.kind {
        FieldKind::Text { min, max } => ("text", object!({"min": min, "max": max})),
        FieldKind::Number { whole, min, max } => {
            let kind = if *whole { "integer" } else { "number" };
            (kind, object!({"min": min, "max": max}))
        }
        FieldKind::Flag => ("boolean", object!({})),
        FieldKind::Choice { of, many } => {
            let kind = if *many { "choices" } else { "choice" };
            let of = of
                .iter()
                .map(|one| object!({"value": one.value, "label": one.label}));
            (kind, object!({"of": of.collect::<Vec<_>>()}))
        }
    };
    shown["type"] = kind.into();
    for (name, bound) in bounds.as_object().into_iter().flatten() {
        if !bound.is_null() {
            shown[name] = bound.clone();
        }
    }
    shown
}

/// The host of a URL, as it is told apart from the rest.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()
}

/// Whether a URL says plainly where it leads: over https, and to a host that nothing stands before.
fn is_plain(url: &str) -> bool {
    let host = host_of(url);
    let sign = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    url.starts_with("https://") && !host.is_empty() && host.chars().all(sign)
}

/// Whether a field that takes any value asks for a secret, by its own words or by the question's.
fn wants_secret(question: &Question) -> bool {
    let Wants::Form { fields } = &question.wants else {
        return false;
    };
    let is_free = |field: &&Field| {
        matches!(
            field.kind,
            FieldKind::Text { .. } | FieldKind::Number { .. }
        )
    };
    let mut free = fields.iter().filter(is_free).peekable();
    let asks = free.peek().is_some() && speaks_of_secret(&question.words);
    asks || free.any(|field| {
        [&*field.name, &*field.label, &*field.hint]
            .into_iter()
            .any(speaks_of_secret)
    })
}

/// Whether words of the list stand in a text, whatever joins or divides their parts.
fn speaks_of_secret(text: &str) -> bool {
    let mut words = String::from(" ");
    let mut before = ' ';
    for c in text.chars() {
        // `apiKey` is two words.
        if c.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        match c.is_alphanumeric() {
            true => words.extend(c.to_lowercase()),
            false => words.push(' '),
        }
        before = c;
    }
    let words: Vec<_> = words.split_whitespace().collect();
    let words = format!(" {} ", words.join(" "));
    SECRET.iter().any(|secret| {
        words.contains(&format!(" {secret} ")) || words.contains(&format!(" {secret}s "))
    })
}

fn content(fields: &[Field], mut given: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut content = Map::new();
    for field in fields {
        let name = field.name.as_str();
        match given.remove(name) {
            Some(Value::Null) => return Err(format!("{name} needs a value, or is left out")),
            None if field.required => return Err(format!("{name} needs a value")),
            None => {}
            Some(value) => {
                let fits = fitting(&field.kind, &value);
                fits.map_err(|why| format!("{name} {why}"))?;
                content.insert(name.to_owned(), value);
            }
        }
    }
    match given.keys().next() {
        None => Ok(content),
        Some(unknown) => Err(format!("there is no field {unknown:?}")),
    }
}

fn fitting(kind: &FieldKind, value: &Value) -> Result<(), String> {
    let one_of = |value: &Value, of: &[plexus_ipc::message::FieldOption]| {
        value
            .as_str()
            .is_some_and(|value| of.iter().any(|one| *one.value == *value))
    };
    match kind {
        FieldKind::Text { min, max } => {
            let text = value.as_str().ok_or("takes text")?;
            let (min, max) = (
                min.map_or(0, |n| n as usize),
                max.map_or(LONGEST, |n| n as usize),
            );
            let (long, max) = (text.chars().count(), max.min(LONGEST));
            match (min..=max).contains(&long) {
                true => Ok(()),
                false => Err(format!("takes {min} to {max} characters")),
            }
        }
        FieldKind::Number { whole, min, max } => {
            let number = value.as_f64().ok_or("takes a number")?;
            if *whole && value.as_i64().is_none() {
                return Err("takes a whole number".to_owned());
            }
            let fits = min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max);
            match fits {
                true => Ok(()),
                false => Err("is out of its bounds".to_owned()),
            }
        }
        FieldKind::Flag if value.is_boolean() => Ok(()),
        FieldKind::Flag => Err("takes true or false".to_owned()),
        FieldKind::Choice { of, many: false } if one_of(value, of) => Ok(()),
        FieldKind::Choice { of, many: true } => {
            let all = value.as_array().ok_or("takes a list")?;
            match all.iter().all(|value| one_of(value, of)) {
                true => Ok(()),
                false => Err("takes values of its list alone".to_owned()),
            }
        }
        FieldKind::Choice { .. } => Err("takes a value of its list alone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_ipc::message::FieldOption;

    fn field(name: &str, kind: FieldKind) -> Field {
        Field {
            name: name.into(),
            label: name.into(),
            hint: "".into(),
            required: true,
            kind,
        }
    }

    #[test]
    fn what_asks_for_a_secret_is_told_by_its_words() {
        let text = FieldKind::Text {
            min: None,
            max: None,
        };
        let asks = |words: &str, name: &str, kind: &FieldKind| {
            let fields = vec![field(name, kind.clone())];
            wants_secret(&Question {
                words: words.into(),
                wants: Wants::Form { fields },
            })
        };
        for name in [
            "password",
            "API-Key",
            "apiKey",
            "user_tokens",
            "Your PIN",
            "card-number",
        ] {
            assert!(asks("Tell me", name, &text), "{name}");
        }
        assert!(asks("Enter your Passphrase:", "value", &text));
        for name in ["city", "pineapple", "spinning", "tokenizer", "opinion"] {
            assert!(!asks("Tell me", name, &text), "{name}");
        }
        assert!(
            !asks("Delete the token?", "sure", &FieldKind::Flag),
            "a yes is none"
        );
    }

    #[test]
    fn answers_fit_their_fields_or_are_refused() {
        let of = ["red", "blue"].map(|value| FieldOption {
            value: value.into(),
            label: value.into(),
        });
        let fields = vec![
            field(
                "name",
                FieldKind::Text {
                    min: Some(1),
                    max: Some(3),
                },
            ),
            field(
                "age",
                FieldKind::Number {
                    whole: true,
                    min: Some(0.0),
                    max: Some(9.0),
                },
            ),
            field("sure", FieldKind::Flag),
            field(
                "one",
                FieldKind::Choice {
                    of: of.to_vec(),
                    many: false,
                },
            ),
            field(
                "more",
                FieldKind::Choice {
                    of: of.to_vec(),
                    many: true,
                },
            ),
        ];
        let good =
            object!({"name": "éàü", "age": 9, "sure": false, "one": "red", "more": ["blue"]});
        let given = |changes: Value| {
            let mut all = good.as_object().unwrap().clone();
            all.extend(changes.as_object().unwrap().clone());
            content(&fields, all)
        };
        assert_eq!(Value::Object(given(object!({})).unwrap()), good);
        for (bad, says) in [
            (object!({"name": ""}), "1 to 3"),
            (object!({"name": 5}), "takes text"),
            (object!({"age": 1.5}), "whole"),
            (object!({"age": 10}), "bounds"),
            (object!({"sure": "true"}), "true or false"),
            (object!({"one": "green"}), "of its list"),
            (object!({"more": "red"}), "a list"),
            (object!({"more": ["green"]}), "of its list"),
            (object!({"sure": null}), "needs a value"),
            (object!({"other": 1}), "no field"),
        ] {
            let why = given(bad.clone()).unwrap_err();
            assert!(why.contains(says), "{bad}: {why}");
        }
    }

    #[test]
    fn host_is_what_a_browser_goes_to() {
        for (url, host) in [
            ("https://a.example/x@b.example", "a.example"),
            ("https://a.example\\@b.example", "a.example"),
            ("https://a.example:8443?x", "a.example:8443"),
        ] {
            assert_eq!(host_of(url), host);
        }
        assert!(is_plain("https://a.example:8443/sign-in?x=@"));
        for url in [
            "http://a.example",
            "https://a.example@b.example/",
            "https://",
            "https://\u{430}.example",
            "file:///x",
        ] {
            assert!(!is_plain(url), "{url}");
        }
    }
}
