//! The Obsidian connector.

mod conforms;
mod served;
mod story;
