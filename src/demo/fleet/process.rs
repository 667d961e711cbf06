//! A process of the fleet: this program under another subcommand.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(10);

/// Within this time a proxy drains.
const DRAIN: Duration = Duration::from_secs(15);

/// Lines of its log that are told when it failed.
const LAST_LINES: usize = 5;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with these arguments. Its log goes to NAME.log in the folder, after what an earlier one wrote.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn start(name: &'static str, folder: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).context("cannot write a log")?;
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let child = Command::new(program)
            .args(arguments)
            .env_remove("STATE_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            // Ctrl-C is for the demo, which ends the others in its own order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Tells why it ended, if it did.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot ask for a process")? {
            bail!("{} ended by itself ({status}): {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Kills it as a power cut would.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().context("cannot wait for a process")?;
        Ok(())
    }

    /// Asks it to leave and waits until it has drained.
    ///
    /// # Errors
    /// It did not end in time, or not in order.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has no number")?;
        kill_process(id, Signal::TERM).with_context(|| format!("cannot end {}", self.name))?;
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return std::io::Result::Ok(status);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let status = tokio::time::timeout(DRAIN, ended).await;
        let status = status.with_context(|| format!("{} did not drain in time", self.name))?.context("cannot wait")?;
        if !status.success() {
            bail!("{} did not end in order ({status}): {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
