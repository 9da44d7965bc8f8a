//! A stream to the relay, by way of the source's egress; TLS is made here, so that the egress sees none of what passes.

use plexus_channels::dial::{Dial, Dialing, Direct, Endpoint};
use plexus_ipc::worker::EgressAccess;
use std::{io, sync::Arc};

/// The way.
pub(crate) struct Tunnel {
    egress: Arc<EgressAccess>,
    tls: Direct,
}

impl Tunnel {
    /// By this egress.
    ///
    /// # Errors
    /// Where the owner's file of authorities holds no certificate.
    pub(crate) fn new(egress: impl Into<Arc<EgressAccess>>) -> io::Result<Self> {
        let egress = egress.into();
        let tls = match &*egress.authorities {
            "" => Direct::default(),
            pem => Direct::trusting(pem.as_bytes())?,
        };
        Ok(Self { egress, tls })
    }
}

impl Dial for Tunnel {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async move {
            let opened = plexus_egress_client::tunnel(&self.egress, &to.authority()).await;
            let stream = opened.map_err(io::Error::other)?;
            self.tls.secure(stream, to).await
        })
    }
}
