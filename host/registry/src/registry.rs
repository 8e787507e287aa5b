//! A registry: what is asked of it, and what its answers may be.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    USER_AGENT,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::artifact::{self, Artifact, Package};
use crate::challenge::Challenge;
use crate::client::{Body, Client, Patience, place};
use crate::credentials::Credentials;
use crate::digest::{Digest, Digester};
use crate::error::RegistryError;
use crate::reference::{Reference, is_loopback};

/// The largest manifest, in bytes: what registries have to take at the least.
const MAX_MANIFEST: usize = 4 << 20;
/// So much is read of an answer with a token, and of one that is an error.
const MAX_TOKEN: usize = 256 << 10;
const MAX_ERROR: usize = 16 << 10;
/// So many times an answer may lead elsewhere.
const MAX_HOPS: usize = 5;
/// The digest of a manifest, as a registry has it.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const AGENT: &str = concat!("wasink/", env!("CARGO_PKG_VERSION"));

/// How a registry is spoken to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// Speak to it without encryption, wherever it is.
    pub plain_http: bool,
    /// Trust the certificates in this file, in PEM, and nobody else.
    pub authorities: Option<PathBuf>,
    /// How long anything may take.
    pub patience: Patience,
}

/// A registry, for one repository of it after another.
///
/// One on this machine, by its name, is spoken to without encryption unless certificates to trust are
/// given; any other only where [`Options::plain_http`] says so. Credentials are given to the registry
/// itself when it asks for them, and where it asks for a token to whoever it says makes them; never
/// where an answer leads to.
pub struct Registry {
    runtime: Runtime,
    client: Client,
    /// `https://host:port/v2/`
    base: Url,
    credentials: Option<Credentials>,
    /// What is told for a scope.
    authorization: Option<(String, HeaderValue)>,
    patience: Patience,
    plain_http: bool,
}

/// What is asked.
struct Question<'a> {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    /// What is wanted there, as whoever makes tokens has it.
    scope: &'a str,
}

/// The token in an answer; it has one of two names.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    code: String,
}

impl Registry {
    /// The registry of `reference`. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Plain`], and [`RegistryError::Options`] where the certificates can't be read.
    pub fn new(reference: &Reference, options: &Options) -> Result<Self, RegistryError> {
        let registry = reference.registry();
        let is_plain =
            options.plain_http || reference.is_loopback() && options.authorities.is_none();
        let scheme = if is_plain { "http" } else { "https" };
        let odd = |error: String| RegistryError::Options(format!("`{registry}`: {error}"));
        let base = Url::parse(&format!("{scheme}://{registry}/v2/"));
        let base = base.map_err(|error| odd(error.to_string()))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(|error| odd(error.to_string()))?,
            client: Client::new(options.authorities.as_deref(), options.patience)?,
            base,
            credentials: options.credentials.clone(),
            authorization: None,
            patience: options.patience,
            plain_http: options.plain_http,
        })
    }

    /// What the tag or the digest of `reference` is at this moment. Where there is a digest, the
    /// manifest has it.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    pub fn resolve(&mut self, reference: &Reference) -> Result<Artifact, RegistryError> {
        self.within(async |this| this.resolve_now(reference).await)
    }

    /// Writes the component down as it comes, and says whether it is what the manifest names. What was
    /// written is of no use after an error.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`]. [`RegistryError::TooLarge`] where it has more than `limit` bytes; then
    /// hardly more than those are read.
    pub fn fetch(
        &mut self,
        artifact: &Artifact,
        limit: u64,
        into: &mut dyn Write,
    ) -> Result<(), RegistryError> {
        self.within(async |this| this.fetch_now(artifact, limit, into).await)
    }

    /// Puts a plugin there, under the tag of `reference`, and returns the digest of its manifest. What
    /// the registry has already is not sent again.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`]. Where `reference` has a digest, the plugin must have that one.
    pub fn push(
        &mut self,
        reference: &Reference,
        package: &Package,
    ) -> Result<Digest, RegistryError> {
        self.within(async |this| this.push_now(reference, package).await)
    }

    /// Runs an exchange to its end, or until it has taken too long.
    fn within<T>(
        &mut self,
        exchange: impl AsyncFnOnce(&mut Exchange<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let Self { runtime, client, base, credentials, authorization, patience, plain_http } = self;
        let limit = patience.whole;
        let late = RegistryError::Late { place: place(base), limit };
        let (credentials, plain_http) = (credentials.as_ref(), *plain_http);
        let mut this = Exchange { client, base, credentials, authorization, plain_http };
        runtime.block_on(async {
            tokio::time::timeout(limit, exchange(&mut this)).await.unwrap_or(Err(late))
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// A registry while it is spoken to.
struct Exchange<'a> {
    client: &'a Client,
    base: &'a Url,
    credentials: Option<&'a Credentials>,
    authorization: &'a mut Option<(String, HeaderValue)>,
    plain_http: bool,
}

impl Exchange<'_> {
    async fn resolve_now(&mut self, reference: &Reference) -> Result<Artifact, RegistryError> {
        let scope = scope(reference, "pull");
        let mut question =
            Question::get(self.of(reference, "manifests", reference.manifest())?, &scope);
        question.headers.insert(ACCEPT, HeaderValue::from_static(artifact::ACCEPT));
        let (answer, from) = self.ask(question).await?;
        let asked = format!("{reference}");
        let answer = expect(answer, &[StatusCode::OK], &asked, &format!("`{reference}`")).await?;
        let told = told_digest(&answer);
        let bytes = answer.into_body().all(MAX_MANIFEST).await?;
        let bytes = bytes.ok_or_else(|| RegistryError::TooLarge {
            what: "manifest",
            place: asked,
            reason: format!("it has more than {MAX_MANIFEST} bytes"),
        })?;
        let found = Digest::of(&bytes);
        // What a registry says that it has sent is checked as well: it may be cut, or an old copy.
        for expected in reference.digest().into_iter().chain(&told) {
            if *expected != found {
                let (place, expected) = (place(&from), expected.clone());
                return Err(RegistryError::Digest { what: "manifest", place, found, expected });
            }
        }
        Artifact::read(reference, found, &bytes)
    }

    async fn fetch_now(
        &mut self,
        artifact: &Artifact,
        limit: u64,
        into: &mut dyn Write,
    ) -> Result<(), RegistryError> {
        let Artifact { reference, component, bytes: size, .. } = artifact;
        let too_large = |reason: String| RegistryError::TooLarge {
            what: "component",
            place: reference.to_string(),
            reason,
        };
        if *size > limit {
            return Err(too_large(format!(
                "it has {size} bytes, and {limit} are taken at the most"
            )));
        }
        let scope = scope(reference, "pull");
        let question = Question::get(self.of(reference, "blobs", component.as_str())?, &scope);
        let (answer, from) = self.ask(question).await?;
        let what = format!("component {component} in `{reference}`, though its manifest names it");
        let answer = expect(answer, &[StatusCode::OK], &reference.to_string(), &what).await?;
        let from = place(&from);
        let mut body = answer.into_body();
        let mut digester = Digester::default();
        let mut left = *size;
        while let Some(bytes) = body.next().await? {
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                too_large(format!("its manifest says {size} bytes, and `{from}` gives more"))
            })?;
            digester.update(&bytes);
            into.write_all(&bytes)
                .map_err(|error| RegistryError::Write { place: from.clone(), error })?;
        }
        let found = digester.end();
        if found != *component {
            let expected = component.clone();
            return Err(RegistryError::Digest { what: "component", place: from, found, expected });
        }
        Ok(())
    }

    async fn push_now(
        &mut self,
        reference: &Reference,
        package: &Package,
    ) -> Result<Digest, RegistryError> {
        let wrong =
            |reason: String| RegistryError::Manifest { reference: reference.to_string(), reason };
        let (config, manifest) = package.documents().map_err(|error| wrong(error.to_string()))?;
        let digest = Digest::of(&manifest);
        if let Some(expected) = reference.digest().filter(|expected| **expected != digest) {
            return Err(wrong(format!("it has the digest {digest}, and {expected} was named")));
        }
        let scope = scope(reference, "pull,push");
        for blob in [Bytes::from(config), Bytes::from(package.component.clone())] {
            self.push_blob(reference, blob, &scope).await?;
        }
        let name = reference.tag().unwrap_or(digest.as_str());
        let url = self.of(reference, "manifests", name)?;
        let mut question = Question::with_body(Method::PUT, url, manifest.into(), &scope);
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static(artifact::MANIFEST));
        let (answer, from) = self.ask(question).await?;
        let asked = reference.to_string();
        let answer = expect(answer, &[StatusCode::CREATED], &asked, &repository(reference)).await?;
        match told_digest(&answer) {
            Some(found) if found != digest => {
                let place = place(&from);
                Err(RegistryError::Digest { what: "manifest", place, found, expected: digest })
            }
            _ => Ok(digest),
        }
    }

    async fn push_blob(
        &mut self,
        reference: &Reference,
        blob: Bytes,
        scope: &str,
    ) -> Result<(), RegistryError> {
        let digest = Digest::of(&blob);
        let (asked, repository) = (reference.to_string(), repository(reference));
        let mut known = Question::get(self.of(reference, "blobs", digest.as_str())?, scope);
        known.method = Method::HEAD;
        let (answer, _) = self.ask(known).await?;
        if answer.status() == StatusCode::OK {
            return Ok(());
        }
        expect(answer, &[StatusCode::NOT_FOUND], &asked, &repository).await?;
        let begin = self.of(reference, "blobs", "uploads/")?;
        let begin = Question::with_body(Method::POST, begin, Bytes::new(), scope);
        let (answer, from) = self.ask(begin).await?;
        let answer = expect(answer, &[StatusCode::ACCEPTED], &asked, &repository).await?;
        let mut place = self.elsewhere(&from, answer.headers(), &asked)?;
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut upload = Question::with_body(Method::PUT, place, blob, scope);
        let kind = HeaderValue::from_static("application/octet-stream");
        upload.headers.insert(CONTENT_TYPE, kind);
        let (answer, _) = self.ask(upload).await?;
        expect(answer, &[StatusCode::CREATED], &asked, &repository).await?;
        Ok(())
    }

    /// Where the registry has this of a repository.
    fn of(&self, reference: &Reference, what: &str, name: &str) -> Result<Url, RegistryError> {
        let path = format!("{}/{what}/{name}", reference.repository());
        let url = self.base.join(&path);
        let url = url.map_err(|error| RegistryError::Options(format!("`{path}`: {error}")))?;
        self.may_go(&url).map_err(|_| RegistryError::Plain { place: place(&url) })?;
        Ok(url)
    }

    /// Asks, says who asks where that is wanted, and goes where answers lead to. Also returns where the
    /// last answer came from.
    async fn ask(
        &mut self,
        question: Question<'_>,
    ) -> Result<(Response<Body>, Url), RegistryError> {
        let is_here = question.url.origin() == self.base.origin();
        let known = self.authorization.as_ref().filter(|(scope, _)| scope == question.scope);
        let known = known.map(|(_, value)| value.clone()).filter(|_| is_here);
        let mut answer = question.send(self.client, &question.url, known.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && is_here {
            let value = self.authorize(&question, answer.headers()).await?;
            answer = question.send(self.client, &question.url, Some(&value)).await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                return Err(self.unauthorized(match self.credentials {
                    Some(_) => "it does not take the name and the password that it was given",
                    None => "it does not take what everybody is given",
                }));
            }
            *self.authorization = Some((question.scope.to_owned(), value));
        }
        let mut url = question.url.clone();
        let mut hops = 0;
        while question.method.is_safe() && leads_elsewhere(answer.status()) {
            let asked = place(&url);
            hops += 1;
            if hops > MAX_HOPS {
                let reason = format!("answers have led elsewhere more than {MAX_HOPS} times");
                return Err(RegistryError::Redirect { place: asked, reason });
            }
            url = self.elsewhere(&url, answer.headers(), &asked)?;
            // Whoever is there now is not who the credentials are for.
            answer = question.send(self.client, &url, None).await?;
        }
        Ok((answer, url))
    }

    /// What is to be told to the registry, as it wants it.
    async fn authorize(
        &self,
        question: &Question<'_>,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, RegistryError> {
        let basic = |credentials: &Credentials| secret("Basic", &credentials.basic());
        match Challenge::of(headers) {
            Some(Challenge::Basic) => match self.credentials {
                Some(credentials) => basic(credentials),
                None => Err(self.unauthorized("give a name and a password")),
            },
            Some(Challenge::Bearer { realm, service }) => {
                let odd = |reason: &str| {
                    let realm: String = realm.chars().take(200).collect();
                    self.unauthorized(&format!(
                        "it sends whoever asks to `{}` for a token, and {reason}",
                        realm.escape_debug()
                    ))
                };
                let mut url = Url::parse(&realm).map_err(|_| odd("that is no address"))?;
                self.may_go(&url).map_err(|reason| odd(&reason))?;
                url.set_fragment(None);
                let service = service.iter().map(|service| ("service", service.as_str()));
                let wanted = service.chain([("scope", question.scope)]);
                url.query_pairs_mut().extend_pairs(wanted);
                let told = self.credentials.map(basic).transpose()?;
                let token = Question::get(url.clone(), question.scope);
                let answer = token.send(self.client, &url, told.as_ref()).await?;
                match answer.status() {
                    StatusCode::OK => {}
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if told.is_some() => {
                        return Err(odd("that takes neither the name nor the password"));
                    }
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        return Err(odd("that wants a name and a password"));
                    }
                    status => return Err(odd(&format!("that answers {}", status.as_u16()))),
                }
                let bytes = answer.into_body().all(MAX_TOKEN).await?;
                let token = bytes.and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok());
                let token = token.and_then(|token| token.token.or(token.access_token));
                secret("Bearer", &token.ok_or_else(|| odd("that gives none"))?)
            }
            None => Err(self.unauthorized("it does not say how it wants to be told")),
        }
    }

    fn unauthorized(&self, reason: &str) -> RegistryError {
        RegistryError::Unauthorized {
            place: place(self.base),
            given: self.credentials.is_some(),
            reason: reason.to_owned(),
        }
    }

    /// Where an answer leads to, if one may go there.
    fn elsewhere(&self, at: &Url, headers: &HeaderMap, asked: &str) -> Result<Url, RegistryError> {
        let redirect = |reason: String| RegistryError::Redirect { place: asked.to_owned(), reason };
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.ok_or_else(|| redirect("it does not say where".to_owned()))?;
        let url = at.join(location);
        let url = url.map_err(|error| redirect(format!("that is no address: {error}")))?;
        self.may_go(&url).map_err(redirect)?;
        Ok(url)
    }

    /// Nothing that began encrypted goes on in the open, and nothing begins in the open but where that
    /// was allowed.
    fn may_go(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.base.scheme() == "http" && (self.plain_http || is_loopback(host)) => {
                Ok(())
            }
            "http" => Err(format!("`{}` would be spoken to without encryption", place(url))),
            scheme => Err(format!("`{}:` is neither HTTP nor HTTPS", scheme.escape_debug())),
        }
    }
}

impl<'a> Question<'a> {
    fn get(url: Url, scope: &'a str) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), scope }
    }

    fn with_body(method: Method, url: Url, body: Bytes, scope: &'a str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        Self { method, url, headers, body, scope }
    }

    async fn send(
        &self,
        client: &Client,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut request = Request::builder().method(&self.method).uri(url.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
            headers.extend(authorization.map(|value| (AUTHORIZATION, value.clone())));
        }
        let odd = |error: http::Error| RegistryError::Options(format!("`{url}`: {error}"));
        client.send(url, request.body(Full::new(self.body.clone())).map_err(odd)?).await
    }
}

fn scope(reference: &Reference, actions: &str) -> String {
    format!("repository:{}:{actions}", reference.repository())
}

fn repository(reference: &Reference) -> String {
    format!("repository `{}/{}`", reference.registry(), reference.repository())
}

fn leads_elsewhere(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A header that nothing shows.
fn secret(scheme: &str, text: &str) -> Result<HeaderValue, RegistryError> {
    let value = HeaderValue::try_from(format!("{scheme} {text}"));
    let odd =
        |_| RegistryError::Options("a token has characters that no header may have".to_owned());
    let mut value = value.map_err(odd)?;
    value.set_sensitive(true);
    Ok(value)
}

fn told_digest(answer: &Response<Body>) -> Option<Digest> {
    // One by another algorithm is passed over.
    answer.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// The answer, where it is one of those. `what` is not there where it says so.
async fn expect(
    answer: Response<Body>,
    good: &[StatusCode],
    asked: &str,
    what: &str,
) -> Result<Response<Body>, RegistryError> {
    let status = answer.status();
    if good.contains(&status) {
        return Ok(answer);
    }
    let place = asked.to_owned();
    if leads_elsewhere(status) {
        let reason = "what is sent goes to the registry alone".to_owned();
        return Err(RegistryError::Redirect { place, reason });
    }
    // Whatever is wrong with these bytes, the status is what counts.
    let body = answer.into_body().all(MAX_ERROR).await.ok().flatten();
    let code = body.and_then(|body| code_in(&body));
    Err(match status {
        StatusCode::NOT_FOUND => RegistryError::Unknown { what: what.to_owned(), code },
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
            RegistryError::Forbidden { place, status: status.as_u16(), code }
        }
        status => RegistryError::Answered { place, status: status.as_u16(), code },
    })
}

/// The registry's name for what is wrong, if it is one.
fn code_in(body: &[u8]) -> Option<String> {
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let code = errors.errors.into_iter().next()?.code;
    let is_name = (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(code)
}
