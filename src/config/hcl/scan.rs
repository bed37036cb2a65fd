//! Splits a text into tokens, and counts its lines.

use std::fmt;

use serde_json::Number;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A key, `true` or `false`.
    Word(String),
    /// What stood in quotes or in a heredoc.
    Text(String),
    Number(Number),
    Assign,
    Comma,
    Open,
    Close,
    ListOpen,
    ListClose,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => formatter.write_str(word),
            Self::Text(text) => write!(formatter, "string {text:?}"),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Assign => formatter.write_str("="),
            Self::Comma => formatter.write_str(","),
            Self::Open => formatter.write_str("{"),
            Self::Close => formatter.write_str("}"),
            Self::ListOpen => formatter.write_str("["),
            Self::ListClose => formatter.write_str("]"),
            Self::End => formatter.write_str("the end"),
        }
    }
}

/// A mistake and its line.
type Mistake = (usize, String);

/// Reads tokens one after the other.
pub(super) struct Scanner<'a> {
    rest: &'a str,
    /// From 1.
    line: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            line: 1,
        }
    }

    /// The next token and the line where it begins; at the end, [`Token::End`] again and again.
    pub(super) fn token(&mut self) -> Result<(Token, usize), Mistake> {
        self.skip()?;
        let line = self.line;
        let Some(letter) = self.peek() else {
            return Ok((Token::End, line));
        };
        let single = match letter {
            '=' => Some(Token::Assign),
            ',' => Some(Token::Comma),
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            '[' => Some(Token::ListOpen),
            ']' => Some(Token::ListClose),
            _ => None,
        };
        let token = match (single, letter) {
            (Some(token), _) => {
                self.next();
                token
            }
            (None, '"') => {
                self.next();
                Token::Text(self.quoted(line)?)
            }
            (None, '<') => Token::Text(self.heredoc(line)?),
            (None, '-' | '0'..='9') => self.number(line)?,
            (None, letter) if letter.is_alphabetic() || letter == '_' => {
                let part = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
                Token::Word(self.take_while(part).to_owned())
            }
            (None, ':') => return Err((line, "found :, write key = value".to_owned())),
            (None, other) => return Err((line, format!("{other:?} does not belong here"))),
        };
        Ok((token, line))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = self.rest.get(letter.len_utf8()..).unwrap_or_default();
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn take_while(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !part(letter));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Skips blanks and comments.
    fn skip(&mut self) -> Result<(), Mistake> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.take_while(|letter| letter != '\n');
            } else if self.rest.starts_with("/*") {
                let line = self.line;
                let end = self.rest.find("*/");
                let end = end.ok_or_else(|| (line, "the comment /* does not end".to_owned()))?;
                let (comment, rest) = self.rest.split_at(end + 2);
                self.line += comment.matches('\n').count();
                self.rest = rest;
            } else {
                return Ok(());
            }
        }
    }

    /// What stands up to the closing quote.
    fn quoted(&mut self, line: usize) -> Result<String, Mistake> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some('$') if self.rest.starts_with('{') => {
                    text.push('$');
                    self.interpolation(&mut text, line)?;
                }
                Some('\n') => {
                    let message = "the string does not end in its line: write \\n or a heredoc";
                    return Err((line, message.to_owned()));
                }
                Some(letter) => text.push(letter),
                None => return Err((line, "the string does not end".to_owned())),
            }
        }
    }

    /// Everything between `{` and the `}` that belongs to it, as it is, quotes too.
    fn interpolation(&mut self, text: &mut String, line: usize) -> Result<(), Mistake> {
        let mut depth = 0_usize;
        while let Some(letter) = self.next() {
            text.push(letter);
            match letter {
                '{' => depth += 1,
                '}' if depth == 1 => return Ok(()),
                '}' => depth -= 1,
                '\\' => text.extend(self.next()),
                _ => {}
            }
        }
        Err((line, "${ has no closing }".to_owned()))
    }

    fn escape(&mut self) -> Result<char, Mistake> {
        let line = self.line;
        let letter = self.next();
        let (digits, radix) = match letter {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('f') => return Ok('\u{c}'),
            Some('v') => return Ok('\u{b}'),
            Some(letter @ ('\\' | '"')) => return Ok(letter),
            Some('x') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some(digit @ '0'..='7') => {
                let digits = format!("{digit}{}", self.digits(2));
                return code(&digits, 3, 8).ok_or_else(|| bad_escape(line, &digits));
            }
            other => return Err(bad_escape(line, &String::from_iter(other))),
        };
        let found = self.digits(digits);
        let all = format!("{}{found}", String::from_iter(letter));
        // What `\x` and octal digits give is one octet: beyond ASCII that is no character.
        code(&found, digits, radix)
            .filter(|letter| digits > 2 || letter.is_ascii())
            .ok_or_else(|| bad_escape(line, &all))
    }

    /// Up to `count` hexadecimal digits.
    fn digits(&mut self, count: usize) -> String {
        let digits = self.rest.chars().take(count);
        let digits: String = digits.take_while(char::is_ascii_hexdigit).collect();
        self.rest = self.rest.get(digits.len()..).unwrap_or_default();
        digits
    }

    /// `<<MARK` and the lines up to one that is `MARK`; `<<-MARK` takes away the indentation of the
    /// last line where all others have it, too.
    fn heredoc(&mut self, line: usize) -> Result<String, Mistake> {
        let begin = self.take_while(|letter| letter != '\n');
        self.next();
        let mark = begin.trim_end_matches('\r').strip_prefix("<<");
        let mark = mark.ok_or_else(|| (line, "'<' does not belong here".to_owned()))?;
        let (indented, mark) = match mark.strip_prefix('-') {
            Some(mark) => (true, mark),
            None => (false, mark),
        };
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        if mark.is_empty() || !mark.chars().all(is_word) {
            return Err((line, format!("{begin:?} begins no heredoc: write <<EOF")));
        }
        let mut lines = Vec::new();
        while !self.rest.is_empty() {
            let found = self.take_while(|letter| letter != '\n');
            // The line feed after the mark is left: it may end the item.
            if found.trim() == mark {
                let margin = found.get(..found.len() - found.trim_start().len());
                return Ok(joined(&lines, margin.filter(|_| indented)));
            }
            self.next();
            lines.push(found);
        }
        Err((line, format!("the heredoc <<{mark} does not end")))
    }

    fn number(&mut self, line: usize) -> Result<Token, Mistake> {
        let mut end = 0;
        let mut before = ' ';
        for letter in self.rest.chars() {
            let sign = "+-".contains(letter) && (end == 0 || "eE".contains(before));
            if !(letter.is_ascii_alphanumeric() || letter == '.' || sign) {
                break;
            }
            end += letter.len_utf8();
            before = letter;
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = whole(text).or_else(|| fraction(text));
        let message = || format!("{text:?} is not a number that fits 64 bits");
        number.map(Token::Number).ok_or_else(|| (line, message()))
    }
}

fn joined(lines: &[&str], margin: Option<&str>) -> String {
    let margin = margin.filter(|margin| lines.iter().all(|line| line.starts_with(margin)));
    let margin = margin.unwrap_or_default();
    let mut text = String::new();
    for line in lines {
        text.push_str(line.strip_prefix(margin).unwrap_or(line));
        text.push('\n');
    }
    text
}

fn bad_escape(line: usize, text: &str) -> Mistake {
    (line, format!("\\{} is no escape", text.escape_debug()))
}

/// The character with this code, if there are all `count` digits.
fn code(digits: &str, count: usize, radix: u32) -> Option<char> {
    let code = u32::from_str_radix(digits, radix).ok();
    let code = code.filter(|_| digits.len() == count)?;
    char::from_u32(code).filter(|letter| radix != 8 || letter.is_ascii())
}

fn whole(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let hexadecimal = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let signed = i64::from_str_radix(&format!("{sign}{digits}"), radix);
    let unsigned = || u64::from_str_radix(digits, radix).ok().map(Number::from);
    match signed {
        Ok(number) => Some(number.into()),
        Err(_) if sign.is_empty() => unsigned(),
        Err(_) => None,
    }
}

fn fraction(text: &str) -> Option<Number> {
    let plain = |letter: char| letter.is_ascii_digit() || ".eE+-".contains(letter);
    if !text.chars().all(plain) || !text.contains(['.', 'e', 'E']) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}
