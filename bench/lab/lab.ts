import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Mate } from './mate.ts'

/** The folder and the processes of one run. Everything ends with this process, however it ends. */
export class Lab {
  readonly #folder = mkdtempSync(join(tmpdir(), 'pslock-bench-'))
  readonly #mates = new Set<Mate>()

  constructor() {
    process.once('exit', () => rmSync(this.#folder, { recursive: true, force: true }))
    process.once('SIGINT', () => process.exit(130))
    process.once('SIGTERM', () => process.exit(143))
  }

  /** The file that this lock guards; each lock has a folder of its own. */
  path(lock: string, name = 'data'): string {
    mkdirSync(join(this.#folder, lock), { recursive: true })
    return join(this.#folder, lock, name)
  }

  /** New processes, which may not serve yet. */
  begin(count: number, language: 'node' | 'python'): Mate[] {
    const mates = Array.from({ length: count }, () => new Mate(language))
    for (const mate of mates) this.#mates.add(mate)
    return mates
  }

  /** New processes that have loaded this lock. */
  async start(count: number, language: 'node' | 'python', lock: string): Promise<Mate[]> {
    const mates = this.begin(count, language)
    await Promise.all(mates.map((mate) => mate.call('load', lock)))
    return mates
  }

  async end(mate: Mate): Promise<void> {
    this.#mates.delete(mate)
    await mate.kill()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#mates].map((mate) => this.end(mate)))
  }
}

/** Fails with what was waited for, instead of hanging with a lock that hangs. */
export async function within<T>(what: string, ms: number, promise: Promise<T>): Promise<T> {
  const timer = new AbortController()
  const tooLong = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what}: still not done after ${ms} ms`)
  })
  tooLong.catch(() => {})
  try {
    return await Promise.race([promise, tooLong])
  } finally {
    timer.abort()
  }
}

/** An error in one line. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, ' ').slice(0, 160)
}

/** Progress, for people: stdout has the result. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** Another order each round, so that none always comes after the same one. */
export function rotated<T>(values: readonly T[], by: number): T[] {
  const at = values.length === 0 ? 0 : by % values.length
  return [...values.slice(at), ...values.slice(0, at)]
}
