//! Replays recorded transcripts and checks the repository's own rules.
#![forbid(unsafe_code)]
