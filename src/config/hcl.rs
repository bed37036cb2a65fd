//! Reads the configuration language of `.hcl` files: the first version of HCL, as Consul's users
//! write it, into the same tree as JSON.
//!
//! Blocks and assigned objects are the same. A block that is repeated adds to the first, member by
//! member; repeated `service`, `services`, `check` and `checks` add up to a list, and the label of
//! one of these is its name. Labels of other blocks are keys of the objects within. Items may stand
//! on one line, with or without commas. `${…}` is left as it is. A text that begins with `{` is
//! JSON.

mod scan;

use std::sync::Arc;

use super::error::Problem;
use super::tree::{DEPTH_MAX, Entry, Node, Place, Value, is_listed};
use scan::{Scanner, Token};

/// Reads a whole text.
///
/// # Errors
/// The first mistake, with its line.
pub(super) fn parse(source: &str, text: &str) -> Result<Node, Problem> {
    if text.trim_start().starts_with('{') {
        return Node::parse(source, text);
    }
    let mut parser = Parser {
        source: source.into(),
        scanner: Scanner::new(text),
        next: None,
    };
    let place = parser.place(1);
    let value = Value::Object(parser.items(&Token::End, 0)?);
    Ok(Node { place, value })
}

struct Parser<'a> {
    source: Arc<str>,
    scanner: Scanner<'a>,
    /// A token that was looked at and not taken, with its line.
    next: Option<(Token, usize)>,
}

impl Parser<'_> {
    fn place(&self, line: usize) -> Place {
        Place {
            source: Arc::clone(&self.source),
            line: Some(line),
        }
    }

    fn problem(&self, line: usize, message: impl Into<String>) -> Problem {
        Problem::at(self.place(line), message.into())
    }

    fn take(&mut self) -> Result<(Token, usize), Problem> {
        if let Some(next) = self.next.take() {
            return Ok(next);
        }
        let scanned = self.scanner.token();
        scanned.map_err(|(line, message)| self.problem(line, message))
    }

    /// Takes the next token if it is `wanted`.
    fn take_if(&mut self, wanted: &Token) -> Result<bool, Problem> {
        let next = self.take()?;
        let found = next.0 == *wanted;
        if !found {
            self.next = Some(next);
        }
        Ok(found)
    }

    /// The members of an object up to `end`, which is taken.
    fn items(&mut self, end: &Token, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries = Vec::new();
        while !self.take_if(end)? {
            let entry = self.item(depth)?;
            add(&mut entries, entry)?;
            self.take_if(&Token::Comma)?;
        }
        Ok(entries)
    }

    /// One member: a key and a value, or a block with its labels.
    fn item(&mut self, depth: usize) -> Result<Entry, Problem> {
        let (key, line) = match self.take()? {
            (Token::Word(key) | Token::Text(key), line) => (key, line),
            (other, line) => {
                let message = format!("expected a key, found {other}");
                return Err(self.problem(line, message));
            }
        };
        let mut labels = Vec::new();
        loop {
            match self.take()? {
                (Token::Word(label) | Token::Text(label), _) => labels.push(label),
                (Token::Assign, _) if labels.is_empty() => {
                    let node = self.value(depth + 1).map_err(|error| error.below(&key))?;
                    return Ok(self.entry(key, line, node));
                }
                (Token::Open, _) => return self.block(key, &labels, line, depth + 1),
                (other, found) => {
                    let wanted = if labels.is_empty() { "= or {" } else { "{" };
                    let message = format!("expected {wanted} after {key:?}, found {other}");
                    return Err(self.problem(found, message));
                }
            }
        }
    }

    fn block(
        &mut self,
        key: String,
        labels: &[String],
        line: usize,
        depth: usize,
    ) -> Result<Entry, Problem> {
        // Each label is a level of its own.
        self.check_depth(line, depth.saturating_add(labels.len()))?;
        let entries = self.items(&Token::Close, depth + labels.len());
        let mut node = Node {
            place: self.place(line),
            value: Value::Object(entries.map_err(|error| error.below(&key))?),
        };
        match labels {
            [name] if is_listed(&key) => {
                self.name(&mut node, name, line)
                    .map_err(|error| error.below(&key))?;
            }
            labels => {
                for label in labels.iter().rev() {
                    let place = node.place.clone();
                    let entry = self.entry(label.clone(), line, node);
                    let value = Value::Object(vec![entry]);
                    node = Node { place, value };
                }
            }
        }
        Ok(self.entry(key, line, node))
    }

    /// Gives a block the name that its label says.
    fn name(&self, node: &mut Node, name: &str, line: usize) -> Result<(), Problem> {
        let Value::Object(entries) = &mut node.value else {
            return Ok(());
        };
        let given = entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case("name"));
        match given.map(|entry| &entry.node) {
            None => {
                let place = self.place(line);
                let value = Value::Text(name.to_owned());
                let entry = self.entry("name".to_owned(), line, Node { place, value });
                entries.insert(0, entry);
                Ok(())
            }
            Some(Node {
                value: Value::Text(given),
                ..
            }) if given == name => Ok(()),
            Some(given) => Err(Problem::at(
                given.place.clone(),
                format!("differs from the block's label {name:?}, give only one of them"),
            )
            .below("name")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        let (token, line) = self.take()?;
        self.check_depth(line, depth)?;
        let value = match token {
            Token::Text(text) => Value::Text(text),
            Token::Number(number) => Value::Number(number),
            Token::Word(word) if word == "true" => Value::Boolean(true),
            Token::Word(word) if word == "false" => Value::Boolean(false),
            Token::Word(word) => {
                let message = format!("{word} stands without quotes");
                return Err(self.problem(line, message));
            }
            Token::Open => Value::Object(self.items(&Token::Close, depth)?),
            Token::ListOpen => Value::List(self.list(depth)?),
            other => {
                let message = format!("expected a value, found {other}");
                return Err(self.problem(line, message));
            }
        };
        Ok(Node {
            place: self.place(line),
            value,
        })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        while !self.take_if(&Token::ListClose)? {
            items.push(self.value(depth + 1)?);
            if !self.take_if(&Token::Comma)? {
                let (found, line) = self.take()?;
                if found == Token::ListClose {
                    break;
                }
                let message = format!("expected , or ] in a list, found {found}");
                return Err(self.problem(line, message));
            }
        }
        Ok(items)
    }

    fn entry(&self, key: String, line: usize, node: Node) -> Entry {
        Entry {
            key,
            place: self.place(line),
            node,
        }
    }

    fn check_depth(&self, line: usize, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(self.problem(line, message));
        }
        Ok(())
    }
}

/// Adds a member to an object that may have one of this key.
fn add(entries: &mut Vec<Entry>, other: Entry) -> Result<(), Problem> {
    let Some(entry) = entries.iter_mut().find(|entry| entry.key == other.key) else {
        entries.push(other);
        return Ok(());
    };
    if is_listed(&other.key) {
        entry.node.make_list();
    }
    match (&mut entry.node.value, other.node.value) {
        (Value::List(items), value @ Value::Object(_)) if is_listed(&other.key) => {
            let place = other.node.place;
            items.push(Node { place, value });
        }
        (Value::List(items), Value::List(more)) if is_listed(&other.key) => items.extend(more),
        (Value::Object(members), Value::Object(more)) => {
            for member in more {
                add(members, member).map_err(|error| error.below(&other.key))?;
            }
        }
        _ => return Err(Problem::twice(other.place, &other.key, &entry.place)),
    }
    Ok(())
}
