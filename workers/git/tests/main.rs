//! The git connector.

mod bounds;
mod compared;
mod conforms;
mod repo;
mod served;
