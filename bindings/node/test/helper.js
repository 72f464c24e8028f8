// SPDX-License-Identifier: MIT
'use strict';

// Tests run on the mount that $IOMEMFS names, and leave nothing on it.

const assert = require('node:assert');
const fs = require('node:fs');
const { setTimeout } = require('node:timers/promises');
const iomem = require('..');

/** Milliseconds that a condition may take. */
const LIMIT = 30000;

/** Waits until condition() is true. */
async function eventually(condition, what) {
  const end = performance.now() + LIMIT;
  while (!(await condition())) {
    assert.ok(performance.now() < end, `not within ${LIMIT} ms: ${what}`);
    await setTimeout(5);
  }
}

async function names(directory) {
  return (await iomem.list(directory)).map((info) => info.name).sort();
}

async function leaveNothing() {
  for (const info of await iomem.list()) {
    if (!info.flags.includes('ephemeral')) await iomem.remove(info.name);
  }
  await eventually(async () => {
    global.gc();
    return (await names()).length === 0;
  }, 'an empty mount');
  for (const name of fs.readdirSync(iomem.mountPoint())) {
    fs.rmdirSync(`${iomem.mountPoint()}/${name}`);
  }
}

/** Whether the promise fails with that code, and words that match. */
function fails(promise, code, words = /./) {
  return assert.rejects(promise, (error) => {
    assert.strictEqual(error.code, code, error);
    assert.match(error.message, words);
    return true;
  });
}

module.exports = { LIMIT, eventually, fails, leaveNothing, names };
