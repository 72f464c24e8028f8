// SPDX-License-Identifier: MIT
'use strict';

// What happens to regions: lines of .ctl/events, understood.

const fs = require('node:fs');
const names = require('./names.js');
const addon = require('../build/Release/iomem.node');

const PIECE = 65536;
const KEYS = new Set(['size', 'seals', 'uid', 'pid', 'lost']);

function parse(line) {
  const [sequence, kind, name, ...pairs] = line.split(' ');
  const event = {
    sequence: Number(sequence),
    kind,
    name: name === '-' ? null : names.decode(names.unescape(name)),
  };
  for (const pair of pairs) {
    const [key, value] = pair.split('=');
    if (KEYS.has(key)) event[key] = Number(value);
  }
  return event;
}

/** See index.d.ts. */
class Events {
  #fd;
  #poller;
  #text = '';
  #waiting = [];

  constructor(directory) {
    const path = Buffer.concat([directory, Buffer.from('/.ctl/events')]);
    this.#fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      this.#poller = addon.pollNew(this.#fd, () => this.#receive());
    } catch (error) {
      fs.closeSync(this.#fd);
      throw error;
    }
  }

  get closed() {
    return this.#fd < 0;
  }

  /** Reads what there is, and gives it to those who wait. */
  #receive() {
    const piece = Buffer.alloc(PIECE);
    let failed;
    try {
      const length = fs.readSync(this.#fd, piece, 0, PIECE, null);
      this.#text += piece.latin1Slice(0, length);
    } catch (error) {
      if (error.code !== 'EAGAIN') failed = error;
    }
    while (this.#waiting.length > 0) {
      const event = failed ? undefined : this.#take();
      if (!failed && event === undefined) return;
      const one = this.#waiting.shift();
      clearTimeout(one.timer);
      if (failed) one.reject(failed);
      else one.resolve(event);
    }
    addon.pollStop(this.#poller);
  }

  /** The first whole line. */
  #take() {
    const end = this.#text.indexOf('\n');
    if (end < 0) return undefined;
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return parse(line);
  }

  #giveUp(one) {
    const at = this.#waiting.indexOf(one);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    if (this.#waiting.length === 0 && !this.closed) addon.pollStop(this.#poller);
    one.resolve(undefined);
  }

  get(timeout) {
    if (this.closed) return Promise.resolve(undefined);
    const event = this.#waiting.length === 0 ? this.#take() : undefined;
    if (event) return Promise.resolve(event);
    return new Promise((resolve, reject) => {
      const one = { resolve, reject, timer: undefined };
      if (timeout !== undefined && timeout !== null) {
        one.timer = setTimeout(() => this.#giveUp(one), timeout);
      }
      this.#waiting.push(one);
      try {
        addon.pollStart(this.#poller);
      } catch (error) {
        this.#giveUp(one);
        reject(error);
      }
    });
  }

  close() {
    if (this.closed) return;
    const fd = this.#fd;
    this.#fd = -1;
    addon.pollClose(this.#poller);
    for (const one of this.#waiting.splice(0)) {
      clearTimeout(one.timer);
      one.resolve(undefined);
    }
    // libuv stops looking at it at once.
    fs.closeSync(fd);
  }

  async next() {
    const value = await this.get();
    return value === undefined ? { value: undefined, done: true } : { value, done: false };
  }

  async return() {
    this.close();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

module.exports = { Events };
