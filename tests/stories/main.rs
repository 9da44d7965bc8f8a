//! The stories: one module per subject, each test a gateway of its own.
fn main() {}
