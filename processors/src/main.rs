//! processors
fn main() {}
