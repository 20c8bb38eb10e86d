//! `kakehashi model`: which models there are, and how one comes onto this machine with its checksum proved.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::fetch::{WAITS, fetch};
use super::install::{Expected, copy_in, digest, examine, manifest_beside};
use crate::speech::catalogue::{Catalogue, Found, Model, Settings};

/// List, fetch, import and verify Whisper models.
///
/// Models are kept in one folder (`[models] dir`, or --dir). The list of known models is built in, with the sizes and checksums that their
/// origins publish. `[speech] model` of the configuration names the file that is used.
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Fetch(FetchArgs),
    Import(ImportArgs),
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct Place {
    /// Configuration file; its `[models]` is used.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the models.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Which models are known and which are here.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// One JSON array instead of text.
    #[arg(long)]
    json: bool,
}

/// Fetch models by name from their origin or a mirror.
///
/// What was fetched is kept when the connection ends; the same command goes on from there. A file counts only when its size and checksums
/// are those that were published.
#[derive(Debug, Args)]
struct FetchArgs {
    /// Names, as `kakehashi model list` shows them.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Address of a folder with the files, in place of the origin.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Proxy, http://[user:password@]host:port, or none; otherwise HTTPS_PROXY and NO_PROXY count.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// PEM file with certificate authorities to trust beside the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Take a model from a file, for example on a stick, where there is no way to the origin.
#[derive(Debug, Args)]
struct ImportArgs {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// What it should be, as `kakehashi model list` shows it; otherwise its checksum tells.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its SHA-256 as the supplier gave it, for a model that is not in the list.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

/// Compute the checksums of models again and look through their structure.
#[derive(Debug, Args)]
struct VerifyArgs {
    /// Names or files; all that are in the folder when none is given.
    #[arg(value_name = "NAME|FILE")]
    models: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Runs the subcommand.
///
/// # Errors
/// Names the file or address, what was expected and what to do.
pub fn run(args: ModelArgs) -> crate::cli::Result {
    let catalogue = Catalogue::built_in();
    match args.command {
        Command::List(args) => list(&catalogue, &settings(&args.place)?, args.json),
        Command::Fetch(args) => fetch_all(&catalogue, &args),
        Command::Import(args) => import(&catalogue, &args),
        Command::Verify(args) => verify(&catalogue, &args),
    }
}

fn settings(place: &Place) -> Result<Settings, Box<dyn std::error::Error + Send + Sync>> {
    let mut settings = match &place.config {
        Some(path) => crate::cli::load_config(path)?.models,
        None => Settings::default(),
    };
    if let Some(dir) = &place.dir {
        settings.dir.clone_from(dir);
    }
    Ok(settings)
}

fn known<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Model, String> {
    let unknown = || format!("no model is called {name}; expected one of: {}", catalogue.names());
    catalogue.find(name).ok_or_else(unknown)
}

/// One line of the list.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    model: &'a Model,
    memory_mb: u64,
    state: State,
}

/// What is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Nothing.
    Absent,
    /// A beginning of it, in percent.
    Partial(u64),
    /// A file of its name and size; `verify` computes the checksum.
    Installed,
    /// A file of its name and another size.
    OtherFile,
}

fn state(dir: &Path, model: &Model) -> State {
    let size = |name: &str| std::fs::metadata(dir.join(name)).ok().map(|file| file.len());
    match (size(&model.file), size(&format!("{}.part", model.file))) {
        (Some(bytes), _) if bytes == model.bytes => State::Installed,
        (Some(_), _) => State::OtherFile,
        (None, Some(bytes)) => State::Partial(bytes.saturating_mul(100) / model.bytes.max(1)),
        (None, None) => State::Absent,
    }
}

fn list(catalogue: &Catalogue, settings: &Settings, json: bool) -> crate::cli::Result {
    let line = |model| Line { model, memory_mb: Model::memory_mb(model), state: state(&settings.dir, model) };
    let lines: Vec<Line<'_>> = catalogue.model.iter().map(line).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    println!("{:<25} {:>8} {:>10}  {:<18} {:<10} for", "name", "file MB", "memory MB", "licence", "here");
    for line in lines {
        let here = match line.state {
            State::Absent => "–".into(),
            State::Partial(percent) => format!("{percent} %"),
            State::Installed => "yes".into(),
            State::OtherFile => "other file".into(),
        };
        let (model, megabytes) = (line.model, line.model.bytes.div_ceil(1_000_000));
        println!(
            "{:<25} {megabytes:>8} {:>10}  {:<18} {here:<10} {}",
            model.name, line.memory_mb, model.licence, model.note
        );
    }
    println!(
        "\nfolder: {}. `memory` is about what one worker needs. No checksum was computed; `kakehashi model verify` does.",
        settings.dir.display()
    );
    Ok(())
}

fn fetch_all(catalogue: &Catalogue, args: &FetchArgs) -> crate::cli::Result {
    let mut settings = settings(&args.place)?;
    for (given, key) in [(&args.mirror, &mut settings.mirror), (&args.proxy, &mut settings.proxy)] {
        if let Some(given) = given {
            key.clone_from(given);
        }
    }
    if let Some(ca) = &args.ca {
        settings.ca.clone_from(ca);
    }
    let models = args.names.iter().map(|name| known(catalogue, name)).collect::<Result<Vec<_>, _>>()?;
    let runtime = crate::cli::runtime()?;
    let shown = std::io::stderr().is_terminal();
    for model in models {
        let mut last = 0;
        let mut progress = |have: u64| {
            let percent = have.saturating_mul(100) / model.bytes.max(1);
            if shown && percent != last {
                last = percent;
                eprint!("\r{}: {percent} % of {} MB ", model.name, model.bytes.div_ceil(1_000_000));
            }
        };
        let path = runtime.block_on(fetch(model, &settings, &WAITS, &mut progress))?;
        if shown && last > 0 {
            eprint!("\r\x1b[K");
        }
        installed(&model.name, &path);
    }
    Ok(())
}

fn installed(name: &str, path: &Path) {
    println!("{name}: checked, in {}; use it with `[speech] model = \"{}\"`", path.display(), path.display());
}

fn import(catalogue: &Catalogue, args: &ImportArgs) -> crate::cli::Result {
    let settings = settings(&args.place)?;
    let given = args.sha256.as_deref().unwrap_or_default().trim();
    if !given.is_empty() && (given.len() != 64 || !given.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err("--sha256: expected 64 hexadecimal digits, as `sha256sum` prints them".into());
    }
    let readable = |error: std::io::Error| {
        format!("{}: {error}; expected a model file that this user may read", args.file.display())
    };
    let found = std::fs::File::open(&args.file).and_then(|file| digest(file, true)).map_err(readable)?;
    let model = which(catalogue, args, &found, given)?;
    let own = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = model.map_or(own.as_str(), |model| model.file.as_str());
    if Path::new(file).extension().is_none_or(|extension| extension != "bin") {
        return Err(format!("{}: expected a file that is called *.bin", args.file.display()).into());
    }
    let path = settings.dir.join(file);
    if path.exists() {
        let (there, _) = examine(&path, false)?;
        if there.sha256 != found.sha256 {
            return Err(format!(
                "{}: there is another file of this name; move it away, then try again",
                path.display()
            )
            .into());
        }
        super::install::write_manifest(&path, &there, model.map_or("", |model| &model.licence))?;
    } else {
        let expected = Expected {
            model,
            sha256: &found.sha256,
            origin: args.file.display().to_string(),
            remedy: "The copy is not what was read before: the stick or the disk has faults",
            licence: model.map_or("", |model| &model.licence),
        };
        copy_in(&args.file, &settings.dir, file, &expected)?;
    }
    installed(model.map_or(file, |model| &model.name), &path);
    Ok(())
}

/// What the file is: of the catalogue, or what `--sha256` says.
fn which<'a>(
    catalogue: &'a Catalogue,
    args: &ImportArgs,
    found: &Found,
    given: &str,
) -> Result<Option<&'a Model>, Box<dyn std::error::Error + Send + Sync>> {
    let place = args.file.display();
    if !given.is_empty() && !found.sha256.eq_ignore_ascii_case(given) {
        return Err(format!("{place}: its SHA-256 is {}, --sha256 says {given}; copy it again", found.sha256).into());
    }
    let named = match &args.name {
        Some(name) => Some(known(catalogue, name)?),
        None => None,
    };
    if let Some(model) = named {
        model.check(found).map_err(|mismatch| {
            format!("{place}: it is not {}: {mismatch}; copy it again from a file that was checked", model.name)
        })?;
        return Ok(named);
    }
    if let Some(model) = catalogue.identify(found) {
        return Ok(Some(model));
    }
    let file = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(listed) = catalogue.find(&file) {
        let mismatch = listed.check(found).err().map_or_else(String::new, |mismatch| mismatch.to_string());
        return Err(format!("{place}: it is called like {}, but {mismatch}; copy it again", listed.name).into());
    }
    if given.is_empty() {
        let problem = format!(
            "{place}: no model of the list has its SHA-256 {}; compare that with what its supplier published and give it with --sha256",
            found.sha256
        );
        return Err(problem.into());
    }
    Ok(None)
}

fn verify(catalogue: &Catalogue, args: &VerifyArgs) -> crate::cli::Result {
    let settings = settings(&args.place)?;
    let files = match args.models.is_empty() {
        true => all_in(&settings.dir)?,
        false => args.models.iter().map(|name| file_of(catalogue, &settings.dir, name)).collect(),
    };
    if files.is_empty() {
        return Err(format!(
            "{}: no model is here; `kakehashi model fetch` or `import` brings one",
            settings.dir.display()
        )
        .into());
    }
    let mut wrong = 0;
    for path in &files {
        match verify_one(catalogue, path) {
            Ok(said) => println!("{}: good, {said}", path.display()),
            Err(error) => {
                wrong += 1;
                println!("{}: WRONG, {error}", path.display());
            }
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(format!("{wrong} of {} models are wrong; move them away and fetch or import them again", files.len())
            .into()),
    }
}

fn file_of(catalogue: &Catalogue, dir: &Path, name: &str) -> PathBuf {
    catalogue.find(name).map_or_else(|| PathBuf::from(name), |model| dir.join(&model.file))
}

fn all_in(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{}: {error}; expected the folder of the models (--dir)", dir.display());
    let entries = std::fs::read_dir(dir).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "bin") && path.is_file());
    files.sort();
    Ok(files)
}

fn verify_one(catalogue: &Catalogue, path: &Path) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let listed = catalogue.find(&name);
    let (found, header) = examine(path, listed.is_some_and(|model| !model.sha1.is_empty()))?;
    let manifest = manifest_beside(path)?.and_then(|manifest| manifest.file);
    if let Some(file) = &manifest
        && (file.bytes != found.bytes || !file.sha256.eq_ignore_ascii_case(&found.sha256))
    {
        return Err(format!("its SHA-256 is {}, the manifest beside it says {}", found.sha256, file.sha256).into());
    }
    let shape = format!(
        "{} and {} layers, {} mel bands, SHA-256 {}",
        header.audio_layers, header.text_layers, header.mels, found.sha256
    );
    match (listed, manifest) {
        (Some(model), _) => {
            model.check(&found)?;
            Ok(format!("as published for {}; {shape}", model.name))
        }
        (None, Some(_)) => Ok(format!("as its manifest says; {shape}")),
        (None, None) => Ok(format!("whole, but no published checksum is known for it; {shape}")),
    }
}
