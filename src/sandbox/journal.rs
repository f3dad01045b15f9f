//! A channel's memory on disk: one file, one line of JSON a change, written before the answer leaves.
//!
//! A line holds everything that one request changed, the answer to its idempotency key included, so a crash keeps a request whole or not at all.
//! The line is handed to the kernel with one `write`: it survives a `kill -9` of the sandbox, though not a loss of power, which no test needs.
//! A torn last line is what such a kill can leave; it is cut off when the file is opened. A torn line elsewhere is damage and refuses the start.
//!
//! The file grows with what is done, about 2.5 kB a payment, and nothing compacts it: a referee that rewrites its records is none. Forgetting is
//! a decision of whoever runs the sandbox (`DELETE /_control/_books`, `demo --reset`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a line lies in the file, so that what is seldom asked for need not stay in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    length: u32,
}

/// The open file, at its end.
#[derive(Debug)]
pub struct Journal {
    file: File,
    end: u64,
}

impl Journal {
    /// Opens or creates the file, and hands every whole line to `replay`, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line other than the last is not what [`Journal::append`] wrote.
    pub fn open<T: DeserializeOwned>(path: &Path, mut replay: impl FnMut(T, Place)) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut reader = BufReader::new(&file);
        let mut end = 0u64;
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let change = serde_json::from_slice(&line)
                .map_err(|source| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged at byte {end}: {source}", path.display())))?;
            replay(change, Place { offset: end, length: u32::try_from(length).unwrap_or(u32::MAX) });
            end += length as u64;
        }
        file.set_len(end)?;
        Ok(Self { file, end })
    }

    /// Writes one change. When this returns, a kill of the process no longer loses it.
    ///
    /// # Errors
    /// When the disk refuses; the file is then cut back to the last whole line.
    pub fn append<T: Serialize>(&mut self, change: &T) -> io::Result<Place> {
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        if let Err(refusal) = self.file.write_all_at(&line, self.end) {
            self.file.set_len(self.end)?;
            return Err(refusal);
        }
        let place = Place { offset: self.end, length: u32::try_from(line.len()).unwrap_or(u32::MAX) };
        self.end += line.len() as u64;
        Ok(place)
    }

    /// Reads one change again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read<T: DeserializeOwned>(&self, place: Place) -> io::Result<T> {
        let mut line = vec![0; place.length as usize];
        self.file.read_exact_at(&mut line, place.offset)?;
        Ok(serde_json::from_slice(&line)?)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.end = 0;
        self.file.flush()
    }
}

/// What a channel's changes add up to.
pub trait Books: Default {
    /// What one request changed: a line of the journal.
    type Change: Serialize + DeserializeOwned;

    /// Takes a change in.
    fn apply(&mut self, change: Self::Change);
}

/// Books that outlive the process: each change is on disk before it is made.
#[derive(Debug)]
pub struct Ledger<B> {
    journal: Journal,
    pub(super) books: B,
}

impl<B: Books> Ledger<B> {
    /// Opens the file and replays it.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut books = B::default();
        let journal = Journal::open(path, |change, _| books.apply(change))?;
        Ok(Self { journal, books })
    }

    /// Writes a change to disk, then makes it.
    ///
    /// # Errors
    /// When the disk refuses; nothing is changed then.
    pub fn commit(&mut self, change: B::Change) -> io::Result<()> {
        self.journal.append(&change)?;
        self.books.apply(change);
        Ok(())
    }

    /// Forgets everything, on disk too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn clear(&mut self) -> io::Result<()> {
        self.journal.clear()?;
        self.books = B::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut journal = Journal::open::<String>(&path, |_, _| ()).unwrap();
        let first = journal.append(&"first").unwrap();
        journal.append(&"second").unwrap();
        assert_eq!(journal.read::<String>(first).unwrap(), "first");
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();

        let mut seen = Vec::new();
        let mut journal = Journal::open::<String>(&path, |line, _| seen.push(line)).unwrap();
        assert_eq!(seen, ["first"]);
        journal.append(&"third").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\"first\"\n\"third\"\n");
    }

    #[test]
    fn damage_in_the_middle_refuses_to_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        std::fs::write(&path, "\"first\nsecond\"\n").unwrap();
        assert!(Journal::open::<String>(&path, |_, _| ()).is_err());
    }
}
