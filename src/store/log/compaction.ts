import { setTimeout as sleep } from 'node:timers/promises'
import { asError, ClosedError, errnoOf, LockTimeoutError } from '../../errors.ts'
import type { LogMemory } from '../adapter.ts'
import type { Pipeline } from '../pipeline.ts'
import { outsideAll } from '../scope.ts'
import type { LogFile } from './log-file.ts'
import type { CorruptionMonitor } from './log-reader.ts'

/**
 * A smaller file is left as it is: it is read in some milliseconds, and what is stale in it costs nobody anything. Redis's
 * `auto-aof-rewrite-min-size` is 64 MB; NeDB's users know files that are compacted at each start.
 */
const SMALLEST_BYTES = 2 ** 20

/** To rewrite so much takes about a second. More is rewritten at a moment when nobody waits for the lock. */
const LONG_BYTES = 64 * 2 ** 20

/**
 * Where somebody waits whenever it is looked, a file is rewritten all the same when it has so many times its live bytes:
 * else it would grow for ever. Not if that took longer than ten seconds.
 */
const TOO_LARGE = 4
const TOO_LONG_BYTES = 10 * LONG_BYTES

/** Where the lock was busy it is tried again so much later. */
const AGAIN_MS = 250

/** Alone in its batch, so that no answer waits for it; and whoever has the lock now is not waited for. */
const APART = { kind: 'transaction', timeoutMs: 0, mayQueue: true, isInternal: true, join: false } as const

interface CompactionParts {
  readonly file: LogFile
  readonly memory: LogMemory
  readonly health: CorruptionMonitor
  readonly queue: Pipeline
  /** In an operation: replaces the file by what is in memory. */
  rewrite(): Promise<void>
  doOthersWait(): boolean
}

/**
 * Compaction by need: the file is rewritten when as many of its bytes are stale as are live, and it has a mebibyte. It is
 * the rule of Redis for its append-only file (`auto-aof-rewrite-percentage 100`), but for what is live, so that a file in
 * which nothing is stale is never rewritten; and what is rewritten is at most what was added.
 *
 * Whoever has just held the lock asks for it once more, and does not wait for it: of many processes one finds the need, and
 * the others a small file. It is no part of anybody's operation.
 */
export class Compaction {
  readonly #parts: CompactionParts
  readonly #isManual: boolean
  /** The length of the file from which on there may be need. */
  lookAt: number = SMALLEST_BYTES
  #running: Promise<void> | undefined
  readonly #closing = new AbortController()

  /** @param isManual never by itself */
  constructor(parts: CompactionParts, isManual: boolean) {
    this.#parts = parts
    this.#isManual = isManual
    this.reset()
  }

  /** The file is another one: what was found in it means nothing. */
  reset(): void {
    this.lookAt = this.#isManual ? Number.POSITIVE_INFINITY : SMALLEST_BYTES
  }

  /**
   * At the end of each batch. Who has skipped what others wrote leaves it to them: it has only added documents, which makes
   * nothing stale, and would have to read all of it first (50 processes that insert: half of their processor time).
   */
  passed(): void {
    const { file } = this.#parts
    if (
      file.end < this.lookAt ||
      file.applied < file.end ||
      !file.exists ||
      this.#running ||
      this.#closing.signal.aborted
    )
      return
    this.#running = outsideAll(() => this.#attempt()).finally(() => {
      this.#running = undefined
    })
  }

  /** Whether the file has, as far as it is known, exactly the lines that a rewrite would give it. */
  get isCompact(): boolean {
    const { file, memory, health } = this.#parts
    return file.exists && !health.hasBadLines && health.goodLines === memory.lineCount?.()
  }

  /** Resolves when what was begun is done; nothing is tried again. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #attempt(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        const { file, memory } = this.#parts
        if (this.isCompact || !memory.liveBytes) {
          this.lookAt = 2 * file.end
          return
        }
        await memory.prepareToCompact?.()
        // At once: a program that awaits one operation after the other may leave the event loop no turn for long.
        const run = () => this.#ifNeeded()
        await this.#parts.queue.push('exclusive', run, APART)
        return
      } catch (error) {
        if (error instanceof ClosedError) return
        if (!(error instanceof LockTimeoutError)) return this.#failed(error)
        await sleep(AGAIN_MS, undefined, { signal, ref: false }).catch(() => {})
      }
    }
  }

  async #ifNeeded(): Promise<void> {
    const { file, memory, rewrite, doOthersWait } = this.#parts
    // Somebody else was first.
    if (!file.exists || file.end < this.lookAt) return
    if (this.isCompact) {
      this.lookAt = 2 * file.end
      return
    }
    const live = memory.liveBytes?.() ?? file.end
    if (file.end >= 2 * live) {
      // It takes longer than some of them may be ready to wait: looked at again when the file has grown by a part.
      const mustBe = file.end >= TOO_LARGE * live && live <= TOO_LONG_BYTES
      if (live > LONG_BYTES && !mustBe && doOthersWait()) {
        this.lookAt = file.end + live / 16
        return
      }
      await rewrite()
    }
    this.lookAt = Math.max(SMALLEST_BYTES, 2 * live)
  }

  #failed(error: unknown): void {
    const { file } = this.#parts
    this.lookAt = 2 * file.end
    const cause = (error as Error).cause ?? error
    // Who may only read leaves it to those who write.
    if (['EACCES', 'EPERM', 'EROFS', 'EBADF'].includes(errnoOf(cause) ?? '')) return
    warnOfCompaction(file.path, error)
  }
}

/** A compaction that nobody has asked for cannot reject anybody's call. To silence it: `node --disable-warning=PSLOCK_COMPACTION`. */
export function warnOfCompaction(path: string, error: unknown): void {
  process.emitWarning(
    `${path} could not be compacted: ${asError(error).message}. It is tried again later; no data is ` +
      'lost meanwhile, but the file grows.',
    { type: 'PsLockWarning', code: 'PSLOCK_COMPACTION' },
  )
}
