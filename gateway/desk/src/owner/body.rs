//! Bodies of the owner's requests: strict JSON objects whose members are asked for by type. `null` is absence.

use axum::extract::Request;
use plexus_edge::reply::{self, Refused};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// # Errors
    /// 400 `internal_error` where it is not a JSON object; 413.
    pub(super) async fn read(request: Request) -> Result<Self, Refused> {
        reply::object_body(request).await.map(Self)
    }

    pub(super) fn given(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// # Errors
    /// Where it is there and no string; the same with its type for the others.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Refused> {
        match self.given(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refused::malformed(format!("`{key}` must be a string"))),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Refused> {
        match self.given(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Refused::malformed(format!("`{key}` must be true or false"))),
        }
    }

    pub(super) fn needed_flag(&self, key: &str) -> Result<bool, Refused> {
        self.flag(key)?
            .ok_or_else(|| Refused::malformed(format!("`{key}` (true or false) is required")))
    }

    pub(super) fn needed_text(&self, key: &str) -> Result<&str, Refused> {
        self.text(key)?
            .ok_or_else(|| Refused::malformed(format!("`{key}` is required")))
    }
    pub(super) fn typed<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Refused> {
        let read = |value: &Value| {
            plexus_protocol::json::from_value(value.clone())
                .map_err(|e| Refused::malformed(format!("`{key}`: {e}")))
        };
        self.given(key).map(read).transpose()
    }

    /// The strings of an array; what is none is dropped, and anything else counts as empty
    /// (docs/protocol/owner.md#agents).
    pub(super) fn strings(&self, key: &str) -> Vec<&str> {
        let all = self
            .given(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut found = Vec::new();
        for text in all.filter_map(Value::as_str) {
            if !found.contains(&text) {
                found.push(text);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_have_their_type_or_are_refused() {
        let Value::Object(members) =
            json!({"a": "x", "b": true, "c": null, "d": 5, "e": ["x", 5, "x", "y"]})
        else {
            unreachable!()
        };
        let body = Fields(members);
        assert_eq!(body.text("a").unwrap(), Some("x"));
        assert_eq!(body.text("c").unwrap(), None);
        assert!(body.text("d").is_err() && body.flag("a").is_err() && body.flag("d").is_err());
        assert_eq!(body.flag("b").unwrap(), Some(true));
        assert!(body.needed_flag("c").is_err() && body.needed_flag("b").unwrap());
        assert_eq!(body.strings("e"), ["x", "y"]);
        assert!(body.strings("a").is_empty());
        assert!(body.typed::<plexus_protocol::TrustWindow>("a").is_err());
    }
}
