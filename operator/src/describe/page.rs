//! Lines in columns, laid out as Go's `text/tabwriter` does for Velero: tabs end cells, and a column is as wide as its
//! widest cell plus two blanks.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use debugbundle_format::text::escape_for_terminal;

/// Blanks behind a column's widest cell (padding 2 in Velero's `describe.go`).
const PADDING: usize = 2;
/// Most lines, and most of their bytes, that share a column's width; then the width is measured anew.
const LINES: usize = 512;
const BYTES: usize = 256 * 1024;
/// A cell wider than this does not widen its column (characters).
const WIDEST: usize = 120;

/// A text in columns that is being written.
#[derive(Debug)]
pub(super) struct Page<W> {
    out: W,
    block: Vec<Vec<String>>,
    bytes: usize,
}

impl<W: Write> Page<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, block: Vec::new(), bytes: 0 }
    }

    /// One line; each tab ends a cell. Only for our own text: a tab in foreign text would begin another cell.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        let cells: Vec<String> = text.split('\t').map(str::to_owned).collect();
        self.cells(cells)
    }

    /// An empty line.
    pub(super) fn gap(&mut self) -> io::Result<()> {
        self.line("")
    }

    /// `label:` and its value, indented by this many columns. All lines of a value stay in its column, so that none of
    /// them can pass for a fact of its own.
    pub(super) fn row(&mut self, indent: usize, label: &str, value: &str) -> io::Result<()> {
        self.under(indent, &format!("{label}:"), value)
    }

    /// Like [`Self::row`], without adding a colon to `head`.
    pub(super) fn under(&mut self, indent: usize, head: &str, value: &str) -> io::Result<()> {
        let mut head = Some(head);
        for piece in lines_of(value) {
            let mut cells = vec![String::new(); indent];
            cells.push(head.take().unwrap_or_default().to_owned());
            cells.push(piece.to_owned());
            self.cells(cells)?;
        }
        Ok(())
    }

    /// Foreign text alone on one line, indented by this many columns.
    pub(super) fn text(&mut self, indent: usize, text: &str) -> io::Result<()> {
        let mut cells = vec![String::new(); indent];
        cells.push(text.to_owned());
        self.cells(cells)
    }

    /// Writes the remaining lines and returns the writer.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.out)
    }

    /// A line. All output passes here, so no cell can end a line or a column, or control a terminal.
    fn cells(&mut self, mut cells: Vec<String>) -> io::Result<()> {
        for cell in &mut cells {
            if let Cow::Owned(harmless) = escape_for_terminal(cell) {
                *cell = harmless;
            }
        }
        self.bytes += cells.iter().map(String::len).sum::<usize>();
        // A line of one cell belongs to no column and ends the columns above it.
        let ends = cells.len() == 1 || self.block.len() >= LINES || self.bytes >= BYTES;
        self.block.push(cells);
        if ends { self.write_block() } else { Ok(()) }
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let block = std::mem::take(&mut self.block);
        let mut widths: Vec<Vec<usize>> = block.iter().map(|cells| vec![0; cells.len() - 1]).collect();
        let deepest = widths.iter().map(Vec::len).max().unwrap_or(0);
        for column in 0..deepest {
            let mut at = 0;
            while at < block.len() {
                // A column is a run of lines with a cell there and another cell behind it.
                let run = widths[at..].iter().take_while(|of_line| of_line.len() > column).count();
                let wide = block[at..at + run].iter().map(|cells| cells[column].chars().count());
                let widest = wide.filter(|width| *width <= WIDEST).max().unwrap_or(0) + PADDING;
                for of_line in &mut widths[at..at + run] {
                    of_line[column] = widest;
                }
                at += run.max(1);
            }
        }
        for (cells, widths) in block.iter().zip(&widths) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                line.push_str(cell);
                let blanks = width.saturating_sub(cell.chars().count()).max(PADDING);
                line.extend(std::iter::repeat_n(' ', blanks));
            }
            line.push_str(cells.last().map_or("", String::as_str));
            line.truncate(line.trim_end_matches(' ').len());
            line.push('\n');
            self.out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.trim_end_matches(['\n', '\r']).split('\n');
    let first = lines.next().unwrap_or_default();
    std::iter::once(first).chain(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Page<Vec<u8>>) -> io::Result<()>) -> String {
        let mut page = Page::new(Vec::new());
        fill(&mut page).unwrap();
        String::from_utf8(page.end().unwrap()).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_end_at_a_line_of_one_cell() {
        let text = written(|page| {
            page.row(0, "Name", "b1")?;
            page.row(0, "Namespace", "velero")?;
            page.gap()?;
            page.row(0, "Phase", "New")?;
            page.line("\tIncluded:\t*")?;
            page.line("\tCluster-scoped:\tauto")
        });
        let wanted = "Name:       b1\nNamespace:  velero\n\nPhase:  New\n        Included:        *\n        Cluster-scoped:  auto\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_value_of_several_lines_forges_no_fact_and_reaches_no_terminal() {
        let text = written(|page| page.row(0, "Operation Error", "lost\nPhase:\tCompleted\u{1b}[31m\n"));
        assert_eq!(text, "Operation Error:  lost\n                  Phase: Completed[31m\n");
    }

    #[test]
    fn any_number_of_lines_is_kept_only_in_pieces() {
        let mut page = Page::new(io::sink());
        for n in 0..100_000 {
            page.row(2, "Velero", &format!("message {n}")).unwrap();
            assert!(page.block.len() <= LINES && page.bytes <= BYTES + 100);
        }
    }
}
