//! Addresses of the console's pages. A page lies below `/admin`, and what fills it at the same path below
//! `/admin/console`.

use plexus_owner::activity::List;

/// The calls of an agent.
pub(super) fn calls_of(agent: &str) -> String {
    activity(&List {
        agent: Some(agent.to_owned()),
        ..List::default()
    })
}

/// Those of them on one source.
pub(super) fn calls_on(agent: &str, source: &str) -> String {
    activity(&List {
        agent: Some(agent.to_owned()),
        source: Some(source.to_owned()),
        ..List::default()
    })
}

/// The calls that touched a thing.
pub(super) fn touched(thing: &str) -> String {
    activity(&List {
        touched: Some(thing.to_owned()),
        ..List::default()
    })
}

/// A page of calls: the request that makes it is its address.
pub(super) fn activity(list: &List) -> String {
    format!("/admin{}", plexus_owner::write(list).path)
}
