//! What the host puts on requests: credentials and signatures that a guest never sees.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use wasink_chassis::config::Credential;
use wasink_chassis::{Secret, SecretText};
use zeroize::Zeroizing;

/// What Standard Webhooks puts before a secret in base64.
const ENCODED_PREFIX: &str = "whsec_";

/// Something that is put on each request.
#[derive(Clone)]
pub(super) struct Seal {
    pub(super) credential: Option<(Credential, Secret)>,
    pub(super) signature: Option<Secret>,
}

impl Seal {
    /// Puts the credential on. Blocks while its secret is read.
    ///
    /// # Errors
    ///
    /// Why it can't be, for the operator.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let Some((credential, secret)) = &self.credential else { return Ok(()) };
        let text = secret.get().map_err(|error| error.to_string())?;
        let (name, value) = match credential {
            Credential::Basic { user, .. } => {
                let pair = Zeroizing::new(format!("{user}:{}", text.expose()));
                (AUTHORIZATION, Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair))))
            }
            Credential::Header { name, .. } => {
                let name = HeaderName::from_bytes(name.as_bytes());
                let name = name.map_err(|_| "its header can't be named so".to_owned())?;
                (name, Zeroizing::new(text.expose().to_owned()))
            }
            _ => (AUTHORIZATION, Zeroizing::new(format!("Bearer {}", text.expose()))),
        };
        let value = HeaderValue::from_str(&value).map_err(|_| {
            format!("secret `{}` has characters that a header can't have", secret.name())
        });
        let mut value = value?;
        value.set_sensitive(true);
        // In the place of the guest's own: it can't know better.
        headers.insert(name, value);
        Ok(())
    }

    /// Signs a request as the Standard Webhooks specification has it (version 1.0, symmetric): over
    /// `id.timestamp.body` with HMAC-SHA256. Where the guest gives no `webhook-id`, it is made of the
    /// body, so that the same body sent again has the same. Blocks while the secret is read.
    ///
    /// # Errors
    ///
    /// Why it can't be, for the operator.
    pub(super) fn sign(
        &self,
        headers: &mut HeaderMap,
        body: &[u8],
        unix_seconds: i64,
    ) -> Result<(), String> {
        const ID: HeaderName = HeaderName::from_static("webhook-id");
        const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
        const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
        let Some(secret) = &self.signature else { return Ok(()) };
        let text = secret.get().map_err(|error| error.to_string())?;
        let key = key(&text).ok_or_else(|| {
            format!("secret `{}` is not base64 behind its `{ENCODED_PREFIX}`", secret.name())
        })?;
        let id = match headers.get(ID) {
            // It parts the id from the time.
            Some(id) if id.as_bytes().contains(&b'.') => {
                return Err("the plugin's `webhook-id` has a `.` in it".to_owned());
            }
            Some(id) => id.clone(),
            None => {
                let digest: String =
                    Sha256::digest(body).iter().take(16).map(|b| format!("{b:02x}")).collect();
                HeaderValue::from_str(&format!("msg_{digest}")).map_err(|e| e.to_string())?
            }
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
        mac.update(id.as_bytes());
        mac.update(format!(".{unix_seconds}.").as_bytes());
        mac.update(body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        headers.insert(ID, id);
        headers.insert(TIMESTAMP, unix_seconds.into());
        headers.insert(SIGNATURE, value(&signature)?);
        Ok(())
    }
}

/// The bytes to sign with.
fn key(text: &SecretText) -> Option<Zeroizing<Vec<u8>>> {
    match text.expose().strip_prefix(ENCODED_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).ok().map(Zeroizing::new),
        None => Some(Zeroizing::new(text.expose().as_bytes().to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use wasink_chassis::config::Config;

    use super::*;

    #[test]
    fn headers_that_somebody_shows_do_not_show_a_credential() {
        let config = Config::from_toml(
            "[[secret]]\nname = 'token'\ncommand = ['printf', 's3cret']\n[[sink]]\nname = 'x'\n\
             plugin = 'x'\nstreams = ['usage']\n\
             grants.http = [{ origin = 'https://a.example', bearer = 'token' }]",
        );
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let sink = config.sinks.iter().find(|sink| sink.name == "x").unwrap();
        let credential = sink.grants.http[0].credential.clone().unwrap();
        let secret = Secret::new(credential.secret().clone());
        let seal = Seal { credential: Some((credential, secret)), signature: None };
        let mut headers = HeaderMap::new();
        seal.authorize(&mut headers).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{headers:?}").contains("s3cret"));
    }
}
