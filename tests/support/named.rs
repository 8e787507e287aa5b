//! Two versions out of one component.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

/// The same component with other bytes, and so another digest: with a custom section of this name.
pub(crate) fn named(component: &[u8], name: &str) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    // Both lengths are one byte in LEB128.
    let length = u8::try_from(name.len()).unwrap();
    assert!(length < 0x7f, "`{name}` is too long");
    [component, &[CUSTOM, length + 1, length], name.as_bytes()].concat()
}
