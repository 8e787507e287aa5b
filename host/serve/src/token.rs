//! The token that a client shows.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::TokenError;

/// Below it, guessing comes into reach.
pub(crate) const SHORTEST: usize = 16;
/// It is sent with every request.
pub(crate) const LONGEST: usize = 4096;

/// What a client has to show as `Authorization: Bearer`. Only its digest is kept: it cannot get into
/// a log or an error.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl Token {
    /// The token that a file holds, without the space around it.
    ///
    /// # Errors
    ///
    /// When the file can't be read, others than its owner and its group's members may read it, or
    /// what it holds is not 16 to 4096 printable ASCII characters without spaces.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let read_error = |source| TokenError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read_error)?;
        // Of the open file: the name may stand for another one a moment later.
        let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Vec::new();
        let most = u64::try_from(2 * LONGEST).unwrap_or(u64::MAX);
        file.take(most).read_to_end(&mut text).map_err(read_error)?;
        Self::new(text.trim_ascii())
            .map_err(|problem| TokenError::Unfit { path: path.to_owned(), problem })
    }

    fn new(text: &[u8]) -> Result<Self, &'static str> {
        if text.len() < SHORTEST {
            return Err("is too short");
        }
        if text.len() > LONGEST {
            return Err("is too long");
        }
        if !text.iter().all(u8::is_ascii_graphic) {
            return Err("has other characters");
        }
        Ok(Self { digest: Sha256::digest(text).into() })
    }

    /// Whether `shown` is the token. How long it takes tells something of the digest of what was
    /// shown, and nothing of the token.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.digest == <[u8; 32]>::from(Sha256::digest(shown))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::Token;

    fn read(content: &[u8], mode: u32) -> Result<Token, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let token = Token::from_file(&path);
        token.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn a_token_is_read_without_the_space_around_it_and_never_shown() {
        let token = read(b"  0123456789abcdef\n", 0o600).unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b"0123456789abcdeg"[..], b"0123456789abcdef ", b"", b"0123456789abcdef\n"] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_way_out() {
        for mode in [0o604, 0o640, 0o644, 0o620, 0o601] {
            let error = read(b"0123456789abcdef", mode).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "other users may read the token file `FILE` (its mode is {mode:04o}): \
                     `chmod 600 FILE`"
                )
            );
        }
        assert!(read(b"0123456789abcdef", 0o400).is_ok());
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        for (content, problem) in [
            (&b"0123456789abcde\n"[..], "is too short"),
            (b"", "is too short"),
            (&[b'x'; 4097], "is too long"),
            (b"0123456789 abcdef", "has other characters"),
            ("0123456789abcdé".as_bytes(), "has other characters"),
        ] {
            let error = read(content, 0o600).unwrap_err();
            assert!(error.starts_with(&format!("the token in `FILE` {problem}; ")), "{error}");
            assert!(error.contains("openssl rand -hex 32"), "{error}");
        }
        let error = Token::from_file(std::path::Path::new("/nowhere/token")).unwrap_err();
        assert!(error.to_string().starts_with("can't read the token file `/nowhere/token`: "));
    }
}
