//! The cc-master connector.

mod conforms;
mod served;
