//! Who may come in: tokens, and what browsers are made to send.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Token;
use crate::form::one;
use crate::problem::{Kind, Problem};

/// What a listener asks of those who come.
#[derive(Debug, Clone)]
pub(crate) enum Guard {
    /// Nothing: the file system guards it.
    Files,
    /// That they are on this machine, and no page in a browser.
    Loopback,
    /// The token.
    Token(Token),
}

/// Whether who asks may be told more than that all is well or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted(pub(crate) bool);

/// What probes and tools may ask for without a token.
pub(crate) const OPEN: [&str; 3] = ["/livez", "/readyz", "/openapi.json"];

/// Lets a request pass, or answers it.
pub(crate) async fn check(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let admitted = match &guard {
        Guard::Files => Ok(()),
        Guard::Loopback => from_here(request.headers(), request.uri()),
        Guard::Token(token) => shows(token, request.headers()),
    };
    let open = matches!(guard, Guard::Token(_)) && OPEN.contains(&request.uri().path());
    match admitted {
        Err(problem) if !open => problem.into_response(),
        admitted => {
            request.extensions_mut().insert(Trusted(admitted.is_ok()));
            next.run(request).await
        }
    }
}

fn shows(token: &Token, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(Kind::Unauthorized, detail).authenticate());
    let Ok(Some(text)) = one(headers, &AUTHORIZATION) else {
        return refuse("send the token as `Authorization: Bearer …`");
    };
    match text.split_once(' ') {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case("bearer") => {
            if token.is(shown.trim().as_bytes()) { Ok(()) } else { refuse("this is not the token") }
        }
        _ => refuse("send the token as `Authorization: Bearer …`"),
    }
}

/// Without a token, being on this machine is what lets somebody in, and that a browser is, too. A
/// page from elsewhere shows by its `Origin`; one that had its name resolve to this machine (DNS
/// rebinding) by the `Host` that it asks for.
fn from_here(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::new(Kind::Forbidden, detail));
    if headers.contains_key(ORIGIN) {
        return refuse(
            "the request has an `Origin`, as those of web pages have; this address is not for \
             them"
                .to_owned(),
        );
    }
    let host = one(headers, &HOST).ok().flatten();
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    // Where the request's first line has one, too, it would be the one that counts.
    if host.is_some_and(|host| is_loopback(&host)) && uri.authority().is_none_or(is_loopback) {
        return Ok(());
    }
    refuse(
        "the `Host` is no loopback name; ask for `localhost` or `127.0.0.1`, or have a token \
         configured"
            .to_owned(),
    )
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn loopback_names_and_addresses_are_told_from_others() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:80", true),
            ("localhost.", true),
            ("app.localhost:8080", true),
            ("127.0.0.1", true),
            ("127.8.9.1:1", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("[::]", false),
            ("example.com", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("notlocalhost", false),
        ] {
            assert_eq!(is_loopback(&host.parse().unwrap()), expected, "{host}");
        }
    }
}
