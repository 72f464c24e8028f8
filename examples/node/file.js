// SPDX-License-Identifier: MIT
'use strict';

// A region from Node.js, by position: Node.js cannot map a file without an addon.

const fs = require('fs');

const mount = process.env.IOMEMFS || '/mnt/mem';
const path = `${mount}/example-node`;

fs.writeFileSync(`${mount}/.ctl/create`, 'example-node 4096\n', { flag: 'r+' });
try {
  const writer = fs.openSync(path, 'r+');
  const reader = fs.openSync(path, 'r');
  fs.writeSync(writer, 'hello from Node.js', 1024);
  const again = Buffer.alloc(18);
  fs.readSync(reader, again, 0, 18, 1024);
  console.log(`another descriptor sees: ${again.toString()}`);
  fs.closeSync(writer);
  fs.closeSync(reader);
} finally {
  fs.unlinkSync(path);
}
