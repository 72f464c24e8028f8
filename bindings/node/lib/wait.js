// SPDX-License-Identifier: MIT
'use strict';

// Waiting until there is a region of a name.

const fs = require('node:fs');
const timers = require('node:timers/promises');
const mount = require('./mount.js');
const { Events } = require('./events.js');

const PAUSE_FIRST = 1;
const PAUSE_LONGEST = 50;
// Events tell of regions; this is for what they do not tell, such as directories.
const PAUSE_WITH_EVENTS = 500;

async function isRegion(path, name) {
  try {
    if ((await fs.promises.stat(path)).isDirectory()) {
      throw mount.systemError('EISDIR', 'illegal operation on a directory', name);
    }
    return true;
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
    throw error;
  }
}

/** Events of the directory that the name is to be in; undefined if there is none yet. */
function eventsBeside(path) {
  try {
    return new Events(path.subarray(0, path.lastIndexOf('/')));
  } catch {
    return undefined;
  }
}

async function untilThere(path, name, end, state, signal) {
  let pause = PAUSE_FIRST;
  while (!(await isRegion(path, name))) {
    const left = end - performance.now();
    if (left <= 0) throw mount.systemError('ETIMEDOUT', 'did not appear in time', name);
    signal?.throwIfAborted();
    if (state.events) {
      await state.events.get(Math.min(left, PAUSE_WITH_EVENTS));
    } else {
      await timers.setTimeout(Math.min(left, pause), undefined, { signal });
      pause = Math.min(2 * pause, PAUSE_LONGEST);
      state.events = eventsBeside(path);
    }
  }
}

async function wait(name, { timeout, signal } = {}) {
  signal?.throwIfAborted();
  const path = mount.pathOf(name);
  const end = timeout === undefined ? Infinity : performance.now() + timeout;
  const state = { events: eventsBeside(path) };
  // Whoever waits for an event then is woken.
  const stop = () => state.events?.close();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await untilThere(path, name, end, state, signal);
  } finally {
    signal?.removeEventListener('abort', stop);
    state.events?.close();
  }
}

module.exports = { wait };
