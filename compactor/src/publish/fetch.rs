//! Reads what a step needs from segments.

use std::sync::Arc;

use alluvium_segment::FormatError;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::steps::{Step, WantedBlock};
use crate::fold::ReadError;
use crate::pace::PacedObjects;

/// GETs of one step at the same time: enough to hide the latency of a bucket.
const GETS_PARALLEL_MAX: usize = 8;

/// A step whose bytes are there, their checksums verified.
pub struct FetchedStep {
    pieces: Vec<Bytes>,
    /// What to write, in order.
    pub blocks: Vec<WantedBlock>,
}

impl FetchedStep {
    /// The stored bytes of a block.
    pub fn stored(&self, wanted: &WantedBlock) -> Bytes {
        let (piece, at) = wanted.place;
        stored(&self.pieces[piece], at, wanted.block.stored_length)
    }
}

/// Reads a step, when there is time for it. What is damaged is read once more.
pub async fn fetch(objects: PacedObjects, step: Step) -> Result<FetchedStep, ReadError> {
    let blocks = Arc::new(step.blocks);
    let fetches = step.fetches.into_iter().enumerate();
    let fetches = fetches.map(|(number, fetch)| {
        let (objects, blocks) = (objects.clone(), Arc::clone(&blocks));
        async move {
            let verified = |piece: Bytes| {
                let of_piece = blocks.iter().filter(|wanted| wanted.place.0 == number);
                let verified = of_piece.map(|wanted| verify(wanted, &piece));
                verified.collect::<Result<(), _>>()?;
                Ok(piece)
            };
            let key = &fetch.segment.object_key;
            objects
                .checked(key, fetch.positions.clone(), verified)
                .await
        }
    });
    let pieces = futures::stream::iter(fetches).buffered(GETS_PARALLEL_MAX);
    let pieces: Vec<Bytes> = pieces.try_collect().await?;
    let blocks = Arc::try_unwrap(blocks).unwrap_or_else(|shared| (*shared).clone());
    Ok(FetchedStep { pieces, blocks })
}

fn verify(wanted: &WantedBlock, piece: &Bytes) -> Result<(), FormatError> {
    let block = &wanted.block;
    let stored = stored(piece, wanted.place.1, block.stored_length);
    let computed = crc32c::crc32c(&stored);
    match computed == block.crc && stored.len() == block.stored_length as usize {
        true => Ok(()),
        false => Err(FormatError::Checksum {
            what: "segment block",
            stored: block.crc,
            computed,
        }),
    }
}

/// Shorter where the piece is.
fn stored(piece: &Bytes, at: usize, length: u32) -> Bytes {
    let end = at.saturating_add(length as usize).min(piece.len());
    piece.slice(at.min(end)..end)
}
