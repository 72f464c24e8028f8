// SPDX-License-Identifier: MIT

/**
 * Shared memory of an iomemfs: regions by name, mapped as ArrayBuffer.
 *
 * Names are relative to $IOMEMFS, or to /mnt/mem.  What fails is an Error as those of node:fs, with
 * `code` ('ENOENT', 'EEXIST', 'ETIMEDOUT', ...) and the daemon's words; without a mount 'ENODEV'.
 * Times are in milliseconds.
 */

export type SealName = 'shrink' | 'grow' | 'write';

export interface CreateOptions {
  /** Permissions; by default what the umask leaves of 0o666. */
  mode?: number;
  /** The size never changes, so that nobody can take pages away from those who map it. */
  fixed?: boolean;
  /** The name goes with the last reference, however its holder ended. */
  ephemeral?: boolean;
  /** All pages are there when the name appears. */
  populate?: boolean;
  /** The same with huge pages. */
  huge?: boolean;
  /** The name goes when that one, of this process, has ended, and the last reference is gone. */
  owner?: 'process' | 'service' | 'container';
}

export interface WaitOptions {
  /** By default it waits for ever. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface OpenOptions {
  /** False: for reading only. */
  write?: boolean;
  /** Waits until it is made: true for ever, a number that many milliseconds. */
  wait?: boolean | number;
  signal?: AbortSignal;
}

/** What is known of a region; see iomemfs-ctl(7). */
export interface RegionInfo {
  readonly name: string;
  readonly size: number;
  readonly allocated: number;
  readonly huge: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: number;
  readonly links: number;
  readonly refs: number;
  readonly writers: number;
  readonly flags: readonly string[];
  readonly seals: readonly SealName[];
  readonly created: Date;
  readonly creatorUid: number;
  readonly creatorPid: number;
  readonly creatorCommand: string;
}

/** Something that happened. */
export interface Event {
  readonly sequence: number;
  /** 'create', 'resize', 'seal', 'rename', 'remove', 'last-close', 'restart', 'overflow', or newer. */
  readonly kind: string;
  /** Null if it is not about a region. */
  readonly name: string | null;
  readonly size?: number;
  readonly seals?: number;
  readonly uid?: number;
  readonly pid?: number;
  /** Of 'overflow': how many events are missing. */
  readonly lost?: number;
}

/** An open region: a descriptor, and its mapping. */
export class Region {
  private constructor();
  /** Takes over a descriptor, for example one that a parent process passed on. */
  static fromFd(fd: number): Region;
  /** Null for memory without a name. */
  readonly name: string | null;
  /** The descriptor, for node:fs and for `stdio` of node:child_process; -1 when closed. */
  readonly fd: number;
  readonly writable: boolean;
  readonly closed: boolean;
  /** Bytes, now. */
  readonly size: number;
  /**
   * The memory itself, mapped when this is first called, at the size that it has then.  It stays
   * mapped until unmap(), or until the ArrayBuffer and all views of it are collected; close() does
   * not end it.  If the region was opened for reading, what is stored goes to a private copy of the
   * page: nobody else sees it, and what others write there is not seen any more.
   */
  map(): ArrayBuffer;
  /** Maps the region at the size that it has now; what map() gave before stays as it is. */
  remap(): ArrayBuffer;
  /** Ends the mapping: the ArrayBuffer of map() and all views of it are empty from now on. */
  unmap(): void;
  /** Closes the descriptor.  May be called twice. */
  close(): void;
}

/**
 * What happens, from the moment at which this was made: `for await (const event of events())`.
 * It keeps the program running only while somebody waits for an event.
 */
export class Events implements AsyncIterableIterator<Event> {
  private constructor();
  readonly closed: boolean;
  /** The next event; undefined if there is none within that time, or if it is closed. */
  get(timeout?: number): Promise<Event | undefined>;
  /** Ends it, and the loops on it.  May be called twice. */
  close(): void;
  next(): Promise<IteratorResult<Event, undefined>>;
  return(): Promise<IteratorResult<Event, undefined>>;
  [Symbol.asyncIterator](): this;
}

/** The directory that names are relative to. */
export function mountPoint(): string;
/** Makes a region and opens it for reading and writing. */
export function create(name: string, size: number, options?: CreateOptions): Promise<Region>;
export function open(name: string, options?: OpenOptions): Promise<Region>;
/** Memory without a name, which needs no mount: a memfd. */
export function anonymous(size: number, options?: { fixed?: boolean }): Region;
/** Waits until there is a region of that name. */
export function wait(name: string, options?: WaitOptions): Promise<void>;
export function stat(name: string): Promise<RegionInfo>;
/** The regions below a directory, with names relative to it (default: all of the mount). */
export function list(directory?: string): Promise<RegionInfo[]>;
/** What happens to the regions below a directory (default: everywhere), from now on. */
export function events(directory?: string): Events;
export function resize(name: string, size: number): Promise<void>;
/** Forbids for good. */
export function seal(name: string, ...seals: SealName[]): Promise<void>;
/** Removes the name.  Who has the region open or mapped keeps it. */
export function remove(name: string): Promise<void>;
