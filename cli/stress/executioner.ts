import type { Disturbance } from './chaos/disturber.ts'
import { now } from './ledger.ts'
import type { Member } from './member.ts'
import type { StressOptions } from './options.ts'
import { between, type Random, stream } from './random.ts'

/** No aim is better than this: the exact moment within these milliseconds is left to a timer. */
const JITTER_MS = 10

/** Kills workers (SIGKILL) at random moments of the work, and always leaves one alive. */
export class Executioner {
  readonly #random: Random
  readonly #members: readonly Member[]
  /** The moments, as the share of all work that is done by then; the next one last. */
  readonly #moments: number[]
  readonly done: Disturbance[] = []

  constructor({ seed, kill }: StressOptions, members: readonly Member[]) {
    this.#random = stream(seed, 'kill')
    this.#members = members
    this.#moments = Array.from({ length: kill }, () => 0.02 + 0.83 * this.#random()).sort((a, b) => b - a)
  }

  get isWaiting(): boolean {
    return this.#moments.length > 0
  }

  look(progress: number): void {
    while (progress >= (this.#moments.at(-1) ?? Number.POSITIVE_INFINITY)) {
      this.#moments.pop()
      setTimeout(() => this.#killOne(), this.#random() * JITTER_MS)
    }
  }

  #killOne(): void {
    const working = this.#members.filter(({ state }) => state === 'working')
    const survivors = this.#members.filter(({ state }) => state === 'working' || state === 'finished')
    if (working.length === 0 || survivors.length < 2) return
    const member = working[between(this.#random, 0, working.length - 1)]
    if (!member) return
    this.done.push({ what: 'kill', worker: member.worker, at: now() })
    member.kill()
  }
}
