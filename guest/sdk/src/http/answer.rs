//! What a receiver says.

use std::time::Duration;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status: 100 to 999.
    pub status: u16,
    /// Names and values as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// Whether the body is only the beginning.
    pub cut: bool,
}

impl Answer {
    /// Whether the status is between 200 and 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, where its value is text. Upper and lower case are the same.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
            .map(str::trim)
    }

    /// How long the receiver wants to be left alone: its `Retry-After`, in seconds or as a date,
    /// which is counted from `now` ([`now`](crate::now), usually).
    pub fn retry_after(&self, now: Duration) -> Option<Duration> {
        let text = self.header("Retry-After")?;
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than a number has mean longer than anybody waits.
            return Some(Duration::from_secs(text.parse().unwrap_or(u32::MAX.into())));
        }
        Some(parse_date(text)?.saturating_sub(now))
    }

    /// The beginning of the body for people, as [`excerpt`] has it.
    pub fn excerpt(&self, characters: usize) -> String {
        let mut text = excerpt(&self.body, characters);
        if self.cut && !text.ends_with('…') {
            text.push('…');
        }
        text
    }
}

/// The beginning of what a receiver says, for people: at most so many characters, on one line, with
/// control characters and what is not text escaped.
pub fn excerpt(bytes: &[u8], characters: usize) -> String {
    // No character takes more than four bytes.
    let some = bytes.get(..characters.saturating_mul(4)).unwrap_or(bytes);
    let text = String::from_utf8_lossy(some);
    let text = text.trim();
    let mut excerpt = String::new();
    let mut all = text.chars();
    for character in all.by_ref().take(characters) {
        match character {
            '\n' | '\r' | '\t' => excerpt.push(' '),
            _ if character.is_control() || is_format(character) => {
                excerpt.extend(character.escape_unicode());
            }
            _ => excerpt.push(character),
        }
    }
    if some.len() < bytes.len() || all.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// Characters that are not seen but change how a terminal shows others.
fn is_format(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// Time since 1970 of a date as HTTP has it, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn parse_date(text: &str) -> Option<Duration> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_ascii_whitespace();
    let weekday = parts.next()?;
    if weekday.len() != 4 || !weekday.ends_with(',') {
        return None;
    }
    let day = digits(parts.next()?, 2)?;
    let month = parts.next()?;
    let month = MONTHS.iter().zip(1..).find(|(name, _)| **name == month)?.1;
    let year = digits(parts.next()?, 4)?;
    let mut time = parts.next()?.split(':');
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let second = digits(time.next()?, 2)?;
    let rest = (parts.next(), parts.next(), time.next());
    if rest != (Some("GMT"), None, None) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Counted from March, so that a leap day ends its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let seconds = days.checked_sub(719_469)? * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Duration::from_secs(seconds))
}

fn digits(text: &str, most: usize) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all && text.len() <= most { text.parse().ok() } else { None }
}
