//! The caldav connector.

mod conforms;
mod hostile;
mod measured;
mod radicale;
mod served;
