//! Several errors in one text, in the form in which clients of the reference know them.

/// A head that counts the errors, and a line for each.
pub fn several(errors: &[String]) -> String {
    let head = match errors.len() {
        1 => "1 error occurred:".to_owned(),
        count => format!("{count} errors occurred:"),
    };
    let lines = errors.iter().map(|error| format!("\n\t* {error}"));
    std::iter::once(head).chain(lines).collect::<String>() + "\n\n"
}
