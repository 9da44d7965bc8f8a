//! The obsidian-rest connector.

mod conforms;
mod plugin;
mod served;
