//! Domain types, limits, clock, randomness, errors and the object-store seam.
