//! Text from peers must not steer the terminal or hide what it says.
//!
//! Control characters (and with them escape sequences) and characters that reorder or hide text are shown as
//! visible codes. Line breaks stay where the text may have several lines.

use std::borrow::Cow;

/// One line of text from a peer: names, titles, reasons.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    clean(text, false)
}

/// Text of several lines from a peer: messages, descriptions.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    clean(text, true)
}

fn clean(text: &str, breaks: bool) -> Cow<'_, str> {
    let safe = |c: char| (breaks && c == '\n') || !is_deceptive(c);
    if text.chars().all(safe) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut previous = None;
    for c in text.chars() {
        if safe(c) || (c == '\u{200d}' && previous.is_some_and(joins)) {
            clean.push(c);
        } else if c == '\t' {
            clean.push(' ');
        } else {
            clean.extend(format!("<U+{:04X}>", u32::from(c)).chars());
        }
        previous = Some(c);
    }
    Cow::Owned(clean)
}

/// Emoji are joined into one picture by a zero-width joiner; between other characters it only hides.
fn joins(c: char) -> bool {
    matches!(u32::from(c), 0x2600..=0x27bf | 0xfe0f | 0x1f300..=0x1faff)
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00ad                  // soft hyphen
            | 0x034f                // grapheme joiner
            | 0x061c                // arabic letter mark
            | 0x115f | 0x1160 | 0x3164 | 0xffa0 // hangul fillers
            | 0x17b4 | 0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f       // zero width, left-to-right marks
            | 0x2028..=0x202e       // separators, bidirectional embeddings and overrides
            | 0x2060..=0x206f       // invisible operators, isolates
            | 0xfeff                // byte order mark
            | 0xfff9..=0xfffb
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff     // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_bidi_and_zero_width_become_visible() {
        assert_eq!(line("a\u{1b}[2Jb"), "a<U+001B>[2Jb");
        assert_eq!(line("x\u{202e}txt.exe"), "x<U+202E>txt.exe");
        assert_eq!(line("ad\u{200b}min"), "ad<U+200B>min");
        assert_eq!(line("two\nlines"), "two<U+000A>lines");
        assert_eq!(lines("two\nlines\r"), "two\nlines<U+000D>");
        assert_eq!(line("a\tb"), "a b");
    }

    #[test]
    fn people_keep_their_names_and_emoji() {
        for name in ["Zoë", "李雷", "עברית", "नमस्ते", "👩\u{200d}💻", "❤️"] {
            assert_eq!(line(name), name);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_steers_a_terminal_is_left(text in any::<String>()) {
            prop_assert!(line(&text).chars().all(|c| !c.is_control()));
            prop_assert!(lines(&text).chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
