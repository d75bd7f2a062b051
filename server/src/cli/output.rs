//! Tables for people.

use std::io::{self, Write};

/// Prints rows under a header, columns as wide as their widest cell.
pub fn table<const N: usize>(
    out: &mut impl Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(out, &widths, header)?;
    for row in rows {
        line(out, &widths, row.each_ref().map(String::as_str))?;
    }
    Ok(())
}

fn line<const N: usize>(
    out: &mut impl Write,
    widths: &[usize; N],
    cells: [&str; N],
) -> io::Result<()> {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        let padding = width.saturating_sub(cell.chars().count()) + 2;
        text.extend(std::iter::repeat_n(' ', padding));
    }
    writeln!(out, "{}", text.trim_end())
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows = [
            ["orders".to_owned(), "12".to_owned()],
            ["a".to_owned(), "3".to_owned()],
        ];
        super::table(&mut out, ["TOPIC", "PARTITIONS"], &rows).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "TOPIC   PARTITIONS\norders  12\na       3\n");
    }
}
