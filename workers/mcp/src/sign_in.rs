//! The steps of a sign-in at a server (OAuth 2.1): what one host says of it, read here and told as plain fields.
//!
//! Invariants: nothing is asked of another host; an issuer is the one that was asked for; no redirect is followed.
//!
//! Must not know: codes, tokens, the owner's browser.

use crate::{
    http::{Http, ServerAddress, path_of},
    refusal::is_busy,
    session::{Session, SessionError},
};
use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    header::{self, HeaderMap},
};
use plexus_egress_client::Answer;
use plexus_ipc::{
    egress::{Client, ClientAuth},
    message::Secret,
    sign_in_step::{Issuer, OFFLINE_ACCESS, Resource, SignInStep},
};
use plexus_protocol::Scopes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Most bytes of an address, a scope or an id.
const LONGEST: usize = 2_048;

/// Answers one step, or says why there is none.
pub(crate) async fn answer(place: &ServerAddress, step: SignInStep) -> Result<Value, String> {
    let to_value = |told: serde_json::Result<Value>| told.map_err(|why| why.to_string());
    match step {
        SignInStep::Resource { url } => {
            to_value(serde_json::to_value(resource(place, &url).await?))
        }
        SignInStep::Issuer { issuer: id } => {
            to_value(serde_json::to_value(issuer(place, &id).await?))
        }
        SignInStep::Registration { url, redirect } => to_value(serde_json::to_value(
            register(place, &url, &redirect).await?,
        )),
    }
}

/// `https://host:port`, as a URL begins.
fn origin(url: &str) -> &str {
    let from = url.find("://").map_or(0, |at| at + 3);
    let end = url[from..].find(['/', '?', '#']);
    end.map_or(url, |end| &url[..from + end])
}

async fn send(
    place: &ServerAddress,
    method: Method,
    path: &str,
    said: Option<&Value>,
) -> Result<Answer, String> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json");
    if said.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = said.map_or_else(Bytes::new, |said| Bytes::from(said.to_string()));
    let request = request.body(body);
    let request = request.map_err(|_| format!("{path} is no path that can be asked for"))?;
    place
        .client()
        .send(request)
        .await
        .map_err(|why| why.to_string())
}

/// Whether a conversation did not begin because the server cannot answer now.
fn is_busy_now(why: &SessionError) -> bool {
    match why {
        SessionError::Status(refusal) => is_busy(refusal.status),
        SessionError::Refused(failure) => failure.is_busy(),
        _ => false,
    }
}

/// An answer that says nothing of the sign-in, and what to do.
fn busy(why: &str) -> String {
    format!("it cannot say now how it signs in: {why}; try again later")
}

/// What the first of these paths holds, where one holds it.
async fn first<T: DeserializeOwned>(
    place: &ServerAddress,
    paths: &[String],
) -> Result<Option<T>, String> {
    for path in paths {
        let answer = send(place, Method::GET, path, None).await?;
        if answer.status == StatusCode::OK {
            let read = serde_json::from_slice(&answer.body);
            return read.map(Some).map_err(|why| {
                let why = short(&why.to_string());
                format!("what it says at {path} cannot be read: {why}")
            });
        }
        let status = answer.status.as_u16();
        if is_busy(status) {
            return Err(busy(&format!("it answered {status} at {path}")));
        }
    }
    Ok(None)
}

async fn resource(place: &ServerAddress, url: &str) -> Result<Resource, String> {
    let path = path_of(url);
    let of_itself = url.split('#').next().unwrap_or(url).to_owned();
    // As any client begins, in either era.
    let challenge = match Session::at(Http::new(place.clone())).await {
        Err(SessionError::Unauthorized(challenge)) => challenge,
        Err(why) if is_busy_now(&why) => return Err(busy(&why.to_string())),
        // Whether it wants one is not known.
        Err(
            why @ (SessionError::NoWay(_)
            | SessionError::Moved(..)
            | SessionError::Late
            | SessionError::Silent
            | SessionError::Ended(_)
            | SessionError::Pipe(_)
            | SessionError::TooLong),
        ) => return Err(why.to_string()),
        begun => {
            if let Ok(session) = begun {
                session.end().await;
            }
            return Ok(Resource {
                needed: false,
                resource: of_itself,
                issuers: Vec::new(),
                scope: None,
            });
        }
    };
    let bare = path.split('?').next().unwrap_or(path).trim_end_matches('/');
    let known = "/.well-known/oauth-protected-resource";
    let mut paths = vec![format!("{known}{bare}"), known.to_owned()];
    if let Some(named) = challenge.value("resource_metadata") {
        if origin(&named) != origin(url) {
            let named = origin(&named);
            return Err(format!(
                "it names {named} for what it says of its sign-in, which is another host"
            ));
        }
        paths.insert(0, path_of(&named).to_owned());
    }
    paths.dedup();
    let scope = challenge.scope();
    match first::<ResourceMetadata>(place, &paths).await? {
        Some(metadata) => metadata.resource_at(url, scope),
        // One of the revision before it had metadata of its own.
        None => Ok(Resource {
            needed: true,
            resource: of_itself,
            issuers: vec![origin(url).to_owned()],
            scope: scope.filter(|scope| !scope.is_empty()),
        }),
    }
}

/// A server in its own words (RFC 9728), as far as they are looked at.
#[derive(Deserialize)]
pub(crate) struct ResourceMetadata {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

impl ResourceMetadata {
    /// The resource at this URL, whose challenge asked for `scope`: an empty one for none.
    pub(crate) fn resource_at(self, url: &str, scope: Option<String>) -> Result<Resource, String> {
        let of = self.resource.trim_end_matches('/');
        let is_it = url == of
            || url
                .strip_prefix(of)
                .is_some_and(|rest| rest.starts_with(['/', '?', '#']));
        if self.resource.len() > LONGEST {
            return Err("an address of it is longer than one may be".to_owned());
        }
        if !is_it || origin(of) != origin(url) {
            return Err(format!(
                "it says that it is {}, which is not what was asked",
                short(&self.resource)
            ));
        }
        let scope = scope.unwrap_or_else(|| {
            let mut all = self.scopes_supported;
            all.retain(|one| is_scope(one) && !one.is_empty() && !one.contains(' '));
            all.join(" ")
        });
        let mut issuers = self.authorization_servers;
        issuers.retain(|issuer| issuer.len() <= LONGEST);
        issuers.truncate(8);
        if issuers.is_empty() {
            issuers.push(origin(url).to_owned());
        }
        Ok(Resource {
            needed: true,
            resource: self.resource,
            issuers,
            scope: Some(scope).filter(|scope| !scope.is_empty() && scope.len() <= LONGEST),
        })
    }
}

async fn issuer(place: &ServerAddress, id: &str) -> Result<Issuer, String> {
    let path = path_of(id).trim_end_matches('/');
    let (oauth, openid) = (
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    );
    let mut paths = vec![format!("{oauth}{path}"), format!("{openid}{path}")];
    if !path.is_empty() {
        paths.push(format!("{path}{openid}"));
    }
    let metadata: IssuerMetadata = first(place, &paths).await?.ok_or_else(|| {
        format!("{} says nothing of how it signs in: {} is not there; if you have a token, give it with --secret authorization", short(id), paths.join(" or "))
    })?;
    metadata.issuer_at(id)
}

/// An authorization server in its own words (RFC 8414), as far as they are looked at.
#[derive(Deserialize)]
pub(crate) struct IssuerMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    registration_endpoint: Option<String>,
    #[serde(default)]
    revocation_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    // Some say null.
    #[serde(default)]
    scopes_supported: Value,
}

impl IssuerMetadata {
    /// The issuer that was asked for by this identifier.
    pub(crate) fn issuer_at(self, id: &str) -> Result<Issuer, String> {
        if self.issuer.trim_end_matches('/') != id.trim_end_matches('/') {
            return Err(format!(
                "it says that it is {}, and was asked for as {}",
                short(&self.issuer),
                short(id)
            ));
        }
        let mut methods = self.code_challenge_methods_supported.iter();
        if !methods.any(|method| method == "S256") {
            return Err(
                "it does not offer PKCE with S256, without which a code can be stolen".to_owned(),
            );
        }
        let endpoints = [
            Some(&self.issuer),
            Some(&self.authorization_endpoint),
            Some(&self.token_endpoint),
            self.registration_endpoint.as_ref(),
            self.revocation_endpoint.as_ref(),
        ];
        if endpoints
            .into_iter()
            .flatten()
            .any(|url| url.len() > LONGEST)
        {
            return Err("an address of it is longer than one may be".to_owned());
        }
        let takes = |method: &str| {
            let all = &self.token_endpoint_auth_methods_supported;
            all.iter().flatten().any(|one| one == method)
        };
        Ok(Issuer {
            // Without a list it takes a header (RFC 8414).
            secret_in_form: takes("client_secret_post") && !takes("client_secret_basic"),
            issuer: self.issuer,
            authorization: self.authorization_endpoint,
            token: self.token_endpoint,
            registration: self.registration_endpoint,
            revocation: self.revocation_endpoint,
            names_itself: self.authorization_response_iss_parameter_supported,
            offers_offline_access: {
                let all = self.scopes_supported.as_array();
                all.is_some_and(|all| all.iter().any(|scope| scope == OFFLINE_ACCESS))
            },
        })
    }
}

async fn register(place: &ServerAddress, url: &str, redirect: &str) -> Result<Client, String> {
    let asked = json!({
        "client_name": "Plexus",
        // Its browser comes back to this machine.
        "application_type": "native",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    let answer = send(place, Method::POST, path_of(url), Some(&asked)).await?;
    if !answer.status.is_success() {
        let words = String::from_utf8_lossy(&answer.body);
        return Err(format!(
            "it does not register Plexus: {} {}",
            answer.status.as_u16(),
            short(&words)
        ));
    }
    let read: ClientMetadata = serde_json::from_slice(&answer.body).map_err(|why| {
        let why = short(&why.to_string());
        format!("its registration cannot be read: {why}")
    })?;
    read.client()
}

/// The answer to a registration (RFC 7591), as far as it is looked at.
#[derive(Deserialize)]
pub(crate) struct ClientMetadata {
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
}

impl ClientMetadata {
    pub(crate) fn client(self) -> Result<Client, String> {
        let secret = self.client_secret.unwrap_or_default();
        let auth = match self.token_endpoint_auth_method.as_deref() {
            _ if secret.is_empty() => ClientAuth::None,
            Some("client_secret_post") => ClientAuth::ClientSecretPost,
            Some("none") => ClientAuth::None,
            _ => ClientAuth::ClientSecretBasic,
        };
        if self.client_id.is_empty() || self.client_id.len() > LONGEST || secret.len() > LONGEST {
            return Err("its registration has an id or a secret of no use".to_owned());
        }
        Ok(Client {
            id: self.client_id,
            secret: Secret::new(secret),
            auth,
        })
    }
}

/// Whether a text may be a list of scopes (RFC 6749, section 3.3).
fn is_scope(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    text.len() <= LONGEST && text.bytes().all(plain)
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(200);
    text[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Parameters of `WWW-Authenticate: Bearer`.
#[derive(Debug)]
pub(crate) struct Challenge(String);

impl Challenge {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let all = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let mut all = all.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let is_bearer = |value: &Cow<'_, str>| {
            let scheme = value.get(..6);
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
        };
        let bearer = all.find(is_bearer).unwrap_or_default();
        Self(bearer.get(6..).unwrap_or_default().to_owned())
    }

    /// What is wanted beyond what a token is good for (RFC 6750, section 3.1); empty where that cannot be read. None where the
    /// server wants something else.
    pub(crate) fn scope_missing(&self) -> Option<Scopes> {
        let is_scope = self.value("error")? == "insufficient_scope";
        let wanted = || Scopes::parse(&self.value("scope")?).ok();
        is_scope.then(|| wanted().unwrap_or_default())
    }

    /// What it asks for; empty where that is no scope, which asks for none and not for all that there are.
    fn scope(&self) -> Option<String> {
        let mut scope = self.value("scope")?;
        if !is_scope(&scope) {
            scope.clear();
        }
        Some(scope)
    }

    /// A parameter, where it is given and not empty.
    fn value(&self, name: &str) -> Option<String> {
        let mut rest = &*self.0;
        while let Some((before, after)) = rest.split_once('=') {
            let key = before.trim_matches([' ', ',', '\t']);
            let (value, next) = match after.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            if key.eq_ignore_ascii_case(name) {
                let value = value.trim();
                return (!value.is_empty()).then(|| value.to_owned());
            }
            rest = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_that_is_none_asks_for_no_more() {
        let url = "https://a.example/mcp";
        let of = |url: &str| -> ResourceMetadata {
            let all = ["a", "b c", "d\"", "", "e"];
            let said = json!({"resource": url, "scopes_supported": all});
            serde_json::from_value(said).unwrap()
        };
        let long = "x".repeat(LONGEST + 1);
        for (challenge, asks) in [
            (String::new(), Some("a e")),
            (r#" scope="b""#.to_owned(), Some("b")),
            (" scope=\"\u{1b}\"".to_owned(), None),
            (format!(" scope={long}"), None),
        ] {
            let found = of(url).resource_at(url, Challenge(challenge.clone()).scope());
            assert_eq!(found.unwrap().scope.as_deref(), asks, "{challenge}");
        }
        let url = format!("{url}/{long}");
        let why = of(&url).resource_at(&url, None).unwrap_err();
        assert_eq!(why, "an address of it is longer than one may be");
    }

    #[test]
    fn challenges_and_origins_are_read() {
        let of = |text: &str| Challenge(text.to_owned());
        let challenge = of(
            r#" error="invalid_token", scope="a b", resource_metadata="https://a.example/x", max=1"#,
        );
        assert_eq!(
            challenge.value("resource_metadata").as_deref(),
            Some("https://a.example/x")
        );
        assert_eq!(challenge.value("SCOPE").as_deref(), Some("a b"));
        assert_eq!(challenge.value("max").as_deref(), Some("1"));
        assert_eq!(challenge.value("realm"), None);
        let missing = |text: &str| of(text).scope_missing().map(|wanted| wanted.to_string());
        for (text, wanted) in [
            (r#" error="insufficient_scope", scope="a b""#, Some("a b")),
            (" scope=a, error=insufficient_scope", Some("a")),
            (r#" error="insufficient_scope""#, Some("")),
            (
                "  error=\"insufficient_scope\", scope=\"\u{1b}[2J\"",
                Some(""),
            ),
            (r#" error="invalid_token", scope="a""#, None),
            (r#" scope="a""#, None),
        ] {
            assert_eq!(missing(text).as_deref(), wanted, "{text}");
        }
        for odd in ["", " x", r#" a="b"#] {
            assert_eq!(of(odd).value("a"), None, "{odd}");
        }
        assert_eq!(
            origin("https://a.example:8443/x?y"),
            "https://a.example:8443"
        );
        assert_eq!(origin("https://a.example"), "https://a.example");
    }
}
