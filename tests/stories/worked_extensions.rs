//! Worked extensions of the documentation that no tutorial adds.

use plexus_tests::{Folder, Gateway, coding_agents::ripgrep};
use serde_json::{Value, json};

#[test]
fn ripgrep_searches_its_folder_and_no_value_is_an_option() {
    let (gateway, folder, other) = (Gateway::start(), Folder::empty(), Folder::empty());
    folder
        .write("notes/tea.md", "hot\nfn main\n")
        .write("main.rs", "fn main() {}\n")
        .write(".hidden/key.md", "fn main\n");
    other.write("secret.md", "fn main\n");
    let manifest = include_str!("../../docs/extensions/ripgrep.json");
    let mut manifest: Value = serde_json::from_str(manifest).expect("JSON");
    for capability in manifest["capabilities"].as_array_mut().expect("a list") {
        assert_eq!(capability["route"]["bin"], "rg");
        // Not every machine has it: this is that of Codex.
        capability["route"]["bin"] = json!(ripgrep().canonicalize().expect("a program"));
    }
    let owner = gateway.owner();
    let mut body = json!({"manifest": manifest, "folders": {"files": folder.path()}});
    let preview = "/admin/api/extensions/preview";
    let seen = owner.post(preview, body.clone()).expect_ok();
    assert_eq!(seen["valid"], true, "{seen}");
    body["digest"] = seen["digest"].clone();
    let added = owner.post("/admin/api/extensions", body).expect_ok();
    assert_eq!(added["ok"], true, "{added}");

    let agent = gateway.agent_with("caller", &["search.find", "search.files"]);
    let text = |id: &str, input: Value| {
        let said = agent.must(id, input)["output"]["text"].take();
        let said = said.as_str().expect("text").to_owned();
        said.replace(&format!("{}/", folder.path().display()), "")
    };
    let found = |input: Value| text("search.find", input);
    assert_eq!(
        found(json!({"expression": "fn \\w+"})),
        "main.rs:1:fn main() {}\nnotes/tea.md:2:fn main\n"
    );
    assert_eq!(
        found(json!({"expression": "fn main", "glob": "*.md"})),
        "notes/tea.md:2:fn main\n"
    );
    assert_eq!(found(json!({"expression": "coffee"})), "");
    // Values that would be options stay values.
    assert_eq!(found(json!({"expression": "--hidden"})), "");
    assert_eq!(found(json!({"expression": "hot", "glob": "--hidden"})), "");
    assert_eq!(
        text("search.files", json!({"glob": "*.md"})),
        "notes/tea.md\n"
    );
    // A folder is no part of any input.
    let elsewhere = json!({"expression": "fn main", "folder": other.path()});
    agent.must_fail("search.find", elsewhere, 422, "schema_validation_failed");
}
