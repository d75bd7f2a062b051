//! The `alluvium` server, its handlers and command line.
