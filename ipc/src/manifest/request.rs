//! A capability that is one HTTP request: its method, path, query and JSON body, and which fields of the input stand in them.
//!
//! ```text
//! GET /api/states/{entity}     query {"since": "{since}"}     body {"entity_id": "{entity}", "brightness": "{level}"}
//! ```
//! Invariants: a value in a path is percent-encoded, stays in its segment and makes no segment that moves; a value in the
//! query is percent-encoded and stays the value of its name; a value in the body is JSON; no value reaches a header. A read
//! sends `GET` or `HEAD`.
//!
//! Must not know: the host, the secret, how a request is sent.

use super::{
    Capability, Manifest, ManifestError,
    command::{MAX_TIMEOUT, Part, parts},
    invalid, is_path,
};
use crate::text::percent_encode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Longest path with its query, in bytes.
const MAX_TARGET: usize = 8 * 1024;
/// Largest body, in bytes, and its deepest nesting as a template.
const MAX_BODY: usize = 1 << 20;
const MAX_DEPTH: usize = 16;
/// Most parameters of a query.
const MAX_QUERY: usize = 32;

/// A method that a request may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// It asks.
    #[default]
    Get,
    /// It asks for the status alone.
    Head,
    /// It does what the app says.
    Post,
    /// It replaces.
    Put,
    /// It changes.
    Patch,
    /// It removes.
    Delete,
}

impl HttpMethod {
    /// As it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a read may send it.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// How a capability is one request to the host of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestTemplate {
    /// The method.
    pub method: HttpMethod,
    /// The whole path, a template.
    pub path: String,
    /// The query: a template by name. A parameter whose fields the input leaves out is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The JSON body, whose texts are templates; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Whether the answer is JSON; otherwise it is text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
    /// The statuses that are answers.
    pub statuses: BTreeSet<u16>,
    /// Largest answer, in bytes.
    pub output_bytes: u32,
    /// How long a request may take, in milliseconds of awake time.
    pub timeout_ms: u32,
}

/// A request with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedRequest {
    /// The path, and the query behind a `?`.
    pub target: String,
    /// The JSON body.
    pub body: Option<Value>,
}

impl RequestTemplate {
    /// The request for one input.
    ///
    /// # Errors
    /// Why there is none: in words for the caller that hold no value of the input.
    pub fn render(&self, input: &Value) -> Result<RenderedRequest, String> {
        let mut target = String::new();
        for part in parts(&self.path)? {
            match part {
                Part::Literal(text) => target.push_str(&text),
                Part::Folder(name) => return Err(format!("{name} is a folder")),
                Part::Field(name) => {
                    let value = text_of(&name, input)?;
                    let value = value.ok_or_else(|| format!("{name} is not there"))?;
                    if value.is_empty() {
                        return Err(format!(
                            "the value for {name} is empty, and stands in the path"
                        ));
                    }
                    // Some servers take an encoded separator for one.
                    if value.contains(['/', '\\', ';', '\0']) {
                        return Err(format!(
                            "the value for {name} holds '/', '\\', ';' or a zero byte, and would be more than one part of the path"
                        ));
                    }
                    percent_encode(&value, &mut target);
                }
            }
        }
        if !is_path(&target) {
            return Err(format!(
                "the values for {} make a path with an empty part, '.' or '..'",
                self.path
            ));
        }
        let mut separator = '?';
        for (name, template) in &self.query {
            if let Some(value) = filled(template, input)? {
                target.push(separator);
                percent_encode(name, &mut target);
                target.push('=');
                percent_encode(&value, &mut target);
                separator = '&';
            }
        }
        if target.len() > MAX_TARGET {
            return Err("the path and query have more than 8 KiB".to_owned());
        }
        let body = self.body.as_ref().map(|body| body_of(body, input));
        let body = body.transpose()?.map(|body| body.unwrap_or(Value::Null));
        if body
            .as_ref()
            .is_some_and(|body| body.to_string().len() > MAX_BODY)
        {
            return Err("the body has more than 1 MiB".to_owned());
        }
        Ok(RenderedRequest { target, body })
    }

    /// What admits its requests and no other: `GET /api/states/*`.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{} ", self.method.as_str());
        for part in parts(&self.path).unwrap_or_default() {
            match part {
                Part::Literal(text) => line.push_str(&text),
                Part::Folder(_) | Part::Field(_) => line.push('*'),
            }
        }
        line
    }

    /// The fields of the input that stand in it, each with whether it may be left out.
    fn fields(&self) -> Result<Vec<(String, bool)>, &'static str> {
        let mut fields = Vec::new();
        let mut of = |template: &str, optional: bool| {
            for part in parts(template)? {
                match part {
                    Part::Literal(_) => {}
                    Part::Field(name) => fields.push((name, optional)),
                    Part::Folder(_) => return Err("a request names no folder"),
                }
            }
            Ok(())
        };
        of(&self.path, false)?;
        for template in self.query.values() {
            of(template, true)?;
        }
        if let Some(body) = &self.body {
            each_text(body, 0, &mut |text| of(text, true))?;
        }
        Ok(fields)
    }

    fn check(&self, entry: &Capability) -> Result<(), (String, &'static str)> {
        let at = |place: &str, why| (place.to_owned(), why);
        if entry.is_read() && !self.method.is_read() {
            let why = "a read sends GET or HEAD; what sends another method asks each time";
            return Err(at("method", why));
        }
        if self.method.is_read() && self.body.is_some() {
            return Err(at("body", "GET and HEAD have none"));
        }
        let fields = self.fields().map_err(|why| at("template", why))?;
        let plain = |text: &str| !text.contains(['*', '?', '#']);
        let example = self.line();
        let example = example.split_once(' ').map_or("", |(_, path)| path);
        if plain(&self.path) && example.contains("**") {
            let why = "two fields stand side by side in the path, where nobody tells them apart: put a sign between them";
            return Err(at("path", why));
        }
        if !plain(&self.path) || !is_path(&example.replace('*', "x")) {
            let why = "not a plain path from '/' on; a query stands in `query`";
            return Err(at("path", why));
        }
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~[]".contains(&b);
        let name = |name: &String| (1..=64).contains(&name.len()) && name.bytes().all(unreserved);
        if self.query.len() > MAX_QUERY || !self.query.keys().all(name) {
            let why = "more than 32 names, or one that is not 1 to 64 ASCII letters, digits, '-', '.', '_', '~', '[' or ']'";
            return Err(at("query", why));
        }
        let schema = entry.input.as_ref().unwrap_or(&Value::Null);
        let property = |name: &str| schema["properties"].get(name);
        for (name, optional) in &fields {
            let place = || format!("field {name:?}");
            let Some(property) = property(name) else {
                return Err((place(), "is no property of the input"));
            };
            let mut required = schema["required"].as_array().into_iter().flatten();
            if !optional && !required.any(|known| known == name) {
                let why = "it stands in the path: make it required";
                return Err((place(), why));
            }
            let scalar = ["string", "integer", "number", "boolean"];
            if !optional && !scalar.iter().any(|kind| property["type"] == *kind) {
                let why = "it stands in the path, and is no string, integer, number or boolean";
                return Err((place(), why));
            }
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        let used: BTreeSet<&String> = fields.iter().map(|(name, _)| name).collect();
        if let Some((name, _)) = properties.clone().find(|(name, _)| !used.contains(name)) {
            return Err((format!("field {name:?}"), "no part of the request uses it"));
        }
        if schema["additionalProperties"] != Value::Bool(false) {
            return Err(at("input", "additionalProperties is not false"));
        }
        let status = |status: &u16| (200..=599).contains(status) && !(300..=399).contains(status);
        if self.statuses.is_empty() || !self.statuses.iter().all(status) {
            let why = "none, or one that is not 200 to 299 or 400 to 599";
            return Err(at("statuses", why));
        }
        if !(1..=1 << 20).contains(&self.output_bytes) {
            return Err(at("output", "not 1 byte to 1 MiB"));
        }
        if !(1..=MAX_TIMEOUT).contains(&self.timeout_ms) {
            return Err(at("timeout", "not 1 to 600,000 ms"));
        }
        Ok(())
    }
}

/// Whether a line as of [`RequestTemplate::line`] admits a request, whole: `*` stands for one or more signs of a segment.
#[must_use]
pub fn admits_whole(line: &str, method: &str, path: &str) -> bool {
    let Some((of, pattern)) = line.split_once(' ') else {
        return false;
    };
    let (mut patterns, mut segments) = (pattern.split('/'), path.split('/'));
    let fits = patterns
        .by_ref()
        .zip(segments.by_ref())
        .all(|(pattern, segment)| segment_fits(pattern, segment));
    of == method && pattern.matches('/').count() == path.matches('/').count() && fits
}

/// Takes each text between two `*` where it is found first, so that it looks at a sign once for each of them: the
/// sender of the request chooses the segment.
fn segment_fits(pattern: &str, segment: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == segment;
    };
    let Some(mut rest) = segment.strip_prefix(before) else {
        return false;
    };
    let mut texts = after.split('*').peekable();
    while let Some(text) = texts.next() {
        // Each `*` stands for at least one sign.
        let Some(first) = rest.chars().next() else {
            return false;
        };
        rest = &rest[first.len_utf8()..];
        if texts.peek().is_none() {
            return rest.ends_with(text);
        }
        match rest.split_once(text) {
            Some((_, further)) => rest = further,
            None => return false,
        }
    }
    false
}

/// A template with its values, as text; `None` where the input leaves one of its fields out.
fn filled(template: &str, input: &Value) -> Result<Option<String>, String> {
    let mut text = String::new();
    for part in parts(template)? {
        match part {
            Part::Literal(literal) => text.push_str(&literal),
            Part::Folder(name) => return Err(format!("{name} is a folder")),
            Part::Field(name) => match text_of(&name, input)? {
                Some(value) => text.push_str(&value),
                None => return Ok(None),
            },
        }
    }
    Ok(Some(text))
}

fn text_of(name: &str, input: &Value) -> Result<Option<String>, String> {
    match input.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(_) => Err(format!("{name} is no text, number or truth value")),
    }
}

/// A body with its values. A text that is one field becomes that field's value, of whatever kind; a member whose fields the
/// input leaves out is left out.
fn body_of(template: &Value, input: &Value) -> Result<Option<Value>, String> {
    Ok(Some(match template {
        Value::String(text) => match &parts(text)?[..] {
            [Part::Field(name)] => return Ok(input.get(name).cloned()),
            _ => return Ok(filled(text, input)?.map(Value::String)),
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| body_of(item, input));
            let items: Result<Vec<Option<Value>>, String> = items.collect();
            Value::Array(items?.into_iter().flatten().collect())
        }
        Value::Object(members) => {
            let mut filled = Map::new();
            for (name, member) in members {
                if let Some(value) = body_of(member, input)? {
                    filled.insert(name.clone(), value);
                }
            }
            Value::Object(filled)
        }
        other => other.clone(),
    }))
}

/// Each text of a body, as far as it may be nested.
fn each_text(
    value: &Value,
    depth: usize,
    of: &mut impl FnMut(&str) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("the body is nested more than 16 deep");
    }
    match value {
        Value::String(text) => of(text),
        Value::Array(items) => items.iter().try_for_each(|v| each_text(v, depth + 1, of)),
        Value::Object(all) => all.values().try_for_each(|v| each_text(v, depth + 1, of)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

impl Manifest {
    pub(super) fn check_requests(&self) -> Result<(), ManifestError> {
        for (name, request) in self.requests() {
            let entry = self.capability(name);
            let at = |place: String| format!("capability {name:?}, {place}");
            let checked = entry.map_or(Ok(()), |entry| request.check(entry));
            checked.map_err(|(place, why)| invalid(at(place), why))?;
            let mut hosts = self.hosts().filter(|host| host.is_agreed());
            let line = request.line();
            let is_read = entry.is_some_and(Capability::is_read);
            let lists = |host: &super::Egress| {
                host.paths.contains(&line) && (!is_read || host.reads.contains(&line))
            };
            if !hosts.any(lists) {
                return Err(invalid(at("request".into()), "no host lists it"));
            }
        }
        Ok(())
    }

    /// Its capabilities that send a request, by name.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &RequestTemplate)> {
        let entries = self.capabilities.iter();
        entries.filter_map(|entry| Some((entry.name.as_str(), entry.request.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(path: &str) -> RequestTemplate {
        RequestTemplate {
            method: HttpMethod::Post,
            path: path.to_owned(),
            query: BTreeMap::from([("q".to_owned(), "is:{what}".to_owned())]),
            body: Some(json!({"a": "{what}", "list": ["{n}", "x{n}"], "gone": "{none}", "n": 1})),
            json: true,
            statuses: BTreeSet::from([200]),
            output_bytes: 1024,
            timeout_ms: 1000,
        }
    }

    #[test]
    fn value_stays_where_its_template_has_it() {
        let rendered =
            request("/a/{what}/b").render(&json!({"what": "x y&z=1?#%2F\u{e9}\r\nH: v", "n": [1]}));
        let rendered = rendered.expect_err("n is no text in x{n}");
        assert_eq!(rendered, "n is no text, number or truth value");
        let odd = "x y&z=1?#%2F\u{e9}\r\nH: v";
        let rendered = request("/a/{what}/b")
            .render(&json!({"what": odd, "n": 3}))
            .unwrap();
        let encoded = "x%20y%26z%3D1%3F%23%252F%C3%A9%0D%0AH%3A%20v";
        assert_eq!(rendered.target, format!("/a/{encoded}/b?q=is%3A{encoded}"));
        let body = json!({"a": odd, "list": [3, "x3"], "n": 1});
        assert_eq!(rendered.body, Some(body));
        // What the input leaves out.
        let bare = request("/a").render(&json!({})).unwrap();
        assert_eq!(bare.target, "/a");
        assert_eq!(bare.body, Some(json!({"list": [], "n": 1})));
    }

    #[test]
    fn value_never_moves_a_path() {
        let more = "would be more than one part of the path";
        for (value, why) in [
            ("..", "an empty part, '.' or '..'"),
            (".", "an empty part, '.' or '..'"),
            ("", "is empty, and stands in the path"),
            ("a/b", more),
            ("a\\b", more),
            ("a;b", more),
            ("a\0", more),
        ] {
            let what = json!({"what": value});
            let refused = request("/a/{what}").render(&what).unwrap_err();
            assert!(refused.contains(why), "{value:?}: {refused}");
        }
        assert!(request("/a/{what}").render(&json!({"what": ".x"})).is_ok());
        let absent = request("/a/{what}").render(&json!({})).unwrap_err();
        assert_eq!(absent, "what is not there");
    }

    #[test]
    fn line_admits_whole_requests() {
        let line = request("/api/{a}.{b}/on").line();
        assert_eq!(line, "POST /api/*.*/on");
        for (method, path, admitted) in [
            ("POST", "/api/light.kitchen/on", true),
            ("POST", "/api/a.b.c/on", true),
            ("GET", "/api/light.kitchen/on", false),
            ("POST", "/api/light.kitchen/on/x", false),
            ("POST", "/api/light.kitchen", false),
            ("POST", "/api/.kitchen/on", false),
            ("POST", "/api/light./on", false),
            ("POST", "/api/light/on", false),
            ("POST", "/api/light.kitchen/off", false),
            ("POST", "/api/a.b./on", true),
            ("POST", "/api/../on", false),
            ("POST", "/api/.../on", true),
        ] {
            let admits = admits_whole(&line, method, path);
            assert_eq!(admits, admitted, "{method} {path}");
        }
        // However many fields there are, the time grows with the length.
        let many = format!("GET /{}x", "*.".repeat(64));
        let long = format!("/{}", "a.".repeat(100_000));
        let began = std::time::Instant::now();
        assert!(!admits_whole(&many, "GET", &long));
        assert!(admits_whole(&many, "GET", &format!("{long}x")));
        assert!(began.elapsed() < std::time::Duration::from_secs(2));
        assert!(admits_whole("GET /a", "GET", "/a") && !admits_whole("GET /a", "GET", "/a/"));
    }
}
