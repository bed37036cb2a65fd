//! Makes a tree of the tokens: `not` binds tighter than `and`, `and` tighter than `or`.

use super::lexer::{Lexer, Position, SyntaxError, Token};
use super::syntax::{Condition, Expression, Operator, Selector};
use super::{CONDITIONS_MAX, NESTING_MAX};

const SPACE: &str = "[ \\t\\r\\n]";
/// What may follow a whole expression.
const AFTER: &[&str] = &["\"and\"", "\"or\"", SPACE, "EOF"];
/// The same inside of parentheses.
const AFTER_INSIDE: &[&str] = &["\")\"", "\"and\"", "\"or\"", SPACE];
const START: &[&str] = &["\"(\"", "\"not\"", SPACE, "selector", "value"];
const VALUE: &[&str] = &["number", "string", "word"];
const AFTER_SELECTOR: &[&str] = &[
    "\"!=\"",
    "\"==\"",
    "\"contains\"",
    "\"in\"",
    "\"is\"",
    "\"matches\"",
    "\"not\"",
];

/// Reads a whole text.
///
/// # Errors
/// Where and how it breaks the grammar or one of the bounds.
pub(super) fn parse(text: &str) -> Result<Expression, SyntaxError> {
    let mut lexer = Lexer::new(text);
    let (token, position) = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        position,
        conditions: 0,
    };
    let expression = parser.any(0)?;
    match parser.token {
        Token::End => Ok(expression),
        _ => Err(SyntaxError::expected(parser.position, AFTER)),
    }
}

/// One token ahead of what was read.
struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token,
    position: Position,
    conditions: usize,
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Expression, SyntaxError> {
        let first = self.all(depth)?;
        let mut parts = vec![first];
        while self.takes_word("or")? {
            parts.push(self.all(depth)?);
        }
        Ok(single_or(parts, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, SyntaxError> {
        let first = self.not(depth)?;
        let mut parts = vec![first];
        while self.takes_word("and")? {
            parts.push(self.not(depth)?);
        }
        Ok(single_or(parts, Expression::All))
    }

    fn not(&mut self, depth: usize) -> Result<Expression, SyntaxError> {
        if depth > NESTING_MAX {
            let text = format!("nested more than {NESTING_MAX} deep");
            return Err(SyntaxError::other(self.position, text));
        }
        if self.is_word("not") {
            let word = self.advance()?;
            // Only then can it be the name of a field.
            if !matches!(self.token, Token::Equal | Token::NotEqual) {
                return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
            }
            return self.condition(word);
        }
        if self.token != Token::Open {
            let first = self.advance_from_operand()?;
            return self.condition(first);
        }
        self.advance()?;
        let inner = self.any(depth + 1)?;
        if self.token != Token::Close {
            return Err(SyntaxError::expected(self.position, AFTER_INSIDE));
        }
        self.advance()?;
        Ok(inner)
    }

    /// The rest of a condition that begins with `first`.
    fn condition(&mut self, first: Token) -> Result<Expression, SyntaxError> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            let text = format!("more than {CONDITIONS_MAX} conditions");
            return Err(SyntaxError::other(self.position, text));
        }
        let condition = match first {
            Token::Path { parts, indexed } => self.after_path(parts, indexed)?,
            Token::Number(value) | Token::Text(value) => self.after_value(value)?,
            _ => return Err(SyntaxError::expected(self.position, START)),
        };
        Ok(Expression::Condition(condition))
    }

    fn after_path(&mut self, parts: Vec<String>, indexed: bool) -> Result<Condition, SyntaxError> {
        let unexpected = SyntaxError::expected(self.position, AFTER_SELECTOR);
        match &self.token {
            sign @ (Token::Equal | Token::NotEqual) => {
                let negated = *sign == Token::NotEqual;
                self.advance()?;
                let value = self.value()?;
                return Ok(condition(parts, Operator::Equal(value), negated));
            }
            Token::Path { .. } => {}
            _ => return Err(unexpected),
        }
        if self.takes_word("is")? {
            let negated = self.takes_word("not")?;
            if !self.takes_word("empty")? {
                let words: &[&str] = if negated {
                    &["\"empty\""]
                } else {
                    &["\"empty\"", "\"not\""]
                };
                return Err(SyntaxError::expected(self.position, words));
            }
            return Ok(condition(parts, Operator::Empty, negated));
        }
        let negated = self.takes_word("not")?;
        if self.is_word("in") && !indexed {
            return self.in_selector(parts.join("."), negated);
        }
        if self.takes_word("contains")? {
            return Ok(condition(parts, Operator::In(self.value()?), negated));
        }
        if self.takes_word("matches")? {
            return Ok(condition(parts, Operator::Matches(self.value()?), negated));
        }
        if negated {
            let words = &["\"contains\"", "\"in\"", "\"matches\""];
            return Err(SyntaxError::expected(self.position, words));
        }
        Err(unexpected)
    }

    fn after_value(&mut self, value: String) -> Result<Condition, SyntaxError> {
        let negated = self.takes_word("not")?;
        if self.is_word("in") {
            return self.in_selector(value, negated);
        }
        let words: &[&str] = if negated {
            &["\"in\""]
        } else {
            &["\"in\"", "\"not\""]
        };
        Err(SyntaxError::expected(self.position, words))
    }

    /// `in` and the selector after it.
    fn in_selector(&mut self, value: String, negated: bool) -> Result<Condition, SyntaxError> {
        self.advance()?;
        let start = self.position;
        match self.advance()? {
            Token::Path { parts, .. } => Ok(condition(parts, Operator::In(value), negated)),
            _ => Err(SyntaxError::expected(start, &["selector"])),
        }
    }

    fn value(&mut self) -> Result<String, SyntaxError> {
        let value = match &self.token {
            Token::Path {
                parts,
                indexed: false,
            } => parts.join("."),
            Token::Number(value) | Token::Text(value) => value.clone(),
            _ => return Err(SyntaxError::expected(self.position, VALUE)),
        };
        self.advance()?;
        Ok(value)
    }

    /// Goes on from what a condition can begin with.
    fn advance_from_operand(&mut self) -> Result<Token, SyntaxError> {
        match self.token {
            Token::Path { .. } | Token::Number(_) | Token::Text(_) => self.advance(),
            _ => Err(SyntaxError::expected(self.position, START)),
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Path { parts, .. } if *parts == [word])
    }

    /// Goes on if `word` is next; whether it was.
    fn takes_word(&mut self, word: &str) -> Result<bool, SyntaxError> {
        let is_next = self.is_word(word);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    /// Goes on by one token and gives the one before.
    fn advance(&mut self) -> Result<Token, SyntaxError> {
        let (token, position) = self.lexer.next()?;
        self.position = position;
        Ok(std::mem::replace(&mut self.token, token))
    }
}

fn single_or(
    mut parts: Vec<Expression>,
    join: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn condition(parts: Vec<String>, operator: Operator, negated: bool) -> Condition {
    Condition {
        selector: Selector(parts),
        operator,
        negated,
    }
}
