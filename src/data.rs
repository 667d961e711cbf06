//! The folder that a process keeps its state in.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

/// The API's socket in the data folder.
pub(crate) const SOCKET: &str = "admin.sock";

/// Where state is kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct DataArgs {
    /// The folder for what must outlive the process; made if it is not there, for its owner only [default: $STATE_DIRECTORY,
    /// else ./.sluice]
    #[arg(long = "data", value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl DataArgs {
    /// The folder, made if it was not there.
    ///
    /// # Errors
    /// It cannot be made, or something else is there.
    pub(crate) fn open(&self) -> anyhow::Result<PathBuf> {
        let folder = self.data.clone().unwrap_or_else(folder);
        make(&folder)
            .with_context(|| format!("cannot use the data folder {}; name another with --data", folder.display()))?;
        Ok(folder)
    }
}

/// The folder of those who name none. systemd may give several, of which the first is ours.
pub(crate) fn folder() -> PathBuf {
    let given = std::env::var_os("STATE_DIRECTORY").filter(|folders| !folders.is_empty());
    let first = given.and_then(|folders| std::env::split_paths(&folders).next());
    first.unwrap_or_else(|| PathBuf::from("./.sluice"))
}

fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_is_made_is_its_owner_s() {
        let outer = tempfile::tempdir().unwrap();
        let args = |path: PathBuf| DataArgs { data: Some(path) };
        let folder = args(outer.path().join("a/b")).open().unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(args(folder.clone()).open().unwrap(), folder);
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        let error = args(file).open().unwrap_err();
        assert!(format!("{error:#}").contains("--data"), "{error:#}");
    }
}
