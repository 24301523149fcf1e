//! Reader: takes typed fields off a payload.

use thiserror::Error;

/// Why a field could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The payload ends before the field does.
    #[error("{what} needs {needed} bytes, {left} left")]
    Short {
        /// The field's type.
        what: &'static str,
        /// Bytes the whole field takes, a length prefix included.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A bool is neither 0 nor 1. (The original reads any value but 1 as false.)
    #[error("bool is {value}, must be 0 or 1")]
    BadBool {
        /// The byte found.
        value: u8,
    },
    /// A float is NaN or infinite. (The original reads it as 0.)
    #[error("{what} is not finite")]
    NotFinite {
        /// The field's type, `f32` or `f64`.
        what: &'static str,
    },
    /// A string is not UTF-8. (The original does not look.)
    #[error("string of {len} bytes is not utf-8 from byte {valid} on")]
    NotUtf8 {
        /// The string's length in bytes.
        len: usize,
        /// The leading bytes that are valid.
        valid: usize,
    },
}

/// A cursor over a payload. A read that fails leaves the cursor where it was ([`array`](Self::array)
/// excepted). Reads allocate nothing; strings and bytes borrow the payload.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// One method per integer type, all alike.
macro_rules! integers {
    ($($name:ident: $type:ty, $doc:literal;)*) => {$(
        #[doc = $doc]
        ///
        /// # Errors
        /// [`ReadError::Short`].
        #[inline]
        pub fn $name(&mut self) -> Result<$type, ReadError> {
            self.chunk(stringify!($name)).map(<$type>::from_be_bytes)
        }
    )*};
}

impl<'a> Reader<'a> {
    /// A reader at the start of `payload`.
    #[inline]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// Bytes not read yet.
    #[inline]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// True once everything is read.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left; the reader is then empty.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A bool: one byte, 0 or 1.
    ///
    /// # Errors
    /// [`ReadError::Short`], [`ReadError::BadBool`].
    #[inline]
    pub fn bool(&mut self) -> Result<bool, ReadError> {
        let (value, tail) = match self.rest {
            [] => return Err(ReadError::Short { what: "bool", needed: 1, left: 0 }),
            [0, tail @ ..] => (false, tail),
            [1, tail @ ..] => (true, tail),
            [value, ..] => return Err(ReadError::BadBool { value: *value }),
        };
        self.rest = tail;
        Ok(value)
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

    /// An unsigned integer of 3 bytes, 0 to 16,777,215.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    #[inline]
    pub fn u24(&mut self) -> Result<u32, ReadError> {
        let [a, b, c] = self.chunk("u24")?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// A signed integer of 3 bytes, -8,388,608 to 8,388,607. (The original loses the sign.)
    ///
    /// # Errors
    /// [`ReadError::Short`].
    #[inline]
    pub fn s24(&mut self) -> Result<i32, ReadError> {
        let [a, b, c] = self.chunk("s24")?;
        Ok(i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    /// A finite IEEE-754 number of 4 bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`], [`ReadError::NotFinite`].
    #[inline]
    pub fn f32(&mut self) -> Result<f32, ReadError> {
        let before = self.rest;
        let value = f32::from_be_bytes(self.chunk("f32")?);
        if value.is_finite() {
            return Ok(value);
        }
        self.rest = before;
        Err(ReadError::NotFinite { what: "f32" })
    }

    /// A finite IEEE-754 number of 8 bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`], [`ReadError::NotFinite`].
    #[inline]
    pub fn f64(&mut self) -> Result<f64, ReadError> {
        let before = self.rest;
        let value = f64::from_be_bytes(self.chunk("f64")?);
        if value.is_finite() {
            return Ok(value);
        }
        self.rest = before;
        Err(ReadError::NotFinite { what: "f64" })
    }

    /// A UTF-8 string after its length in bytes (u16).
    ///
    /// # Errors
    /// [`ReadError::Short`], [`ReadError::NotUtf8`].
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, ReadError> {
        let before = self.rest;
        let bytes = self.prefixed("string")?;
        std::str::from_utf8(bytes).map_err(|error| {
            self.rest = before;
            ReadError::NotUtf8 { len: bytes.len(), valid: error.valid_up_to() }
        })
    }

    /// Bytes after their length (u16).
    ///
    /// # Errors
    /// [`ReadError::Short`].
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], ReadError> {
        self.prefixed("bytes")
    }

    /// The count (u16) that stands before an array's elements.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    #[inline]
    pub fn count(&mut self) -> Result<usize, ReadError> {
        self.chunk("array count").map(|count| usize::from(u16::from_be_bytes(count)))
    }

    /// An array: its count (u16), then that many elements, each read by `element`. Memory is reserved for no
    /// more elements than bytes are left, whatever the count says.
    ///
    /// # Errors
    /// [`ReadError::Short`] and what `element` returns; the reader then stands at the element that failed.
    pub fn array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let count = self.count()?;
        let mut elements = Vec::with_capacity(count.min(self.left()));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// `len` bytes without a prefix.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    #[inline]
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let left = self.rest.len();
        let (head, tail) = self.rest.split_at_checked(len).ok_or(ReadError::Short {
            what: "raw bytes",
            needed: len,
            left,
        })?;
        self.rest = tail;
        Ok(head)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ReadError> {
        let left = self.rest.len();
        let (head, tail) =
            self.rest.split_first_chunk::<N>().ok_or(ReadError::Short { what, needed: N, left })?;
        self.rest = tail;
        Ok(*head)
    }

    #[inline]
    fn prefixed(&mut self, what: &'static str) -> Result<&'a [u8], ReadError> {
        let left = self.rest.len();
        let (len, tail) =
            self.rest.split_first_chunk::<2>().ok_or(ReadError::Short { what, needed: 2, left })?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (head, tail) =
            tail.split_at_checked(len).ok_or(ReadError::Short { what, needed: 2 + len, left })?;
        self.rest = tail;
        Ok(head)
    }
}
