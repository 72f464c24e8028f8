// SPDX-License-Identifier: MIT
'use strict';

// Names of regions are bytes.  In strings they are UTF-8; a byte that is not is one of the lone
// surrogates \udc80 to \udcff, as in Python.

const ESCAPED = new Set([0x20, 0x5c, 0x7f]);
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bytes of a name. */
function encode(name) {
  if (typeof name !== 'string') throw new TypeError('a name is a string');
  if (!/[\ud800-\udfff]/.test(name)) return Buffer.from(name);
  const parts = [];
  for (const character of name) {
    const code = character.codePointAt(0);
    const isByte = code >= 0xdc80 && code <= 0xdcff;
    parts.push(isByte ? Buffer.from([code - 0xdc00]) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

function decodeOne(bytes, at) {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    try {
      return [strict.decode(bytes.subarray(at, at + length)), length];
    } catch {
      // Perhaps with one more byte.
    }
  }
  return [String.fromCharCode(0xdc00 + bytes[at]), 1];
}

/** The string for the bytes of a name. */
function decode(bytes) {
  try {
    return strict.decode(bytes);
  } catch {
    let name = '';
    for (let at = 0; at < bytes.length; ) {
      const [character, length] = decodeOne(bytes, at);
      name += character;
      at += length;
    }
    return name;
  }
}

/** As commands have them: \040 for a space. */
function escape(bytes) {
  let text = '';
  for (const byte of bytes) {
    const special = byte < 0x20 || ESCAPED.has(byte);
    text += special ? `\\${byte.toString(8).padStart(3, '0')}` : String.fromCharCode(byte);
  }
  return Buffer.from(text, 'latin1');
}

/** The bytes behind the escapes of an event; text is latin1. */
function unescape(text) {
  const plain = text.replace(/\\([0-7]{3})/g, (_, digits) =>
    String.fromCharCode(parseInt(digits, 8)),
  );
  return Buffer.from(plain, 'latin1');
}

module.exports = { encode, decode, escape, unescape };
