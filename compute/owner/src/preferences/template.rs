//! Writes an `owner.toml` that explains itself: every key with its meaning, unit, range and BOINC's name.

use super::{
    FIELDS, Field, Kind, Preferences, VERSION,
    parse::allowed,
    series::{civil_from_days, decimal_text},
    week::{Week, Window},
};
use std::fmt::Write as _;

/// The text of a preferences file. What differs from the default stands as it is; what does not is behind a `#`, so that a later default is taken.
/// [`super::parse`] gives back the same preferences.
#[must_use]
pub fn template(preferences: &Preferences) -> String {
    let (mut chosen, mut default) = (preferences.clone(), Preferences::default());
    let mut out = format!(
        "# What this machine's owner allows. Lines behind a # show the default; remove the # to change one.\n\
         # Whoever is written here comes first: work yields within a second.\nversion = {VERSION}\n"
    );
    let mut section = "";
    for field in FIELDS {
        let (of, name) = field.key.split_once('.').unwrap_or(("", field.key));
        if of != section {
            section = of;
            // Writing to a string cannot fail.
            let _ = write!(out, "\n[{section}]\n");
        }
        comment(&mut out, field);
        let value = value(&mut chosen, field.kind);
        match &value {
            Some(text) if value != self::value(&mut default, field.kind) => {
                let _ = writeln!(out, "{name} = {text}");
            }
            Some(text) => {
                let _ = writeln!(out, "# {name} = {text}");
            }
            None => {
                let _ = writeln!(out, "# {name} = {}", example(field.kind));
            }
        }
    }
    out
}

fn comment(out: &mut String, field: &Field) {
    if field.meaning.is_empty() {
        return;
    }
    let boinc = if field.boinc.is_empty() { String::new() } else { format!(" BOINC: {}.", field.boinc) };
    let _ = writeln!(out, "# {} Allowed: {}.{boinc}", field.meaning, allowed(field.kind));
}

fn value(of: &mut Preferences, kind: Kind) -> Option<String> {
    Some(match kind {
        Kind::Flag(place) => place(of).to_string(),
        Kind::Whole(_, _, _, place) => place(of).to_string(),
        Kind::Span(_, seconds, _, _, place) => place(of).as_secs().checked_div(seconds).unwrap_or_default().to_string(),
        Kind::Decimal(_, digits, _, place) => decimal_text(*place(of), digits),
        Kind::Optional(_, digits, _, place) => decimal_text((*place(of))?, digits),
        Kind::Hours(None, place) => hours(&place(of).every_day),
        Kind::Hours(Some(day), place) => hours(place(of).days.get(day)?.as_ref()?),
        Kind::Names(place) => list(place(of).iter().cloned()),
        Kind::Steps(_, digits, place) => {
            list(place(of).iter().map(|step| format!("{} {}", step.window, decimal_text(step.value, digits))))
        }
        Kind::File(place) => quoted(&place(of).as_ref()?.to_string_lossy()),
        Kind::Moment(place) => moment((*place(of))?),
    })
}

/// What a key that has no default could look like.
fn example(kind: Kind) -> String {
    match kind {
        Kind::Optional(_, 0, ..) => "300".to_owned(),
        Kind::Optional(..) => "0.30".to_owned(),
        Kind::File(_) => quoted("/path/to/file"),
        Kind::Moment(_) => "2026-12-24T18:00:00".to_owned(),
        _ => hours(&Week::always().every_day),
    }
}

fn hours(windows: &[Window]) -> String {
    if windows.is_empty() {
        return quoted("never");
    }
    if windows == Week::always().every_day {
        return quoted("always");
    }
    list(windows.iter().map(ToString::to_string))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn moment(local_ms: i64) -> String {
    let seconds = local_ms.div_euclid(1_000);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::{super::parse, *};

    #[test]
    fn the_default_template_has_every_key_behind_a_hash_and_reads_as_the_default() {
        let text = template(&Preferences::default());
        assert_eq!(parse(&text).unwrap(), Preferences::default());
        let active: Vec<&str> = text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).collect();
        assert_eq!(active, ["version = 1"]);
        for field in FIELDS {
            let name = field.key.split_once('.').unwrap().1;
            assert!(text.contains(&format!("# {name} = ")), "{}", field.key);
        }
    }

    #[test]
    fn every_line_of_the_template_is_accepted_when_its_hash_is_removed() {
        let text = template(&Preferences::default());
        let keys: Vec<&str> = FIELDS.iter().map(|field| field.key.split_once('.').unwrap().1).collect();
        let active: Vec<String> = text
            .lines()
            .map(|line| {
                let bare = line.trim_start_matches("# ");
                let is_key = bare.split_once(" = ").is_some_and(|(name, _)| keys.contains(&name));
                if is_key { bare.to_owned() } else { line.to_owned() }
            })
            .collect();
        parse(&active.join("\n")).unwrap();
    }

    #[test]
    fn what_is_written_reads_as_the_same_preferences() {
        let mut changed = Preferences::default();
        changed.hours.every_day = vec![Window::parse("22:00-06:00").unwrap(), Window::parse("12:00-13:00").unwrap()];
        changed.hours.days[6] = Some(Vec::new());
        changed.network_hours.days[0] = Some(Week::always().every_day);
        changed.exclusive.applications = vec!["a \"quoted\" \u{1f3ae} game".to_owned()];
        changed.energy.price_micro_max = Some(300_001);
        changed.energy.price.file = Some("/var/lib/price feed".into());
        changed.energy.carbon.steps =
            vec![super::super::Step { window: Window::parse("01:00-02:00").unwrap(), value: 40 }];
        changed.work.finish_by_local_ms = Some(1_782_000_000_000);
        changed.disk.free_mb_min = 1_234;
        changed.in_use.cpu = false;
        changed.presence.no_input = std::time::Duration::from_secs(7_200);
        assert_eq!(parse(&template(&changed)).unwrap(), changed);
    }
}
