//! Cuts the text of a filter into tokens, each with its position.
//!
//! A selector is one token, since no space may stand inside of it. What begins no token at all is
//! one too ([`Token::Unknown`]): only the parser knows what it would have taken instead.

use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Octets before it.
    pub offset: usize,
}

/// The text breaks the grammar: where, and what would have followed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub position: Position,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// One of these should be there.
    Expected(&'static [&'static str]),
    /// Something else, in words.
    Other(String),
}

impl SyntaxError {
    /// One of `tokens` should be at `position`.
    pub(super) fn expected(position: Position, tokens: &'static [&'static str]) -> Self {
        let problem = Problem::Expected(tokens);
        Self { position, problem }
    }

    /// What is wrong at `position` in words.
    pub(super) fn other(position: Position, text: impl Into<String>) -> Self {
        let problem = Problem::Other(text.into());
        Self { position, problem }
    }
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position {
            line,
            column,
            offset,
        } = self.position;
        write!(formatter, "{line}:{column} ({offset}): ")?;
        match &self.problem {
            Problem::Other(text) => formatter.write_str(text),
            Problem::Expected([first @ .., last]) if !first.is_empty() => {
                let first = first.join(", ");
                write!(formatter, "no match found, expected: {first} or {last}")
            }
            Problem::Expected(tokens) => {
                write!(formatter, "no match found, expected: {}", tokens.concat())
            }
        }
    }
}

/// A part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Words joined by dots or with quoted keys in brackets: a selector, a keyword or a bare value.
    Path {
        parts: Vec<String>,
        /// Whether there are brackets, which no value has.
        indexed: bool,
    },
    /// A number as written.
    Number(String),
    /// What was in quotes.
    Text(String),
    Equal,
    NotEqual,
    Open,
    Close,
    /// Begins none of the others.
    Unknown,
    End,
}

/// Where the next token begins.
pub(super) struct Lexer<'a> {
    letters: Peekable<CharIndices<'a>>,
    position: Position,
    end: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            letters: text.char_indices().peekable(),
            position: Position {
                line: 1,
                column: 1,
                offset: 0,
            },
            end: text.len(),
        }
    }

    /// The next token and where it begins; [`Token::End`] again and again at the end.
    ///
    /// # Errors
    /// A token that begins like one and does not end like it.
    pub(super) fn next(&mut self) -> Result<(Token, Position), SyntaxError> {
        while self.peek().is_some_and(is_space) {
            self.take();
        }
        let start = self.position;
        let Some(letter) = self.peek() else {
            return Ok((Token::End, start));
        };
        let token = match letter {
            '(' => self.single(Token::Open),
            ')' => self.single(Token::Close),
            '=' => self.sign(Token::Equal)?,
            '!' => self.sign(Token::NotEqual)?,
            '"' | '`' => Token::Text(self.text()?),
            '-' | '0'..='9' => Token::Number(self.number()?),
            'a'..='z' | 'A'..='Z' => self.path()?,
            _ => Token::Unknown,
        };
        Ok((token, start))
    }

    fn single(&mut self, token: Token) -> Token {
        self.take();
        token
    }

    fn sign(&mut self, token: Token) -> Result<Token, SyntaxError> {
        self.take();
        self.expect('=', &["\"=\""])?;
        Ok(token)
    }

    fn path(&mut self) -> Result<Token, SyntaxError> {
        let mut parts = vec![self.word()?];
        let mut indexed = false;
        loop {
            match self.peek() {
                Some('.') => {
                    self.take();
                    parts.push(self.word()?);
                }
                Some('[') => {
                    indexed = true;
                    parts.push(self.key()?);
                }
                _ => return Ok(Token::Path { parts, indexed }),
            }
        }
    }

    fn word(&mut self) -> Result<String, SyntaxError> {
        if !self.peek().is_some_and(|first| first.is_ascii_alphabetic()) {
            return Err(SyntaxError::expected(self.position, &["[a-zA-Z]"]));
        }
        let is_inner = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        Ok(self.take_while(is_inner))
    }

    /// `["key"]`
    fn key(&mut self) -> Result<String, SyntaxError> {
        self.take();
        self.take_while(is_space);
        if !matches!(self.peek(), Some('"' | '`')) {
            return Err(SyntaxError::expected(self.position, &["string"]));
        }
        let key = self.text()?;
        self.take_while(is_space);
        self.expect(']', &["\"]\""])?;
        Ok(key)
    }

    /// An optional sign, digits without a leading zero, and an optional fraction; then something
    /// must end it, so that `80x` is not read as two tokens.
    fn number(&mut self) -> Result<String, SyntaxError> {
        let mut number = String::new();
        if self.peek() == Some('-') {
            number.extend(self.take());
        }
        let digits = self.digits()?;
        if digits.len() > 1 && digits.starts_with('0') {
            let text = "a number does not begin with 0; put other values in quotes";
            return Err(SyntaxError::other(self.position, text));
        }
        number.push_str(&digits);
        if self.peek() == Some('.') {
            number.extend(self.take());
            number.push_str(&self.digits()?);
        }
        match self.peek() {
            Some(letter) if !is_space(letter) && letter != ')' => {
                let after = &["\")\"", "[ \\t\\r\\n]", "EOF"];
                Err(SyntaxError::expected(self.position, after))
            }
            _ => Ok(number),
        }
    }

    fn digits(&mut self) -> Result<String, SyntaxError> {
        let digits = self.take_while(|letter| letter.is_ascii_digit());
        if digits.is_empty() {
            return Err(SyntaxError::expected(self.position, &["[0-9]"]));
        }
        Ok(digits)
    }

    /// What is in quotes: between backticks as it is, between double quotes with escapes.
    fn text(&mut self) -> Result<String, SyntaxError> {
        let start = self.position;
        let quote = self.take();
        let mut text = String::new();
        loop {
            let position = self.position;
            match self.take() {
                None => return Err(SyntaxError::other(start, "string has no closing quote")),
                letter if letter == quote => return Ok(text),
                Some('\\') if quote == Some('"') => text.push(self.escaped(position)?),
                Some(letter) => text.push(letter),
            }
        }
    }

    /// What a backslash at `position` and the letters after it stand for.
    fn escaped(&mut self, position: Position) -> Result<char, SyntaxError> {
        let letter = self.take();
        let digits = match letter {
            Some('"' | '\\') => return Ok(letter.unwrap_or('\\')),
            Some('a') => return Ok('\x07'),
            Some('b') => return Ok('\x08'),
            Some('f') => return Ok('\x0c'),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('v') => return Ok('\x0b'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => {
                let text = "a backslash begins an escape here: double it, or use backticks";
                return Err(SyntaxError::other(position, text));
            }
        };
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.peek().and_then(|letter| letter.to_digit(16));
            let Some(digit) = digit else {
                return Err(SyntaxError::expected(self.position, &["[0-9a-fA-F]"]));
            };
            self.take();
            code = (code << 4) | digit;
        }
        // Octets from 80 on would be half a character.
        let whole = char::from_u32(code).filter(|_| digits > 2 || code < 0x80);
        whole.ok_or_else(|| SyntaxError::other(position, "the escape is no character"))
    }

    fn expect(&mut self, letter: char, tokens: &'static [&'static str]) -> Result<(), SyntaxError> {
        if self.peek() != Some(letter) {
            return Err(SyntaxError::expected(self.position, tokens));
        }
        self.take();
        Ok(())
    }

    fn peek(&mut self) -> Option<char> {
        self.letters.peek().map(|(_, letter)| *letter)
    }

    fn take(&mut self) -> Option<char> {
        let (_, letter) = self.letters.next()?;
        if letter == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        let next = self.letters.peek();
        self.position.offset = next.map_or(self.end, |(offset, _)| *offset);
        Some(letter)
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while self.peek().is_some_and(&holds) {
            taken.extend(self.take());
        }
        taken
    }
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}
