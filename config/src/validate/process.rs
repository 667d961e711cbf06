//! What the whole process may use up.

use super::judge::{Judge, section};
use crate::bound::{MostThatFits, SizeThatFits};
use crate::problem::Code;
use crate::schema::process as written;
use crate::size::Size;
use crate::validated::{Bound, ProcessLimits};

/// Less than this is used up before the first request.
const LEAST_MEMORY: Size = Size::kibibytes(16 * 1_024);

pub(super) fn resolve(judge: &mut Judge<'_>, limits: &written::ProcessLimits) -> ProcessLimits {
    let memory = match limits.memory {
        SizeThatFits::Auto => Bound::Auto,
        SizeThatFits::Off => Bound::Off,
        SizeThatFits::Size(size) => {
            if size < LEAST_MEMORY {
                let message = format!("{size} is less than {LEAST_MEMORY}, what the process needs by itself");
                judge.report(Code::OutOfRange, section("limits").field("memory"), message, None);
            }
            Bound::At(size.get())
        }
    };
    let connections = match limits.connections {
        MostThatFits::Auto(_) => Bound::Auto,
        MostThatFits::Off(_) => Bound::Off,
        MostThatFits::Count(count) => Bound::At(count),
    };
    ProcessLimits { connections, memory, probes: limits.probes.0.map(|times| times.0) }
}
