//! The contract between the kernel side and the user side.
#![no_std]
