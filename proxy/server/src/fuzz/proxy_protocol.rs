//! What must hold for any bytes that a connection begins with. Shared by the fuzz target and the replay of its corpus.

use crate::proxy_protocol::{Bad, Said, Step, step};

/// Checks one input: the length of the pieces in which it arrives, and its bytes.
pub(super) fn check(data: &[u8]) {
    let [piece, raw @ ..] = data else { return };
    let (said, taken) = read(raw, usize::MAX);
    assert_eq!(read(raw, usize::from(*piece).max(1)), (said, taken), "in pieces it says the same");
    let Some(Ok(_)) = said else { return };
    assert!((15..=2048 + 16).contains(&taken));
    // Nothing but the header decides, and nothing of it may be missing.
    assert_eq!(read(&raw[..taken], usize::MAX), (said, taken));
    assert_eq!(read(&raw[..taken - 1], usize::MAX).0, None);
    // A line ends where it ends.
    assert!(raw[0] != b'P' || raw[..taken].iter().position(|byte| *byte == b'\n') == Some(taken - 1));
}

/// What it says, if it comes to an end, and how many bytes were taken for it.
fn read(raw: &[u8], piece: usize) -> (Option<Result<Said, Bad>>, usize) {
    let mut taken = 0;
    loop {
        match step(&raw[..taken]) {
            Ok(Step::Read(most)) => {
                assert!(most > 0);
                let next = most.min(piece).min(raw.len() - taken);
                if next == 0 {
                    return (None, taken);
                }
                taken += next;
            }
            Ok(Step::Whole(said)) => return (Some(Ok(said)), taken),
            // Where it is seen to be bad depends on the pieces.
            Err(bad) => return (Some(Err(bad)), 0),
        }
    }
}
