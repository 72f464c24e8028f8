// SPDX-License-Identifier: MIT

//! JSON as far as the daemon writes it: objects, arrays, strings, and whole numbers.

use std::collections::HashMap;

const DEEPEST: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Number(i128),
    Text(Vec<u8>),
    List(Vec<Value>),
    Object(HashMap<String, Value>),
}

impl Value {
    pub fn number(&self) -> Option<i128> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.get(key),
            _ => None,
        }
    }
}

/// None if it is anything else.
pub fn parse(text: &[u8]) -> Option<Value> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    (parser.at == text.len()).then_some(value)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        while self.peek().map_or(false, |byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// The next one that is not a space, if it is this one.
    fn take(&mut self, expected: u8) -> Option<()> {
        self.skip_space();
        (self.next()? == expected).then_some(())
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        self.skip_space();
        match self.peek()? {
            _ if depth > DEEPEST => None,
            b'"' => Some(Value::Text(self.string()?)),
            b'[' => self.list(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        Some(Value::Number(digits.parse().ok()?))
    }

    /// Whether a list or an object that has begun goes on; None if it is malformed.
    fn goes_on(&mut self, end: u8, is_first: bool) -> Option<bool> {
        self.skip_space();
        if self.peek()? == end {
            self.at += 1;
            return Some(false);
        }
        if !is_first {
            self.take(b',')?;
        }
        Some(true)
    }

    fn list(&mut self, depth: u32) -> Option<Value> {
        let mut list = Vec::new();
        self.take(b'[')?;
        while self.goes_on(b']', list.is_empty())? {
            list.push(self.value(depth + 1)?);
        }
        Some(Value::List(list))
    }

    fn object(&mut self, depth: u32) -> Option<Value> {
        let mut members = HashMap::new();
        self.take(b'{')?;
        while self.goes_on(b'}', members.is_empty())? {
            self.skip_space();
            let key = String::from_utf8(self.string()?).ok()?;
            self.take(b':')?;
            members.insert(key, self.value(depth + 1)?);
        }
        Some(Value::Object(members))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        if self.next()? != b'"' {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => return Some(text),
                b'\\' => self.escape(&mut text)?,
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let byte = match self.next()? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => return self.unicode(text),
            byte @ (b'"' | b'\\' | b'/') => byte,
            _ => return None,
        };
        text.push(byte);
        Some(())
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn unicode(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let mut code = self.unit()?;
        if (0xd800..0xdc00).contains(&code) {
            if self.next()? != b'\\' || self.next()? != b'u' {
                return None;
            }
            code = 0x10000 + ((code - 0xd800) << 10) + self.unit()?.checked_sub(0xdc00)?;
        }
        let character = char::from_u32(code)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let value = parse(br#" {"a": [1, -2, "x"], "b": {}, "c" : []} "#).unwrap();
        let list = value.get("a").unwrap().list().unwrap();
        assert_eq!(list[1].number(), Some(-2));
        assert_eq!(list[2].text(), Some(&b"x"[..]));
        assert_eq!(value.get("c").unwrap().list(), Some(&[][..]));
        assert_eq!(value.get("d"), None);
    }

    #[test]
    fn strings_are_bytes() {
        let text = |source: &[u8]| parse(source).and_then(|value| value.text().map(<[u8]>::to_vec));
        assert_eq!(text(br#""a\u00e4\n\"""#).unwrap(), "aä\n\"".as_bytes());
        assert_eq!(text(br#""\ud83d\ude00""#).unwrap(), "😀".as_bytes());
    }

    #[test]
    fn what_is_malformed() {
        for source in [
            "",
            "{",
            "[1",
            "[1 2]",
            "[,]",
            "\"",
            "\"\\u12\"",
            "\"\\ud83d\"",
            "\"\\ud83d\\u0041\"",
            "1 2",
            "tru",
            "{\"a\" 1}",
            "\"\\x\"",
            "--1",
        ] {
            assert_eq!(parse(source.as_bytes()), None, "{source}");
        }
        assert_eq!(parse("[".repeat(100_000).as_bytes()), None);
    }
}
