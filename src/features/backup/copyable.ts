import type { OpenOptions } from '../../store/options.ts'
import type { Pipeline } from '../../store/pipeline.ts'
import type { Content, FileFormat } from './file-format.ts'
import { contentOf, openWhole, readStore, type StoreFile } from './store-file.ts'

/** What an open store offers for its file as a whole. */
export interface Copyable {
  readonly file: StoreFile
  readonly queue: Pipeline
  /** Makes memory equal to the file. */
  refresh(): Promise<void>
}

/** What differs between the kinds of stores. */
interface Parts extends Partial<Pick<StoreFile, 'read' | 'tryOn'>> {
  readonly format: FileFormat
  readonly refresh?: () => Promise<void>
}

const STEP = { isInternal: true }

/** @param path the real one of the data file that the queue's operations work on */
export function copyable(
  path: string,
  { lock, timeoutMs }: OpenOptions,
  queue: Pipeline,
  { refresh = () => queue.push('shared', () => {}, STEP), ...parts }: Parts,
): Copyable {
  const read = () =>
    queue.push('shared', () => readStore(path, parts.format), { ...STEP, kind: 'transaction' })
  return {
    file: { path, lock, timeoutMs, read, ...parts },
    queue,
    refresh,
  }
}

/**
 * Everything written to a log so far. What was complete under the lock is never changed again, nor taken away from a
 * descriptor: so it is read when the lock is free.
 * @param end of what was caught up with, asked under the lock
 */
export async function readWritten(path: string, queue: Pipeline, end: () => number): Promise<Content> {
  const look = () => contentOf(path, openWhole(path), end)
  return queue.push('shared', look, { ...STEP, kind: 'transaction' })
}
