use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use vega_auth::{ApiKey, KeyId};

use crate::World;
use crate::api::Api;
use crate::arguments::{Connection, Scan};
use crate::outcome::{Answer, Failure, about, table};

/// Read at once.
const CHUNK: usize = 1 << 18;
/// Places named per key.
const MAX_PLACES: usize = 20;
/// Keys per report.
const MAX_REPORTED: usize = 100;

/// Finds keys in a folder and in its history, and reports them if asked to.
pub async fn run(scan: Scan, connection: &Connection, world: &World) -> Result<Answer, Failure> {
    if !scan.folder.is_dir() {
        return Err(about(scan.folder.display(), "that isn't a folder"));
    }
    let mut finder = Finder::default();
    finder.files(&scan.folder);
    if !scan.no_history {
        finder.history(&scan.folder);
    }
    finder.progress(true);
    let reported = if scan.report && !finder.keys.is_empty() {
        let api = Api::new(connection, world)?;
        let keys: Vec<&str> = finder.keys.values().map(|found| found.key.expose()).collect();
        for keys in keys.chunks(MAX_REPORTED) {
            let body = json!({ "keys": keys, "found_at": "vega scan" });
            let response = api.call("POST", "/v1/leaked-keys", None, Some(&body), &[]).await?;
            if let Err(refused) = response.accepted()? {
                return Err(Failure(format!("the report was refused: {}", refused.text)));
            }
        }
        true
    } else {
        false
    };
    finder.answer(reported)
}

struct Found {
    /// For a report; never printed.
    key: ApiKey,
    places: Vec<String>,
}

#[derive(Default)]
struct Finder {
    keys: BTreeMap<KeyId, Found>,
    /// What couldn't be read.
    unread: Vec<String>,
    files: u64,
    objects: u64,
}

impl Finder {
    /// Every regular file below `folder`, apart from git's own. Symbolic links aren't followed.
    fn files(&mut self, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.unread.push(format!("{}: {error}", folder.display()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let (path, kind) = (entry.path(), entry.file_type());
                match kind {
                    Ok(kind) if kind.is_dir() && entry.file_name() != ".git" => folders.push(path),
                    Ok(kind) if kind.is_file() => {
                        let found = File::open(&path).and_then(|file| {
                            search(file, |key, line| self.note(key, || format!("{}:{line}", path.display())))
                        });
                        if let Err(error) = found {
                            self.unread.push(format!("{}: {error}", path.display()));
                        }
                        self.files += 1;
                        self.progress(false);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Every object of the repository that contains `folder`, also those that no branch reaches.
    fn history(&mut self, folder: &Path) {
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
            command
        };
        match git(&["rev-parse", "--git-dir"]).output() {
            Ok(output) if output.status.success() => {}
            // No repository, and so no history.
            Ok(_) => return,
            Err(error) => return self.unread.push(format!("the history: git can't be run: {error}")),
        }
        let objects = ["cat-file", "--batch", "--batch-all-objects", "--unordered", "--buffer"];
        let read = git(&objects).stdout(Stdio::piped()).spawn().and_then(|mut child| {
            let read = child.stdout.take().map_or(Ok(()), |output| self.objects(BufReader::new(output), &git));
            let is_complete = child.wait()?.success();
            read.and(if is_complete { Ok(()) } else { Err(io::Error::other("an object is broken: run git fsck")) })
        });
        if let Err(error) = read {
            self.unread.push(format!("the history: {error}"));
        }
    }

    /// Reads `<id> <type> <size>`, a line break, the object and another line break, again and again.
    fn objects(&mut self, mut output: impl io::BufRead, git: &impl Fn(&[&str]) -> Command) -> io::Result<()> {
        let mut header = String::new();
        while output.read_line(&mut header)? > 0 {
            let [id, kind, size] = header.trim_end().split(' ').collect::<Vec<_>>()[..] else {
                return Err(io::Error::other("an object can't be read: run git fsck"));
            };
            let size: u64 = size.parse().map_err(|_| io::Error::other("an object can't be read: run git fsck"))?;
            let mut object = (&mut output).take(size);
            search(&mut object, |key, line| self.note(key, || place_in_history(git, id, kind, line)))?;
            if object.limit() > 0 {
                return Err(io::Error::other("an object is incomplete: run git fsck"));
            }
            output.read_exact(&mut [0])?;
            header.clear();
            self.objects += 1;
            self.progress(false);
        }
        Ok(())
    }

    fn note(&mut self, key: ApiKey, place: impl FnOnce() -> String) {
        let found = self.keys.entry(key.id()).or_insert(Found { key, places: Vec::new() });
        if found.places.len() < MAX_PLACES {
            found.places.push(place());
        }
    }

    /// One line on a terminal, which the end erases.
    fn progress(&self, is_end: bool) {
        let count = self.files + self.objects;
        if (is_end || count.is_multiple_of(500)) && io::stderr().is_terminal() {
            let line = format!("\r{} files, {} objects of the history", self.files, self.objects);
            let line = if is_end { format!("\r{:60}\r", "") } else { line };
            let _ = write!(io::stderr(), "{line}");
        }
    }

    fn answer(self, reported: bool) -> Result<Answer, Failure> {
        if self.keys.is_empty() && !self.unread.is_empty() {
            return Err(Failure(format!(
                "no key was found, but not everything could be read: {}",
                self.unread.join("; ")
            )));
        }
        let json = json!({
            "files": self.files, "objects": self.objects, "unread": self.unread, "reported": reported,
            "keys": self.keys.iter().map(|(id, found)| json!({ "id": id, "places": found.places })).collect::<Vec<_>>(),
        });
        if self.keys.is_empty() {
            let text = format!("no key in {} files and {} objects of the history", self.files, self.objects);
            return Ok(Answer::ok(text, json));
        }
        let rows =
            self.keys.iter().flat_map(|(id, found)| found.places.iter().map(|place| [id.to_string(), place.clone()]));
        let mut text = table(["key", "place"], rows);
        text.extend(self.unread.iter().flat_map(|unread| ["not read: ", unread, "\n"]));
        text += if reported {
            "The keys were reported. Those that were live are revoked now.\n"
        } else {
            "Revoke these keys: vega scan --report reports them to the API.\n"
        };
        Ok(Answer::problem(text, json))
    }
}

/// The newest commit with this object, and its path there.
fn place_in_history(git: &impl Fn(&[&str]) -> Command, id: &str, kind: &str, line: u64) -> String {
    let short = id.get(..12).unwrap_or(id);
    if kind != "blob" {
        return format!("{kind} {short}:{line}");
    }
    let object = format!("--find-object={id}");
    let log = git(&["log", "--all", "-1", "--format=%h", "--name-only", &object]).output();
    let log = log.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match log.split_whitespace().collect::<Vec<_>>()[..] {
        [commit, path, ..] => format!("commit {commit} {path}:{line}"),
        _ => format!("unreachable object {short}:{line}"),
    }
}

/// Calls `found` with each key and its line. Reads any amount of bytes in constant memory.
fn search(mut source: impl Read, mut found: impl FnMut(ApiKey, u64)) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    // The bytes that are kept because a key may continue after them, and the lines before the buffer.
    let (mut kept, mut lines) = (0, 1);
    loop {
        let read = match source.read(&mut buffer[kept..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = &buffer[..kept + read];
        for at in memchr::memmem::find_iter(filled, ApiKey::PREFIX) {
            let text = filled.get(at..at + ApiKey::LEN).and_then(|bytes| std::str::from_utf8(bytes).ok());
            if let Some(Ok(key)) = text.map(str::parse) {
                found(key, lines + newlines(&filled[..at]));
            }
        }
        if read == 0 {
            return Ok(());
        }
        // A complete key was found above, so what is kept is shorter than one.
        let next = filled.len().saturating_sub(ApiKey::LEN - 1);
        lines += newlines(&filled[..next]);
        kept = filled.len() - next;
        buffer.copy_within(next..next + kept, 0);
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT";

    /// Returns a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    fn lines_of(text: &[u8], at_once: usize) -> Vec<u64> {
        let mut lines = Vec::new();
        search(Slow(text, at_once), |_, line| lines.push(line)).unwrap();
        lines
    }

    #[test]
    fn a_key_is_found_however_the_file_is_read() {
        let text = format!("one\n\u{e4}{KEY}\n{}{KEY}{KEY}", KEY.replacen("003a", "003b", 1));
        for at_once in [1, 7, 64, 65, 66, 4096] {
            assert_eq!(lines_of(text.as_bytes(), at_once), [2, 3, 3], "{at_once}");
        }
    }

    #[test]
    fn a_key_across_two_chunks_is_found_once() {
        for before in [CHUNK - 66, CHUNK - 65, CHUNK - 64, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 70] {
            let text = [vec![b'\n'; before], KEY.as_bytes().to_vec()].concat();
            assert_eq!(lines_of(&text, usize::MAX), [before as u64 + 1], "{before}");
        }
    }

    #[test]
    fn text_that_is_not_a_key_is_not_found() {
        for text in ["", "vk_", "vk_vk_vk_", &KEY[..64], &KEY.replacen("IT", "IU", 1), &KEY.replacen('_', "-", 2)] {
            assert!(lines_of(text.as_bytes(), 4096).is_empty(), "{text}");
        }
    }
}
