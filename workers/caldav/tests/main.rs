//! The caldav connector.

mod conforms;
mod hostile;
mod measured;
mod odd;
mod radicale;
mod served;
