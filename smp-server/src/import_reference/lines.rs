//! The lines of a file, one at a time, with a bound on their length.

use std::io::{self, BufRead, Read as _};

use super::flaw::Flaw;

/// The longest line: a queue with hundreds of keys and link data is below, a message far below.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Reads lines and counts them.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0, bytes: Vec::new() }
    }

    /// The next line with its number, from 1; nothing at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Result<&str, Flaw>)>> {
        self.bytes.clear();
        self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.bytes)?;
        if self.bytes.is_empty() {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        if self.bytes.last() != Some(&b'\n') {
            let is_long = self.bytes.len() as u64 == LINE_BYTES_MAX && self.skip_line()?;
            return Ok(Some((self.number, Err(if is_long { Flaw::TooLong } else { Flaw::CutOff }))));
        }
        self.bytes.pop();
        Ok(Some((self.number, str::from_utf8(&self.bytes).map_err(|_| Flaw::NotText))))
    }

    /// Goes behind the end of the line, without holding it. Whether it has one.
    fn skip_line(&mut self) -> io::Result<bool> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let read = end.map_or(buffer.len(), |end| end.saturating_add(1));
            self.reader.consume(read);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_bytes_and_missing_ends_are_told_apart() {
        let mut text = b"one\n\nb\xffd\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX as usize + 10]);
        text.extend(b"\nlast");
        let mut lines = Lines::new(text.as_slice());
        let mut seen = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            seen.push((number, line.map(str::to_owned)));
        }
        assert_eq!(
            seen,
            [
                (1, Ok("one".to_owned())),
                (2, Ok(String::new())),
                (3, Err(Flaw::NotText)),
                (4, Err(Flaw::TooLong)),
                (5, Err(Flaw::CutOff)),
            ]
        );
    }
}
