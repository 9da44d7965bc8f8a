//! What a tool answered, as the output of its capability: `{text?, structured?, images?}`.

use serde_json::{Map, Value, json};

/// Reads the result of `tools/call`.
///
/// # Errors
/// The server's own words, where it says that the tool has failed.
pub(crate) fn output(result: &Value) -> Result<Value, String> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for block in result["content"].as_array().into_iter().flatten() {
        let word = |key: &str| block[key].as_str().unwrap_or_default();
        match word("type") {
            "text" => texts.push(word("text").to_owned()),
            "image" => images.push(json!({"mimeType": word("mimeType"), "data": word("data")})),
            "resource" => {
                let text = block["resource"]["text"].as_str();
                texts.push(text.unwrap_or("(a resource that is no text)").to_owned());
            }
            "resource_link" => texts.push(format!("{}: {}", word("name"), word("uri"))),
            other => texts.push(format!("({other} is left out)")),
        }
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
            ],
            "structuredContent": {"n": 1},
            "_meta": {"dropped": true},
        });
        let expected = json!({
            "text": "one\n\na: file:///a\n\n(hologram is left out)",
            "structured": {"n": 1},
            "images": [{"mimeType": "image/png", "data": "AA=="}],
        });
        assert_eq!(output(&result), Ok(expected));
        let failed = json!({"content": [{"type": "text", "text": "no"}], "isError": true});
        assert_eq!(output(&failed), Err("no".to_owned()));
    }
}
