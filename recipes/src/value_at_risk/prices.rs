//! Reads a table of prices and makes monthly log returns of the assets that a portfolio holds.
//!
//! # Design
//! Three columns `symbol,date,price`, one price a month for each symbol, in any order of lines. Dates: `Jan 1 2000` or `2000-01-01`.
//! Only months in which every held asset has a price count; they must follow each other without a gap.

use super::math::ln;
use crate::{Error, InputFile};
use std::collections::BTreeMap;

/// Most lines of a file: a hundred years of months of 160 assets.
const LINES_MAX: usize = 200_000;
/// Fewest monthly returns: below two years a covariance of several assets is noise.
const RETURNS_MIN: usize = 24;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// A month, counted from year 0: `12 * year + month`, January is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(u32);

/// Log returns of the held assets between successive months.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct History {
    /// The month of the first price.
    pub(super) first: Month,
    /// The month of the last price.
    pub(super) last: Month,
    /// A row for each month after the first, a column for each asset in the order asked for.
    pub(super) returns: Vec<Vec<f64>>,
}

type Prices = BTreeMap<String, BTreeMap<Month, f64>>;

impl core::fmt::Display for Month {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{:04}-{:02}", self.0 / 12, (self.0 % 12).saturating_add(1))
    }
}

/// Reads the file and picks the assets, by symbol.
///
/// # Errors
/// `InputLine`, `InputWhole`, `InputEmpty`: what to change, and where. `Setting` for `holdings` if a symbol is not in the file.
pub(super) fn history(file: &InputFile, symbols: &[&str]) -> Result<History, Error> {
    let prices = read(file)?;
    let mut series = Vec::new();
    for symbol in symbols {
        let Some(one) = prices.get(*symbol) else {
            let known = prices.keys().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Error::Setting {
                name: "holdings",
                what: format!("{symbol} has no prices in {}; it has: {known}", file.path),
            });
        };
        series.push(one);
    }
    let whole = |what: String| Error::InputWhole { path: file.path.clone(), what };
    let in_all = |month: &Month| series.iter().all(|one| one.contains_key(month));
    let months: Vec<Month> = series.first().into_iter().flat_map(|one| one.keys().copied()).filter(in_all).collect();
    if months.len() <= RETURNS_MIN {
        let needed = RETURNS_MIN.saturating_add(1);
        let what = format!("{} months with a price of every held asset, at least {needed} are needed", months.len());
        return Err(whole(what));
    }
    for [before, after] in months.array_windows() {
        if after.0.saturating_sub(before.0) != 1 {
            return Err(whole(format!(
                "no prices of all held assets between {before} and {after}; fill the gap or cut the file"
            )));
        }
    }
    let ratio = |one: &BTreeMap<Month, f64>, [before, after]: &[Month; 2]| one[after] / one[before];
    let returns = months.array_windows().map(|pair| series.iter().map(|one| ln(ratio(one, pair))).collect()).collect();
    match (months.first(), months.last()) {
        (Some(&first), Some(&last)) => Ok(History { first, last, returns }),
        _ => Err(whole("no months".to_owned())),
    }
}

fn read(file: &InputFile) -> Result<Prices, Error> {
    let whole = |what: &str| Error::InputWhole { path: file.path.clone(), what: what.to_owned() };
    let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
    let text = core::str::from_utf8(bytes).map_err(|_| whole("not a text file in UTF-8; a CSV file is needed"))?;
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let empty =
        || Error::InputEmpty { path: file.path.clone(), expected: "a table with the columns symbol,date,price" };
    let (line, header) = lines.next().ok_or_else(empty)?;
    let wrong = |line: usize, what: String| Error::InputLine { path: file.path.clone(), line, what };
    if fields(header).is_none_or(|names| names.map(str::to_ascii_lowercase) != ["symbol", "date", "price"]) {
        return Err(wrong(line, "the first line must be symbol,date,price".to_owned()));
    }
    let mut prices = Prices::new();
    let mut count = 0_usize;
    for (line, text) in lines {
        let (symbol, month, price) = row(text).map_err(|what| wrong(line, what))?;
        if prices.entry(symbol.to_owned()).or_default().insert(month, price).is_some() {
            return Err(wrong(line, format!("second price of {symbol} for {month}; one price a month is needed")));
        }
        count = count.saturating_add(1);
        if count > LINES_MAX {
            return Err(wrong(line, format!("more than {LINES_MAX} prices; keep only the assets that are held")));
        }
    }
    if prices.is_empty() { Err(empty()) } else { Ok(prices) }
}

fn fields(line: &str) -> Option<[&str; 3]> {
    let mut parts = line.split(',').map(str::trim);
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

fn row(line: &str) -> Result<(&str, Month, f64), String> {
    let [symbol, date, price] = fields(line).ok_or("three fields are needed: symbol,date,price")?;
    if symbol.is_empty() || symbol.len() > 16 || !symbol.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=') {
        return Err("a symbol has 1 to 16 letters, digits or signs, without '='".to_owned());
    }
    let month = month(date).ok_or_else(|| format!("date {date:?} is neither like 'Jan 1 2000' nor like 2000-01-31"))?;
    // Nine digits each side of the point: every ratio of two prices is a normal number.
    let price: f64 = price.parse().map_err(|_| format!("price {price:?} is not a number"))?;
    if (1e-9..=1e9).contains(&price) {
        Ok((symbol, month, price))
    } else {
        Err(format!("price must be 1e-9 to 1e9: {price}"))
    }
}

fn month(date: &str) -> Option<Month> {
    let words: Vec<&str> = date.split_ascii_whitespace().collect();
    let (year, month, day) = match words.as_slice() {
        [name, day, year] => {
            let month = MONTHS.iter().position(|known| name.eq_ignore_ascii_case(known))?;
            (*year, u32::try_from(month).ok()?, *day)
        }
        [iso] => {
            let [year, month, day] = <[&str; 3]>::try_from(iso.split('-').collect::<Vec<_>>()).ok()?;
            (year, number(month, 1, 12)?.checked_sub(1)?, day)
        }
        _ => return None,
    };
    number(day, 1, 31)?;
    number(year, 1_000, 9_999)?.checked_mul(12)?.checked_add(month).map(Month)
}

fn number(text: &str, min: u32, max: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (min..=max).contains(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use core::fmt::Write as _;

    fn parse(text: &str, symbols: &[&str]) -> Result<History, Error> {
        history(&InputFile { path: "p.csv".to_owned(), bytes: text.as_bytes().to_vec() }, symbols)
    }

    /// `months` prices of A (doubling) and, from the third month, of B (constant), in reverse order of time.
    fn table(months: u32) -> String {
        let mut text = "symbol,date,price\n".to_owned();
        for month in (0..months).rev() {
            let date = format!("{:04}-{:02}-01", 2000 + month / 12, month % 12 + 1);
            writeln!(text, "A,{date},{}", 2.0_f64.powi(i32::try_from(month).unwrap() % 20)).unwrap();
            if month >= 2 {
                writeln!(text, "B,{date},5").unwrap();
            }
        }
        text
    }

    #[test]
    fn returns_are_logarithms_over_the_months_that_all_assets_have() {
        let history = parse(&table(27), &["B", "A"]).unwrap();
        assert_eq!((history.first.to_string(), history.last.to_string()), ("2000-03".to_owned(), "2002-03".to_owned()));
        assert_eq!(history.returns.len(), 24);
        assert!(history.returns[0][0].abs() < 1e-15 && (history.returns[0][1] - 2.0_f64.ln()).abs() < 1e-15);
        assert!(parse(&table(26), &["A", "B"]).unwrap_err().to_string().contains("24 months"));
        assert_eq!(parse(&table(26), &["A"]).unwrap().returns.len(), 25);
    }

    #[test]
    fn both_date_forms_are_read_and_others_refused() {
        assert_eq!(month("Jan 1 2000"), month("2000-01-31"));
        assert_eq!(month("dec 31 1999").unwrap().to_string(), "1999-12");
        for bad in [
            "2000-13-01",
            "2000-00-01",
            "01/02/2000",
            "Foo 1 2000",
            "Jan 32 2000",
            "2000-01",
            "+200-01-01",
            "",
            "20000-01-01",
        ] {
            assert_eq!(month(bad), None, "{bad}");
        }
    }

    #[test]
    fn wrong_lines_are_named_with_their_number_and_a_remedy() {
        for (text, line, part) in [
            ("date,price\n", 1, "symbol,date,price"),
            ("symbol,date,price\nA,2000-01-01\n", 2, "three fields"),
            ("symbol,date,price\n\nA,2000-01-01,x\n", 3, "not a number"),
            ("symbol,date,price\nA,2000-01-01,-1\n", 2, "1e-9 to 1e9"),
            ("symbol,date,price\nA,2000-01-01,NaN\n", 2, "1e-9 to 1e9"),
            ("symbol,date,price\nA,yesterday,1\n", 2, "neither like"),
            ("symbol,date,price\n,2000-01-01,1\n", 2, "symbol"),
            ("symbol,date,price\nA,2000-01-01,1\nA,2000-01-20,2\n", 3, "second price of A for 2000-01"),
        ] {
            match parse(text, &["A"]).unwrap_err() {
                Error::InputLine { line: got, what, .. } => {
                    assert!(got == line && what.contains(part), "{text}: {got} {what}")
                }
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn empty_binary_gapped_and_unknown_files_are_refused() {
        assert!(matches!(parse("", &["A"]), Err(Error::InputEmpty { .. })));
        assert!(matches!(parse("symbol,date,price\n", &["A"]), Err(Error::InputEmpty { .. })));
        let binary = InputFile { path: "p".to_owned(), bytes: vec![0xff, 0xfe] };
        assert!(matches!(history(&binary, &["A"]), Err(Error::InputWhole { .. })));
        let gap: String =
            table(40).lines().filter(|line| !line.contains("2001-05")).map(|line| format!("{line}\n")).collect();
        let error = parse(&gap, &["A"]).unwrap_err();
        assert!(error.to_string().contains("between 2001-04 and 2001-06"), "{error}");
        assert!(parse(&table(30), &["C"]).unwrap_err().to_string().contains("it has: A, B"));
    }
}
