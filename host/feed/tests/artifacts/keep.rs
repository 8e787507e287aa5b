//! What a server keeps: objects by path, as an HTTP server that takes `PUT` or as one that speaks S3 and
//! checks signatures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::server::{Answer, Request};

pub(crate) const KEY_ID: &str = "AKIDEXAMPLE";
pub(crate) const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct Keep {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// Signatures are looked at.
    is_signed: Arc<Mutex<bool>>,
    /// It knows no conditions, and says so.
    pub(crate) is_unconditional: bool,
    /// What every request has to bear.
    pub(crate) token: Option<&'static str>,
}

impl Keep {
    pub(crate) fn new(change: fn(&mut Self)) -> Self {
        let mut keep = Self::default();
        change(&mut keep);
        keep
    }

    pub(crate) fn signed(&self, is_signed: bool) {
        *self.is_signed.lock().unwrap() = is_signed;
    }

    pub(crate) fn plant(&self, path: &str, bytes: &[u8]) {
        self.objects.lock().unwrap().insert(path.to_owned(), bytes.to_vec());
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        if *self.is_signed.lock().unwrap()
            && let Err(code) = check(request)
        {
            return error("403 Forbidden", code);
        }
        let bearer = self.token.map(|token| format!("Bearer {token}"));
        if bearer.is_some() && request.header("authorization") != bearer.as_deref() {
            return error("401 Unauthorized", "NoToken");
        }
        let path = decoded(&request.target);
        let mut objects = self.objects.lock().unwrap();
        match (request.method.as_str(), objects.get(&path)) {
            ("GET", Some(bytes)) => Answer::of("200 OK", bytes.clone()).with("ETag", "\"1\""),
            ("GET", None) => error("404 Not Found", "NoSuchKey"),
            ("PUT", _) if request.header("if-none-match").is_some() && self.is_unconditional => {
                error("501 Not Implemented", "NotImplemented")
            }
            ("PUT", Some(_)) if request.header("if-none-match") == Some("*") => {
                error("412 Precondition Failed", "PreconditionFailed")
            }
            ("PUT", _) => {
                objects.insert(path, request.body.clone());
                Answer::of("200 OK", vec![]).with("ETag", "\"1\"")
            }
            _ => error("405 Method Not Allowed", "MethodNotAllowed"),
        }
    }
}

fn error(status: &str, code: &str) -> Answer {
    Answer::of(status, format!("<Error><Code>{code}</Code></Error>").into_bytes())
}

/// Whether a request is signed as version 4 of Amazon's signatures says, by the one key that there is.
fn check(request: &Request) -> Result<(), &'static str> {
    let header = |name: &str| request.header(name).ok_or("AccessDenied");
    let authorization = header("authorization")?;
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("AccessDenied")?;
    let fields: BTreeMap<_, _> =
        fields.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let scope = fields["Credential"].strip_prefix(KEY_ID).ok_or("InvalidAccessKeyId")?;
    let scope = scope.trim_start_matches('/');
    let body = header("x-amz-content-sha256")?;
    if body != hex(&Sha256::digest(&request.body)) {
        return Err("XAmzContentSHA256Mismatch");
    }
    let names = fields["SignedHeaders"];
    let headers: String =
        names.split(';').map(|name| format!("{name}:{}\n", header(name).unwrap())).collect();
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let canonical = format!("{}\n{path}\n{query}\n{headers}\n{names}\n{body}", request.method);
    let date = header("x-amz-date")?;
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{KEY}").into_bytes();
    let parts: Vec<_> = scope.split('/').collect();
    assert_eq!((parts.len(), parts[1..].join("/")), (4, "us-east-1/s3/aws4_request".to_owned()));
    for part in parts {
        key = mac(&key, part);
    }
    let is_right = fields["Signature"] == hex(&mac(&key, &to_sign));
    if is_right { Ok(()) } else { Err("SignatureDoesNotMatch") }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decoded(target: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), target.as_bytes());
    while let [first, more @ ..] = rest {
        (bytes, rest) = match (first, more) {
            (b'%', [high, low, more @ ..]) => {
                let digits = [*high, *low];
                let byte = u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap();
                ([bytes, vec![byte]].concat(), more)
            }
            _ => ([bytes, vec![*first]].concat(), more),
        };
    }
    String::from_utf8(bytes).unwrap()
}
