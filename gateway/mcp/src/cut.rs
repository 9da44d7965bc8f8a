//! Long outputs: a reader gets what fits, and one call gives the rest.
//!
//! A text is cut at a line and a listing at an entry, so that a reader has whole lines and valid JSON. The cut is told as
//! the gateway tells its own: by a `next` that the same call takes up.
//! Must not know: how an answer got here, how much a reader bears.

use serde_json::{Map, Value, json};

/// What an output was cut down from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of all of it, as it would have been printed.
    pub whole: usize,
    /// Bytes that are left of it.
    pub shown: usize,
    /// Whether its `next` leads to the rest.
    pub goes_on: bool,
}

/// Which ways to go on the capability takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// From a byte on.
    pub offset: bool,
    /// After an entry.
    pub after: bool,
    /// From the `next` of the answer before.
    pub next: bool,
}

impl Takes {
    /// What a schema of an input has.
    #[must_use]
    pub fn of(schema: &Value) -> Self {
        let has = |name: &str| schema["properties"].get(name).is_some();
        Self {
            offset: has("offset"),
            after: has("after"),
            next: has("next"),
        }
    }
}

/// The beginning of `text` that fits, up to the end of a line, or, where a line is longer than half of it, of a character.
#[must_use]
pub fn at_line(text: &str, most: usize) -> &str {
    let most = text.floor_char_boundary(most);
    match text[..most].rfind('\n') {
        _ if most == text.len() => text,
        Some(end) if end >= most / 2 => &text[..=end],
        _ => &text[..most],
    }
}

/// Cuts the output of a call made with `input`, where it is a text or a listing that the call can take up again.
pub fn resumable(
    output: &mut Value,
    input: &Map<String, Value>,
    takes: Takes,
    most: usize,
) -> Option<Cut> {
    let whole = output["content"].as_str().map(str::len);
    match whole {
        Some(whole) if takes.offset => text(output, input, whole, most),
        None if takes.after => listing(output, most),
        _ => None,
    }
}

fn text(output: &mut Value, input: &Map<String, Value>, whole: usize, most: usize) -> Option<Cut> {
    let start = input.get("offset").map_or(Some(0), Value::as_u64)?;
    // Offsets count the file's bytes. They are the text's own unless it was decoded.
    let end = output["next"]["offset"]
        .as_u64()
        .or(output["bytes"].as_u64())?;
    if end.checked_sub(start)? != whole as u64 {
        return None;
    }
    let shown = at_line(output["content"].as_str()?, most).to_owned();
    let left = shown.len();
    output["next"] = json!({"offset": start + left as u64});
    output["content"] = Value::String(shown);
    Some(Cut {
        whole,
        shown: left,
        goes_on: true,
    })
}

fn listing(output: &mut Value, most: usize) -> Option<Cut> {
    let length = |output: &Value| serde_json::to_string_pretty(output).map_or(0, |t| t.len());
    let whole = length(output);
    let entries = output["entries"].as_array()?.clone();
    if entries.is_empty() || !entries.iter().all(|entry| entry["name"].is_string()) {
        return None;
    }
    let keep = |output: &mut Value, count: usize| {
        output["entries"] = Value::Array(entries[..count].to_vec());
        output["next"] = json!({"after": entries[count - 1]["name"]});
        length(output)
    };
    let (mut fits, mut over) = (1, entries.len());
    while fits + 1 < over {
        let middle = fits.midpoint(over);
        match keep(output, middle) {
            length if length <= most => fits = middle,
            _ => over = middle,
        }
    }
    let shown = keep(output, fits);
    Some(Cut {
        whole,
        shown,
        goes_on: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 16 << 10;
    const BOTH: Takes = Takes {
        offset: true,
        after: true,
        next: false,
    };

    #[test]
    fn a_line_is_whole_or_is_not_there() {
        assert_eq!(at_line("one\ntwo\nthree", 9), "one\ntwo\n");
        assert_eq!(at_line("one\ntwo", 7), "one\ntwo");
        assert_eq!(
            at_line("{\n  \"text\": \"long\"", 16),
            "{\n  \"text\": \"lon"
        );
        assert_eq!(at_line("äöü", 3), "ä");
        assert_eq!(at_line("", 3), "");
    }

    #[test]
    fn a_text_goes_on_where_it_was_cut_as_often_as_it_takes() {
        let file: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
        let (mut read, mut input) = (String::new(), Map::new());
        for _ in 0..100 {
            let start = read.len();
            let mut output = json!({"content": file[start..], "bytes": file.len()});
            let cut = resumable(&mut output, &input, BOTH, MOST);
            read.push_str(output["content"].as_str().unwrap());
            let Some(cut) = cut.filter(|cut| cut.shown < cut.whole) else {
                break;
            };
            assert!(cut.shown <= MOST && cut.goes_on);
            input.insert("offset".into(), output["next"]["offset"].clone());
        }
        assert_eq!(read, file);
    }

    #[test]
    fn a_text_whose_bytes_are_not_the_files_is_not_taken_up_by_offset() {
        // Decoded from UTF-16: half as many characters as bytes.
        let mut output = json!({"content": "a\n".repeat(20_000), "bytes": 80_002});
        assert_eq!(resumable(&mut output, &Map::new(), BOTH, MOST), None);
        let mut output = json!({"content": "a\n".repeat(20_000), "bytes": 40_000});
        assert_eq!(
            resumable(&mut output, &Map::new(), Takes::default(), MOST),
            None
        );
    }

    #[test]
    fn a_listing_stays_json_and_goes_on_after_its_last_entry() {
        let all: Vec<Value> = (0..1_000)
            .map(|n| json!({"name": format!("{n}.md"), "kind": "file"}))
            .collect();
        let mut output = json!({"type": "dir", "entries": all});
        let cut = resumable(&mut output, &Map::new(), BOTH, MOST).unwrap();
        let kept = output["entries"].as_array().unwrap();
        assert_eq!(output["next"]["after"], kept.last().unwrap()["name"]);
        assert!(cut.shown <= MOST && cut.shown > MOST / 2 && kept.len() > 100);
        let odd = &mut json!({"entries": [1, 2, 3]});
        assert_eq!(resumable(odd, &Map::new(), BOTH, 4), None);
    }
}
