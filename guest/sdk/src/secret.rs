//! Secrets that the operator has granted.

/// The secret of this name as it is now; `None` where none of this name was granted, or it can't be
/// read. Ask again where a receiver does not take it any more: it may have been changed.
pub fn secret(name: &str) -> Option<String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::host::wasink::plugin::secrets::get(name);
    #[cfg(not(target_family = "wasm"))]
    crate::testing::granted_secret(name)
}
