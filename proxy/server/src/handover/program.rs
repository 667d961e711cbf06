//! Which program is started to take over: what is installed now in the place of what runs.
//!
//! What was typed says it best. `/usr/local/bin/sluice` may be a link that an upgrade turned to another file, and the
//! kernel's own answer would lead to the old one. A bare name was looked up in the path, and is again. Where it is found
//! nowhere the kernel's answer counts, without the mark that it puts behind a file that was replaced. For a path it never
//! does: whoever moved the old program aside and put none in its place would be told of an upgrade, and the old program
//! would run on, by a path at which nobody puts a new one.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Behind the path of a program whose file has been removed or replaced.
const DELETED: &[u8] = b" (deleted)";

/// The program to start.
pub(super) fn program() -> io::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(typed) = env::args_os().next().and_then(|typed| typed_program(&typed, &path, &Path::is_file)) {
        return Ok(typed);
    }
    let running = env::current_exe()?;
    Ok(undeleted(&running).to_owned())
}

fn typed_program(typed: &OsStr, path: &OsStr, is_there: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let plain = Path::new(typed);
    if typed.as_bytes().contains(&b'/') {
        return Some(plain.to_owned());
    }
    env::split_paths(path).map(|folder| folder.join(plain)).find(|place| is_there(place))
}

fn undeleted(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(bytes.strip_suffix(DELETED).unwrap_or(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(typed: &str, there: &[&str]) -> Option<PathBuf> {
        let is_there = |path: &Path| there.iter().any(|one| Path::new(one) == path);
        typed_program(OsStr::new(typed), OsStr::new("/opt/bin:/usr/bin"), &is_there)
    }

    #[test]
    fn what_was_typed_is_found_as_it_was_then() {
        assert_eq!(found("/usr/local/bin/sluice", &["/usr/local/bin/sluice"]), Some("/usr/local/bin/sluice".into()));
        assert_eq!(found("target/sluice", &["target/sluice"]), Some("target/sluice".into()));
        assert_eq!(found("sluice", &["sluice", "/usr/bin/sluice"]), Some("/usr/bin/sluice".into()));
        assert_eq!(found("sluice", &["/opt/bin/sluice", "/usr/bin/sluice"]), Some("/opt/bin/sluice".into()));
        assert_eq!(found("sluice", &["sluice"]), None);
    }

    #[test]
    fn a_path_at_which_nothing_is_is_not_answered_by_the_program_that_was_moved_away() {
        assert_eq!(found("/gone/sluice", &["/gone/sluice.old"]), Some("/gone/sluice".into()));
    }

    #[test]
    fn the_kernel_s_mark_is_taken_off() {
        assert_eq!(undeleted(Path::new("/bin/sluice (deleted)")), Path::new("/bin/sluice"));
        assert_eq!(undeleted(Path::new("/bin/sluice")), Path::new("/bin/sluice"));
    }
}
