//! A call as a request of HTTP, and back: which members go into the path, the query and the body.

use crate::{Method, OwnerCall};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use plexus_protocol::json::{Exact, in_plain_words};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use serde_json::{Map, Value};

/// What stands in a path or a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request that is ready to be sent.
#[derive(Debug, PartialEq)]
pub struct WireRequest {
    /// Its method.
    pub method: Method,
    /// Its path below `/admin/api`, with the query.
    pub path: String,
    /// Its body; a method that has one has an object, which may be empty.
    pub body: Option<Value>,
}

/// A request that is not of its form, in words for its author.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    pub(crate) const fn new(why: String) -> Self {
        Self(why)
    }
}

/// The parts of a path template: its pieces, and the names of its query parameters.
fn parts(template: &'static str) -> (&'static str, impl Iterator<Item = &'static str>) {
    let (path, query) = template.split_once('?').unwrap_or((template, ""));
    (path, query.split('&').filter(|name| !name.is_empty()))
}

/// A text as a part of a path or a query.
#[must_use]
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A value as one.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => encoded(text),
        other => other.to_string(),
    }
}

/// The request of a call.
#[must_use]
pub fn write<C: OwnerCall>(call: &C) -> WireRequest {
    let mut members = match serde_json::to_value(call) {
        Ok(Value::Object(members)) => members,
        // A unit struct: it has no members.
        _ => Map::new(),
    };
    members.retain(|_, value| C::NULL_CLEARS || !value.is_null());
    let (template, query) = parts(C::PATH);
    let mut path = String::new();
    for (n, piece) in template.split('{').enumerate() {
        match (n, piece.split_once('}')) {
            (1.., Some((name, rest))) => {
                let value = members.shift_remove(name).unwrap_or_default();
                path.push_str(&plain(&value));
                path.push_str(rest);
            }
            _ => path.push_str(piece),
        }
    }
    for (n, (name, value)) in query
        .filter_map(|name| Some((name, members.shift_remove(name)?)))
        .enumerate()
    {
        path.push(if n == 0 { '?' } else { '&' });
        path.push_str(&format!("{name}={}", plain(&value)));
    }
    let has_body = matches!(C::METHOD, Method::Post | Method::Put);
    WireRequest {
        method: C::METHOD,
        path,
        body: has_body.then_some(Value::Object(members)),
    }
}

/// Reads a call of the parts of its path, of its query and of its body. A part of the path counts before a member of the
/// same name in the query, and that before one in the body.
///
/// # Errors
/// Where a member is missing or not of its type; the words name it.
pub fn read<C: OwnerCall>(
    in_path: impl IntoIterator<Item = (String, String)>,
    in_query: &[(String, String)],
    body: Map<String, Value>,
) -> Result<C, Malformed> {
    let mut members = body;
    let (_, query) = parts(C::PATH);
    for name in query {
        // What a form leaves empty is absent.
        let given = in_query.iter().find(|(key, _)| key == name);
        match given.filter(|(_, value)| !value.is_empty()) {
            Some((_, value)) => members.insert(name.to_owned(), value.clone().into()),
            None => members.shift_remove(name),
        };
    }
    members.extend(
        in_path
            .into_iter()
            .map(|(name, value)| (name, value.into())),
    );
    members.retain(|_, value| C::NULL_CLEARS || !value.is_null());
    of_members(members)
}

/// The members of a body, or of a part of one, as a type.
///
/// # Errors
/// As [`read`].
pub fn of_members<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Malformed> {
    serde_path_to_error::deserialize(Exact(Value::Object(members))).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner().to_string();
        let missing = why
            .strip_prefix("missing field `")
            .and_then(|rest| rest.strip_suffix('`'));
        Malformed(match (missing, path.as_str()) {
            (Some(name), "." | "") => format!("`{name}` is required"),
            (Some(name), path) => format!("`{path}.{name}` is required"),
            (None, "." | "") => in_plain_words(&why),
            (None, path) => format!("`{path}`: {}", in_plain_words(&why)),
        })
    })
}

/// A number that travels as text in a query.
pub(crate) mod number {
    use serde::{Deserialize, Deserializer, de};
    use serde_json::Value;
    use std::str::FromStr;

    /// The same where it may be absent.
    pub(crate) fn optional<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        deserialize(from).map(Some)
    }

    /// The same where what is no whole number counts as absent.
    pub(crate) fn or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        Ok(match Value::deserialize(from)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        })
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given<T> {
        Number(T),
        Text(String),
    }

    /// A whole number, or its digits.
    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        match Given::deserialize(from)? {
            Given::Number(number) => Ok(number),
            Given::Text(text) => text
                .parse()
                .map_err(|_| de::Error::custom("a whole number is wanted")),
        }
    }
}

/// A member of a change: absent, `null`, or a value.
pub(crate) fn change<'de, T, D>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(from).map(Some)
}

/// A value that is known here; none in the place of any other.
pub(crate) fn known<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// The strings of a list, each once: what is none is dropped, and anything but a list counts as empty, as in other gateways
/// of the family. Only for a list that gives: of one that takes away or keeps, that would lose what its author meant.
pub(crate) fn strings<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let mut found = Vec::new();
    if let Value::Array(all) = Value::deserialize(from)? {
        for one in all {
            match one {
                Value::String(text) if !found.contains(&text) => found.push(text),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// A secret: what is wrong is said without it.
pub(crate) fn unsaid<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(from).map_err(|_| de::Error::custom("a string is wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agents, boards, calls, secrets, sources};
    use serde_json::json;

    fn text(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn members_go_where_the_path_says_and_come_back() {
        let look = calls::Look {
            id: "run_1/../2".to_owned(),
            after: 7,
            wait: 0,
        };
        let sent = write(&look);
        assert_eq!(sent.path, "/calls/run_1%2F..%2F2?after=7&wait=0");
        assert_eq!(sent.body, None);
        let query = text(&[("after", "7"), ("wait", "0"), ("other", "x")]);
        let back: calls::Look = read(text(&[("id", "run_1/../2")]), &query, Map::new()).unwrap();
        assert_eq!(
            (back.id.as_str(), back.after, back.wait),
            ("run_1/../2", 7, 0)
        );

        let stop = boards::Stop {
            id: "brd_1".to_owned(),
            source: None,
        };
        let sent = write(&stop);
        assert_eq!(
            (sent.path.as_str(), sent.body),
            ("/boards/brd_1/stop", Some(json!({})))
        );
        let members = json!({"id": "brd_2", "source": "beside", "more": 1});
        let members = members.as_object().cloned().unwrap();
        let back: boards::Stop = read(text(&[("id", "brd_1")]), &[], members).unwrap();
        assert_eq!((back.id.as_str(), back.source), ("brd_1", None));
        assert_eq!(write(&calls::List {}).path, "/calls");
    }

    #[test]
    fn a_member_that_is_wrong_is_named() {
        let looked = |query: &[(&str, &str)]| {
            let read = read::<calls::Look>(text(&[("id", "x")]), &text(query), Map::new());
            read.map_err(|malformed| malformed.to_string())
        };
        assert_eq!(looked(&[("after", ""), ("wait", "1")]).unwrap().after, 0);
        assert_eq!(
            looked(&[("after", "-1")]).unwrap_err(),
            "`after`: a whole number is wanted"
        );
        let nameless = read::<calls::Stop>([], &[], Map::new()).unwrap_err();
        assert_eq!(nameless.to_string(), "`id` is required");
    }

    #[test]
    fn an_array_is_no_object_and_a_list_of_texts_is_read_leniently() {
        let read = |members: Value| {
            let members = members.as_object().cloned().unwrap();
            read::<agents::Connect>([], &[], members)
        };
        // It would be a narrowing that narrows nothing.
        let why = read(json!({"agentId": "a", "constraint": []})).unwrap_err();
        assert!(
            why.0
                .starts_with("`constraint`: got a list, expected an object"),
            "{why}"
        );
        let lenient = read(json!({"capabilities": ["x", 5, "x", "y"], "standing": "x"})).unwrap();
        assert_eq!(lenient.capabilities, ["x", "y"]);
        assert!(lenient.standing.is_empty() && lenient.agent_id.is_empty());
    }

    #[test]
    fn null_in_a_change_takes_away() {
        let members = json!({"id": "other", "label": null, "enabled": true});
        let members = members.as_object().cloned().unwrap();
        let change: sources::Reconfigure =
            read(text(&[("id", "notes")]), &[], members.clone()).unwrap();
        assert_eq!((change.id.as_str(), &change.label), ("notes", &Some(None)));
        assert_eq!(
            (change.enabled, change.approval.is_none()),
            (Some(Some(true)), true)
        );
        let sent = write(&change);
        assert_eq!(sent.path, "/sources/notes/reconfigure");
        assert_eq!(sent.body, Some(json!({"label": null, "enabled": true})));
        let hide: sources::Hide = read([], &[], members).unwrap();
        assert!(hide.is_empty(), "{hide:?}");
    }

    #[test]
    fn what_is_no_text_is_refused_and_a_secret_is_not_repeated() {
        let members = |value: Value| value.as_object().cloned().unwrap();
        for (key, value, named) in [
            ("folders", json!("a"), "`folders`"),
            ("globs", json!({"a": 1}), "`globs`"),
            ("tags", json!(["a", 5]), "`tags[1]`"),
        ] {
            let hide = members(json!({"id": "notes", key: value}));
            let why = read::<sources::Hide>([], &[], hide).unwrap_err();
            assert!(why.0.starts_with(named), "{why}");
        }
        let secret = json!({"name": "mail", "value": 31_415});
        let refused = read::<secrets::Write>([], &[], members(secret))
            .err()
            .unwrap();
        assert_eq!(refused.to_string(), "`value`: a string is wanted");
    }
}
