//! The Obsidian connector.

mod compared;
mod conforms;
mod served;
mod story;
