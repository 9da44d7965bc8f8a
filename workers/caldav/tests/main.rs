//! The caldav connector.

mod compared;
mod conforms;
mod hostile;
mod measured;
mod odd;
mod radicale;
mod served;
