//! Why a call failed, in the worker's words. The gateway turns it into the wire's closed set of codes.

use crate::text::{Line, Word};
use plexus_protocol::{Effect, Scopes, Verb};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Largest `detail`, in bytes of JSON.
pub const MAX_DETAIL: usize = 4_096;

/// The kinds of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    /// The source refused or failed: `not_found`, `path_confinement`, `too_large`, …
    TransportError {
        /// The word that the wire carries as `detail.reason`.
        reason: Word,
    },
    /// The operating system, or the app behind the source, refused us.
    PermissionDenied,
    /// The world is not as the plan, the agent or the input said: `unread`, `changed`, `gone`, `plan_changed`, …
    PreconditionChanged {
        /// The word that the wire carries as `detail.reason`.
        reason: Word,
    },
    /// What the call resolved to lies outside its constraint.
    ConstraintMiss {
        /// The constrained field.
        field: Word,
    },
    /// The input fits the schema and not the connector.
    InvalidInput,
    /// It took longer than it may.
    DeadlineExceeded,
    /// The gateway cancelled it; `effect` says what was done by then.
    Cancelled,
    /// The app behind the source cannot be used now.
    SourceUnavailable,
    /// The server behind the source wants more than the owner's sign-in at it is good for. Nothing was done.
    ScopeMissing {
        /// What it wants, in its own words; empty where it does not say.
        wanted: Scopes,
    },
    /// Its plan amounts to more than the permit allows.
    RatingExceeded {
        /// What it amounts to.
        rating: Verb,
    },
    /// The harness did not hand it on: `launch`, `replayed`, `input_digest`, `unknown_capability`, `kind`.
    Refused {
        /// Which check.
        reason: Word,
    },
    /// Too much is under way in this worker.
    Busy,
    /// Our own failure.
    Internal,
}

/// The reason of a [`Failure::TransportError`] with which a server behind the source refused a call before it began. No plan
/// could foresee it: an effect that ends so has failed, and the world has not moved.
pub const SERVER_REFUSED: &str = "server_refused";

/// Why a call failed and whether anything was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub struct WorkerError {
    /// The kind.
    pub code: Failure,
    /// One sentence for the agent, without content of other things than those it named.
    pub message: Line<1024>,
    /// Structured facts for the agent; at most [`MAX_DETAIL`] bytes of JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "small"
    )]
    pub detail: Option<Value>,
    /// Whether anything was done.
    pub effect: Effect,
}

fn small<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    let mut left = MAX_DETAIL;
    let detail = Within(&mut left).deserialize(d)?;
    if !fits(&detail) {
        return Err(too_large());
    }
    Ok(Some(detail).filter(|detail| !detail.is_null()))
}

fn too_large<E: de::Error>() -> E {
    E::custom("a detail beyond 4 KiB")
}

/// Reads a value while there are bytes left for it, counted as the least that it can be in JSON: a frame of one byte for
/// each of millions of values would else be a hundred times its size before anybody asks for its length.
struct Within<'l>(&'l mut usize);

impl Within<'_> {
    fn take<E: de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        *self.0 = self.0.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }
    fn scalar<E: de::Error>(mut self, value: Value) -> Result<Value, E> {
        self.take(1)?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a small JSON value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
        self.scalar(Value::Bool(v))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        self.scalar(v.into())
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        self.scalar(v.into())
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        self.scalar(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E: de::Error>(mut self, v: &str) -> Result<Value, E> {
        self.take(v.len())?;
        self.scalar(v.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        self.take(1)?;
        let mut out = Vec::new();
        while let Some(item) = seq.next_element_seed(Within(&mut *self.0))? {
            out.push(item);
        }
        Ok(out.into())
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        self.take(1)?;
        let mut out = Map::new();
        while let Some(key) = map.next_key_seed(Within(&mut *self.0))? {
            let Value::String(key) = key else {
                return Err(de::Error::custom("a key that is no text"));
            };
            out.insert(key, map.next_value_seed(Within(&mut *self.0))?);
        }
        Ok(out.into())
    }
}

fn fits(value: &Value) -> bool {
    serde_json::to_vec(value).is_ok_and(|bytes| bytes.len() <= MAX_DETAIL)
}

impl WorkerError {
    /// A failure of this kind with nothing done.
    pub fn new(code: Failure, message: impl AsRef<str>) -> Self {
        Self {
            code,
            message: Line::new(message),
            detail: None,
            effect: Effect::None,
        }
    }
    /// The source refused or failed.
    pub fn transport(reason: &str, message: impl AsRef<str>) -> Self {
        let reason = reason.into();
        Self::new(Failure::TransportError { reason }, message)
    }
    /// The operating system, or the app behind the source, refused.
    pub fn denied(message: impl AsRef<str>) -> Self {
        Self::new(Failure::PermissionDenied, message)
    }
    /// The world is not as was assumed.
    pub fn changed(reason: &str, message: impl AsRef<str>) -> Self {
        let reason = reason.into();
        Self::new(Failure::PreconditionChanged { reason }, message)
    }
    /// What the call resolved to lies outside its constraint.
    #[must_use]
    pub fn constraint_miss(field: &str) -> Self {
        Self::new(
            Failure::ConstraintMiss {
                field: field.into(),
            },
            format!("outside what the grant allows for {field:?}"),
        )
    }
    /// The input fits the schema and not the connector.
    pub fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(Failure::InvalidInput, message)
    }
    /// The app behind the source cannot be used now.
    pub fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(Failure::SourceUnavailable, message)
    }
    /// Our own failure.
    pub fn internal(message: impl AsRef<str>) -> Self {
        Self::new(Failure::Internal, message)
    }
    /// It was cancelled, with `effect` done by then.
    #[must_use]
    pub fn cancelled(effect: Effect) -> Self {
        Self::new(Failure::Cancelled, "cancelled").effect(effect)
    }
    /// The harness did not hand the call on.
    pub(crate) fn refused(reason: &str, message: impl AsRef<str>) -> Self {
        let reason = reason.into();
        Self::new(Failure::Refused { reason }, message)
    }
    /// Adds structured facts; those beyond [`MAX_DETAIL`] are left out.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = fits(&detail).then_some(detail);
        self
    }
    /// Says whether anything was done; `unknown` where a commit failed after it may have changed something.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[derive(Debug, Serialize, Deserialize)]
    struct Envelope {
        #[serde(default, deserialize_with = "small")]
        detail: Option<Value>,
    }

    fn heard(bytes: &[u8]) -> Result<Option<Value>, String> {
        let said = rmp_serde::from_slice::<Envelope>(bytes);
        said.map(|said| said.detail).map_err(|e| e.to_string())
    }

    /// What follows is not read: with it, these few bytes would be too short and the error another one.
    #[test]
    fn many_small_values_are_refused_before_they_are_read() {
        let head = b"\x81\xa6detail";
        for (what, open, each) in [
            ("an array", &b"\xdd\x01\x00\x00\x00"[..], &b"\xc0"[..]),
            ("a map", b"\xdf\x01\x00\x00\x00", b"\xa1k\xc0"),
            ("texts", b"\xdd\x01\x00\x00\x00", b"\xa0"),
        ] {
            let mut bytes = [&head[..], open].concat();
            bytes.extend(each.repeat(MAX_DETAIL + 1));
            let error = heard(&bytes).expect_err(what);
            assert!(error.contains("beyond 4 KiB"), "{what}: {error}");
        }
    }

    #[test]
    fn a_detail_is_at_most_4_kib_and_none_is_none() {
        let said = |detail: Option<Value>| rmp_serde::to_vec_named(&Envelope { detail }).unwrap();
        let of = |bytes: usize| json!("x".repeat(bytes - 2));
        assert_eq!(heard(&said(Some(of(MAX_DETAIL)))), Ok(Some(of(MAX_DETAIL))));
        let beyond = heard(&said(Some(of(MAX_DETAIL + 1)))).expect_err("too much");
        assert!(beyond.contains("beyond 4 KiB"), "{beyond}");
        assert_eq!(heard(&said(None)), Ok(None));
        assert_eq!(heard(b"\x80"), Ok(None));
    }

    fn any_detail() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(|f: f64| Value::from(f)),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The count is never stricter than the length in JSON.
        #[test]
        fn what_fits_is_read_as_it_was_said(detail in any_detail()) {
            let bytes = rmp_serde::to_vec_named(&Envelope { detail: Some(detail.clone()) }).unwrap();
            let wanted = Some(detail.clone()).filter(|detail| !detail.is_null());
            prop_assert_eq!(heard(&bytes).ok(), fits(&detail).then_some(wanted));
        }
    }
}
