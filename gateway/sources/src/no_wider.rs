//! `no_wider` against the validator that inputs are really held to: where it says yes, whatever the new schema accepts
//! the old one accepted too.

use crate::schema::Schema;
use plexus_trust::no_wider;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..6).prop_map(|n| json!(n)),
        (-6_i64..12).prop_map(|n| json!(n as f64 / 2.0)),
        prop::sample::select(vec!["", "a", "b", "ab", "abc"]).prop_map(|s| json!(s)),
        any::<bool>().prop_map(|b| json!(b)),
        Just(Value::Null),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            members(inner),
        ]
    })
}

fn members(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec((name, inner), 0..4)
        .prop_map(|list| Value::Object(list.into_iter().map(|(k, v)| (k.into(), v)).collect()))
}

/// One keyword and a value that it may have.
fn keyword() -> impl Strategy<Value = (String, Value)> {
    let of = |name: &'static str, value: BoxedStrategy<Value>| {
        value
            .prop_map(move |value| (name.to_owned(), value))
            .boxed()
    };
    let small = || (0_i64..4).prop_map(|n| json!(n)).boxed();
    let bound = || (-4_i64..8).prop_map(|n| json!(n as f64 / 2.0)).boxed();
    let kinds = [
        "string", "integer", "number", "object", "array", "boolean", "null",
    ];
    let kind = prop::sample::select(kinds.to_vec());
    prop_oneof![
        of("type", kind.clone().prop_map(|k| json!(k)).boxed()),
        of(
            "type",
            prop::collection::vec(kind, 1..4).prop_map(distinct).boxed()
        ),
        of(
            "enum",
            prop::collection::vec(scalar(), 1..4)
                .prop_map(distinct)
                .boxed()
        ),
        of("const", scalar().boxed()),
        of("minimum", bound()),
        of("exclusiveMinimum", bound()),
        of("maximum", bound()),
        of("exclusiveMaximum", bound()),
        of("minLength", small()),
        of("maxLength", small()),
        of("minItems", small()),
        of("maxItems", small()),
        of("minProperties", small()),
        of("maxProperties", small()),
        of("uniqueItems", any::<bool>().prop_map(|b| json!(b)).boxed()),
        of(
            "pattern",
            prop::sample::select(vec!["a", "^b"])
                .prop_map(|p| json!(p))
                .boxed()
        ),
        of("multipleOf", (1_i64..4).prop_map(|n| json!(n)).boxed()),
        of("default", scalar().boxed()),
        of("description", Just(json!("words")).boxed()),
        of("not", Just(json!({"type": "string"})).boxed()),
        of(
            "required",
            prop::sample::subsequence(vec!["a", "b", "c"], 0..3)
                .prop_map(|names| json!(names))
                .boxed()
        ),
    ]
}

fn distinct(list: impl IntoIterator<Item = impl serde::Serialize>) -> Value {
    let mut out: Vec<Value> = Vec::new();
    for value in list.into_iter().map(|value| json!(value)) {
        if !out.contains(&value) {
            out.push(value);
        }
    }
    Value::Array(out)
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop::collection::vec(keyword(), 0..3)
        .prop_map(|list| Value::Object(list.into_iter().collect()));
    let leaf = prop_oneof![6 => leaf, 1 => any::<bool>().prop_map(Value::Bool)];
    leaf.prop_recursive(2, 10, 3, |inner| {
        let words = prop::collection::vec(keyword(), 0..3);
        let properties = members(inner.clone());
        let (others, items) = (prop::option::of(inner.clone()), prop::option::of(inner));
        (words, properties, others, items).prop_map(|(words, properties, others, items)| {
            let mut schema: Map<String, Value> = words.into_iter().collect();
            schema.insert("properties".into(), properties);
            others.map(|schema_of| schema.insert("additionalProperties".into(), schema_of));
            items.map(|schema_of| schema.insert("items".into(), schema_of));
            Value::Object(schema)
        })
    })
}

/// A schema, and one that came of it by a few edits: what a release does.
fn release() -> impl Strategy<Value = (Value, Value)> {
    let edit = (
        any::<prop::sample::Index>(),
        prop::option::of(keyword()),
        prop::option::of(schema()),
    );
    (schema(), prop::collection::vec(edit, 0..3)).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (at, word, below) in edits {
            let places = places(&new, "");
            let Some(place) = new.pointer_mut(&places[at.index(places.len())]) else {
                continue;
            };
            match (place, word, below) {
                (Value::Object(object), Some((key, value)), _) => {
                    object.insert(key, value);
                }
                (Value::Object(object), None, _) if !object.is_empty() => {
                    let key = object.keys().nth(at.index(object.len())).cloned();
                    key.map(|key| object.remove(&key));
                }
                (place, None, Some(schema)) => *place = schema,
                _ => {}
            }
        }
        (old, new)
    })
}

/// Pointers to every schema in a schema.
fn places(schema: &Value, at: &str) -> Vec<String> {
    let mut found = vec![at.to_owned()];
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(key) {
            found.extend(places(below, &format!("{at}/{key}")));
        }
    }
    for (name, below) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        found.extend(places(below, &format!("{at}/properties/{name}")));
    }
    found
}

/// Wraps it, because an input is an object.
fn accepts(schema: &Value) -> impl Fn(&Value) -> bool {
    let whole = json!({"properties": {"x": schema}});
    let compiled = Schema::compile(&whole).expect("a schema");
    move |value| compiled.check(&json!({"x": value})).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_called_no_wider_accepts_nothing_more(
        (old, new) in release(),
        unrelated in schema(),
        inputs in prop::collection::vec(value(), 40),
    ) {
        for (old, new) in [(&old, &new), (&new, &old), (&unrelated, &new)] {
            if !no_wider(old, new) {
                continue;
            }
            let (was, is) = (accepts(old), accepts(new));
            for input in &inputs {
                prop_assert!(!is(input) || was(input), "{} is accepted by {} and was not by {}", input, new, old);
            }
        }
    }
}

#[test]
fn what_a_release_changes() {
    let object = |properties: Value| json!({"type": "object", "properties": properties, "required": ["path"], "additionalProperties": false});
    let path = json!({"type": "string"});
    let base = object(
        json!({"path": path, "mode": {"enum": ["a", "b"]}, "n": {"type": "integer", "maximum": 10}}),
    );
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut new = base.clone();
        edit(&mut new);
        new
    };
    let narrower: [&dyn Fn(&mut Value); 7] = [
        &|s| s["properties"]["path"]["description"] = json!("other words"),
        &|s| s["properties"]["mode"]["enum"] = json!(["a"]),
        &|s| s["properties"]["n"]["maximum"] = json!(9),
        &|s| s["properties"]["n"]["minimum"] = json!(1),
        &|s| s["required"] = json!(["path", "n"]),
        &|s| drop(s["properties"].as_object_mut().map(|p| p.remove("mode"))),
        &|s| s["properties"]["path"]["maxLength"] = json!(100),
    ];
    for edit in narrower {
        assert!(no_wider(&base, &with(edit)), "{}", with(edit));
    }
    let wider: [&dyn Fn(&mut Value); 9] = [
        &|s| s["properties"]["overwrite"] = json!({"type": "boolean"}),
        &|s| s["properties"]["mode"]["enum"] = json!(["a", "b", "c"]),
        &|s| s["properties"]["n"]["maximum"] = json!(11),
        &|s| s["properties"]["n"]["type"] = json!("number"),
        &|s| s["required"] = json!([]),
        &|s| s["additionalProperties"] = json!(true),
        &|s| s["properties"]["path"] = json!({}),
        &|s| s["properties"]["n"]["default"] = json!(5),
        &|s| s["properties"]["path"]["not"] = json!({"const": "x"}),
    ];
    for edit in wider {
        assert!(!no_wider(&base, &with(edit)), "{}", with(edit));
    }
}
