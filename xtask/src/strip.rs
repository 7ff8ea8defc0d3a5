//! Rust source taken apart into code and comments, so that a check is not deceived by a word in a string.
//!
//! Both halves keep the shape of the source: what belongs to the other half, and the content of strings and
//! characters, becomes spaces, byte by byte, so that lines and columns stay what they were.
//!
//! ```text
//!   source     let s = "todo"; // why
//!   code       let s = "    ";
//!   comments                   // why
//! ```
//!
//! It reads what the Rust reference calls tokens: nested block comments, raw strings, byte and C strings, characters
//! as opposed to lifetimes, raw identifiers.

/// The two halves of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stripped {
    /// As many lines and bytes as the source; without comments and without the content of strings and characters.
    pub code: String,
    /// As many lines and bytes as the source; comments only, with their marks.
    pub comments: String,
}

impl Stripped {
    /// Takes a source apart. Any text will do: what never ends (a string, a comment) ends with the text.
    ///
    /// # Panics
    /// When a half lost its shape, which is a fault of this function.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let mut stripper = Stripper {
            source: source.as_bytes(),
            at: 0,
            code: Vec::with_capacity(source.len()),
            comments: Vec::with_capacity(source.len()),
        };
        while stripper.at < stripper.source.len() {
            stripper.step();
        }
        let stripped = Self { code: text(&stripper.code), comments: text(&stripper.comments) };
        assert_eq!(stripped.code.len(), source.len(), "the code keeps its shape");
        assert_eq!(stripped.comments.len(), source.len(), "the comments keep their shape");
        stripped
    }
}

/// Lossless: a character of several bytes is either kept or blanked as a whole.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Which half a byte goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Code,
    Comment,
    Neither,
}

struct Stripper<'a> {
    source: &'a [u8],
    /// How far `source` is read; both halves are as long.
    at: usize,
    code: Vec<u8>,
    comments: Vec<u8>,
}

impl Stripper<'_> {
    /// The byte `ahead` of the next one; 0 behind the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.source.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn take(&mut self, half: Half) {
        let byte = self.peek(0);
        let blank = if byte == b'\n' { b'\n' } else { b' ' };
        self.code.push(if half == Half::Code { byte } else { blank });
        self.comments.push(if half == Half::Comment { byte } else { blank });
        self.at += 1;
    }

    /// Takes up to `count` bytes, fewer at the end of the source.
    fn take_many(&mut self, count: usize, half: Half) {
        let end = (self.at + count).min(self.source.len());
        while self.at < end {
            self.take(half);
        }
    }

    fn ended(&self) -> bool {
        self.at >= self.source.len()
    }

    /// Reads one token, or one byte of what needs no care.
    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (b'/', b'/') => self.line_comment(),
            (b'/', b'*') => self.block_comment(),
            (b'"', _) => self.string(),
            (b'\'', _) => self.quote(),
            (byte, _) if is_word(byte) => self.word(),
            _ => self.take(Half::Code),
        }
    }

    fn line_comment(&mut self) {
        while !self.ended() && self.peek(0) != b'\n' {
            self.take(Half::Comment);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while !self.ended() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.take_many(2, Half::Comment);
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.take_many(2, Half::Comment);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.take(Half::Comment),
            }
        }
    }

    fn string(&mut self) {
        self.take(Half::Code);
        while !self.ended() {
            match self.peek(0) {
                b'\\' => self.take_many(2, Half::Neither),
                b'"' => return self.take(Half::Code),
                _ => self.take(Half::Neither),
            }
        }
    }

    /// A string that ends with a quote and as many hashes as stood before the first quote.
    fn raw_string(&mut self, hashes: usize) {
        self.take_many(hashes, Half::Neither);
        self.take(Half::Code);
        while !self.ended() {
            let ends = self.peek(0) == b'"' && (1..=hashes).all(|ahead| self.peek(ahead) == b'#');
            if ends {
                self.take(Half::Code);
                return self.take_many(hashes, Half::Neither);
            }
            self.take(Half::Neither);
        }
    }

    /// A character, whose content goes, or the mark of a lifetime or label, which stays.
    fn quote(&mut self) {
        let content = match self.peek(1) {
            b'\\' => self.escaped_character(),
            first => width(first),
        };
        if self.peek(1 + content) == b'\'' {
            self.take_many(content + 2, Half::Neither);
        } else {
            self.take(Half::Code);
        }
    }

    /// The length of `\n`, `\'`, `\u{1F600}` and their like, which begins one byte ahead.
    fn escaped_character(&self) -> usize {
        let mut length = 2;
        while !matches!(self.peek(1 + length), b'\'' | b'\n' | 0) {
            length += 1;
        }
        length
    }

    /// An identifier, keyword or number; also the prefix that makes a string raw.
    fn word(&mut self) {
        let start = self.at;
        while is_word(self.peek(0)) {
            self.take(Half::Code);
        }
        let prefix = &self.source[start..self.at];
        if !matches!(prefix, b"r" | b"br" | b"cr") {
            return;
        }
        let mut hashes = 0;
        while self.peek(hashes) == b'#' {
            hashes += 1;
        }
        if self.peek(hashes) == b'"' {
            self.raw_string(hashes);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// How many bytes the UTF-8 character has that begins with this one.
fn width(first: u8) -> usize {
    match first.leading_ones() {
        0 => 1,
        ones => ones as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strips, and shows the code with runs of spaces made one.
    fn code(source: &str) -> String {
        let stripped = Stripped::of(source);
        stripped.code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn comments(source: &str) -> String {
        Stripped::of(source).comments.trim().to_owned()
    }

    #[test]
    fn a_line_comment_goes_to_the_comments() {
        assert_eq!(code("a(); // b();\nc();"), "a(); c();");
        assert_eq!(comments("a(); // b();\nc();"), "// b();");
    }

    #[test]
    fn block_comments_nest() {
        assert_eq!(code("a /* b /* c */ d */ e"), "a e");
        assert_eq!(comments("a /* b /* c */ d */ e"), "/* b /* c */ d */");
    }

    #[test]
    fn what_stands_in_a_string_is_neither() {
        let source = r#"f("tokio // no comment \" still"); g"#;
        assert_eq!(code(source), "f(\" \"); g");
        assert_eq!(comments(source), "");
    }

    #[test]
    fn raw_strings_end_with_their_own_number_of_hashes() {
        assert_eq!(code(r###"f(r#"a " b // c"#); g"###), "f(r \" \" ); g");
        assert_eq!(code(r###"f(br##"a "# b"##); g"###), "f(br \" \" ); g");
        assert_eq!(code(r#"f(b"a // b"); g"#), "f(b\" \"); g");
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code(r#"['"', '\'', '\u{1F600}', 'ü', b'/']; x"#), "[ , , , , b ]; x");
        assert_eq!(code("'outer: loop { break 'outer; }"), "'outer: loop { break 'outer; }");
    }

    #[test]
    fn a_raw_identifier_is_not_a_raw_string() {
        assert_eq!(code("let r#fn = 1; // x"), "let r#fn = 1;");
    }

    #[test]
    fn lines_and_bytes_keep_their_places() {
        let source = "a\n/* b\n c */ d\n\"e\nf\" g\n";
        let stripped = Stripped::of(source);
        assert_eq!(stripped.code.lines().count(), source.lines().count());
        assert_eq!(stripped.code.find('g'), source.find('g'));
        assert_eq!(stripped.comments.find("c */"), source.find("c */"));
    }

    #[test]
    fn what_never_ends_ends_with_the_text() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'", "b'\\", "'\\u{"] {
            assert_eq!(Stripped::of(source).code.len(), source.len(), "{source}");
        }
    }
}
