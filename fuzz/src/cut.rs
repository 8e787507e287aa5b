//! Takes an input apart from its beginning, so that seeds can be written by hand.

/// What is left of an input. Where nothing is left, numbers are 0.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    /// All of an input.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// The next two bytes, the lower one first.
    pub fn word(&mut self) -> usize {
        let low = self.byte();
        usize::from(u16::from_le_bytes([low, self.byte()]))
    }

    /// The next bytes: so many, or what there is.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// One of these, by the next byte.
    ///
    /// # Panics
    ///
    /// Where there is none to choose from.
    pub fn choose<'b, T>(&mut self, from: &'b [T]) -> &'b T {
        let index = usize::from(self.byte()) % from.len();
        &from[index]
    }

    /// What comes before the next such byte, which is gone with it; all where there is none.
    pub fn until(&mut self, end: u8) -> &'a [u8] {
        let at = self.0.iter().position(|&byte| byte == end).unwrap_or(self.0.len());
        let before = self.bytes(at);
        self.bytes(1);
        before
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}
