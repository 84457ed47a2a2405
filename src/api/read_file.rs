//! Reads a configuration file whole, within a limit, and says plainly why it cannot.
//!
//! Pipes and `/dev/stdin` work as well as files. Never reads more than [`MAX_CONFIG_BYTES`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 64 * 1024 * 1024;

/// Why a configuration file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// There is none at that path.
    #[error("configuration file `{}` does not exist", .0.display())]
    NotFound(PathBuf),
    /// The path names a directory.
    #[error("`{}` is a directory, not a configuration file", .0.display())]
    IsDirectory(PathBuf),
    /// Larger than [`MAX_CONFIG_BYTES`].
    #[error("configuration file `{}` is larger than {} MiB", .0.display(), MAX_CONFIG_BYTES / (1024 * 1024))]
    TooLarge(PathBuf),
    /// Not a byte in it, or only white space.
    #[error("configuration file `{}` is empty", .0.display())]
    Empty(PathBuf),
    /// Text that is not UTF-8.
    #[error("configuration file `{}` is not UTF-8 text: byte {byte:#04x} in line {line}", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first byte that is wrong, from 1.
        line: usize,
        /// That byte.
        byte: u8,
    },
    /// Anything else the system reports.
    #[error("cannot read configuration file `{}`: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The bytes of the file at `path`.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ConfigFileError> {
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigFileError::NotFound(path.to_owned()),
        io::ErrorKind::IsADirectory => ConfigFileError::IsDirectory(path.to_owned()),
        _ => ConfigFileError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    if metadata.is_dir() {
        return Err(ConfigFileError::IsDirectory(path.to_owned()));
    }
    if metadata.len() > MAX_CONFIG_BYTES {
        return Err(ConfigFileError::TooLarge(path.to_owned()));
    }
    let mut bytes = Vec::new();
    // The size above is 0 for pipes and devices, and files grow.
    file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigFileError::TooLarge(path.to_owned()));
    }
    if bytes.is_empty() {
        return Err(ConfigFileError::Empty(path.to_owned()));
    }
    Ok(bytes)
}

/// The text of the file at `path`.
pub fn read_text(path: &Path) -> Result<String, ConfigFileError> {
    let text = String::from_utf8(read_bytes(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + memchr::memchr_iter(b'\n', &bytes[..at]).count();
        ConfigFileError::NotUtf8 { path: path.to_owned(), line, byte: bytes.get(at).copied().unwrap_or(0) }
    })?;
    if text.trim().is_empty() {
        return Err(ConfigFileError::Empty(path.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(name: &str, bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let error = read_text(&path).expect_err("refused").to_string();
        error.replace(&*dir.path().to_string_lossy(), "")
    }

    #[test]
    fn every_reason_is_told() {
        assert_eq!(error_of("a", b""), "configuration file `/a` is empty");
        assert_eq!(error_of("a", b" \n\t"), "configuration file `/a` is empty");
        assert_eq!(
            error_of("a", b"a: b\nc: \xe9\n"),
            "configuration file `/a` is not UTF-8 text: byte 0xe9 in line 2"
        );
        let missing = read_text(Path::new("/nonexistent/x")).expect_err("missing").to_string();
        assert_eq!(missing, "configuration file `/nonexistent/x` does not exist");
        let directory = read_text(Path::new("/")).expect_err("a directory").to_string();
        assert_eq!(directory, "`/` is a directory, not a configuration file");
    }

    #[test]
    fn a_huge_file_and_an_endless_one_are_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        // Sparse: takes no room on the disk.
        file.as_file().set_len(100 * 1024 * 1024).expect("sized");
        assert!(matches!(read_bytes(file.path()), Err(ConfigFileError::TooLarge(_))));
        assert!(matches!(read_bytes(Path::new("/dev/zero")), Err(ConfigFileError::TooLarge(_))));
    }
}
