//! The word filter: listed words become stars, whatever their case.
//!
//! A word counts where it stands alone: a listed `ass` leaves `class` alone. That asks for scripts that put spaces
//! between words; in the others (from Thai on: Chinese, Japanese, Korean) a word counts wherever it stands.

use std::collections::BTreeMap;

/// What stands in place of each code point of a masked word.
const STAR: char = '*';

/// The first code point of the scripts that do not separate words: the Thai block.
const UNSPACED: char = '\u{e00}';

/// The longest word, in code points; a bound on the work a message can cause.
pub const MAX_WORD: usize = 64;

/// The most words.
pub const MAX_WORDS: usize = 20_000;

/// A list of words, as a tree of their code points in lower case. Node 0 is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    next: BTreeMap<char, usize>,
    /// Whether a word ends here.
    word: bool,
}

impl Default for Words {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Words {
    /// Reads a list: words between commas or line ends; spaces around them and empty ones do not count. A word may
    /// have spaces inside.
    ///
    /// # Errors
    /// If a word is longer than [`MAX_WORD`] code points, or there are more than [`MAX_WORDS`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = Self::default();
        let listed = text.split([',', '\n', '\r']).map(str::trim).filter(|word| !word.is_empty());
        for (index, word) in listed.enumerate() {
            let length = word.chars().count();
            if length > MAX_WORD {
                return Err(format!("word {} has {length} code points, allowed: 1 to {MAX_WORD}", index + 1));
            }
            if index == MAX_WORDS {
                return Err(format!("there are more than {MAX_WORDS} words"));
            }
            words.add(word);
        }
        Ok(words)
    }

    fn add(&mut self, word: &str) {
        let mut node = 0;
        for letter in word.chars().map(fold) {
            let new = self.nodes.len();
            node = *self.nodes[node].next.entry(letter).or_insert(new);
            if node == new {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[node].word = true;
    }

    /// Whether there is no word at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// The text with each code point of each listed word replaced by a star; none if there is no such word, or the
    /// bytes are not UTF-8. Of words that begin at the same place the longest counts.
    #[must_use]
    pub fn mask(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let text = std::str::from_utf8(body).ok()?;
        let mut masked = String::new();
        // How far the text is looked at, and how far it is copied to `masked`.
        let (mut at, mut copied) = (0, 0);
        let mut before = None;
        while let Some(letter) = text[at..].chars().next() {
            let Some(found) = self.longest(before, &text[at..]) else {
                before = Some(letter);
                at += letter.len_utf8();
                continue;
            };
            masked.push_str(&text[copied..at]);
            masked.extend(std::iter::repeat_n(STAR, found.letters));
            at += found.bytes;
            copied = at;
            before = Some(found.last);
        }
        if copied == 0 {
            return None;
        }
        masked.push_str(&text[copied..]);
        Some(masked.into_bytes())
    }

    /// The longest word the text begins with, given the code point before it.
    fn longest(&self, before: Option<char>, text: &str) -> Option<Found> {
        let mut letters = text.chars().peekable();
        let first = *letters.peek()?;
        // The cheap question first: most letters begin no word.
        if !self.nodes[0].next.contains_key(&fold(first))
            || before.is_some_and(|before| joined(before, first))
        {
            return None;
        }
        let (mut node, mut length, mut bytes) = (0, 0, 0);
        let mut found = None;
        while let Some(letter) = letters.next() {
            let Some(next) = self.nodes[node].next.get(&fold(letter)) else { break };
            node = *next;
            length += 1;
            bytes += letter.len_utf8();
            let ends = !letters.peek().is_some_and(|after| joined(letter, *after));
            if self.nodes[node].word && ends {
                found = Some(Found { letters: length, bytes, last: letter });
            }
        }
        found
    }
}

struct Found {
    letters: usize,
    bytes: usize,
    last: char,
}

/// Whether two code points that follow one another belong to the same word of a script with spaces.
fn joined(left: char, right: char) -> bool {
    let spaced = |letter: char| letter < UNSPACED && letter.is_alphanumeric();
    spaced(left) && spaced(right)
}

/// Lower case, where that is one code point.
fn fold(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let mut lower = letter.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(words: &str, text: &str) -> String {
        let masked = Words::parse(words).unwrap().mask(text.as_bytes());
        masked.map_or(text.into(), |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn words_become_as_many_stars_as_they_have_code_points() {
        for (words, text, expected) in [
            ("fuck", "Fuck you，fuck you sisters!", "**** you，**** you sisters!"),
            ("FUCK, you", "fuck you", "**** ***"),
            ("傻瓜\n王八蛋", "你是傻瓜，王八蛋!", "你是**，***!"),
            ("바보", "야바보야 hello", "야**야 hello"),
            ("дурак", "Дурак! дураки", "*****! дураки"),
            ("é", "É e", "* e"),
            ("ass", "class ass assess ASS", "class *** assess ***"),
            ("ass", "ass1 1ass ass_ 你ass你", "ass1 1ass ***_ 你***你"),
            ("bad word", "a Bad Word, bad  word", "a ********, bad  word"),
            ("bad,bad word", "bad words bad word", "*** words ********"),
            ("ab,abc", "abcd ab abc", "abcd ** ***"),
            ("傻,傻瓜", "傻瓜傻", "***"),
            ("a", "a", "*"),
            ("a", "", ""),
            ("a\nb", "\0a\0b", "\0*\0*"),
            ("😀", "x😀y😀", "x*y*"),
            ("İ", "İ i", "* i"),
            ("*", "***", "***"),
            ("", "anything", "anything"),
            (" ,,\r\n ,", "anything ,", "anything ,"),
        ] {
            assert_eq!(mask(words, text), expected, "{words:?} in {text:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_pass() {
        assert_eq!(Words::parse("bad").unwrap().mask(b"bad \xff"), None);
    }

    #[test]
    fn lists_have_bounds() {
        assert!(Words::parse(&"x".repeat(64)).is_ok());
        assert_eq!(
            Words::parse(&format!("a,{}", "é".repeat(65))),
            Err("word 2 has 65 code points, allowed: 1 to 64".into())
        );
        assert!(Words::parse(&"x,".repeat(20_000)).is_ok());
        assert_eq!(Words::parse(&"x,".repeat(20_001)), Err("there are more than 20000 words".into()));
    }
}
