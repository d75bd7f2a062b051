//! Reads what a step needs from segments.

use alluvium_segment::FormatError;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::steps::{Step, WantedBlock};
use crate::fold::{ReadError, checked};

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

/// Reads a step. What is damaged is read once more.
pub async fn fetch(objects: &dyn ObjectStore, step: Step) -> Result<FetchedStep, ReadError> {
    let pieces: Vec<Bytes> = futures::stream::iter(step.fetches.iter().enumerate())
        .map(|(number, fetch)| {
            let blocks = &step.blocks;
            let verified = move |piece: Bytes| {
                let of_piece = blocks.iter().filter(|wanted| wanted.place.0 == number);
                of_piece
                    .map(|wanted| verify(wanted, &piece))
                    .collect::<Result<(), _>>()?;
                Ok(piece)
            };
            let key = &fetch.segment.object_key;
            async move { checked(objects, key, fetch.positions.clone(), verified).await }
        })
        .buffered(GETS_PARALLEL_MAX)
        .try_collect()
        .await?;
    Ok(FetchedStep {
        pieces,
        blocks: step.blocks,
    })
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
