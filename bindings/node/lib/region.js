// SPDX-License-Identifier: MIT
'use strict';

// A region in a program's hands: a descriptor, and its mapping.

const fs = require('node:fs');
const { promisify } = require('node:util');
const mount = require('./mount.js');
const waiting = require('./wait.js');
const addon = require('../build/Release/iomem.node');

const ATTEMPTS = 100;
const openFd = promisify(fs.open);

// A region that nobody closed is closed when it is collected.
const forgotten = new FinalizationRegistry((state) => closeState(state));

function closeState(state) {
  const fd = state.fd;
  state.fd = -1;
  if (fd >= 0) fs.closeSync(fd);
}

/** See index.d.ts. */
class Region {
  #state;
  #name;
  #writable;
  #buffer;

  constructor(fd, name, writable) {
    this.#state = { fd };
    this.#name = name;
    this.#writable = writable;
    forgotten.register(this, this.#state, this.#state);
  }

  static fromFd(fd) {
    const mode = addon.openFlags(fd) & 3;
    return new Region(fd, null, mode === fs.constants.O_RDWR);
  }

  get name() {
    return this.#name;
  }

  get fd() {
    return this.#state.fd;
  }

  get writable() {
    return this.#writable;
  }

  get closed() {
    return this.#state.fd < 0;
  }

  get size() {
    this.#check();
    return fs.fstatSync(this.#state.fd).size;
  }

  map() {
    if (this.#buffer === undefined) {
      const size = this.size;
      this.#buffer =
        size === 0 ? new ArrayBuffer(0) : addon.map(this.#state.fd, size, this.#writable);
    }
    return this.#buffer;
  }

  remap() {
    this.#buffer = undefined;
    return this.map();
  }

  unmap() {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (buffer !== undefined && buffer.byteLength > 0) addon.detach(buffer);
  }

  close() {
    this.#buffer = undefined;
    forgotten.unregister(this.#state);
    closeState(this.#state);
  }

  #check() {
    if (this.closed) throw mount.systemError('EBADF', 'the region is closed', this.#name ?? undefined);
  }
}

// `using region = ...`, where there is such a thing.
if (Symbol.dispose) Region.prototype[Symbol.dispose] = Region.prototype.close;

function wordsOf(options) {
  const { mode, fixed, ephemeral, populate, huge, owner } = options;
  const words = [];
  if (mode !== undefined) words.push(`mode=${mode.toString(8)}`);
  if (fixed) words.push('fixed');
  if (ephemeral) words.push('ephemeral');
  if (populate) words.push('populate');
  if (huge) words.push('huge');
  if (owner !== undefined) words.push(`owner=${owner}`);
  return words;
}

function checkSize(size) {
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new RangeError('a size is a whole number of bytes, 0 or more');
  }
}

async function openOnly(name, write) {
  const { O_RDONLY, O_RDWR } = fs.constants;
  try {
    const fd = await openFd(mount.pathOf(name), write ? O_RDWR : O_RDONLY);
    return new Region(fd, name, write);
  } catch (error) {
    throw mount.about(error, name);
  }
}

async function openMade(name, options) {
  try {
    return await openOnly(name, true);
  } catch (error) {
    // Made with a mode that forbids its maker to write.
    if (error.code !== 'EACCES' || options.mode === undefined) throw error;
    return openOnly(name, false);
  }
}

async function create(name, size, options = {}) {
  checkSize(size);
  for (let left = options.ephemeral ? ATTEMPTS : 1; ; left--) {
    await mount.command('create', name, size, ...wordsOf(options));
    try {
      return await openMade(name, options);
    } catch (error) {
      // Whoever opened an ephemeral region in between and closed it again was its last user: it is gone.
      if (error.code !== 'ENOENT' || left <= 1) throw error;
    }
  }
}

async function open(name, { write = true, wait = false, signal } = {}) {
  if (wait !== false) {
    await waiting.wait(name, { timeout: wait === true ? undefined : wait, signal });
  }
  return openOnly(name, write);
}

function anonymous(size, { fixed = false } = {}) {
  checkSize(size);
  return new Region(addon.memfd(size, fixed), null, true);
}

module.exports = { Region, create, open, anonymous };
