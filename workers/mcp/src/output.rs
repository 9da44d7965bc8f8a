//! What a tool answered, as the output of its capability: `{text?, structured?, images?}`.

use serde_json::{Map, Value, json};

/// Reads the result of `tools/call`.
///
/// # Errors
/// The server's own words, where it says that the tool has failed.
pub(crate) fn output(result: &Value) -> Result<Value, String> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    let left_out = |kind: &str| format!("({kind} is left out)");
    let content = &result["content"];
    if !content.is_array() && !content.is_null() {
        texts.push(left_out("content that is no list"));
    }
    for block in content.as_array().into_iter().flatten() {
        let word = |key: &str| block[key].as_str();
        let of = word("type").unwrap_or("a block without a type");
        let shown = match of {
            "text" => word("text").map(str::to_owned),
            "image" => match word("data") {
                Some(data) => {
                    let kind = word("mimeType").unwrap_or_default();
                    images.push(json!({"mimeType": kind, "data": data}));
                    continue;
                }
                None => None,
            },
            "resource" => {
                let text = block["resource"]["text"].as_str();
                Some(text.unwrap_or("(a resource that is no text)").to_owned())
            }
            "resource_link" => {
                word("uri").map(|uri| format!("{}: {uri}", word("name").unwrap_or_default()))
            }
            _ => None,
        };
        texts.push(shown.unwrap_or_else(|| left_out(of)));
    }
    let text = texts.join("\n\n");
    if result["isError"] == true {
        return Err(text);
    }
    let mut output = Map::new();
    if !text.is_empty() {
        output.insert("text".into(), text.into());
    }
    if let Some(structured) = result.get("structuredContent") {
        output.insert("structured".into(), structured.clone());
    }
    if !images.is_empty() {
        output.insert("images".into(), images.into());
    }
    Ok(Value::Object(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_text_images_and_structure() {
        let result = json!({
            "content": [
                {"type": "text", "text": "one"},
                {"type": "resource_link", "name": "a", "uri": "file:///a"},
                {"type": "image", "mimeType": "image/png", "data": "AA=="},
                {"type": "hologram"},
                {"type": "text", "text": 7},
                {"type": "image"},
                {"type": "resource_link", "name": "b"},
                "bare",
            ],
            "structuredContent": {"n": 1},
            "_meta": {"dropped": true},
        });
        let expected = json!({
            "text": "one\n\na: file:///a\n\n(hologram is left out)\n\n(text is left out)\n\n(image is left out)\n\n\
                (resource_link is left out)\n\n(a block without a type is left out)",
            "structured": {"n": 1},
            "images": [{"mimeType": "image/png", "data": "AA=="}],
        });
        assert_eq!(output(&result), Ok(expected));
        let bare = json!({"content": "a sentence"});
        let expected = json!({"text": "(content that is no list is left out)"});
        assert_eq!(output(&bare), Ok(expected));
        assert_eq!(output(&json!({})), Ok(json!({})));
        let failed = json!({"content": [{"type": "text", "text": "no"}], "isError": true});
        assert_eq!(output(&failed), Err("no".to_owned()));
    }
}
