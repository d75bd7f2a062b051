//! The MetadataStore seam, typed cluster state, sessions, commits, leadership, coordinators.
