//! The files below a root: read, attacked, written.

mod at_hand;
mod attacks;
mod paths;
mod properties;
mod tree;
mod writes;

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;
