//! Where the gateway listens beyond loopback (docs/protocol/owner.md#network). A change counts from the next start.

use crate::{
    acting::Acting,
    acts::{blocking, failed, record, unsaved},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_home::network::{Network, local_addresses};
use plexus_owner::{
    Done,
    network::{
        Change, ChangedNetwork, Interfaces, LocalAddress, LocalAddresses, NetworkState, Show,
    },
};
use plexus_protocol::Effect;
use serde_json::json;
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(interfaces).with(show).with(change)
}

async fn interfaces(_: Arc<Desk>, _: Reading, _: Interfaces) -> Result<LocalAddresses, Refused> {
    let interfaces = local_addresses().into_iter().map(|(name, address)| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        LocalAddress {
            name,
            address,
            family: family.to_owned(),
            internal: address.is_loopback(),
        }
    });
    Ok(LocalAddresses {
        interfaces: interfaces.collect(),
    })
}

pub(crate) async fn show(desk: Arc<Desk>, _: Reading, _: Show) -> Result<NetworkState, Refused> {
    let saved = saved(&desk).await?;
    let active = desk.address.network();
    // Loopback is listened on whatever else is.
    let beyond = active.beyond_loopback();
    let listening = active
        .bind_addresses
        .iter()
        .filter(|a| a.is_loopback())
        .chain(&beyond);
    Ok(NetworkState {
        bind_addresses: saved.bind_addresses,
        active: listening.copied().collect(),
        bound_port: desk.address.port(),
        public_hostnames: saved.public_hostnames,
        active_public_hostnames: active.public_hostnames.clone(),
    })
}

async fn saved(desk: &Desk) -> Result<Network, Refused> {
    let dir = desk.state_dir.clone();
    blocking(move || Network::load(&dir, None))
        .await?
        .map_err(|error| failed(format!("{error:#}")))
}

async fn change(desk: Arc<Desk>, acting: Acting, call: Change) -> Result<ChangedNetwork, Refused> {
    let addresses = call.bind_addresses;
    let addresses =
        addresses.ok_or_else(|| Refused::malformed("`bindAddresses` (strings) is required"))?;
    let names = call.public_hostnames;
    let _turn = desk.turn().await;
    let wanted = saved(&desk).await?.wanted(&addresses, names.as_deref()).map_err(|rejected| {
        Refused::malformed(
            "bind addresses are loopback, 0.0.0.0 alone or an address of this machine; host names are DNS names of \
             at least two labels",
        )
        .beside("rejected", rejected)
    })?;
    let changed = ChangedNetwork {
        ok: Done,
        bind_addresses: wanted.bind_addresses.clone(),
        public_hostnames: wanted.public_hostnames.clone(),
        restart_required: true,
    };
    let (addresses, names) = (&changed.bind_addresses, &changed.public_hostnames);
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
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn addresses_are_strings_or_nothing() {
        let read = |value: Value| {
            let members = value.as_object().cloned().unwrap();
            let call = plexus_owner::read::<Change>([], &[], members);
            call.map(|call| call.bind_addresses)
        };
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
            let why = read(json!({ "bindAddresses": bad }))
                .unwrap_err()
                .to_string();
            assert!(why.starts_with("`bindAddresses"), "{why}");
        }
    }
}
