//! Everything on descriptor 3 that a worker should not say.
