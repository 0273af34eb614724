//! Embeds the built page, `dashboard/dist`. A release build without it fails. A debug build warns, and responds with 404 in
//! the page's place, so that work on the Rust code doesn't require Node.js.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const HOW: &str = "dashboard/dist isn't built: run `make dashboard` first";

#[expect(clippy::disallowed_methods, reason = "cargo passes everything to a build script in environment variables")]
fn main() -> Result<(), String> {
    let dist = PathBuf::from("../../dashboard/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rustc-check-cfg=cfg(has_page)");
    let files = files(&dist).unwrap_or_default();
    if files.iter().any(|file| file.ends_with("index.html")) {
        println!("cargo::rustc-cfg=has_page");
    } else {
        if env::var("PROFILE").as_deref() == Ok("release") {
            return Err(HOW.into());
        }
        println!("cargo::warning={HOW}");
    }
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).map_err(|error| error.to_string())?;
        let whole = file.canonicalize().map_err(|error| error.to_string())?;
        writeln!(table, "    ({:?}, include_str!({:?})),", name.to_string_lossy(), whole.to_string_lossy())
            .map_err(|error| error.to_string())?;
    }
    table.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?).join("files.rs");
    fs::write(out, table).map_err(|error| error.to_string())
}

/// All files below `folder`, sorted by path.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
