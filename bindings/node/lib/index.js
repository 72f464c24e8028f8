// SPDX-License-Identifier: MIT
'use strict';

// Shared memory of an iomemfs.  What each function does is said in index.d.ts.

const mount = require('./mount.js');
const region = require('./region.js');
const waiting = require('./wait.js');
const { Events } = require('./events.js');

async function resize(name, size) {
  await mount.command('resize', name, size);
}

async function seal(name, ...seals) {
  await mount.command('seal', name, seals.join(','));
}

async function remove(name) {
  await mount.command('remove', name);
}

function events(directory) {
  return new Events(mount.pathOf(directory));
}

module.exports = {
  Region: region.Region,
  Events,
  anonymous: region.anonymous,
  create: region.create,
  events,
  list: mount.list,
  mountPoint: mount.mountPoint,
  open: region.open,
  remove,
  resize,
  seal,
  stat: mount.stat,
  wait: waiting.wait,
};
