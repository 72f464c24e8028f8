// SPDX-License-Identifier: MIT
'use strict';

// frames.js write|read NAME: two programs, in two languages if you like, on the same memory.  The
// first makes a region, the other waits for it by name and answers.  docs/languages.md has the same
// program for the other languages.

const { setTimeout } = require('node:timers/promises');
const iomem = require('..');

const TEXT = 64;
const ANSWER = 128;
const LENGTH = 64;

async function until(state, value) {
  while (Atomics.load(state, 0) !== value) await setTimeout(1);
}

function textAt(memory, offset) {
  const bytes = Buffer.from(memory, offset, LENGTH);
  return bytes.toString('utf8', 0, bytes.indexOf(0));
}

async function write(name) {
  const frames = await iomem.create(name, 4096, { fixed: true, ephemeral: true });
  const memory = frames.map();
  const state = new Uint32Array(memory, 0, 1);
  Buffer.from(memory).write('hello from Node.js', TEXT);
  Atomics.store(state, 0, 1);
  await until(state, 2);
  console.log(`Node.js is told: ${textAt(memory, ANSWER)}`);
}

async function read(name) {
  const frames = await iomem.open(name, { wait: 30000 });
  const memory = frames.map();
  const state = new Uint32Array(memory, 0, 1);
  await until(state, 1);
  console.log(`Node.js reads: ${textAt(memory, TEXT)}`);
  Buffer.from(memory).write('Node.js has read it', ANSWER);
  Atomics.store(state, 0, 2);
}

// Nobody needs to have the region open: its name goes when this process has ended.
async function keep(name) {
  (await iomem.create(name, 4096, { owner: 'process' })).close();
  console.log('Node.js keeps it');
  await setTimeout(60000);
}

const [role, name] = process.argv.slice(2);
const run = { write, read, keep }[role];
if (!run || !name) {
  console.error('usage: frames.js write|read|keep NAME');
  process.exit(2);
}
run(name).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
