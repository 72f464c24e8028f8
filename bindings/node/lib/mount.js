// SPDX-License-Identifier: MIT
'use strict';

// The mount, by the files of its .ctl.

const fs = require('node:fs');
const os = require('node:os');
const names = require('./names.js');
const addon = require('../build/Release/iomem.node');

const DEFAULT = '/mnt/mem';

/** An Error as those of node:fs, with the daemon's words. */
function systemError(code, reason, name) {
  const error = new Error(name === undefined ? `${code}: ${reason}` : `${code}: ${reason}, '${name}'`);
  error.code = code;
  error.errno = -os.constants.errno[code];
  if (name !== undefined) error.path = name;
  return error;
}

/** The words of an error of node:fs. */
function wordsOf(error) {
  const words = error.message.match(/^[A-Z0-9]+: ([^,]*)/);
  return words ? words[1] : error.message;
}

/** The same error, about a region in place of a path. */
function about(error, name) {
  return error.code ? systemError(error.code, wordsOf(error), name) : error;
}

/** The directory that names are relative to: $IOMEMFS or /mnt/mem.  ENODEV if there is no iomemfs. */
function mountPoint() {
  const path = process.env.IOMEMFS || DEFAULT;
  if (!fs.existsSync(`${path}/.ctl/create`)) {
    throw systemError('ENODEV', 'no iomemfs is mounted there', path);
  }
  return path;
}

/** The path of a region's file as bytes; of the mount itself for undefined. */
function pathOf(name) {
  const mount = Buffer.from(mountPoint());
  if (name === undefined || name === null) return mount;
  const bytes = names.encode(name);
  if (bytes.includes(0)) throw new TypeError('a name cannot have a NUL byte');
  if (name.split('/').some((part) => ['', '.', '..', '.ctl'].includes(part))) {
    throw systemError('EINVAL', 'not a path below the mount', name);
  }
  return Buffer.concat([mount, Buffer.from('/'), bytes]);
}

/** What the daemon says of the last error is read from the same open file. */
async function reasonOf(file, error, name) {
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(512), 0, 512, 0);
    const text = names.decode(buffer.subarray(0, bytesRead)).trim();
    if (text) return text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text;
  } catch {
    // Then what the error says by itself.
  }
  return wordsOf(error);
}

/** Carries out a command in one write(2). */
async function command(verb, name, ...words) {
  const mount = mountPoint();
  pathOf(name);
  const rest = words.map((word) => ` ${word}`).join('');
  const line = Buffer.concat([names.escape(names.encode(name)), Buffer.from(`${rest}\n`)]);
  const file = await fs.promises.open(`${mount}/.ctl/${verb}`, 'r+');
  try {
    await file.write(line, 0, line.length);
  } catch (error) {
    throw systemError(error.code, await reasonOf(file, error, name), name);
  } finally {
    await file.close();
  }
}

/** JSON has no bytes that are not UTF-8: such a name is there a second time, escaped. */
function nameIn(members, key) {
  const escaped = members[`${key}_escaped`];
  if (escaped === undefined) return members[key];
  return names.decode(names.unescape(Buffer.from(escaped).toString('latin1')));
}

function info(members) {
  return {
    name: nameIn(members, 'name'),
    size: members.size,
    allocated: members.allocated,
    huge: members.huge,
    mode: parseInt(members.mode, 8),
    uid: members.uid,
    gid: members.gid,
    inode: members.inode,
    links: members.links,
    refs: members.refs,
    writers: members.writers,
    flags: members.flags,
    seals: members.seals,
    created: new Date(members.created),
    creatorUid: members.creator_uid,
    creatorPid: members.creator_pid,
    creatorCommand: nameIn(members, 'creator_command'),
  };
}

async function list(directory) {
  const path = Buffer.concat([pathOf(directory), Buffer.from('/.ctl/regions.json')]);
  const text = await fs.promises.readFile(path, 'utf8');
  return JSON.parse(text).regions.map(info);
}

async function stat(name) {
  const path = pathOf(name);
  let text;
  try {
    const found = await fs.promises.lstat(path);
    if (!found.isFile()) throw systemError('EINVAL', 'not a region', name);
    text = addon.attribute(path);
  } catch (error) {
    throw about(error, name);
  }
  if (text !== undefined) return { ...info(JSON.parse(text)), name };
  // The mount has xattr=off.
  const slash = name.lastIndexOf('/');
  const last = name.slice(slash + 1);
  const all = await list(slash < 0 ? undefined : name.slice(0, slash));
  const found = all.find((region) => region.name === last);
  if (!found) throw systemError('ENOENT', 'no such file or directory', name);
  return { ...found, name };
}

module.exports = { about, command, list, mountPoint, pathOf, stat, systemError };
