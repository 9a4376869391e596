//! Rows of numbers in outputs, as text and as sums.

use core::fmt::Write as _;
use keystead_job::layout::{Column, ColumnKind, row_bytes};

/// A number of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Integer(i128),
    Single(f32),
    Double(f64),
}

/// The numbers of a row; `row` has the columns' bytes.
fn values<'a>(columns: &'a [Column], row: &'a [u8]) -> impl Iterator<Item = Value> + 'a {
    let mut rest = row;
    columns.iter().map_while(move |column| {
        let (bytes, after) = rest.split_at_checked(column.kind.bytes())?;
        rest = after;
        value(column.kind, bytes)
    })
}

fn value(kind: ColumnKind, bytes: &[u8]) -> Option<Value> {
    let word = || bytes.first_chunk::<4>().copied();
    let long = || bytes.first_chunk::<8>().copied();
    Some(match kind {
        ColumnKind::U32 => Value::Integer(u32::from_le_bytes(word()?).into()),
        ColumnKind::I32 => Value::Integer(i32::from_le_bytes(word()?).into()),
        ColumnKind::U64 => Value::Integer(u64::from_le_bytes(long()?).into()),
        ColumnKind::I64 => Value::Integer(i64::from_le_bytes(long()?).into()),
        ColumnKind::F32 => Value::Single(f32::from_le_bytes(word()?)),
        ColumnKind::F64 => Value::Double(f64::from_le_bytes(long()?)),
    })
}

/// The heading of a table.
pub(super) fn heading(columns: &[Column], index: Option<&str>, comma: char) -> String {
    let names = index.into_iter().chain(columns.iter().map(|column| column.name.as_str()));
    let mut text = names.collect::<Vec<_>>().join(&comma.to_string());
    text.push('\n');
    text
}

/// Adds a row; floats in the shortest form that reads back as the same number.
pub(super) fn write_row(text: &mut String, columns: &[Column], row: &[u8], index: Option<u64>, comma: char) {
    let mut first = true;
    let mut write = |value: &dyn core::fmt::Display| {
        if !core::mem::take(&mut first) {
            text.push(comma);
        }
        // Writing into memory cannot fail.
        let _ = write!(text, "{value}");
    };
    if let Some(index) = index {
        write(&index);
    }
    for value in values(columns, row) {
        match value {
            Value::Integer(number) => write(&number),
            Value::Single(number) => write(&number),
            Value::Double(number) => write(&number),
        }
    }
    text.push('\n');
}

/// Sums of columns: integers exactly, floats in binary64 in the order of the rows.
#[derive(Debug)]
pub(super) struct Sums<'a> {
    columns: &'a [Column],
    sums: Vec<Value>,
    rows: u64,
}

impl<'a> Sums<'a> {
    pub(super) fn new(columns: &'a [Column]) -> Self {
        let zero = |column: &Column| match column.kind {
            ColumnKind::F32 | ColumnKind::F64 => Value::Double(0.0),
            _ => Value::Integer(0),
        };
        Self { columns, sums: columns.iter().map(zero).collect(), rows: 0 }
    }

    /// Adds the rows of an output, whose length is a multiple of a row's.
    pub(super) fn add(&mut self, content: &[u8]) {
        for row in content.chunks_exact(row_bytes(self.columns).max(1)) {
            self.rows = self.rows.saturating_add(1);
            for (sum, value) in self.sums.iter_mut().zip(values(self.columns, row)) {
                *sum = match (*sum, value) {
                    // At most 2^43 numbers of 64 bits.
                    (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.saturating_add(b)),
                    (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
                    (Value::Double(a), Value::Single(b)) => Value::Double(a + f64::from(b)),
                    (kept, _) => kept,
                };
            }
        }
    }

    /// A JSON object: `rows`, then the sums by name. A float that is no number is `null`, as JSON has none.
    pub(super) fn json(&self) -> String {
        let mut text = format!("{{\n  \"rows\": {}", self.rows);
        for (column, sum) in self.columns.iter().zip(&self.sums) {
            let number = match sum {
                Value::Integer(number) => number.to_string(),
                Value::Double(number) if number.is_finite() => format!("{number:?}"),
                _ => "null".to_owned(),
            };
            let _ = write!(text, ",\n  \"{}\": {number}", column.name);
        }
        text.push_str("\n}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(kinds: &[(&str, ColumnKind)]) -> Vec<Column> {
        kinds.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect()
    }

    #[test]
    fn every_type_is_read_with_its_sign_and_written_so_that_it_reads_back() {
        use ColumnKind::{F32, F64, I32, I64, U32, U64};
        let columns = columns(&[("a", U32), ("b", I32), ("c", U64), ("d", I64), ("e", F32), ("f", F64)]);
        let mut row = Vec::new();
        row.extend(u32::MAX.to_le_bytes());
        row.extend((-1_i32).to_le_bytes());
        row.extend(u64::MAX.to_le_bytes());
        row.extend(i64::MIN.to_le_bytes());
        row.extend(0.1_f32.to_le_bytes());
        row.extend(1e-300_f64.to_le_bytes());
        assert_eq!(row.len(), row_bytes(&columns));
        let mut text = heading(&columns, Some("n"), ',');
        write_row(&mut text, &columns, &row, Some(7), ',');
        let (head, line) = text.trim_end().split_once('\n').unwrap_or_default();
        assert_eq!(head, "n,a,b,c,d,e,f");
        assert!(line.starts_with("7,4294967295,-1,18446744073709551615,-9223372036854775808,0.1,0.000"), "{line}");
        let last = line.rsplit(',').next().map(str::parse::<f64>);
        assert_eq!(last, Some(Ok(1e-300)));
    }

    #[test]
    fn sums_of_integers_do_not_wrap_and_json_has_no_nan() {
        let columns = columns(&[("a", ColumnKind::U64), ("b", ColumnKind::F32)]);
        let row = |a: u64, b: f32| [a.to_le_bytes().to_vec(), b.to_le_bytes().to_vec()].concat();
        let mut sums = Sums::new(&columns);
        sums.add(&[row(u64::MAX, 0.5), row(u64::MAX, 0.25)].concat());
        assert_eq!(sums.json(), "{\n  \"rows\": 2,\n  \"a\": 36893488147419103230,\n  \"b\": 0.75\n}\n");
        sums.add(&row(0, f32::NAN));
        assert!(sums.json().contains("\"b\": null"));
    }
}
