// SPDX-License-Identifier: MIT

// Compiled only: index.d.ts says what programs need it to say.

import * as iomem from '..';

export async function program(): Promise<number> {
  const frames: iomem.Region = await iomem.create('frames', 4096, { fixed: true, mode: 0o640 });
  const view = new Float32Array(frames.map());
  const seen = await iomem.open('frames', { write: false, wait: 5000 });
  for await (const event of iomem.events()) {
    if (event.kind === 'remove' && event.name !== null) break;
  }
  const info: iomem.RegionInfo = await iomem.stat('frames');
  await iomem.seal('frames', 'shrink', 'grow');
  // @ts-expect-error: no such seal
  await iomem.seal('frames', 'thaw');
  // @ts-expect-error: made by create() and open() only
  new iomem.Region();
  return view[0] + seen.size + info.created.getTime();
}
