//! The things connector.

mod conforms;
mod database;
mod script;
mod served;

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;
