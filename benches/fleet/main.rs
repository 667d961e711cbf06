//! What a fleet costs and how fast it follows: `make bench-fleet`.
//!
//! Everything is measured from outside, on real processes and sockets of this machine, but for the proof and the
//! compilation of a large document, which have no outside.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod document;
mod start;
mod wave;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

/// Measures a control plane and those who follow it
#[derive(Debug, Parser)]
struct Args {
    /// The program to measure
    #[arg(long, value_name = "PATH")]
    sluice: PathBuf,
    /// Real proxies
    #[arg(long, default_value = "100")]
    proxies: NonZeroUsize,
    /// Simulated subscribers
    #[arg(long, default_value = "1000")]
    subscribers: NonZeroUsize,
    /// Shifts of each measurement
    #[arg(long, default_value = "50")]
    shifts: NonZeroUsize,
    /// Routes of the large document
    #[arg(long, default_value = "10000")]
    routes: NonZeroUsize,
    /// Starts from last known good
    #[arg(long, default_value = "20")]
    starts: NonZeroUsize,
    /// Only these; all of them if none is named
    #[arg(long, value_enum)]
    only: Vec<Figure>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Figure {
    /// From a change to every real proxy running it.
    Proxies,
    /// The same with simulated subscribers.
    Subscribers,
    /// Sizes and times of a large document.
    Document,
    /// From the start of a process to its first answer, without a control plane.
    Start,
}

fn main() {
    let args = Args::parse();
    // The processes run in folders of their own.
    let sluice = args.sluice.canonicalize().expect("--sluice leads to the program");
    let sluice = sluice.to_str().expect("the path of the program is text");
    let wanted = |figure| args.only.is_empty() || args.only.contains(&figure);
    if wanted(Figure::Document) {
        document::measure(sluice, args.routes.get());
    }
    if wanted(Figure::Start) {
        start::measure(sluice, args.starts.get());
    }
    if wanted(Figure::Subscribers) {
        wave::simulated(sluice, args.subscribers.get(), args.shifts.get());
    }
    if wanted(Figure::Proxies) {
        wave::real(sluice, args.proxies.get(), args.shifts.get());
    }
}
