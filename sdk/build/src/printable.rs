//! Printable: what guests and artefacts say, made fit for logs, terminals and clients: one line, bounded, and nothing
//! that changes how the text around it is shown.

/// The most of a text that is shown anywhere, bytes (`wit/`).
pub const TEXT_MAX: usize = 1024;

/// The text, cut at `most` bytes; what is no printable character is a space in it.
#[must_use]
pub fn printable(text: &str, most: usize) -> String {
    let cut = &text[..text.floor_char_boundary(most)];
    cut.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect()
}

/// As [`printable`]: the text itself, if it needs no change.
#[must_use]
pub fn into_printable(text: String, most: usize) -> String {
    if text.len() <= most && text.chars().all(is_printable) { text } else { printable(&text, most) }
}

/// As [`printable`], with the number of bytes that were cut away behind the text.
#[must_use]
pub fn excerpt(text: &str, most: usize) -> String {
    let shown = printable(text, most);
    match text.len() - text.floor_char_boundary(most) {
        0 => shown,
        cut => format!("{shown}... ({cut} bytes more)"),
    }
}

/// Control characters can forge lines and drive terminals; the others reorder, hide or break the text around them.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            // Marks and overrides of direction.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Without width: spaces, joiners, the byte order mark, tags, annotations.
            | '\u{00ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_that_shows_what_it_is() {
        let table = [
            ("plain, with é and 猫 and 👩‍🚀", "plain, with é and 猫 and 👩‍🚀"),
            ("two\nlines\r\n", "two lines  "),
            ("\u{1b}[31mred\u{7}\u{9b}", " [31mred  "),
            ("user\u{202e}gnp.exe\u{2066}x", "user gnp.exe x"),
            ("a\u{2028}b\u{200b}c\u{feff}d", "a b c d"),
        ];
        for (text, shown) in table {
            assert_eq!(printable(text, TEXT_MAX), shown);
            assert_eq!(into_printable(text.to_owned(), TEXT_MAX), shown);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(printable("äöü", 3), "ä");
        assert_eq!(into_printable("x".repeat(5000), 512).len(), 512);
        assert_eq!(excerpt("äöü\n", 3), "ä... (5 bytes more)");
        assert_eq!(excerpt("äöü\n", 7), "äöü ");
    }
}
