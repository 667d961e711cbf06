//! What is shown while the demo runs: on a terminal a table that is drawn again and again, elsewhere a line now and then.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::terminal::{Paint, columns, rows, wrap};

/// Between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// How things are.
pub(super) trait Picture {
    /// On a terminal of so many columns, at this time of the demo.
    fn lines(&self, clock: &str, columns: usize, paint: Paint) -> Vec<String>;

    /// In one line, where there is no terminal.
    fn line(&self) -> String;
}

/// The screen, or what stands in for it.
#[derive(Debug)]
pub(super) struct View {
    paint: Paint,
    began: Instant,
    told: Instant,
    /// The lines at the end of the screen that the next drawing replaces.
    drawn: Vec<String>,
}

impl View {
    /// An empty one.
    pub(super) fn new(paint: Paint) -> Self {
        let now = Instant::now();
        Self { paint, began: now, told: now, drawn: Vec::new() }
    }

    /// Tells an event. It stays on the screen.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn say(&mut self, words: &str) -> io::Result<()> {
        let mut prefix = format!("{}  ", self.clock());
        let room = columns().map_or(usize::MAX, |columns| columns.saturating_sub(prefix.len()));
        let said = wrap(words, room).into_iter().map(|line| {
            let indent = " ".repeat(prefix.len());
            std::mem::replace(&mut prefix, indent) + &line
        });
        let said = said.collect();
        let kept = std::mem::take(&mut self.drawn);
        self.replace(&kept, &[said, kept.clone()].concat())?;
        self.drawn = kept;
        Ok(())
    }

    /// Shows how things are.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show(&mut self, picture: &impl Picture) -> io::Result<()> {
        if let Some(columns) = columns() {
            let lines = picture.lines(&self.clock(), columns, self.paint);
            self.replace(&self.drawn, &lines)?;
            self.drawn = lines;
        } else if self.told.elapsed() >= LINE_PERIOD {
            self.told = Instant::now();
            self.say(&picture.line())?;
        }
        Ok(())
    }

    /// The table goes; what comes next is written where it was.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn finish(&mut self, lines: &[String]) -> io::Result<()> {
        let drawn = std::mem::take(&mut self.drawn);
        self.replace(&drawn, lines)
    }

    /// What was drawn is measured by the terminal as it is now: one that became narrower has broken lines in two.
    fn replace(&self, drawn: &[String], lines: &[String]) -> io::Result<()> {
        let old = columns().map_or(0, |columns| rows(drawn, columns));
        let mut out = io::stdout().lock();
        if old > 0 {
            write!(out, "\x1b[{old}A\r\x1b[J")?;
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    fn clock(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{:02}:{:02}", seconds / 60, seconds % 60)
    }
}
