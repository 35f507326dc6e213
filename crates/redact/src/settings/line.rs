//! One line of a configuration file: its name and value, and whether the value continues on the next lines. The caller
//! decides whether the value is a secret.

/// The rest of a value that covers several lines.
pub(super) struct Hidden {
    /// Lines that are further in than this column belong to it.
    pub(super) column: usize,
    /// It ends at a line with these quotes.
    pub(super) quote: Option<&'static str>,
    /// The line ended in a backslash.
    pub(super) goes_on: bool,
}

impl Hidden {
    pub(super) fn after(value: &str, column: usize) -> Self {
        Self { column, quote: Self::opens(value), goes_on: value.ends_with('\\') }
    }

    /// The quote that opens the value without closing it.
    pub(super) fn opens(value: &str) -> Option<&'static str> {
        let quote = [r#"""""#, "'''", "\"", "'"].into_iter().find(|quote| value.starts_with(quote))?;
        (!value[quote.len()..].contains(quote)).then_some(quote)
    }

    /// Whether the line belongs to the value (`Some`), and if so, whether it is the last line.
    pub(super) fn takes(&mut self, line: &str, indent: usize) -> Option<bool> {
        if let Some(quote) = self.quote {
            return Some(line.contains(quote));
        }
        let before = std::mem::replace(&mut self.goes_on, line.ends_with('\\'));
        // An empty line may occur within a block, and it hides nothing.
        (before || line.trim().is_empty() || indent > self.column).then_some(false)
    }
}

/// A line without its indentation, its list dashes and its comment sign.
pub(super) struct YamlItem<'a> {
    pub(super) text: &'a str,
    /// Where the text begins.
    pub(super) column: usize,
    /// Column of the line's first character.
    pub(super) indent: usize,
    pub(super) is_element: bool,
}

impl<'a> YamlItem<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        let mut text = line.trim_start();
        let indent = line.len() - text.len();
        let mut is_element = false;
        while let Some(rest) = text.strip_prefix("- ").or_else(|| text.strip_prefix(['#', ';'])) {
            is_element |= text.starts_with('-');
            text = rest.trim_start();
        }
        text = text.strip_prefix("export ").unwrap_or(text).trim_start();
        Self { text: text.trim_end(), column: line.len() - text.len(), indent, is_element }
    }

    pub(super) fn is_below(&self, column: usize) -> bool {
        self.indent > column || (self.is_element && self.indent == column)
    }
}

/// A name and its value on one line.
pub(super) struct Pair<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Where the value begins in the line.
    pub(super) at: usize,
    /// Separated by a colon and a blank.
    pub(super) is_yaml: bool,
}

impl<'a> Pair<'a> {
    pub(super) fn of(line: &'a str, item: &YamlItem<'a>) -> Option<Self> {
        let text = item.text;
        let (name, rest) = match text.chars().next()? {
            quote @ ('"' | '\'') => text[1..].split_once(quote)?,
            _ => text.split_at(text.find([':', '='])?),
        };
        let name = name.trim_end();
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ' | '$' | '@');
        if name.is_empty() || !name.chars().all(fits) {
            return None;
        }
        let rest = rest.trim_start();
        let value = rest.strip_prefix("=>").or_else(|| rest.strip_prefix([':', '=']))?;
        let is_yaml = rest.starts_with(':') && (value.is_empty() || value.starts_with([' ', '\t']));
        if value.starts_with("//") {
            return None;
        }
        let value = value.trim_start();
        let end = line.trim_end().len();
        Some(Self { name, value, at: end - value.len(), is_yaml })
    }
}

/// Whether each line is a section, a comment or a pair, or belongs to one: then a value extends to the end of its line,
/// blanks included, which cannot be assumed in prose.
pub(crate) fn is_file(text: &str) -> bool {
    let mut pairs = 0;
    let fits = text.lines().filter(|line| !line.trim().is_empty()).all(|line| {
        let item = YamlItem::of(line);
        let section = item.text.starts_with('[') && item.text.ends_with(']');
        let comment = line.trim_start().starts_with(['#', ';', '!']);
        let pair = !section && Pair::of(line, &item).is_some_and(|pair| !pair.name.contains(' '));
        pairs += usize::from(pair && !comment);
        section || comment || pair || (pairs > 0 && (item.indent > 0 || item.is_element))
    });
    fits && pairs > 1
}
