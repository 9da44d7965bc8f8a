//! Placeholder until the worker's end of the IPC is merged.
fn main() {}
