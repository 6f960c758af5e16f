//! The command line tool. It only connects; the library does the work.

fn main() {}
