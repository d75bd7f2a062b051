//! Range reads in pages of bounded bytes.
//!
//! etcd limits a page by keys only. So the number of keys asked for follows the size of what is found: it is halved
//! when a page was longer than the seam's answer may be, quartered when it was longer than what is received at all,
//! and doubled while pages are short.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::caller::{Caller, Repeat};
use super::convert;
use super::error::{Class, Failure};
use super::namespace::{Namespace, Span};
use super::proto;
use crate::store::limits::{RANGE_BYTES_MAX, RANGE_KEYS_MAX};
use crate::store::range::{RangeRequest, RangeResponse};

/// How many keys a page is asked to hold.
#[derive(Debug)]
pub(super) struct PageSize(AtomicUsize);

impl Default for PageSize {
    fn default() -> Self {
        Self(AtomicUsize::new(RANGE_KEYS_MAX))
    }
}

impl PageSize {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Calls that race leave a size that fitted one of them; it is only ever a guess.
    fn set(&self, keys: usize) {
        self.0
            .store(keys.clamp(1, RANGE_KEYS_MAX), Ordering::Relaxed);
    }

    fn learn(&self, asked: usize, answer: &proto::RangeResponse) {
        let bytes: usize = answer
            .kvs
            .iter()
            .map(|kv| kv.key.len() + kv.value.len())
            .sum();
        if bytes > RANGE_BYTES_MAX {
            self.set(asked / 2);
        } else if answer.more && bytes <= RANGE_BYTES_MAX / 2 {
            self.set(asked * 2);
        }
    }
}

/// One page of a range.
pub(super) async fn read(
    caller: &Caller,
    space: &Namespace,
    size: &PageSize,
    request: &RangeRequest,
) -> Result<RangeResponse, Failure> {
    loop {
        let asked = size.get();
        let message = message(space, request, asked);
        match caller
            .call(Repeat::Freely, |wire| wire.range(message.clone()))
            .await
        {
            Ok(answer) => {
                // A page cut by its reader's own limit says nothing about what fits.
                if request.limit.is_none_or(|limit| limit >= asked) {
                    size.learn(asked, &answer);
                }
                return Ok(convert::page(space, request.limit, answer));
            }
            // Ends at one key, which always fits: a request could not have put more.
            Err(failure) if failure.class == Class::AnswerTooLarge && asked > 1 => {
                size.set(asked / 4);
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn message(space: &Namespace, request: &RangeRequest, keys_max: usize) -> proto::RangeRequest {
    match space.span(&request.range) {
        Span::Keys { key, range_end } => proto::RangeRequest {
            key,
            range_end,
            limit: convert::read_limit(request.limit, keys_max),
            revision: convert::read_revision(request.revision),
            count_only: false,
        },
        Span::Nothing => convert::nothing(space, &request.range, request.revision),
    }
}

/// How many keys a range holds now.
pub(super) async fn count(
    caller: &Caller,
    space: &Namespace,
    range: &crate::store::range::KeyRange,
) -> Result<u64, Failure> {
    let Span::Keys { key, range_end } = space.span(range) else {
        return Ok(0);
    };
    let message = proto::RangeRequest {
        key,
        range_end,
        count_only: true,
        ..proto::RangeRequest::default()
    };
    let answer = caller
        .call(Repeat::Freely, |wire| wire.range(message.clone()))
        .await?;
    Ok(convert::unsigned(answer.count))
}
