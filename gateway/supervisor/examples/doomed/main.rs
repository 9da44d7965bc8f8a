//! A daemon to be killed: starts one worker, which does not mind the end of its stream, says its process id on stdout, and waits.

#[path = "../../tests/supervisor/proof.rs"]
mod proof;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/supervisor/stage.rs"]
mod stage;

use plexus_ipc::message::Role;
use std::io::{Read, Write};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let stage = stage::Stage::rude("deaf", stage::pace());
        stage::output(stage.read("echo", serde_json::json!({})).await);
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", stage.pid(Role::Reader)).expect("a reader");
        stdout.flush().expect("a reader");
        // Until its starter is gone, should it not be killed.
        let _ = std::io::stdin().read(&mut [0]);
    });
}
