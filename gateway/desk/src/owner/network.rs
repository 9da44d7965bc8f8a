//! Where the gateway listens beyond loopback (docs/protocol/owner.md#network). A change counts from the next start.

use super::{Acting, body::Fields};
use crate::{
    acts::{blocking, failed, record, unsaved},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_home::network::{Network, local_addresses};
use plexus_protocol::Effect;
use serde_json::json;
use std::{net::IpAddr, sync::Arc};

pub(super) async fn interfaces() -> Response {
    let rows = local_addresses().into_iter().map(|(name, address)| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        json!({"name": name, "address": address, "family": family, "internal": address.is_loopback()})
    });
    ok(&json!({"interfaces": rows.collect::<Vec<_>>()}))
}

pub(super) async fn show(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let saved = saved(&desk).await?;
    let active = desk.address.network();
    // Loopback is listened on whatever else is.
    let beyond = active.beyond_loopback();
    let listening = active
        .bind_addresses
        .iter()
        .filter(|a| a.is_loopback())
        .chain(&beyond);
    Ok(ok(&json!({
        "bindAddresses": saved.bind_addresses,
        "active": listening.collect::<Vec<&IpAddr>>(),
        "boundPort": desk.address.port(),
        "publicHostnames": saved.public_hostnames,
        "activePublicHostnames": active.public_hostnames,
    })))
}

async fn saved(desk: &Desk) -> Result<Network, Refused> {
    let dir = desk.state_dir.clone();
    blocking(move || Network::load(&dir, None))
        .await?
        .map_err(|error| failed(format!("{error:#}")))
}

pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let addresses = strings(&body, "bindAddresses")?;
    let addresses =
        addresses.ok_or_else(|| Refused::malformed("`bindAddresses` (strings) is required"))?;
    let names = strings(&body, "publicHostnames")?;
    let _turn = desk.turn().await;
    let wanted = saved(&desk).await?.wanted(&addresses, names.as_deref()).map_err(|rejected| {
        Refused::malformed(
            "bind addresses are loopback, 0.0.0.0 alone or an address of this machine; host names are DNS names of \
             at least two labels",
        )
        .beside("rejected", rejected)
    })?;
    let (addresses, names) = (json!(wanted.bind_addresses), json!(wanted.public_hostnames));
    record(
        &desk,
        &acting,
        json!({"event": "network.set", "bindAddresses": addresses, "publicHostnames": names}),
    )
    .await?;
    let dir = desk.state_dir.clone();
    if let Err(error) = blocking(move || wanted.save(&dir)).await? {
        record(&desk, &acting, json!({"event": "network.failed"})).await?;
        return Err(unsaved(
            format!("network.json could not be written, so nothing changed: {error}"),
            Effect::None,
        ));
    }
    Ok(ok(
        &json!({"ok": true, "bindAddresses": addresses, "publicHostnames": names, "restartRequired": true}),
    ))
}

/// An array of strings; anything else in it is refused here, not dropped: it would open less or more than was meant.
fn strings(body: &Fields, key: &str) -> Result<Option<Vec<String>>, Refused> {
    let bad = || Refused::malformed(format!("`{key}` must be an array of strings"));
    let Some(value) = body.given(key) else {
        return Ok(None);
    };
    let all = value.as_array().ok_or_else(bad)?;
    all.iter()
        .map(|v| v.as_str().map(str::to_owned).ok_or_else(bad))
        .collect::<Result<_, _>>()
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn body(value: Value) -> Fields {
        Fields(value.as_object().cloned().unwrap())
    }

    #[test]
    fn addresses_are_strings_or_nothing() {
        let read = |value| strings(&body(value), "bindAddresses");
        assert_eq!(
            read(json!({"bindAddresses": ["127.0.0.1"]})).unwrap(),
            Some(vec!["127.0.0.1".to_owned()])
        );
        assert_eq!(
            read(json!({"bindAddresses": []})).unwrap(),
            Some(Vec::new())
        );
        assert_eq!(read(json!({})).unwrap(), None);
        assert_eq!(read(json!({"bindAddresses": null})).unwrap(), None);
        for bad in [
            json!("127.0.0.1"),
            json!(["127.0.0.1", 5]),
            json!({"0": "127.0.0.1"}),
            json!(7),
        ] {
            assert!(read(json!({"bindAddresses": bad})).is_err(), "{bad}");
        }
    }
}
