//! D-Bus messages: method calls out, answers in. As much as asking a service for properties takes:
//! arguments are texts, and an answer is read value by value by whoever knows its signature.
//!
//! Any bytes end in values or in a [`WireError`]; a length is believed only within the message.

use super::WireError;

/// The specification's limit is 128 MiB; a list of 10,000 units has some 3 MiB.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Bytes before the header's fields.
const FIXED_BYTES: usize = 16;
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR_NAME: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

/// A method call; its arguments are texts.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub arguments: &'a [&'a str],
}

impl Call<'_> {
    /// Appends the message.
    pub fn write(&self, serial: u32, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for argument in self.arguments {
            write_text(&mut body, argument);
        }
        let start = out.len();
        out.extend_from_slice(&[b'l', METHOD_CALL, 0, 1]);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&serial.to_le_bytes());
        let mut fields = Vec::new();
        let texts = [
            (FIELD_PATH, b'o', self.path),
            (FIELD_INTERFACE, b's', self.interface),
            (FIELD_MEMBER, b's', self.member),
            (FIELD_DESTINATION, b's', self.destination),
        ];
        for (field, kind, text) in texts {
            align(&mut fields, 8);
            fields.extend_from_slice(&[field, 1, kind, 0]);
            write_text(&mut fields, text);
        }
        if !self.arguments.is_empty() {
            align(&mut fields, 8);
            let n_arguments = self.arguments.len();
            fields.extend_from_slice(&[FIELD_SIGNATURE, 1, b'g', 0, n_arguments as u8]);
            fields.extend(std::iter::repeat_n(b's', n_arguments));
            fields.push(0);
        }
        out.extend_from_slice(&(fields.len() as u32).to_le_bytes());
        // The fixed part has 16 bytes, so that the fields are aligned as they were built.
        out.extend_from_slice(&fields);
        while !(out.len() - start).is_multiple_of(8) {
            out.push(0);
        }
        out.extend_from_slice(&body);
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    align(out, 4);
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// The answer to a call, with its body.
    Answer { serial: u32, body: Reader<'a> },
    /// The refusal of a call, by the error's name.
    Refusal { serial: u32, name: &'a str },
    /// A signal or a call to us.
    Other,
}

/// The first message of the bytes, and how long it is; `None` when it is not whole yet.
///
/// # Errors
/// When the bytes are no D-Bus message, or one that is too large.
pub fn parse(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, WireError> {
    let Some(fixed) = bytes.get(..FIXED_BYTES) else {
        return Ok(None);
    };
    let is_little = match fixed[0] {
        b'l' => true,
        b'B' => false,
        _ => return Err(error(0, "no D-Bus message")),
    };
    let mut header = Reader {
        bytes: fixed,
        at: 4,
        is_little,
    };
    let body_bytes = header.u32()? as usize;
    let _serial = header.u32()?;
    let fields_bytes = header.u32()? as usize;
    if body_bytes > MAX_MESSAGE_BYTES || fields_bytes > MAX_MESSAGE_BYTES {
        return Err(error(4, "a D-Bus message of over 16 MiB"));
    }
    let body_at = (FIXED_BYTES + fields_bytes).next_multiple_of(8);
    let Some(whole) = bytes.get(..body_at + body_bytes) else {
        return Ok(None);
    };
    let mut fields = Reader {
        bytes: &whole[..FIXED_BYTES + fields_bytes],
        at: FIXED_BYTES,
        is_little,
    };
    let (mut serial, mut name) = (0, "");
    while fields.at < fields.bytes.len() {
        fields.align(8);
        match (fields.byte()?, fields.signature()?) {
            (FIELD_REPLY_SERIAL, "u") => serial = fields.u32()?,
            (FIELD_ERROR_NAME, "s") => name = fields.text()?,
            (_, "s" | "o") => {
                fields.text()?;
            }
            (_, "g") => {
                fields.signature()?;
            }
            (_, "u") => {
                fields.u32()?;
            }
            _ => return Err(error(fields.at, "an unknown field of a D-Bus header")),
        }
    }
    let body = Reader {
        bytes: &whole[body_at..],
        at: 0,
        is_little,
    };
    let message = match fixed[1] {
        METHOD_RETURN => Message::Answer { serial, body },
        ERROR => Message::Refusal { serial, name },
        _ => Message::Other,
    };
    Ok(Some((message, body_at + body_bytes)))
}

/// The values of a body, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_little: bool,
}

/// A value of which the message says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Bool(bool),
}

impl<'a> Reader<'a> {
    /// Moves to a multiple of `to`; structures begin at one of 8.
    pub fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    /// An array's end, so that [`is_before`](Self::is_before) says whether more elements follow.
    /// `alignment` is that of the elements.
    ///
    /// # Errors
    /// When the array does not end within the message.
    pub fn array(&mut self, alignment: usize) -> Result<usize, WireError> {
        let length = self.u32()? as usize;
        self.align(alignment);
        let end = self.at.saturating_add(length);
        if end > self.bytes.len() {
            return Err(error(self.at, "an array longer than its message"));
        }
        Ok(end)
    }

    /// Whether the reader has not come to an array's end.
    #[must_use]
    pub fn is_before(&self, end: usize) -> bool {
        self.at < end
    }

    /// A text or an object path.
    ///
    /// # Errors
    /// When there is none.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// When there is none.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.align(4);
        let bytes = self.take::<4>()?;
        Ok(match self.is_little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }

    /// The value of a variant: texts, booleans and numbers that are not negative.
    ///
    /// # Errors
    /// When it is something else or cut.
    pub fn variant(&mut self) -> Result<Value<'a>, WireError> {
        let at = self.at;
        Ok(match self.signature()? {
            "s" | "o" => Value::Text(self.text()?),
            "b" => Value::Bool(self.u32()? != 0),
            "u" => Value::Number(u64::from(self.u32()?)),
            "t" => Value::Number(self.u64()?),
            _ => return Err(error(at, "a value of another type than text or number")),
        })
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.align(8);
        let bytes = self.take::<8>()?;
        Ok(match self.is_little {
            true => u64::from_le_bytes(bytes),
            false => u64::from_be_bytes(bytes),
        })
    }

    fn signature(&mut self) -> Result<&'a str, WireError> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take::<1>()?[0])
    }

    /// A text of so many bytes, and the zero behind it.
    fn terminated(&mut self, length: usize) -> Result<&'a str, WireError> {
        let at = self.at;
        let end = at.saturating_add(length);
        let text = self.bytes.get(at..end).filter(|_| end < self.bytes.len());
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        self.at = end.saturating_add(1);
        text.ok_or_else(|| error(at, "a text that is cut or no text"))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.bytes.get(self.at..self.at.saturating_add(N));
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or_else(|| error(self.at, "a value that is cut"))?;
        self.at += N;
        Ok(bytes)
    }
}

fn error(offset: usize, what: &str) -> WireError {
    WireError {
        offset,
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to call 7 whose body is a variant and an array of one structure of two texts.
    fn answer() -> Vec<u8> {
        let mut body = vec![1, b't', 0];
        align(&mut body, 8);
        body.extend_from_slice(&42u64.to_le_bytes());
        let mut array = Vec::new();
        write_text(&mut array, "seat0");
        write_text(&mut array, "/path");
        body.extend_from_slice(&(array.len() as u32).to_le_bytes());
        align(&mut body, 8);
        body.extend(array);
        let mut out = vec![b'l', METHOD_RETURN, 0, 1];
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        let mut fields = vec![FIELD_REPLY_SERIAL, 1, b'u', 0];
        fields.extend_from_slice(&7u32.to_le_bytes());
        out.extend_from_slice(&(fields.len() as u32).to_le_bytes());
        out.extend(fields);
        align(&mut out, 8);
        out.extend(body);
        out
    }

    fn read(bytes: &[u8]) -> Result<(), WireError> {
        if let Some((Message::Answer { mut body, .. }, _)) = parse(bytes)? {
            body.variant()?;
            let end = body.array(8)?;
            while body.is_before(end) {
                body.align(8);
                body.text()?;
                body.text()?;
            }
        }
        Ok(())
    }

    #[test]
    fn an_answer_is_read_value_by_value() {
        let bytes = answer();
        let (message, length) = parse(&bytes).expect("valid").expect("whole");
        assert_eq!(length, bytes.len());
        let Message::Answer { serial, mut body } = message else {
            panic!("an answer");
        };
        assert_eq!(serial, 7);
        assert_eq!(body.variant(), Ok(Value::Number(42)));
        let end = body.array(8).expect("an array");
        assert!(body.is_before(end));
        assert_eq!((body.text(), body.text()), (Ok("seat0"), Ok("/path")));
        assert!(!body.is_before(end));
        assert!(body.text().is_err());
    }

    #[test]
    fn a_call_is_a_message() {
        let call = Call {
            destination: "org.example",
            path: "/org/example",
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &["org.example.Thing", "Version"],
        };
        let mut bytes = Vec::new();
        call.write(3, &mut bytes);
        let (message, length) = parse(&bytes).expect("valid").expect("whole");
        assert_eq!((message, length), (Message::Other, bytes.len()));
        assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None));
        assert!(parse(&[0; 16]).is_err());
    }

    #[test]
    fn cut_and_twisted_bytes_never_panic() {
        let bytes = answer();
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None));
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 8, b'B', 255] {
                let mut twisted = bytes.clone();
                twisted[at] = value;
                let _ = read(&twisted);
            }
        }
        assert_eq!(read(&bytes), Ok(()));
    }
}
