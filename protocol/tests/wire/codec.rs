//! The generated messages by name.

use alluvium_protocol::messages::*;
use alluvium_protocol::{ApiKey, Message, Reader, Writer};
use bytes::Bytes;

/// One message, without its type.
pub struct Codec {
    pub name: &'static str,
    pub api: Option<ApiKey>,
    pub versions: std::ops::RangeInclusive<i16>,
    /// Decodes, checks that nothing is left, encodes, decodes that again, checks that both values are equal.
    pub recode: fn(Bytes, i16) -> Result<Bytes, String>,
    /// Decodes the bytes in the first version, and encodes them in the second.
    pub convert: fn(Bytes, i16, i16) -> Result<Bytes, String>,
    /// Encodes a message in which nothing is set.
    pub encode_default: fn(i16) -> Result<Bytes, String>,
    /// Decodes and drops; says whether that worked.
    pub decode: fn(&mut Reader, i16) -> bool,
}

fn codec<M: Message + Default + PartialEq + std::fmt::Debug>(api: Option<ApiKey>) -> Codec {
    Codec {
        name: M::NAME,
        api,
        versions: M::MIN_VERSION..=M::MAX_VERSION,
        recode: recode::<M>,
        convert: |bytes, from, to| encode(&decode_all::<M>(bytes, from)?, to),
        encode_default: |version| encode(&M::default(), version),
        decode: |reader, version| M::decode(reader, version).is_ok(),
    }
}

fn recode<M: Message + Default + PartialEq + std::fmt::Debug>(
    bytes: Bytes,
    version: i16,
) -> Result<Bytes, String> {
    let message = decode_all::<M>(bytes, version)?;
    let mut writer = Writer::new();
    message
        .encode(&mut writer, version)
        .map_err(|error| error.to_string())?;
    let encoded = writer.into_bytes();
    assert_eq!(decode_all::<M>(encoded.clone(), version)?, message);
    Ok(encoded)
}

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, String> {
    let mut writer = Writer::new();
    message
        .encode(&mut writer, version)
        .map_err(|error| error.to_string())?;
    Ok(writer.into_bytes())
}

fn decode_all<M: Message>(bytes: Bytes, version: i16) -> Result<M, String> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version).map_err(|error| error.to_string())?;
    reader.finish().map_err(|error| error.to_string())?;
    Ok(message)
}

macro_rules! codecs {
    ($(($api:ident, $request:ident, $response:ident))*) => {
        vec![$(
            codec::<$request>(Some(ApiKey::$api)),
            codec::<$response>(Some(ApiKey::$api)),
        )*]
    };
}

/// Every message there is.
pub fn all() -> Vec<Codec> {
    let mut all: Vec<Codec> = alluvium_protocol::with_each_api!(codecs);
    all.push(codec::<RequestHeader>(None));
    all.push(codec::<ResponseHeader>(None));
    all.push(codec::<ConsumerProtocolSubscription>(None));
    all.push(codec::<ConsumerProtocolAssignment>(None));
    all
}
