//! What is wrong with records of a request, and where.

use serde::Serialize;
use wasink_record::LineError;

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// Which record of the request, from 0.
    pub(crate) index: usize,
    /// The line of the body, from 1; absent where the body is not at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// The byte in the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<usize>,
    /// The path of the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// What is wrong, and the way out.
    pub(crate) message: String,
}

/// What is wrong with the records of one request: some told in full, the others counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) told: Vec<Fault>,
    pub(crate) more: usize,
}

impl Faults {
    /// Adds one, which is made only where there is room for it.
    pub(crate) fn add(&mut self, most: usize, fault: impl FnOnce() -> Fault) {
        if self.told.len() < most {
            self.told.push(fault());
        } else {
            self.more += 1;
        }
    }
}

/// Finds lines and columns in a body. Quick when asked in the body's order.
pub(crate) struct Places<'a> {
    body: &'a [u8],
    counted: usize,
    line: usize,
    line_start: usize,
}

impl<'a> Places<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { body, counted: 0, line: 1, line_start: 0 }
    }

    /// Where `part`, a part of the body, begins.
    pub(crate) fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr().addr().saturating_sub(self.body.as_ptr().addr())
    }

    /// Line and column of a byte of the body.
    pub(crate) fn at(&mut self, offset: usize) -> (usize, usize) {
        if offset < self.counted {
            *self = Self::new(self.body);
        }
        let passed = self.body.get(self.counted..offset).unwrap_or_default();
        for (at, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            self.line_start = self.counted + at + 1;
        }
        self.counted = offset;
        (self.line, offset - self.line_start + 1)
    }

    /// The fault of a record whose text is `part`.
    pub(crate) fn fault(&mut self, index: usize, part: &[u8], error: LineError) -> Fault {
        let (line, column) = self.at(self.offset(part) + error.column.saturating_sub(1));
        Fault {
            index,
            line: Some(line),
            column: Some(column),
            field: error.field,
            message: error.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn lines_and_columns_are_found_in_any_order() {
        let body = b"ab\n\ncde\nf";
        let mut places = Places::new(body);
        for (offset, place) in
            [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (6, (3, 3)), (1, (1, 2)), (8, (4, 1))]
        {
            assert_eq!(places.at(offset), place, "{offset}");
        }
        assert_eq!(places.offset(&body[4..]), 4);
    }
}
