//! Any bytes as what `osascript` prints: a list as the script writes it, shown within its bounds, or a failure.

use crate::{
    Container, Failure, Project, Tag, Todo,
    script::{failed, read},
};
use plexus_mutation::{Accepted, hold};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug};

/// Read, written and read again it is the same; `None` where it is no such list.
fn list<T>(bytes: &[u8], field: &str) -> Option<Vec<T>>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let found: Vec<T> = read(bytes, field).ok()?;
    let written = serde_json::to_vec(&BTreeMap::from([(field, &found)])).expect("JSON");
    let again: Vec<T> = read(&written, field).expect("what was written is read");
    assert_eq!(again, found);
    Some(found)
}

fn answer(bytes: &[u8]) -> Accepted {
    let todos = list::<Todo>(bytes, "todos");
    for todo in todos.iter().flatten() {
        let shown = serde_json::to_value(todo.shown()).expect("JSON");
        let length = |member: &str| shown[member].as_str().unwrap_or_default().chars().count();
        assert!(length("title") <= 500 && length("notes") <= 4_000);
        assert_eq!(shown["id"].as_str(), Some(&*todo.id));
        let is_cut = shown["title"] != *todo.title
            || shown["notes"].as_str().unwrap_or_default() != todo.notes;
        assert_eq!(shown["cut"] == true, is_cut);
    }
    // A text that ends in a number is known by it.
    let text = String::from_utf8_lossy(bytes);
    let refused = failed(&format!("{text} (-1743)\n"));
    assert_eq!(refused, Failure::Refused(-1743));
    assert!(!failed(&text).to_string().is_empty());
    todos.is_some()
        | list::<Project>(bytes, "projects").is_some()
        | list::<Container>(bytes, "areas").is_some()
        | list::<Tag>(bytes, "tags").is_some()
}

#[test]
fn answer_is_a_list_or_a_failure() {
    let words: &[&[u8]] = &[
        b"{\"error\":-1743}",
        b"\"error\":null,",
        b"\"todos\":[",
        b"\"projects\":[],",
        b"\"status\":\"canceled\"",
        b"\"day\":\"-262143-01-01\"",
        b"\"deadline\":\"+262142-12-31\"",
        b"\"stopped\":9223372036854775807",
        b"\"created\":-9223372036854775808",
        b"\"checklist\":4294967295",
        b"\"project\":{\"id\":\"a\",\"title\":\"\"}",
        b"\\ud83c",
        b"\\u0000",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/answers");
    hold(corpus, words, answer);
}
