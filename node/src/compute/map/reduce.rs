//! From the outputs, in the order of their units, to the result.

use super::{folder::Folder, outputs::Outputs, state::State};
use crate::compute::{
    customer::{plan::Prepared, result::assemble},
    files,
};
use eyre::{Context as _, Result, bail, ensure, eyre};
use keystead_blobs::stream::pack;
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash, hash_list,
    limits::INPUT_BYTES_MAX,
    spec::{Draft, RecipeName},
};
use keystead_recipes::plain::{self, Links};
use keystead_runner::{Job, Session, Stop, WorkerCommand};
use std::{
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The result of everything but `recipe`.
const RESULT_FILE: &str = "result.bin";
/// Bytes of outputs that a reducing program gets at once.
const CHUNK_BYTES_MAX: usize = 64 << 20;

/// How outputs become a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reduce {
    Recipe,
    Concat,
    Sum(Element),
    Program(PathBuf),
    Command(String),
}

/// What a sum adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    U32,
    U64,
    F32,
    F64,
}

impl Reduce {
    /// Reads `--reduce`.
    ///
    /// # Errors
    /// A program that is not there: better now than when everything is paid.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "recipe" => Self::Recipe,
            "concat" => Self::Concat,
            "sum-u32" => Self::Sum(Element::U32),
            "sum-u64" => Self::Sum(Element::U64),
            "sum-f32" => Self::Sum(Element::F32),
            "sum-f64" => Self::Sum(Element::F64),
            path if Path::new(path).extension().is_some_and(|extension| extension == "wasm") => {
                program(Path::new(path))?;
                Self::Program(PathBuf::from(path))
            }
            command if !command.trim().is_empty() => Self::Command(command.to_owned()),
            _ => bail!("--reduce is empty: leave it out for the recipe's own files"),
        })
    }

    /// Writes the result's files; their names.
    pub(super) async fn run(
        &self,
        prepared: &Prepared,
        state: &State,
        outputs: &Outputs,
        folder: &Folder,
    ) -> Result<Vec<String>> {
        let read = |unit: u32| {
            let place = state.newest(unit).filter(|place| place.done == prepared.spec.segment_count);
            outputs.read(place.ok_or_else(|| eyre!("unit {unit} is not done"))?)
        };
        let units = 0..prepared.spec.unit_count;
        let path = folder.path(RESULT_FILE);
        match self {
            Self::Recipe => {
                let outputs: Vec<Vec<u8>> = units.map(read).collect::<Result<_>>()?;
                let assembled = assemble(prepared, &outputs).await;
                let result = assembled.wrap_err("the recipe cannot make its files from these outputs")?;
                for file in &result {
                    files::replace(&folder.path(&file.name), &file.bytes)?;
                }
                return Ok(result.into_iter().map(|file| file.name).collect());
            }
            Self::Concat => concat(&path, units.map(read))?,
            Self::Sum(element) => files::replace(&path, &sum(*element, units.map(read))?)?,
            Self::Program(file) => files::replace(&path, &fold(&program(file)?, units.map(read)).await?)?,
            Self::Command(command) => pipe(command, &path, units.map(read))?,
        }
        Ok(vec![RESULT_FILE.to_owned()])
    }
}

/// Beside its place first, so that a result is whole or not there.
fn concat(path: &Path, outputs: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let scratch = path.with_extension("new");
    let named = || format!("cannot write {}", scratch.display());
    let mut file = BufWriter::new(File::create(&scratch).wrap_err_with(named)?);
    for output in outputs {
        file.write_all(&output?).wrap_err_with(named)?;
    }
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).wrap_err_with(named)?;
    file.sync_all().wrap_err_with(named)?;
    fs::rename(&scratch, path).wrap_err_with(named)
}

/// Integers wrap around; floats are added in the order of the units, so that everybody gets the same bits.
fn sum(element: Element, outputs: impl Iterator<Item = Result<Vec<u8>>>) -> Result<Vec<u8>> {
    let mut total: Option<Vec<u8>> = None;
    for (unit, output) in outputs.enumerate() {
        let output = output?;
        let Some(total) = &mut total else {
            total = Some(output);
            continue;
        };
        let (got, expected) = (output.len(), total.len());
        ensure!(got == expected, "unit {unit} gave {got} bytes, the ones before {expected}: they cannot be added");
        match element {
            Element::U32 => {
                add(total, &output, |a, b| u32::from_le_bytes(a).wrapping_add(u32::from_le_bytes(b)).to_le_bytes())
            }
            Element::U64 => {
                add(total, &output, |a, b| u64::from_le_bytes(a).wrapping_add(u64::from_le_bytes(b)).to_le_bytes())
            }
            Element::F32 => add(total, &output, |a, b| (f32::from_le_bytes(a) + f32::from_le_bytes(b)).to_le_bytes()),
            Element::F64 => add(total, &output, |a, b| (f64::from_le_bytes(a) + f64::from_le_bytes(b)).to_le_bytes()),
        }?;
    }
    total.ok_or_else(|| eyre!("there is no output"))
}

fn add<const N: usize>(total: &mut [u8], output: &[u8], plus: impl Fn([u8; N], [u8; N]) -> [u8; N]) -> Result<()> {
    let (sums, rest) = total.as_chunks_mut::<N>();
    ensure!(rest.is_empty(), "outputs are no arrays of elements of {N} bytes");
    for (sum, number) in sums.iter_mut().zip(output.as_chunks::<N>().0) {
        *sum = plus(*sum, *number);
    }
    Ok(())
}

fn program(path: &Path) -> Result<Vec<u8>> {
    let named = || format!("cannot read the program {}", path.display());
    let max = Runtime::Wasm1.program_bytes_max();
    let mut bytes = Vec::new();
    let file = plain::open(path, Links::Followed).wrap_err_with(named)?;
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).wrap_err_with(named)?;
    let got = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    ensure!(got <= max, "{} is too large: max_bytes={max}", path.display());
    Ok(bytes)
}

/// Runs a program in this machine's sandbox over pack after pack: the result so far is its common input.
async fn fold(program: &[u8], outputs: impl Iterator<Item = Result<Vec<u8>>>) -> Result<Vec<u8>> {
    let mut result = Vec::new();
    let (mut chunk, mut bytes) = (Vec::new(), 0_usize);
    for output in outputs {
        let output = output?;
        let is_full = bytes.saturating_add(output.len()) > CHUNK_BYTES_MAX || chunk.len() >= pack::PARTS_MAX;
        if is_full && !chunk.is_empty() {
            result = apply(program, result, &pack::encode(&chunk)).await?;
            chunk.clear();
            bytes = 0;
        }
        bytes = bytes.saturating_add(output.len());
        chunk.push(output);
    }
    apply(program, result, &pack::encode(&chunk)).await
}

async fn apply(program: &[u8], common: Vec<u8>, unit: &[u8]) -> Result<Vec<u8>> {
    ensure!(u64::try_from(common.len()).is_ok_and(|got| got <= INPUT_BYTES_MAX), "the result so far is too large");
    let limits = Limits {
        wall_ms_max: 3_600_000,
        fuel_max: 10_000_000_000_000,
        memory_bytes_max: 2 << 30,
        output_bytes_max: 64 << 20,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    let spec = JobSpec::new(Draft {
        recipe: RecipeName::new("reduce").wrap_err("cannot name the program")?,
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(program),
        common_hash: blob_hash(&common),
        units_hash: hash_list(&[blob_hash(unit)]),
        unit_count: 1,
        segment_count: 1,
        limits,
        checker: None,
        tolerance: None,
    })?;
    let command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
    let job = Job { spec, program: program.to_vec().into(), common: common.into() };
    let mut session = Session::open(command, job, Stop::new()).await.wrap_err("the reducing program was refused")?;
    Ok(session.run(unit).await.wrap_err("the reducing program failed")?.output)
}

/// A command of the person's own, on the person's own machine.
fn pipe(command: &str, path: &Path, outputs: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let scratch = path.with_extension("new");
    let named = || format!("cannot write {}", scratch.display());
    let result = File::create(&scratch).wrap_err_with(named)?;
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", command]).stdin(Stdio::piped()).stdout(result.try_clone().wrap_err_with(named)?);
    let mut child = shell.spawn().wrap_err("cannot start the reducing command")?;
    let fed = child.stdin.take().map_or(Ok(()), |mut input| {
        for output in outputs {
            match input.write_all(&output?) {
                // It may have read what it wanted.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
                other => other.wrap_err("cannot feed the reducing command")?,
            }
        }
        Ok::<(), eyre::Report>(())
    });
    let status = child.wait().wrap_err("the reducing command is gone")?;
    fed?;
    ensure!(status.success(), "the reducing command failed: {status}");
    result.sync_all().wrap_err_with(named)?;
    fs::rename(&scratch, path).wrap_err_with(named)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn numbers(values: &[&[u64]]) -> impl Iterator<Item = Result<Vec<u8>>> {
        let outputs: Vec<Vec<u8>> =
            values.iter().map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
        outputs.into_iter().map(Ok)
    }

    #[test]
    fn sums_are_by_element_and_outputs_of_other_lengths_are_refused() {
        let total = sum(Element::U64, numbers(&[&[1, u64::MAX], &[2, 1], &[3, 5]])).unwrap();
        assert_eq!(total, [6_u64, 5].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        assert!(sum(Element::U64, numbers(&[&[1], &[1, 2]])).unwrap_err().to_string().contains("unit 1 gave 16 bytes"));
        assert!(sum(Element::U64, [Ok(vec![1; 9]), Ok(vec![1; 9])].into_iter()).is_err());
        let floats = [0.1_f32, 0.2, 0.3].map(|value| Ok(value.to_le_bytes().to_vec()));
        assert_eq!(sum(Element::F32, floats.into_iter()).unwrap(), ((0.1_f32 + 0.2) + 0.3).to_le_bytes());
        assert!(sum(Element::F64, std::iter::empty()).is_err());
    }

    #[test]
    fn outputs_are_joined_and_piped_in_order_and_a_failed_command_leaves_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULT_FILE);
        let outputs = || ["b\n", "a\n", "c\n"].into_iter().map(|text| Ok(text.as_bytes().to_vec()));
        concat(&path, outputs()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"b\na\nc\n");
        pipe("sort", &path, outputs()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\nb\nc\n");
        fs::remove_file(&path).unwrap();
        assert!(pipe("cat > /dev/null; exit 3", &path, outputs()).is_err());
        assert!(!path.exists());
        pipe("head -n 1", &path, (0..100_000).map(|_| Ok(b"x\n".to_vec()))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x\n");
    }

    #[test]
    fn what_the_option_means_is_known_before_anything_is_paid() {
        assert_eq!(Reduce::parse("recipe").unwrap(), Reduce::Recipe);
        assert_eq!(Reduce::parse("sum-f64").unwrap(), Reduce::Sum(Element::F64));
        assert_eq!(Reduce::parse("sort -u").unwrap(), Reduce::Command("sort -u".to_owned()));
        assert!(Reduce::parse("missing.wasm").is_err() && Reduce::parse(" ").is_err());
    }
}
