//! Reading a type from a [`Value`] without the leeway that `serde` gives: a derived struct takes an array for its members in
//! their order, and one whose members may all be absent takes `[]` for a word that says nothing.
//!
//! What is read through a buffer of `serde`'s own (`untagged`, an internal `tag`, `flatten`) is out of reach below that
//! buffer: no type of the wire that a request holds may be read so.

use serde::de::{
    self, Deserializer, IntoDeserializer, Unexpected, Visitor,
    value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
};
use serde_json::{Error, Value};

/// A value, of which objects are read from objects only, at every depth.
pub struct Exact(pub Value);

impl Exact {
    /// Reads what is meant as an object.
    fn object<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Exact {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Exact));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(members) => {
                let exact = |(key, value)| (Exact(Value::String(key)), Exact(value));
                let mut members = MapDeserializer::new(members.into_iter().map(exact));
                let read = visitor.visit_map(&mut members)?;
                members.end().map(|()| read)
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.object(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.object(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) if members.len() == 1 => {
                let exact = |(key, value)| (Exact(Value::String(key)), Exact(value));
                let members = MapDeserializer::new(members.into_iter().map(exact));
                visitor.visit_enum(MapAccessDeserializer::new(members))
            }
            other => other.deserialize_enum(name, variants, visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Exact {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::{Constraint, TrustWindow, json::from_value};
    use serde::{Deserialize, Serialize, de::DeserializeOwned};
    use serde_json::{Value, json};
    use std::{collections::BTreeMap, fmt::Debug};

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Word(String);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair {
        one: Option<u8>,
        #[serde(default)]
        more: Vec<(i64, f64)>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Every {
        Plain,
        New(Pair),
        Two(bool, Value),
        Named { pair: Pair },
    }

    type All = BTreeMap<Word, Vec<Every>>;

    #[test]
    fn what_was_written_reads_back() {
        let pair = |one| Pair {
            one,
            more: vec![(-5, 0.5), (i64::MAX, -0.0)],
        };
        let every = vec![
            Every::Plain,
            Every::New(pair(None)),
            Every::Two(true, json!({"a": [1, {"b": null}, "x"]})),
            Every::Named {
                pair: pair(Some(3)),
            },
        ];
        let all = All::from([(Word("a".into()), every), (Word("b".into()), vec![])]);
        let text = serde_json::to_value(&all).unwrap();
        assert_eq!(from_value::<All>(text).unwrap(), all);
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        fn refused<T: DeserializeOwned + Debug>(array: &Value) {
            let why = from_value::<T>(array.clone()).unwrap_err().to_string();
            assert!(why.starts_with("invalid type: sequence"), "{array}: {why}");
        }
        for array in [
            json!({"a": [{"New": [3, []]}]}),
            json!({"a": [{"Named": [{"one": 3}]}]}),
            json!({"a": [{"Named": {"pair": [3]}}]}),
            json!([]),
        ] {
            refused::<All>(&array);
        }
        for array in [
            json!([]),
            json!([null, null, [], 3]),
            json!({"pathPrefix": ["path", ["a"]]}),
            json!({"allow": ["list", ["Home"]]}),
            json!({"match": [["path", "eq", "a", null]]}),
        ] {
            refused::<Constraint>(&array);
            refused::<Option<Constraint>>(&array);
        }
        refused::<TrustWindow>(&json!(["custom", 5]));
        assert!(from_value::<TrustWindow>(json!({"kind": "custom", "ms": 5})).is_ok());
        assert!(
            from_value::<Option<Constraint>>(Value::Null)
                .unwrap()
                .is_none()
        );
    }
}
