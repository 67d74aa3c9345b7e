//! Serializers of the application's own, used instead of a built-in format.

use erased_serde::{Deserializer, Serialize};

use crate::error::{BoxError, Error, ErrorKind, Result};

/// A format of the application's own, for [`Codec::custom`](crate::Codec::custom): CBOR, for example, or a format
/// that another program already writes.
///
/// ```
/// use nearcache::erased_serde::{Deserializer, Error, Serialize};
/// use nearcache::{BoxError, Cache, Codec, Serializer};
///
/// /// JSON, for people to read.
/// struct Pretty;
///
/// impl Serializer for Pretty {
///     fn name(&self) -> &str {
///         "pretty"
///     }
///
///     fn encode(&self, value: &dyn Serialize, out: &mut Vec<u8>) -> Result<(), BoxError> {
///         Ok(serde_json::to_writer_pretty(out, value)?)
///     }
///
///     fn decode<'b>(
///         &self,
///         bytes: &'b [u8],
///         read: &mut dyn FnMut(&mut dyn Deserializer<'b>) -> Result<(), Error>,
///     ) -> Result<(), BoxError> {
///         let mut json = serde_json::Deserializer::from_slice(bytes);
///         read(&mut <dyn Deserializer<'_>>::erase(&mut json))?;
///         Ok(json.end()?)
///     }
/// }
///
/// # async fn example() -> nearcache::Result<()> {
/// let cache = Cache::builder("memory://").codec(Codec::custom(Pretty)).build()?;
/// cache.set("point", &vec![1, 2]).await?; // lies in Redis as "[\n  1,\n  2\n]"
/// assert_eq!(cache.get("point").await?, Some(vec![1, 2]));
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
pub trait Serializer: Send + Sync + 'static {
    /// The name of the format in messages and in `Debug`.
    fn name(&self) -> &str;

    /// Appends the bytes of a value.
    ///
    /// # Errors
    /// Any reason why the value cannot be encoded. It becomes the source of an
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec).
    fn encode(&self, value: &dyn Serialize, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Makes a deserializer for the bytes and calls `read` with it, once. It must refuse bytes that it did not write,
    /// and bytes that are left over after the value, because an entry may contain anything.
    ///
    /// # Errors
    /// What is wrong with the bytes. The call that reads them is a miss.
    fn decode<'b>(
        &self,
        bytes: &'b [u8],
        read: &mut dyn FnMut(&mut dyn Deserializer<'b>) -> Result<(), erased_serde::Error>,
    ) -> Result<(), BoxError>;
}

pub(super) fn write<T: serde::Serialize + ?Sized>(
    serializer: &dyn Serializer,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<()> {
    serializer
        .encode(&value, out)
        .map_err(|error| failed(serializer, error))
}

pub(super) fn read<T: serde::de::DeserializeOwned>(
    serializer: &dyn Serializer,
    bytes: &[u8],
) -> Result<T> {
    let mut value = None;
    let mut read = |from: &mut dyn Deserializer<'_>| {
        value = Some(erased_serde::deserialize(from)?);
        Ok(())
    };
    serializer
        .decode(bytes, &mut read)
        .map_err(|error| failed(serializer, error))?;
    value.ok_or_else(|| failed(serializer, "it read nothing".into()))
}

/// The serializer's own message may quote the data, so it is the source of the error and not part of its text.
fn failed(serializer: &dyn Serializer, error: BoxError) -> Error {
    Error::new(ErrorKind::Codec, format!("as {}", serializer.name())).caused_by(error)
}
