//! The form of a question: how the owner's routes show it, what it may not ask for, which values fit it.
//!
//! Must not know: who asked, and who answers.

use super::UnfitAnswer;
use plexus_ipc::message::{Field, FieldKind, Question, Wants};
use serde_json::{Map, Value, json as object};

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

/// A question as the owner's routes show it.
pub(crate) fn shown(question: &Question) -> Value {
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
pub(crate) fn is_plain(url: &str) -> bool {
    let host = host_of(url);
    let sign = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    url.starts_with("https://") && !host.is_empty() && host.chars().all(sign)
}

/// A word by which a question asks for a secret, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretWord<'q> {
    pub(crate) word: &'static str,
    /// The field, by its name; none: the question's own words.
    pub(crate) field: Option<&'q str>,
}

/// The word by which a field that takes any value asks for a secret, in its own words or in the question's.
pub(crate) fn secret_word(question: &Question) -> Option<SecretWord<'_>> {
    let Wants::Form { fields } = &question.wants else {
        return None;
    };
    let is_free = |field: &&Field| {
        matches!(
            field.kind,
            FieldKind::Text { .. } | FieldKind::Number { .. }
        )
    };
    let mut free = fields.iter().filter(is_free).peekable();
    free.peek()?;
    if let Some(word) = spoken_of(&question.words) {
        return Some(SecretWord { word, field: None });
    }
    free.find_map(|field| {
        let mut texts = [&*field.name, &*field.label, &*field.hint].into_iter();
        Some(SecretWord {
            word: texts.find_map(spoken_of)?,
            field: Some(&field.name),
        })
    })
}

/// The word of the list that stands in a text, whatever joins or divides its parts.
fn spoken_of(text: &str) -> Option<&'static str> {
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
    let stands = |secret: &&&str| {
        words.contains(&format!(" {secret} ")) || words.contains(&format!(" {secret}s "))
    };
    SECRET.iter().find(stands).copied()
}

/// The values of an answer, each fit for its field.
///
/// # Errors
/// A field that is missing, unknown, or takes no such value.
pub(crate) fn content(
    fields: &[Field],
    mut given: Map<String, Value>,
) -> Result<Map<String, Value>, UnfitAnswer> {
    let mut content = Map::new();
    let (mut first, mut wrong) = (None, Vec::new());
    for field in fields {
        let (name, label) = (field.name.as_str(), field.label.as_str());
        let why = match given.remove(name) {
            Some(Value::Null) => "needs a value, or is left out".to_owned(),
            None if field.required => "needs a value".to_owned(),
            None => continue,
            Some(value) => match fitting(&field.kind, &value) {
                Err(why) => why,
                Ok(()) => {
                    content.insert(name.to_owned(), value);
                    continue;
                }
            },
        };
        first.get_or_insert_with(|| name.to_owned());
        wrong.push(match label.is_empty() || label == name {
            true => format!("{name} {why}"),
            false => format!("{label} ({name}) {why}"),
        });
    }
    let unknown = given.keys().next();
    wrong.extend(unknown.map(|unknown| format!("there is no field {unknown:?}")));
    match wrong.is_empty() {
        true => Ok(content),
        false => Err(UnfitAnswer {
            field: first,
            why: wrong.join("; "),
        }),
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
            match (min, max) {
                _ if fits => Ok(()),
                (Some(min), Some(max)) => Err(format!("takes {min} to {max}")),
                (Some(min), None) => Err(format!("takes {min} or more")),
                (None, _) => Err(format!("takes {} or less", max.unwrap_or(f64::MAX))),
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
            let question = Question {
                words: words.into(),
                wants: Wants::Form { fields },
            };
            secret_word(&question).map(|found| (found.word, found.field.map(str::to_owned)))
        };
        for name in "password|API-Key|apiKey|user_tokens|Your PIN|card-number".split('|') {
            let (_, field) = asks("Tell me", name, &text).unwrap();
            assert_eq!(field.as_deref(), Some(name));
        }
        let found = asks("Enter your Passphrase:", "value", &text);
        assert_eq!(found, Some(("passphrase", None)));
        for name in ["city", "pineapple", "spinning", "tokenizer", "opinion"] {
            assert_eq!(asks("Tell me", name, &text), None);
        }
        let yes = asks("Delete the token?", "sure", &FieldKind::Flag);
        assert_eq!(yes, None, "a yes is none");
    }

    #[test]
    fn answers_fit_their_fields_or_are_refused() {
        let of = ["red", "blue"].map(|value| FieldOption {
            value: value.into(),
            label: value.into(),
        });
        let choice = |many| FieldKind::Choice {
            of: of.to_vec(),
            many,
        };
        let (min, max) = (Some(1), Some(3));
        let name = FieldKind::Text { min, max };
        let age = FieldKind::Number {
            whole: true,
            min: Some(0.0),
            max: Some(9.0),
        };
        let mut fields = vec![
            field("name", name),
            field("age", age),
            field("sure", FieldKind::Flag),
            field("one", choice(false)),
            field("more", choice(true)),
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
            (object!({"age": 10}), "takes 0 to 9"),
            (object!({"sure": "true"}), "true or false"),
            (object!({"one": "green"}), "of its list"),
            (object!({"more": "red"}), "a list"),
            (object!({"more": ["green"]}), "of its list"),
            (object!({"sure": null}), "needs a value"),
            (object!({"other": 1}), "no field"),
        ] {
            let why = given(bad.clone()).unwrap_err().why;
            assert!(why.contains(says), "{bad}: {why}");
        }
        // All of it at once, by the names that people read too, and with the field to begin at.
        fields[1].label = "Alter".into();
        let all = object!({"name": "éàü", "age": 10, "one": "red", "more": ["blue"]});
        let unfit = content(&fields, all.as_object().unwrap().clone()).unwrap_err();
        let why = "Alter (age) takes 0 to 9; sure needs a value";
        assert_eq!((unfit.field.as_deref(), &*unfit.why), (Some("age"), why));
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
        let odd = "http://a.example https://a.example@b.example/ https:// https://\u{430}.example file:///x";
        for url in odd.split(' ') {
            assert!(!is_plain(url), "{url}");
        }
    }
}
