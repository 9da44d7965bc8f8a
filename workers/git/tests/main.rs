//! The git connector.

mod bounds;
mod conforms;
mod repo;
mod served;
