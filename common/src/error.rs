//! What an error asks of its caller. Rich detail stays in the message and the source; code that
//! must decide matches on these few kinds only.

use std::fmt;

/// What the caller should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A passing fault: do the same again after a pause.
    Retry,
    /// What the caller believes is out of date: read it anew, then decide.
    Refresh,
    /// It will never succeed as asked.
    GiveUp,
    /// Somebody newer has taken over: stop acting in this role (F1 to F3).
    Fenced,
    /// Stored bytes are missing or fail their checksum: report, never skip (I18).
    BadData,
}

/// For anything sent over a network or to a disk: did it certainly not happen, or might it have?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen and never will.
    NotDone,
    /// It may have happened, or may yet (F4): look before deciding.
    Unknown,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::Retry => "retry",
            ErrorKind::Refresh => "refresh",
            ErrorKind::GiveUp => "give up",
            ErrorKind::Fenced => "fenced",
            ErrorKind::BadData => "bad data",
        })
    }
}
