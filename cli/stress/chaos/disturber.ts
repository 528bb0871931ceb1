import { now } from '../ledger.ts'
import type { Member } from '../member.ts'
import type { StressOptions } from '../options.ts'
import { between, type Random, stream } from '../random.ts'
import type { Chore } from '../worker.ts'
import { stopFor } from './stop.ts'

/** Longest and shortest while for which a worker is stopped. */
const STOP_MS = { least: 10, most: 500 }

/** What was done to a worker, and when, in nanoseconds of the clock that all processes share. */
export interface Disturbance {
  readonly what: 'kill' | 'stop' | Chore
  readonly worker: number
  readonly at: number
  /** Of a stop: when it was sent SIGCONT. */
  until?: number
}

interface Rhythm {
  readonly random: Random
  readonly everyMs: number
  readonly act: (random: Random) => void
  nextMs: number
}

/**
 * Kills, stops and orders to the workers, each at its rate with random gaps. The seed repeats the gaps and the choices;
 * what a worker is doing just then is up to the system.
 */
export class Disturber {
  readonly #members: readonly Member[]
  readonly #rhythms: Rhythm[]
  readonly done: Disturbance[] = []

  constructor({ seed, chaos }: StressOptions, members: readonly Member[]) {
    this.#members = members
    const start = performance.now()
    const rhythm = (name: string, perSecond: number, act: (random: Random) => void): Rhythm[] => {
      if (perSecond === 0) return []
      const random = stream(seed, name)
      const everyMs = 1000 / perSecond
      return [{ random, everyMs, act, nextMs: start + gap(random, everyMs) }]
    }
    const chore = (name: Chore, perSecond: number) =>
      rhythm(name, perSecond, (random) => this.#order(name, random))
    this.#rhythms = [
      ...rhythm('kills', chaos.killsPerSecond, (random) => this.#kill(random)),
      ...rhythm('stops', chaos.stopsPerSecond, (random) => this.#stop(random)),
      ...chore('compact', chaos.compactionsPerSecond / 2),
      ...chore('compactByNeed', chaos.compactionsPerSecond / 2),
      ...chore('dump', chaos.dumpsPerSecond),
      ...chore('copy', chaos.copiesPerSecond),
    ]
  }

  /** Does what is due. @returns milliseconds until the next is */
  look(): number {
    const nowMs = performance.now()
    for (const rhythm of this.#rhythms) {
      if (rhythm.nextMs > nowMs) continue
      rhythm.act(rhythm.random)
      rhythm.nextMs = nowMs + gap(rhythm.random, rhythm.everyMs)
    }
    return Math.min(...this.#rhythms.map(({ nextMs }) => nextMs - nowMs))
  }

  #kill(random: Random): void {
    const member = this.#oneOf(random)
    if (!member) return
    this.done.push({ what: 'kill', worker: member.worker, at: now() })
    member.killAndRestart()
  }

  #stop(random: Random): void {
    const forMs = between(random, STOP_MS.least, STOP_MS.most)
    const member = this.#oneOf(random)
    if (member?.pid === undefined) return
    const stop: Disturbance = { what: 'stop', worker: member.worker, at: now() }
    stopFor(member.pid, forMs, () => {
      stop.until = now()
    })
    this.done.push(stop)
  }

  #order(chore: Chore, random: Random): void {
    const member = this.#oneOf(random)
    if (!member) return
    this.done.push({ what: chore, worker: member.worker, at: now() })
    member.order({ order: 'chore', chore })
  }

  #oneOf(random: Random): Member | undefined {
    const working = this.#members.filter(({ state }) => state === 'working')
    return working[Math.floor(random() * working.length)]
  }
}

/** From half to one and a half times the usual one. */
function gap(random: Random, everyMs: number): number {
  return everyMs * (0.5 + random())
}
