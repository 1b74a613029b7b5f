//! What the memory of the programs comes from.
//!
//! glibc's malloc has an arena per thread and seldom gives back what one of them once had, so that a cache of large bodies
//! that change may be resident twice; mimalloc stays near what is configured, and takes less time for it (the section
//! tower-cache of BENCHMARKS.md). Only a program may choose: a library that does chooses for everybody who uses it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
