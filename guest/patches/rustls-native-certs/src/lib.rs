//! Stands in for the crate of this name, which does not build for WASI. A sandbox has no certificates
//! of a system, so there is none to be found.

use std::io;

use rustls_pki_types::CertificateDer;

/// What was found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CertificateResult {
    /// Certificates: none.
    pub certs: Vec<CertificateDer<'static>>,
    /// Why there are none.
    pub errors: Vec<io::Error>,
}

/// Finds nothing, and says why.
pub fn load_native_certs() -> CertificateResult {
    let why = "a sandbox has no certificates of a system";
    CertificateResult {
        certs: Vec::new(),
        errors: vec![io::Error::new(io::ErrorKind::Unsupported, why)],
    }
}
