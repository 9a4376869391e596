//! What a person may set when starting a recipe, and the checked values that result.
//!
//! # Design
//! No floating point: a value that has decimals is an integer of a smaller unit (basis points, cents), so that a plan made from
//! equal parameters is equal on every machine.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest parameter name, characters.
pub const NAME_CHARS_MAX: usize = 32;
/// Longest text value, bytes: parameters are settings; data belongs into inputs.
pub const TEXT_BYTES_MAX: u32 = 4_096;
/// Most choices of one parameter: a menu, not a database.
pub const CHOICES_MAX: usize = 64;

/// A value that a person gave, or a declaration, that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The recipe has no parameter of this name.
    #[error("unknown parameter {name:?}; known: {known}")]
    Unknown {
        /// The name given.
        name: String,
        /// The names there are, joined by commas.
        known: String,
    },
    /// One parameter was given twice.
    #[error("parameter given twice: {name}")]
    Repeated {
        /// The name given.
        name: String,
    },
    /// The text is no value of this parameter.
    #[error("wrong value for {name}: got={got:?} expected={expected}")]
    Value {
        /// The parameter.
        name: String,
        /// The text given, cut to 80 characters.
        got: String,
        /// What would be right.
        expected: String,
    },
    /// The declaration in the recipe contradicts itself.
    #[error("parameter {name:?} is badly declared: {why}")]
    Declaration {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// One parameter as declared in recipe.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Declaration", into = "Declaration")]
pub struct Parameter {
    /// `[a-z][a-z0-9-]{0,31}`; on the command line: `--set name=value`.
    pub name: String,
    /// One line for a person.
    pub help: String,
    /// Type, default and range.
    pub kind: Kind,
}

/// Type, default and range of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// Used when nothing is given; inside the range.
        default: i64,
        /// Least value, inclusive.
        min: i64,
        /// Greatest value, inclusive.
        max: i64,
    },
    /// One of a few words.
    Choice {
        /// Used when nothing is given; one of the choices.
        default: String,
        /// The words, 1 to [`CHOICES_MAX`], no word twice.
        choices: Vec<String>,
    },
    /// Free text.
    Text {
        /// Used when nothing is given.
        default: String,
        /// Longest value, bytes, 1 to [`TEXT_BYTES_MAX`].
        bytes_max: u32,
    },
    /// Yes or no: `true` or `false`.
    Flag {
        /// Used when nothing is given.
        default: bool,
    },
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of an integer parameter.
    Integer(i64),
    /// Of a flag.
    Flag(bool),
    /// Of a text or choice parameter.
    Text(String),
}

impl Parameter {
    /// Checks the declaration: name, range, default inside the range.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |why| Err(Error::Declaration { name: self.name.chars().take(80).collect(), why });
        if !is_name(&self.name) {
            return wrong("the name must match [a-z][a-z0-9-]{0,31}");
        }
        if self.help.is_empty() || self.help.len() > 400 {
            return wrong("help must have 1 to 400 bytes");
        }
        match &self.kind {
            Kind::Integer { default, min, max } if !(min..=max).contains(&default) => {
                wrong("need min <= default <= max")
            }
            Kind::Choice { choices, .. } if choices.is_empty() || choices.len() > CHOICES_MAX => {
                wrong("need 1 to 64 choices")
            }
            Kind::Choice { choices, .. } if (1..choices.len()).any(|at| choices[..at].contains(&choices[at])) => {
                wrong("a choice stands twice")
            }
            Kind::Choice { default, choices } if !choices.contains(default) => wrong("the default is not a choice"),
            Kind::Text { bytes_max, .. } if !(1..=TEXT_BYTES_MAX).contains(bytes_max) => {
                wrong("bytes_max must be 1 to 4096")
            }
            Kind::Text { default, bytes_max } if default.len() > *bytes_max as usize => {
                wrong("the default is too long")
            }
            _ => Ok(()),
        }
    }

    /// The value when nothing is given.
    #[must_use]
    pub fn default_value(&self) -> Value {
        match &self.kind {
            Kind::Integer { default, .. } => Value::Integer(*default),
            Kind::Choice { default, .. } | Kind::Text { default, .. } => Value::Text(default.clone()),
            Kind::Flag { default } => Value::Flag(*default),
        }
    }

    /// Reads a value that a person typed.
    ///
    /// # Errors
    /// [`Error::Value`] names what would be right.
    pub fn parse(&self, text: &str) -> Result<Value, Error> {
        let wrong = |expected: String| {
            let got = text.chars().take(80).collect();
            Err(Error::Value { name: self.name.clone(), got, expected })
        };
        match &self.kind {
            Kind::Integer { min, max, .. } => match text.parse::<i64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(Value::Integer(number)),
                _ => wrong(format!("a whole number from {min} to {max}")),
            },
            Kind::Choice { choices, .. } if choices.iter().any(|choice| choice == text) => {
                Ok(Value::Text(text.to_owned()))
            }
            Kind::Choice { choices, .. } => wrong(format!("one of {}", choices.join(", "))),
            Kind::Text { bytes_max, .. } if text.len() <= *bytes_max as usize => Ok(Value::Text(text.to_owned())),
            Kind::Text { bytes_max, .. } => wrong(format!("at most {bytes_max} bytes")),
            Kind::Flag { .. } => match text {
                "true" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                _ => wrong("true or false".to_owned()),
            },
        }
    }
}

/// Every parameter of a recipe with its checked value, given or default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(BTreeMap<String, Value>);

impl Parameters {
    /// Reads (name, text) pairs against the declarations; what is not given takes its default.
    pub fn new(declared: &[Parameter], given: &[(String, String)]) -> Result<Self, Error> {
        let mut values = BTreeMap::new();
        for (name, text) in given {
            let Some(parameter) = declared.iter().find(|parameter| parameter.name == *name) else {
                let known = declared.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(Error::Unknown { name: name.chars().take(80).collect(), known });
            };
            if values.insert(name.clone(), parameter.parse(text)?).is_some() {
                return Err(Error::Repeated { name: name.clone() });
            }
        }
        for parameter in declared {
            values.entry(parameter.name.clone()).or_insert_with(|| parameter.default_value());
        }
        Ok(Self(values))
    }

    /// The value of an integer parameter; `None` if there is none of this name and type.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// The value of a text or choice parameter; `None` if there is none of this name and type.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of a flag; `None` if there is none of this name and type.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// All values in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// The keys of one `[[parameters]]` table. One struct per type, so that an unknown or misplaced key is an error.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum Declaration {
    Integer { name: String, help: String, default: i64, min: i64, max: i64 },
    Choice { name: String, help: String, default: String, choices: Vec<String> },
    Text { name: String, help: String, default: String, bytes_max: u32 },
    Flag { name: String, help: String, default: bool },
}

impl From<Declaration> for Parameter {
    fn from(declaration: Declaration) -> Self {
        let (name, help, kind) = match declaration {
            Declaration::Integer { name, help, default, min, max } => (name, help, Kind::Integer { default, min, max }),
            Declaration::Choice { name, help, default, choices } => (name, help, Kind::Choice { default, choices }),
            Declaration::Text { name, help, default, bytes_max } => (name, help, Kind::Text { default, bytes_max }),
            Declaration::Flag { name, help, default } => (name, help, Kind::Flag { default }),
        };
        Self { name, help, kind }
    }
}

impl From<Parameter> for Declaration {
    fn from(Parameter { name, help, kind }: Parameter) -> Self {
        match kind {
            Kind::Integer { default, min, max } => Self::Integer { name, help, default, min, max },
            Kind::Choice { default, choices } => Self::Choice { name, help, default, choices },
            Kind::Text { default, bytes_max } => Self::Text { name, help, default, bytes_max },
            Kind::Flag { default } => Self::Flag { name, help, default },
        }
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    fn parameter(kind: Kind) -> Parameter {
        Parameter { name: "p".to_owned(), help: "help".to_owned(), kind }
    }

    fn choice(default: &str, choices: &[&str]) -> Parameter {
        parameter(Kind::Choice {
            default: default.to_owned(),
            choices: choices.iter().map(|&word| word.to_owned()).collect(),
        })
    }

    #[test]
    fn integers_are_accepted_up_to_both_edges() {
        let paths = parameter(Kind::Integer { default: 5, min: -1, max: 9 });
        assert_eq!(paths.check(), Ok(()));
        assert_eq!(paths.parse("-1"), Ok(Value::Integer(-1)));
        assert_eq!(paths.parse("9"), Ok(Value::Integer(9)));
        for bad in ["-2", "10", "", "1.5", "99999999999999999999", "x"] {
            assert!(matches!(paths.parse(bad), Err(Error::Value { .. })), "{bad}");
        }
    }

    #[test]
    fn texts_choices_and_flags_say_what_would_be_right() {
        let text = parameter(Kind::Text { default: String::new(), bytes_max: 3 });
        assert_eq!(text.parse("abc"), Ok(Value::Text("abc".to_owned())));
        assert!(text.parse("abcd").unwrap_err().to_string().contains("at most 3 bytes"));
        let choice = choice("blosum62", &["blosum62", "pam250"]);
        assert!(choice.parse("pam").unwrap_err().to_string().contains("one of blosum62, pam250"));
        assert_eq!(choice.parse("pam250"), Ok(Value::Text("pam250".to_owned())));
        let flag = parameter(Kind::Flag { default: true });
        assert_eq!(flag.parse("false"), Ok(Value::Flag(false)));
        assert!(flag.parse("no").is_err());
    }

    #[test]
    fn contradictory_declarations_are_refused() {
        for bad in [
            parameter(Kind::Integer { default: 0, min: 1, max: 2 }),
            parameter(Kind::Integer { default: 3, min: 1, max: 2 }),
            parameter(Kind::Integer { default: 1, min: 2, max: 1 }),
            parameter(Kind::Text { default: "ab".to_owned(), bytes_max: 1 }),
            parameter(Kind::Text { default: String::new(), bytes_max: 0 }),
            parameter(Kind::Text { default: String::new(), bytes_max: TEXT_BYTES_MAX + 1 }),
            choice("a", &[]),
            choice("a", &["b"]),
            choice("a", &["a", "b", "a"]),
            Parameter { name: "Bad".to_owned(), ..parameter(Kind::Flag { default: true }) },
            Parameter { name: String::new(), ..parameter(Kind::Flag { default: true }) },
            Parameter { help: String::new(), ..parameter(Kind::Flag { default: true }) },
        ] {
            assert!(matches!(bad.check(), Err(Error::Declaration { .. })), "{bad:?}");
        }
    }

    #[test]
    fn given_values_override_defaults_and_unknown_or_repeated_names_are_refused() {
        let declared = [
            Parameter { name: "paths".to_owned(), ..parameter(Kind::Integer { default: 5, min: 1, max: 9 }) },
            Parameter { name: "matrix".to_owned(), ..choice("a", &["a", "b"]) },
            Parameter { name: "log".to_owned(), ..parameter(Kind::Flag { default: false }) },
        ];
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
        };
        let values = Parameters::new(&declared, &pairs(&[("paths", "7")])).unwrap();
        assert_eq!(
            (values.integer("paths"), values.text("matrix"), values.flag("log")),
            (Some(7), Some("a"), Some(false))
        );
        assert_eq!(values.integer("matrix"), None);
        assert_eq!(values.iter().count(), 3);
        let unknown = Parameters::new(&declared, &pairs(&[("path", "7")])).unwrap_err();
        assert_eq!(unknown.to_string(), "unknown parameter \"path\"; known: paths, matrix, log");
        let repeated = Parameters::new(&declared, &pairs(&[("paths", "7"), ("paths", "8")])).unwrap_err();
        assert_eq!(repeated, Error::Repeated { name: "paths".to_owned() });
    }
}
