//! Writer: puts typed fields into a payload.

use thiserror::Error;

/// The most bytes a string or byte field, and the most elements an array, can have: their length is a u16.
pub const MAX_LEN: usize = 65_535;

/// Why a value cannot be written. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The value is longer than its length field can say. (The original writes a wrong length.)
    #[error("{what} of length {len} is above {max}")]
    TooLong {
        /// The field's type.
        what: &'static str,
        /// Its length: bytes, or elements of an array.
        len: usize,
        /// The longest possible.
        max: usize,
    },
    /// The number does not fit in the field.
    #[error("{what} {value} is outside {min}..={max}")]
    OutOfRange {
        /// The field's type.
        what: &'static str,
        /// The value given.
        value: i64,
        /// The smallest possible.
        min: i64,
        /// The largest possible.
        max: i64,
    },
    /// A float is NaN or infinite, which no reader accepts.
    #[error("{what} is not finite")]
    NotFinite {
        /// The field's type, `f32` or `f64`.
        what: &'static str,
    },
}

/// A payload under construction. Every method returns the writer, so that calls chain; a write that fails
/// leaves the bytes as they were.
///
/// ```
/// use hotseat_packet::Writer;
///
/// let mut writer = Writer::new();
/// writer.s32(-1).u8(7).string("hi")?.bool(true);
/// assert_eq!(writer.into_bytes(), [255, 255, 255, 255, 7, 0, 2, b'h', b'i', 1]);
/// # Ok::<(), hotseat_packet::WriteError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Writer {
    out: Vec<u8>,
}

/// One method per integer type, all alike.
macro_rules! integers {
    ($($name:ident: $type:ty, $doc:literal;)*) => {$(
        #[doc = $doc]
        #[inline]
        pub fn $name(&mut self, value: $type) -> &mut Self {
            self.raw(&value.to_be_bytes())
        }
    )*};
}

impl Writer {
    /// An empty writer; allocates at the first write.
    #[inline]
    pub const fn new() -> Self {
        Self { out: Vec::new() }
    }

    /// An empty writer with room for `bytes` bytes.
    #[inline]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// What has been written.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// What has been written, without a copy.
    #[inline]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Bytes written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True while nothing is written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Forgets what was written and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// A bool: one byte, 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    integers! {
        u8: u8, "One unsigned byte.";
        s8: i8, "One signed byte.";
        u16: u16, "An unsigned integer of 2 bytes.";
        s16: i16, "A signed integer of 2 bytes.";
        u32: u32, "An unsigned integer of 4 bytes.";
        s32: i32, "A signed integer of 4 bytes.";
        u64: u64, "An unsigned integer of 8 bytes.";
        s64: i64, "A signed integer of 8 bytes.";
    }

    /// An unsigned integer of 3 bytes.
    ///
    /// # Errors
    /// [`WriteError::OutOfRange`] above 16,777,215.
    #[inline]
    pub fn u24(&mut self, value: u32) -> Result<&mut Self, WriteError> {
        const MAX: u32 = (1 << 24) - 1;
        if value > MAX {
            return Err(WriteError::OutOfRange { what: "u24", value: value.into(), min: 0, max: MAX.into() });
        }
        let [_, a, b, c] = value.to_be_bytes();
        Ok(self.raw(&[a, b, c]))
    }

    /// A signed integer of 3 bytes.
    ///
    /// # Errors
    /// [`WriteError::OutOfRange`] outside -8,388,608 to 8,388,607.
    #[inline]
    pub fn s24(&mut self, value: i32) -> Result<&mut Self, WriteError> {
        const MIN: i32 = -(1 << 23);
        const MAX: i32 = (1 << 23) - 1;
        if !(MIN..=MAX).contains(&value) {
            let (min, max) = (MIN.into(), MAX.into());
            return Err(WriteError::OutOfRange { what: "s24", value: value.into(), min, max });
        }
        let [_, a, b, c] = value.to_be_bytes();
        Ok(self.raw(&[a, b, c]))
    }

    /// A finite IEEE-754 number of 4 bytes.
    ///
    /// # Errors
    /// [`WriteError::NotFinite`].
    #[inline]
    pub fn f32(&mut self, value: f32) -> Result<&mut Self, WriteError> {
        if !value.is_finite() {
            return Err(WriteError::NotFinite { what: "f32" });
        }
        Ok(self.raw(&value.to_be_bytes()))
    }

    /// A finite IEEE-754 number of 8 bytes.
    ///
    /// # Errors
    /// [`WriteError::NotFinite`].
    #[inline]
    pub fn f64(&mut self, value: f64) -> Result<&mut Self, WriteError> {
        if !value.is_finite() {
            return Err(WriteError::NotFinite { what: "f64" });
        }
        Ok(self.raw(&value.to_be_bytes()))
    }

    /// A string after its length in bytes (u16).
    ///
    /// # Errors
    /// [`WriteError::TooLong`] above [`MAX_LEN`] bytes.
    #[inline]
    pub fn string(&mut self, value: &str) -> Result<&mut Self, WriteError> {
        Ok(self.length("string", value.len())?.raw(value.as_bytes()))
    }

    /// Bytes after their length (u16).
    ///
    /// # Errors
    /// [`WriteError::TooLong`] above [`MAX_LEN`] bytes.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) -> Result<&mut Self, WriteError> {
        Ok(self.length("bytes", value.len())?.raw(value))
    }

    /// The count (u16) that stands before an array's elements; writing those is up to the caller.
    ///
    /// # Errors
    /// [`WriteError::TooLong`] above [`MAX_LEN`] elements.
    #[inline]
    pub fn count(&mut self, elements: usize) -> Result<&mut Self, WriteError> {
        self.length("array", elements)
    }

    /// An array: its count (u16), then every element, written by `element`.
    ///
    /// # Errors
    /// [`WriteError::TooLong`] above [`MAX_LEN`] elements, and what `element` returns; nothing of the array is
    /// then written.
    pub fn array<T>(
        &mut self,
        elements: &[T],
        mut element: impl FnMut(&mut Self, &T) -> Result<(), WriteError>,
    ) -> Result<&mut Self, WriteError> {
        let start = self.out.len();
        self.count(elements.len())?;
        for item in elements {
            if let Err(error) = element(self, item) {
                self.out.truncate(start);
                return Err(error);
            }
        }
        Ok(self)
    }

    /// Bytes without a prefix.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// `len` zero bytes without a prefix.
    #[inline]
    pub fn zeros(&mut self, len: usize) -> &mut Self {
        self.out.resize(self.out.len() + len, 0);
        self
    }

    #[inline]
    fn length(&mut self, what: &'static str, len: usize) -> Result<&mut Self, WriteError> {
        let prefix = u16::try_from(len).map_err(|_| WriteError::TooLong { what, len, max: MAX_LEN })?;
        Ok(self.u16(prefix))
    }
}

/// Goes on after the bytes already in the vector, in its memory.
impl From<Vec<u8>> for Writer {
    fn from(out: Vec<u8>) -> Self {
        Self { out }
    }
}
