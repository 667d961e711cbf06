//! How much memory the process uses, and how much it may: what the kernel tells.

use std::path::{Path, PathBuf};

/// Where control groups are mounted, by the version of their interface.
const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";
/// Limits above this are how the kernel writes that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// The resident memory of the process in bytes; nothing where it is not told.
pub(crate) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&text, "VmRSS:").map(|count| count << 10)
}

/// What the control groups of the process may use in bytes, the narrowest of them; nothing where none is bounded.
pub(crate) fn group_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    narrowest(&groups, |file| std::fs::read_to_string(file).ok())
}

/// The number behind this name in a file of `NAME: NUMBER kB` lines.
pub(crate) fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A group is bounded by those that it is in. In a container the path may be one that only the host sees; then the
/// mount's own root is what bounds it, which stands at the end of every walk.
fn narrowest(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = groups.lines().flat_map(files_of);
    let limits = files.filter_map(|file| read(&file)?.trim().parse().ok());
    limits.filter(|limit| *limit < NO_LIMIT).min()
}

/// The files with the limits of one line, `NUMBER:CONTROLLERS:PATH`, from the group to the root.
fn files_of(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => (UNIFIED, "memory.max"),
        list if list.split(',').any(|name| name == "memory") => (MEMORY, "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let inside = Path::new(path.trim_start_matches('/'));
    inside.ancestors().map(|group| Path::new(mount).join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        narrowest(groups, |file| {
            let found = files.iter().find(|(path, _)| Path::new(path) == file);
            found.map(|(_, text)| format!("{text}\n"))
        })
    }

    #[test]
    fn the_narrowest_group_bounds() {
        let groups = "0::/system.slice/sluice.service\n";
        let files = [
            ("/sys/fs/cgroup/system.slice/sluice.service/memory.max", "max"),
            ("/sys/fs/cgroup/system.slice/memory.max", "2000"),
            ("/sys/fs/cgroup/memory.max", "3000"),
        ];
        assert_eq!(limit(groups, &files), Some(2_000));
        assert_eq!(limit(groups, &files[..1]), None);
    }

    #[test]
    fn a_container_s_own_root_bounds() {
        assert_eq!(limit("0::/\n", &[("/sys/fs/cgroup/memory.max", "1000")]), Some(1_000));
        assert_eq!(limit("0::/seen/by/the/host\n", &[("/sys/fs/cgroup/memory.max", "1000")]), Some(1_000));
    }

    #[test]
    fn both_versions_of_the_interface_are_read() {
        let groups = "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n";
        let file = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        assert_eq!(limit(groups, &[(file, "5000")]), Some(5_000));
        assert_eq!(limit(groups, &[(file, "9223372036854771712")]), None, "how no limit is written there");
        assert_eq!(limit("nonsense", &[]), None);
    }

    #[test]
    fn this_process_uses_some_memory() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
