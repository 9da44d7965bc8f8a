//! What a server asks of the client in the course of a call, as a question to the owner; and the answer as the server
//! understands it.
//!
//! Invariants: a field that Plexus cannot show exactly makes the whole question refused; nothing is answered here.
//!
//! Must not know: who is asked, what looks like a secret.

use crate::session::taken;
use plexus_ipc::{
    message::{Field, FieldKind, FieldOption, MAX_FIELDS, MAX_OPTIONS, Question, Wants},
    text::Line,
    worker::CallContext,
};
use serde_json::{Map, Value, json};
use std::{pin::Pin, time::Duration};
use tokio::time::Instant;

/// The method by which a server asks.
pub(crate) const METHOD: &str = "elicitation/create";

/// Most questions in one call.
const MAX_QUESTIONS: u8 = 10;
/// What a call has left for the server once the owner did not answer.
const MARGIN: Duration = Duration::from_secs(10);

/// What Plexus offers to servers.
pub(crate) fn offered() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}})
}

/// Reads what a server asks; `None` where it is no form of flat fields and no URL.
pub(crate) fn read(params: &Value) -> Option<Question> {
    let words = params["message"].as_str()?.into();
    let wants = match params["mode"].as_str() {
        Some("url") => Wants::Url {
            url: Line::exactly(params["url"].as_str()?)?,
        },
        None | Some("form") => Wants::Form {
            fields: fields(&params["requestedSchema"])?,
        },
        Some(_) => return None,
    };
    Some(Question { words, wants })
}

/// What a server has asked in the course of one call.
#[derive(Debug, Default)]
pub(crate) struct QuestionCount {
    questions: u8,
    /// The owner has declined one: further ones of the same call are not put to them.
    is_declined: bool,
}

impl QuestionCount {
    /// The question to put to the owner, or the answer without asking.
    pub(crate) fn admit(&mut self, params: &Value) -> Result<Question, Value> {
        if self.is_declined {
            return Err(json!({"action": "decline"}));
        }
        self.questions = self.questions.saturating_add(1);
        match read(params) {
            Some(question) if self.questions <= MAX_QUESTIONS => Ok(question),
            _ => Err(json!({"action": "cancel"})),
        }
    }

    /// The answer as the server understands it.
    pub(crate) fn heard(&mut self, answer: &Value, is_page: bool) -> Value {
        match answer["action"].as_str() {
            Some("accept") if is_page => json!({"action": "accept"}),
            Some("accept") => json!({"action": "accept", "content": answer["content"]}),
            Some("decline") => {
                self.is_declined = true;
                json!({"action": "decline"})
            }
            _ => json!({"action": "cancel"}),
        }
    }
}

/// A question that the owner has.
pub(crate) struct Asking {
    /// The server's request.
    pub(crate) request: Value,
    pub(crate) is_page: bool,
    /// Since when; the server's own time stands still meanwhile.
    pub(crate) since: Instant,
    answer: Pin<Box<dyn Future<Output = Value> + Send>>,
}

impl Asking {
    /// Puts it to the owner.
    pub(crate) fn put(request: Value, question: Question, call: &CallContext) -> Self {
        let is_page = matches!(question.wants, Wants::Url { .. });
        let call = call.clone();
        let answer = async move {
            call.progress("the server asks the owner a question; the call waits for the answer\n")
                .await;
            let wait = call.remaining().saturating_sub(MARGIN);
            let answer = call.ask_owner(question, wait).await;
            let answer = answer.unwrap_or(Value::Null);
            if let Some(why) = answer["why"].as_str() {
                call.progress(format!("the question was not answered: {why}\n"))
                    .await;
            }
            answer
        };
        Self {
            request,
            is_page,
            since: Instant::now(),
            answer: Box::pin(answer),
        }
    }

    /// The one that is open, with its answer; never over where none is. Cancelling it loses nothing.
    pub(crate) async fn over(open: &mut Option<Self>) -> (Self, Value) {
        let told = match open {
            Some(asking) => asking.answer.as_mut().await,
            None => Value::Null,
        };
        match open.take() {
            Some(asking) => (asking, told),
            None => std::future::pending().await,
        }
    }
}

fn fields(schema: &Value) -> Option<Vec<Field>> {
    let properties = schema["properties"].as_object()?;
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let field = |(name, of): (&String, &Value)| {
        let label = of["title"].as_str().unwrap_or(name);
        Some(Field {
            name: Line::exactly(name).filter(|name| !name.is_empty())?,
            label: label.into(),
            hint: hint(of).into(),
            required: is_required(name),
            kind: kind(of)?,
        })
    };
    let fields: Vec<Field> = properties.iter().map(field).collect::<Option<_>>()?;
    (fields.len() <= MAX_FIELDS).then_some(fields)
}

/// What is said about a field, with the form that a text is asked in, and what the server would take for it.
fn hint(of: &Value) -> String {
    let parts = [&of["description"], &of["format"]];
    let parts = parts.iter().filter_map(|part| part.as_str());
    let default = match &of["default"] {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        value => Some(value.to_string()),
    };
    let default = default.map(|default| format!("default: {default}"));
    let parts = parts.map(str::to_owned).chain(default);
    parts.collect::<Vec<_>>().join("; ")
}

fn kind(of: &Value) -> Option<FieldKind> {
    let length = |name: &str| of[name].as_u64().and_then(|n| u32::try_from(n).ok());
    match of["type"].as_str()? {
        "string" if of["enum"].is_array() || of["oneOf"].is_array() => Some(FieldKind::Choice {
            of: options(of)?,
            many: false,
        }),
        "string" => Some(FieldKind::Text {
            min: length("minLength"),
            max: length("maxLength"),
        }),
        kind @ ("number" | "integer") => Some(FieldKind::Number {
            whole: kind == "integer",
            min: of["minimum"].as_f64(),
            max: of["maximum"].as_f64(),
        }),
        "boolean" => Some(FieldKind::Flag),
        "array" => Some(FieldKind::Choice {
            of: options(&of["items"])?,
            many: true,
        }),
        _ => None,
    }
}

/// The values that a field offers, in any of the ways in which revisions say them.
fn options(of: &Value) -> Option<Vec<FieldOption>> {
    let option = |value: &str, label: Option<&str>| {
        Some(FieldOption {
            value: Line::exactly(value)?,
            label: label.unwrap_or(value).into(),
        })
    };
    let options: Option<Vec<_>> = match (
        of["enum"].as_array(),
        of["oneOf"].as_array().or(of["anyOf"].as_array()),
    ) {
        (Some(values), _) => {
            let named = |at: usize| of["enumNames"][at].as_str();
            let values = values.iter().enumerate();
            values
                .map(|(at, value)| option(value.as_str()?, named(at)))
                .collect()
        }
        (None, Some(all)) => all
            .iter()
            .map(|one| option(one["const"].as_str()?, one["title"].as_str()))
            .collect(),
        (None, None) => None,
    };
    options.filter(|options| options.len() <= MAX_OPTIONS)
}

/// What a call answered in place of a result asks: the questions by their key, and what the server wants back.
pub(crate) struct Required {
    pub(crate) asked: Map<String, Value>,
    pub(crate) state: Option<Value>,
}

impl Required {
    /// `None` for a result.
    pub(crate) fn of(result: &mut Value) -> Option<Self> {
        if result["resultType"] != "input_required" {
            return None;
        }
        let asked = match taken(result, "inputRequests") {
            Value::Object(asked) => asked,
            _ => Map::new(),
        };
        let state = result.get_mut("requestState").map(Value::take);
        Some(Self { asked, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_either_revision_are_read_and_others_are_not() {
        let form = json!({"message": "Who?", "requestedSchema": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "title": "Your name", "maxLength": 9, "format": "email"},
            "age": {"type": "integer", "minimum": 0},
            "sure": {"type": "boolean", "default": true},
            "old": {"type": "string", "enum": ["r"], "enumNames": ["Red"], "default": "r"},
            "new": {"type": "string", "oneOf": [{"const": "b", "title": "Blue"}]},
            "more": {"type": "array", "items": {"anyOf": [{"const": "g", "title": "Green"}]}},
        }}});
        let Some(Question {
            wants: Wants::Form { fields },
            ..
        }) = read(&form)
        else {
            panic!("no form");
        };
        let of = |name: &str| fields.iter().find(|field| &*field.name == name).unwrap();
        assert_eq!(&*of("sure").hint, "default: true");
        assert_eq!(&*of("old").hint, "default: r");
        assert!(of("name").required && !of("age").required);
        assert_eq!(
            (&*of("name").label, &*of("name").hint),
            ("Your name", "email")
        );
        for (name, label, many) in [
            ("old", "Red", false),
            ("new", "Blue", false),
            ("more", "Green", true),
        ] {
            let FieldKind::Choice { of, many: is } = &of(name).kind else {
                panic!("{name}");
            };
            assert_eq!((&*of[0].label, *is), (label, many));
        }
        let page = json!({"mode": "url", "message": "Sign in", "url": "https://a.example/"});
        assert!(matches!(
            read(&page),
            Some(Question {
                wants: Wants::Url { .. },
                ..
            })
        ));
        for bad in [
            json!({"message": "m"}),
            json!({"requestedSchema": {"properties": {}}}),
            json!({"message": "m", "mode": "dance", "requestedSchema": {"properties": {}}}),
            json!({"message": "m", "requestedSchema": {"properties": {"a": {"type": "object"}}}}),
            json!({"message": "m", "requestedSchema": {"properties": {"a\nb": {"type": "string"}}}}),
            json!({"message": "m", "requestedSchema": {"properties": {"a": {"type": "array", "items": {"type": "string"}}}}}),
            json!({"message": "m", "mode": "url", "url": format!("https://a.example/{}", "x".repeat(3000))}),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_are_those_of_the_protocol() {
        let mut asked = QuestionCount::default();
        let form = json!({"message": "Who?", "requestedSchema": {"properties": {}}});
        let accepts = json!({"action": "accept", "content": {}});
        assert_eq!(asked.heard(&accepts, false), accepts);
        assert_eq!(asked.heard(&accepts, true), json!({"action": "accept"}));
        assert_eq!(
            asked.heard(&json!({"ok": false}), false),
            json!({"action": "cancel"})
        );
        for _ in 0..MAX_QUESTIONS {
            assert!(asked.admit(&form).is_ok());
        }
        assert_eq!(
            asked.admit(&form),
            Err(json!({"action": "cancel"})),
            "one too many"
        );
        let mut asked = QuestionCount::default();
        asked.heard(&json!({"action": "decline", "why": "w"}), false);
        assert_eq!(
            asked.admit(&form),
            Err(json!({"action": "decline"})),
            "asked again after a denial"
        );
    }
}
