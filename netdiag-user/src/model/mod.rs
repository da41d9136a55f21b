//! Pure data and the seams between the layers; nothing here does I/O.
pub mod verdict;
