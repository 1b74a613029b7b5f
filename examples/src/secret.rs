//! Secrets and the files they live in.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A fresh random secret of 192 bits.
#[must_use]
pub fn random() -> String {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes)
        .unwrap_or_else(|_| unreachable!("the operating system has no randomness"));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The content of a secret file without the line break at its end.
///
/// # Errors
///
/// Names the file that cannot be read.
pub fn read(file: &Path) -> Result<String, io::Error> {
    std::fs::read_to_string(file)
        .map(|secret| secret.trim_end().to_owned())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// A new folder below the system's temporary one that only its owner can enter.
///
/// # Errors
///
/// When it cannot be made.
pub fn private_folder() -> Result<PathBuf, io::Error> {
    let folder = std::env::temp_dir().join(format!("gateway-{}", random()));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder)?;
    Ok(folder)
}
