//! Inputs that nobody should send: an example with one thing wrong in it.
//!
//! Deterministic: the same example gives the same inputs, so a breach can be seen again.

use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Map, Value, json};

/// What is wrong with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// A member of another type, or none where one is required: must be refused.
    Shape,
    /// A value that is odd, large, or unknown: must be survived.
    Value,
}

/// `count` inputs.
pub(crate) fn harmed(example: &Value, schema: &Value, count: usize) -> Vec<(Harm, Value)> {
    let mut runner = TestRunner::deterministic();
    let strategy = one(example.clone(), schema.clone());
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).expect("an input").current())
        .collect()
}

fn one(example: Value, schema: Value) -> BoxedStrategy<(Harm, Value)> {
    let mut names: Vec<String> = schema["properties"]
        .as_object()
        .map(|named| named.keys().cloned().collect())
        .unwrap_or_default();
    names.push("conformance-unknown".to_owned());
    let present: Vec<String> = example
        .as_object()
        .map(|members| members.keys().cloned().collect())
        .unwrap_or_default();
    let base = example.as_object().cloned().unwrap_or_default();

    let odd = {
        let base = base.clone();
        let schema = schema.clone();
        (select(names), odd_value()).prop_map(move |(name, value)| {
            let harm = if fits_type(&schema["properties"][&name], &value) || value.is_null() {
                Harm::Value
            } else {
                Harm::Shape
            };
            (harm, with(&base, &name, value))
        })
    };
    let bounds = {
        let base = base.clone();
        select(at_bounds(&schema))
            .prop_map(move |(name, value)| (Harm::Value, with(&base, &name, value)))
    };
    let top = select(vec![
        json!(null),
        json!([]),
        json!("x"),
        json!(7),
        json!([{}]),
        json!({}),
    ])
    .prop_map(|value| {
        // A sequence can stand for a structure in serde, so only its survival is asked for.
        (Harm::Value, value)
    });
    if present.is_empty() {
        return prop_oneof![6 => odd, 2 => bounds, 1 => top].boxed();
    }
    let fewer = select(present).prop_map(move |name| {
        let mut members = base.clone();
        members.remove(&name);
        (Harm::Shape, Value::Object(members))
    });
    prop_oneof![6 => odd, 2 => bounds, 1 => top, 1 => fewer].boxed()
}

fn with(base: &Map<String, Value>, name: &str, value: Value) -> Value {
    let mut members = base.clone();
    members.insert(name.to_owned(), value);
    Value::Object(members)
}

/// Whether the value is of a type that the schema names. A schema without types allows all; an unknown member has none.
fn fits_type(schema: &Value, value: &Value) -> bool {
    let is = |word: &str| match word {
        "string" => value.is_string(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
        }
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    };
    match &schema["type"] {
        Value::String(word) => is(word),
        Value::Array(words) => words.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

/// For each member: one below and one beyond its bounds.
fn at_bounds(schema: &Value) -> Vec<(String, Value)> {
    let mut found = vec![("conformance-unknown".to_owned(), json!({"a": [1, 2, 3]}))];
    for (name, about) in schema["properties"].as_object().into_iter().flatten() {
        for (word, step) in [("minimum", -1), ("maximum", 1)] {
            if let Some(bound) = about[word].as_i64() {
                found.push((name.clone(), json!(bound)));
                found.push((name.clone(), json!(bound.saturating_add(step))));
            }
        }
        if let Some(most) = about["maxLength"].as_u64() {
            for length in [most, most + 1] {
                let text = "a".repeat(usize::try_from(length).unwrap_or(0).min(1 << 20));
                found.push((name.clone(), json!(text)));
            }
        }
        if let Some(most) = about["maxItems"].as_u64() {
            let items = vec![Value::Null; usize::try_from(most).unwrap_or(0).min(100_000) + 1];
            found.push((name.clone(), Value::Array(items)));
        }
    }
    found
}

fn odd_value() -> BoxedStrategy<Value> {
    let texts = [
        "",
        " ",
        ".",
        "..",
        "/",
        "//",
        "-",
        "--help",
        "*",
        "\u{0}",
        "a\u{0}b",
        "\n",
        "\u{1b}[2J",
        "../../../../etc/passwd",
        "/etc/passwd",
        "%2e%2e%2f",
        "a/../b",
        "a/./b",
        "~",
        "$HOME",
        "\u{202e}txt.exe",
        "e\u{301}",
        "\u{1f9d1}\u{200d}\u{1f680}",
        "\u{fffd}",
        "\u{ffff}",
        "İ",
        "ß",
        "HEAD",
        "HEAD~99999",
        "^",
        "@{",
        ":/",
        "(?i)(a+)+$",
        "'; drop table x; --",
        "null",
        "[[",
        "]]",
        "#",
        "1e999",
    ];
    let numbers = [
        json!(0),
        json!(-1),
        json!(1),
        json!(9_007_199_254_740_991_i64),
        json!(-9_007_199_254_740_991_i64),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
    ];
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    prop_oneof![
        6 => select(texts.map(|text| json!(text)).to_vec()),
        3 => select(numbers.to_vec()),
        3 => any::<String>().prop_map(|text| json!(text)),
        2 => select(vec![json!(null), json!(true), json!(false), json!([]), json!({}), json!([1, "a"]), deep]),
        1 => (1_usize..3).prop_map(|power| json!("x".repeat(1000_usize.pow(power as u32)))),
        1 => Just(json!({"name": "", "value": [], "x": {"y": {}}})),
        1 => Just(Value::Array(vec![json!("x"); 10_000])),
    ]
    .boxed()
}
