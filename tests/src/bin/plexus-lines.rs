//! A program that is asked and answers in lines of JSON. Its one argument is a folder; `how` of the input says what it does.

use serde_json::{Value, json};
use std::io::{Read as _, Write as _};

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The caller may have had enough.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_default();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a question");
    let asked: Value = serde_json::from_str(&line).expect("JSON");
    let input = &asked["input"];
    match input["how"].as_str().unwrap_or_default() {
        "progress" => {
            say("{\"progress\": \"half of it\"}");
            say("{\"progress\": {\"done\": 2}}");
            say("{\"output\": \"all of it\"}");
        }
        "error" => say("{\"error\": {\"message\": \"not today\", \"effect\": \"none\"}}"),
        "die" => {
            let _ = writeln!(std::io::stderr(), "no such thing");
            std::process::exit(3);
        }
        "words" => say("just words"),
        "numbers" => say(&format!(
            "{{\"output\": {}}}",
            plexus_tests::home_app::NUMBERS
        )),
        "both" => say("{\"output\": 1, \"error\": {\"message\": \"x\"}}"),
        "flood" => loop {
            say("{\"progress\": \"again and again\"}");
        },
        "write" => {
            let written = std::fs::write(format!("{folder}/made"), input.to_string());
            let said = match written {
                Ok(()) => json!({"output": "written"}),
                Err(error) => json!({"error": {"message": error.to_string()}}),
            };
            say(&said.to_string());
        }
        _ => say(&json!({"output": asked}).to_string()),
    }
    // It stays until it is ended.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
