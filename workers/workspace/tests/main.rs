//! The workspace connector.

mod conforms;
mod names;
mod served;
mod story;
