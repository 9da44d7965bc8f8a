//! The apple-reminders connector.

mod conforms;
mod served;
