//! What an agent does next, as data beside the words of each refusal.

use crate::house::{House, READ, WRITE};
use plexus_tests::Response;
use serde_json::{Value, json};

/// The action of a refusal, whose words are there beside it.
#[track_caller]
fn action(refused: &Response) -> Value {
    let error = refused.json()["error"].clone();
    assert!(error["next"].is_string(), "{error}");
    error["nextAction"].clone()
}

#[test]
fn refusals_say_what_next_as_data() {
    let house = House::open();
    let agent = house.reader("careful");
    let gone = agent.invoke("workspace.nothing", json!({}));
    assert_eq!(
        action(&gone)["kind"],
        "look_up",
        "an id that is not in view names the list"
    );
    let unfit = agent.invoke(READ, json!({"path": 7}));
    assert_eq!(action(&unfit), json!({"kind": "look_up", "id": READ}));
    let missing = agent.invoke(READ, json!({"path": "nobody.md"}));
    assert_eq!(action(&missing), json!({"kind": "read_first", "id": READ}));
    let outside = agent.invoke(READ, json!({"path": "../etc/passwd"}));
    assert_eq!(action(&outside), json!({"kind": "stop", "id": READ}));

    let input = json!({"path": "new.md", "content": "first line"});
    let body = json!({"id": WRITE, "input": input});
    let asks = agent.invoke_body(body.clone());
    let item = asks.json()["error"]["pendingId"].clone();
    assert_eq!(
        action(&asks),
        json!({"kind": "wait", "id": WRITE, "pendingId": item})
    );
    let id = item.as_str().expect("an item");
    house.owner().deny(id, "not there");
    let denied = agent.invoke_body(body);
    assert_eq!(action(&denied), json!({"kind": "stop", "id": WRITE}));

    house.gateway.cli(["pause"]).expect_ok();
    let paused = agent.invoke(READ, json!({"path": "notes/today.md"}));
    assert_eq!(action(&paused)["kind"], "stop");
    house.gateway.cli(["resume"]).expect_ok();
    // The control: a call that succeeds has none.
    let done = agent.invoke(READ, json!({"path": "notes/today.md"}));
    assert!(done.expect_ok().get("error").is_none());
}
