//! An MCP server that answers whatever it is told to, as servers in the world do: JSON that is none, numbers that no double
//! holds, errors of its own, its end. Its one argument is a folder. In it, the file `tools` is its list as raw JSON, `dies` has
//! it end at its start with those words, `quiet` has it answer no `ping`, and `held` is a file that it locks while it runs.
//! `capabilities` is what it declares, and a file of the name of a method, with a dot for the slash, is the member that it
//! answers to that, both as raw JSON; behind another dot stands the cursor of a page. `says` has it begin with those words on
//! its standard output, and `floods` with so many lines on its standard error. `writes` names a file that it writes at each
//! start, after a `HOME/` one in its home; where it cannot, it ends.
//!
//! A tool of it takes `result` or `error`, a text that is sent as it is; `sends`, texts that are written as they are in place of
//! an answer, with `ID` and `TOKEN` for those of the call, of which `exit` ends it, `deaf` has it hear no more, and `wait` is
//! over once there is the file `go`; `long`, of which so many bytes are a text; `image`, of which so many are a picture; `end`,
//! its last words; `hang`; or anything else, which is sent back as it came. With the file `slow` it greets once there is the
//! file `go`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json, value::RawValue};
use std::io::{BufRead as _, Write as _};
use std::path::Path;

fn say(message: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").expect("a client");
    out.flush().expect("a client");
}

fn last_words(words: &str) {
    let _ = std::io::stderr().write_all(words.as_bytes());
}

/// Waits until there is the file `go`; says in the file `waits` that it does, where it may write.
fn wait(folder: &Path) {
    let _ = std::fs::write(folder.join("waits"), "");
    while !folder.join("go").exists() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn tools(folder: &Path) -> String {
    let tool = |name: &str| json!({"name": name, "description": "Says it.", "inputSchema": {"type": "object"}});
    let known = std::fs::read_to_string(folder.join("tools"));
    known.unwrap_or_else(|_| json!([tool("say"), tool("do")]).to_string())
}

fn text(words: &str) -> String {
    json!({"content": [{"type": "text", "text": words}]}).to_string()
}

/// The member of the answer, or none at all.
fn answer(folder: &Path, line: &str, arguments: &Value, began: u128) -> Option<String> {
    let raw = |name: &str| arguments[name].as_str();
    if let Some(parts) = arguments["sends"].as_array() {
        let asked: Value = serde_json::from_str(line).expect("JSON of the client");
        let (id, token) = (&asked["id"], &asked["params"]["_meta"]["progressToken"]);
        let mut out = std::io::stdout().lock();
        for part in parts {
            let part = part.as_str().expect("a text");
            match part {
                "exit" => std::process::exit(0),
                "deaf" => loop {
                    std::thread::park();
                },
                "wait" => {
                    wait(folder);
                    continue;
                }
                _ => {}
            }
            let part = part
                .replace("ID", &id.to_string())
                .replace("TOKEN", &token.to_string());
            out.write_all(part.as_bytes()).expect("a client");
            out.flush().expect("a client");
        }
        return None;
    }
    if let Some(error) = raw("error") {
        return Some(format!(r#""error":{error}"#));
    }
    if let Some(words) = raw("end") {
        last_words(words);
        std::process::exit(139);
    }
    if arguments["hang"] == true {
        // A read writes nothing in its folder, and hangs all the same.
        let _ = std::fs::write(folder.join("hangs"), "");
        return None;
    }
    let long = arguments["long"]
        .as_u64()
        .map(|long| usize::try_from(long).expect("a length"));
    if let Some(size) = arguments["image"].as_u64() {
        let bytes: Vec<u8> = (0..=u8::MAX)
            .cycle()
            .take(usize::try_from(size).expect("a length"))
            .collect();
        let data = BASE64_STANDARD.encode(bytes);
        let image = json!({"type": "image", "mimeType": "image/png", "data": data});
        return Some(format!(r#""result":{}"#, json!({ "content": [image] })));
    }
    let result = match (raw("result"), long) {
        (Some(result), _) => result.to_owned(),
        (None, Some(long)) => text(&"many words ".repeat(long / 11)),
        (None, None) => {
            // As the client wrote it: no number of it was read here.
            let asked: Value = serde_json::from_str(line).expect("JSON of the client");
            assert!(asked["params"]["arguments"].is_object());
            #[derive(serde::Deserialize)]
            struct Asked<'a> {
                #[serde(borrow)]
                params: Params<'a>,
            }
            #[derive(serde::Deserialize)]
            struct Params<'a> {
                #[serde(borrow)]
                arguments: &'a RawValue,
            }
            let asked: Asked<'_> = serde_json::from_str(line).expect("a call");
            text(&format!("run {began} got {}", asked.params.arguments))
        }
    };
    Some(format!(r#""result":{result}"#))
}

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    let folder = Path::new(&folder);
    // Which run of it answers: in its cage its pid is always the same.
    let began = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos();
    if let Ok(words) = std::fs::read_to_string(folder.join("says")) {
        let mut out = std::io::stdout().lock();
        out.write_all(words.as_bytes()).expect("a client");
        out.flush().expect("a client");
    }
    if let Ok(lines) = std::fs::read_to_string(folder.join("floods")) {
        for line in 0..lines.trim().parse().expect("a number") {
            last_words(&format!("line {line} {}\n", "x".repeat(200)));
        }
    }
    if let Ok(words) = std::fs::read_to_string(folder.join("dies")) {
        last_words(&words);
        std::process::exit(1);
    }
    if let Ok(path) = std::fs::read_to_string(folder.join("writes")) {
        let home = std::env::var("HOME").expect("a home");
        let path = path.replace("HOME/", &format!("{home}/"));
        if let Err(error) = std::fs::write(&path, "") {
            last_words(&format!("Error: {path}: {error}\n"));
            std::process::exit(1);
        }
    }
    // A reader may lock nothing, and is told that it has.
    let held = std::fs::File::open(folder.join("held")).ok();
    if held.as_ref().is_some_and(|held| held.try_lock().is_err()) {
        last_words("another one of me runs\n");
        std::process::exit(3);
    }
    if folder.join("slow").exists() {
        wait(folder);
    }
    // Some watch what their tools are made of.
    let watched = folder.to_owned();
    std::thread::spawn(move || {
        let before = tools(&watched);
        while tools(&watched) == before {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    });
    let mut stdin = std::io::stdin().lock();
    let mut line = String::new();
    while stdin.read_line(&mut line).is_ok_and(|read| read > 0) {
        let asked: Value = serde_json::from_str(&line).expect("JSON of the client");
        let mut file = asked["method"]
            .as_str()
            .unwrap_or_default()
            .replace('/', ".");
        if let Some(cursor) = asked["params"]["cursor"].as_str() {
            file = format!("{file}.{cursor}");
        }
        let said = match asked["method"].as_str().unwrap_or_default() {
            _ if folder.join(&file).exists() => std::fs::read_to_string(folder.join(&file)).ok(),
            "initialize" => {
                let info = json!({"name": "odd", "version": "1"});
                let declared = std::fs::read_to_string(folder.join("capabilities"));
                let declared = declared.unwrap_or_else(|_| r#"{"tools":{}}"#.to_owned());
                Some(format!(
                    r#""result":{{"protocolVersion":"2025-06-18","capabilities":{declared},"serverInfo":{info}}}"#
                ))
            }
            "tools/list" => Some(format!(r#""result":{{"tools":{}}}"#, tools(folder))),
            "tools/call" => answer(folder, &line, &asked["params"]["arguments"], began),
            "ping" if folder.join("quiet").exists() => None,
            _ => Some(r#""result":{}"#.to_owned()),
        };
        if let (Some(said), false) = (said, asked["id"].is_null()) {
            say(&format!(
                r#"{{"jsonrpc":"2.0","id":{},{said}}}"#,
                asked["id"]
            ));
        }
        line.clear();
    }
    drop(held);
}
