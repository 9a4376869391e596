//! The begin of a general common input: what a person set, and the files that are not cut. Spec: specs/0003-job.md §8.2.

use crate::{Error, Inputs, words::push};
use keystead_job::{
    Recipe,
    limits::INPUT_BYTES_MAX,
    parameter::{Kind, Parameter, Parameters},
};

/// Bytes of one entry: a number, or offset and length.
const ENTRY_BYTES: usize = 8;
/// Offset of a file that was not given.
const ABSENT: u32 = u32::MAX;

/// The common input: an entry for each parameter and for each input but `cut`, in the manifest's order, then texts and files.
///
/// # Errors
/// [`Error::TooLarge`] if they are larger than a common input may be.
pub(super) fn encode(
    recipe: &Recipe,
    parameters: &Parameters,
    inputs: &Inputs,
    cut: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let files: Vec<_> = recipe.inputs.iter().filter(|input| Some(input.name.as_str()) != cut).collect();
    let entries = recipe.parameters.len().saturating_add(files.len());
    let mut blob = Blob { head: Vec::new(), body: Vec::new(), begin: entries.saturating_mul(ENTRY_BYTES) };
    for parameter in &recipe.parameters {
        match number(parameter, parameters)? {
            Entry::Number(number) => blob.head.extend_from_slice(&number.to_le_bytes()),
            Entry::Text(text) => blob.place(text.as_bytes())?,
        }
    }
    for input in files {
        match inputs.optional(&input.name) {
            Some(file) => blob.place(&file.bytes)?,
            None => {
                push(&mut blob.head, ABSENT);
                push(&mut blob.head, 0);
            }
        }
    }
    blob.head.extend_from_slice(&blob.body);
    Ok(blob.head)
}

enum Entry<'a> {
    Number(i64),
    Text(&'a str),
}

/// What stands for a parameter. Parameters come from `Recipe::parameters` of this recipe.
fn number<'a>(parameter: &Parameter, parameters: &'a Parameters) -> Result<Entry<'a>, Error> {
    let name = parameter.name.as_str();
    let found = match &parameter.kind {
        Kind::Integer { .. } => parameters.integer(name).map(Entry::Number),
        Kind::Flag { .. } => parameters.flag(name).map(|flag| Entry::Number(i64::from(flag))),
        Kind::Text { .. } => parameters.text(name).map(Entry::Text),
        Kind::Choice { choices, .. } => {
            let index = parameters.text(name).and_then(|text| choices.iter().position(|choice| choice == text));
            index.and_then(|index| i64::try_from(index).ok()).map(Entry::Number)
        }
    };
    found.ok_or_else(|| Error::Cut { what: format!("parameter {name} has no value of its type") })
}

struct Blob {
    head: Vec<u8>,
    body: Vec<u8>,
    /// Where the body begins in the whole.
    begin: usize,
}

impl Blob {
    /// An entry with offset and length; the bytes go to the body, filled up to whole words.
    fn place(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let offset = self.begin.saturating_add(self.body.len());
        let end = offset.saturating_add(bytes.len().next_multiple_of(4));
        let (got, max) = (end as u64, INPUT_BYTES_MAX);
        if got > max {
            let advice = "give smaller files: those that are not cut go to every machine as a whole";
            return Err(Error::TooLarge { what: "bytes of settings and files", got, max, advice });
        }
        // LOSSY: both are below 2^27, as just checked.
        #[allow(clippy::cast_possible_truncation)]
        let (offset, length) = (offset as u32, bytes.len() as u32);
        push(&mut self.head, offset);
        push(&mut self.head, length);
        self.body.extend_from_slice(bytes);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        Ok(())
    }
}
