// SPDX-License-Identifier: MIT
'use strict';

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const { afterEach, test } = require('node:test');
const { Worker } = require('node:worker_threads');
const iomem = require('..');
const { LIMIT, eventually, fails, leaveNothing, names } = require('./helper.js');

afterEach(leaveNothing);

/** The kernel tells a FUSE daemon the thread, which is one of Node.js's pool. */
function isOurs(pid) {
  return fs.existsSync(`/proc/self/task/${pid}`);
}

test('a region is made, opened, mapped', async () => {
  const made = await iomem.create('frames', 10000, { mode: 0o640, fixed: true });
  Buffer.from(made.map()).write('seen', 9996);
  const opened = await iomem.open('frames');
  assert.strictEqual(Buffer.from(opened.map()).toString('latin1', 9996), 'seen');
  assert.deepStrictEqual([opened.size, opened.name, opened.writable], [10000, 'frames', true]);
  const info = await iomem.stat('frames');
  assert.deepStrictEqual([info.size, info.mode, info.flags], [10000, 0o640, ['fixed']]);
  assert.deepStrictEqual(info.seals, ['shrink', 'grow']);
  assert.ok(isOurs(info.creatorPid));
  assert.ok(Math.abs(Date.now() - info.created.getTime()) < 300000);
  assert.deepStrictEqual(info, { ...(await iomem.list())[0] });
  await fails(iomem.resize('frames', 1), 'EPERM', /fixed/);
  made.close();
  made.close();
  assert.ok(made.closed);
  assert.throws(() => made.size, { code: 'EBADF' });
  opened.close();
});

test('reading only: stores are private', async () => {
  const writer = await iomem.create('a', 8192);
  const shared = new Uint8Array(writer.map());
  const reader = await iomem.open('a', { write: false });
  const seen = new Uint8Array(reader.map());
  shared[5000] = 1;
  assert.strictEqual(seen[5000], 1);
  seen[0] = 9;
  assert.strictEqual(shared[0], 0);
  assert.throws(() => fs.writeSync(reader.fd, 'x'), { code: 'EBADF' });
  assert.strictEqual(reader.writable, false);
  writer.close();
  reader.close();
});

test('a mode that forbids its maker to write', async () => {
  const region = await iomem.create('a', 4096, { mode: 0o444 });
  assert.strictEqual(region.map().byteLength, 4096);
  region.close();
});

test('size 0, and mapping again', async () => {
  const region = await iomem.create('a', 0);
  assert.strictEqual(region.map().byteLength, 0);
  region.unmap();
  await iomem.resize('a', 8192);
  assert.strictEqual(region.map().byteLength, 8192);
  await iomem.resize('a', 16384);
  assert.strictEqual(region.map().byteLength, 8192);
  assert.strictEqual(region.remap().byteLength, 16384);
  region.close();
});

test('resize, seal, remove, populate', async () => {
  (await iomem.create('a', 4096)).close();
  await iomem.resize('a', 8192);
  await iomem.seal('a', 'shrink', 'write');
  const info = await iomem.stat('a');
  assert.deepStrictEqual([info.size, info.seals], [8192, ['shrink', 'write']]);
  await fails(iomem.resize('a', 1), 'EPERM', /sealed/);
  await fails(iomem.seal('a', 'thaw'), 'EINVAL', /seals are/);
  await iomem.remove('a');
  for (const call of [iomem.remove, iomem.stat, iomem.open]) {
    await fails(call('a'), 'ENOENT', /'a'/);
  }
  (await iomem.create('b', 65536, { populate: true })).close();
  assert.strictEqual((await iomem.stat('b')).allocated, 65536);
});

test('owner', async () => {
  (await iomem.create('c', 4096, { owner: 'process' })).close();
  (await iomem.open('c')).close();
  assert.deepStrictEqual((await iomem.stat('c')).flags, ['owner=process']);
  await iomem.remove('c');
});

test('what the daemon says is shown', async () => {
  (await iomem.create('a', 4096)).close();
  await fails(iomem.create('a', 4096), 'EEXIST', /exists already/);
  await fails(iomem.create('b', 1, { mode: 0o7777 }), 'EINVAL', /mode=/);
  await fails(iomem.create('b', 1, { owner: 'nobody' }), 'EINVAL', /owner=nobody/);
  await fails(iomem.create('b', 1, { owner: 'process', ephemeral: true }), 'EINVAL', /exclude/);
  await fails(iomem.create('b', 2 ** 31), 'ENOSPC', /size=/);
  await assert.rejects(iomem.create('b', -1), RangeError);
  await assert.rejects(iomem.create('b', 1.5), RangeError);
  assert.deepStrictEqual(await names(), ['a']);
});

test('names', async () => {
  const strange = ['with space', 'tab\tnew\nline', 'back\\slash', 'häßlich', '\udcff\udcfe', '-', 'a: b', '😀'];
  for (const name of strange) {
    (await iomem.create(name, 1)).close();
    assert.strictEqual((await iomem.stat(name)).name, name);
  }
  assert.deepStrictEqual(await names(), [...strange].sort());
  for (const name of ['', '/a', 'a/', 'a//b', '..', 'a/../b', '.ctl', '.ctl/create']) {
    await fails(iomem.create(name, 1), 'EINVAL');
    await fails(iomem.open(name), 'EINVAL');
  }
  await assert.rejects(iomem.open('a\0b'), TypeError);
  await assert.rejects(iomem.open(5), TypeError);
});

test('directories', async () => {
  fs.mkdirSync(`${iomem.mountPoint()}/d`);
  (await iomem.create('d/a', 1)).close();
  (await iomem.create('b', 1)).close();
  assert.deepStrictEqual(await names(), ['b', 'd/a']);
  assert.deepStrictEqual(await names('d'), ['a']);
  assert.strictEqual((await iomem.stat('d/a')).name, 'd/a');
  await fails(iomem.wait('d', { timeout: 1000 }), 'EISDIR');
  await fails(iomem.stat('d'), 'EINVAL');
});

test('waiting', async () => {
  await fails(iomem.open('late', { wait: 50 }), 'ETIMEDOUT', /late/);
  const waiting = iomem.open('late', { wait: LIMIT });
  const early = await iomem.create('early', 4096);
  Buffer.from(early.map()).write('here');
  fs.renameSync(`${iomem.mountPoint()}/early`, `${iomem.mountPoint()}/late`);
  const late = await waiting;
  assert.strictEqual(Buffer.from(late.map()).toString('latin1', 0, 4), 'here');
  await iomem.wait('late');
  late.close();
  early.close();
});

test('waiting for what is below a directory that is not there yet', async () => {
  const waiting = iomem.open('d/late', { wait: true });
  fs.mkdirSync(`${iomem.mountPoint()}/d`);
  (await iomem.create('d/late', 5)).close();
  const late = await waiting;
  assert.strictEqual(late.size, 5);
  late.close();
});

test('waiting is given up', async () => {
  const controller = new AbortController();
  const waiting = iomem.wait('never', { signal: controller.signal });
  setImmediate(() => controller.abort());
  await assert.rejects(waiting, { name: 'AbortError' });
  await assert.rejects(iomem.wait('never', { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('events', async () => {
  const events = iomem.events();
  assert.strictEqual(await events.get(0), undefined);
  (await iomem.create('a b', 4096)).close();
  await iomem.resize('a b', 8192);
  await iomem.remove('a b');
  const seen = [];
  for await (const event of events) {
    seen.push(event);
    if (event.kind === 'remove') break;
  }
  assert.ok(events.closed);
  assert.deepStrictEqual(
    seen.filter((event) => event.kind !== 'last-close').map((event) => event.kind),
    ['create', 'resize', 'remove'],
  );
  assert.ok(seen.every((event) => event.name === 'a b'));
  assert.strictEqual(seen[0].size, 4096);
  assert.ok(isOurs(seen[0].pid));
  assert.strictEqual(await events.get(), undefined);
  assert.throws(() => iomem.events('none'), { code: 'ENOENT' });
});

test('several wait for events of one reader', async () => {
  const events = iomem.events();
  const all = [events.get(LIMIT), events.get(LIMIT), events.get(20)];
  assert.strictEqual(await all[2], undefined);
  (await iomem.create('a', 1)).close();
  (await iomem.create('b', 1)).close();
  assert.strictEqual((await all[0]).name, 'a');
  assert.ok(await all[1]);
  const last = events.get();
  while ((await events.get(50)) !== undefined);
  events.close();
  assert.ok((await last) === undefined || (await last).name);
});

test('buffers live as long as they are used', async () => {
  const region = await iomem.create('a', 4096, { ephemeral: true });
  let view = new Uint8Array(region.map());
  region.close();
  for (let i = 0; i < 5; i++) global.gc();
  view[4095] = 7;
  assert.deepStrictEqual(await names(), ['a']);
  view = undefined;
  await eventually(async () => {
    global.gc();
    return (await names()).length === 0;
  }, 'the end of the mapping');
});

test('a forgotten region is closed, and unmap() empties the views', async () => {
  await (async () => {
    const region = await iomem.create('a', 4096, { ephemeral: true });
    const view = new Uint8Array(region.map());
    region.unmap();
    assert.strictEqual(view.length, 0);
    assert.strictEqual(region.map().byteLength, 4096);
    region.unmap();
  })();
  await eventually(async () => {
    global.gc();
    return (await names()).length === 0;
  }, 'its end');
});

test('Atomics work between processes and threads, on the memory itself', async () => {
  const region = await iomem.create('counter', 4096, { fixed: true });
  const counter = new Int32Array(region.map());
  const add = `
    const iomem = require(${JSON.stringify(require.resolve('..'))});
    iomem.open('counter').then((region) => {
      const counter = new Int32Array(region.map());
      for (let i = 0; i < 100000; i++) Atomics.add(counter, 0, 1);
    });`;
  const children = [0, 1].map(() => spawn(process.execPath, ['-e', add], { stdio: 'inherit' }));
  const worker = new Worker(add, { eval: true });
  for (let i = 0; i < 100000; i++) Atomics.add(counter, 0, 1);
  await Promise.all([...children.map((child) => once(child, 'exit')), once(worker, 'exit')]);
  assert.strictEqual(Atomics.load(counter, 0), 400000);
  // What README says of their limits.
  assert.throws(() => Atomics.wait(counter, 0, 400000, 0), TypeError);
  region.close();
});

test('a thread may end in the middle of everything', async () => {
  const code = `
    const iomem = require(${JSON.stringify(require.resolve('..'))});
    const { parentPort } = require('node:worker_threads');
    iomem.wait('never').catch(() => {});
    const events = iomem.events();
    events.get();
    parentPort.postMessage(new Uint8Array(iomem.anonymous(4096).map())[0]);`;
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(code, { eval: true });
    assert.deepStrictEqual(await once(worker, 'message'), [0]);
    await worker.terminate();
  }
});

test('an idle reader of events does not keep the program running', async () => {
  const code = `require(${JSON.stringify(require.resolve('..'))}).events().get(1);`;
  const child = spawn(process.execPath, ['-e', code], { stdio: 'inherit' });
  assert.deepStrictEqual(await once(child, 'exit'), [0, null]);
});

test('anonymous memory goes to a child', async () => {
  const region = iomem.anonymous(4096, { fixed: true });
  assert.throws(() => fs.ftruncateSync(region.fd, 1), { code: 'EPERM' });
  const code = `
    const region = require(${JSON.stringify(require.resolve('..'))}).Region.fromFd(3);
    Buffer.from(region.map()).write(String(region.writable) + region.name);`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['inherit', 'inherit', 'inherit', region.fd] });
  assert.deepStrictEqual(await once(child, 'exit'), [0, null]);
  assert.strictEqual(Buffer.from(region.map()).toString('latin1', 0, 8), 'truenull');
  assert.strictEqual(iomem.anonymous(0).map().byteLength, 0);
  region.close();
});

test('without a mount', async () => {
  const before = process.env.IOMEMFS;
  process.env.IOMEMFS = fs.mkdtempSync('/tmp/iomem-node-');
  try {
    for (const call of [
      () => iomem.create('a', 1),
      () => iomem.open('a'),
      () => iomem.open('a', { wait: 1000 }),
      () => iomem.list(),
      () => iomem.remove('a'),
      async () => iomem.events(),
    ]) {
      await fails(call(), 'ENODEV', /no iomemfs/);
    }
    iomem.anonymous(1).close();
  } finally {
    fs.rmdirSync(process.env.IOMEMFS);
    process.env.IOMEMFS = before;
  }
});

test('a killed holder leaves nothing, and takes nothing from others', async () => {
  const code = `
    const iomem = require(${JSON.stringify(require.resolve('..'))});
    (async () => {
      global.kept = [];
      for (const name of ['alone', 'shared']) {
        const region = await iomem.create(name, 4096, { ephemeral: true });
        new Uint8Array(region.map())[0] = 42;
        global.kept.push(region);
      }
      console.log('ready');
      setInterval(() => {}, 1000);
    })();`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['inherit', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const shared = await iomem.open('shared');
  const view = new Uint8Array(shared.map());
  child.kill('SIGKILL');
  await once(child, 'exit');
  await eventually(async () => (await names()).join() === 'shared', 'the end of what only it had');
  shared.close();
  assert.strictEqual(view[0], 42);
  assert.deepStrictEqual(await names(), ['shared']);
  shared.unmap();
});
