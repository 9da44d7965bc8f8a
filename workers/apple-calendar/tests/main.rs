//! The apple-calendar connector.

mod conforms;
mod measured;
mod served;
