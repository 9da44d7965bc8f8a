//! The workspace connector.

mod conforms;
mod served;
mod story;
