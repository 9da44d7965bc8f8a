//! The things connector.

mod conforms;
mod database;
mod script;
mod served;
