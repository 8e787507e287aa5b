//! What a registry wants to see before it answers: `WWW-Authenticate`.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// How it wants to be told who asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// By name and password.
    Basic,
    /// By a token, which is to be had elsewhere.
    Bearer {
        /// Where.
        realm: String,
        /// What it is to be for.
        service: Option<String>,
    },
}

impl Challenge {
    /// The best of those in an answer that are understood.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            for (scheme, parameters) in value.to_str().map(parse).unwrap_or_default() {
                let parameter = |name: &str| {
                    let mut all = parameters.iter();
                    all.find(|(key, _)| key == name).map(|(_, value)| value.clone())
                };
                match scheme.as_str() {
                    "bearer" => {
                        if let Some(realm) = parameter("realm") {
                            return Some(Self::Bearer { realm, service: parameter("service") });
                        }
                    }
                    "basic" => found = Some(Self::Basic),
                    _ => {}
                }
            }
        }
        found
    }
}

type Parsed = Vec<(String, Vec<(String, String)>)>;

/// Schemes with their parameters, names in small letters. A comma stands between parameters as well as
/// between schemes.
fn parse(text: &str) -> Parsed {
    let mut schemes: Parsed = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return schemes;
        }
        let word = word.to_ascii_lowercase();
        let Some(value) = after.trim_start().strip_prefix('=') else {
            schemes.push((word, Vec::new()));
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = value.find([' ', '\t', ',']).unwrap_or(value.len());
                let (value, after) = value.split_at(end);
                (value.to_owned(), after)
            }
        };
        if let Some((_, parameters)) = schemes.last_mut() {
            parameters.push((word, value));
        }
        rest = after;
    }
}

/// Up to the closing quote, and what is behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_static(value));
        }
        Challenge::of(&headers)
    }

    #[test]
    fn challenges_are_read_however_they_are_written() {
        let bearer = |realm: &str, service: Option<&str>| {
            let (realm, service) = (realm.to_owned(), service.map(str::to_owned));
            Some(Challenge::Bearer { realm, service })
        };
        assert_eq!(of(&["Basic realm=\"a, b\""]), Some(Challenge::Basic));
        assert_eq!(of(&["basic"]), Some(Challenge::Basic));
        let token =
            "Bearer realm=\"https://a.example/t?x=1\",service=\"s\",scope=\"r:a:pull,push\"";
        assert_eq!(of(&[token]), bearer("https://a.example/t?x=1", Some("s")));
        assert_eq!(of(&["Basic realm=x, BEARER Realm = \"a\\\"b\""]), bearer("a\"b", None));
        assert_eq!(of(&["Negotiate", "Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Basic realm=\"x\"", "Bearer realm=y"]), bearer("y", None));
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for value in
            ["", ",", "=", "=\"", "Bearer", "Bearer service=\"x", "realm=\"x\"", "Digest x=y"]
        {
            assert_eq!(of(&[value]), None, "{value}");
        }
        assert_eq!(of(&[]), None);
    }
}
